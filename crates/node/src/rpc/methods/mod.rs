//! The methods themselves, one module per group of bitcoind's `help`.

pub(super) mod raw;
pub(super) mod util;
