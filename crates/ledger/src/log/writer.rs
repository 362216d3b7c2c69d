//! The log's one writer: open (with replay), append, roll over, drop what is old.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::format::{FRAME_LEN, Frame, HEADER_LEN, Record, SHARE_LEN, SegmentHeader};
use super::reader::{Segment, Tail, segment_path, segments};
use super::sync::{SyncState, SyncThread};
use super::{Dictionary, LogError, LogOptions, RawShare, io};
use crate::Credit;
use crate::registry::{Mark, TemplateRef, Worker};

/// Most shares in one batch: bounds a frame, and what one torn write can hold.
pub const MAX_BATCH: usize = 32_768;

/// An accepted share on its way into the books.
#[derive(Clone, Debug)]
pub struct Share {
    /// Who found it.
    pub worker: Arc<Worker>,
    /// What it was mined on.
    pub template: Arc<TemplateRef>,
    /// The difficulty assigned to its job, never the one achieved.
    pub credit: Credit,
    /// When it came, Unix milliseconds. The log's clock never runs backwards: an earlier time than the share before
    /// is recorded as that share's.
    pub time_ms: u64,
}

/// The segment being written.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: Arc<File>,
    number: u64,
    base_ms: u64,
    len: u64,
    accounts: u32,
    workers: u32,
    templates: u16,
}

/// The writer of a share log.
#[derive(Debug)]
pub struct ShareLog {
    options: LogOptions,
    sync: Arc<SyncState>,
    /// Ends, with a last sync, before the lock is released.
    _thread: Option<SyncThread>,
    _lock: File,
    open: Option<Open>,
    next_number: u64,
    sequence: u64,
    units: u128,
    last_ms: u64,
    buffer: Vec<u8>,
    failure: Option<String>,
}

/// What opening a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Shares replayed.
    pub shares: u64,
    /// Segments replayed.
    pub segments: usize,
    /// A torn tail that was cut: the file and how many bytes were lost.
    pub cut: Option<(PathBuf, u64)>,
}

impl ShareLog {
    /// Opens the log for writing and replays it from the segment that `first` picks among the headers of all
    /// segments (an index; later segments follow). A torn tail is cut; damage in what is replayed is refused.
    pub(crate) fn open(
        options: LogOptions,
        first: impl FnOnce(&[SegmentHeader]) -> usize,
        mut each: impl FnMut(&Dictionary, RawShare, &SegmentHeader),
    ) -> Result<(Self, Recovery), LogError> {
        let dir = &options.dir;
        fs::create_dir_all(dir).map_err(io("create", dir))?;
        let lock_path = dir.join("LOCK");
        let lock = File::create(&lock_path).map_err(io("create", &lock_path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => LogError::Locked { dir: dir.clone() },
            fs::TryLockError::Error(source) => LogError::Io { what: "lock", path: lock_path, source },
        })?;
        let mut recovery = Recovery::default();
        let mut files = segments(dir)?;
        let mut newest = None;
        if let Some((_, path)) = files.last() {
            newest = Segment::read(path, true)?;
            if newest.is_none() {
                let lost = fs::metadata(path).map_err(io("read", path))?.len();
                fs::remove_file(path).map_err(io("remove", path))?;
                recovery.cut = Some((path.clone(), lost));
                files.pop();
            }
        }
        let mut headers = Vec::with_capacity(files.len());
        for (_, path) in &files {
            let header =
                Segment::read_header(path)?.ok_or_else(|| LogError::Header { path: path.clone() })?;
            if header.chain != options.chain {
                let (found, expected) = (header.chain, options.chain.clone());
                return Err(LogError::OtherChain { path: path.clone(), found, expected });
            }
            headers.push(header);
        }
        let mut log = Self {
            sync: Arc::default(),
            _thread: None,
            _lock: lock,
            open: None,
            next_number: files.last().map_or(1, |(number, _)| number + 1),
            sequence: headers.last().map_or(0, |header| header.first_sequence),
            units: headers.last().map_or(0, |header| header.units_before),
            last_ms: headers.last().map_or(0, |header| header.base_ms),
            buffer: Vec::new(),
            failure: None,
            options,
        };
        let start = first(&headers).min(files.len().saturating_sub(1));
        for (i, (number, path)) in files.iter().enumerate().skip(start) {
            if i > start && files[i - 1].0 + 1 != *number {
                let (dir, missing) = (log.options.dir.clone(), files[i - 1].0 + 1);
                return Err(LogError::Missing { dir, missing });
            }
            let last = i + 1 == files.len();
            let read = match newest.take_if(|_| last) {
                Some(newest) => Some(newest),
                None => Segment::read(path, last)?,
            };
            let Some(segment) = read else { continue };
            let file = OpenOptions::new().write(true).open(path).map_err(io("open", path))?;
            match segment.tail {
                Tail::Clean => {}
                Tail::Torn { at, lost } => {
                    file.set_len(at).map_err(io("cut", path))?;
                    recovery.cut = Some((path.clone(), lost));
                }
                Tail::Damaged { at, resumes } => {
                    return Err(LogError::Damaged { path: path.clone(), at, resumes });
                }
            }
            if last {
                // Its writer may have died before it could: once a newer segment exists, this one must be whole.
                file.sync_all().map_err(io("sync", path))?;
            }
            recovery.segments += 1;
            let (mut units, mut last_ms) = (segment.header.units_before, segment.header.base_ms);
            let end = segment.for_each(|dictionary, share| {
                recovery.shares += 1;
                units += u128::from(share.credit.to_units());
                last_ms = share.time_ms;
                each(dictionary, share, &segment.header);
            })?;
            (log.sequence, log.units, log.last_ms) = (end, units, last_ms);
        }
        if let Some(interval) = log.options.sync_every {
            let thread = SyncThread::spawn(Arc::clone(&log.sync), interval);
            log._thread = Some(thread.map_err(io("start a thread to sync", &log.options.dir))?);
        }
        Ok((log, recovery))
    }

    /// Appends a batch with one write. When this returns `Ok`, a crash of the process cannot lose the shares, and
    /// they may be answered "accepted". Where it returns an error none of them is in the log.
    pub fn append(&mut self, shares: &[Share]) -> Result<(), LogError> {
        if shares.is_empty() {
            return Ok(());
        }
        if shares.len() > MAX_BATCH {
            return Err(LogError::BatchTooLarge(shares.len()));
        }
        if let Some(failure) = self.failure.clone().or_else(|| self.sync.failure()) {
            return Err(LogError::Failed(failure));
        }
        self.make_room(shares)?;
        let result = self.write(shares);
        if result.is_err() {
            // The dictionary entries of the failed frame are not in the file: they must be written again.
            for share in shares {
                share.worker.mark.clear();
                share.worker.account().mark.clear();
                share.template.mark.clear();
            }
        }
        result
    }

    fn write(&mut self, shares: &[Share]) -> Result<(), LogError> {
        let open = self.open.as_mut().expect("make_room opened a segment");
        let (accounts, workers, templates) = (open.accounts, open.workers, open.templates);
        let mut last_ms = self.last_ms;
        let mut units = self.units;
        self.buffer.clear();
        self.buffer.resize(FRAME_LEN, 0);
        for share in shares {
            last_ms = last_ms.max(share.time_ms);
            units += u128::from(share.credit.to_units());
            open.encode(share, (last_ms - open.base_ms) as u32, &mut self.buffer);
        }
        let synced = self.sync.synced(open.number).min(u64::from(u32::MAX)) as u32;
        Frame::seal(&mut self.buffer, synced, self.sequence);
        if let Err(source) = open.file.write_all_at(&self.buffer, open.len) {
            (open.accounts, open.workers, open.templates) = (accounts, workers, templates);
            if let Err(error) = open.file.set_len(open.len) {
                let failure =
                    format!("a failed write to {} could not be undone: {error}", open.path.display());
                self.failure = Some(failure);
            }
            return Err(full_or_io("write to", open.path.clone(), source));
        }
        open.len += self.buffer.len() as u64;
        self.sync.wrote(open.len);
        self.sequence += shares.len() as u64;
        (self.last_ms, self.units) = (last_ms, units);
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Sees to it that a segment is open that can take the batch.
    fn make_room(&mut self, shares: &[Share]) -> Result<(), LogError> {
        let last_ms = shares.iter().map(|share| share.time_ms).fold(self.last_ms, u64::max);
        let batch = shares.len() as u64;
        let fits = self.open.as_ref().is_some_and(|open| {
            let room = self.options.segment_bytes.min(SEGMENT_MAX);
            last_ms - open.base_ms <= u64::from(u32::MAX)
                && (open.len == HEADER_LEN as u64
                    || open.len + batch * SHARE_LEN as u64 <= room
                        && u64::from(open.templates) + batch <= u64::from(u16::MAX)
                        && u64::from(open.workers.max(open.accounts)) + batch <= u64::from(Mark::INDEX_MAX))
        });
        if fits {
            return Ok(());
        }
        let base_ms = shares.iter().map(|share| share.time_ms).fold(u64::MAX, u64::min).max(self.last_ms);
        let header = SegmentHeader {
            number: self.next_number,
            base_ms,
            first_sequence: self.sequence,
            units_before: self.units,
            network_units: shares[0].template.network_units,
            chain: self.options.chain.clone(),
        };
        let path = segment_path(&self.options.dir, header.number);
        let begin = || -> std::io::Result<File> {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
            file.write_all_at(&header.encode(), 0)?;
            file.sync_all()?;
            File::open(&self.options.dir)?.sync_all()?;
            Ok(file)
        };
        let file = match begin() {
            Ok(file) => Arc::new(file),
            Err(source) => {
                // Half a header would be taken for a torn tail; better it is not there at all.
                let _ = fs::remove_file(&path);
                return Err(full_or_io("begin", path, source));
            }
        };
        self.sync.begin(header.number, Arc::clone(&file), HEADER_LEN as u64);
        self.next_number += 1;
        self.last_ms = self.last_ms.max(base_ms);
        self.open = Some(Open {
            path,
            file,
            number: header.number,
            base_ms,
            len: HEADER_LEN as u64,
            accounts: 0,
            workers: 0,
            templates: 0,
        });
        Ok(())
    }

    /// Waits until all that is appended is on the disk.
    pub fn sync(&self) -> Result<(), LogError> {
        self.sync.sync().map_err(LogError::Failed)
    }

    /// True while something appended is not on the disk yet.
    pub fn is_dirty(&self) -> bool {
        self.sync.is_dirty()
    }

    /// Shares recorded since the log began.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Work of all shares recorded since the log began, credit units.
    pub fn units(&self) -> u128 {
        self.units
    }

    /// The log's clock: the time of the newest share, Unix milliseconds.
    pub fn clock(&self) -> u64 {
        self.last_ms
    }

    /// Removes segments whose shares are all older than `before_ms`, oldest first, never the newest. Returns how many.
    pub fn drop_before(&mut self, before_ms: u64) -> Result<usize, LogError> {
        let files = segments(&self.options.dir)?;
        let mut dropped = 0;
        for pair in files.windows(2) {
            // A segment ends before the next one's base time.
            let [(_, path), (_, next)] = pair else { break };
            if Segment::read_header(next)?.is_none_or(|header| header.base_ms >= before_ms) {
                break;
            }
            fs::remove_file(path).map_err(io("remove", path))?;
            dropped += 1;
        }
        Ok(dropped)
    }
}

/// Largest segment: offsets in frames are 32 bits.
const SEGMENT_MAX: u64 = 1 << 31;
/// A buffer grown beyond this by a rare huge batch is given back.
const BUFFER_KEPT: usize = 4 << 20;

impl Open {
    /// Encodes a share, preceded by what of its names this segment's dictionary lacks.
    fn encode(&mut self, share: &Share, offset_ms: u32, out: &mut Vec<u8>) {
        let worker = share.worker.mark.get(self.number).unwrap_or_else(|| {
            let account = share.worker.account();
            let account_index = account.mark.get(self.number).unwrap_or_else(|| {
                let index = self.accounts;
                Record::Account { index, name: account.name(), script: account.script() }.encode(out);
                account.mark.set(self.number, index);
                self.accounts += 1;
                index
            });
            let index = self.workers;
            Record::Worker { index, account: account_index, name: share.worker.name() }.encode(out);
            share.worker.mark.set(self.number, index);
            self.workers += 1;
            index
        });
        let template = share.template.mark.get(self.number).unwrap_or_else(|| {
            let TemplateRef { height, prev, network_units, .. } = *share.template;
            let index = self.templates;
            Record::Template { index, height, prev, network_units }.encode(out);
            share.template.mark.set(self.number, u32::from(index));
            self.templates += 1;
            u32::from(index)
        });
        Record::Share { template: template as u16, worker, offset_ms, credit: share.credit }.encode(out);
    }
}

fn full_or_io(what: &'static str, path: PathBuf, source: std::io::Error) -> LogError {
    match source.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => LogError::DiskFull { path },
        _ => LogError::Io { what, path, source },
    }
}
