//! Consensus rules, best chain, unspent outputs, block store, mempool.
//!
//! [`Chain`] is the whole of it: it takes headers and blocks, keeps those that hold to the rules, and says how the
//! best chain changed. `node` owns one, feeds it what peers send and tells the mempool, the pool and the wallet what
//! it reports. One writer at a time (`&mut`), any number of readers (`&`). It does no network and reads no clock: the
//! time comes with each call.
//!
//! ```text
//! chain        the writer: accept, flush                    rules/    what is valid, as functions
//!   activate   which chain is best, and becoming it         mempool/  what is not in a block yet
//!   open       first start, recovery                        retarget  which bits come next
//!   prune      deleting old blocks                          directory its lock, whose it is
//!   query      everything that only reads                   connect   a block against the unspent outputs
//! tree         all headers, in memory                       undo      what a block spent
//! cache        unspent outputs in memory, over   db         fjall: outputs, index, marker
//! flat         append-only files of blocks and undo data    stats     gettxoutsetinfo
//! mempool      transactions that wait for a block           policy    which of them are standard
//! template     what the next block should hold              view      what these two ask of the chain
//! filters      compact filters of all blocks, if wanted          headers   headers alone, for the light client
//! ```
//!
//! # Correctness: nothing reported as connected is lost
//! The block files are the journal; all else can be made from them and is written behind.
//!
//! 1. A block's record is written, whole and with a checksum, before anything else happens to it. A kill in the middle
//!    leaves a torn last record: the block was not reported, and the next start cuts it off.
//! 2. Then the block is connected in memory and its undo data is appended to its file. Neither the database nor the
//!    index on disk know of it yet. Now it is reported.
//! 3. Now and then (cache full, a minute gone by) a *flush*: block and undo files are synced, then one atomic, durable
//!    batch writes the changed outputs, the block they belong to (the marker), the changed index entries, and the ends of
//!    both files. Outputs, marker and index are therefore always of the same moment.
//! 4. A start reads index and marker, cuts the undo files back to their recorded end, scans the block files from theirs,
//!    takes every block there in the order it came, and lets the best chain be found again. The marker's block may be
//!    ahead of, behind or beside it: blocks below the marker have their undo data on disk (it was synced before the
//!    batch), blocks above it are connected afresh. Which of two equally good chains came first is known from the order
//!    of the records and, for those in the index, from their sequence numbers, so the choice is the same as before.
//! 5. A mark of invalidity that a rule set is found again by the rule. One that somebody set is flushed at once.
//! 6. Pruning flushes an index that no longer points at a file, then deletes the file.
//!
//! So a kill at any moment loses no block that was reported as connected. A power failure may lose those since the last
//! flush, and never more: nothing that an older record of the database points at is ever overwritten.
//!
//! A full disk shows in step 1 or 2 as an error that leaves everything as it was, in step 3 as one after which the
//! chain takes no more blocks ([`StoreError::Stopped`]): memory is then ahead of the disk, which the next start makes up.

mod activate;
mod cache;
mod chain;
mod connect;
mod db;
mod directory;
mod error;
mod filters;
mod flat;
mod headers;
pub mod limits;
#[cfg(test)]
mod main_blocks;
pub mod mempool;
mod muhash;
mod open;
pub mod policy;
mod prune;
mod query;
mod retarget;
mod rules;
mod signatures;
mod stats;
pub mod template;
#[cfg(feature = "testing")]
pub mod testing;
mod tree;
mod undo;
mod utxo;
mod view;

pub use chain::{Chain, ChainBlock, ChainOptions, Connected};
pub use error::{Blame, BlockError, OpenError, StoreError, TxError};
pub use filters::{FilterHeader, FilterIndex, NewFilter};
pub use headers::HeaderChain;
pub use rules::block::{height_push, witness_commitment_script};
pub use rules::header::check_pow;
pub use rules::tx::{SequenceLocks, is_final};
pub use signatures::SignatureTable;
pub use stats::{OutputSet, OutputSetInfo, SetHash};
pub use tree::BlockEntry;
pub use utxo::Utxo;
pub use view::ChainView;
