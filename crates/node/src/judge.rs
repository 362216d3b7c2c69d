//! The thread `lode-chain`: judges what peers send, one thing after the other, and gives the network each verdict.

use std::sync::Arc;

use lode_chain::{Blame, BlockError};
use lode_p2p::{Event, P2p, TxVerdict, Verdict};
use tokio::sync::mpsc;

use crate::node::{Node, now};

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
        Event::Transaction { wtxid, .. } => {
            p2p.transaction_verdict(
                wtxid,
                TxVerdict::Rejected { reason: "no-mempool".into(), invalid: false },
            );
        }
        Event::Connected { peer, address, inbound } => {
            if node.bans.has(&address.ip(), i64::from(now())) {
                p2p.disconnect(peer);
                return;
            }
            tracing::debug!(%peer, %address, inbound, "peer connected");
        }
        Event::Disconnected { peer, reason } => tracing::debug!(%peer, reason, "peer gone"),
    }
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
