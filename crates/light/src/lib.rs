//! The light client: headers alone, own payments found by compact filters, payment proofs, and what an attacker could do
//! to a payment.
//!
//! Floor 4 of the house. `lode light` runs it, `lode wallet` reads the chain through it. [`LightClient::start`] joins
//! the coin's network through `lode-p2p`, which syncs headers and refuses chains with too little work; all else that is
//! asked of peers, and what their answers are worth, is the business of a state machine here. The parts:
//!
//! - `store`: headers and filter headers on disk; `view`: what the network may know of them;
//! - `engine`: who is asked for what, and who lies, with a file each for what peers owe, for rounds of filter headers,
//!   for disputes and for jobs; `judge`: by what a lie about a filter is told;
//! - `client`: the thread that drives the engine, and the handle;
//! - [`fees`]: what to pay, as far as blocks tell; [`watch`]: a list of scripts, and what was found of them; [`proof`]: payment proofs; [`risk`]: section 11 of the Bitcoin paper.
//!
//! # What is trusted
//! The chain with the most work that any peer shows is taken for the right one, each header having been checked as a
//! full node checks it; blocks are not. Of payments no peer can make one up (a transaction is taken from its block, and
//! that is checked against its header), and as long as one peer is honest none can hide one.

mod client;
mod engine;
pub mod fees;
mod judge;
pub mod proof;
pub mod risk;
mod store;
mod view;
pub mod watch;

use lode_primitives::Height;

pub use client::{Left, LightClient, LightOptions, Status};
pub use store::{Place, StoreError, read_headers};

/// Why the light client does not start, or does not answer.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    /// The files cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network cannot be started.
    #[error("{0}")]
    Network(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Nobody to ask.
    #[error(
        "no peer that serves compact filters could be reached; name one with --connect, or wait and try again"
    )]
    NoPeers,
    /// The block at this height is not in the best chain, or not any more.
    #[error("the block at height {0} is not in the best chain (any more)")]
    Gone(Height),
    /// The light client has stopped.
    #[error("the light client has stopped")]
    Stopped,
}
