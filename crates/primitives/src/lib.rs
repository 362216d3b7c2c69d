//! The words of the money: hashes, amounts, transactions, headers, blocks, Merkle trees, block filters and their wire encoding.
//!
//! Floor 0 of the house: no IO, no clocks, no knowledge of any particular coin. What differs between coins on the
//! wire (witnesses, a data field behind the lock time, a multiplier behind the header) is told by a [`Form`] when
//! decoding; decoded values carry what they were read with, so encoding needs no form.
//!
//! Everything here is called by all crates above. Decoding never panics and allocates no more than the bytes at
//! hand can justify.

mod amount;
mod block;
mod encode;
pub mod filter;
mod hash;
mod header;
pub mod merkle;
mod target;
mod transaction;

pub use amount::{Amount, COIN};
pub use block::Block;
pub use encode::{
    Decode, DecodeError, Encode, Form, MAX_MULTIPLIER_BYTES, Reader, compact_size_len, encode_bytes,
    encode_compact_size, encode_vec,
};
pub use filter::BlockFilter;
pub use hash::{BlockHash, Hash256, MerkleNode, Txid, Wtxid, hash160, sha256, sha256d, tagged_hash};
pub use header::{Header, Height, Multiplier, decimal};
pub use ruint::aliases::U256;
pub use target::{CompactTargetError, Target, Work};
pub use transaction::{OutPoint, SEQUENCE_FINAL, ScriptBuf, Transaction, TxIn, TxOut, Witness};
