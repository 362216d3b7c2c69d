//! Found blocks on disk: written, and synced, before anything else is done with them.
//!
//! One file of records (see [`lode_ledger::RecordFile`]): a found block with its bytes, its payout snapshot and its
//! story; and what became of it. Once a block is settled its bytes and snapshot are left out when the file is next
//! written anew; its story stays for the dashboard. [`crate::watch`] is the only caller.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use lode_ledger::{LogError, Payout, PayoutSnapshot, RecordFile};
use lode_primitives::{BlockHash, Height, Txid};
use serde::{Deserialize, Serialize};

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"LODEJRN1";
/// Kinds of records.
const FOUND: u8 = 1;
const STATE: u8 = 2;
/// Stories kept; older ones are forgotten. At about 1 kB each this is 10 MB in memory.
const HISTORY_MAX: usize = 10_000;
/// The file is written anew once so many settled blocks have their bytes in it.
const SETTLED_MAX: usize = 64;

/// A block that was found.
#[derive(Clone, Debug)]
pub struct FoundBlock {
    /// Its id.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// The block before it.
    pub prev: BlockHash,
    /// When it was found, Unix milliseconds.
    pub found_ms: u64,
    /// The job it was found with.
    pub job: String,
    /// The finder's account, and worker.
    pub finder: (String, String),
    /// What its coinbase pays.
    pub snapshot: PayoutSnapshot,
    /// The whole block as it goes to nodes.
    pub block: Bytes,
    /// The id of its coinbase.
    pub coinbase_txid: Txid,
    /// The work a block takes, credit units.
    pub network_units: u128,
    /// All work the pool was ever brought, this block's share included; credit units. See [`lode_ledger::Ledger::work_ever`].
    pub units_ever: u128,
}

/// What became of a found block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockState {
    /// On our disk; no node is known to have it.
    Found,
    /// A node has it as its tip.
    Accepted,
    /// In the best chain, under other blocks.
    Confirmed {
        /// How many.
        depth: u32,
    },
    /// Another block is in its place. It may come back with a reorganisation.
    Orphaned,
    /// Every node that could be asked says it breaks a rule.
    Rejected {
        /// Which.
        reason: String,
    },
}

/// A found block's story, for the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRecord {
    /// Its id, as people see it.
    pub hash: String,
    /// Its height.
    pub height: Height,
    /// When it was found, Unix milliseconds.
    pub found_ms: u64,
    /// The job it was found with.
    pub job: String,
    /// The finder's account.
    pub account: String,
    /// The finder's worker.
    pub worker: String,
    /// Subsidy and fees, satoshi.
    pub reward: i64,
    /// The pool's part, satoshi.
    pub fee: i64,
    /// The id of its coinbase.
    pub coinbase_txid: String,
    /// Who is paid, the most first.
    pub payouts: Vec<PayoutRecord>,
    /// Owed, after it, to those it does not pay: satoshi.
    pub carried: i64,
    /// All work in the window it was split by, credit units, as a decimal number.
    pub window_units: String,
    /// The work a block takes, credit units, as a decimal number.
    pub network_units: String,
    /// All work the pool had ever been brought by then, credit units, as a decimal number.
    pub units_ever: String,
    /// What became of it.
    pub state: BlockState,
    /// Nothing can change any more.
    pub settled: bool,
}

/// A payee of a found block. Amounts in satoshi.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutRecord {
    /// The account: an address.
    pub account: String,
    /// What the coinbase pays.
    pub paid: i64,
    /// Its part of the reward by its work.
    pub earned: i64,
    /// Its work in the window, credit units, as a decimal number.
    pub units: String,
    /// Owed to it afterwards; below zero where it was paid ahead.
    pub after: i64,
}

/// A block that is not settled: its story and what is needed to hand it in again.
#[derive(Clone, Debug)]
pub struct OpenBlock {
    /// Its id.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// Its bytes.
    pub block: Bytes,
    /// Its payout snapshot, as [`lode_ledger::Ledger::read_snapshot`] takes it.
    pub snapshot: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct StateRecord {
    hash: String,
    state: BlockState,
    settled: bool,
}

/// The journal, with one owner.
#[derive(Debug)]
pub struct Journal {
    file: RecordFile,
    /// In the order they were found.
    records: Vec<BlockRecord>,
    open: HashMap<BlockHash, OpenBlock>,
    settled_in_file: usize,
}

impl PayoutRecord {
    fn of(payout: &Payout<'_>) -> Self {
        Self {
            account: payout.line.account.name().to_owned(),
            paid: payout.amount.to_sat(),
            earned: payout.line.earned,
            units: payout.line.units.to_string(),
            after: payout.after,
        }
    }
}

impl Journal {
    /// Opens the journal, made where missing.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let (mut records, mut open) = (Vec::<BlockRecord>::new(), HashMap::new());
        let file = RecordFile::open(path, MAGIC, |kind, body| -> Result<(), LogError> {
            match kind {
                FOUND => {
                    let Some((record, snapshot, block)) = split_found(body) else {
                        return Err(LogError::Record { path: path.into(), at: 0 });
                    };
                    if let (Ok(hash), false) = (record.hash.parse::<BlockHash>(), block.is_empty()) {
                        let (snapshot, block) = (snapshot.to_vec(), Bytes::copy_from_slice(block));
                        open.insert(hash, OpenBlock { hash, height: record.height, block, snapshot });
                    }
                    records.push(record);
                }
                _ => {
                    let Ok(change) = serde_json::from_slice::<StateRecord>(body) else {
                        return Err(LogError::Record { path: path.into(), at: 0 });
                    };
                    if let Some(record) = records.iter_mut().rev().find(|record| record.hash == change.hash) {
                        (record.state, record.settled) = (change.state, change.settled);
                    }
                }
            }
            Ok(())
        })?;
        let mut journal = Self { file, records, open, settled_in_file: 0 };
        let before = journal.open.len();
        journal.forget_settled();
        if journal.open.len() < before || journal.records.len() > HISTORY_MAX {
            journal.rewrite()?;
        }
        Ok(journal)
    }

    /// Writes a found block down. It is on the disk when this returns. A block that is known is left alone: `false`.
    pub fn found(&mut self, found: &FoundBlock) -> Result<bool, LogError> {
        if self.open.contains_key(&found.hash) {
            return Ok(false);
        }
        let split = &found.snapshot.split;
        let payouts = found.snapshot.payouts();
        let record = BlockRecord {
            hash: found.hash.to_string(),
            height: found.height,
            found_ms: found.found_ms,
            job: found.job.clone(),
            account: found.finder.0.clone(),
            worker: found.finder.1.clone(),
            reward: split.reward.to_sat(),
            fee: split.fee.to_sat(),
            coinbase_txid: found.coinbase_txid.to_string(),
            payouts: payouts.map(|payout| PayoutRecord::of(&payout)).collect(),
            carried: found.snapshot.carried().to_sat(),
            window_units: split.window.units.to_string(),
            network_units: found.network_units.to_string(),
            units_ever: found.units_ever.to_string(),
            state: BlockState::Found,
            settled: false,
        };
        let snapshot = found.snapshot.to_bytes();
        self.file.append(FOUND, &[&join_found(&record, &snapshot), &found.block])?;
        self.records.push(record);
        let block =
            OpenBlock { hash: found.hash, height: found.height, block: found.block.clone(), snapshot };
        self.open.insert(found.hash, block);
        Ok(true)
    }

    /// What became of a block. Written down unless only its depth has grown. True where it is another state (its kind
    /// or, once settled, for the last time).
    pub fn set_state(
        &mut self,
        hash: &BlockHash,
        state: BlockState,
        settled: bool,
    ) -> Result<bool, LogError> {
        let shown = hash.to_string();
        let Some(record) = self.records.iter_mut().rev().find(|record| record.hash == shown) else {
            return Ok(false);
        };
        let news = std::mem::discriminant(&record.state) != std::mem::discriminant(&state)
            || record.settled != settled;
        record.state = state.clone();
        record.settled = settled;
        if !news {
            return Ok(false);
        }
        let change = StateRecord { hash: shown, state, settled };
        self.file.append(STATE, &[&serde_json::to_vec(&change).unwrap_or_default()])?;
        if settled {
            self.settled_in_file += 1;
            self.forget_settled();
            if self.settled_in_file >= SETTLED_MAX {
                self.rewrite()?;
            }
        }
        Ok(true)
    }

    /// Blocks that are not settled, lowest first.
    pub fn open_blocks(&self) -> Vec<OpenBlock> {
        let mut open: Vec<OpenBlock> = self.open.values().cloned().collect();
        open.sort_by_key(|block| (block.height, block.hash));
        open
    }

    /// The bytes of a block that is not settled.
    pub fn bytes(&self, hash: &BlockHash) -> Option<Bytes> {
        self.open.get(hash).map(|block| block.block.clone())
    }

    /// The stories, the newest first.
    pub fn records(&self) -> impl Iterator<Item = &BlockRecord> {
        self.records.iter().rev()
    }

    /// A block's story.
    pub fn record(&self, hash: &BlockHash) -> Option<&BlockRecord> {
        let shown = hash.to_string();
        self.records().find(|record| record.hash == shown)
    }

    fn forget_settled(&mut self) {
        for record in self.records.iter().filter(|record| record.settled) {
            if let Ok(hash) = record.hash.parse() {
                self.open.remove(&hash);
            }
        }
    }

    fn rewrite(&mut self) -> Result<(), LogError> {
        let excess = self.records.len().saturating_sub(HISTORY_MAX);
        let mut left_out = 0;
        self.records.retain(|record| {
            let drop = left_out < excess && record.settled;
            left_out += usize::from(drop);
            !drop
        });
        let records: Vec<(u8, Vec<u8>)> = self
            .records
            .iter()
            .map(|record| {
                let open = record.hash.parse().ok().and_then(|hash: BlockHash| self.open.get(&hash));
                let mut body = join_found(record, open.map_or(&[], |open| &open.snapshot));
                body.extend_from_slice(open.map_or(&[], |open| &open.block));
                (FOUND, body)
            })
            .collect();
        self.settled_in_file = 0;
        self.file.rewrite(&records)
    }
}

/// A found block's record up to its bytes: story and snapshot, each after its length.
fn join_found(record: &BlockRecord, snapshot: &[u8]) -> Vec<u8> {
    let story = serde_json::to_vec(record).unwrap_or_default();
    let mut out = Vec::with_capacity(8 + story.len() + snapshot.len());
    for part in [&story[..], snapshot] {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Story, snapshot, block.
fn split_found(body: &[u8]) -> Option<(BlockRecord, &[u8], &[u8])> {
    let part = |bytes: &'_ [u8]| -> Option<usize> {
        let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        (bytes.len() >= 4 + len).then_some(4 + len)
    };
    let (story, rest) = body.split_at(part(body)?);
    let (snapshot, block) = rest.split_at(part(rest)?);
    Some((serde_json::from_slice(&story[4..]).ok()?, &snapshot[4..], block))
}
