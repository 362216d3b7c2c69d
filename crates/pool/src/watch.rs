//! Found blocks after they were found: journal, books, nodes, and then watched until they are settled.
//!
//! [`Watch::found`] is called by the service for every block: it returns once the block is on the disk, and by then the
//! block is on its way to every node. A task hands in again what no node has, across restarts, and follows each block
//! until it is [`SETTLED_DEPTH`] deep, or the chain is so much longer without it. Nothing is paid or taken back here:
//! balances are a function of the chain tip.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lode_ledger::{BalanceFile, Ledger, LedgerError, LogError};
use lode_primitives::{BlockHash, Height};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};
use tokio::task::AbortHandle;

use crate::journal::{BlockRecord, BlockState, FoundBlock, Journal, OpenBlock};
use crate::template::{BlockPlace, NodeError, Sources, SubmitReply, Template};

/// A block under so many others is settled: its coins can be spent.
pub const SETTLED_DEPTH: Height = 100;
/// How often open blocks are looked up.
const LOOK: Duration = Duration::from_secs(2);
/// First and longest pause before a block that no node has is handed in again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Changes kept for listeners that are slow.
const EVENTS: usize = 256;
/// Blocks held in memory at most that the journal could not take: with a full disk no share is accepted either, so there are
/// few. Those beyond are with the nodes and in the log of events alone.
const UNWRITTEN_MAX: usize = 64;

/// Why the watch cannot start or take a block.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The journal.
    #[error("the journal of found blocks: {0}")]
    Journal(#[from] LogError),
    /// The books.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The nodes.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// The watch over found blocks. Clones are handles to the same one; its task ends with the last.
#[derive(Clone, Debug)]
pub struct Watch {
    inner: Arc<Inner>,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Inner {
    journal: Mutex<Journal>,
    /// Found, handed in, and not in the journal yet: the disk would not take them.
    unwritten: Mutex<Vec<FoundBlock>>,
    ledger: Arc<Mutex<Ledger>>,
    /// Written beside the lock of the ledger, and by the time the journal lets go of a block it has that block.
    balances: Arc<BalanceFile>,
    sources: Sources,
    events: broadcast::Sender<BlockRecord>,
    wake: Notify,
    runtime: Handle,
}

/// Attempts to get a block to the nodes.
#[derive(Debug)]
struct Attempt {
    next: Instant,
    pause: Duration,
}

impl Watch {
    /// Opens the journal at `path`, brings the books up to date with it, and starts watching. To be called within a
    /// tokio runtime.
    pub fn start(path: &Path, sources: Sources, ledger: Arc<Mutex<Ledger>>) -> Result<Self, WatchError> {
        let journal = Journal::open(path)?;
        for block in journal.open_blocks() {
            // Killed between journal and books: the books get it now. What they have they leave alone.
            let mut ledger = lock(&ledger);
            let settled = ledger
                .read_snapshot(&block.snapshot)
                .map_err(LedgerError::from)
                .and_then(|snapshot| ledger.found(block.hash, &snapshot));
            match settled {
                Ok(true) => tracing::warn!(
                    "block {} was found just before the last end: now in the books",
                    block.hash
                ),
                Ok(false) => {}
                Err(LedgerError::Balance(error)) => {
                    tracing::warn!("block {} is left out of the books: {error}", block.hash);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let balances = lock(&ledger).balance_file();
        balances.write()?;
        let inner = Arc::new(Inner {
            journal: Mutex::new(journal),
            unwritten: Mutex::default(),
            ledger,
            balances,
            sources,
            events: broadcast::Sender::new(EVENTS),
            wake: Notify::new(),
            runtime: Handle::current(),
        });
        let task = tokio::spawn(run(Arc::clone(&inner)));
        Ok(Self { inner, _task: Arc::new(AbortOnDrop(task.abort_handle())) })
    }

    /// Takes a found block: journal (synced), then all nodes at once and the books. Blocks for as long as the disk
    /// takes; call it from a thread that may. After an error the block has been handed in nevertheless.
    pub fn found(&self, found: &FoundBlock) -> Result<(), WatchError> {
        let began = Instant::now();
        let journaled = lock(&self.inner.journal).found(found);
        metrics::histogram!("lode_block_journal_seconds").record(began.elapsed().as_secs_f64());
        if let Err(error) = &journaled {
            tracing::error!(
                "block {} could not be journaled ({error}); it is handed in all the same, and journaled once there is room",
                found.hash
            );
            let mut unwritten = lock(&self.inner.unwritten);
            if unwritten.len() < UNWRITTEN_MAX && unwritten.iter().all(|known| known.hash != found.hash) {
                unwritten.push(found.clone());
            }
        }
        if !*journaled.as_ref().unwrap_or(&true) {
            return Ok(());
        }
        metrics::counter!("lode_blocks_found_total").increment(1);
        let open = OpenBlock {
            hash: found.hash,
            height: found.height,
            block: found.block.clone(),
            snapshot: Vec::new(),
        };
        self.inner.runtime.spawn(hand_in(Arc::clone(&self.inner), open));
        let settled = lock(&self.inner.ledger).found(found.hash, &found.snapshot);
        self.inner.write_balances();
        if let Some(record) = lock(&self.inner.journal).record(&found.hash) {
            let _ = self.inner.events.send(record.clone());
        }
        journaled?;
        settled?;
        Ok(())
    }

    /// Sees to it that the books know where in the chain a new template's parent is; to be called before its split.
    /// Asks the node only while there are blocks of the pool's own that are not final.
    ///
    /// # Errors
    /// The node could not say, or moved on meanwhile: the next template is on its way.
    pub async fn place_tip(&self, template: &Template) -> Result<(), WatchError> {
        let (tip, height) = (template.prev, template.height.saturating_sub(1));
        let candidates = lock(&self.inner.ledger).unplaced(&tip, height);
        if candidates.is_empty() {
            return Ok(());
        }
        let own = self.inner.sources.first_below(&tip, height, &candidates).await?;
        lock(&self.inner.ledger).place(tip, height, own)?;
        self.inner.write_balances();
        Ok(())
    }

    /// The stories of found blocks, the newest first.
    pub fn blocks(&self, limit: usize) -> Vec<BlockRecord> {
        lock(&self.inner.journal).records().take(limit).cloned().collect()
    }

    /// A block's story.
    pub fn block(&self, hash: &BlockHash) -> Option<BlockRecord> {
        lock(&self.inner.journal).record(hash).cloned()
    }

    /// A found block's bytes, as long as it is not settled.
    pub fn bytes(&self, hash: &BlockHash) -> Option<Bytes> {
        lock(&self.inner.journal).bytes(hash)
    }

    /// What was paid to an account by blocks that are in the chain, satoshi, and how many blocks that were; of those
    /// whose stories are kept.
    pub fn paid_to(&self, account: &str) -> (i64, usize) {
        let journal = lock(&self.inner.journal);
        let paid = journal
            .records()
            .filter(|record| matches!(record.state, BlockState::Accepted | BlockState::Confirmed { .. }))
            .flat_map(|record| record.payouts.iter().filter(|payout| payout.account == account));
        paid.fold((0, 0), |(sum, blocks), payout| (sum + payout.paid, blocks + 1))
    }

    /// Blocks as they are found and as their states change.
    pub fn subscribe(&self) -> broadcast::Receiver<BlockRecord> {
        self.inner.events.subscribe()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is whole between its calls; a caller's panic elsewhere must not stop payouts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the open blocks for ever.
async fn run(inner: Arc<Inner>) {
    let mut attempts: HashMap<BlockHash, Attempt> = HashMap::new();
    let mut templates = inner.sources.templates();
    loop {
        if !lock(&inner.unwritten).is_empty() {
            let inner = Arc::clone(&inner);
            let _ = tokio::task::spawn_blocking(move || inner.journal_unwritten()).await;
        }
        let open = lock(&inner.journal).open_blocks();
        attempts.retain(|hash, _| open.iter().any(|block| block.hash == *hash));
        for block in open {
            look(&inner, &block, &mut attempts).await;
        }
        // A new template is mostly a new block; a found one wants to be looked after.
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = inner.wake.notified() => {}
            changed = templates.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Looks one block up, and hands it in again where that may help.
async fn look(inner: &Arc<Inner>, block: &OpenBlock, attempts: &mut HashMap<BlockHash, Attempt>) {
    let place = match inner.sources.place(&block.hash).await {
        Ok(place) => place,
        // Said by whoever follows the node.
        Err(_) => BlockPlace::Unknown,
    };
    let tip = inner.sources.templates().borrow().as_ref().map(|template| template.height.saturating_sub(1));
    let known = lock(&inner.journal).record(&block.hash).map(|record| record.state.clone());
    let (state, mut settled) = judge(known.unwrap_or(BlockState::Found), place, block.height, tip);
    if settled {
        // The journal is about to let go of it.
        let balances = Arc::clone(&inner.balances);
        let written = tokio::task::spawn_blocking(move || balances.write()).await;
        settled = matches!(written, Ok(Ok(())));
    }
    inner.set_state(block, state, settled);
    if place != BlockPlace::Unknown || settled {
        attempts.remove(&block.hash);
        return;
    }
    let now = Instant::now();
    // The first attempt is made when it is found, or for those of an earlier run at once.
    let attempt = attempts.entry(block.hash).or_insert(Attempt { next: now, pause: RETRY_FIRST });
    if now >= attempt.next {
        attempt.next = now + attempt.pause;
        attempt.pause = (attempt.pause * 2).min(RETRY_MAX);
        hand_in(Arc::clone(inner), block.clone()).await;
    }
}

/// The state of a block at `height` that was in `state`, from where it is in the chain whose tip is at `tip`; and
/// whether that is for good.
fn judge(state: BlockState, place: BlockPlace, height: Height, tip: Option<Height>) -> (BlockState, bool) {
    let passed = tip.is_some_and(|tip| tip >= height + SETTLED_DEPTH);
    match place {
        BlockPlace::Chain { depth: 0 } => (BlockState::Accepted, false),
        BlockPlace::Chain { depth } => (BlockState::Confirmed { depth }, depth >= SETTLED_DEPTH),
        // Nodes keep the headers of blocks they refuse, and then say just that they are not in the chain.
        BlockPlace::Side => match state {
            BlockState::Rejected { .. } => (state, passed),
            _ => (BlockState::Orphaned, passed),
        },
        // Long after, no node that answers has it: nothing will come of it.
        BlockPlace::Unknown => match state {
            BlockState::Rejected { .. } => (state, passed),
            _ if passed => (BlockState::Orphaned, true),
            state => (state, false),
        },
    }
}

/// Hands a block to every node and notes what they say.
async fn hand_in(inner: Arc<Inner>, block: OpenBlock) {
    let began = Instant::now();
    let mut replies = inner.sources.submit(&block.block);
    let (mut has_it, mut refused, mut unclear) = (false, None, false);
    while let Some((node, reply)) = replies.recv().await {
        match &reply {
            reply if reply.has_it() => {
                let took = began.elapsed();
                match reply {
                    SubmitReply::Side => {
                        tracing::warn!("block {}: {node} has another block in its place for now", block.hash);
                    }
                    SubmitReply::Accepted => {
                        tracing::info!(
                            "block {} accepted by {node} after {} ms",
                            block.hash,
                            took.as_millis()
                        );
                    }
                    reply => tracing::debug!("block {}: {node}: {reply}", block.hash),
                }
                if !has_it {
                    metrics::histogram!("lode_block_submit_seconds").record(took.as_secs_f64());
                    let state =
                        if *reply == SubmitReply::Side { BlockState::Orphaned } else { BlockState::Accepted };
                    inner.set_state(&block, state, false);
                }
                has_it = true;
            }
            SubmitReply::Refused(reason) => {
                tracing::error!("block {} refused by {node}: {reason}", block.hash);
                refused = Some(reason.clone());
            }
            reply => {
                tracing::warn!("block {} not taken by {node} yet: {reply}", block.hash);
                unclear = true;
            }
        }
    }
    if let Some(reason) = refused.filter(|_| !has_it && !unclear) {
        inner.set_state(&block, BlockState::Rejected { reason }, false);
    }
    inner.wake.notify_one();
}

impl Inner {
    /// Journals what could not be journaled when it was found; what still cannot be is kept.
    fn journal_unwritten(&self) {
        let mut unwritten = lock(&self.unwritten);
        let mut journal = lock(&self.journal);
        unwritten.retain(|found| match journal.found(found) {
            Ok(_) => {
                tracing::info!("block {} is journaled now", found.hash);
                false
            }
            Err(_) => true,
        });
    }

    /// Brings the file of the balances up to date, without anyone waiting for it: until it is, the journal has the block.
    fn write_balances(&self) {
        let balances = Arc::clone(&self.balances);
        self.runtime.spawn_blocking(move || {
            if let Err(error) = balances.write() {
                tracing::error!("the file of the balances could not be written, it is tried again: {error}");
            }
        });
    }

    fn set_state(&self, block: &OpenBlock, state: BlockState, settled: bool) {
        let mut journal = lock(&self.journal);
        // What a node said when it took the block is not news once the block is under others.
        let known = journal.record(&block.hash).map(|record| record.state.clone());
        if matches!((&known, &state), (Some(BlockState::Confirmed { .. }), BlockState::Accepted)) {
            return;
        }
        match journal.set_state(&block.hash, state.clone(), settled) {
            Ok(true) => match &state {
                BlockState::Orphaned => {
                    tracing::warn!("block {} at {}: another is in its place", block.hash, block.height);
                }
                BlockState::Rejected { reason } => {
                    tracing::error!("block {} at {}: rejected, {reason}", block.hash, block.height);
                }
                state => tracing::info!(
                    "block {} at {}: {state:?}{}",
                    block.hash,
                    block.height,
                    if settled { ", settled" } else { "" }
                ),
            },
            Ok(false) => {}
            Err(error) => tracing::error!("the journal of found blocks: {error}"),
        }
        if known.as_ref() != Some(&state)
            && let Some(record) = journal.record(&block.hash)
        {
            let _ = self.events.send(record.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_the_chain_both_ways() {
        let chain = |depth| BlockPlace::Chain { depth };
        let judged = |state: BlockState, place, tip| judge(state, place, 10, Some(tip));
        assert_eq!(judged(BlockState::Found, chain(0), 10), (BlockState::Accepted, false));
        assert_eq!(judged(BlockState::Accepted, chain(3), 13), (BlockState::Confirmed { depth: 3 }, false));
        assert_eq!(
            judged(BlockState::Confirmed { depth: 3 }, BlockPlace::Side, 13),
            (BlockState::Orphaned, false)
        );
        assert_eq!(judged(BlockState::Orphaned, chain(4), 14), (BlockState::Confirmed { depth: 4 }, false));
        assert_eq!(
            judged(BlockState::Orphaned, chain(100), 110),
            (BlockState::Confirmed { depth: 100 }, true)
        );
        assert_eq!(judged(BlockState::Orphaned, BlockPlace::Side, 110), (BlockState::Orphaned, true));
        assert_eq!(judged(BlockState::Found, BlockPlace::Unknown, 12), (BlockState::Found, false));
        assert_eq!(judged(BlockState::Found, BlockPlace::Unknown, 110), (BlockState::Orphaned, true));
        let rejected = BlockState::Rejected { reason: "bad-cb-amount".into() };
        assert_eq!(judged(rejected.clone(), BlockPlace::Unknown, 12), (rejected.clone(), false));
        assert_eq!(judged(rejected.clone(), BlockPlace::Side, 12), (rejected.clone(), false));
        assert_eq!(judge(rejected.clone(), BlockPlace::Unknown, 10, None), (rejected, false));
    }
}
