//! The peers at work for the engine: what each is asked and owes, and when it counts as silent.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use lode_p2p::{PeerId, Question, Time};
use lode_primitives::{BlockHash, Hash256, Height};

use super::{Action, Engine};

/// Filters and their headers are asked for again after this without an answer: a node makes the filter of a new block a
/// little after it has announced the block, and until then says nothing at all to whoever asks for it.
const REPEAT: Duration = Duration::from_secs(1);
/// Each further time is waited for twice as long, up to so many doublings: who is slow is not to be made slower.
const DOUBLINGS_MAX: u32 = 3;
/// Blocks remembered that a peer was let off from: the chain turned away from so many while it was slow.
const LET_OFF_MAX: usize = 16;

/// A peer at work for us.
#[derive(Debug)]
pub(super) struct Helper {
    /// It serves compact filters.
    pub(super) filters: bool,
    /// It has told all its headers.
    pub(super) up_to_date: bool,
    /// Its filter headers were compared with ours up to the tip of then.
    pub(super) compared: bool,
    /// The stretch of filter headers that it owes: the first height and the last block.
    pub(super) owes_headers: Option<(Height, BlockHash)>,
    pub(super) owes_filters: Option<FilterTask>,
    pub(super) owes_block: Option<BlockHash>,
    /// When it was last asked for something, or asked again.
    pub(super) asked: Time,
    /// How often it was asked again for what it owes.
    pub(super) repeats: u32,
    /// It was asked for something twice, and may answer twice.
    pub(super) repeated: bool,
    /// Blocks asked of it that then left the best chain: it may send them or not.
    pub(super) let_off: VecDeque<BlockHash>,
    /// When it last answered, or was asked while it owed nothing.
    pub(super) progress: Time,
    pub(super) rest_until: Time,
}

impl Helper {
    pub(super) const fn owes(&self) -> bool {
        self.owes_headers.is_some() || self.owes_filters.is_some() || self.owes_block.is_some()
    }

    /// It sent something.
    pub(super) const fn answered(&mut self, now: Time) {
        self.progress = now;
        self.repeats = 0;
    }

    /// It need not send this block any more.
    pub(super) fn let_off(&mut self, hash: BlockHash) {
        if self.let_off.len() >= LET_OFF_MAX {
            self.let_off.pop_front();
        }
        self.let_off.push_back(hash);
    }

    /// It sends a block that it need not have sent: true where it was asked for it once.
    pub(super) fn was_let_off(&mut self, hash: &BlockHash) -> bool {
        self.let_off.iter().position(|other| other == hash).and_then(|at| self.let_off.remove(at)).is_some()
    }
}

#[derive(Debug)]
pub(super) enum FilterTask {
    /// The one filter that it told this hash of.
    Claim(Hash256),
    /// A stretch of a scan; the heights still to come.
    Chunk { scan: u64, stop: BlockHash, left: BTreeSet<Height> },
}

impl Engine {
    pub(super) fn forget(&mut self, peer: PeerId) {
        let Some(helper) = self.helpers.remove(&peer) else { return };
        if let Some(FilterTask::Chunk { scan, left, .. }) = helper.owes_filters {
            self.hand_back(scan, &left);
        }
        for job in self.blocks.iter_mut().filter(|job| job.asked == Some(peer)) {
            job.asked = None;
        }
        if let Some(round) = &mut self.round {
            round.waiting.remove(&peer);
            round.answers.remove(&peer);
        }
        if let Some(dispute) = &mut self.dispute {
            dispute.claims.iter_mut().for_each(|claim| claim.peers.retain(|other| *other != peer));
        }
    }

    pub(super) fn punish(&mut self, peer: PeerId, reason: String) {
        if self.helpers.contains_key(&peer) {
            self.forget(peer);
            self.actions.push_back(Action::Punish(peer, reason));
        }
    }

    pub(super) fn ask(&mut self, peer: PeerId, question: Question, now: Time) {
        if let Some(helper) = self.helpers.get_mut(&peer) {
            if !helper.owes() {
                helper.answered(now);
            }
            helper.asked = now;
            match question {
                Question::FilterHeaders { first, stop } => helper.owes_headers = Some((first, stop)),
                Question::Filters { .. } => {}
                Question::Block(hash) => helper.owes_block = Some(hash),
            }
            self.actions.push_back(Action::Ask(peer, question));
        }
    }

    /// While we stood still ourselves, on a busy machine, answers may have come that are not looked at yet: nobody is
    /// blamed for that time.
    pub(super) fn forgive_a_standstill(&mut self, now: Time) {
        let stood_still = now.saturating_sub(self.clock);
        if self.clock > Time::ZERO && stood_still >= REPEAT {
            self.helpers.values_mut().for_each(|helper| helper.progress += stood_still);
            self.alone_since = self.alone_since.map(|since| since + stood_still);
        }
    }

    /// Leaves those who owe something and have sent nothing for too long.
    pub(super) fn leave_the_silent(&mut self, now: Time) {
        let late: Vec<(PeerId, String)> = self
            .helpers
            .iter()
            .filter(|(_, helper)| helper.owes() && now.saturating_sub(helper.progress) >= self.patience)
            .map(|(&peer, helper)| {
                let what = match (&helper.owes_block, &helper.owes_filters) {
                    (Some(hash), _) => format!("block {hash}"),
                    (None, Some(_)) => "filters".to_owned(),
                    (None, None) => "filter headers".to_owned(),
                };
                (peer, format!("owes {what} and sends nothing for {} s", self.patience.as_secs()))
            })
            .collect();
        for (peer, reason) in late {
            self.forget(peer);
            self.actions.push_back(Action::Leave(peer, reason));
        }
    }

    /// Repeats the questions about filters that peers seem to have passed over ([`REPEAT`]). An answer that comes twice
    /// does no harm.
    pub(super) fn ask_again(&mut self, now: Time) {
        let dispute = self.dispute.as_ref().map(|dispute| dispute.place);
        for (&peer, helper) in &mut self.helpers {
            if now.saturating_sub(helper.asked.max(helper.progress)) < REPEAT * (1 << helper.repeats) {
                continue;
            }
            let headers = helper.owes_headers.map(|(first, stop)| Question::FilterHeaders { first, stop });
            let filters = helper.owes_filters.as_ref().and_then(|task| match task {
                FilterTask::Claim(_) => {
                    dispute.map(|place| Question::Filters { first: place.height, stop: place.hash })
                }
                FilterTask::Chunk { stop, left, .. } => {
                    left.first().map(|&first| Question::Filters { first, stop: *stop })
                }
            });
            for question in headers.into_iter().chain(filters) {
                (helper.asked, helper.repeated) = (now, true);
                self.actions.push_back(Action::Ask(peer, question));
            }
            helper.repeats = DOUBLINGS_MAX.min(helper.repeats + 1);
        }
    }
}
