//! The database: unspent outputs, the index of headers, and which block the outputs belong to.
//!
//! One `fjall` database with four keyspaces, always written by one atomic batch:
//!
//! ```text
//! utxo:  txid [32] | index u32 be                 -> code | amount | script        (see utxo.rs)
//! index: height u32 be | block id [32]            -> header | status | positions   (see Row)
//! data:  txid [32]                                -> height u32 be of the block whose transaction carries data
//! meta:  "tip" -> block id   "blocks", "undo" -> file u32 le | offset u32 le
//! ```

use std::path::{Path, PathBuf};

use fjall::{KeyspaceCreateOptions, PersistMode, Readable, Slice};
use lode_primitives::{BlockHash, Decode, Encode, Form, Header, Height, OutPoint, Reader, Txid};

use crate::StoreError;
use crate::flat::Position;
use crate::tree::{BlockEntry, Status};
use crate::utxo::{Utxo, key, outpoint_of_key};

/// fjall's own cache of blocks read, in bytes.
const READ_CACHE_BYTES: u64 = 64 << 20;

/// The open database.
pub(crate) struct Database {
    db: fjall::Database,
    utxo: fjall::Keyspace,
    index: fjall::Keyspace,
    data: fjall::Keyspace,
    meta: fjall::Keyspace,
    path: PathBuf,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What was known of a block when the index was written.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) header: Header,
    pub(crate) hash: BlockHash,
    pub(crate) status: Status,
    pub(crate) tx_count: u32,
    pub(crate) sequence: u64,
    pub(crate) data: Option<Position>,
    pub(crate) undo: Option<Position>,
}

/// What the last flush left.
#[derive(Debug, Default)]
pub(crate) struct Meta {
    /// The block whose outputs the database holds.
    pub(crate) tip: Option<BlockHash>,
    /// End of the block files: what is behind it came after the flush.
    pub(crate) blocks_end: Option<Position>,
    /// End of the undo files.
    pub(crate) undo_end: Option<Position>,
}

impl Database {
    /// Opens or makes the database in `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: fjall::Error| failure(path, &error);
        let db = fjall::Database::builder(path).cache_size(READ_CACHE_BYTES).open().map_err(failed)?;
        let keyspace = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
        Ok(Self {
            utxo: keyspace("utxo")?,
            index: keyspace("index")?,
            data: keyspace("data")?,
            meta: keyspace("meta")?,
            db,
            path: path.to_owned(),
        })
    }

    fn failed(&self, error: &fjall::Error) -> StoreError {
        failure(&self.path, error)
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            message: what.to_owned(),
            directory: self.path.parent().unwrap_or(&self.path).to_owned(),
        }
    }

    /// The output, if the database holds it.
    pub(crate) fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        let Some(value) = self.utxo.get(key(outpoint)).map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let utxo =
            Utxo::from_bytes(&value, Form::default()).map_err(|_| self.damaged("an unspent output"))?;
        Ok(Some(utxo))
    }

    /// True where the database holds the output.
    pub(crate) fn has_utxo(&self, outpoint: &OutPoint) -> Result<bool, StoreError> {
        self.utxo.contains_key(key(outpoint)).map_err(|error| self.failed(&error))
    }

    /// Height of the block that held a transaction with data when it was last connected.
    pub(crate) fn data_height(&self, txid: &Txid) -> Result<Option<Height>, StoreError> {
        let found = self.data.get(txid.0).map_err(|error| self.failed(&error))?;
        let height = |value: Slice| value.as_ref().try_into().map(u32::from_be_bytes);
        found
            .map(|value| height(value).map_err(|_| self.damaged("where a transaction with data is")))
            .transpose()
    }

    /// What the last flush left.
    pub(crate) fn meta(&self) -> Result<Meta, StoreError> {
        let get = |name: &str| self.meta.get(name).map_err(|error| self.failed(&error));
        let position = |name: &str| {
            let Some(value) = get(name)? else { return Ok(None) };
            decode_position(&value).map(Some).ok_or_else(|| self.damaged(name))
        };
        let tip = match get("tip")? {
            Some(value) => Some(BlockHash(value.as_ref().try_into().map_err(|_| self.damaged("tip"))?)),
            None => None,
        };
        Ok(Meta { tip, blocks_end: position("blocks")?, undo_end: position("undo")? })
    }

    /// Every header with what was known of its block, parents before children.
    pub(crate) fn rows(&self, form: Form) -> impl Iterator<Item = Result<Row, StoreError>> + '_ {
        self.index.iter().map(move |guard| {
            let (key, value) = guard.into_inner().map_err(|error| self.failed(&error))?;
            decode_row(&key, &value, form).ok_or_else(|| self.damaged("a header"))
        })
    }

    /// An empty set of changes.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            batch: self.db.batch(),
            utxo: self.utxo.clone(),
            index: self.index.clone(),
            data: self.data.clone(),
            meta: self.meta.clone(),
        }
    }

    /// Makes all `changes`, or none. `durable`: also against power loss.
    pub(crate) fn commit(&self, changes: Changes, durable: bool) -> Result<(), StoreError> {
        let mode = if durable { PersistMode::SyncData } else { PersistMode::Buffer };
        changes.batch.durability(Some(mode)).commit().map_err(|error| self.failed(&error))
    }

    /// All outputs as they are in the database now, whatever is written later.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs { snapshot: self.db.snapshot(), utxo: self.utxo.clone(), path: self.path.clone() }
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.utxo.disk_space() + self.index.disk_space() + self.data.disk_space() + self.meta.disk_space()
    }
}

/// All outputs at one moment.
pub(crate) struct Outputs {
    snapshot: fjall::Snapshot,
    utxo: fjall::Keyspace,
    path: PathBuf,
}

impl Outputs {
    /// Every output, by txid and index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<(OutPoint, Utxo), StoreError>> + '_ {
        self.snapshot.iter(&self.utxo).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|error| failure(&self.path, &error))?;
            outpoint_of_key(&key).zip(Utxo::from_bytes(&value, Form::default()).ok()).ok_or_else(|| {
                StoreError::Database {
                    path: self.path.clone(),
                    message: "an unspent output".to_owned(),
                    directory: self.path.parent().unwrap_or(&self.path).to_owned(),
                }
            })
        })
    }
}

/// Changes to be made together.
pub(crate) struct Changes {
    batch: fjall::OwnedWriteBatch,
    utxo: fjall::Keyspace,
    index: fjall::Keyspace,
    data: fjall::Keyspace,
    meta: fjall::Keyspace,
}

impl Changes {
    pub(crate) fn put_utxo(&mut self, outpoint: &OutPoint, utxo: &Utxo) {
        let mut value = Vec::with_capacity(16 + utxo.output.script_pubkey.len());
        utxo.encode(&mut value);
        self.batch.insert(&self.utxo, Slice::from(key(outpoint)), Slice::from(value));
    }

    pub(crate) fn delete_utxo(&mut self, outpoint: &OutPoint) {
        self.batch.remove(&self.utxo, Slice::from(key(outpoint)));
    }

    pub(crate) fn put_entry(&mut self, entry: &BlockEntry) {
        let mut key = Vec::with_capacity(36);
        key.extend_from_slice(&entry.height().to_be_bytes());
        key.extend_from_slice(entry.hash().as_bytes());
        let mut value = Vec::with_capacity(128);
        entry.header().encode(&mut value);
        value.push(entry.status.bits());
        value.extend_from_slice(&entry.tx_count.to_le_bytes());
        value.extend_from_slice(&entry.sequence.to_le_bytes());
        for position in [entry.data, entry.undo] {
            // A file number is never this great.
            encode_position(position.unwrap_or(NOWHERE), &mut value);
        }
        self.batch.insert(&self.index, key, value);
    }

    pub(crate) fn put_data_height(&mut self, txid: &Txid, height: Height) {
        self.batch.insert(&self.data, txid.0.as_slice(), height.to_be_bytes().as_slice());
    }

    pub(crate) fn put_tip(&mut self, tip: BlockHash) {
        self.batch.insert(&self.meta, "tip", tip.0.as_slice());
    }

    pub(crate) fn put_ends(&mut self, blocks: Position, undo: Position) {
        for (name, position) in [("blocks", blocks), ("undo", undo)] {
            let mut value = Vec::with_capacity(8);
            encode_position(position, &mut value);
            self.batch.insert(&self.meta, name, value);
        }
    }
}

const NOWHERE: Position = Position { file: u32::MAX, offset: u32::MAX };

fn encode_position(position: Position, out: &mut Vec<u8>) {
    out.extend_from_slice(&position.file.to_le_bytes());
    out.extend_from_slice(&position.offset.to_le_bytes());
}

fn decode_position(bytes: &[u8]) -> Option<Position> {
    let mut reader = Reader::new(bytes);
    let position = Position { file: reader.u32_le().ok()?, offset: reader.u32_le().ok()? };
    reader.finish().ok().map(|()| position)
}

fn decode_row(key: &[u8], value: &[u8], form: Form) -> Option<Row> {
    let hash = BlockHash(key.get(4..)?.try_into().ok()?);
    let mut reader = Reader::new(value);
    let header = Header::decode(&mut reader, form).ok()?;
    let status = Status::from_bits(reader.u8().ok()?);
    let tx_count = reader.u32_le().ok()?;
    let sequence = reader.u64_le().ok()?;
    let mut position = || {
        let position = Position { file: reader.u32_le().ok()?, offset: reader.u32_le().ok()? };
        Some((position != NOWHERE).then_some(position))
    };
    let (data, undo) = (position()?, position()?);
    reader.finish().ok()?;
    Some(Row { header, hash, status, tx_count, sequence, data, undo })
}

/// The chain's error for fjall's.
pub(crate) fn failure(path: &Path, error: &fjall::Error) -> StoreError {
    let io = match error {
        fjall::Error::Io(io) => Some(io),
        fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io),
        _ => None,
    };
    match io {
        Some(io) if io.kind() != std::io::ErrorKind::NotFound => StoreError::io("using", path, io),
        missing => StoreError::Database {
            path: path.to_owned(),
            message: missing.map_or_else(|| error.to_string(), |_| "one of its files is missing".to_owned()),
            directory: path.parent().unwrap_or(path).to_owned(),
        },
    }
}
