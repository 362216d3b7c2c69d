//! `lode mine`: the CPU miner.

use std::process::ExitCode;

use lode_miner::MineArgs;

use crate::runtime;

/// Mines until told to stop.
pub(crate) fn run(args: MineArgs) -> anyhow::Result<ExitCode> {
    runtime::start()?.block_on(async { lode_miner::run(args, runtime::asked_to_stop()).await })?;
    Ok(ExitCode::SUCCESS)
}
