//! The methods themselves, one module per group of bitcoind's `help`.

pub(super) mod blockchain;
mod blockstats;
pub(super) mod control;
pub(super) mod filters;
pub(crate) mod getwork;
pub(super) mod mempool;
pub(super) mod mining;
pub(super) mod network;
pub(super) mod package;
pub(super) mod prime;
pub(super) mod raw;
pub(super) mod scan;
pub(super) mod scan_blocks;
pub(super) mod util;
pub(super) mod utxo;
