//! `lode node`: a full node.

use std::process::ExitCode;

/// What `lode node` takes.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the node until it is told to stop.
pub(crate) fn run(_: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the node is not there yet")
}
