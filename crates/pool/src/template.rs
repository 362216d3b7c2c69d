//! What is to be mined: one block template, wherever it came from.
//!
//! Sources (the embedded node, nodes over JSON-RPC) publish templates into a `tokio::sync::watch` channel of
//! `Option<Arc<Template>>`; the service makes jobs of them. Transactions stay as the bytes they came as: what a pool
//! does not have to understand (Litecoin's MWEB) it passes on untouched.

mod choice;
mod embedded;
mod gbt;
mod node;
mod sources;
mod zmq;

use std::sync::Arc;

use bytes::Bytes;
use lode_ledger::LinkRef;
use lode_primitives::{Amount, BlockHash, Height, ScriptBuf, Txid};
use tokio::sync::Notify;

use crate::front::unix_us;

pub use embedded::EmbeddedNode;
pub use gbt::TemplateError;
pub use node::{NodeError, RpcNode};
pub use sources::Sources;
pub use zmq::{ZmqEndpoint, ZmqEndpointError};

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
    /// When the pool first heard that there is something new, Unix microseconds: the embedded node's word, the node's answer,
    /// or its word over ZMQ.
    pub heard_us: u64,
}

/// A transaction of a template.
#[derive(Debug, Clone)]
pub struct TemplateTx {
    /// The transaction as it goes into the block, witnesses included.
    pub bytes: Bytes,
    /// Its id: a leaf of the Merkle tree.
    pub txid: Txid,
}

impl Template {
    /// True where a job of `other` would be the same job: all but the times are equal.
    pub fn same_work(&self, other: &Self) -> bool {
        self.prev == other.prev
            && self.height == other.height
            && (self.version, self.bits) == (other.version, other.bits)
            && self.coinbase_value == other.coinbase_value
            && self.mweb == other.mweb
            && self.transactions.len() == other.transactions.len()
            && self
                .transactions
                .iter()
                .zip(&other.transactions)
                .all(|(a, b)| a.txid == b.txid && a.bytes == b.bytes)
    }
}

/// A node that templates come from and blocks go to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a handful of them, each behind an Arc")]
pub enum Node {
    /// In this process.
    Embedded(EmbeddedNode),
    /// Over JSON-RPC.
    Rpc(RpcNode),
}

/// What was last seen of a node, so that its next template can be awaited.
#[derive(Debug, Default)]
struct Cursor {
    long_poll: Option<String>,
    tips: Option<embedded::Seen>,
}

impl Node {
    /// Where it is, for people.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Rpc(node) => node.name(),
        }
    }

    async fn check_chain(&self) -> Result<(), NodeError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Rpc(node) => node.check_chain().await,
        }
    }

    /// Listens to what the node publishes of blocks, where it does; ends where it does not.
    async fn listen(&self, heard: &Notify) {
        if let Self::Rpc(node) = self
            && let Some(endpoint) = node.zmq().await
        {
            zmq::listen(&endpoint, heard).await;
        }
    }

    /// The node's next template; false where it cannot tell when there is news and wants to be asked again. `heard`: a
    /// reason to ask at once.
    async fn next_template(
        &self,
        cursor: &mut Cursor,
        heard: &Notify,
    ) -> Result<(Arc<Template>, bool), NodeError> {
        match self {
            Self::Embedded(node) => Ok((node.template(&mut cursor.tips).await?, true)),
            Self::Rpc(node) => {
                let polled = node.template(cursor.long_poll.as_deref());
                let (template, id) = tokio::select! {
                    polled = polled => polled?,
                    () = heard.notified() => {
                        let heard_us = unix_us();
                        let (mut template, id) = node.template(None).await?;
                        template.heard_us = heard_us;
                        (template, id)
                    }
                };
                cursor.long_poll = id;
                Ok((Arc::new(template), cursor.long_poll.is_some()))
            }
        }
    }

    async fn submit(&self, block: &Bytes) -> SubmitReply {
        match self {
            Self::Embedded(node) => node.submit(block).await,
            Self::Rpc(node) => node.submit(block).await,
        }
    }

    async fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        match self {
            Self::Embedded(node) => node.block(hash).await,
            Self::Rpc(node) => node.block(hash).await,
        }
    }

    async fn place(&self, hash: &BlockHash) -> Result<BlockPlace, NodeError> {
        match self {
            Self::Embedded(node) => Ok(node.place(hash)),
            Self::Rpc(node) => node.place(hash).await,
        }
    }

    async fn first_below(
        &self,
        tip: &BlockHash,
        height: Height,
        candidates: &[LinkRef],
    ) -> Result<Option<BlockHash>, NodeError> {
        match self {
            Self::Embedded(node) => node.first_below(tip, height, candidates),
            Self::Rpc(node) => node.first_below(tip, height, candidates).await,
        }
    }
}

/// A node as the dashboard shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Where it is.
    pub name: String,
    /// Height its template seeks, while it has one.
    pub template_height: Option<Height>,
    /// Why it has none.
    pub trouble: Option<String>,
    /// It is in use, and why.
    pub used: Option<String>,
}

/// What a node said of a block handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitReply {
    /// In its best chain.
    Accepted,
    /// It had it already.
    Duplicate,
    /// Stored, but another chain has more work, or as much and was there first.
    Side,
    /// It does not know the block before it: it is behind.
    Behind,
    /// It says the block breaks a rule.
    Refused(String),
    /// It could not be asked.
    Unreachable(String),
}

impl SubmitReply {
    /// From the short strings of BIP22 and the reference client.
    fn from_reason(reason: &str) -> Self {
        match reason {
            "duplicate" => Self::Duplicate,
            "inconclusive" | "duplicate-inconclusive" => Self::Side,
            "prev-blk-not-found" | "bad-prevblk" | "time-too-new" => Self::Behind,
            reason => Self::Refused(reason.to_owned()),
        }
    }

    /// The node has the block.
    pub fn has_it(&self) -> bool {
        matches!(self, Self::Accepted | Self::Duplicate | Self::Side)
    }
}

/// Where a block is in a node's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockPlace {
    /// In the best chain, under `depth` blocks.
    Chain {
        /// 0 for the tip.
        depth: u32,
    },
    /// Known, but not in the best chain.
    Side,
    /// Not known.
    Unknown,
}

impl std::fmt::Display for SubmitReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Duplicate => f.write_str("it had it already"),
            Self::Side => f.write_str("another block is in its place"),
            Self::Behind => f.write_str("it does not know the block before it"),
            Self::Refused(reason) | Self::Unreachable(reason) => f.write_str(reason),
        }
    }
}
