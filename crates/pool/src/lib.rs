//! The pool. A share travels one way through its modules:
//!
//! ```text
//! template -> job -> session -> share -> log -> ledger -> payout -> (next job's coinbase)
//!                                 \-> block -> journal -> submit -> watch (confirmed or orphaned) -> ledger
//! ```

pub mod assigned;
pub mod class;
pub mod config;
pub mod front;
mod getwork;
pub mod guard;
pub mod job;
pub mod journal;
pub mod load;
pub mod origins;
mod rate;
mod service;
pub mod session;
pub mod share;
pub mod template;
pub mod vardiff;
pub mod watch;

pub use config::PoolConfig;
pub use service::{Nodes, Pool, PoolError, PoolEvent, PoolHandle, PoolParts, Upstream};
pub use template::{Template, TemplateTx};
