//! What a light client keeps on disk, and in memory beside it.
//!
//! ```text
//! headers.dat         batches in the order they were accepted: count u32 le | bytes u32 le | crc32 u32 le | headers
//! filter-headers.dat  by height, 36 bytes each: first 4 bytes of the block's id | filter header
//! light.lock          locked as long as the directory is in use
//! ```
//!
//! A header takes its 80 bytes (and its multiplier, on prime chains); side branches are kept too. After a kill the last
//! batch may be torn: it is cut off, and was not acted upon. Filter headers belong to the best chain: the bytes of the
//! id say of which block each one is, so that after a kill amid a reorganisation those of the old branch are found out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lode_chain::{BlockError, HeaderChain};
use lode_coins::Coin;
use lode_primitives::{BlockHash, Decode, Encode, Hash256, Header, Height, Reader};

/// Bytes before a batch's headers.
const HEAD: usize = 12;
/// Longest batch read, in bytes: 2,000 headers with the longest multipliers, and more.
const BATCH_BYTES_MAX: u32 = 1 << 20;
/// Bytes of a filter header with what says whose it is.
const FILTER_RECORD: usize = 36;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{doing} {path}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process has the directory open.
    #[error("{0} is in use by another light client: stop that one, or choose another directory")]
    InUse(PathBuf),
    /// The file is of another chain, or damaged.
    #[error("{path} holds no headers of {coin}; delete it, they will be fetched again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The coin and network.
        coin: String,
    },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |error| StoreError::Io { doing, path: path.to_owned(), error }
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    file.map_err(io("opening", path))
}

/// Headers and filter headers.
#[derive(Debug)]
pub(crate) struct Store {
    chain: HeaderChain,
    headers: File,
    headers_path: PathBuf,
    /// The best chain's filter headers from height 0 on, as far as they are known.
    filter_headers: Vec<Hash256>,
    filters: File,
    filters_path: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the files in `directory`, or begins them.
    pub(crate) fn open(coin: &'static Coin, directory: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(directory).map_err(io("making", directory))?;
        let lock_path = directory.join("light.lock");
        let lock = open_file(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io("locking", &lock_path)(error)),
        }
        let headers_path = directory.join("headers.dat");
        let (chain, headers) = load_headers(coin, &headers_path)?;
        let filters_path = directory.join("filter-headers.dat");
        let (filter_headers, filters) = load_filter_headers(&chain, &filters_path)?;
        Ok(Self { chain, headers, headers_path, filter_headers, filters, filters_path, _lock: lock })
    }

    pub(crate) const fn chain(&self) -> &HeaderChain {
        &self.chain
    }

    /// Takes headers, each standing on the one before or on a known one; they are in the file when this returns. Where
    /// one breaks a rule those before it are kept. Filter headers of blocks that left the best chain are forgotten.
    ///
    /// The outer error is the disk's, the inner one the headers'.
    pub(crate) fn accept(
        &mut self,
        headers: &[Header],
        now: u32,
    ) -> Result<Result<usize, BlockError>, StoreError> {
        let old = self.chain.tip().hash();
        let (mut new, mut verdict) = (Vec::new(), Ok(()));
        for header in headers {
            match self.chain.accept(header, now) {
                Ok(true) => new.push(header),
                Ok(false) => {}
                Err(error) => {
                    verdict = Err(error);
                    break;
                }
            }
        }
        if !new.is_empty() {
            let mut record = vec![0; HEAD];
            new.iter().for_each(|header| header.encode(&mut record));
            let payload = &record[HEAD..];
            let words = [new.len() as u32, payload.len() as u32, crc32fast::hash(payload)];
            for (place, word) in words.into_iter().enumerate() {
                record[place * 4..place * 4 + 4].copy_from_slice(&word.to_le_bytes());
            }
            self.headers.write_all(&record).map_err(io("writing", &self.headers_path))?;
        }
        if let Some(fork) = self.chain.fork_height(&old)
            && self.chain.height_of(&old).is_none()
        {
            self.cut_filter_headers(fork + 1)?;
        }
        Ok(verdict.map(|()| new.len()))
    }

    /// How many filter headers are known, from height 0 on.
    pub(crate) fn filter_count(&self) -> Height {
        self.filter_headers.len() as Height
    }

    /// The filter header before `height`: zero before the first block. `None` where it is not known.
    pub(crate) fn filter_header_before(&self, height: Height) -> Option<Hash256> {
        match height.checked_sub(1) {
            None => Some(Hash256::ZERO),
            Some(before) => self.filter_headers.get(before as usize).copied(),
        }
    }

    /// Appends filter headers.
    pub(crate) fn add_filter_headers(&mut self, new: &[Hash256]) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(new.len() * FILTER_RECORD);
        for (height, header) in (self.filter_count()..).zip(new) {
            let Some(entry) = self.chain.entry_at(height) else { break };
            bytes.extend_from_slice(&entry.hash().0[..4]);
            bytes.extend_from_slice(header.as_bytes());
            self.filter_headers.push(*header);
        }
        self.filters.write_all(&bytes).map_err(io("writing", &self.filters_path))
    }

    /// Forgets all filter headers from `height` on.
    pub(crate) fn cut_filter_headers(&mut self, height: Height) -> Result<(), StoreError> {
        if height < self.filter_count() {
            self.filter_headers.truncate(height as usize);
            let end = u64::from(height) * FILTER_RECORD as u64;
            let cut = self.filters.set_len(end).and_then(|()| self.filters.seek(SeekFrom::Start(end)));
            cut.map_err(io("cutting", &self.filters_path))?;
        }
        Ok(())
    }

    /// Makes everything durable against power loss.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.headers.sync_data().map_err(io("syncing", &self.headers_path))?;
        self.filters.sync_data().map_err(io("syncing", &self.filters_path))
    }
}

/// The headers in a file, for whoever only looks something up in them. Nothing is written, and no lock is taken: what a
/// running light client is just writing is left out.
///
/// # Errors
/// Where the file is missing, cannot be read, or is of another chain.
pub fn read_headers(coin: &'static Coin, directory: &Path) -> Result<HeaderChain, StoreError> {
    let path = directory.join("headers.dat");
    let file = File::open(&path).map_err(io("opening", &path))?;
    restore(coin, &path, &file).map(|(chain, _)| chain)
}

fn load_headers(coin: &'static Coin, path: &Path) -> Result<(HeaderChain, File), StoreError> {
    let mut file = open_file(path)?;
    let (chain, good) = restore(coin, path, &file)?;
    let length = file.metadata().map_err(io("reading", path))?.len();
    if length > good {
        tracing::warn!(path = %path.display(), cut = length - good, "cutting off a torn batch of headers");
        file.set_len(good).map_err(io("cutting", path))?;
    }
    file.seek(SeekFrom::Start(good)).map_err(io("reading", path))?;
    Ok((chain, file))
}

/// The headers of the whole batches of a file, and where those end.
fn restore(coin: &'static Coin, path: &Path, file: &File) -> Result<(HeaderChain, u64), StoreError> {
    let mut chain = HeaderChain::new(coin);
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let damaged = || StoreError::Damaged { path: path.to_owned(), coin: coin.to_string() };
    let mut good = 0;
    let mut payload = Vec::new();
    loop {
        let mut head = [0; HEAD];
        let word = |head: &[u8; HEAD], at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
        };
        let whole = match reader.read_exact(&mut head) {
            Ok(()) if word(&head, 4) <= BATCH_BYTES_MAX => {
                payload.resize(word(&head, 4) as usize, 0);
                reader.read_exact(&mut payload)
            }
            Ok(()) => return Err(damaged()),
            Err(error) => Err(error),
        };
        match whole {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(io("reading", path)(error)),
        }
        if crc32fast::hash(&payload) != word(&head, 8) {
            break;
        }
        let mut batch = Reader::new(&payload);
        for _ in 0..word(&head, 0) {
            let header = Header::decode(&mut batch, coin.form).map_err(|_| damaged())?;
            if !chain.restore(&header) {
                return Err(damaged());
            }
        }
        good += (HEAD + payload.len()) as u64;
    }
    Ok((chain, good))
}

fn load_filter_headers(chain: &HeaderChain, path: &Path) -> Result<(Vec<Hash256>, File), StoreError> {
    let mut file = open_file(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io("reading", path))?;
    let of_chain = |height: usize, record: &[u8]| {
        let entry = chain.entry_at(height as Height);
        entry.is_some_and(|entry| record.starts_with(&entry.hash().0[..4]))
    };
    let mut headers = Vec::with_capacity(bytes.len() / FILTER_RECORD);
    for (height, record) in bytes.chunks_exact(FILTER_RECORD).enumerate() {
        let Some(header) = record.last_chunk::<32>().filter(|_| of_chain(height, record)) else { break };
        headers.push(Hash256(*header));
    }
    let end = (headers.len() * FILTER_RECORD) as u64;
    file.set_len(end).map_err(io("cutting", path))?;
    file.seek(SeekFrom::Start(end)).map_err(io("reading", path))?;
    Ok((headers, file))
}

/// A block of the best chain by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its height.
    pub height: Height,
    /// Its id.
    pub hash: BlockHash,
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_chain::testing::{grow, mine};
    use lode_chain::{Chain, ChainOptions};

    fn regtest() -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }

    fn headers(count: u32, tag: u32) -> Vec<Header> {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::open(ChainOptions::new(regtest(), dir.path())).unwrap();
        grow(&mut chain, count, tag);
        (1..=count).map(|height| chain.header(&chain.entry_at(height).unwrap().hash()).unwrap()).collect()
    }

    #[test]
    fn a_torn_batch_is_cut_off_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let all = headers(30, 0);
        let mut store = Store::open(regtest(), dir.path()).unwrap();
        for batch in all.chunks(10) {
            assert_eq!(store.accept(batch, u32::MAX).unwrap().unwrap(), 10);
        }
        assert!(matches!(Store::open(regtest(), dir.path()), Err(StoreError::InUse(_))));
        drop(store);
        let path = dir.path().join("headers.dat");
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), 3 * (HEAD + 800));
        for cut in [1, 5, HEAD, 100, 811] {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut store = Store::open(regtest(), dir.path()).unwrap();
            assert_eq!(store.chain().height(), 20, "{cut} bytes short");
            assert_eq!(store.accept(&all, u32::MAX).unwrap().unwrap(), 10);
            drop(store);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        let litecoin = lode_coins::find("litecoin", "regtest").unwrap();
        assert!(matches!(Store::open(litecoin, dir.path()), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn a_bad_header_is_refused_and_those_before_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut all = headers(10, 0);
        all[7].bits = 0x207f_fffe;
        mine(regtest(), &mut lode_primitives::Block { header: all[7].clone(), transactions: Vec::new() });
        let mut store = Store::open(regtest(), dir.path()).unwrap();
        assert!(store.accept(&all, u32::MAX).unwrap().is_err());
        assert_eq!(store.chain().height(), 7);
    }

    #[test]
    fn filter_headers_of_a_branch_that_lost_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (headers(20, 0), headers(25, 1));
        let filter = |n: u8| Hash256([n; 32]);
        let mut store = Store::open(regtest(), dir.path()).unwrap();
        store.accept(&old, u32::MAX).unwrap().unwrap();
        store.add_filter_headers(&(0..=20).map(filter).collect::<Vec<_>>()).unwrap();
        assert_eq!((store.filter_count(), store.filter_header_before(5)), (21, Some(filter(4))));
        let filters = dir.path().join("filter-headers.dat");
        let before = std::fs::read(&filters).unwrap();
        store.accept(&new, u32::MAX).unwrap().unwrap();
        assert_eq!((store.chain().height(), store.filter_count()), (25, 1));
        drop(store);
        // As a kill between the two files would leave them.
        std::fs::write(&filters, before).unwrap();
        let store = Store::open(regtest(), dir.path()).unwrap();
        assert_eq!((store.chain().height(), store.filter_count()), (25, 1));
    }
}
