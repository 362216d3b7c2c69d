//! What the network tells the node, and the verdicts the node gives back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Message;
use crate::message::Services;
use lode_primitives::{Block, BlockHash, Header, Height, Transaction, Txid, Wtxid};

/// Time since the Unix epoch on a clock that never goes back. State machines get it as an argument.
pub type Time = Duration;

/// A connection's number; never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// What the node gets from the network. Each of the first three wants exactly one verdict back; until then the peer
/// may send no more of its kind than a bound, so the channel of events cannot grow without end.
#[derive(Clone, Debug)]
pub enum Event {
    /// Headers in a row, the first one's parent known. They carry enough claimed work to be worth storing, but
    /// nothing about them is checked. Wants [`crate::P2p::headers_verdict`].
    Headers {
        /// Who sent them.
        peer: PeerId,
        /// The headers, oldest first, at most 2,000.
        headers: Vec<Header>,
    },
    /// A block to validate. Parents come before children; the header itself may be new (compact blocks, blocks sent
    /// unasked), its parent's is known. Wants [`crate::P2p::block_verdict`].
    Block {
        /// Who sent it.
        peer: PeerId,
        /// Its id.
        hash: BlockHash,
        /// The block.
        block: Arc<Block>,
    },
    /// A transaction for the mempool. Wants [`crate::P2p::transaction_verdict`].
    Transaction {
        /// Who sent it.
        peer: PeerId,
        /// Its id with witnesses.
        wtxid: Wtxid,
        /// The transaction.
        transaction: Arc<Transaction>,
    },
    /// A peer finished its handshake.
    Connected {
        /// Which.
        peer: PeerId,
        /// Its address.
        address: SocketAddr,
        /// It called us.
        inbound: bool,
        /// What it offers.
        services: Services,
    },
    /// What a peer answers to a [`crate::Question`].
    Answer {
        /// Who.
        peer: PeerId,
        /// The message.
        message: Message,
    },
    /// A peer was not asked: it is not known to have that block on its chain (yet), and is not to blame for that.
    NotAsked {
        /// Who.
        peer: PeerId,
        /// For what.
        question: crate::Question,
    },
    /// A light client leaves a peer because of what it did; [`Event::Disconnected`] follows.
    Blamed {
        /// Who.
        peer: PeerId,
        /// Its address.
        address: SocketAddr,
        /// Why, for people.
        reason: String,
    },
    /// A peer has told a light client all headers it has for now.
    UpToDate {
        /// Who.
        peer: PeerId,
    },
    /// A peer that had finished its handshake is gone.
    Disconnected {
        /// Which.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
}

/// The node's judgement of headers or of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong was found: stored, connected or known before.
    Accepted,
    /// It breaks a rule of consensus: who sent it is dropped and not called again for a day.
    Invalid(String),
    /// The transactions are not those the header commits to, so nothing is known about the block itself: it is
    /// asked for again, from another peer.
    Mutated(String),
    /// It could not be judged, through no fault of the peer (its parent is missing, disk full, shutting down).
    Unjudged(String),
}

/// The node's judgement of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxVerdict {
    /// It is in the mempool now and will be announced to others.
    Accepted {
        /// Its fee rate, satoshi per 1,000 virtual bytes: peers whose fee filter is higher are not told.
        fee_rate: u64,
    },
    /// It was known already.
    Known,
    /// It spends outputs nobody knows: kept for a while, these parents are asked for.
    MissingInputs {
        /// Transactions whose outputs it spends and which are not known.
        parents: Vec<Txid>,
    },
    /// Not taken. It is not asked for again while it is remembered.
    Rejected {
        /// Why: the reference client's short string.
        reason: String,
        /// It breaks consensus itself (not mere policy): who sent it is dropped.
        invalid: bool,
    },
}

/// How a connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// The peer called us.
    Inbound,
    /// Named by the user (`connect`, `addnode`): kept up, never punished by address.
    Manual,
    /// Chosen from the address book: blocks, transactions and addresses.
    Outbound,
    /// Chosen from the address book: blocks only, harder to find by watching transactions.
    BlockRelay,
    /// A short call to see whether an address answers at all.
    Feeler,
}

/// What is known about a connected peer: `getpeerinfo`'s material.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its number.
    pub id: PeerId,
    /// Its address.
    pub address: SocketAddr,
    /// Our own end of the connection.
    pub local_address: Option<SocketAddr>,
    /// How it came about.
    pub kind: ConnectionKind,
    /// The transport is encrypted (BIP324).
    pub encrypted: bool,
    /// BIP324 session id.
    pub session_id: Option<[u8; 32]>,
    /// The handshake is finished.
    pub established: bool,
    /// Protocol version it told.
    pub version: i32,
    /// Service bits it told.
    pub services: u64,
    /// User agent it told.
    pub user_agent: String,
    /// Height it told in its version message.
    pub start_height: i32,
    /// It wants transactions.
    pub relay_transactions: bool,
    /// Its clock minus ours, seconds.
    pub time_offset: i64,
    /// When it was connected, Unix seconds.
    pub connected_at: u64,
    /// When something was last sent, Unix seconds, 0 for never.
    pub last_send: u64,
    /// When something was last received, Unix seconds, 0 for never.
    pub last_receive: u64,
    /// When it last gave us a block we took, Unix seconds, 0 for never.
    pub last_block: u64,
    /// When it last gave us a transaction we took, Unix seconds, 0 for never.
    pub last_transaction: u64,
    /// Bytes sent on the wire.
    pub bytes_sent: u64,
    /// Bytes received on the wire.
    pub bytes_received: u64,
    /// Last round trip.
    pub ping: Option<Duration>,
    /// Shortest round trip.
    pub min_ping: Option<Duration>,
    /// For how long a ping has been without an answer.
    pub ping_wait: Option<Duration>,
    /// Height of the best block it has that we know of.
    pub synced_headers: Option<Height>,
    /// Height of the last block we have in common.
    pub synced_blocks: Option<Height>,
    /// Blocks asked of it and not yet there.
    pub in_flight: Vec<BlockHash>,
    /// It asked for no transactions below this fee rate, satoshi per 1,000 virtual bytes.
    pub fee_filter: u64,
    /// We want new blocks from it as compact blocks at once (BIP152 high bandwidth).
    pub high_bandwidth_to: bool,
    /// It wants that from us.
    pub high_bandwidth_from: bool,
}
