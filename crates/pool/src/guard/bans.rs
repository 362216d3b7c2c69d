//! The file of bans, so that they outlast a restart: one JSON object a line, replaced as a whole by a rename.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::NetworkBlock;

/// A ban, in force or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ban {
    /// Who may not connect.
    pub network: NetworkBlock,
    /// When it ends, Unix milliseconds.
    pub until_ms: u64,
    /// How many bans this block has had, this one included; 0 for one by the operator.
    pub times: u8,
}

/// Reads the file. A line that is no ban is left out; a file that is not there has none.
pub fn load(path: &Path) -> io::Result<Vec<Ban>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bans = Vec::new();
    for line in BufReader::new(file).lines().take(super::BLOCKS_MAX + super::OPERATOR_BANS_MAX) {
        bans.extend(serde_json::from_str::<Ban>(&line?).ok());
    }
    Ok(bans)
}

/// Replaces the file. After a crash it is the old one or the new one.
pub fn save(path: &Path, bans: &[Ban]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut out = BufWriter::new(File::create(&new)?);
    for ban in bans {
        serde_json::to_writer(&mut out, ban)?;
        out.write_all(b"\n")?;
    }
    out.into_inner()?.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_outlast_a_restart_and_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bans.jsonl");
        assert_eq!(load(&path).unwrap(), []);
        let ban = |text: &str, times| Ban { network: text.parse().unwrap(), until_ms: 7, times };
        let bans = [ban("192.0.2.7/32", 3), ban("2001:db8::/32", 0)];
        save(&path, &bans).unwrap();
        assert_eq!(load(&path).unwrap(), bans);
        let torn = fs::read_to_string(&path).unwrap();
        fs::write(&path, &torn[..torn.len() - 5]).unwrap();
        assert_eq!(load(&path).unwrap(), bans[..1]);
    }
}
