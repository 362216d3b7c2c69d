//! Disputes: peers tell different filters of one block. The block and the filters are fetched, and [`crate::judge`] tells
//! who lied.

use std::sync::Arc;

use lode_p2p::{PeerId, Question, Time};
use lode_primitives::{Block, BlockFilter, Hash256};

use super::Engine;
use super::peers::FilterTask;
use crate::store::Place;
use crate::{LightError, judge};

/// Peers that tell different filters of one block.
#[derive(Debug)]
pub(super) struct Dispute {
    pub(super) place: Place,
    pub(super) claims: Vec<Claim>,
    pub(super) block: Option<Arc<Block>>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) filter_hash: Hash256,
    pub(super) peers: Vec<PeerId>,
    pub(super) filter: Option<BlockFilter>,
}

impl Engine {
    pub(super) fn work_on_dispute(&mut self, now: Time) -> Result<(), LightError> {
        let Some(dispute) = &mut self.dispute else { return Ok(()) };
        dispute.claims.retain(|claim| !claim.peers.is_empty());
        if dispute.claims.len() < 2 {
            self.dispute = None;
            return self.work_on_round(now);
        }
        let place = dispute.place;
        let mut ask = Vec::new();
        for claim in dispute.claims.iter().filter(|claim| claim.filter.is_none()) {
            let asked = |peer: &PeerId| {
                self.helpers.get(peer).is_some_and(|helper| {
                    matches!(helper.owes_filters, Some(FilterTask::Claim(hash)) if hash == claim.filter_hash)
                })
            };
            let free =
                |peer: &&PeerId| self.helpers.get(peer).is_some_and(|helper| helper.owes_filters.is_none());
            if !claim.peers.iter().any(asked)
                && let Some(&peer) = claim.peers.iter().find(free)
            {
                ask.push((peer, claim.filter_hash));
            }
        }
        for (peer, filter_hash) in ask {
            self.ask(peer, Question::Filters { first: place.height, stop: place.hash }, now);
            if let Some(helper) = self.helpers.get_mut(&peer) {
                helper.owes_filters = Some(FilterTask::Claim(filter_hash));
            }
        }
        let Some(dispute) = &self.dispute else { return Ok(()) };
        match &dispute.block {
            Some(block) if dispute.claims.iter().all(|claim| claim.filter.is_some()) => {
                let block = Arc::clone(block);
                self.judge(&block, now)
            }
            _ => Ok(()),
        }
    }

    /// Block and filters are at hand.
    pub(super) fn judge(&mut self, block: &Block, now: Time) -> Result<(), LightError> {
        let Some(Dispute { place, claims, .. }) = self.dispute.take() else { return Ok(()) };
        let Place { height, hash } = place;
        let mut left = Vec::new();
        for claim in claims {
            let Some(filter) = claim.filter else { continue };
            match judge::lie(block, &hash, &filter) {
                Some(lie) => {
                    for peer in claim.peers {
                        self.punish(
                            peer,
                            format!("lies: its filter of block {hash} at height {height} {lie}"),
                        );
                    }
                }
                None => {
                    let missing = judge::spent_missing(block, &hash, &filter);
                    left.push((missing, claim.peers, filter));
                }
            }
        }
        left.sort_by_key(|(missing, peers, filter)| {
            (*missing, usize::MAX - peers.len(), u64::MAX - filter.count().unwrap_or(0))
        });
        for (missing, peers, _) in left.into_iter().skip(1) {
            for peer in peers {
                let why = match missing {
                    0 => "differs from what others tell".to_owned(),
                    _ => format!("lacks {missing} of the scripts that the block seems to spend"),
                };
                self.punish(peer, format!("its filter of block {hash} at height {height} {why}"));
            }
        }
        self.work_on_round(now)
    }
}
