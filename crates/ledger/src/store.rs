//! The file of the balances: the last final state, and a record for every own block found since.
//!
//! `balances` in the ledger's directory: 8 bytes of magic, then records: length (u32), CRC-32 of kind and body (u32),
//! kind (u8: 1 state, 2 found block), body. Every append is synced before it returns: blocks are rare and dear. Once
//! blocks become final the file is written anew with the state they lead to, beside the old one, and renamed over it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::log::{LogError, io};

const MAGIC: [u8; 8] = *b"LODEBAL1";
const HEAD: usize = 9;

/// Kinds of records.
pub(crate) const STATE: u8 = 1;
pub(crate) const FOUND: u8 = 2;

#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Store {
    /// Opens the file, made where missing, and hands every record to `each`. A torn tail is cut.
    pub(crate) fn open<E: From<LogError>>(
        dir: &Path,
        mut each: impl FnMut(u8, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let path = dir.join("balances");
        if !path.exists() {
            write_new(&path, &[])?;
        }
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(LogError::Header { path }.into());
        }
        let mut at = MAGIC.len();
        while let Some((kind, body)) = open_record(&bytes[at..]) {
            each(kind, body)?;
            at += HEAD + body.len();
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(io("open", &path))?;
        let len = at as u64;
        if at < bytes.len() {
            // Each record was synced before the next was written: only the last can be torn.
            if let Some(resumes) = (at + 1..bytes.len()).find(|&next| open_record(&bytes[next..]).is_some()) {
                return Err(LogError::Damaged { path, at: len, resumes: Some(resumes as u64) }.into());
            }
            tracing::warn!("{}: the last {} bytes were torn and are cut", path.display(), bytes.len() - at);
            file.set_len(len).and_then(|()| file.sync_all()).map_err(io("cut", &path))?;
        }
        Ok(Self { path, file, len })
    }

    /// Appends a record and waits until it is on the disk; where it fails, nothing of it remains.
    pub(crate) fn append(&mut self, kind: u8, body: &[u8]) -> Result<(), LogError> {
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
    pub(crate) fn rewrite(&mut self, records: &[(u8, Vec<u8>)]) -> Result<(), LogError> {
        write_new(&self.path, records)?;
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(io("open", &self.path))?;
        self.len = self.file.metadata().map_err(io("read", &self.path))?.len();
        Ok(())
    }
}

fn write_new(path: &Path, records: &[(u8, Vec<u8>)]) -> Result<(), LogError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(io("create", &new))?;
    let bytes = records.iter().fold(MAGIC.to_vec(), |mut all, (kind, body)| {
        all.extend_from_slice(&seal_record(*kind, body));
        all
    });
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write to", &new))?;
    fs::rename(&new, path).map_err(io("rename", &new))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

fn seal_record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend_from_slice(&(body.len() as u32).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.push(kind);
    record.extend_from_slice(body);
    let crc = crc32fast::hash(&record[8..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    record
}

fn open_record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let body = bytes.get(8..HEAD + len)?;
    (crc32fast::hash(body) == crc).then(|| (body[0], &body[1..]))
}
