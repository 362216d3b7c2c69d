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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use lode_p2p::message::{CFHeaders, CFilter, MAX_FILTER_HEADERS};
use lode_p2p::{PeerId, Question, Time};
use lode_primitives::filter::{BASIC_FILTER, filter_header};
use lode_primitives::{Block, BlockFilter, BlockHash, Hash256, Height, ScriptBuf, merkle};

use crate::store::{Place, Store};
use crate::{LightError, judge};

/// Filters asked of one peer at a time: some seconds' worth of the fullest blocks.
const CHUNK: Height = 200;
/// A peer that is not known to have a block is not asked again before this.
const REST: Duration = Duration::from_millis(500);
/// Filters and their headers are asked for again after this without an answer: a node makes the filter of a new block a
/// little after it has announced the block, and until then says nothing at all to whoever asks for it.
const REPEAT: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask a peer.
    Ask(PeerId, Question),
    /// Leave a peer, for this reason.
    Punish(PeerId, String),
}

/// Where an answer goes. Whoever waited may have gone.
pub(crate) type Reply<T> = Sender<Result<T, LightError>>;

/// A peer at work for us.
#[derive(Debug)]
struct Helper {
    /// It serves compact filters.
    filters: bool,
    /// It has told all its headers.
    up_to_date: bool,
    /// Its filter headers were compared with ours up to the tip of then.
    compared: bool,
    /// The stretch of filter headers that it owes: the first height and the last block.
    owes_headers: Option<(Height, BlockHash)>,
    owes_filters: Option<FilterTask>,
    owes_block: Option<BlockHash>,
    /// When it was last asked for something, or asked again.
    asked: Time,
    /// It was asked for something twice, and may answer twice.
    repeated: bool,
    /// When it last answered, or was asked while it owed nothing.
    progress: Time,
    rest_until: Time,
}

impl Helper {
    const fn owes(&self) -> bool {
        self.owes_headers.is_some() || self.owes_filters.is_some() || self.owes_block.is_some()
    }
}

#[derive(Debug)]
enum FilterTask {
    /// The one filter that it told this hash of.
    Claim(Hash256),
    /// A stretch of a scan; the heights still to come.
    Chunk { scan: u64, stop: BlockHash, left: BTreeSet<Height> },
}

/// One stretch of filter headers, asked of several peers.
#[derive(Debug)]
struct Round {
    first: Height,
    last: Height,
    stop: BlockHash,
    /// Only to compare newcomers with what is kept already.
    audit: bool,
    waiting: BTreeSet<PeerId>,
    answers: BTreeMap<PeerId, CFHeaders>,
}

/// Peers that tell different filters of one block.
#[derive(Debug)]
struct Dispute {
    place: Place,
    claims: Vec<Claim>,
    block: Option<Arc<Block>>,
}

#[derive(Debug)]
struct Claim {
    filter_hash: Hash256,
    peers: Vec<PeerId>,
    filter: Option<BlockFilter>,
}

#[derive(Debug)]
struct Scan {
    id: u64,
    scripts: Vec<ScriptBuf>,
    from: Height,
    to: Place,
    /// Stretches not handed out, first and last height.
    pending: VecDeque<(Height, Height)>,
    /// Blocks whose filter is not looked through yet.
    left: u32,
    matches: BTreeMap<Height, BlockHash>,
    reply: Reply<Vec<Place>>,
}

#[derive(Debug)]
struct BlockJob {
    hash: BlockHash,
    asked: Option<PeerId>,
    replies: Vec<Reply<Arc<Block>>>,
}

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
            repeated: false,
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

    fn forget(&mut self, peer: PeerId) {
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

    fn hand_back(&mut self, scan: u64, left: &BTreeSet<Height>) {
        if let (Some(scan), Some(first), Some(last)) =
            (self.scans.iter_mut().find(|other| other.id == scan), left.first(), left.last())
        {
            scan.pending.push_front((*first, *last));
        }
    }

    fn punish(&mut self, peer: PeerId, reason: String) {
        if self.helpers.contains_key(&peer) {
            self.forget(peer);
            self.actions.push_back(Action::Punish(peer, reason));
        }
    }

    fn ask(&mut self, peer: PeerId, question: Question, now: Time) {
        if let Some(helper) = self.helpers.get_mut(&peer) {
            if !helper.owes() {
                helper.progress = now;
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

    /// Looks for scripts in the best chain's blocks from height `from` to `to`.
    pub(crate) fn scan(
        &mut self,
        scripts: Vec<ScriptBuf>,
        from: Height,
        to: Height,
        reply: Reply<Vec<Place>>,
        now: Time,
    ) -> Result<(), LightError> {
        let stop = self.read().chain().entry_at(to).map(|entry| entry.hash());
        match stop {
            _ if from > to || scripts.is_empty() => drop(reply.send(Ok(Vec::new()))),
            None => drop(reply.send(Err(LightError::Gone(to)))),
            Some(hash) => {
                let id = self.next_scan;
                self.next_scan += 1;
                let (pending, matches) = (VecDeque::new(), BTreeMap::new());
                let to = Place { height: to, hash };
                self.scans.push(Scan { id, scripts, from, to, pending, left: 0, matches, reply });
                self.begin(id);
            }
        }
        self.work(now)
    }

    /// Sets a scan to its beginning.
    fn begin(&mut self, id: u64) {
        let Some(scan) = self.scans.iter_mut().find(|scan| scan.id == id) else { return };
        scan.left = scan.to.height - scan.from + 1;
        scan.matches.clear();
        let starts = (scan.from..=scan.to.height).step_by(CHUNK as usize);
        scan.pending = starts.map(|first| (first, scan.to.height.min(first + CHUNK - 1))).collect();
    }

    /// Fetches a block, of which the header is known.
    pub(crate) fn block(
        &mut self,
        hash: BlockHash,
        reply: Reply<Arc<Block>>,
        now: Time,
    ) -> Result<(), LightError> {
        self.want_block(hash).replies.push(reply);
        self.work(now)
    }

    fn want_block(&mut self, hash: BlockHash) -> &mut BlockJob {
        let place = self.blocks.iter().position(|job| job.hash == hash).unwrap_or_else(|| {
            self.blocks.push(BlockJob { hash, asked: None, replies: Vec::new() });
            self.blocks.len() - 1
        });
        &mut self.blocks[place]
    }

    /// The best chain has changed, or time has passed.
    pub(crate) fn tick(&mut self, now: Time) -> Result<(), LightError> {
        // While we stood still ourselves, on a busy machine, answers may have come that are not looked at yet.
        let stood_still = now.saturating_sub(self.clock);
        if self.clock > Time::ZERO && stood_still >= REPEAT {
            self.helpers.values_mut().for_each(|helper| helper.progress += stood_still);
        }
        self.clock = now;
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
            self.punish(peer, reason);
        }
        self.ask_again(now);
        self.give_up_if_alone(now);
        self.work(now)
    }

    /// Repeats the questions about filters that peers seem to have passed over ([`REPEAT`]). An answer that comes twice
    /// does no harm.
    fn ask_again(&mut self, now: Time) {
        let dispute = self.dispute.as_ref().map(|dispute| dispute.place);
        for (&peer, helper) in &mut self.helpers {
            if now.saturating_sub(helper.asked.max(helper.progress)) < REPEAT {
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
            let questions = headers.into_iter().chain(filters);
            for question in questions {
                (helper.asked, helper.repeated) = (now, true);
                self.actions.push_back(Action::Ask(peer, question));
            }
        }
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
            helper.owes_block.take_if(|hash| gone(hash));
            helper.owes_filters.take_if(|task| match task {
                FilterTask::Claim(_) => !dispute,
                FilterTask::Chunk { scan, .. } => !scans.iter().any(|other| other.id == *scan),
            });
        }
    }

    // Rounds.

    fn work_on_round(&mut self, now: Time) -> Result<(), LightError> {
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

    fn start_round(&mut self, now: Time) {
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
            helper.progress = now;
            round.waiting.remove(&peer);
            round.answers.insert(peer, answer);
        }
        self.work(now)
    }

    /// All asked have answered or are gone.
    fn finish_round(&mut self, now: Time) -> Result<(), LightError> {
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

    fn set_compared<'a>(&mut self, peers: impl Iterator<Item = &'a PeerId>) {
        for peer in peers {
            if let Some(helper) = self.helpers.get_mut(peer) {
                helper.compared = true;
            }
        }
    }

    /// Takes filter headers back: they are fetched again, from everybody. Scans begin again, since what they looked
    /// through may have been lies.
    fn go_back(&mut self, height: Height) -> Result<(), LightError> {
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

    // Disputes.

    fn work_on_dispute(&mut self, now: Time) -> Result<(), LightError> {
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
    fn judge(&mut self, block: &Block, now: Time) -> Result<(), LightError> {
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

    // Filters.

    fn hand_out_chunks(&mut self, now: Time) {
        loop {
            let known = self.read().filter_count();
            let free = self.helpers.iter().find(|(_, helper)| {
                helper.filters
                    && helper.up_to_date
                    && helper.owes_filters.is_none()
                    && helper.rest_until <= now
            });
            let Some((&peer, _)) = free else { return };
            let scan = self.scans.iter_mut().find(|scan| {
                scan.to.height < known && !scan.pending.is_empty() // a scan waits for all its filter headers
            });
            let Some(scan) = scan else { return };
            let Some((first, last)) = scan.pending.pop_front() else { return };
            let id = scan.id;
            let Some(stop) = self.read().chain().entry_at(last).map(|entry| entry.hash()) else { return };
            self.ask(peer, Question::Filters { first, stop }, now);
            if let Some(helper) = self.helpers.get_mut(&peer) {
                let left = (first..=last).collect();
                helper.owes_filters = Some(FilterTask::Chunk { scan: id, stop, left });
            }
        }
    }

    pub(crate) fn on_filter(&mut self, peer: PeerId, answer: CFilter, now: Time) -> Result<(), LightError> {
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.progress = now;
        let filter = BlockFilter::from_bytes(answer.filter);
        match &mut helper.owes_filters {
            Some(FilterTask::Claim(claimed)) => {
                let claimed = *claimed;
                let Some(dispute) = &mut self.dispute else {
                    helper.owes_filters = None;
                    return self.work(now);
                };
                if dispute.place.hash != answer.block {
                    return Ok(()); // of a stretch that was asked for before
                }
                helper.owes_filters = None;
                if filter.hash() != claimed {
                    let hash = dispute.place.hash;
                    self.punish(
                        peer,
                        format!("lies: its filter of block {hash} is not the one it told the hash of"),
                    );
                } else if let Some(claim) =
                    dispute.claims.iter_mut().find(|claim| claim.filter_hash == claimed)
                {
                    claim.filter = Some(filter);
                }
            }
            Some(FilterTask::Chunk { scan, left, .. }) => {
                let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
                let height = store.chain().height_of(&answer.block).filter(|height| left.contains(height));
                let Some(height) = height else { return Ok(()) };
                let headers = store.filter_header_before(height).zip(store.filter_header_before(height + 1));
                drop(store);
                if headers.is_none_or(|(before, header)| filter.header(&before) != header) {
                    let reason = format!(
                        "lies: its filter of block {} at height {height} is not the one that the filter headers commit to",
                        answer.block
                    );
                    self.punish(peer, reason);
                    return self.work(now);
                }
                left.remove(&height);
                let scan = *scan;
                if left.is_empty() {
                    helper.owes_filters = None;
                }
                self.look_through(scan, height, answer.block, &filter);
            }
            None => {}
        }
        self.work(now)
    }

    fn look_through(&mut self, id: u64, height: Height, hash: BlockHash, filter: &BlockFilter) {
        let Some(place) = self.scans.iter().position(|scan| scan.id == id) else { return };
        let scan = &mut self.scans[place];
        // A filter that its header commits to and that is none was judged by nobody: the block itself tells.
        if filter.matches_any(&hash, scan.scripts.iter().map(Vec::as_slice)).unwrap_or(true) {
            scan.matches.insert(height, hash);
        }
        scan.left = scan.left.saturating_sub(1);
        if scan.left == 0 {
            let scan = self.scans.swap_remove(place);
            let found = scan.matches.into_iter().map(|(height, hash)| Place { height, hash }).collect();
            let _ = scan.reply.send(Ok(found));
        }
    }

    // Blocks.

    fn hand_out_blocks(&mut self, now: Time) {
        let wanted: Vec<BlockHash> =
            self.blocks.iter().filter(|job| job.asked.is_none()).map(|job| job.hash).collect();
        for hash in wanted {
            let free = self.helpers.iter().find(|(_, helper)| {
                helper.up_to_date && helper.owes_block.is_none() && helper.rest_until <= now
            });
            let Some((&peer, _)) = free else { return };
            self.ask(peer, Question::Block(hash), now);
            self.want_block(hash).asked = Some(peer);
        }
    }

    pub(crate) fn on_block(&mut self, peer: PeerId, block: Arc<Block>, now: Time) -> Result<(), LightError> {
        let hash = block.hash();
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.progress = now;
        if helper.owes_block != Some(hash) {
            let lost = |chain: &lode_chain::HeaderChain| {
                chain.entry(&hash).is_some() && chain.height_of(&hash).is_none()
            };
            if lost(self.read().chain()) {
                return Ok(()); // asked for before it lost
            }
            self.punish(peer, format!("sends block {hash} where it was asked for another"));
            return self.work(now);
        }
        helper.owes_block = None;
        let (root, mutated) = merkle::root(block.transactions.iter().map(|tx| tx.txid().0).collect());
        if mutated || root != block.header.merkle_root {
            self.punish(
                peer,
                format!("lies: block {hash} comes with transactions that its header does not commit to"),
            );
            return self.work(now);
        }
        if let Some(place) = self.blocks.iter().position(|job| job.hash == hash) {
            for reply in self.blocks.swap_remove(place).replies {
                let _ = reply.send(Ok(Arc::clone(&block)));
            }
        }
        if let Some(dispute) = self.dispute.as_mut().filter(|dispute| dispute.place.hash == hash) {
            dispute.block = Some(block);
        }
        self.work(now)
    }

    /// A peer was not asked: it is not known to have this block.
    pub(crate) fn on_not_asked(
        &mut self,
        peer: PeerId,
        hash: BlockHash,
        now: Time,
    ) -> Result<(), LightError> {
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.rest_until = now + REST;
        if helper.owes_block == Some(hash) {
            helper.owes_block = None;
            self.blocks.iter_mut().filter(|job| job.hash == hash).for_each(|job| job.asked = None);
        } else if self.round.as_ref().is_some_and(|round| round.stop == hash && round.waiting.contains(&peer))
        {
            helper.owes_headers = None;
            if let Some(round) = &mut self.round {
                round.waiting.remove(&peer);
            }
        } else if let Some(FilterTask::Chunk { scan, left, .. }) =
            helper.owes_filters.take_if(|task| match task {
                FilterTask::Chunk { stop, .. } => *stop == hash,
                FilterTask::Claim(_) => true,
            })
        {
            self.hand_back(scan, &left);
        }
        self.work(now)
    }
}
