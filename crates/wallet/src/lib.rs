//! A person's money: keys from a mnemonic, addresses, coins and history, payments, and the encrypted file that keeps
//! them.
//!
//! Floor 4 of the house. The crate knows the chain only through [`Source`], which the `lode` program implements over a
//! node's JSON-RPC and over the light client; files are the only IO of its own.

mod source;

pub use source::{BlockRef, ChainBlock, FeeHint, Source, SourceError};
