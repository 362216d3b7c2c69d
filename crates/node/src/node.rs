//! The node: its shared state, how blocks and transactions change it, how it starts and stops.
//!
//! Chain and mempool belong together and sit behind one lock, [`Node::state`]: whoever changes either takes it for
//! writing, one block or a few dozen headers at a time, and RPC methods, templates and the network's questions take
//! it for reading. What the network's thread and the pool ask most often (tip, best header, fee floor) is kept beside
//! it in [`Node::tip`] and [`Node::glance`], so that they need not wait for a block that is being checked.
//!
//! What comes from peers is judged by one thread, `lode-chain`, in order. Blocks from the pool and from RPC are
//! judged where they come from and take the same lock: first come, first served.
//!
//! Nothing has to be done for a kill at any moment: the chain writes so that it finds itself again (see its docs), all
//! else that is on disk (peers, mempool, fee estimates) is convenience.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lode_chain::{BlockError, Chain, Connected, StoreError};
use lode_coins::Coin;
use lode_p2p::{P2p, PeerInfo};
use lode_primitives::{Block, BlockHash, Height, Transaction, Txid};
use tokio::sync::watch;

use crate::fees::FeeEstimator;
use crate::lists::{Added, Bans, Calls};
use crate::template::BlockTemplate;

/// Chain and mempool.
pub(crate) struct State {
    pub(crate) chain: Chain,
}

/// The last block of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its id.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// Its header's time, Unix seconds.
    pub time: u32,
    /// Its compact target.
    pub bits: u32,
}

impl Tip {
    fn of(chain: &Chain) -> Self {
        let tip = chain.tip();
        Self { hash: tip.hash(), height: tip.height(), time: tip.time(), bits: tip.bits() }
    }
}

/// What is asked so often that it must not wait for the state's lock.
#[derive(Debug, Clone)]
pub(crate) struct Glance {
    pub(crate) tip: lode_p2p::HeaderInfo,
    pub(crate) best_header: lode_p2p::HeaderInfo,
}

/// What became of a block that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the best chain.
    BestChain,
    /// It is valid as far as that can be told, and stored, but another chain has more work.
    SideChain,
    /// It was there before.
    Duplicate,
    /// It breaks a rule, or cannot be judged (its parent is missing).
    Rejected {
        /// The reference client's short string for the rule.
        reason: String,
        /// For people.
        detail: String,
        /// The block itself may be good: its parent is missing, its time has not come, our disk failed.
        unjudged: bool,
    },
}

/// Where a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockStatus {
    /// In the best chain, under so many blocks (0: it is the tip).
    InBestChain {
        /// Blocks on top of it.
        depth: u32,
    },
    /// Known, but not in the best chain.
    Side,
    /// Known and found invalid.
    Invalid,
    /// Not known.
    Unknown,
}

/// A running node's shared parts.
pub(crate) struct Node {
    pub(crate) coin: &'static Coin,
    pub(crate) directory: PathBuf,
    pub(crate) started: Instant,
    state: RwLock<State>,
    pub(crate) tip: watch::Sender<Tip>,
    glance: RwLock<Glance>,
    pub(crate) fees: Mutex<FeeEstimator>,
    p2p: OnceLock<P2p>,
    /// Stays false once it was false.
    syncing: AtomicBool,
    pub(crate) network_active: AtomicBool,
    pub(crate) bans: Bans,
    pub(crate) added: Added,
    pub(crate) calls: Calls,
    /// True: everything is to stop.
    pub(crate) stop: watch::Sender<bool>,
    /// Why the node stops by itself, if it does.
    pub(crate) failure: Mutex<Option<String>>,
    /// True with [`Node::stop`]: for loops that compute.
    pub(crate) stopping: AtomicBool,
    /// The size pruned to, MiB.
    pub(crate) prune_mib: Option<u64>,
    /// Counts up with every change of the mempool.
    mempool_changes: AtomicU64,
}

/// Our clock, Unix seconds.
pub(crate) fn now() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

impl Node {
    pub(crate) fn new(chain: Chain, directory: PathBuf, prune_mib: Option<u64>) -> Self {
        let coin = chain.coin();
        let glance = Glance {
            tip: crate::view::header_info(chain.tip()),
            best_header: crate::view::header_info(chain.best_header()),
        };
        let fees = FeeEstimator::load(&directory.join(FEES_FILE), chain.height());
        Self {
            coin,
            directory,
            started: Instant::now(),
            tip: watch::Sender::new(Tip::of(&chain)),
            glance: RwLock::new(glance),
            fees: Mutex::new(fees),
            p2p: OnceLock::new(),
            syncing: AtomicBool::new(!coin.network.is_private() && chain.is_initial_download(now())),
            network_active: AtomicBool::new(true),
            bans: Bans::default(),
            added: Added::default(),
            calls: Calls::default(),
            stop: watch::Sender::new(false),
            failure: Mutex::new(None),
            stopping: AtomicBool::new(false),
            prune_mib,
            mempool_changes: AtomicU64::new(0),
            state: RwLock::new(State { chain }),
        }
    }

    /// Chain and mempool, to look at.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while writing is a bug that the chain's own files survive; readers may go on.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chain and mempool, to change.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn glance(&self) -> Glance {
        self.glance.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The network, where the node takes part in it.
    pub(crate) fn p2p(&self) -> Option<&P2p> {
        self.p2p.get()
    }

    pub(crate) fn set_p2p(&self, p2p: P2p) {
        // Set once, when the node starts.
        let _ = self.p2p.set(p2p);
    }

    /// Every connection.
    pub(crate) async fn peers(&self) -> Vec<PeerInfo> {
        match self.p2p() {
            Some(p2p) => p2p.peers().await,
            None => Vec::new(),
        }
    }

    /// True until the chain has once been close to the present.
    pub(crate) fn is_syncing(&self) -> bool {
        self.syncing.load(Ordering::Relaxed)
    }

    /// Asks everything to stop.
    pub(crate) fn request_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
    }

    /// Stops because files cannot be read or written.
    pub(crate) fn fail(&self, error: &StoreError) {
        tracing::error!(%error, "stopping");
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.to_string());
        self.request_stop();
    }

    /// What people should be warned of.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The next block but for its coinbase and its work.
    pub(crate) fn template(&self) -> BlockTemplate {
        BlockTemplate::empty(&self.read().chain, now())
    }

    /// A transaction of the mempool.
    pub(crate) fn mempool_transaction(&self, _txid: &Txid) -> Option<Arc<Transaction>> {
        None
    }

    /// Transactions in the mempool.
    pub(crate) fn mempool_size(&self) -> usize {
        0
    }

    /// Counts up with every change of the mempool.
    pub(crate) fn mempool_changes(&self) -> u64 {
        self.mempool_changes.load(Ordering::Relaxed)
    }

    /// The service bits peers are told.
    pub(crate) fn services(&self) -> u64 {
        // NETWORK (or NETWORK_LIMITED alone where old blocks are deleted), WITNESS, P2P_V2.
        let blocks = if self.prune_mib.is_some() { 1 << 10 } else { 1 | 1 << 10 };
        let witness = if self.coin.form.witness { 1 << 3 } else { 0 };
        blocks | witness | 1 << 11
    }

    /// Heights of these blocks, as far as they are known.
    pub(crate) fn heights_of(&self, hashes: &[BlockHash]) -> Vec<Height> {
        let state = self.read();
        hashes.iter().filter_map(|hash| state.chain.entry(hash)).map(|entry| entry.height()).collect()
    }

    /// Takes a block: from a peer, the pool or RPC.
    pub(crate) fn accept_block(&self, block: Arc<Block>) -> Result<Submitted, BlockError> {
        let hash = block.hash();
        let mut state = self.write();
        let known = state.chain.entry(&hash).is_some_and(|entry| entry.tx_count() > 0);
        let accepted = state.chain.accept_block(block, now());
        let changed = match &accepted {
            Ok(changed) => Ok(changed.clone()),
            Err(BlockError::Store(error)) => Err(error.clone()),
            // Branches may have changed places all the same.
            Err(_) => state.chain.advance(now()),
        };
        let more = self.apply(&mut state, changed);
        drop(state);
        self.publish();
        if more {
            self.advance();
        }
        accepted?;
        let state = self.read();
        Ok(if known {
            Submitted::Duplicate
        } else if state.chain.is_in_best_chain(&hash) {
            Submitted::BestChain
        } else {
            Submitted::SideChain
        })
    }

    /// Takes headers. The number that were new, or the index of the first bad one and what is wrong with it.
    pub(crate) fn accept_headers(
        &self,
        headers: &[lode_primitives::Header],
    ) -> Result<usize, (usize, BlockError)> {
        let mut state = self.write();
        let taken = state.chain.accept_headers(headers, now());
        let best = crate::view::header_info(state.chain.best_header());
        drop(state);
        self.glance.write().unwrap_or_else(PoisonError::into_inner).best_header = best;
        if let Err((_, BlockError::Store(error))) = &taken {
            self.fail(error);
        }
        taken
    }

    /// `invalidateblock` and `reconsiderblock`: a change by hand. `Ok(false)`: no such block.
    pub(crate) fn change_by_hand(
        &self,
        change: impl FnOnce(&mut Chain) -> Result<Option<Connected>, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut state = self.write();
        let (changed, known) = match change(&mut state.chain) {
            Ok(Some(changed)) => (Ok(changed), true),
            Ok(None) => return Ok(false),
            Err(error) => (Err(error), false),
        };
        let failed = changed.as_ref().err().cloned();
        let more = self.apply(&mut state, changed);
        drop(state);
        self.publish();
        if more {
            self.advance();
        }
        failed.map_or(Ok(known), Err)
    }

    /// Goes on connecting blocks until none is ready, letting others at the state in between.
    fn advance(&self) {
        loop {
            let mut state = self.write();
            let changed = state.chain.advance(now());
            let more = self.apply(&mut state, changed);
            drop(state);
            self.publish();
            if !more || *self.stop.borrow() {
                return;
            }
        }
    }

    /// Brings what hangs on the chain (mempool, fee estimates) after a change of it. True where more is to come.
    fn apply(&self, state: &mut State, changed: Result<Connected, StoreError>) -> bool {
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                self.fail(&error);
                return false;
            }
        };
        if self.is_syncing() && !state.chain.is_initial_download(now()) {
            self.syncing.store(false, Ordering::Relaxed);
            tracing::info!(height = state.chain.height(), "caught up with the network");
        }
        if !changed.is_empty() {
            let mut fees = self.fees.lock().unwrap_or_else(PoisonError::into_inner);
            for block in &changed.connected {
                fees.connected(block.height, block.txids.iter().copied());
            }
        }
        changed.more
    }

    /// Tells everybody of the tip, where it changed.
    fn publish(&self) {
        let state = self.read();
        let tip = Tip::of(&state.chain);
        let glance = Glance {
            tip: crate::view::header_info(state.chain.tip()),
            best_header: crate::view::header_info(state.chain.best_header()),
        };
        drop(state);
        *self.glance.write().unwrap_or_else(PoisonError::into_inner) = glance;
        let changed = self.tip.send_if_modified(|old| std::mem::replace(old, tip) != tip);
        if changed && let Some(p2p) = self.p2p() {
            p2p.tip_changed(None);
        }
    }

    /// Where a block is.
    pub(crate) fn block_status(&self, hash: &BlockHash) -> BlockStatus {
        let state = self.read();
        match (state.chain.entry(hash), state.chain.confirmations(hash)) {
            (None, _) => BlockStatus::Unknown,
            (Some(_), Some(confirmations)) => BlockStatus::InBestChain { depth: confirmations - 1 },
            (Some(entry), None) if entry.is_invalid() => BlockStatus::Invalid,
            (Some(_), None) => BlockStatus::Side,
        }
    }
}

/// What was learnt about fees, kept over a restart.
pub(crate) const FEES_FILE: &str = "fee_estimates.json";
