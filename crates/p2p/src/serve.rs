//! What peers ask of us: headers, blocks, transactions.

use std::sync::Arc;

use lode_primitives::{BlockHash, Transaction, Txid, Witness, Wtxid};

use crate::limits::MAX_COMPACT_DEPTH;
use crate::message::{BlockTxn, CompactBlock, GetBlockTxn, InvItem, InvKind, Locator, MAX_HEADERS};
use crate::peer::Known;
use crate::peers::{Output, Peers, Step};
use crate::{Message, PeerId, TxRef};

/// Blocks told of in answer to `getblocks` (Core).
const MAX_GETBLOCKS: usize = 500;

impl Peers {
    pub(crate) fn on_getheaders(&mut self, id: PeerId, locator: &Locator, step: &Step<'_>) {
        let headers = step.view.headers_after(&locator.hashes, &locator.stop, MAX_HEADERS);
        // What it was sent it need not be told again.
        let last = match headers.last() {
            Some(header) => step.view.header(&header.hash()),
            None => Some(step.view.tip()),
        };
        if let (Some(peer), Some(info)) = (self.peers.get_mut(&id), last) {
            peer.sync.best_sent = Some(Known::from(info));
        }
        self.send(id, Message::Headers(headers));
    }

    pub(crate) fn on_getblocks(&mut self, id: PeerId, locator: &Locator, step: &Step<'_>) {
        let headers = step.view.headers_after(&locator.hashes, &locator.stop, MAX_GETBLOCKS);
        let items: Vec<_> =
            headers.iter().map(|header| InvItem::block(InvKind::Block, header.hash())).collect();
        if !items.is_empty() {
            self.send(id, Message::Inv(items));
        }
    }

    pub(crate) fn on_getdata(&mut self, id: PeerId, items: &[InvItem], step: &Step<'_>) {
        let mut missing = Vec::new();
        for item in items {
            if item.kind.is_block() {
                self.serve_block(id, item.kind, item.block_hash(), step);
            } else if item.kind.is_transaction() && !self.serve_transaction(id, item, step) {
                missing.push(*item);
            }
        }
        if !missing.is_empty() {
            self.send(id, Message::NotFound(missing));
        }
    }

    fn serve_block(&mut self, id: PeerId, kind: InvKind, hash: BlockHash, step: &Step<'_>) {
        let known = step.view.header(&hash).filter(|info| info.have_block && info.valid);
        let Some(info) = known else {
            return self.send(id, Message::NotFound(vec![InvItem::block(kind, hash)]));
        };
        let depth = step.view.tip().height.saturating_sub(info.height);
        match kind {
            InvKind::CompactBlock if depth <= MAX_COMPACT_DEPTH => {
                if let Some(block) = self.recent_block(&hash) {
                    let nonce = rand::Rng::random(&mut self.rng);
                    let compact = CompactBlock::new(&block, nonce);
                    return self.send(id, Message::CmpctBlock(Arc::new(compact)));
                }
                self.out.push_back(Output::SendBlock { peer: id, hash, witness: true });
            }
            InvKind::FilteredBlock => {} // bloom filters are not offered
            _ => {
                let witness = kind != InvKind::Block;
                self.out.push_back(Output::SendBlock { peer: id, hash, witness });
            }
        }
    }

    fn recent_block(&self, hash: &BlockHash) -> Option<Arc<lode_primitives::Block>> {
        self.recent.iter().find(|(other, _)| other == hash).map(|(_, block)| Arc::clone(block))
    }

    fn serve_transaction(&mut self, id: PeerId, item: &InvItem, step: &Step<'_>) -> bool {
        let name = match item.kind {
            InvKind::Wtx => TxRef::Wtxid(Wtxid(item.hash.0)),
            _ => TxRef::Txid(Txid(item.hash.0)),
        };
        if !self.peers.get(&id).is_some_and(crate::peer::Peer::relays_transactions) {
            return false;
        }
        let Some(transaction) = step.view.transaction(&name) else { return false };
        let transaction = if item.kind == InvKind::Tx { without_witness(transaction) } else { transaction };
        self.send(id, Message::Tx(transaction));
        true
    }

    pub(crate) fn on_getblocktxn(&mut self, id: PeerId, request: &GetBlockTxn, step: &Step<'_>) {
        let Some(block) = self.recent_block(&request.block) else {
            // Too deep, or not at hand in memory: the whole block is an answer too.
            if step.view.header(&request.block).is_some_and(|info| info.have_block && info.valid) {
                self.out.push_back(Output::SendBlock { peer: id, hash: request.block, witness: true });
            }
            return;
        };
        let transactions: Option<Vec<_>> =
            request.indexes.iter().map(|&index| block.transactions.get(index).cloned()).collect();
        match transactions {
            Some(transactions) => {
                self.send(id, Message::BlockTxn(BlockTxn { block: request.block, transactions }));
            }
            None => self.punish(id, "getblocktxn for transactions the block does not have", step),
        }
    }
}

/// For those that do not ask for witnesses.
fn without_witness(transaction: Arc<Transaction>) -> Arc<Transaction> {
    if !transaction.has_witness() {
        return transaction;
    }
    let mut transaction = Arc::unwrap_or_clone(transaction);
    for input in &mut transaction.inputs {
        input.witness = Witness::default();
    }
    Arc::new(transaction)
}
