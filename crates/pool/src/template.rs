//! What is to be mined: one block template, wherever it came from.
//!
//! Sources (the embedded node, nodes over JSON-RPC) publish templates into a `tokio::sync::watch` channel of
//! `Option<Arc<Template>>`; the service makes jobs of them. Transactions stay as the bytes they came as: what a pool
//! does not have to understand (Litecoin's MWEB) it passes on untouched.

use bytes::Bytes;
use lode_primitives::{Amount, BlockHash, Height, ScriptBuf, Txid};

/// A block template: everything of the next block but the coinbase and the proof of work.
#[derive(Debug, Clone)]
pub struct Template {
    /// Height of the block that is sought.
    pub height: Height,
    /// The block before it.
    pub prev: BlockHash,
    /// The header's version.
    pub version: u32,
    /// The header's compact target.
    pub bits: u32,
    /// The header's time as the node proposes it, Unix seconds.
    pub time: u32,
    /// The least time the header may have, Unix seconds.
    pub min_time: u32,
    /// Subsidy and fees: what the coinbase may pay out.
    pub coinbase_value: Amount,
    /// The transactions behind the coinbase, in order.
    pub transactions: Vec<TemplateTx>,
    /// The whole script of the witness commitment's output (BIP141, reserved value of 32 zero bytes), where the block
    /// needs one.
    pub witness_commitment: Option<ScriptBuf>,
    /// Litecoin's extension block, as the node gave it: goes behind the transactions, after a byte 1.
    pub mweb: Option<Bytes>,
    /// Weight units the coinbase may take at most, over what the node gave away to transactions.
    pub coinbase_weight_max: usize,
    /// Signature operations, in cost units, that the coinbase may have at most.
    pub coinbase_sigops_max: usize,
}

/// A transaction of a template.
#[derive(Debug, Clone)]
pub struct TemplateTx {
    /// The transaction as it goes into the block, witnesses included.
    pub bytes: Bytes,
    /// Its id: a leaf of the Merkle tree.
    pub txid: Txid,
}
