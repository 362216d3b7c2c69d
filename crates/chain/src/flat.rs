//! Append-only files of records: blocks (`blk00000.dat`) and undo data (`rev00000.dat`).
//!
//! ```text
//! record = magic [4] | length u32 le | crc32 of payload u32 le | payload [length]
//! ```
//!
//! A record is written by one `write`; a kill in the middle leaves a torn last record, which [`FlatFiles::scan`]
//! finds by its checksum and cuts off. Records are never changed; files are deleted whole by pruning.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Bytes before a record's payload.
pub(crate) const RECORD_HEAD: usize = 12;

/// No block or undo record is longer, in bytes: a block is at most 4 MB, what it spends at most 10 kB to an input.
const MAX_RECORD: u32 = 1 << 30;

/// Where a record begins. Ordered as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) file: u32,
    pub(crate) offset: u32,
}

impl Position {
    pub(crate) const START: Self = Self { file: 0, offset: 0 };
}

/// The files of one kind.
#[derive(Debug)]
pub(crate) struct FlatFiles {
    dir: PathBuf,
    prefix: &'static str,
    magic: [u8; 4],
    max_bytes: u64,
    /// The file appended to, once it is open.
    out: Option<File>,
    end: Position,
    unsynced: bool,
    /// Bytes that may still be written, for tests of a full disk.
    budget: Option<u64>,
}

impl FlatFiles {
    /// The files `PREFIXnnnnn.dat` in `dir`, which exists.
    pub(crate) fn open(
        dir: &Path,
        prefix: &'static str,
        magic: [u8; 4],
        max_bytes: u64,
    ) -> Result<Self, StoreError> {
        let mut files = Self {
            dir: dir.to_owned(),
            prefix,
            magic,
            max_bytes,
            out: None,
            end: Position::START,
            unsynced: false,
            budget: None,
        };
        if let Some(&last) = files.numbers()?.last() {
            let length = std::fs::metadata(files.path(last))
                .map_err(|error| StoreError::io("reading", files.path(last), &error))?
                .len();
            files.end = Position { file: last, offset: u32::try_from(length).unwrap_or(u32::MAX) };
        }
        Ok(files)
    }

    /// Lets only so many more bytes be written, as a full disk would.
    pub(crate) const fn set_budget(&mut self, bytes: Option<u64>) {
        self.budget = bytes;
    }

    /// The path of file `number`.
    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{}{number:05}.dat", self.prefix))
    }

    /// The numbers of the files there are, ascending.
    pub(crate) fn numbers(&self) -> Result<Vec<u32>, StoreError> {
        let failed = |error: std::io::Error| StoreError::io("listing", &self.dir, &error);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number: Option<u32> = name
                .to_str()
                .and_then(|name| name.strip_prefix(self.prefix)?.strip_suffix(".dat")?.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where the next record goes at the earliest.
    pub(crate) const fn end(&self) -> Position {
        self.end
    }

    /// Appends a record. `record` holds [`RECORD_HEAD`] bytes of anything, then the payload. Where this fails nothing
    /// is left behind.
    pub(crate) fn append(&mut self, mut record: Vec<u8>) -> Result<Position, StoreError> {
        let payload = &record[RECORD_HEAD..];
        let (length, crc) = (payload.len() as u32, crc32fast::hash(payload));
        record[0..4].copy_from_slice(&self.magic);
        record[4..8].copy_from_slice(&length.to_le_bytes());
        record[8..12].copy_from_slice(&crc.to_le_bytes());

        if self.end.offset > 0 && u64::from(self.end.offset) + record.len() as u64 > self.max_bytes {
            self.sync()?;
            self.out = None;
            self.end = Position { file: self.end.file + 1, offset: 0 };
        }
        let path = self.path(self.end.file);
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .map_err(|error| StoreError::io("opening", &path, &error))?,
            ),
        };
        let written = match &mut self.budget {
            Some(left) if *left < record.len() as u64 => {
                let torn = out.write_all(&record[..*left as usize]);
                torn.and(Err(std::io::ErrorKind::StorageFull.into()))
            }
            Some(left) => {
                *left -= record.len() as u64;
                out.write_all(&record)
            }
            None => out.write_all(&record),
        };
        if let Err(error) = written {
            // What was written of it goes again; if even that fails, the next start cuts it off.
            let _ = out.set_len(u64::from(self.end.offset));
            return Err(StoreError::io("writing", path, &error));
        }
        let position = self.end;
        self.end.offset += record.len() as u32;
        self.unsynced = true;
        Ok(position)
    }

    /// Makes all records durable against power loss.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if let (true, Some(out)) = (self.unsynced, &self.out) {
            out.sync_data().map_err(|error| StoreError::io("syncing", self.path(self.end.file), &error))?;
            // A new file's name is in its directory.
            let dir = File::open(&self.dir).and_then(|dir| dir.sync_all());
            dir.map_err(|error| StoreError::io("syncing", &self.dir, &error))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// The payload of the record at `position`.
    pub(crate) fn read(&self, position: Position) -> Result<Vec<u8>, StoreError> {
        let path = self.path(position.file);
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.corrupt(position, "it ends too soon"),
            _ => StoreError::io("reading", &path, &error),
        };
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.corrupt(position, "the file is missing"),
            _ => failed(error),
        })?;
        let mut head = [0; RECORD_HEAD];
        let offset = u64::from(position.offset);
        file.read_exact_at(&mut head, offset).map_err(failed)?;
        let (length, crc) =
            self.parse_head(&head).ok_or_else(|| self.corrupt(position, "no record begins there"))?;
        let mut payload = vec![0; length as usize];
        file.read_exact_at(&mut payload, offset + RECORD_HEAD as u64).map_err(failed)?;
        if crc32fast::hash(&payload) != crc {
            return Err(self.corrupt(position, "wrong checksum"));
        }
        Ok(payload)
    }

    fn parse_head(&self, head: &[u8; RECORD_HEAD]) -> Option<(u32, u32)> {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        (head[..4] == self.magic && word(4) <= MAX_RECORD).then(|| (word(4), word(8)))
    }

    /// The error for a damaged record.
    pub(crate) fn corrupt(&self, position: Position, what: &'static str) -> StoreError {
        StoreError::Corrupt {
            path: self.path(position.file),
            offset: u64::from(position.offset),
            what,
            directory: self.dir.parent().unwrap_or(&self.dir).to_owned(),
        }
    }

    /// Hands every record from `from` on to `each`, in the order they were written. A torn record at the very end,
    /// left by a kill, is cut off; one anywhere else is an error.
    pub(crate) fn scan(
        &mut self,
        from: Position,
        mut each: impl FnMut(Position, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let numbers = self.numbers()?;
        for &number in numbers.iter().filter(|&&number| number >= from.file) {
            let path = self.path(number);
            let failed = |error: std::io::Error| StoreError::io("reading", &path, &error);
            let mut file = File::open(&path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            let mut offset = if number == from.file { u64::from(from.offset) } else { 0 };
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).map_err(failed)?;
            let mut reader = BufReader::with_capacity(1 << 20, file);
            while offset < length {
                let position = Position { file: number, offset: offset as u32 };
                let mut head = [0; RECORD_HEAD];
                let left = (length - offset).saturating_sub(RECORD_HEAD as u64);
                let whole = length - offset >= RECORD_HEAD as u64 && {
                    reader.read_exact(&mut head).map_err(failed)?;
                    self.parse_head(&head).is_some_and(|(length, _)| u64::from(length) <= left)
                };
                let mut payload = Vec::new();
                let good = whole && {
                    let (length, crc) = self.parse_head(&head).unwrap_or_default();
                    payload.resize(length as usize, 0);
                    reader.read_exact(&mut payload).map_err(failed)?;
                    crc32fast::hash(&payload) == crc
                };
                if !good {
                    if Some(&number) != numbers.last() {
                        return Err(self.corrupt(position, "no whole record there"));
                    }
                    tracing::warn!(path = %path.display(), offset, cut = length - offset, "cutting off a torn record");
                    return self.truncate(position);
                }
                offset += (RECORD_HEAD + payload.len()) as u64;
                each(position, payload)?;
            }
        }
        Ok(())
    }

    /// Deletes everything from `end` on.
    pub(crate) fn truncate(&mut self, end: Position) -> Result<(), StoreError> {
        self.out = None;
        for number in self.numbers()? {
            let path = self.path(number);
            if number > end.file {
                std::fs::remove_file(&path).map_err(|error| StoreError::io("deleting", &path, &error))?;
            } else if number == end.file {
                let cut = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .and_then(|file| file.set_len(end.offset.into()));
                cut.map_err(|error| StoreError::io("cutting", &path, &error))?;
            }
        }
        self.end = end;
        Ok(())
    }

    /// Deletes file `number`, which must not be the one appended to.
    pub(crate) fn delete(&self, number: u32) -> Result<(), StoreError> {
        let path = self.path(number);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("deleting", path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of all files, and each file's number and bytes.
    pub(crate) fn sizes(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.numbers()?
            .into_iter()
            .map(|number| {
                let path = self.path(number);
                let length =
                    std::fs::metadata(&path).map_err(|error| StoreError::io("reading", &path, &error))?.len();
                Ok((number, length))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 4] = *b"test";

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEAD];
        record.extend_from_slice(payload);
        record
    }

    fn all(files: &mut FlatFiles) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        files
            .scan(Position::START, |_, payload| {
                found.push(payload);
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn records_are_found_again_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 100).unwrap();
        let payloads: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; usize::from(i) * 3]).collect();
        let positions: Vec<Position> =
            payloads.iter().map(|payload| files.append(record(payload)).unwrap()).collect();
        files.sync().unwrap();
        assert!(positions.is_sorted() && positions[19].file > 3);
        let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 100).unwrap();
        for (position, payload) in positions.iter().zip(&payloads) {
            assert_eq!(&files.read(*position).unwrap(), payload);
        }
        assert_eq!(all(&mut files), payloads);
        assert!(files.append(record(b"more")).unwrap() > positions[19]);
    }

    #[test]
    fn a_torn_tail_is_cut_off_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        for kept in 0..RECORD_HEAD + 5 {
            let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 1 << 20).unwrap();
            files.truncate(Position::START).unwrap();
            files.append(record(b"first")).unwrap();
            let torn = files.append(record(b"other")).unwrap();
            let path = files.path(0);
            OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(u64::from(torn.offset) + kept as u64)
                .unwrap();
            let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 1 << 20).unwrap();
            assert_eq!(all(&mut files), [b"first"], "{kept}");
            files.append(record(b"third")).unwrap();
            assert_eq!(all(&mut files), [b"first", b"third"]);
        }
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 1 << 20).unwrap();
        let position = files.append(record(b"payload")).unwrap();
        let file = OpenOptions::new().write(true).open(files.path(0)).unwrap();
        file.write_all_at(b"P", RECORD_HEAD as u64).unwrap();
        let error = files.read(position).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { offset: 0, what: "wrong checksum", .. }));
        assert!(error.to_string().contains("blk00000.dat"), "{error}");
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = FlatFiles::open(dir.path(), "blk", MAGIC, 1 << 20).unwrap();
        files.append(record(b"first")).unwrap();
        files.set_budget(Some(14));
        assert!(matches!(files.append(record(b"second")), Err(StoreError::DiskFull { .. })));
        files.set_budget(None);
        files.append(record(b"third")).unwrap();
        assert_eq!(all(&mut files), [b"first", b"third"]);
    }
}
