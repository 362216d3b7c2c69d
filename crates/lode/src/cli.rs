//! `lode cli`: one JSON-RPC call to a node.

use std::process::ExitCode;

/// What `lode cli` takes.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Makes the call and prints its answer.
pub(crate) fn run(_: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the node is not there yet")
}
