//! The books as one thing: shares in, splits and balances out. The pool calls this and little else of this crate.
//!
//! One writer owns a [`Ledger`] (behind a lock or in a task of its own). A batch of shares is one [`Ledger::record`];
//! a template is one [`Ledger::split`] and, outside of any lock, one [`Split::snapshot`] per size class; a found block
//! is one [`Ledger::found`], called once the pool's journal has it and before any node does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use lode_primitives::{Amount, BlockHash, Height};

use crate::Credit;
use crate::balance_file::{self, BalanceFile};
use crate::balances::{BalanceError, Books, LinkRef, State};
use crate::chains::{ChainBooks, ChainShare};
use crate::codec::{SnapshotError, decode_found, decode_state};
use crate::log::{Dictionary, LogError, LogOptions, RawShare, Recovery, SegmentHeader, Share, ShareLog};
use crate::payout::{PayoutSnapshot, Rules, Split, SplitInput};
use crate::rates::Rates;
use crate::records::RecordFile;
use crate::registry::{Account, MAX_WORKERS, Registry, RegistryError, TemplateRef, Worker};
use crate::window::{HOUR_MS, SLICES, Sum, Window, WindowKind};

/// How the books are kept.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The share log; the file of the balances lies beside its segments.
    pub log: LogOptions,
    /// Whose work counts.
    pub window: WindowKind,
    /// Fee, least payout, write-offs.
    pub rules: Rules,
    /// Old segments: `None` keeps them all (an archive); else those are removed whose shares are older than the
    /// window by this many milliseconds.
    pub drop_after_ms: Option<u64>,
}

impl LedgerOptions {
    /// One hour's window, no fee, the log kept whole.
    pub fn new(dir: impl Into<PathBuf>, chain: impl Into<String>) -> Self {
        Self {
            log: LogOptions::new(dir, chain),
            window: WindowKind::default(),
            rules: Rules::default(),
            drop_after_ms: None,
        }
    }
}

/// Why the books cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The chain.
    #[error(transparent)]
    Balance(#[from] BalanceError),
    /// A payout snapshot that cannot be read.
    #[error("cannot read a payout snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A new miner that cannot be entered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no work in the window to pay for: make jobs that pay their own miner ([`Payees::Account`]).
    #[error("no shares in the payout window")]
    EmptyWindow,
}

/// Whom a split pays.
#[derive(Clone, Debug)]
pub enum Payees {
    /// Those with work in the window.
    Window,
    /// One account alone: solo mining, or nobody has work in the window yet.
    Account(Arc<Account>),
}

/// The books.
#[derive(Debug)]
pub struct Ledger {
    pub(crate) registry: Registry,
    pub(crate) window: Window,
    log: ShareLog,
    books: Books,
    /// Found blocks that are not final: their snapshots, and so what they build on.
    found: HashMap<BlockHash, PayoutSnapshot>,
    file: Arc<BalanceFile>,
    pub(crate) rates: Rates,
    chains: ChainBooks,
    chains_saved_ms: u64,
    rules: Rules,
    drop_after_ms: Option<u64>,
    /// Work of all shares ever, in credit units.
    units: u128,
    /// Workers known at which the registry is swept next.
    sweep_at: usize,
    dropped_ms: u64,
}

/// A clock this far behind the log's is worth a word.
const CLOCK_SLACK_MS: u64 = 60_000;
/// The registry is not swept below this many workers.
const SWEEP_MIN: usize = 4_096;

impl Ledger {
    /// Opens the books in their directory, made where missing: reads the balances, rebuilds the window from the log.
    /// `now_ms`: Unix milliseconds.
    pub fn open(options: LedgerOptions, now_ms: u64) -> Result<(Self, Recovery), LedgerError> {
        let mut registry = Registry::default();
        let mut window = Window::new(options.window);
        let (mut rates, mut replay) = (Rates::default(), Replay::default());
        let (log, recovery) = ShareLog::open(
            options.log.clone(),
            |headers| first_needed(headers, options.window, now_ms),
            |dictionary, share, segment| {
                let tables = (&mut registry, &mut window, &mut rates);
                replay.take(tables, dictionary, share, segment);
            },
        )?;
        if let Some(error) = replay.failure {
            return Err(error.into());
        }
        if log.clock() > now_ms.saturating_add(CLOCK_SLACK_MS) {
            tracing::warn!(
                "the newest share is {} s ahead of this machine's clock: new ones are recorded under its time until the \
                 clock gets there",
                (log.clock() - now_ms) / 1000
            );
        }
        window.expire(now_ms.max(log.clock()));
        let (mut books, mut found) = (Books::default(), HashMap::new());
        let store = RecordFile::open(
            &options.log.dir.join("balances"),
            balance_file::MAGIC,
            |kind, body| -> Result<(), LedgerError> {
                match kind {
                    balance_file::STATE => books = Books::new(decode_state(body, &mut registry)?),
                    balance_file::FOUND => {
                        let (hash, snapshot) = decode_found(body, &mut registry)?;
                        books.found(hash, &snapshot)?;
                        found.insert(hash, snapshot);
                    }
                    _ => return Err(SnapshotError::Version(kind).into()),
                }
                Ok(())
            },
        )?;
        let ledger = Self {
            units: log.units(),
            registry,
            window,
            log,
            books,
            found,
            file: Arc::new(BalanceFile::new(store)),
            rates,
            chains: ChainBooks::open(&options.log.dir.join("chains")),
            chains_saved_ms: now_ms,
            rules: options.rules,
            drop_after_ms: options.drop_after_ms,
            sweep_at: SWEEP_MIN,
            dropped_ms: 0,
        };
        Ok((ledger, recovery))
    }

    /// The account paid by `script`, entered if new; `name` is its address.
    pub fn account(&mut self, name: &str, script: &[u8]) -> Result<Arc<Account>, RegistryError> {
        self.registry.account(name, script)
    }

    /// The worker `worker` of the account, entered if new. Hold the `Arc` for as long as its miner is connected; what
    /// nobody holds and has no work in the window is forgotten.
    pub fn worker(&mut self, name: &str, script: &[u8], worker: &str) -> Result<Arc<Worker>, RegistryError> {
        if self.registry.len() >= self.sweep_at {
            self.sweep();
        }
        let account = self.registry.account(name, script)?;
        self.registry.worker(&account, worker)
    }

    /// Records a batch of accepted shares. Only after `Ok` may they be answered "accepted": a crash cannot lose them
    /// then. After an error none of them is recorded.
    pub fn record(&mut self, shares: &[Share]) -> Result<(), LogError> {
        let mut time_ms = self.log.clock();
        self.log.append(shares)?;
        for Share { worker, template, credit, time_ms: came_ms } in shares {
            time_ms = time_ms.max(*came_ms);
            let slots = (worker.slot, worker.account().slot);
            self.window.push(slots, credit.to_units(), time_ms, self.units, template.network_units);
            self.rates.push(slots, credit.to_units(), time_ms);
            self.units += u128::from(credit.to_units());
        }
        Ok(())
    }

    /// Housekeeping, every few seconds: shares that leave the window, names nobody needs, old segments.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), LogError> {
        self.window.expire(now_ms);
        if self.registry.len() >= self.sweep_at {
            self.sweep();
        }
        if now_ms >= self.chains_saved_ms + 60_000 {
            self.chains_saved_ms = now_ms;
            self.save_chains();
        }
        // Looking through the headers is worth it once a minute.
        let Some(margin) = self.drop_after_ms.filter(|_| now_ms >= self.dropped_ms + 60_000) else {
            return Ok(());
        };
        self.dropped_ms = now_ms;
        let since = self.window.since_ms().unwrap_or(now_ms).min(now_ms.saturating_sub(HOUR_MS));
        self.log.drop_before(since.saturating_sub(margin)).map(drop)
    }

    fn sweep(&mut self) {
        let window = &self.window;
        self.registry.sweep(|slot| window.worker(slot).shares > 0);
        let (workers, accounts) = self.registry.free_slots();
        self.rates.forget(workers, accounts);
        self.sweep_at = (self.registry.len() * 2).clamp(SWEEP_MIN, MAX_WORKERS);
    }

    /// Waits until all recorded shares are on the disk.
    pub fn sync(&self) -> Result<(), LogError> {
        self.log.sync()
    }

    /// What prime chains are worth, and every account's shares against its blocks.
    pub fn chains(&self) -> &ChainBooks {
        &self.chains
    }

    /// Takes an accepted prime-chain share into account, before it is recorded: its credit.
    pub fn credit_chain(&mut self, account: &Account, share: &ChainShare) -> Credit {
        let blocks = self.chains.take(account.name(), share);
        if share.is_block() {
            // What is due for it must outlive a kill: it is written with the next tick.
            self.chains_saved_ms = 0;
        }
        Credit::saturating(blocks * share.network.difficulty())
    }

    /// Writes what was learned of chains; a failure costs no credit and is only told.
    fn save_chains(&mut self) {
        if let Err(error) = self.chains.save() {
            tracing::error!("what is known of chain lengths could not be written: {error}");
        }
    }

    /// Shares recorded since the log began.
    pub fn sequence(&self) -> u64 {
        self.log.sequence()
    }

    /// Work recorded since the log began, credit units.
    pub fn units_ever(&self) -> u128 {
        self.units
    }

    /// All work ever brought, in credit units: what is recorded; of prime chains what the shares were worth, since credit follows blocks.
    pub fn work_ever(&self) -> u128 {
        match self.chains.work() {
            work if work > 0.0 => crate::credit::difficulty_to_units(work),
            _ => self.units,
        }
    }

    /// What everyone has earned of `reward` (satoshi: subsidy and fees) by a block on `tip`, now.
    ///
    /// `template` is that of the block sought. `tip` must be placed in the chain if there are open blocks of the
    /// pool's own: see [`Self::unplaced`].
    pub fn split(
        &mut self,
        template: &TemplateRef,
        reward: Amount,
        payees: &Payees,
        now_ms: u64,
    ) -> Result<Arc<Split>, LedgerError> {
        self.window.set_network(template.network_units);
        self.window.expire(now_ms);
        let tip_height = template.height.saturating_sub(1);
        if self.books.at(&template.prev).is_err()
            && self.books.candidates(&template.prev, tip_height).is_empty()
        {
            // All open blocks of the pool's own are higher than the tip: none can be below it.
            self.books.place(template.prev, tip_height, None)?;
        }
        let base = Arc::clone(self.books.at(&template.prev)?);
        let total = self.window.total();
        let work: Vec<(Arc<Account>, u128)> = match payees {
            Payees::Window if total.units == 0 => return Err(LedgerError::EmptyWindow),
            Payees::Window => self
                .registry
                .accounts()
                .map(|account| (account, self.window.account(account.slot).units))
                .filter(|(_, units)| *units > 0)
                .map(|(account, units)| (Arc::clone(account), units))
                .collect(),
            Payees::Account(account) => vec![(Arc::clone(account), 1)],
        };
        let input = SplitInput {
            tip: template.prev,
            height: template.height,
            reward,
            made_ms: now_ms,
            base: &base,
            work,
            window: total,
            settle_others: matches!(payees, Payees::Window),
        };
        Ok(Arc::new(Split::new(input, &self.rules)))
    }

    /// A block of the pool's own: its payouts settle, on the chain that holds it. Known blocks are left alone, so
    /// this may be repeated. True where it was new: it is on the disk once [`Self::balance_file`] is written, which is to be
    /// done without holding a lock on the ledger.
    pub fn found(&mut self, hash: BlockHash, snapshot: &PayoutSnapshot) -> Result<bool, LedgerError> {
        if !self.books.found(hash, snapshot)? {
            return Ok(false);
        }
        self.file.note_found(hash, snapshot.clone());
        self.found.insert(hash, snapshot.clone());
        // Where all blocks are the pool's own no tip has ever to be placed: this is the occasion to let go of old ones.
        let split = &snapshot.split;
        self.make_final(&split.tip, split.height.saturating_sub(1));
        Ok(true)
    }

    /// Where the balances are kept. To be written after [`Self::found`], [`Self::place`] and [`Self::connect`].
    pub fn balance_file(&self) -> Arc<BalanceFile> {
        Arc::clone(&self.file)
    }

    /// Reads a snapshot from its bytes ([`PayoutSnapshot::to_bytes`]).
    pub fn read_snapshot(&mut self, bytes: &[u8]) -> Result<PayoutSnapshot, SnapshotError> {
        PayoutSnapshot::from_bytes(bytes, &mut self.registry)
    }

    /// Whether `tip` still has to be placed in the chain: blocks of the pool's own that may be at or below it, highest
    /// first. Where this is empty nothing has to be done. Else find out from the node which is the first of them in
    /// the chain below the tip, and [`Self::place`] it.
    pub fn unplaced(&self, tip: &BlockHash, height: Height) -> Vec<LinkRef> {
        self.books.candidates(tip, height)
    }

    /// Places `tip`: the pool's highest block at or below it, or `None` where there is none of those still open.
    pub fn place(
        &mut self,
        tip: BlockHash,
        height: Height,
        own: Option<BlockHash>,
    ) -> Result<(), LedgerError> {
        self.books.place(tip, height, own)?;
        self.make_final(&tip, height);
        Ok(())
    }

    /// Places a block whose parent is placed.
    pub fn connect(&mut self, tip: BlockHash, height: Height, parent: &BlockHash) -> Result<(), LedgerError> {
        self.books.connect(tip, height, parent)?;
        self.make_final(&tip, height);
        Ok(())
    }

    /// Lets go of what is too deep to change.
    fn make_final(&mut self, tip: &BlockHash, height: Height) {
        let bases = self.found.iter().map(|(hash, snapshot)| (*hash, snapshot.split.base)).collect();
        if !self.books.prune(tip, height, &bases) {
            return;
        }
        let links = self.books.links();
        self.found.retain(|hash, _| links.contains_key(hash));
        let mut open: Vec<_> = self.found.iter().map(|(hash, snapshot)| (*hash, snapshot.clone())).collect();
        open.sort_by_key(|(hash, snapshot)| (snapshot.split.height, *hash));
        self.file.note_anew(Arc::clone(self.books.base()), open);
    }

    /// All balances after `tip`.
    pub fn balances_at(&self, tip: &BlockHash) -> Result<Arc<State>, BalanceError> {
        self.books.at(tip).map(Arc::clone)
    }

    /// The snapshots of the pool's blocks that are not final yet.
    pub fn open_blocks(&self) -> impl Iterator<Item = (&BlockHash, &PayoutSnapshot)> {
        self.found.iter()
    }

    /// All work in the window.
    pub fn window_total(&self) -> Sum {
        self.window.total()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.save_chains();
    }
}

/// The first segment that may hold shares of the window.
fn first_needed(headers: &[SegmentHeader], window: WindowKind, now_ms: u64) -> usize {
    let begins = |header: &SegmentHeader| match window {
        WindowKind::Time { ms } => header.base_ms <= now_ms.saturating_sub(ms + ms / SLICES),
        WindowKind::Solo => header.base_ms <= now_ms.saturating_sub(HOUR_MS + HOUR_MS / SLICES),
        WindowKind::Work { factor } => {
            // The window's length follows the difficulty, which a retarget changes at most fourfold.
            let newest = headers.last().map_or(0, |header| header.units_before);
            let network = headers.iter().rev().take(8).map(|header| header.network_units).max().unwrap_or(0);
            newest - header.units_before >= network.saturating_mul(u128::from(factor)).saturating_mul(4)
        }
    };
    headers.iter().rposition(begins).unwrap_or(0)
}

/// Rebuilds the window from the log: names of a segment's dictionary are interned once each.
#[derive(Default)]
struct Replay {
    segment: u64,
    /// By their index in the segment's dictionary.
    workers: Vec<Option<Arc<Worker>>>,
    units: Option<u128>,
    failure: Option<RegistryError>,
}

impl Replay {
    fn take(
        &mut self,
        (registry, window, rates): (&mut Registry, &mut Window, &mut Rates),
        dictionary: &Dictionary,
        share: RawShare,
        segment: &SegmentHeader,
    ) {
        if self.segment != segment.number {
            self.segment = segment.number;
            self.workers.clear();
        }
        let units_before = self.units.unwrap_or(segment.units_before);
        self.units = Some(units_before + u128::from(share.credit.to_units()));
        let index = share.worker as usize;
        if self.workers.len() <= index {
            self.workers.resize(index + 1, None);
        }
        if self.workers[index].is_none() {
            let Some(record) = dictionary.show(&share) else { return };
            let entered = registry
                .account(&record.account.name, &record.account.script)
                .and_then(|account| registry.worker(&account, record.worker));
            match entered {
                Ok(worker) => self.workers[index] = Some(worker),
                Err(error) => {
                    self.failure.get_or_insert(error);
                }
            }
        }
        let Some(worker) = &self.workers[index] else { return };
        let Some(network_units) = dictionary.network_units(share.template) else { return };
        let slots = (worker.slot, worker.account().slot);
        window.push(slots, share.credit.to_units(), share.time_ms, units_before, network_units);
        rates.push(slots, share.credit.to_units(), share.time_ms);
    }
}
