//! The books of a pool that never holds its miners' money: share log, payout window, payout split, balances.
//!
//! Floor 3 of the house: files only, no clock (time is an argument, Unix milliseconds), no network. The pool owns one
//! [`Ledger`]; `lode log` reads a log by [`log::read`]. In the order a share takes:
//!
//! - [`log`]: the append-only record of accepted shares, from which all else can be rebuilt.
//! - [`WindowKind`]: whose work counts for the next block.
//! - [`Split`], [`PayoutSnapshot`]: a reward divided into coinbase outputs that sum to it.
//! - [`State`]: who is owed what, as a function of the chain tip.

mod balance_file;
mod balances;
mod chains;
mod codec;
mod credit;
mod ledger;
pub mod log;
mod payout;
mod rates;
mod records;
mod registry;
mod view;
mod window;

pub use balance_file::BalanceFile;
pub use balances::{Balance, BalanceError, FINAL_DEPTH, LinkRef, State};
pub use chains::{ChainBooks, ChainShare, Standing, density_ratio};
pub use codec::SnapshotError;
pub use credit::{Credit, difficulty_to_units, units_to_difficulty};
pub use ledger::{Ledger, LedgerError, LedgerOptions, Payees};
pub use log::{LogError, LogOptions, MAX_BATCH, Recovery, Share};
pub use payout::{CheckError, Fee, Limits, Line, MAX_BALANCES, Payout, PayoutSnapshot, Rules, Split, dust};
pub use records::RecordFile;
pub use registry::{
    Account, MAX_ACCOUNT_NAME, MAX_SCRIPT, MAX_WORKER_NAME, MAX_WORKERS, RegistryError, TemplateRef, Worker,
};
pub use view::{NextPayment, WindowView, WorkerView};
pub use window::{HOUR_MS, SLICES, Sum, WindowKind};
