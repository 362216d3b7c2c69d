//! Embedded node: sync, relay, JSON-RPC, block templates.
//!
//! [`start`] opens the chain of a coin in a directory, joins its network and serves JSON-RPC; the [`NodeHandle`] it
//! gives is what the pool, the wallet and the `lode` program use in the same process. The parts:
//!
//! - [`rpc`]: JSON-RPC with bitcoind's method names, and a client for it;
//! - `node`: the shared state and how blocks change it;
//! - `judge`: the thread that judges what peers send; `view`: what the network may ask;
//! - `fees`: what to pay, learnt from the mempool; `filters`: the thread that makes compact filters.

mod fees;
mod filters;
mod handle;
mod judge;
mod lists;
mod mempool_file;
mod node;
mod options;
pub mod rpc;
mod template;
#[cfg(feature = "testing")]
pub mod testing;
mod view;

pub use handle::{NodeHandle, start};
pub use lode_chain::template::{BlockTemplate, TemplateTx};
pub use node::{BlockStatus, Submitted, Tip};
pub use options::{NodeError, NodeOptions};

/// The version as one number, as bitcoind's `getnetworkinfo` has it: 10,000 major + 100 minor + patch.
pub(crate) const VERSION_NUMBER: u32 = 100;

/// What peers are told we are.
pub(crate) fn user_agent() -> String {
    concat!("/Lode:", env!("CARGO_PKG_VERSION"), "/").to_string()
}
