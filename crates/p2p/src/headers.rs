//! Headers: whom to ask, what to pass on to the node, and chains that are not worth storing.
//!
//! Far from the present one peer is asked for all headers, then everybody for what is left; blocks come from
//! everybody. A chain is passed on (and stored) only if it claims enough work ([`Peers::least_work`]); a longer chain
//! that has not shown enough yet is first downloaded without storing it ([`Presync`]).
//!
//! Peers whose headers cannot be checked without their blocks are synced from otherwise: see [`crate::blocks_first`].

mod presync;

use lode_coins::Coin;
use lode_primitives::{BlockHash, Header, Work};

pub(crate) use presync::Presync;

use crate::blocks_first::lacks_multiplier;
use crate::headers::presync::Fed;
use crate::limits::{
    BEHIND_ANSWER, BEHIND_TIMEOUT, HEADERS_TIMEOUT, LIGHT_BEHIND_TIMEOUT, PROTOCOL_VERSION, RECENT,
};
use crate::message::{Locator, MAX_HEADERS};
use crate::peer::Known;
use crate::peers::{Output, Peers, Step};
use crate::{ConnectionKind, Event, Message, PeerId, Verdict};

impl Peers {
    /// The best header is of the present, or somebody has told all headers there are.
    fn near_present(&self, step: &Step<'_>) -> bool {
        let age = step.now.as_secs().saturating_sub(u64::from(step.view.best_header().time));
        age < RECENT.as_secs() || self.peers.values().any(|peer| peer.sync.exhausted && !peer.is_inbound())
    }

    /// Asks a peer for headers if that is due now: everybody near the present, one peer else.
    pub(crate) fn start_headers_if_due(&mut self, id: PeerId, step: &Step<'_>) {
        if self.near_present(step) {
            self.start_headers(id, step);
        } else {
            self.choose_header_source(step);
        }
    }

    /// Picks the peer to sync headers from if there is none: one we called before one that called us.
    pub(crate) fn choose_header_source(&mut self, step: &Step<'_>) {
        if self.header_source.is_some() {
            return;
        }
        let choice = self
            .peers
            .values()
            .filter(|peer| peer.is_ready() && !peer.sync.started && peer.kind != ConnectionKind::Feeler)
            .min_by_key(|peer| (peer.is_inbound(), peer.id))
            .map(|peer| peer.id);
        if let Some(id) = choice {
            self.header_source = Some(id);
            self.start_headers(id, step);
        }
    }

    fn start_headers(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.kind == ConnectionKind::Feeler || std::mem::replace(&mut peer.sync.started, true) {
            return;
        }
        // From the best header's parent, so that there is an answer even where we have all.
        let best = step.view.best_header();
        let from = if best.height == 0 { best.hash } else { best.prev };
        self.ask_headers(id, step.view.locator(&from), step);
    }

    fn ask_headers(&mut self, id: PeerId, hashes: Vec<BlockHash>, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sync.asked_headers = Some(step.now);
        let locator = Locator { version: PROTOCOL_VERSION as u32, hashes, stop: BlockHash::ZERO };
        self.send(id, Message::GetHeaders(locator));
    }

    /// Asks for what lies behind a block that a peer has told of and we do not know.
    pub(crate) fn ask_headers_to_unknown(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let asked_lately = peer
            .sync
            .asked_headers
            .is_some_and(|at| step.now.saturating_sub(at) < std::time::Duration::from_secs(5));
        if !asked_lately && peer.sync.presync.is_none() {
            self.ask_headers(id, step.view.locator(&step.view.best_header().hash), step);
        }
    }

    /// `headers` came.
    pub(crate) fn on_headers(&mut self, id: PeerId, headers: Vec<Header>, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sync.asked_headers = None;
        let (Some(first), Some(last)) = (headers.first(), headers.last()) else {
            return self.headers_exhausted(id, step);
        };
        if headers.iter().any(lacks_multiplier) {
            if self.options.light {
                return self.punish(id, "sends headers without multipliers, as old nodes do", step);
            }
            return self.sync_blocks_first(id, step);
        }
        let mut previous = None;
        for header in &headers {
            if previous.is_some_and(|hash| hash != header.prev) {
                return self.punish(id, "headers that do not follow one another", step);
            }
            previous = Some(header.hash());
        }
        let (parent_hash, last_hash) = (first.prev, last.hash());
        let inbound = peer.kind == ConnectionKind::Inbound;
        if let Some(mut presync) = peer.sync.presync.take() {
            let fed = presync.feed(&headers, step.view);
            return self.after_presync(id, presync, fed, step);
        }
        if peer.sync.judged.is_some_and(|(hash, _)| hash == parent_hash) {
            // Asked for ahead of the verdict on what it builds on.
            peer.sync.queued = Some(headers);
            return;
        }
        let Some(parent) = step.view.header(&parent_hash) else {
            // An announcement on a fork that was not worth storing, or of blocks that came while we were away.
            peer.sync.announced = Some(last_hash);
            return self.ask_headers_to_unknown(id, step);
        };
        if !parent.valid {
            return self.punish(id, "headers on an invalid block", step);
        }
        let full = headers.len() >= MAX_HEADERS;
        if let Some(info) = step.view.header(&last_hash) {
            if !info.valid {
                // A caller may follow a branch that the user has called invalid by hand: it is heard out, as by the
                // reference client. Whom we call should be of use.
                return match inbound {
                    true => self.headers_exhausted(id, step),
                    false => self.punish(id, "headers of an invalid block", step),
                };
            }
            self.learn(id, info.into());
            return self.after_known_headers(id, last_hash, full, step);
        }
        let claimed = claimed_work(self.options.coin, &headers).map(|work| parent.work + work);
        let Some(claimed) = claimed else {
            return self.punish(id, "header with a target that is none", step);
        };
        if claimed < self.least_work(step.view) {
            if full {
                self.start_presync(id, parent.hash, parent.work, &headers, step);
            } else {
                self.too_little_work(id, step);
            }
            return;
        }
        self.pass_on(id, headers, last_hash, full, step);
    }

    /// Gives headers to the node; asks for the next already.
    fn pass_on(&mut self, id: PeerId, headers: Vec<Header>, last: BlockHash, full: bool, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.sync.judged.is_some() {
            // One batch at a time; an announcement that came between will be asked for again.
            peer.sync.announced = Some(last);
            return;
        }
        peer.sync.judged = Some((last, full));
        self.out.push_back(Output::Event(Event::Headers { peer: id, headers }));
        if full {
            let mut locator = vec![last];
            locator.extend(step.view.locator(&step.view.best_header().hash));
            locator.truncate(crate::message::MAX_LOCATOR);
            self.ask_headers(id, locator, step);
        }
    }

    pub(crate) fn on_headers_verdict(&mut self, id: PeerId, verdict: Verdict, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some((last, full)) = peer.sync.judged.take() else { return };
        let queued = peer.sync.queued.take();
        match verdict {
            Verdict::Invalid(reason) => self.punish(id, &format!("invalid header: {reason}"), step),
            Verdict::Mutated(reason) | Verdict::Unjudged(reason) => {
                tracing::debug!(peer = %id, reason, "headers not judged");
                // Begun anew, perhaps with another peer, when the node can judge again.
                peer.sync.started = false;
                if self.header_source == Some(id) {
                    self.header_source = None;
                }
            }
            Verdict::Accepted => {
                if let Some(info) = step.view.header(&last) {
                    self.learn(id, info.into());
                }
                match queued {
                    Some(headers) => self.on_headers(id, headers, step),
                    None if full => self.ask_headers_behind(id, last, step),
                    None => self.headers_exhausted(id, step),
                }
                self.schedule_all(step);
            }
        }
    }

    /// Goes on behind headers just stored, unless that was asked for ahead.
    fn ask_headers_behind(&mut self, id: PeerId, last: BlockHash, step: &Step<'_>) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.sync.asked_headers.is_none() {
            let from = peer.sync.presync.as_ref().map_or(last, |presync| presync.last());
            self.ask_headers(id, vec![from], step);
        }
    }

    fn after_known_headers(&mut self, id: PeerId, last: BlockHash, full: bool, step: &Step<'_>) {
        if full {
            self.ask_headers(id, step.view.locator(&last), step);
        } else {
            self.headers_exhausted(id, step);
        }
        self.schedule(id, step);
    }

    /// A peer's whole chain is not worth storing. A light client has no use for such a peer.
    fn too_little_work(&mut self, id: PeerId, step: &Step<'_>) {
        tracing::debug!(peer = %id, "chain with too little work: ignored");
        if self.options.light {
            return self.punish(id, "its chain has too little work", step);
        }
        self.headers_exhausted(id, step);
    }

    /// A peer has no more headers for now: everybody else is asked for theirs.
    pub(crate) fn headers_exhausted(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.sync.exhausted = true;
        if self.options.light {
            self.out.push_back(Output::Event(Event::UpToDate { peer: id }));
        }
        if peer.sync.announced.take().is_some_and(|hash| step.view.header(&hash).is_none()) {
            self.ask_headers_to_unknown(id, step);
        }
        if self.header_source == Some(id) || self.near_present(step) {
            self.header_source = None;
            for other in self.ready_peers() {
                self.start_headers(other, step);
            }
        }
    }

    /// Notes that a peer has a block, if it is its best.
    pub(crate) fn learn(&mut self, id: PeerId, known: Known) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.sync.best_known.is_none_or(|best| best.work < known.work) {
            peer.sync.best_known = Some(known);
        }
    }

    /// A peer announced a block by its id.
    pub(crate) fn on_block_announced(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        match step.view.header(&hash) {
            Some(info) => {
                self.learn(id, info.into());
                self.schedule(id, step);
            }
            None => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.sync.announced = Some(hash);
                }
                self.ask_headers_to_unknown(id, step);
            }
        }
    }

    fn start_presync(
        &mut self,
        id: PeerId,
        from: BlockHash,
        work: Work,
        headers: &[Header],
        step: &Step<'_>,
    ) {
        let least = self.least_work(step.view);
        let salt = rand::Rng::random(&mut self.rng);
        let Some(start) = step.view.header(&from) else { return };
        let mut presync =
            Box::new(Presync::new(self.options.coin, from, work, start.time, least, step.now, salt));
        tracing::debug!(peer = %id, "long chain with little work so far: looking at it without storing it");
        let fed = presync.feed(headers, step.view);
        self.after_presync(id, presync, fed, step);
    }

    fn after_presync(&mut self, id: PeerId, presync: Box<Presync>, fed: Fed, step: &Step<'_>) {
        match fed {
            Fed::Invalid(reason) => self.punish(id, reason, step),
            Fed::Exhausted => {
                self.too_little_work(id, step);
            }
            Fed::More => {
                let mut locator = vec![presync.last()];
                locator.extend(step.view.locator(&presync.start()));
                locator.truncate(crate::message::MAX_LOCATOR);
                self.ask_headers(id, locator, step);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.sync.presync = Some(presync);
                }
            }
            Fed::Ready { headers, done } => {
                let Some(last) = headers.last().map(Header::hash) else { return };
                let Some(peer) = self.peers.get_mut(&id) else { return };
                // What follows is asked for when these are judged.
                peer.sync.judged = Some((last, true));
                peer.sync.presync = (!done).then_some(presync);
                self.out.push_back(Output::Event(Event::Headers { peer: id, headers }));
            }
        }
    }

    /// Peers that do not answer, and peers we chose that have less than we have.
    pub(crate) fn tick_headers(&mut self, step: &Step<'_>) {
        self.drop_those_behind(step);
        let Some(source) = self.header_source else { return self.choose_header_source(step) };
        let Some(peer) = self.peers.get_mut(&source) else {
            self.header_source = None;
            return;
        };
        let late = peer.sync.asked_headers.is_some_and(|at| step.now.saturating_sub(at) >= HEADERS_TIMEOUT);
        if late {
            peer.sync.asked_headers = None;
            self.drop_peer(source, "does not answer getheaders", step);
        }
    }
}

impl Peers {
    /// A slot for outgoing calls is wasted on, or held by, a peer whose chain stays behind ours: it is asked once more
    /// and then dropped (Core's `ConsiderEviction`).
    fn drop_those_behind(&mut self, step: &Step<'_>) {
        let tip = step.view.tip();
        let light = self.options.light;
        let timeout = if light { LIGHT_BEHIND_TIMEOUT } else { BEHIND_TIMEOUT };
        let (mut ask, mut late) = (Vec::new(), Vec::new());
        for peer in self.peers.values_mut() {
            // A light client's peers are asked one after the other: who has not had its turn is not behind.
            let chosen = match light {
                true => peer.sync.exhausted,
                false => matches!(peer.kind, ConnectionKind::Outbound | ConnectionKind::BlockRelay),
            };
            let behind = peer.sync.best_known.is_none_or(|best| best.work < tip.work);
            if !chosen || !peer.is_ready() || !behind {
                peer.sync.behind_since = None;
                continue;
            }
            let since = *peer.sync.behind_since.get_or_insert(step.now);
            let age = step.now.saturating_sub(since);
            if age >= timeout + BEHIND_ANSWER {
                late.push(peer.id);
            } else if age >= timeout && peer.sync.asked_headers.is_none_or(|at| at < since + timeout) {
                ask.push(peer.id);
            }
        }
        for id in ask {
            let tip = step.view.header(&tip.hash).map_or(tip.hash, |info| info.prev);
            self.ask_headers(id, step.view.locator(&tip), step);
        }
        for id in late {
            self.drop_peer(id, "its chain stays behind ours", step);
        }
    }
}

/// The work that headers claim by their targets; `None` where one has none.
fn claimed_work(coin: &Coin, headers: &[Header]) -> Option<Work> {
    headers.iter().try_fold(Work::ZERO, |sum, header| Some(sum + coin.block_work(header.bits)?))
}
