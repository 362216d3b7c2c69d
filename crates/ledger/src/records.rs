//! A small file of records that must not be lost: the ledger's balances, the pool's journal of found blocks.
//!
//! 8 bytes of magic, then records: `LREC`, length of the body (u32), CRC-32 of kind and body (u32), kind (u8), body; all
//! little-endian. Every append is on the disk before it returns: what is recorded here is rare and dear. To leave out
//! what is settled the file is written anew beside the old one and renamed over it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::log::{LogError, io};

const MARK: [u8; 4] = *b"LREC";
const HEAD: usize = 13;

/// A file of records, open for appending by one owner.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    magic: [u8; 8],
    file: File,
    len: u64,
}

impl RecordFile {
    /// Opens the file, made where missing, and hands kind and body of every record to `each`. A torn tail is cut and
    /// said.
    pub fn open<E: From<LogError>>(
        path: &Path,
        magic: [u8; 8],
        mut each: impl FnMut(u8, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        if !path.exists() {
            write_new(path, magic, &[])?;
        }
        let bytes = fs::read(path).map_err(io("read", path))?;
        if bytes.get(..magic.len()) != Some(&magic) {
            return Err(LogError::Header { path: path.into() }.into());
        }
        let mut at = magic.len();
        while let Some((kind, body)) = open_record(&bytes[at..]) {
            each(kind, body)?;
            at += HEAD + body.len();
        }
        let file = OpenOptions::new().append(true).open(path).map_err(io("open", path))?;
        let len = at as u64;
        if at < bytes.len() {
            // Each record was synced before the next was written: only the last can be torn.
            let mut rest =
                bytes[at + 1..].windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
            if rest.any(|(next, _)| open_record(&bytes[at + 1 + next..]).is_some()) {
                return Err(LogError::DamagedRecords { path: path.into(), at: len }.into());
            }
            tracing::warn!("{}: the last {} bytes were torn and are cut", path.display(), bytes.len() - at);
            file.set_len(len).and_then(|()| file.sync_all()).map_err(io("cut", path))?;
        }
        Ok(Self { path: path.into(), magic, file, len })
    }

    /// Appends a record, its body in parts, and waits until it is on the disk; where it fails, nothing of it remains.
    pub fn append(&mut self, kind: u8, body: &[&[u8]]) -> Result<(), LogError> {
        let record = seal_record(kind, body);
        let written = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(self.len);
            return Err(io("write to", &self.path)(error));
        }
        self.len += record.len() as u64;
        Ok(())
    }

    /// Replaces the file by one with these records.
    pub fn rewrite(&mut self, records: &[(u8, Vec<u8>)]) -> Result<(), LogError> {
        write_new(&self.path, self.magic, records)?;
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(io("open", &self.path))?;
        self.len = self.file.metadata().map_err(io("read", &self.path))?.len();
        Ok(())
    }
}

fn write_new(path: &Path, magic: [u8; 8], records: &[(u8, Vec<u8>)]) -> Result<(), LogError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(io("create", &new))?;
    let bytes = records.iter().fold(magic.to_vec(), |mut all, (kind, body)| {
        all.extend_from_slice(&seal_record(*kind, &[body]));
        all
    });
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write to", &new))?;
    fs::rename(&new, path).map_err(io("rename", &new))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

fn seal_record(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let len: usize = body.iter().map(|part| part.len()).sum();
    let mut record = Vec::with_capacity(HEAD + len);
    record.extend_from_slice(&MARK);
    record.extend_from_slice(&(len as u32).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.push(kind);
    body.iter().for_each(|part| record.extend_from_slice(part));
    let crc = crc32fast::hash(&record[HEAD - 1..]);
    record[8..12].copy_from_slice(&crc.to_le_bytes());
    record
}

fn open_record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let head = bytes.get(..HEAD).filter(|head| head[..4] == MARK)?;
    let number = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let body = bytes.get(HEAD - 1..HEAD + number(4)? as usize)?;
    (crc32fast::hash(body) == number(8)?).then(|| (body[0], &body[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"LODETEST";

    type Records = Vec<(u8, Vec<u8>)>;

    fn read(path: &Path) -> Result<(RecordFile, Records), LogError> {
        let mut records = Records::new();
        let file = RecordFile::open(path, MAGIC, |kind, body| {
            records.push((kind, body.to_vec()));
            Ok::<(), LogError>(())
        })?;
        Ok((file, records))
    }

    #[test]
    fn what_was_appended_is_there_again_and_a_torn_tail_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let (mut file, none) = read(&path).unwrap();
        assert!(none.is_empty());
        file.append(1, &[b"ab", b"c"]).unwrap();
        file.append(2, &[]).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..HEAD {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(read(&path).unwrap().1, [(1, b"abc".to_vec())]);
            assert_eq!(fs::read(&path).unwrap().len(), whole.len() - HEAD);
        }
        let (mut file, _) = read(&path).unwrap();
        file.rewrite(&[(7, b"x".to_vec())]).unwrap();
        file.append(8, &[b"y"]).unwrap();
        assert_eq!(read(&path).unwrap().1, [(7, b"x".to_vec()), (8, b"y".to_vec())]);
    }

    #[test]
    fn a_damaged_middle_is_refused_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let (mut file, _) = read(&path).unwrap();
        file.append(1, &[b"first"]).unwrap();
        file.append(2, &[b"second"]).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[8 + HEAD] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("from byte 8 on") && error.contains("backup"), "{error}");
    }
}
