//! Opening a chain: the index, and what came after the last flush.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use lode_primitives::{BlockHash, Decode, Encode, Header, Reader};

use crate::cache::Coins;
use crate::chain::{Chain, ChainOptions, Connected};
use crate::db::{Database, Row};
use crate::directory;
use crate::flat::{FlatFiles, Position, RECORD_HEAD};
use crate::limits::{PRUNE_BY_HAND, PRUNE_LEAST_MIB};
use crate::rules::header;
use crate::signatures::SignatureTable;
use crate::tree::{Id, Status, Tree};
use crate::{OpenError, StoreError};

impl Chain {
    /// Opens the chain in a directory, or begins one there. After a kill it brings itself up to date first: every block
    /// that was reported as connected is connected when this returns.
    pub fn open(options: ChainOptions) -> Result<Self, OpenError> {
        Self::open_telling(options, |_| {})
    }

    /// As [`Chain::open`], and tells what it is at in a few words for people. The first time it tells anything the
    /// directory is locked for this process.
    pub fn open_telling(options: ChainOptions, mut tell: impl FnMut(&str)) -> Result<Self, OpenError> {
        let coin = options.coin;
        if let Some(mib) = options.prune_mib
            && mib != PRUNE_BY_HAND
            && mib < PRUNE_LEAST_MIB
            && !coin.network.is_private()
        {
            return Err(OpenError::PruneTooSmall { mib, least: PRUNE_LEAST_MIB });
        }
        let block_dir = options.dir.join("blocks");
        let made = std::fs::create_dir_all(&block_dir);
        made.map_err(|error| StoreError::io("making", &block_dir, &error))?;
        let lock = directory::lock(&options.dir)?;
        directory::check_format(&options.dir, coin)?;
        tell("opening the database of unspent outputs");

        let db = Database::open(&options.dir.join("outputs"))?;
        let blocks = FlatFiles::open(&block_dir, "blk", coin.magic, options.block_file_bytes)?;
        let undo = FlatFiles::open(&block_dir, "rev", coin.magic, options.block_file_bytes)?;
        let mut chain = Self {
            coin,
            tree: Tree::default(),
            active: Vec::new(),
            best_header: 0,
            candidates: BTreeSet::new(),
            waiting: HashMap::new(),
            next_sequence: 1,
            coins: Coins::new(options.cache_bytes),
            db,
            blocks,
            undo,
            dirty: BTreeSet::new(),
            data_heights: HashMap::new(),
            last_flush: 0,
            prune_checked: 0,
            report: Connected::default(),
            signatures: SignatureTable::default(),
            stopped: None,
            _lock: lock,
            options,
        };
        chain.load(&mut tell)?;
        Ok(chain)
    }

    fn load(&mut self, tell: &mut impl FnMut(&str)) -> Result<(), StoreError> {
        let meta = self.db.meta()?;
        let Some(tip) = meta.tip else { return self.begin() };
        tell("reading the index of blocks");
        self.load_index()?;
        let damaged = |what: &str| StoreError::Database {
            path: self.options.dir.join("outputs"),
            message: what.to_owned(),
            directory: self.options.dir.clone(),
        };
        let tip = self.tree.find(&tip).ok_or_else(|| damaged("the tip is not in the index"))?;
        let mut active = vec![tip];
        while let Some(parent) = self.tree.parent(active[active.len() - 1]) {
            active.push(parent);
        }
        active.reverse();
        self.active = active;

        // Undo data written after the flush belongs to nothing: the blocks it is of are connected again below.
        tell("looking for blocks that came after the last flush");
        self.undo.truncate(meta.undo_end.unwrap_or(Position::START))?;
        self.recover_blocks(meta.blocks_end.unwrap_or(Position::START))?;
        self.delete_unused_files()?;
        self.rebuild_candidates();
        let flushed_at = self.height();
        let last = self.candidates.last().map_or(flushed_at, |&(_, _, id)| self.tree.get(id).height());
        loop {
            self.activate(None)?;
            let more = self.take_report().more;
            if !more {
                break;
            }
            let (done, all) = (self.height().saturating_sub(flushed_at), last.saturating_sub(flushed_at));
            tell(&format!(
                "connecting blocks again that came after the last flush, at height {} of {last} ({}%)",
                self.height(),
                u64::from(done) * 100 / u64::from(all.max(1))
            ));
        }
        tracing::info!(height = self.height(), flushed_at, headers = self.tree.len(), "chain open");
        Ok(())
    }

    /// The first start: the first block is all there is.
    fn begin(&mut self) -> Result<(), StoreError> {
        let genesis = self.coin.genesis_block();
        let mut record = vec![0; RECORD_HEAD];
        genesis.encode(&mut record);
        // A first start that was killed may have left the first block behind; more was written by a chain whose
        // database is gone.
        let left: u64 = self.blocks.sizes()?.iter().map(|(_, bytes)| bytes).sum();
        if left > record.len() as u64 {
            return Err(StoreError::Database {
                path: self.options.dir.join("outputs"),
                message: format!("it is empty, but there are {left} bytes of blocks"),
                directory: self.options.dir.clone(),
            });
        }
        self.blocks.truncate(Position::START)?;
        self.undo.truncate(Position::START)?;
        let position = self.blocks.append(record)?;
        let id = self.insert_header(&genesis.header, genesis.hash());
        let entry = self.tree.get_mut(id);
        entry.data = Some(position);
        entry.tx_count = genesis.transactions.len() as u32;
        entry.chain_tx = u64::from(entry.tx_count);
        entry.status.set(Status::CHECKED);
        // Its outputs are not among the unspent ones, by tradition of the reference client.
        self.active.push(id);
        self.flush()
    }

    fn load_index(&mut self) -> Result<(), StoreError> {
        let mut linkable: Vec<Id> = Vec::new();
        let rows = self.db.rows(self.coin.form);
        for row in rows {
            let Row { header, hash, status, tx_count, sequence, data, undo } = row?;
            // A header is written when it comes by itself, one that comes with a block at the next flush. So the parent
            // may be in the block files only; it is found again there, and this header is sent again.
            if header.prev != BlockHash::ZERO && self.tree.find(&header.prev).is_none() {
                continue;
            }
            let id = self.tree.insert(&header, hash, crate::tree::work_of(self.coin, header.bits));
            let parent = self.tree.parent(id);
            let below =
                parent.map_or(Some(0), |parent| Some(self.tree.get(parent).chain_tx).filter(|&tx| tx > 0));
            let entry = self.tree.get_mut(id);
            entry.status = status;
            entry.tx_count = tx_count;
            entry.sequence = sequence;
            entry.data = data;
            entry.undo = undo;
            if tx_count > 0 {
                match below {
                    Some(below) => entry.chain_tx = below + u64::from(tx_count),
                    None => linkable.push(id),
                }
            }
            self.next_sequence = self.next_sequence.max(sequence + 1);
            let (entry, best) = (self.tree.get(id), self.tree.get(self.best_header));
            if entry.work() > best.work() && !entry.is_invalid() {
                self.best_header = id;
            }
        }
        for id in linkable {
            self.waiting.entry(self.tree.get(id).parent).or_default().push(id);
        }
        Ok(())
    }

    /// Takes the blocks behind `from` in the block files: they came after the last flush.
    fn recover_blocks(&mut self, from: Position) -> Result<(), StoreError> {
        let mut found = Vec::new();
        let form = self.coin.form;
        self.blocks.scan(from, |position, payload| {
            let mut reader = Reader::new(&payload);
            // The checksum held, so this is what was written; a record that is no block is passed over.
            if let (Ok(header), Ok(count)) = (Header::decode(&mut reader, form), reader.compact_size()) {
                found.push((position, header, count as u32));
            }
            Ok(())
        })?;
        for (position, header, tx_count) in found {
            let hash = header.hash();
            let id = match (self.tree.find(&hash), self.tree.find(&header.prev)) {
                (Some(id), _) => id,
                (None, Some(parent)) => {
                    if header::check_in_context(&self.tree, self.coin, &header, parent, None).is_err() {
                        continue;
                    }
                    self.insert_header(&header, hash)
                }
                // It came before its parent's header was kept: it will be sent again.
                (None, None) => continue,
            };
            let entry = self.tree.get_mut(id);
            if entry.tx_count == 0 {
                entry.data = Some(position);
                entry.tx_count = tx_count;
                self.dirty.insert(id);
                self.body_seen(id);
            }
        }
        Ok(())
    }

    /// Lets only so many more bytes be written to block and undo files, as a full disk would; for tests.
    #[doc(hidden)]
    pub fn limit_writes(&mut self, blocks: Option<u64>, undo: Option<u64>) {
        self.blocks.set_budget(blocks);
        self.undo.set_budget(undo);
    }

    /// Ids of the blocks that could be the tip, best last; for tests.
    #[doc(hidden)]
    pub fn candidate_hashes(&self) -> Vec<BlockHash> {
        self.candidates.iter().map(|&(_, Reverse(_), id)| self.tree.get(id).hash()).collect()
    }
}
