//! The index of compact filters (BIP157, BIP158): every block's filter and filter header, for `node` to serve.
//!
//! One `fjall` database beside the chain's own, in a directory that may be deleted at any time to be built anew:
//!
//! ```text
//! headers: height u32 be | block id [32] -> filter hash [32] | filter header [32]
//! filters: height u32 be | block id [32] -> filter
//! ```
//!
//! A filter depends on its block and on nothing else, so nothing is ever taken back: a reorganisation adds the other
//! branch's filters, and those of the old one stay true. Blocks are entered parents first, in atomic batches written to
//! one journal. After a kill, or a power failure, what is there is therefore the beginning of every chain down from
//! genesis, and where to go on is found by bisection ([`FilterIndex::reached`]); no marker can be wrong.

use std::path::{Path, PathBuf};

use fjall::{KeyspaceCreateOptions, PersistMode};
use lode_primitives::{BlockFilter, BlockHash, Hash256, Height};

use crate::{Chain, StoreError};

/// fjall's own cache of blocks read, in bytes: peers that sync ask for the same filters one after the other.
const READ_CACHE_BYTES: u64 = 16 << 20;
/// Memory for filters not yet in a table, in bytes.
const WRITE_BUFFER_BYTES: u64 = 16 << 20;

/// The open index. One writer; any number of readers at the same time.
pub struct FilterIndex {
    db: fjall::Database,
    headers: fjall::Keyspace,
    filters: fjall::Keyspace,
    path: PathBuf,
}

impl std::fmt::Debug for FilterIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterIndex").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What commits to a block's filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterHeader {
    /// The filter's own hash.
    pub filter_hash: Hash256,
    /// The filter header: over that hash and the header before.
    pub header: Hash256,
}

/// A block to be entered.
#[derive(Clone, Debug)]
pub struct NewFilter {
    /// The block's height.
    pub height: Height,
    /// Its id.
    pub hash: BlockHash,
    /// Its filter.
    pub filter: BlockFilter,
    /// The filter header over it.
    pub header: Hash256,
}

fn key(height: Height, hash: &BlockHash) -> [u8; 36] {
    let mut key = [0; 36];
    key[..4].copy_from_slice(&height.to_be_bytes());
    key[4..].copy_from_slice(hash.as_bytes());
    key
}

impl FilterIndex {
    /// Opens or makes the index in the directory `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: fjall::Error| crate::db::failure(path, &error);
        let db = fjall::Database::builder(path).cache_size(READ_CACHE_BYTES).open().map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(WRITE_BUFFER_BYTES);
        let keyspace = |name: &str| db.keyspace(name, options).map_err(failed);
        Ok(Self { headers: keyspace("headers")?, filters: keyspace("filters")?, db, path: path.to_owned() })
    }

    fn failed(&self, error: &fjall::Error) -> StoreError {
        crate::db::failure(&self.path, error)
    }

    /// What commits to the filter of a block; `None` where it is not made yet.
    pub fn header(&self, height: Height, hash: &BlockHash) -> Result<Option<FilterHeader>, StoreError> {
        let Some(value) = self.headers.get(key(height, hash)).map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        let Some((filter_hash, header)) = value.split_first_chunk::<32>() else {
            return Err(self.damaged("a filter header"));
        };
        let header = header.try_into().map_err(|_| self.damaged("a filter header"))?;
        Ok(Some(FilterHeader { filter_hash: Hash256(*filter_hash), header: Hash256(header) }))
    }

    /// The filter of a block; `None` where it is not made yet.
    pub fn filter(&self, height: Height, hash: &BlockHash) -> Result<Option<BlockFilter>, StoreError> {
        let value = self.filters.get(key(height, hash)).map_err(|error| self.failed(&error))?;
        Ok(value.map(|value| BlockFilter::from_bytes(value.to_vec())))
    }

    /// Enters blocks, all of them or none. The parent of each is there already or comes before it.
    pub fn add(&self, blocks: &[NewFilter]) -> Result<(), StoreError> {
        let mut batch = self.db.batch();
        for block in blocks {
            let key = key(block.height, &block.hash);
            let mut value = [0; 64];
            value[..32].copy_from_slice(block.filter.hash().as_bytes());
            value[32..].copy_from_slice(block.header.as_bytes());
            batch.insert(&self.headers, key.as_slice(), value.as_slice());
            batch.insert(&self.filters, key.as_slice(), block.filter.as_bytes());
        }
        batch.durability(Some(PersistMode::Buffer)).commit().map_err(|error| self.failed(&error))
    }

    /// The highest block of the best chain that has its filter here; `None` where not even the first has.
    pub fn reached(&self, chain: &Chain) -> Result<Option<Height>, StoreError> {
        let has = |height: Height| match chain.entry_at(height) {
            Some(entry) => Ok(self.header(height, &entry.hash())?.is_some()),
            None => Ok(false),
        };
        // Blocks below `low` have theirs, those from `high` on do not.
        let (mut low, mut high) = (0, chain.height() + 1);
        if has(chain.height())? {
            return Ok(Some(chain.height()));
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if has(middle)? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.headers.disk_space() + self.filters.disk_space()
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Database {
            path: self.path.clone(),
            message: format!("{what} is damaged"),
            directory: self.path.clone(),
        }
    }
}

impl Chain {
    /// The compact filter of a block that was connected once; `Ok(None)` where it never was.
    ///
    /// # Errors
    /// [`StoreError::Pruned`] where the block was deleted; others where its file is damaged.
    pub fn block_filter(&self, hash: &BlockHash) -> Result<Option<BlockFilter>, StoreError> {
        let Some((block, spent)) = self.connected_block(hash)? else { return Ok(None) };
        let spent = spent.iter().flatten().map(|utxo| utxo.output.script_pubkey.as_slice());
        Ok(Some(BlockFilter::of_block(&block, hash, spent)))
    }
}
