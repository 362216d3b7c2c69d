//! Bounds and constants of the rules that are the same for every coin, each with its reason or source.

/// How far ahead of our clock a block's time may be, in seconds (reference client: `MAX_FUTURE_BLOCK_TIME`).
pub const MAX_FUTURE_SECONDS: u32 = 2 * 60 * 60;

/// How far before its parent the first block of a retarget interval may be, in seconds (BIP94).
pub const MAX_TIMEWARP_SECONDS: u32 = 600;

/// Blocks whose median time is the least time of the next.
pub const MEDIAN_TIME_BLOCKS: usize = 11;

/// From this height on BIP30 is checked again: some coinbases before BIP34 announce heights as great as this, so a
/// duplicate becomes possible (reference client: `BIP34_IMPLIES_BIP30_LIMIT`).
pub const BIP30_AGAIN: u32 = 1_983_702;

/// Lock times below are heights, others Unix times.
pub const LOCKTIME_THRESHOLD: u32 = 500_000_000;

/// A coinbase's script: least and most bytes.
pub const COINBASE_SCRIPT_BYTES: std::ops::RangeInclusive<usize> = 2..=100;

/// Blocks kept behind the tip when pruning, with their undo data: no deeper reorganisation can be followed then
/// (reference client: `MIN_BLOCKS_TO_KEEP`).
pub const KEEP_BLOCKS: u32 = 288;

/// A block with less work behind it than the tip had so many blocks ago is not stored, unless the best chain of headers
/// goes through it: branches that lead nowhere cannot fill the disk for less than the present price of that many blocks
/// each. (The reference client keeps headers by such a rule, with 144 blocks.)
pub const SIDE_BLOCKS: u32 = KEEP_BLOCKS;

/// With this for a size, nothing is pruned but what [`crate::Chain::prune_to`] is asked to (reference client).
pub const PRUNE_BY_HAND: u64 = 1;

/// The least size to prune to, in MiB: room for [`KEEP_BLOCKS`] full blocks and their undo data (reference client:
/// `MIN_DISK_SPACE_FOR_BLOCK_FILES`).
pub const PRUNE_LEAST_MIB: u64 = 550;

/// A block file is closed and the next begun before it grows past this.
pub const BLOCK_FILE_BYTES: u64 = 128 << 20;

/// Memory for coins between flushes, in bytes, unless told otherwise. While a flush of a full one lasts it takes as much
/// again.
pub const CACHE_BYTES: usize = 256 << 20;

/// Seconds between flushes while the tip is recent: what has to be replayed after a kill.
pub const FLUSH_SECONDS: u32 = 60;

/// Seconds between flushes during the first sync, where a flush costs more and a replay is worth less.
pub const FLUSH_SECONDS_SYNC: u32 = 900;

/// Blocks connected by one call at most, once the chain is better than before: bounds the memory of its report.
pub const CONNECT_STEP: usize = 64;

/// Headers in one `headers` message (protocol).
pub const MAX_HEADERS: usize = 2_000;

/// An assumed-valid block's ancestors are taken on trust only where the best header chain has this much work on top
/// of them, in seconds at its present rate (reference client: two weeks).
pub const ASSUME_VALID_SECONDS: u64 = 14 * 24 * 60 * 60;

/// Hashes in a locator: enough to step back over any chain in doubling steps (reference client: `MAX_LOCATOR_SZ`).
pub const MAX_HASHES_IN_LOCATOR: usize = 101;
