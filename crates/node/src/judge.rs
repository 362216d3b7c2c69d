//! The thread `lode-chain`: judges what peers send, one thing after the other, and gives the network each verdict.

use std::sync::Arc;

use lode_chain::mempool::MempoolError;
use lode_chain::{Blame, BlockError};
use lode_p2p::{Event, P2p, TxVerdict, Verdict};
use lode_primitives::{Transaction, Txid};
use tokio::sync::mpsc;

use crate::node::{Node, fee_rate, now};

/// Judges events until the network or the node stops.
pub(crate) fn run(node: &Arc<Node>, p2p: &P2p, mut events: mpsc::UnboundedReceiver<Event>) {
    while let Some(event) = events.blocking_recv() {
        if *node.stop.borrow() {
            return;
        }
        judge(node, p2p, event);
    }
}

fn judge(node: &Arc<Node>, p2p: &P2p, event: Event) {
    match event {
        Event::Headers { peer, headers } => {
            let verdict = match node.accept_headers(&headers) {
                Ok(_) => Verdict::Accepted,
                Err((index, error)) => {
                    tracing::debug!(%peer, index, %error, "bad header");
                    verdict_of(&error)
                }
            };
            p2p.headers_verdict(peer, verdict);
        }
        Event::Block { peer, hash, block } => {
            let verdict = match node.accept_block(block) {
                Ok(_) => Verdict::Accepted,
                Err(error) => {
                    tracing::warn!(%peer, %hash, reason = error.reject_reason(), %error, "block refused");
                    verdict_of(&error)
                }
            };
            p2p.block_verdict(hash, verdict);
        }
        Event::Transaction { peer, wtxid, transaction } => {
            let verdict = judge_transaction(node, &transaction);
            if let TxVerdict::Rejected { reason, invalid } = &verdict {
                tracing::debug!(%peer, %wtxid, reason, invalid, "transaction refused");
            }
            p2p.transaction_verdict(wtxid, verdict);
        }
        Event::Connected { peer, address, inbound, .. } => {
            if node.bans.has(address.ip(), i64::from(now())) {
                p2p.disconnect(peer);
                return;
            }
            tracing::debug!(%peer, %address, inbound, "peer connected");
        }
        // Only a light client asks.
        Event::Answer { .. } | Event::NotAsked { .. } | Event::Blamed { .. } | Event::UpToDate { .. } => {}
        Event::Disconnected { peer, reason } => tracing::debug!(%peer, reason, "peer gone"),
    }
}

fn judge_transaction(node: &Node, transaction: &Transaction) -> TxVerdict {
    match node.accept_transaction(transaction.clone()) {
        Ok(accepted) => TxVerdict::Accepted { fee_rate: fee_rate(&accepted) },
        Err(
            MempoolError::AlreadyInMempool | MempoolError::SameTxidInMempool | MempoolError::AlreadyKnown,
        ) => TxVerdict::Known,
        Err(MempoolError::MissingInputs(_)) => {
            TxVerdict::MissingInputs { parents: unknown_parents(node, transaction) }
        }
        Err(error) => TxVerdict::Rejected { reason: error.reject_reason(), invalid: error.is_invalid() },
    }
}

/// Transactions whose outputs this one spends and which neither the chain nor the mempool has, each once.
fn unknown_parents(node: &Node, transaction: &Transaction) -> Vec<Txid> {
    let state = node.read();
    let mut parents: Vec<Txid> = transaction
        .inputs
        .iter()
        .filter(|input| {
            !state.mempool.contains(&input.prevout.txid)
                && !state.chain.has_utxo(&input.prevout).unwrap_or(false)
        })
        .map(|input| input.prevout.txid)
        .collect();
    parents.sort_unstable();
    parents.dedup();
    parents
}

/// What the network is told of a header or block that was not taken.
fn verdict_of(error: &BlockError) -> Verdict {
    let reason = error.reject_reason();
    match error.blame() {
        Blame::Mutated => Verdict::Mutated(reason),
        Blame::MissingParent | Blame::Early | Blame::Inconclusive | Blame::OwnFault => {
            Verdict::Unjudged(reason)
        }
        Blame::Invalid | Blame::InvalidHeader | Blame::KnownInvalid | Blame::InvalidParent => {
            Verdict::Invalid(reason)
        }
    }
}
