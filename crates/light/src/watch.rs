//! A list of scripts that are watched, and the payments found to and from them: a plain JSON file. Who has a wallet does
//! not need it; it is for whoever wants to see what arrives at some addresses, and to prove it.
//!
//! It does no network: [`WatchList::next`] says what to look through, the caller asks the [`crate::LightClient`], and
//! [`WatchList::take`] and [`WatchList::done`] take what came of it.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use lode_chain::HeaderChain;
use lode_coins::Coin;
use lode_primitives::{Amount, Block, Decode, Height, OutPoint, ScriptBuf, Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::proof::Proof;
use crate::store::Place;

/// Blocks looked through before the file is written.
const STRETCH: Height = 4_000;
/// Scripts watched, at the most: each is hashed for each block.
pub const SCRIPTS_MAX: usize = 100_000;

/// A script that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    /// In hex.
    script: String,
    /// What the user called it by.
    name: String,
    /// The first block not looked through for it.
    next: Height,
}

/// A transaction that pays to a watched script, or spends from one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its block's time, Unix seconds.
    pub time: u32,
    /// What it pays to watched scripts, in satoshi.
    pub received: i64,
    /// What it spends of watched outputs, in satoshi.
    pub spent: i64,
    /// The names of the scripts that it pays to.
    pub names: Vec<String>,
    /// The transaction, and the proof that it is in its block.
    pub proof: Proof,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    /// The highest block looked through, as hash.
    last: Option<String>,
    watched: Vec<Watched>,
    found: BTreeMap<String, Found>,
}

/// Blocks to look through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// For these.
    pub scripts: Vec<ScriptBuf>,
    /// The first.
    pub from: Height,
    /// The last.
    pub to: Height,
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The file cannot be read or written.
    #[error("cannot use {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is none of ours.
    #[error("{path} is no watch list: {what}; move it away and watch anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Too many scripts.
    #[error("{0} scripts are more than the {SCRIPTS_MAX} that can be watched")]
    TooMany(usize),
}

/// The file's version.
const VERSION: u32 = 1;

/// The list.
#[derive(Debug)]
pub struct WatchList {
    coin: &'static Coin,
    path: PathBuf,
    file: File,
    /// What each watched script is called.
    names: HashMap<ScriptBuf, String>,
    /// Watched outputs found, with their value.
    outputs: HashMap<OutPoint, Amount>,
}

impl WatchList {
    /// Reads the list of `directory`, or begins one there.
    ///
    /// # Errors
    /// Where the file cannot be read or is none of ours.
    pub fn open(coin: &'static Coin, directory: &Path) -> Result<Self, WatchError> {
        let path = directory.join("watch.json");
        let file = match std::fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice::<File>(&bytes).map_err(|error| error.to_string());
                let known = |file: File| match file.version {
                    VERSION => Ok(file),
                    other => Err(format!("it is of version {other}, known is {VERSION}")),
                };
                read.and_then(known).map_err(|what| WatchError::Damaged { path: path.clone(), what })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                File { version: VERSION, ..File::default() }
            }
            Err(error) => return Err(WatchError::Io { path, error }),
        };
        let mut list = Self { coin, path, file, names: HashMap::new(), outputs: HashMap::new() };
        list.index().map_err(|what| WatchError::Damaged { path: list.path.clone(), what })?;
        Ok(list)
    }

    fn index(&mut self) -> Result<(), String> {
        self.names.clear();
        for watched in &self.file.watched {
            let script = hex::decode(&watched.script).map_err(|error| error.to_string())?;
            self.names.insert(script, watched.name.clone());
        }
        self.outputs.clear();
        for found in self.file.found.values() {
            let bytes = hex::decode(&found.proof.transaction).map_err(|error| error.to_string())?;
            let transaction =
                Transaction::from_bytes(&bytes, self.coin.form).map_err(|error| error.to_string())?;
            note_outputs(&self.names, &transaction, &mut self.outputs);
        }
        Ok(())
    }

    /// Watches a script from height `from` on. One that is watched already stays as it is, except that an earlier
    /// `from` is looked through again.
    ///
    /// # Errors
    /// [`WatchError::TooMany`].
    pub fn watch(&mut self, script: ScriptBuf, name: &str, from: Height) -> Result<(), WatchError> {
        if self.file.watched.len() >= SCRIPTS_MAX {
            return Err(WatchError::TooMany(self.file.watched.len() + 1));
        }
        if !self.names.contains_key(&script) {
            let watched = Watched { script: hex::encode(&script), name: name.to_owned(), next: from };
            self.file.watched.push(watched);
            self.names.insert(script, name.to_owned());
        }
        Ok(())
    }

    /// How many scripts are watched.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What was found, by id.
    pub fn found(&self) -> impl Iterator<Item = (&str, &Found)> {
        self.file.found.iter().map(|(txid, found)| (txid.as_str(), found))
    }

    /// A transaction that was found.
    pub fn get(&self, txid: &Txid) -> Option<&Found> {
        self.file.found.get(&txid.to_string())
    }

    /// What the watched scripts hold, in satoshi.
    pub fn balance(&self) -> i64 {
        self.file.found.values().map(|found| found.received - found.spent).sum()
    }

    /// Takes back what was found in blocks that are not in the best chain any more.
    pub fn follow(&mut self, headers: &HeaderChain) {
        let Some(last) = self.file.last.as_ref().and_then(|hash| hash.parse().ok()) else { return };
        if headers.height_of(&last).is_none() {
            // Side branches are kept with the headers; if even that is lost, everything is looked through again.
            self.rewind(headers.fork_height(&last).map_or(0, |fork| fork + 1));
            self.file.last = headers
                .fork_height(&last)
                .and_then(|fork| headers.entry_at(fork))
                .map(|entry| entry.hash().to_string());
        }
    }

    /// Looks through the blocks from `height` on again, and forgets what was found in them.
    pub fn rewind(&mut self, height: Height) {
        for watched in &mut self.file.watched {
            watched.next = watched.next.min(height);
        }
        self.file.found.retain(|_, found| found.proof.height < height);
        // What was read before reads again.
        let _ = self.index();
    }

    /// What to look through next, where the best chain ends at `tip`; `None` where all is done.
    pub fn next(&self, tip: Height) -> Option<Stretch> {
        let from = self.file.watched.iter().map(|watched| watched.next).min().filter(|next| *next <= tip)?;
        let (mine, others): (Vec<_>, Vec<_>) =
            self.file.watched.iter().partition(|watched| watched.next == from);
        let until = others.iter().map(|watched| watched.next - 1).min().unwrap_or(tip);
        let scripts = mine.iter().filter_map(|watched| hex::decode(&watched.script).ok()).collect();
        Some(Stretch { scripts, from, to: until.min(tip).min(from + STRETCH - 1) })
    }

    /// Takes what a block has of watched scripts, and says which transactions are new. Blocks come in order.
    pub fn take(&mut self, block: &Block, place: Place) -> Vec<Txid> {
        let mut news = Vec::new();
        for (index, transaction) in block.transactions.iter().enumerate() {
            let txid = transaction.txid();
            let mut names: Vec<String> = Vec::new();
            let mut received = Amount::ZERO;
            for output in &transaction.outputs {
                if let Some(name) = self.names.get(&output.script_pubkey) {
                    received = received.checked_add(output.value).unwrap_or(received);
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
            let spent = transaction.inputs.iter().filter_map(|input| self.outputs.get(&input.prevout));
            let spent = spent.fold(Amount::ZERO, |sum, value| sum.checked_add(*value).unwrap_or(sum));
            if names.is_empty() && spent == Amount::ZERO {
                continue;
            }
            note_outputs(&self.names, transaction, &mut self.outputs);
            let Some(proof) = Proof::new(self.coin, block, place.height, index) else { continue };
            let time = block.header.time;
            let found = Found { time, received: received.to_sat(), spent: spent.to_sat(), names, proof };
            if self.file.found.insert(txid.to_string(), found).is_none() {
                news.push(txid);
            }
        }
        news
    }

    /// A stretch was looked through; `last` is the best chain's block at its end.
    pub fn done(&mut self, stretch: &Stretch, last: Place) {
        for watched in self.file.watched.iter_mut().filter(|watched| watched.next == stretch.from) {
            watched.next = stretch.to + 1;
        }
        self.file.last = Some(last.hash.to_string());
    }

    /// Writes the file: a reader, and the next start, see the old one or the new one.
    ///
    /// # Errors
    /// [`WatchError::Io`].
    pub fn save(&self) -> Result<(), WatchError> {
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(&self.file).expect("strings and numbers are JSON");
        let written = std::fs::File::create(&new).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        });
        written.map_err(|error| WatchError::Io { path: self.path.clone(), error })
    }
}

fn note_outputs(
    names: &HashMap<ScriptBuf, String>,
    transaction: &Transaction,
    outputs: &mut HashMap<OutPoint, Amount>,
) {
    let txid = transaction.txid();
    for (vout, output) in (0..).zip(&transaction.outputs) {
        if names.contains_key(&output.script_pubkey) {
            outputs.insert(OutPoint { txid, vout }, output.value);
        }
    }
}
