//! The pool as the dashboard shows it: `lode-web`'s views filled from the running parts.

mod content;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lode_ledger::{PayoutSnapshot, WindowKind, units_to_difficulty};
use lode_pool::journal::{BlockRecord, BlockState};
use lode_pool::template::Sources;
use lode_pool::watch::Watch;
use lode_pool::{PoolEvent, PoolHandle};
use lode_pow::ChainLength;
use lode_primitives::Amount;
use lode_stratum::Reject;
use lode_web::view;
use tokio::sync::watch;

use self::content::Contents;
use crate::settings::Settings;
use crate::stack::unix_ms;

/// Blocks looked through for a miner's payments and for luck: what the journal keeps.
const HISTORY_MAX: usize = 10_000;
/// Payments shown on a miner's page.
const PAYMENTS_MAX: usize = 100;
/// Between two signs of life to open pages while only shares come in.
const SHARES_SHOWN_EACH: Duration = Duration::from_secs(2);

/// Answers the dashboard's questions.
pub(crate) struct Dashboard {
    pool: PoolHandle,
    sources: Sources,
    watch: Watch,
    contents: Contents,
    stratum_host: Option<String>,
    fee_basis_points: u32,
    fee_address: String,
    changes: watch::Receiver<u64>,
}

impl Dashboard {
    /// To be called within a tokio runtime: a task watches for what is worth showing.
    pub(crate) fn new(settings: &Settings, pool: &PoolHandle, sources: &Sources, watch: &Watch) -> Self {
        let (sender, changes) = watch::channel(0);
        tokio::spawn(announce(pool.clone(), watch.clone(), sender));
        Self {
            pool: pool.clone(),
            sources: sources.clone(),
            watch: watch.clone(),
            contents: Contents::new(pool.coin(), sources.clone(), watch.clone()),
            stratum_host: settings.web.stratum_host.clone(),
            fee_basis_points: settings.payout.fee_basis_points.into(),
            fee_address: settings.payout.fee_address.clone().unwrap_or_default(),
            changes,
        }
    }

    /// Work that so many credit units stand for: hashes, on prime chains chains of six.
    fn hashes(&self, units: u128) -> f64 {
        units_to_difficulty(units) * self.pool.hashes_per_difficulty()
    }

    /// Work a second that so many credit units a second stand for.
    fn hash_rate(&self, units_per_second: f64) -> f64 {
        units_per_second * self.hashes(1)
    }

    /// The units of a record's decimal number.
    fn hashes_of(&self, units: &str) -> f64 {
        self.hashes(units.parse().unwrap_or_default())
    }

    fn stratum_url(&self) -> String {
        let Some(address) = self.pool.addresses().first() else { return String::new() };
        match &self.stratum_host {
            Some(host) => format!("stratum+tcp://{host}:{}", address.port()),
            None => format!("stratum+tcp://{address}"),
        }
    }

    /// `before`: all work ever recorded when the block before this one was found.
    fn block_view(&self, record: &BlockRecord, before: Option<&BlockRecord>) -> view::BlockView {
        let began = before.map_or(0.0, |before| self.hashes_of(&before.units_ever));
        let took = (self.hashes_of(&record.units_ever) - began).max(0.0);
        view::BlockView {
            hash: record.hash.clone(),
            time: record.found_ms / 1000,
            finder: record.account.clone(),
            worker: record.worker.clone(),
            state: state(&record.state),
            coinbase_txid: record.coinbase_txid.clone(),
            effort: took / self.hashes_of(&record.network_units),
            payouts: view::PayoutsView {
                height: record.height,
                reward: Amount::from_sat(record.reward),
                outputs: record
                    .payouts
                    .iter()
                    .map(|payout| view::PayoutView {
                        address: payout.account.clone(),
                        amount: Amount::from_sat(payout.paid),
                        work: self.hashes_of(&payout.units),
                        earned: Amount::from_sat(payout.earned),
                        owed_after: Amount::from_sat(payout.after),
                        is_fee: false,
                    })
                    .chain(self.fee_view(record.fee))
                    .collect(),
            },
        }
    }

    fn fee_view(&self, fee: i64) -> Option<view::PayoutView> {
        (fee > 0).then(|| view::PayoutView {
            address: self.fee_address.clone(),
            amount: Amount::from_sat(fee),
            work: 0.0,
            earned: Amount::from_sat(fee),
            owed_after: Amount::ZERO,
            is_fee: true,
        })
    }

    /// What the job of the largest class would pay. Solo jobs pay whoever finds the block: nothing to show.
    fn next_payouts(&self) -> Option<PayoutSnapshot> {
        let job = self.pool.job().borrow().clone()?;
        let split = job.split()?;
        Some(split.snapshot(lode_ledger::Limits::NONE))
    }

    fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> = self
            .sources
            .view()
            .into_iter()
            .filter_map(|node| Some(format!("The node {} gives no work: {}", node.name, node.trouble?)))
            .chain(self.sources.disagreement())
            .collect();
        let stats = self.pool.stats();
        if stats.log_failed.load(Ordering::Relaxed) {
            notices
                .push("The share log cannot be written: shares are being refused until it can.".to_owned());
        }
        let near = self.pool.limits().into_iter().filter(|limit| limit.is_near());
        notices.extend(near.map(|limit| format!("{}. New connections are turned away first.", limit.words)));
        if self.pool.is_draining() {
            notices.push("The pool is draining: it takes no new connections.".to_owned());
        }
        notices
    }
}

fn state(state: &BlockState) -> view::BlockState {
    match state {
        BlockState::Found => view::BlockState::Found,
        // The journal counts blocks on top; people count the block itself as well.
        BlockState::Accepted => view::BlockState::Confirmed { depth: 1 },
        BlockState::Confirmed { depth } => view::BlockState::Confirmed { depth: depth + 1 },
        BlockState::Orphaned => view::BlockState::Orphaned,
        BlockState::Rejected { reason } => view::BlockState::Rejected { reason: reason.clone() },
    }
}

fn part_of(units: u128, total: u128) -> f64 {
    if total > 0 { units as f64 / total as f64 } else { 0.0 }
}

fn stands(record: &BlockRecord) -> bool {
    !matches!(record.state, BlockState::Orphaned | BlockState::Rejected { .. })
}

/// Marks changes: each found block, each new state, each job, and shares every few seconds.
async fn announce(pool: PoolHandle, watch: Watch, sender: watch::Sender<u64>) {
    let mut events = pool.events();
    let mut blocks = watch.subscribe();
    let mut tick = tokio::time::interval(SHARES_SHOWN_EACH);
    let mut accepted = 0;
    loop {
        use tokio::sync::broadcast::error::RecvError::Closed;
        let news = tokio::select! {
            event = events.recv() => match event {
                Err(Closed) => return,
                Ok(PoolEvent::Job { .. } | PoolEvent::Block(_)) | Err(_) => true,
            },
            change = blocks.recv() => match change {
                Err(Closed) => return,
                _ => true,
            },
            _ = tick.tick() => {
                let now = pool.stats().accepted.load(Ordering::Relaxed);
                std::mem::replace(&mut accepted, now) != now
            }
        };
        if news {
            sender.send_modify(|version| *version += 1);
        }
        if sender.is_closed() {
            return;
        }
    }
}

fn window_in_words(kind: WindowKind) -> String {
    match kind {
        WindowKind::Time { ms } => match ms / 1000 {
            3600 => "shares of the last hour".to_owned(),
            seconds if seconds % 3600 == 0 => format!("shares of the last {} hours", seconds / 3600),
            seconds if seconds % 60 == 0 => format!("shares of the last {} minutes", seconds / 60),
            seconds => format!("shares of the last {seconds} seconds"),
        },
        WindowKind::Work { factor: 1 } => "the last block's worth of shares".to_owned(),
        WindowKind::Work { factor } => format!("the last {factor} blocks' worth of shares"),
        WindowKind::Solo => "who finds the block (solo)".to_owned(),
    }
}

impl view::Source for Dashboard {
    fn pool(&self) -> view::PoolView {
        let coin = self.pool.coin();
        let (window, miners) = {
            let ledger = self.pool.ledger();
            (ledger.window_view(), ledger.account_count())
        };
        let job = self.pool.job().borrow().clone();
        let records = self.watch.blocks(HISTORY_MAX);
        let standing = records.iter().filter(|record| stands(record)).count();
        let per_block =
            job.as_ref().map_or(0.0, |job| job.network_difficulty.get() * self.pool.hashes_per_difficulty());
        let last_units = records.first().map_or(0, |record| record.units_ever.parse().unwrap_or_default());
        let since_last = self.hashes(window.work_ever.saturating_sub(last_units));
        // Work that the found blocks should have taken, each at its own difficulty, over all work up to the last.
        let due: f64 = records.iter().filter(|r| stands(r)).map(|r| self.hashes_of(&r.network_units)).sum();
        let took = self.hashes(last_units);
        let next = self.next_payouts();
        let unit = match coin.pow.hashes_per_difficulty() {
            Some(_) => view::WorkUnit::Hashes,
            None => view::WorkUnit::Chains,
        };
        let stats = self.pool.stats();
        let refused = Reject::ALL
            .iter()
            .map(|reason| (reason.label().to_owned(), stats.refused[reason.index()].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        view::PoolView {
            coin: coin.name.to_owned(),
            ticker: coin.ticker.to_owned(),
            network: coin.network.to_string(),
            stratum_url: self.stratum_url(),
            now: unix_ms() / 1000,
            started: self.pool.started_ms() / 1000,
            tip_height: job.as_ref().map_or(0, |job| job.template.height.saturating_sub(1)),
            tip_hash: job.as_ref().map(|job| job.template.prev.to_string()).unwrap_or_default(),
            difficulty: job.as_ref().map_or(0.0, |job| job.network_difficulty.get()),
            chain_length: job
                .as_ref()
                .filter(|_| unit == view::WorkUnit::Chains)
                .map(|job| ChainLength(job.template.bits).to_f64()),
            algorithm: coin.pow.to_string(),
            work_unit: unit,
            work_per_block: per_block,
            hash_rate: self.pool.hash_rate(),
            hash_rate_history: self.pool.hash_rate_history(),
            connections: stats.connections.load(Ordering::Relaxed) as u64,
            miners: miners as u64,
            shares_accepted: stats.accepted.load(Ordering::Relaxed),
            shares_refused: refused,
            window: window_in_words(window.kind),
            window_work: self.hashes(window.total.units),
            fee_basis_points: self.fee_basis_points,
            blocks_found: standing as u64,
            luck: (standing > 0 && took > 0.0).then(|| due / took),
            effort: if per_block > 0.0 { since_last / per_block } else { 0.0 },
            next_block: next.map(|snapshot| self.payouts_of(&snapshot)).unwrap_or_default(),
            notices: self.notices(),
        }
    }

    fn blocks(&self, limit: usize) -> Vec<view::BlockView> {
        let records = self.watch.blocks(limit + 1);
        let older = records.iter().skip(1).map(Some).chain(std::iter::once(None));
        records
            .iter()
            .zip(older)
            .take(limit)
            .map(|(record, before)| self.block_view(record, before))
            .collect()
    }

    fn block(&self, hash: &str) -> Option<view::BlockView> {
        let records = self.watch.blocks(HISTORY_MAX);
        let place = records.iter().position(|record| record.hash == hash)?;
        Some(self.block_view(&records[place], records.get(place + 1)))
    }

    fn content(
        &self,
        hash: &str,
    ) -> Pin<Box<dyn Future<Output = Option<Arc<view::BlockContent>>> + Send + '_>> {
        // Only of blocks the pool has found: it is no window into the chain for strangers.
        let found = hash.parse().ok().filter(|hash| self.watch.block(hash).is_some());
        Box::pin(async move { self.contents.of(found?).await })
    }

    fn miner(&self, address: &str) -> Option<view::MinerView> {
        let sessions = self.pool.sessions();
        let now_ms = unix_ms();
        let (account, window, total, workers, owed, rate, history) = {
            let ledger = self.pool.ledger();
            let account = ledger.find_account(address)?;
            let tip = self.pool.job().borrow().as_ref().map(|job| job.template.prev);
            let state = tip.and_then(|tip| ledger.balances_at(&tip).ok());
            let owed = state.map_or(0, |state| state.balance(account.script()));
            let total = ledger.window_view().total;
            let (rate, history) =
                (ledger.account_rate(&account, now_ms), ledger.account_history(&account, now_ms));
            let (window, workers) = (ledger.account_window(&account), ledger.workers_of(&account, now_ms));
            (account, window, total, workers, owed, rate, history)
        };
        // Whoever uses this address without bringing it work changes nothing that is shown of it.
        let mut machines: HashMap<String, view::WorkerView> = workers
            .into_iter()
            .filter(|worker| worker.window.shares > 0 || window.shares == 0)
            .map(|worker| {
                let view = view::WorkerView {
                    name: worker.name.clone(),
                    hash_rate: self.hash_rate(worker.rate),
                    difficulty: 0.0,
                    accepted: worker.window.shares,
                    refused: 0,
                    last_share: worker.last_ms / 1000,
                    connected: false,
                };
                (worker.name, view)
            })
            .collect();
        for session in sessions.iter().filter(|session| session.worker.account().name() == address) {
            if let Some(machine) = machines.get_mut(session.worker.name()) {
                machine.connected = true;
                if session.accepted > 0 || machine.difficulty == 0.0 {
                    machine.difficulty = session.difficulty.unwrap_or(machine.difficulty);
                }
                if session.accepted > 0 {
                    machine.refused += u64::from(session.refused);
                }
            }
        }
        let mut workers: Vec<view::WorkerView> = machines.into_values().collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        let part = part_of(window.units, total.units);
        let luck = self.luck_of(address);
        let records = self.watch.blocks(HISTORY_MAX);
        let payments: Vec<view::PaymentView> = records
            .iter()
            .filter_map(|record| {
                let payout = record.payouts.iter().find(|payout| payout.account == address)?;
                Some(view::PaymentView {
                    height: record.height,
                    hash: record.hash.clone(),
                    time: record.found_ms / 1000,
                    amount: Amount::from_sat(payout.paid),
                    state: state(&record.state),
                })
            })
            .take(PAYMENTS_MAX)
            .collect();
        let next = self.next_payouts().map_or(0, |snapshot| snapshot.payment_of(account.script()).paid);
        Some(view::MinerView {
            address: address.to_owned(),
            hash_rate: self.hash_rate(rate),
            hash_rate_history: history.into_iter().map(|(time, rate)| (time, self.hash_rate(rate))).collect(),
            work: self.hashes(window.units),
            part,
            paid: Amount::from_sat(self.watch.paid_to(address).0),
            owed: Amount::from_sat(owed),
            next_block: Amount::from_sat(next),
            workers,
            payments,
            luck,
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

impl Dashboard {
    /// A miner's blocks against what its shares are worth, on prime chains.
    fn luck_of(&self, address: &str) -> Option<view::LuckView> {
        let ledger = self.pool.ledger();
        let chains = ledger.chains();
        let standing = chains.standing(address);
        (standing.expected > 0.0).then(|| view::LuckView {
            blocks: standing.blocks,
            expected: standing.expected,
            others: chains.others(address),
            odds: chains.odds(address),
        })
    }

    fn payouts_of(&self, snapshot: &PayoutSnapshot) -> view::PayoutsView {
        let split = &snapshot.split;
        view::PayoutsView {
            height: split.height,
            reward: split.reward,
            outputs: snapshot
                .payouts()
                .map(|payout| view::PayoutView {
                    address: payout.line.account.name().to_owned(),
                    amount: payout.amount,
                    work: self.hashes(payout.line.units),
                    earned: Amount::from_sat(payout.line.earned),
                    owed_after: Amount::from_sat(payout.after),
                    is_fee: false,
                })
                .chain(self.fee_view(split.fee.to_sat()))
                .collect(),
        }
    }
}
