//! One connection as the state machine sees it. Each manager has its own part of it.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use lode_primitives::{BlockHash, Header, Height, Txid, Work, Wtxid};

use crate::blocks_first::BlocksFirst;
use crate::headers::Presync;
use crate::light::Owed;
use crate::limits::{ADDR_BURST, MAX_KNOWN};
use crate::message::{AddrEntry, Services, Version};
use crate::rolling::Rolling;
use crate::{ConnectionKind, HeaderInfo, PeerId, PeerInfo, Time};

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Their `version` has not come.
    AwaitVersion,
    /// Their `verack` has not come.
    AwaitVerack,
    /// Done.
    Ready,
}

/// A block a peer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) hash: BlockHash,
    pub(crate) height: Height,
    pub(crate) work: Work,
}

impl From<HeaderInfo> for Known {
    fn from(info: HeaderInfo) -> Self {
        Self { hash: info.hash, height: info.height, work: info.work }
    }
}

/// A block of a peer's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathBlock {
    pub(crate) hash: BlockHash,
    /// It was stored when it was put into the path.
    pub(crate) have: bool,
}

/// Headers and blocks.
#[derive(Debug, Default)]
pub(crate) struct PeerSync {
    /// It was asked for headers at all.
    pub(crate) started: bool,
    /// The best block it has that we know the header of.
    pub(crate) best_known: Option<Known>,
    /// A block it announced whose header we did not know then.
    pub(crate) announced: Option<BlockHash>,
    /// The best block we told it of.
    pub(crate) best_sent: Option<Known>,
    /// When it was asked for headers, while the answer is missing.
    pub(crate) asked_headers: Option<Time>,
    /// Last header of those that wait for the node's verdict, and whether more will follow.
    pub(crate) judged: Option<(BlockHash, bool)>,
    /// One more batch, behind those.
    pub(crate) queued: Option<Vec<Header>>,
    /// It told all headers it has.
    pub(crate) exhausted: bool,
    /// Since when its best block has less work than ours.
    pub(crate) behind_since: Option<Time>,
    /// A chain of it whose work is not yet proven.
    pub(crate) presync: Option<Box<Presync>>,
    /// Blocks of its best chain behind the last one we have, oldest first.
    pub(crate) path: VecDeque<PathBlock>,
    /// Height of the first of them.
    pub(crate) path_first: Height,
    /// The end of the chain that `path` is a piece of.
    pub(crate) path_target: Option<BlockHash>,
    /// All before this place in `path` were asked for, in the round of requests numbered `round`.
    pub(crate) path_next: usize,
    /// See `path_next`.
    pub(crate) round: u64,
    /// The count of invalid blocks up to which its best block was looked at again.
    pub(crate) checked: u64,
    /// Blocks asked of it.
    pub(crate) in_flight: Vec<BlockHash>,
    /// When it last sent a block, or was asked while it owed none.
    pub(crate) progress: Time,
    /// Since when it keeps others from going on.
    pub(crate) stalling_since: Option<Time>,
    /// Set where it is synced from by blocks alone.
    pub(crate) blocks_first: Option<Box<BlocksFirst>>,
}

/// Compact blocks.
#[derive(Debug, Default)]
pub(crate) struct PeerCompact {
    /// It speaks version 2.
    pub(crate) supported: bool,
    /// It wants new blocks at once.
    pub(crate) wants_at_once: bool,
    /// We want that from it.
    pub(crate) asked_at_once: bool,
}

/// Transactions.
#[derive(Debug)]
pub(crate) struct PeerRelay {
    /// It wants transactions at all.
    pub(crate) wanted: bool,
    /// Announcements go by wtxid.
    pub(crate) wtxid: bool,
    /// Transactions it has: first eight bytes of the id it knows them by.
    pub(crate) known: Rolling<[u8; 8]>,
    /// To be announced.
    pub(crate) queue: BTreeSet<(Wtxid, Txid)>,
    /// When the next announcement goes out.
    pub(crate) next_send: Time,
    /// It wants none below, satoshi per 1,000 virtual bytes.
    pub(crate) fee_filter: u64,
    /// What we told it.
    pub(crate) told_fee_filter: Option<u64>,
    /// When we look again whether to tell it.
    pub(crate) next_fee_filter: Time,
    /// Unasked-for transactions waiting for a verdict.
    pub(crate) unasked: usize,
}

/// Addresses.
#[derive(Debug)]
pub(crate) struct PeerAddresses {
    /// It takes `addrv2`.
    pub(crate) v2: bool,
    /// It takes part in telling addresses.
    pub(crate) enabled: bool,
    /// `getaddr` was answered.
    pub(crate) answered: bool,
    /// Addresses it may still tell now.
    pub(crate) allowance: f64,
    /// When that was last reckoned.
    pub(crate) allowance_at: Time,
    /// To be passed on.
    pub(crate) queue: Vec<AddrEntry>,
    /// When they go out.
    pub(crate) next_send: Time,
}

/// Pings.
#[derive(Debug, Default)]
pub(crate) struct PeerPing {
    /// The nonce on the way.
    pub(crate) nonce: Option<u64>,
    /// When the last was sent.
    pub(crate) sent: Time,
    pub(crate) last: Option<Duration>,
    pub(crate) min: Option<Duration>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) local_address: Option<SocketAddr>,
    pub(crate) kind: ConnectionKind,
    pub(crate) session_id: Option<[u8; 32]>,
    pub(crate) connected: Time,
    pub(crate) stage: Stage,
    /// The nonce in our `version`.
    pub(crate) nonce: u64,
    pub(crate) version: Option<Version>,
    pub(crate) send_headers: bool,
    pub(crate) sync: PeerSync,
    pub(crate) compact: PeerCompact,
    pub(crate) relay: PeerRelay,
    pub(crate) addresses: PeerAddresses,
    pub(crate) ping: PeerPing,
    /// Answers it owes a light client.
    pub(crate) owed: Owed,
    pub(crate) last_block: Time,
    pub(crate) last_transaction: Time,
    pub(crate) last_send: Time,
    pub(crate) last_receive: Time,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Peer {
    pub(crate) fn new(id: PeerId, address: SocketAddr, kind: ConnectionKind, nonce: u64, now: Time) -> Self {
        Self {
            id,
            address,
            local_address: None,
            kind,
            session_id: None,
            connected: now,
            stage: Stage::AwaitVersion,
            nonce,
            version: None,
            send_headers: false,
            sync: PeerSync::default(),
            compact: PeerCompact::default(),
            relay: PeerRelay {
                wanted: false,
                wtxid: false,
                known: Rolling::new(MAX_KNOWN),
                queue: BTreeSet::new(),
                next_send: now,
                fee_filter: 0,
                told_fee_filter: None,
                next_fee_filter: now,
                unasked: 0,
            },
            addresses: PeerAddresses {
                v2: false,
                enabled: false,
                answered: false,
                allowance: 1.0,
                allowance_at: now,
                queue: Vec::new(),
                next_send: now,
            },
            ping: PeerPing { sent: now, ..PeerPing::default() },
            owed: Owed::default(),
            last_block: Time::ZERO,
            last_transaction: Time::ZERO,
            last_send: Time::ZERO,
            last_receive: Time::ZERO,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub(crate) fn is_inbound(&self) -> bool {
        self.kind == ConnectionKind::Inbound
    }

    pub(crate) fn services(&self) -> Services {
        self.version.as_ref().map_or(Services(0), |version| version.services)
    }

    /// Transactions go to it and come from it.
    pub(crate) fn relays_transactions(&self) -> bool {
        self.is_ready()
            && !matches!(self.kind, ConnectionKind::BlockRelay | ConnectionKind::Feeler)
            && self.relay.wanted
    }

    /// Lets it tell the addresses that a `getaddr` of ours asks for.
    pub(crate) fn expect_addresses(&mut self) {
        self.addresses.allowance = self.addresses.allowance.max(0.0) + ADDR_BURST;
    }

    pub(crate) fn info(&self, now: Time, synced_blocks: Option<Height>) -> PeerInfo {
        let version = self.version.as_ref();
        PeerInfo {
            id: self.id,
            address: self.address,
            local_address: self.local_address,
            kind: self.kind,
            encrypted: self.session_id.is_some(),
            session_id: self.session_id,
            established: self.is_ready(),
            version: version.map_or(0, |v| v.version),
            services: self.services().0,
            user_agent: version.map_or_else(String::new, |v| v.user_agent.clone()),
            start_height: version.map_or(-1, |v| v.start_height),
            relay_transactions: self.relay.wanted,
            time_offset: version.map_or(0, |v| v.time.saturating_sub(self.connected.as_secs() as i64)),
            connected_at: self.connected.as_secs(),
            last_send: self.last_send.as_secs(),
            last_receive: self.last_receive.as_secs(),
            last_block: self.last_block.as_secs(),
            last_transaction: self.last_transaction.as_secs(),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            ping: self.ping.last,
            min_ping: self.ping.min,
            ping_wait: self.ping.nonce.map(|_| now.saturating_sub(self.ping.sent)),
            synced_headers: self.sync.best_known.map(|known| known.height),
            synced_blocks,
            in_flight: self.sync.in_flight.clone(),
            fee_filter: self.relay.fee_filter,
            high_bandwidth_to: self.compact.asked_at_once,
            high_bandwidth_from: self.compact.wants_at_once,
        }
    }
}
