//! What is asked of whom, what answers are worth, and who lies: the light client's work as a state machine. It takes
//! messages and time as arguments and gives [`Action`]s out; its only IO is the [`Store`].
//!
//! - *Rounds* bring filter headers: every peer that serves filters is asked for the same stretch. Where all tell the
//!   same it is kept; where two differ a *dispute* fetches the block and both filters and finds out who lied
//!   ([`crate::judge`]). A peer that comes later is asked for the newest stretch before it is trusted with anything;
//!   where it builds on other filter headers than ours, rounds go back until the place is found where they part.
//! - *Scans* look for scripts in a stretch of blocks: filters are fetched from all peers in parallel, each checked
//!   against its filter header, looked through and forgotten.
//! - *Block jobs* fetch single blocks, each checked against its header, from one peer after the other.

mod disputes;
mod jobs;
mod peers;
mod rounds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lode_p2p::{PeerId, Question, Time};
use lode_primitives::{BlockHash, Height};

use crate::LightError;
use crate::store::Store;
use disputes::Dispute;
use jobs::{BlockJob, Scan};
use peers::{FilterTask, Helper};
use rounds::Round;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask a peer.
    Ask(PeerId, Question),
    /// Leave a peer that kept us waiting, for this reason: no lie, it may come again.
    Leave(PeerId, String),
    /// Leave a peer that lied or broke the protocol, for this reason.
    Punish(PeerId, String),
}

/// Where an answer goes. Whoever waited may have gone.
pub(crate) type Reply<T> = Sender<Result<T, LightError>>;

/// The state machine.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<RwLock<Store>>,
    /// How long a peer may take, and how long jobs wait for a peer at all.
    patience: Duration,
    helpers: BTreeMap<PeerId, Helper>,
    round: Option<Round>,
    dispute: Option<Dispute>,
    scans: Vec<Scan>,
    blocks: Vec<BlockJob>,
    next_scan: u64,
    /// Since when there are jobs and nobody to do them.
    alone_since: Option<Time>,
    /// See [`crate::Status::doubts`].
    doubts: (u32, Height),
    /// The time of the last tick.
    clock: Time,
    actions: VecDeque<Action>,
}

impl Engine {
    pub(crate) fn new(store: Arc<RwLock<Store>>, patience: Duration) -> Self {
        Self {
            store,
            patience,
            helpers: BTreeMap::new(),
            round: None,
            dispute: None,
            scans: Vec::new(),
            blocks: Vec::new(),
            next_scan: 0,
            alone_since: None,
            doubts: (0, Height::MAX),
            clock: Time::ZERO,
            actions: VecDeque::new(),
        }
    }

    /// What is to be done next; to be asked until `None` after every call of another method.
    pub(crate) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Peers connected, and those of them that serve filters.
    pub(crate) fn peers(&self) -> (usize, usize) {
        (self.helpers.len(), self.helpers.values().filter(|helper| helper.filters).count())
    }

    /// See [`crate::Status::doubts`].
    pub(crate) const fn doubts(&self) -> (u32, Height) {
        self.doubts
    }

    /// A peer has told all its headers, and all filter headers are here and compared with all who serve them.
    pub(crate) fn is_synced(&self) -> bool {
        // Who has only just come is waited for; who says nothing for long is not.
        let waits = |helper: &Helper| match helper.up_to_date {
            true => !helper.compared,
            false => self.clock.saturating_sub(helper.progress) < self.patience,
        };
        let all_compared = || !self.helpers.values().any(|helper| helper.filters && waits(helper));
        self.helpers.values().any(|helper| helper.up_to_date && helper.filters)
            && self.read().filter_count() > self.read().chain().height()
            && all_compared()
    }

    pub(crate) fn connected(&mut self, peer: PeerId, filters: bool, now: Time) {
        let helper = Helper {
            filters,
            up_to_date: false,
            compared: false,
            owes_headers: None,
            owes_filters: None,
            owes_block: None,
            asked: now,
            repeats: 0,
            repeated: false,
            let_off: VecDeque::new(),
            progress: now,
            rest_until: now,
        };
        self.helpers.insert(peer, helper);
    }

    pub(crate) fn up_to_date(&mut self, peer: PeerId, now: Time) -> Result<(), LightError> {
        if let Some(helper) = self.helpers.get_mut(&peer) {
            helper.up_to_date = true;
        }
        self.work(now)
    }

    /// A peer is gone: what it owed is asked of others.
    pub(crate) fn disconnected(&mut self, peer: PeerId, now: Time) -> Result<(), LightError> {
        self.forget(peer);
        self.work(now)
    }

    /// The best chain has changed, or time has passed.
    pub(crate) fn tick(&mut self, now: Time) -> Result<(), LightError> {
        self.forgive_a_standstill(now);
        self.clock = now;
        self.leave_the_silent(now);
        self.ask_again(now);
        self.give_up_if_alone(now);
        self.work(now)
    }

    /// Jobs that nobody does for too long come to an end.
    fn give_up_if_alone(&mut self, now: Time) {
        let helped = self.helpers.values().any(|helper| helper.up_to_date && helper.filters)
            || (self.scans.is_empty() && !self.helpers.is_empty());
        if helped || (self.scans.is_empty() && self.blocks.is_empty()) {
            self.alone_since = None;
            return;
        }
        if now.saturating_sub(*self.alone_since.get_or_insert(now)) >= 3 * self.patience {
            for scan in std::mem::take(&mut self.scans) {
                let _ = scan.reply.send(Err(LightError::NoPeers));
            }
            for reply in std::mem::take(&mut self.blocks).into_iter().flat_map(|job| job.replies) {
                let _ = reply.send(Err(LightError::NoPeers));
            }
        }
    }

    /// Does what can be done now.
    fn work(&mut self, now: Time) -> Result<(), LightError> {
        self.drop_what_left_the_chain();
        self.work_on_dispute(now)?;
        self.work_on_round(now)?;
        self.hand_out_chunks(now);
        self.hand_out_blocks(now);
        Ok(())
    }

    /// Nobody owes answers any more about blocks that lost: many do not give them.
    fn drop_what_left_the_chain(&mut self) {
        let store = Arc::clone(&self.store);
        let store = store.read().unwrap_or_else(PoisonError::into_inner);
        let gone = |hash: &BlockHash| store.chain().height_of(hash).is_none();
        if self.round.as_ref().is_some_and(|round| gone(&round.stop)) {
            self.round = None;
        }
        if self.dispute.as_ref().is_some_and(|dispute| gone(&dispute.place.hash)) {
            self.dispute = None;
        }
        self.scans.retain(|scan| {
            let stays = !gone(&scan.to.hash);
            if !stays {
                let _ = scan.reply.send(Err(LightError::Gone(scan.to.height)));
            }
            stays
        });
        self.blocks.retain(|job| {
            let stays = !gone(&job.hash);
            if !stays {
                let height = store.chain().entry(&job.hash).map_or(0, |entry| entry.height());
                for reply in &job.replies {
                    let _ = reply.send(Err(LightError::Gone(height)));
                }
            }
            stays
        });
        let (scans, dispute) = (&self.scans, self.dispute.is_some());
        for helper in self.helpers.values_mut() {
            helper.owes_headers.take_if(|(_, stop)| gone(stop));
            if let Some(hash) = helper.owes_block.take_if(|hash| gone(hash)) {
                helper.let_off(hash);
            }
            helper.owes_filters.take_if(|task| match task {
                FilterTask::Claim(_) => !dispute,
                FilterTask::Chunk { scan, .. } => !scans.iter().any(|other| other.id == *scan),
            });
        }
    }
}
