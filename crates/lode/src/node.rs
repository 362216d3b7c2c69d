//! `lode node`: a full node.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// What `lode node` takes.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the node until it is told to stop.
pub(crate) fn run(_: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the node is not there yet")
}

/// Where all of Lode's data lies unless told otherwise: `~/.lode`.
pub(crate) fn default_data_dir() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().context("there is no home directory; say where with --data-dir DIR")?;
    Ok(home.join(".lode"))
}

/// The RPC password: the first line of `file`, else `LODE_RPC_PASSWORD`. It is never a flag, which every user of the
/// machine could read.
pub(crate) fn read_password(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(std::env::var("LODE_RPC_PASSWORD").ok()) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the RPC password file {}", file.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
        _ => anyhow::bail!("the first line of the RPC password file {} is empty", file.display()),
    }
}
