//! The pool. A share travels one way through its modules:
//!
//! ```text
//! template -> job -> session -> share -> log -> ledger -> payout -> (next job's coinbase)
//!                                 \-> block -> journal -> submit -> watch (confirmed or orphaned) -> ledger
//! ```

pub mod template;

pub use template::{Template, TemplateTx};
