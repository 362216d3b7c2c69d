//! The share log: an append-only record of accepted shares, the truth from which the books can be rebuilt.
//!
//! One writer ([`ShareLog`]) appends batches, each with one write; a share in a batch whose append returned is in the
//! kernel's hands and outlives the process (`kill -9`), and is on the disk within [`LogOptions::sync_every`] (a power
//! cut loses at most that). Files are bounded in size and readable each on its own; `docs/share-log.md` shows the bytes.

mod format;
mod reader;
mod salvage;
mod sync;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use format::SegmentHeader;
pub use reader::{AccountEntry, ShareRecord, Tail, TemplateEntry, segments};
pub(crate) use reader::{Dictionary, RawShare, Segment};
pub use salvage::{Salvaged, salvage};
pub use writer::{MAX_BATCH, Recovery, Share, ShareLog};

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The directory of the segments; made where missing.
    pub dir: PathBuf,
    /// Coin and network such as `bitcoin/regtest`, at most 24 bytes: another chain's log is refused.
    pub chain: String,
    /// A segment of this many bytes is ended and the next begun.
    pub segment_bytes: u64,
    /// Longest time from append to disk. `None`: no thread syncs, the caller calls [`ShareLog::sync`] (simulations).
    pub sync_every: Option<Duration>,
}

impl LogOptions {
    /// 64 MiB segments (three million shares), synced every 200 ms.
    pub fn new(dir: impl Into<PathBuf>, chain: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            chain: chain.into(),
            segment_bytes: 64 << 20,
            sync_every: Some(Duration::from_millis(200)),
        }
    }
}

/// What went wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// No room: the batch was not recorded, and nothing of it remains.
    #[error("the disk of {path} is full: no share can be accepted until there is room")]
    DiskFull {
        /// The segment that could not grow.
        path: PathBuf,
    },
    /// A failed append could not be undone, or syncing failed: what follows on the disk is unknown.
    #[error("the share log takes no more shares since {0}; restart when the disk is well again")]
    Failed(String),
    /// More shares than one batch takes.
    #[error("a batch has at most {MAX_BATCH} shares, this one has {0}")]
    BatchTooLarge(usize),
    /// A segment's header cannot be read.
    #[error(
        "the header of {path} is damaged; move the file away to go on without its shares, or restore it from a backup"
    )]
    Header {
        /// The file.
        path: PathBuf,
    },
    /// Data that was safe on the disk has changed.
    #[error("{path} is damaged from byte {at} on{}; `lode log --salvage {path}` keeps all that can be read, or restore it from a backup",
        resumes.map_or(String::new(), |at| format!(" (intact again at byte {at})")))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        at: u64,
        /// Where intact frames begin again, if they do.
        resumes: Option<u64>,
    },
    /// A file of balances or of found blocks has changed where it was safe on the disk.
    #[error("{path} is damaged from byte {at} on, with intact records behind it; restore it from a backup")]
    DamagedRecords {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        at: u64,
    },
    /// A frame is intact but makes no sense: written by another version, or by a defect.
    #[error("{path} has a record at byte {at} that this version cannot read; use the version that wrote it")]
    Record {
        /// The file.
        path: PathBuf,
        /// Where its frame begins.
        at: u64,
    },
    /// Segments missing in the middle of what is needed.
    #[error(
        "segment {missing} is missing in {dir}; restore it, or move the older ones away to go on without them"
    )]
    Missing {
        /// The log's directory.
        dir: PathBuf,
        /// Its number.
        missing: u64,
    },
    /// The log of another chain.
    #[error("{path} is the share log of {found}, not of {expected}; choose another directory")]
    OtherChain {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// Another process writes to it.
    #[error("{dir} is in use by another process")]
    Locked {
        /// The log's directory.
        dir: PathBuf,
    },
}

/// For `map_err`: an [`LogError::Io`].
pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.to_path_buf();
    move |source| LogError::Io { what, path, source }
}

/// Calls `each` for every share of the log in `dir`, oldest first, and says how the last segment ends. For `lode log`;
/// reads only, and may run beside the pool (the newest shares may then look torn).
pub fn read(dir: &Path, mut each: impl FnMut(ShareRecord<'_>)) -> Result<Tail, LogError> {
    let segments = segments(dir)?;
    let mut tail = Tail::Clean;
    for (i, (_, path)) in segments.iter().enumerate() {
        let Some(segment) = Segment::read(path, i + 1 == segments.len())? else { break };
        segment.for_each(|dictionary, share| {
            if let Some(record) = dictionary.show(&share) {
                each(record);
            }
        })?;
        if let Tail::Damaged { at, resumes } = segment.tail {
            return Err(LogError::Damaged { path: path.clone(), at, resumes });
        }
        tail = segment.tail;
    }
    Ok(tail)
}
