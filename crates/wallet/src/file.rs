//! The wallet's file: sealed by a passphrase, written so that a kill at any moment leaves the old or the new one.
//!
//! One line of JSON (the [`Header`]), a newline, then the sealed bytes. The key comes from the passphrase by Argon2id
//! (RFC 9106); the seal is XChaCha20-Poly1305 with a fresh random nonce at each write and the header line as
//! associated data, so that neither can be changed unseen. A second key from the same derivation makes a check value,
//! by which a wrong passphrase is told from a damaged file.
//!
//! Writing: a file beside it (0600), synced, renamed over the old one, and the directory synced. A lock file keeps a
//! second process out while one has the wallet open.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use lode_primitives::tagged_hash;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// RFC 9106's second recommended choice: 64 MiB, three passes, four lanes.
const COST: Cost = Cost { memory_kib: 65_536, passes: 3, lanes: 4 };
/// What a file may ask for at most: more would be an attack on the memory, not on the passphrase.
const COST_MAX: Cost = Cost { memory_kib: 4 << 20, passes: 64, lanes: 64 };
/// How every wallet's file begins.
const BEGINNING: &[u8] = b"{\"lode_wallet\"";
/// No wallet's file is longer: a hundred thousand transactions.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// How long another process may keep the wallet before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at the lock.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// What Argon2id is asked to spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The first line of the file: what may be read without the passphrase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The form of the file: 1.
    lode_wallet: u32,
    /// The coin's name.
    pub coin: String,
    /// Its network.
    pub network: String,
    argon2id: Cost,
    salt: String,
    check: String,
    nonce: String,
    /// Sealed bytes behind the line.
    length: u64,
}

/// Why a wallet's file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is one already.
    #[error("{0} is there already; nothing was overwritten. Choose another name with --wallet")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no wallet at {0}; make one with `lode wallet create`, or see `lode wallet list`")]
    Missing(PathBuf),
    /// Not a wallet's file.
    #[error("{0} is not a wallet of this program")]
    Foreign(PathBuf),
    /// A later form.
    #[error("{path} has form {form}; this program knows form 1")]
    Form {
        /// The file.
        path: PathBuf,
        /// Its form.
        form: u32,
    },
    /// Bytes are missing at its end.
    #[error(
        "{path} is cut off: {found} of {wanted} sealed bytes are there. Restore it from a backup or from its words"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes there.
        found: u64,
        /// Bytes that were written.
        wanted: u64,
    },
    /// The bytes are not those that were sealed.
    #[error("{0} is damaged: its seal does not fit. Restore it from a backup or from its words")]
    Damaged(PathBuf),
    /// The passphrase is another.
    #[error("wrong passphrase for {0}")]
    Passphrase(PathBuf),
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
}

/// What seals a file.
type Key = Zeroizing<[u8; 32]>;

/// An open wallet's file. The key stays in memory until it is dropped.
pub struct WalletFile {
    path: PathBuf,
    header: Header,
    key: Key,
    /// Held for its lock.
    _lock: File,
}

impl std::fmt::Debug for WalletFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl WalletFile {
    /// A new file for `coin` and `network` at `path`, whose directory is made where it is missing (0700). Nothing is on
    /// disk before the first [`WalletFile::write`].
    ///
    /// # Errors
    /// [`FileError::Exists`], or what the file system says.
    pub fn create(path: &Path, coin: &str, network: &str, passphrase: &str) -> Result<Self, FileError> {
        let failed = |error| FileError::Io { path: path.to_owned(), error };
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        let lock = lock(path)?;
        if path.exists() {
            return Err(FileError::Exists(path.to_owned()));
        }
        let mut salt = [0; 16];
        rand::rng().fill_bytes(&mut salt);
        let (key, check) = derive(passphrase, &salt, COST).ok_or_else(|| failed(out_of_memory()))?;
        let header = Header {
            lode_wallet: 1,
            coin: coin.to_owned(),
            network: network.to_owned(),
            argon2id: COST,
            salt: hex::encode(salt),
            check,
            nonce: String::new(),
            length: 0,
        };
        Ok(Self { path: path.to_owned(), header, key, _lock: lock })
    }

    /// Opens the file at `path` and gives what was sealed in it.
    ///
    /// # Errors
    /// [`FileError`] says which of missing, in use, foreign, cut off, damaged, or a wrong passphrase it is.
    pub fn open(path: &Path, passphrase: &str) -> Result<(Self, Zeroizing<Vec<u8>>), FileError> {
        if !path.exists() {
            return Err(FileError::Missing(path.to_owned()));
        }
        let lock = lock(path)?;
        let (line, header, sealed) = read(path)?;
        let (key, plain) = unseal(path, &line, &header, &sealed, passphrase)?;
        Ok((Self { path: path.to_owned(), header, key, _lock: lock }, plain))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What may be read without the passphrase.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Seals `plain` and puts it in the file's place. When this returns, it is on disk.
    ///
    /// # Errors
    /// What the file system says; the old file then is as it was.
    pub fn write(&mut self, plain: &[u8]) -> Result<(), FileError> {
        let mut nonce = [0; 24];
        rand::rng().fill_bytes(&mut nonce);
        self.header.nonce = hex::encode(nonce);
        self.header.length = plain.len() as u64 + 16; // the seal's tag
        let failed = |error| FileError::Io { path: self.path.clone(), error };
        let mut bytes = serde_json::to_vec(&self.header).map_err(|error| failed(error.into()))?;
        let sealed = XChaCha20Poly1305::new((&*self.key).into())
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: &bytes })
            .map_err(|_| failed(out_of_memory()))?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&sealed);
        replace(&self.path, &bytes).map_err(failed)
    }
}

/// The header of the file at `path`, for a list of wallets.
///
/// # Errors
/// As [`WalletFile::open`], but for the passphrase.
pub fn read_header(path: &Path) -> Result<Header, FileError> {
    read(path).map(|(_, header, _)| header)
}

/// Checks that `passphrase` opens the file at `path` and that its seal fits.
///
/// # Errors
/// As [`WalletFile::open`].
pub fn verify(path: &Path, passphrase: &str) -> Result<(), FileError> {
    let (line, header, sealed) = read(path)?;
    unseal(path, &line, &header, &sealed, passphrase).map(|_| ())
}

/// Copies a wallet's file, sealed as it is, to a new place, and syncs it.
///
/// # Errors
/// [`FileError::Exists`] where something is there.
pub fn copy_sealed(from: &Path, to: &Path) -> Result<(), FileError> {
    read(from)?;
    if to.exists() {
        return Err(FileError::Exists(to.to_owned()));
    }
    let bytes = std::fs::read(from).map_err(|error| FileError::Io { path: from.to_owned(), error })?;
    replace(to, &bytes).map_err(|error| FileError::Io { path: to.to_owned(), error })
}

/// Writes `bytes` to a file beside `path`, syncs it, renames it over `path` and syncs the directory.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Takes the wallet's lock. The system frees it when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, FileError> {
    let failed = |error| FileError::Io { path: path.to_owned(), error };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(with_suffix(path, ".lock"))
        .map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_LOOK),
            Err(TryLockError::WouldBlock) => return Err(FileError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// The header's line as it stands, the header, and the sealed bytes.
fn read(path: &Path) -> Result<(Vec<u8>, Header, Vec<u8>), FileError> {
    let failed = |error| FileError::Io { path: path.to_owned(), error };
    let foreign = || FileError::Foreign(path.to_owned());
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(foreign());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        // A cut within the line: what is left of it still says whose it was.
        return Err(if bytes.iter().zip(BEGINNING).all(|(found, wanted)| found == wanted) {
            FileError::Truncated { path: path.to_owned(), found: 0, wanted: 1 }
        } else {
            foreign()
        });
    };
    let sealed = bytes.split_off(end + 1);
    bytes.truncate(end);
    #[derive(Deserialize)]
    struct FormOnly {
        lode_wallet: u32,
    }
    let form: FormOnly = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
    if form.lode_wallet != 1 {
        return Err(FileError::Form { path: path.to_owned(), form: form.lode_wallet });
    }
    let header: Header = serde_json::from_slice(&bytes).map_err(|_| FileError::Damaged(path.to_owned()))?;
    let found = sealed.len() as u64;
    if found < header.length {
        return Err(FileError::Truncated { path: path.to_owned(), found, wanted: header.length });
    }
    Ok((bytes, header, sealed))
}

/// The key, and what was sealed.
fn unseal(
    path: &Path,
    line: &[u8],
    header: &Header,
    sealed: &[u8],
    passphrase: &str,
) -> Result<(Key, Zeroizing<Vec<u8>>), FileError> {
    let damaged = || FileError::Damaged(path.to_owned());
    let salt = hex::decode(&header.salt).map_err(|_| damaged())?;
    let (key, check) = derive(passphrase, &salt, header.argon2id).ok_or_else(damaged)?;
    if check != header.check {
        return Err(FileError::Passphrase(path.to_owned()));
    }
    let nonce: [u8; 24] =
        hex::decode(&header.nonce).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
    let cipher = XChaCha20Poly1305::new((&*key).into());
    let plain = cipher
        .decrypt(XNonce::from_slice(&nonce), Payload { msg: sealed, aad: line })
        .map_err(|_| damaged())?;
    Ok((key, Zeroizing::new(plain)))
}

/// The key, and the check value that goes into the header. `None` where the cost is out of bounds.
fn derive(passphrase: &str, salt: &[u8], cost: Cost) -> Option<(Key, String)> {
    if cost.memory_kib > COST_MAX.memory_kib || cost.passes > COST_MAX.passes || cost.lanes > COST_MAX.lanes {
        return None;
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(64)).ok()?;
    let mut both = Zeroizing::new([0; 64]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut *both)
        .ok()?;
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&both[..32]);
    let check = tagged_hash("lode wallet passphrase check", &[&both[32..]]);
    Some((key, hex::encode(&check[..8])))
}

fn out_of_memory() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn written(directory: &Path) -> PathBuf {
        let path = directory.join("wallets/a.wallet");
        let mut file = WalletFile::create(&path, "bitcoin", "regtest", "correct horse").unwrap();
        file.write(b"the first").unwrap();
        file.write(b"the money").unwrap();
        path
    }

    #[test]
    fn sealed_and_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path());
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"the money"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = std::fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
        let (_, plain) = WalletFile::open(&path, "correct horse").unwrap();
        assert_eq!(&**plain, b"the money");
        assert_eq!(read_header(&path).unwrap().coin, "bitcoin");
    }

    #[test]
    fn each_way_to_be_unreadable_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = written(directory.path());
        let whole = std::fs::read(&path).unwrap();
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            WalletFile::open(&path, "correct horse").unwrap_err()
        };
        for cut in 0..whole.len() {
            assert!(matches!(open_fast(&path, &whole[..cut]), FileError::Truncated { .. }), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(open(&flipped), FileError::Damaged(_)));
        // The header is sealed too: a wallet cannot be passed off as another network's.
        let moved = String::from_utf8_lossy(&whole[..whole.iter().position(|&b| b == b'\n').unwrap()])
            .replace("regtest", "mainnet");
        let tail = &whole[whole.iter().position(|&b| b == b'\n').unwrap()..];
        assert!(matches!(open(&[moved.as_bytes(), tail].concat()), FileError::Damaged(_)));
        assert!(matches!(open(b"something else\nentirely"), FileError::Foreign(_)));
        let later = String::from_utf8_lossy(&whole).replace("\"lode_wallet\":1", "\"lode_wallet\":2");
        assert!(matches!(open(later.as_bytes()), FileError::Form { form: 2, .. }));
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(WalletFile::open(&path, "correct house").unwrap_err(), FileError::Passphrase(_)));
        assert!(matches!(
            WalletFile::open(&directory.path().join("b"), "").unwrap_err(),
            FileError::Missing(_)
        ));
        assert!(matches!(WalletFile::create(&path, "", "", "").unwrap_err(), FileError::Exists(_)));
    }

    /// The cuts are told before the passphrase is tried.
    fn open_fast(path: &Path, bytes: &[u8]) -> FileError {
        std::fs::write(path, bytes).unwrap();
        read(path).unwrap_err()
    }
}
