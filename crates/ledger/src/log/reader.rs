//! Reading segments: scanning for damage, replaying shares, `lode log`.

use std::fs;
use std::path::{Path, PathBuf};

use lode_primitives::BlockHash;

use super::format::{FRAME_MAGIC, Frame, HEADER_LEN, Record, SegmentHeader};
use super::{LogError, io};
use crate::Credit;
use crate::registry::Mark;

/// Ending of segment files.
const SUFFIX: &str = ".shares";

/// The file of segment `number` in `dir`.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}{SUFFIX}"))
}

/// The segments of a log, by number.
pub fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("list", dir))? {
        let path = entry.map_err(io("list", dir))?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(SUFFIX)?.parse().ok())
            .filter(|number| *path == segment_path(dir, *number));
        found.extend(number.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// An account as a segment's dictionary has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountEntry {
    /// The address.
    pub name: String,
    /// The `scriptPubKey`.
    pub script: Vec<u8>,
}

/// A template as a segment's dictionary has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateEntry {
    /// Height of the block that was sought.
    pub height: u32,
    /// The block before it.
    pub prev: BlockHash,
    /// The network's difficulty in credit units.
    pub network_units: u128,
}

/// A segment's dictionary as far as it has been read. A salvaged segment may have gaps.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    accounts: Table<AccountEntry>,
    /// Account index and name.
    workers: Table<(u32, String)>,
    templates: Table<TemplateEntry>,
}

/// Entries by index.
#[derive(Debug)]
struct Table<T>(Vec<Option<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    /// `None` for an index that no writer makes: it would cost memory.
    fn insert(&mut self, index: u32, entry: T) -> Option<()> {
        let index = index as usize;
        if index > Mark::INDEX_MAX as usize {
            return None;
        }
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(entry);
        Some(())
    }

    fn get(&self, index: u32) -> Option<&T> {
        self.0.get(index as usize)?.as_ref()
    }
}

impl Dictionary {
    /// Enters what the record names; the share, where it is one. `None` where it names what is not there.
    fn apply(&mut self, record: &Record<'_>, base_ms: u64, sequence: u64) -> Option<Option<RawShare>> {
        match *record {
            Record::Account { index, name, script } => {
                self.accounts.insert(index, AccountEntry { name: name.into(), script: script.into() })?;
            }
            Record::Worker { index, account, name } => {
                self.accounts.get(account)?;
                self.workers.insert(index, (account, name.into()))?;
            }
            Record::Template { index, height, prev, network_units } => {
                self.templates.insert(index.into(), TemplateEntry { height, prev, network_units })?;
            }
            Record::Share { template, worker, offset_ms, credit } => {
                self.workers.get(worker)?;
                self.templates.get(template.into())?;
                let time_ms = base_ms.saturating_add(u64::from(offset_ms));
                return Some(Some(RawShare { sequence, time_ms, worker, template, credit }));
            }
        }
        Some(None)
    }

    /// The network's difficulty by a template, credit units.
    pub(crate) fn network_units(&self, template: u16) -> Option<u128> {
        self.templates.get(template.into()).map(|template| template.network_units)
    }

    /// `share` with its names; only for shares that this dictionary's segment has handed out.
    pub(crate) fn show(&self, share: &RawShare) -> Option<ShareRecord<'_>> {
        let (account, worker) = self.workers.get(share.worker)?;
        Some(ShareRecord {
            sequence: share.sequence,
            time_ms: share.time_ms,
            account: self.accounts.get(*account)?,
            worker,
            credit: share.credit,
            template: self.templates.get(share.template.into())?,
        })
    }
}

/// A share as read back, by its places in the dictionary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawShare {
    pub(crate) sequence: u64,
    pub(crate) time_ms: u64,
    pub(crate) worker: u32,
    pub(crate) template: u16,
    pub(crate) credit: Credit,
}

/// A share as `lode log` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareRecord<'a> {
    /// Its place in the whole log, from 0.
    pub sequence: u64,
    /// When it was accepted, Unix milliseconds; never before an earlier share's.
    pub time_ms: u64,
    /// Whose it is.
    pub account: &'a AccountEntry,
    /// The worker's name.
    pub worker: &'a str,
    /// The work credited.
    pub credit: Credit,
    /// What it was mined on.
    pub template: &'a TemplateEntry,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With its last frame.
    Clean,
    /// In the middle of what was never said to be safe: what follows `at` can be cut.
    Torn {
        /// Bytes that are intact.
        at: u64,
        /// Bytes after them.
        lost: u64,
    },
    /// Data that had been synced is not as it was written.
    Damaged {
        /// Where the damage begins.
        at: u64,
        /// Where intact frames begin again, if they do.
        resumes: Option<u64>,
    },
}

/// A segment read into memory.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    bytes: Vec<u8>,
    end: usize,
    pub(crate) tail: Tail,
}

impl Segment {
    /// Reads and scans a segment. `Ok(None)`: no header was ever completed, the file holds no share.
    pub(crate) fn read(path: &Path, last: bool) -> Result<Option<Self>, LogError> {
        let bytes = fs::read(path).map_err(io("read", path))?;
        let Some(header) = SegmentHeader::decode(&bytes) else {
            // A header is synced before its first frame is: behind a torn one nothing can have been safe.
            if last && find_frame(&bytes, 0).is_none_or(|(_, frame)| frame.synced == 0) {
                return Ok(None);
            }
            return Err(LogError::Header { path: path.into() });
        };
        let mut end = HEADER_LEN;
        while let Some(frame) = Frame::open(&bytes[end..]) {
            end += frame.len();
        }
        let tail = if end == bytes.len() {
            Tail::Clean
        } else {
            // An intact frame further on that says that this place was on the disk before it was written, or a whole
            // segment further on: then this is no torn tail.
            let mut next = find_frame(&bytes, end + 1);
            let resumes = next.map(|(at, _)| at as u64);
            let mut damaged = !last;
            while let Some((at, frame)) = next.filter(|_| !damaged) {
                damaged = frame.synced as usize > end;
                next = find_frame(&bytes, at + frame.len());
            }
            let at = end as u64;
            if damaged {
                Tail::Damaged { at, resumes }
            } else {
                Tail::Torn { at, lost: bytes.len() as u64 - at }
            }
        };
        Ok(Some(Self { path: path.into(), header, bytes, end, tail }))
    }

    /// Only the header, without reading the rest.
    pub(crate) fn read_header(path: &Path) -> Result<Option<SegmentHeader>, LogError> {
        use std::io::Read as _;
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        let file = fs::File::open(path).map_err(io("open", path))?;
        file.take(HEADER_LEN as u64).read_to_end(&mut bytes).map_err(io("read", path))?;
        Ok(SegmentHeader::decode(&bytes))
    }

    /// Calls `each` for every share up to the intact end, in order; returns the sequence number after the last.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Dictionary, RawShare)) -> Result<u64, LogError> {
        let mut dictionary = Dictionary::default();
        let mut sequence = self.header.first_sequence;
        let mut at = HEADER_LEN;
        while let Some(frame) = Frame::opened(&self.bytes[at..self.end]) {
            sequence = frame.sequence;
            let mut rest = frame.payload;
            while !rest.is_empty() {
                let bad = || LogError::Record { path: self.path.clone(), at: at as u64 };
                let (record, len) = Record::decode(rest).ok_or_else(bad)?;
                rest = &rest[len..];
                if let Some(share) =
                    dictionary.apply(&record, self.header.base_ms, sequence).ok_or_else(bad)?
                {
                    each(&dictionary, share);
                    sequence += 1;
                }
            }
            at += frame.len();
        }
        Ok(sequence)
    }
}

/// The first intact frame at or after `from`, and its place.
fn find_frame(bytes: &[u8], from: usize) -> Option<(usize, Frame<'_>)> {
    let mut at = from;
    while let Some(step) =
        bytes.get(at..)?.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)
    {
        at += step;
        if let Some(frame) = Frame::open(&bytes[at..]) {
            return Some((at, frame));
        }
        at += 1;
    }
    None
}

/// Copies the records of `frame` that make sense with what is known into `out`, entering names into `dictionary`.
/// Returns how many shares were copied, of how many.
pub(super) fn rewrite_frame(frame: &Frame<'_>, dictionary: &mut Dictionary, out: &mut Vec<u8>) -> (u64, u64) {
    let (mut copied, mut all) = (0, 0);
    let mut rest = frame.payload;
    while let Some((record, len)) = Record::decode(rest) {
        rest = &rest[len..];
        let is_share = matches!(record, Record::Share { .. });
        all += u64::from(is_share);
        if dictionary.apply(&record, 0, 0).is_some() {
            record.encode(out);
            copied += u64::from(is_share);
        }
    }
    (copied, all)
}
