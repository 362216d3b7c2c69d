//! The directory of a chain: taken by one process, marked with whose it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use lode_coins::Coin;

use crate::{OpenError, StoreError};

/// The format of everything in the directory, as [`FORMAT_FILE`] names it.
const FORMAT: u32 = 1;
/// Says whose directory it is.
const FORMAT_FILE: &str = "chain.format";
/// Locked as long as the directory is in use.
const LOCK_FILE: &str = "chain.lock";

/// Takes the directory for this process.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| StoreError::io("opening", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(StoreError::io("locking", &path, &error).into()),
    }
}

/// Whose directory it is, in one line after the format's number.
fn owner(coin: &Coin) -> String {
    format!("{coin}, magic {}, first block {}", hex::encode(coin.magic), coin.genesis_block().hash())
}

/// Refuses a directory of another network or format; signs a new one.
pub(crate) fn check_format(dir: &Path, coin: &Coin) -> Result<(), OpenError> {
    let path = dir.join(FORMAT_FILE);
    let wanted = owner(coin);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let mut lines = text.lines();
            let (format, found) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            if format != FORMAT.to_string() {
                return Err(OpenError::Format {
                    path: dir.to_owned(),
                    found: format.to_owned(),
                    known: FORMAT,
                });
            }
            if found != wanted {
                return Err(OpenError::OtherNetwork {
                    path: dir.to_owned(),
                    found: found.to_owned(),
                    wanted,
                });
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Written beside and moved: a kill leaves all of it or none.
            let temporary = dir.join(format!("{FORMAT_FILE}.new"));
            let written = std::fs::write(&temporary, format!("{FORMAT}\n{wanted}\n"))
                .and_then(|()| std::fs::rename(&temporary, &path));
            Ok(written.map_err(|error| StoreError::io("writing", &path, &error))?)
        }
        Err(error) => Err(StoreError::io("reading", &path, &error).into()),
    }
}
