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

use lode_chain::mempool::{
    Accepted, Mempool, MempoolError, MempoolOptions, PackageReport, PackageVerdict, Removal,
};
use lode_chain::policy::FeeRate;
use lode_chain::template::{self, BlockTemplate, TemplateOptions};
use lode_chain::{BlockError, Chain, Connected, StoreError};
use lode_coins::Coin;
use lode_p2p::{P2p, PeerInfo};
use lode_primitives::{Block, BlockHash, Height, Transaction, Txid};
use tokio::sync::watch;

use crate::fees::FeeEstimator;
use crate::filters::Filters;
use crate::lists::{Added, Bans, Calls};
use crate::options::NodeOptions;
use crate::rpc::{ScanState, Works};

/// Chain and mempool.
pub(crate) struct State {
    pub(crate) chain: Chain,
    pub(crate) mempool: Mempool,
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
    /// Fee rate below which the mempool takes nothing, satoshi per 1,000 virtual bytes.
    pub(crate) min_fee_rate: u64,
}

impl Glance {
    fn of(state: &State) -> Self {
        let info = state.mempool.options();
        Self {
            tip: crate::view::header_info(state.chain.tip()),
            best_header: crate::view::header_info(state.chain.best_header()),
            min_fee_rate: state.mempool.floor(now()).max(info.min_relay).to_sat_per_kvb(),
        }
    }
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
    /// The compact filters, if they are wanted.
    pub(crate) filters: Option<Filters>,
    /// The search through them that is under way.
    pub(crate) block_scan: ScanState,
    /// The size pruned to, MiB.
    pub(crate) prune_mib: Option<u64>,
    /// What `getwork` gave out.
    pub(crate) works: Works,
    /// The mempool's own count of its changes.
    mempool_changes: AtomicU64,
    /// True once the mempool of the last run was read.
    pub(crate) mempool_loaded: AtomicBool,
}

/// Our clock, Unix seconds.
pub(crate) fn now() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

impl Node {
    pub(crate) fn new(
        chain: Chain,
        options: &NodeOptions,
        filters: Option<Filters>,
        stop: watch::Sender<bool>,
    ) -> Self {
        let directory = options.directory();
        let coin = chain.coin();
        let state = State { mempool: Mempool::new(MempoolOptions::for_coin(coin)), chain };
        let glance = Glance::of(&state);
        let chain = &state.chain;
        let fees = FeeEstimator::load(&directory.join(FEES_FILE), chain.height());
        Self {
            coin,
            bans: Bans::load(&directory),
            directory,
            started: Instant::now(),
            tip: watch::Sender::new(Tip::of(chain)),
            glance: RwLock::new(glance),
            fees: Mutex::new(fees),
            p2p: OnceLock::new(),
            syncing: AtomicBool::new(!coin.network.is_private() && chain.is_initial_download(now())),
            network_active: AtomicBool::new(true),
            added: Added::default(),
            calls: Calls::default(),
            stop,
            failure: Mutex::new(None),
            stopping: AtomicBool::new(false),
            filters,
            block_scan: ScanState::default(),
            prune_mib: options.prune_mib,
            works: Works::paying(options.mine_to.clone()),
            mempool_changes: AtomicU64::new(0),
            mempool_loaded: AtomicBool::new(false),
            state: RwLock::new(state),
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
        let state = self.read();
        template::build(&state.chain, &state.mempool, &TemplateOptions::default(), now())
    }

    /// The next block without any transactions.
    pub(crate) fn empty_template(&self) -> BlockTemplate {
        let state = self.read();
        let empty = Mempool::new(state.mempool.options().clone());
        template::build(&state.chain, &empty, &TemplateOptions::default(), now())
    }

    /// A transaction of the mempool.
    pub(crate) fn mempool_transaction(&self, txid: &Txid) -> Option<Arc<Transaction>> {
        self.read().mempool.get(txid).map(|entry| entry.tx.clone())
    }

    /// Takes a transaction: from a peer, a user or the file of the last run. Peers are told by the caller.
    pub(crate) fn accept_transaction(&self, tx: Transaction) -> Result<Accepted, MempoolError> {
        let mut state = self.write();
        let State { chain, mempool } = &mut *state;
        let accepted = mempool.accept(tx, chain, now());
        self.mempool_changes.store(state.mempool.changes(), Ordering::Relaxed);
        drop(state);
        match &accepted {
            Ok(accepted) => {
                let mut fees = self.fees.lock().unwrap_or_else(PoisonError::into_inner);
                for (tx, _) in &accepted.removed {
                    fees.left(&tx.txid());
                }
                if !self.is_syncing() {
                    fees.entered(accepted.txid, fee_rate(accepted));
                }
            }
            Err(MempoolError::Store(error)) => self.fail(error),
            Err(_) => {}
        }
        accepted
    }

    /// Takes a package from here and tells the peers of all its transactions that are in the mempool then.
    pub(crate) fn send_package(
        &self,
        transactions: &[Transaction],
        max_rate: Option<FeeRate>,
    ) -> PackageReport {
        let mut state = self.write();
        let State { chain, mempool } = &mut *state;
        let report = mempool.accept_package(transactions, max_rate, chain, now());
        self.mempool_changes.store(mempool.changes(), Ordering::Relaxed);
        let mut fees = self.fees.lock().unwrap_or_else(PoisonError::into_inner);
        for (tx, _) in &report.removed {
            fees.left(&tx.txid());
        }
        for (tx, verdict) in transactions.iter().zip(&report.verdicts) {
            let Some(entry) = mempool.get(&tx.txid()) else { continue };
            let rate = entry.fee.to_sat().unsigned_abs() * 1_000 / (entry.vsize() as u64).max(1);
            // What was paid for by another says nothing about what a fee is worth.
            let alone =
                matches!(verdict, Some(PackageVerdict::Taken { includes, .. }) if includes.len() == 1);
            if alone && !self.is_syncing() {
                fees.entered(entry.txid, rate);
            }
            if let Some(p2p) = self.p2p() {
                p2p.relay_transaction(entry.wtxid, entry.txid, rate);
            }
        }
        report
    }

    /// Takes a transaction from here (RPC, wallet) and tells the peers.
    pub(crate) fn send_transaction(&self, tx: Transaction) -> Result<Accepted, MempoolError> {
        let accepted = self.accept_transaction(tx)?;
        if let Some(p2p) = self.p2p() {
            p2p.relay_transaction(accepted.wtxid, accepted.txid, fee_rate(&accepted));
        }
        Ok(accepted)
    }

    /// What is done now and then: flushing, pruning, giving up old transactions.
    pub(crate) fn tick(&self) {
        let mut state = self.write();
        let ticked = state.chain.tick(now());
        let expired = state.mempool.expire(now());
        self.mempool_changes.store(state.mempool.changes(), Ordering::Relaxed);
        let glance = Glance::of(&state);
        drop(state);
        *self.glance.write().unwrap_or_else(PoisonError::into_inner) = glance;
        if let Err(error) = ticked {
            self.fail(&error);
        }
        let mut fees = self.fees.lock().unwrap_or_else(PoisonError::into_inner);
        for (tx, _) in expired {
            fees.left(&tx.txid());
        }
    }

    /// The mempool's own count of its changes.
    pub(crate) fn mempool_changes(&self) -> u64 {
        self.mempool_changes.load(Ordering::Relaxed)
    }

    /// The service bits peers are told.
    pub(crate) fn services(&self) -> u64 {
        // NETWORK (or NETWORK_LIMITED alone where old blocks are deleted), WITNESS, COMPACT_FILTERS, P2P_V2.
        let blocks = if self.prune_mib.is_some() { 1 << 10 } else { 1 | 1 << 10 };
        let witness = if self.coin.form.witness { 1 << 3 } else { 0 };
        let filters = if self.filters.as_ref().is_some_and(Filters::are_offered) { 1 << 6 } else { 0 };
        blocks | witness | filters | 1 << 11
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
            if !more || *self.stop.borrow() {
                return;
            }
        }
    }

    /// Brings what hangs on the chain (mempool, fee estimates, all who wait for the tip) after a change of it. True
    /// where more blocks are ready to be connected.
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
        let mut returned = Vec::new();
        if !changed.is_empty() {
            let State { chain, mempool } = state;
            match mempool.on_tip_changed(&changed, chain, now()) {
                Ok(change) => {
                    self.learn(&changed, &change.removed);
                    returned = change.returned;
                }
                Err(error) => self.fail(&error),
            }
            self.mempool_changes.store(state.mempool.changes(), Ordering::Relaxed);
        }
        *self.glance.write().unwrap_or_else(PoisonError::into_inner) = Glance::of(state);
        let tip = Tip::of(&state.chain);
        let moved = self.tip.send_if_modified(|old| std::mem::replace(old, tip) != tip);
        let Some(p2p) = self.p2p() else { return changed.more };
        if moved {
            let block = changed.connected.last().filter(|block| block.hash == tip.hash);
            p2p.tip_changed(block.map(|block| block.block.clone()));
        }
        for txid in returned {
            if let Some(entry) = state.mempool.get(&txid) {
                let rate = entry.fee.to_sat().unsigned_abs() * 1_000 / (entry.vsize() as u64).max(1);
                p2p.relay_transaction(entry.wtxid, txid, rate);
            }
        }
        changed.more
    }

    /// Tells the fee estimator what was mined and what left the mempool otherwise.
    fn learn(&self, changed: &Connected, removed: &[(Arc<Transaction>, Removal)]) {
        let mut fees = self.fees.lock().unwrap_or_else(PoisonError::into_inner);
        for block in &changed.connected {
            fees.connected(block.height, block.txids.iter().copied());
        }
        for (tx, why) in removed {
            if *why != Removal::Block {
                fees.left(&tx.txid());
            }
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

/// What a transaction pays, in satoshi per 1,000 virtual bytes.
pub(crate) fn fee_rate(accepted: &Accepted) -> u64 {
    accepted.fee.to_sat().unsigned_abs() * 1_000 / (accepted.vsize as u64).max(1)
}
