//! Every bound and every wait of the state machine, each with its reason. "Core" is the reference client.

use std::time::Duration;

/// Our protocol version: the one that has wtxid relay (BIP339).
pub(crate) const PROTOCOL_VERSION: i32 = 70_016;
/// Peers below this know neither `getheaders` nor witnesses (Core's `MIN_PEER_PROTO_VERSION`).
pub(crate) const MIN_PEER_VERSION: i32 = 31_800;
/// A handshake is done by then or never.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a silent connection is pinged (Core).
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(120);
/// No answer to a ping for so long means nobody is there (Core).
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Blocks asked of one peer at a time (Core's `MAX_BLOCKS_IN_TRANSIT_PER_PEER`).
pub(crate) const MAX_IN_FLIGHT: usize = 16;
/// How far ahead of the last connected block blocks are asked for (Core's `BLOCK_DOWNLOAD_WINDOW`).
pub(crate) const DOWNLOAD_WINDOW: usize = 1_024;
/// Bytes of blocks that wait for their parents or their verdict. Beyond it only the block next in line is asked
/// for; what is in flight then (16 blocks a peer) may come on top.
pub(crate) const MAX_WAITING_BYTES: usize = 128 << 20;
/// A peer that holds up everybody else is dropped after this, doubled each time it happens in a row (Core).
pub(crate) const STALL_TIMEOUT_MIN: Duration = Duration::from_secs(2);
/// The most that doubling comes to (Core).
pub(crate) const STALL_TIMEOUT_MAX: Duration = Duration::from_secs(64);
/// A peer that owes blocks must send one each minute: 67 kB/s for the largest.
pub(crate) const BLOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// The block next in line is asked of a second and third peer after this.
pub(crate) const PARALLEL_AFTER: Duration = Duration::from_secs(5);
/// Peers that may be asked for the same block at once (Core's `MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK`).
pub(crate) const MAX_PARALLEL: usize = 3;
/// A block the node could not judge is not asked for again before this.
pub(crate) const UNJUDGED_REST: Duration = Duration::from_secs(5);
/// A block whose parent does not come is forgotten after this.
pub(crate) const BUFFERED_EXPIRY: Duration = Duration::from_secs(15 * 60);
/// Peers that serve only their last 288 blocks (BIP159) are asked for none deeper than this, leaving room for a
/// reorganisation meanwhile.
pub(crate) const LIMITED_DEPTH: u32 = 286;

/// The peer that headers are synced from must answer within this.
pub(crate) const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer we chose may have a worse chain than ours for so long (Core's `CHAIN_SYNC_TIMEOUT`).
pub(crate) const BEHIND_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Then it is asked, and has this long to show a better one (Core's `HEADERS_RESPONSE_TIME`).
pub(crate) const BEHIND_ANSWER: Duration = Duration::from_secs(2 * 60);
/// Blocks that a chain's work may lie behind the best one's and still be stored without a proof that it will catch
/// up (Core's `nMinimumChainWork` buffer: a day of blocks).
pub(crate) const WORK_BUFFER_BLOCKS: u64 = 144;
/// A best header not older than this is the present: all peers are asked for headers, not one.
pub(crate) const RECENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Most headers given in an announcement; beyond it an `inv` says that there is more (Core).
pub(crate) const MAX_ANNOUNCED_HEADERS: usize = 8;
/// Tip blocks kept in memory to serve as compact blocks.
pub(crate) const RECENT_BLOCKS: usize = 8;
/// Depth down to which `getblocktxn` is answered in kind (Core's `MAX_BLOCKTXN_DEPTH` is 10); deeper gets the block.
pub(crate) const MAX_COMPACT_DEPTH: u32 = 5;
/// Peers that we want compact blocks of at once (BIP152).
pub(crate) const MAX_HIGH_BANDWIDTH: usize = 3;
/// Half-built compact blocks at a time, over all peers.
pub(crate) const MAX_PARTIAL_BLOCKS: usize = 12;

/// Filters in answer to one `getcfilters` (BIP157).
pub(crate) const MAX_FILTERS: u32 = 1_000;
/// Filter headers told as checkpoints are so many blocks apart (BIP157).
pub(crate) const CHECKPOINT_INTERVAL: u32 = 1_000;
/// A light client's peers may have a worse chain than its own for so long; a full node waits longer because it may be
/// them that are right, and because it has more use for them.
pub(crate) const LIGHT_BEHIND_TIMEOUT: Duration = Duration::from_secs(120);

/// Transactions announced by one peer and not yet fetched (Core's `MAX_PEER_TX_ANNOUNCEMENTS`).
pub(crate) const MAX_TX_ANNOUNCED: usize = 5_000;
/// Transactions asked of one peer at a time (Core's `MAX_PEER_TX_REQUEST_IN_FLIGHT`).
pub(crate) const MAX_TX_IN_FLIGHT: usize = 100;
/// A transaction asked for comes within this, else the next peer is asked (Core).
pub(crate) const TX_TIMEOUT: Duration = Duration::from_secs(60);
/// Inbound peers are asked for a transaction this much later than those we chose (Core).
pub(crate) const TX_INBOUND_DELAY: Duration = Duration::from_secs(2);
/// Transactions waiting for the node's verdict; beyond it none are asked for.
pub(crate) const MAX_TX_PENDING: usize = 1_000;
/// Unasked-for transactions of one peer waiting for a verdict.
pub(crate) const MAX_TX_UNASKED: usize = 10;
/// Heaviest transaction anybody relays (Core's `MAX_STANDARD_TX_WEIGHT`).
pub(crate) const MAX_TX_WEIGHT: usize = 400_000;
/// Refused transactions remembered, so that they are not fetched again.
pub(crate) const MAX_REJECTED: usize = 60_000;
/// Transactions kept whose parents are missing (Core's long-standing default).
pub(crate) const MAX_ORPHANS: usize = 100;
/// Bytes of them.
pub(crate) const MAX_ORPHAN_BYTES: usize = 4_000_000;
/// After this a missing parent will not come (Core).
pub(crate) const ORPHAN_EXPIRY: Duration = Duration::from_secs(20 * 60);
/// Transactions waiting to be announced to one peer; beyond it the oldest ids are left out.
pub(crate) const MAX_TX_QUEUE: usize = 20_000;
/// Transactions in one announcement (Core's ceiling).
pub(crate) const MAX_TX_INV: usize = 1_000;
/// Things a peer is known to have, remembered per peer.
pub(crate) const MAX_KNOWN: usize = 25_000;
/// Mean wait between announcements to peers we chose, and to those that called us (Core).
pub(crate) const TRICKLE_OUTBOUND: Duration = Duration::from_secs(2);
/// See [`TRICKLE_OUTBOUND`].
pub(crate) const TRICKLE_INBOUND: Duration = Duration::from_secs(5);
/// On private networks nobody watches: announcements go out at once.
pub(crate) const TRICKLE_PRIVATE: Duration = Duration::from_millis(100);
/// How often our fee filter is told anew where it changed (Core: ten minutes on average).
pub(crate) const FEE_FILTER_INTERVAL: Duration = Duration::from_secs(600);

/// Addresses a peer may tell per second, averaged (Core's `MAX_ADDR_RATE_PER_SECOND`).
pub(crate) const ADDR_RATE: f64 = 0.1;
/// Addresses it may tell at once (Core).
pub(crate) const ADDR_BURST: f64 = 1_000.0;
/// A `getaddr` answer is kept this long, so that our book cannot be mapped (Core: about a day).
pub(crate) const ADDR_CACHE: Duration = Duration::from_secs(24 * 60 * 60);
/// No more than this share of the book is told, in percent (Core).
pub(crate) const ADDR_SHARE_PERCENT: usize = 23;
/// Addresses waiting to be passed on to one peer.
pub(crate) const MAX_ADDR_QUEUE: usize = 100;
/// Mean wait between passing addresses on (Core).
pub(crate) const ADDR_TRICKLE: Duration = Duration::from_secs(30);

/// A wrongdoer's address is not taken again for this long.
pub(crate) const DISCOURAGE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Wrongdoers remembered; the oldest make room.
pub(crate) const MAX_DISCOURAGED: usize = 10_000;
/// Calls under way at a time.
pub(crate) const MAX_DIALING: usize = 8;
/// Least time between two calls to addresses of the book.
pub(crate) const DIAL_INTERVAL: Duration = Duration::from_millis(500);
/// A call that has come to nothing by then is forgotten (the driver's own limit is shorter).
pub(crate) const DIAL_FORGET: Duration = Duration::from_secs(60);
/// How often an untried address is tested (Core).
pub(crate) const FEELER_INTERVAL: Duration = Duration::from_secs(120);
