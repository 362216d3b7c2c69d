//! Rounds: one stretch of filter headers, asked of every peer that serves filters.

use std::collections::{BTreeMap, BTreeSet};

use lode_p2p::message::{CFHeaders, MAX_FILTER_HEADERS};
use lode_p2p::{PeerId, Question, Time};
use lode_primitives::filter::{BASIC_FILTER, filter_header};
use lode_primitives::{BlockHash, Hash256, Height};

use super::Engine;
use super::disputes::{Claim, Dispute};
use super::peers::{FilterTask, Helper};
use crate::LightError;
use crate::store::Place;

/// One stretch of filter headers, asked of several peers.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) first: Height,
    pub(super) last: Height,
    pub(super) stop: BlockHash,
    /// Only to compare newcomers with what is kept already.
    pub(super) audit: bool,
    pub(super) waiting: BTreeSet<PeerId>,
    pub(super) answers: BTreeMap<PeerId, CFHeaders>,
}

impl Engine {
    pub(super) fn work_on_round(&mut self, now: Time) -> Result<(), LightError> {
        if self.dispute.is_some() {
            return Ok(());
        }
        if self.round.as_ref().is_some_and(|round| round.waiting.is_empty()) {
            return self.finish_round(now);
        }
        if self.round.is_none() {
            self.start_round(now);
        }
        Ok(())
    }

    pub(super) fn start_round(&mut self, now: Time) {
        let able = |helper: &Helper| helper.filters && helper.up_to_date && helper.rest_until <= now;
        let (tip, next) = (self.read().chain().height(), self.read().filter_count());
        let audit = next > tip;
        let stretch = MAX_FILTER_HEADERS as Height - 1;
        let (first, last) =
            if audit { (tip.saturating_sub(stretch), tip) } else { (next, tip.min(next + stretch)) };
        let asked: BTreeSet<PeerId> = self
            .helpers
            .iter()
            .filter(|(_, helper)| able(helper) && !(audit && helper.compared))
            .map(|(&peer, _)| peer)
            .collect();
        let Some(stop) = self.read().chain().entry_at(last).map(|entry| entry.hash()) else { return };
        if asked.is_empty() {
            return;
        }
        for &peer in &asked {
            self.ask(peer, Question::FilterHeaders { first, stop }, now);
        }
        self.round = Some(Round { first, last, stop, audit, waiting: asked, answers: BTreeMap::new() });
    }

    pub(crate) fn on_filter_headers(
        &mut self,
        peer: PeerId,
        answer: CFHeaders,
        now: Time,
    ) -> Result<(), LightError> {
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        let asked = self.round.as_mut();
        let asked = asked.filter(|round| round.stop == answer.stop && round.waiting.contains(&peer));
        if let Some(round) = asked {
            let wanted = (round.last - round.first + 1) as usize;
            if answer.filter_hashes.len() != wanted || answer.filter_type != BASIC_FILTER {
                if !helper.repeated {
                    let got = answer.filter_hashes.len();
                    self.punish(peer, format!("tells {got} filter headers where {wanted} were asked for"));
                    return self.work(now);
                }
                return Ok(()); // the second answer to a question that ended with the same block
            }
            helper.owes_headers = None;
            helper.answered(now);
            round.waiting.remove(&peer);
            round.answers.insert(peer, answer);
        }
        self.work(now)
    }

    /// All asked have answered or are gone.
    pub(super) fn finish_round(&mut self, now: Time) -> Result<(), LightError> {
        let Some(round) = self.round.take() else { return Ok(()) };
        let Some(before) = self.read().filter_header_before(round.first) else { return Ok(()) };
        let others = round.answers.iter().filter(|(_, answer)| answer.previous != before);
        let others: Vec<PeerId> = others.map(|(&peer, _)| peer).collect();
        if !others.is_empty() {
            if round.first == 0 {
                for peer in others {
                    self.punish(peer, "tells a filter header before the first block's".to_owned());
                }
            } else {
                // Ours or theirs are wrong from further down on.
                self.go_back(round.first.saturating_sub(MAX_FILTER_HEADERS as Height))?;
            }
            return self.work_on_round(now);
        }
        let Some(lead) = round.answers.values().next() else { return Ok(()) };
        let alike = |place: usize| {
            let hash = lead.filter_hashes[place];
            round.answers.values().all(|answer| answer.filter_hashes[place] == hash)
        };
        let agreed = (0..lead.filter_hashes.len()).find(|&place| !alike(place));
        let agreed = agreed.unwrap_or(lead.filter_hashes.len());
        let mut header = before;
        let headers: Vec<Hash256> = lead.filter_hashes[..agreed]
            .iter()
            .map(|hash| {
                header = filter_header(hash, &header);
                header
            })
            .collect();
        if round.audit {
            let kept = self.read().filter_header_before(round.last + 1);
            if agreed < lead.filter_hashes.len() || kept != headers.last().copied() {
                self.go_back(round.first)?;
            } else {
                self.set_compared(round.answers.keys());
            }
            return self.work_on_round(now);
        }
        self.write().add_filter_headers(&headers)?;
        if agreed == lead.filter_hashes.len() {
            self.set_compared(round.answers.keys());
            return self.work_on_round(now);
        }
        let height = round.first + agreed as Height;
        let Some(hash) = self.read().chain().entry_at(height).map(|entry| entry.hash()) else {
            return Ok(());
        };
        let mut claims: Vec<Claim> = Vec::new();
        for (&peer, answer) in &round.answers {
            let filter_hash = answer.filter_hashes[agreed];
            match claims.iter_mut().find(|claim| claim.filter_hash == filter_hash) {
                Some(claim) => claim.peers.push(peer),
                None => claims.push(Claim { filter_hash, peers: vec![peer], filter: None }),
            }
        }
        tracing::warn!(height, %hash, filters = claims.len(), "peers tell different filters of a block: finding out who lies");
        self.dispute = Some(Dispute { place: Place { height, hash }, claims, block: None });
        self.want_block(hash);
        self.work_on_dispute(now)
    }

    pub(super) fn set_compared<'a>(&mut self, peers: impl Iterator<Item = &'a PeerId>) {
        for peer in peers {
            if let Some(helper) = self.helpers.get_mut(peer) {
                helper.compared = true;
            }
        }
    }

    /// Takes filter headers back: they are fetched again, from everybody. Scans begin again, since what they looked
    /// through may have been lies.
    pub(super) fn go_back(&mut self, height: Height) -> Result<(), LightError> {
        tracing::warn!(height, "filter headers are fetched again: a peer tells others");
        self.write().cut_filter_headers(height)?;
        self.doubts = (self.doubts.0 + 1, self.doubts.1.min(height));
        self.helpers.values_mut().for_each(|helper| helper.compared = false);
        let begun: Vec<u64> =
            self.scans.iter().filter(|scan| scan.to.height >= height).map(|scan| scan.id).collect();
        for helper in self.helpers.values_mut() {
            if matches!(&helper.owes_filters, Some(FilterTask::Chunk { scan, .. }) if begun.contains(scan)) {
                helper.owes_filters = None;
            }
        }
        begun.into_iter().for_each(|scan| self.begin(scan));
        Ok(())
    }
}
