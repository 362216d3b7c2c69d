//! The embedded node as a source: no wire between, a template follows its block at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lode_ledger::LinkRef;
use lode_node::{BlockStatus, BlockTemplate, NodeHandle, Submitted};
use lode_primitives::{Block, BlockHash, Decode as _, Encode as _, Height, compact_size_len};
use tokio::sync::watch;

use super::node::NodeError;
use super::{BlockPlace, SubmitReply, Template, TemplateTx};
use crate::front::unix_us;

/// Between looks at the mempool while the tip stays: fees grow, and a template is cheap.
const REFRESH: Duration = Duration::from_secs(5);

/// The embedded node.
#[derive(Debug)]
pub struct EmbeddedNode {
    node: NodeHandle,
}

/// What was seen last: new tips wake the next look.
pub(super) type Seen = watch::Receiver<lode_node::Tip>;

impl EmbeddedNode {
    /// The node behind `node`.
    pub fn new(node: NodeHandle) -> Self {
        Self { node }
    }

    pub(super) async fn template(&self, seen: &mut Option<Seen>) -> Result<Arc<Template>, NodeError> {
        if let Some(tips) = seen {
            // An error means that the node has ended, and then so does the program.
            if let Ok(Err(_)) = tokio::time::timeout(REFRESH, tips.changed()).await {
                return Err(NodeError::Stopped);
            }
        }
        let heard_us = unix_us();
        let mut tips = self.node.subscribe();
        tips.mark_unchanged();
        *seen = Some(tips);
        // A private network has nobody to be behind of.
        if !self.node.coin().network.is_private() && self.node.is_syncing() {
            let (height, headers) = (self.node.tip().height, self.node.best_header_height());
            *seen = None;
            return Err(NodeError::Syncing { height, headers });
        }
        Ok(Arc::new(convert(self.node.template().await, heard_us)))
    }

    pub(super) async fn submit(&self, block: &Bytes) -> SubmitReply {
        let block = match Block::from_bytes(block, self.node.coin().form) {
            Ok(block) => block,
            Err(error) => return SubmitReply::Refused(error.to_string()),
        };
        match self.node.submit_block(block).await {
            Submitted::BestChain => SubmitReply::Accepted,
            Submitted::SideChain => SubmitReply::Side,
            Submitted::Duplicate => SubmitReply::Duplicate,
            Submitted::Rejected { reason, unjudged: true, .. } if reason == "prev-blk-not-found" => {
                SubmitReply::Behind
            }
            Submitted::Rejected { detail, unjudged: true, .. } => SubmitReply::Unreachable(detail),
            Submitted::Rejected { reason, detail, .. } => {
                tracing::error!("the embedded node: {detail}");
                SubmitReply::Refused(reason)
            }
        }
    }

    pub(super) async fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.node.block_bytes(*hash).await
    }

    pub(super) fn place(&self, hash: &BlockHash) -> BlockPlace {
        match self.node.block_status(hash) {
            BlockStatus::InBestChain { depth } => BlockPlace::Chain { depth },
            BlockStatus::Side | BlockStatus::Invalid => BlockPlace::Side,
            BlockStatus::Unknown => BlockPlace::Unknown,
        }
    }

    pub(super) fn first_below(
        &self,
        tip: &BlockHash,
        height: Height,
        candidates: &[LinkRef],
    ) -> Result<Option<BlockHash>, NodeError> {
        let in_chain = |hash: &BlockHash| matches!(self.place(hash), BlockPlace::Chain { .. });
        let found = candidates.iter().find(|link| link.height <= height && in_chain(&link.hash));
        // Asked last: if the tip is in the chain still, what was seen before was below it.
        if in_chain(tip) { Ok(found.map(|link| link.hash)) } else { Err(NodeError::MovedOn) }
    }
}

fn convert(template: BlockTemplate, heard_us: u64) -> Template {
    let weight: usize = template.transactions.iter().map(|tx| tx.weight).sum();
    let sigops: usize = template.transactions.iter().map(|tx| tx.sigops).sum();
    let head = 4 * (80 + compact_size_len(template.transactions.len() as u64 + 1));
    Template {
        height: template.height,
        prev: template.prev,
        version: template.version as u32,
        bits: template.bits,
        time: template.time,
        min_time: template.min_time,
        coinbase_value: template.coinbase_value,
        transactions: template
            .transactions
            .iter()
            .map(|tx| TemplateTx { bytes: Bytes::from(tx.tx.to_bytes()), txid: tx.txid })
            .collect(),
        witness_commitment: template.witness_commitment,
        mweb: None,
        coinbase_weight_max: template.weight_limit.saturating_sub(head + weight),
        coinbase_sigops_max: template.sigop_limit.saturating_sub(sigops),
        heard_us,
    }
}
