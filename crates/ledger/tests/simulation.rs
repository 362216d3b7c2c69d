//! Years of mining: miners come and go, blocks are orphaned, twins are found, chains reorganise, the pool restarts.
//! Every satoshi is accounted for, nobody's income is off by more than luck explains, balances stay bounded.
//!
//! `LODE_FULL=1` runs two years with 3,000 miners; else a few months with some hundred.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::{NOW, Random, miner, options, share, template};
use lode_ledger::{Fee, HOUR_MS, Ledger, LedgerOptions, Limits, Payees, PayoutSnapshot, Rules, Worker};
use lode_primitives::{Amount, BlockHash, OutPoint, Transaction, TxIn, Witness};

/// Shares of an average miner in a window: the luck of the split.
const SHARES_MEAN: f64 = 6.0;
const REWARD: i64 = 312_500_000;
/// Coinbase classes of STRATUM's table, one of which finds each block.
const CLASSES: [Limits; 4] = [
    Limits { outputs: 8, bytes: 270, ..Limits::NONE },
    Limits { outputs: 18, bytes: 600, ..Limits::NONE },
    Limits { outputs: 65, bytes: 2_100, ..Limits::NONE },
    Limits { outputs: 400, bytes: 15_800, ..Limits::NONE },
];

struct Miner {
    worker: Option<Arc<Worker>>,
    /// Hash rate: 1 is the average miner's.
    rate: f64,
    /// First and last block (of the pool's own) that it mines for.
    active: (u64, u64),
    /// Expected income and its variance from the luck of shares, satoshi.
    expected: f64,
    variance: f64,
}

/// A block of the chain.
#[derive(Clone)]
struct Block {
    hash: BlockHash,
    /// The pool's own, with what it pays.
    own: Option<PayoutSnapshot>,
}

struct World {
    random: Random,
    ledger: Option<Ledger>,
    options: LedgerOptions,
    chain: Vec<Block>,
    now: u64,
}

impl World {
    fn ledger(&mut self) -> &mut Ledger {
        self.ledger.as_mut().unwrap()
    }

    fn tip(&self) -> (BlockHash, u32) {
        (self.chain.last().unwrap().hash, self.chain.len() as u32 - 1)
    }

    /// Tells the ledger where the tip is, as a pool does before it makes a job.
    fn place_tip(&mut self) {
        let (tip, height) = self.tip();
        let candidates = self.ledger().unplaced(&tip, height);
        if !candidates.is_empty() {
            let own =
                candidates.iter().find(|c| self.chain[c.height as usize].hash == c.hash).map(|c| c.hash);
            self.ledger().place(tip, height, own).unwrap();
        }
    }

    fn others_mine(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let hash = self.random.hash();
            self.chain.push(Block { hash, own: None });
        }
    }

    /// The pool finds a block on the tip in some class; it is checked and in the books, not yet in the chain.
    fn find(&mut self, all_fit: bool) -> (BlockHash, PayoutSnapshot) {
        self.place_tip();
        let ((tip, height), now) = (self.tip(), self.now);
        let reward = Amount::from_sat(REWARD + self.random.below(5_000_000) as i64);
        let limits = if all_fit { Limits::NONE } else { CLASSES[self.random.below(4) as usize] };
        let split = self.ledger().split(&template(height + 1, tip), reward, &Payees::Window, now).unwrap();
        let snapshot = split.snapshot(limits);
        check(&snapshot, limits, reward);
        let hash = self.random.hash();
        assert!(self.ledger().found(hash, &snapshot).unwrap());
        // Journals do so after a crash: nothing changes.
        assert!(!self.ledger().found(hash, &snapshot).unwrap());
        (hash, snapshot)
    }

    fn restart(&mut self) {
        let tip = self.tip().0;
        self.place_tip();
        let state = |ledger: &Ledger| {
            let state = ledger.balances_at(&tip).unwrap();
            let entry =
                |b: &lode_ledger::Balance| (b.account.script().to_vec(), b.amount, b.waiting_since, b.seen);
            state.entries.iter().map(entry).collect::<Vec<_>>()
        };
        let before = (state(self.ledger()), self.ledger().window_total());
        self.ledger().balance_file().write().unwrap();
        self.ledger = None;
        self.ledger = Some(Ledger::open(self.options.clone(), self.now).unwrap().0);
        self.place_tip();
        assert_eq!((state(self.ledger()), self.ledger().window_total()), before);
    }
}

/// A snapshot's outputs fit its class, sum to the reward, and make a coinbase that the check accepts.
fn check(snapshot: &PayoutSnapshot, limits: Limits, reward: Amount) {
    let outputs = snapshot.outputs();
    assert!(outputs.len() <= limits.outputs.max(2));
    assert!(outputs.iter().map(|output| 9 + output.script_pubkey.len()).sum::<usize>() <= limits.bytes);
    assert_eq!(outputs.iter().map(|output| output.value.to_sat()).sum::<i64>(), reward.to_sat());
    assert!(outputs.iter().all(|output| output.value.to_sat() >= lode_ledger::dust(&output.script_pubkey)));
    let input =
        TxIn { prevout: OutPoint::NULL, script_sig: vec![], sequence: 0, witness: Witness::default() };
    let mut coinbase = Transaction { version: 2, inputs: vec![input], outputs, lock_time: 0, data: None };
    snapshot.check(&coinbase).unwrap();
    coinbase.outputs[0].value = Amount::from_sat(coinbase.outputs[0].value.to_sat() - 1);
    assert!(snapshot.check(&coinbase).is_err());
}

#[test]
fn years_of_mining() {
    let blocks = lode_testkit::rounds(250, 2_500) as u64;
    let population = lode_testkit::rounds(300, 3_000);
    // In memory where there is a file system for that: every block is synced, which is not what is tested here.
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut options = options(dir.path());
    options.drop_after_ms = Some(HOUR_MS);
    options.log.segment_bytes = 1 << 20;
    let fee = Fee { script: vec![0x51; 22], basis_points: 150 };
    options.rules = Rules { fee: Some(fee), ..Rules::default() };
    let ledger = Some(Ledger::open(options.clone(), NOW).unwrap().0);
    let mut world = World { random: Random(7), ledger, options, chain: Vec::new(), now: NOW };
    world.others_mine(10);

    let mut miners: Vec<Miner> = (0..population)
        .map(|n| {
            let random = &mut world.random;
            // From a thousandth of the average to a hundred times, most of them small; the first is a whale.
            let rate = if n == 0 { population as f64 / 5.0 } else { 0.001f64.powf(random.unit()) * 4.0 };
            let rate = if random.below(50) == 0 { rate * 30.0 } else { rate };
            // Half stay throughout, the others come and go.
            let from = if random.below(2) == 0 { 0 } else { random.below(blocks * 3 / 4) };
            let to = if random.below(2) == 0 { blocks } else { from + 1 + random.below(blocks - from) };
            Miner { worker: None, rate, active: (from, to), expected: 0.0, variance: 0.0 }
        })
        .collect();
    let (mut orphans, mut twins, mut rows, mut reorgs, mut written_off, mut worst) = (0, 0, 0, 0, 0i64, 0i64);

    for round in 0..blocks {
        // Two hours later: a window of fresh luck.
        world.now += 2 * HOUR_MS + 60_000;
        let now = world.now;
        let foreign = world.random.below(20);
        world.others_mine(foreign);
        let work = template(world.chain.len() as u32, world.tip().0);
        let mut batch = Vec::new();
        let mut total = 0.0;
        for (n, m) in miners.iter_mut().enumerate() {
            if !(m.active.0..m.active.1).contains(&round) {
                m.worker = None;
                continue;
            }
            let ledger = world.ledger.as_mut().unwrap();
            let worker = m.worker.get_or_insert_with(|| miner(ledger, n as u32));
            // Vardiff: about as many shares from each; the credit is what differs.
            let credit = ((m.rate * 1e6) as u64).max(1);
            for _ in 0..world.random.poisson(SHARES_MEAN) {
                batch.push(share(worker, &work, credit, now - world.random.below(1_000)));
            }
            total += credit as f64;
        }
        for shares in batch.chunks(10_000) {
            world.ledger().record(shares).unwrap();
        }
        world.ledger().tick(now).unwrap();
        if world.ledger().window_total().units == 0 {
            continue;
        }

        // What the chain keeps of what is found.
        let fate = world.random.below(100);
        let all_fit = world.random.below(3) == 0;
        let mut kept = Vec::new();
        let (hash, snapshot) = world.find(all_fit);
        match fate {
            0..4 => {
                orphans += 1;
                world.others_mine(2);
            }
            4..10 => {
                twins += 1;
                let (twin, other) = world.find(!all_fit);
                assert_eq!(other.split.base, snapshot.split.base);
                let (hash, snapshot) = if fate.is_multiple_of(2) { (hash, snapshot) } else { (twin, other) };
                kept.push(snapshot.clone());
                world.chain.push(Block { hash, own: Some(snapshot) });
            }
            10..20 => {
                rows += 1;
                kept.push(snapshot.clone());
                world.chain.push(Block { hash, own: Some(snapshot) });
                let (second, next) = world.find(all_fit);
                assert_eq!(next.split.base, hash);
                kept.push(next.clone());
                world.chain.push(Block { hash: second, own: Some(next) });
            }
            20..23 => {
                // Stands for a while, then three blocks of others replace it.
                reorgs += 1;
                world.chain.push(Block { hash, own: Some(snapshot) });
                world.others_mine(1);
                world.place_tip();
                world.chain.truncate(world.chain.len() - 2);
                world.others_mine(3);
            }
            _ => {
                kept.push(snapshot.clone());
                world.chain.push(Block { hash, own: Some(snapshot) });
            }
        }
        for snapshot in &kept {
            let part = (snapshot.split.reward.to_sat() - snapshot.split.fee.to_sat()) as f64;
            written_off +=
                snapshot.split.lines.iter().filter(|l| l.written_off).map(|l| l.before.abs()).sum::<i64>();
            for m in miners.iter_mut().filter(|m| m.worker.is_some()) {
                let share = (m.rate * 1e6).floor().max(1.0) / total;
                m.expected += part * share;
            }
        }
        // The luck of shares is the same for all blocks of one window, so it adds up before it is squared.
        let part: f64 = kept.iter().map(|s| (s.split.reward.to_sat() - s.split.fee.to_sat()) as f64).sum();
        for m in miners.iter_mut().filter(|m| m.worker.is_some()) {
            let share = (m.rate * 1e6).floor().max(1.0) / total;
            m.variance += (part * share).powi(2) / SHARES_MEAN;
        }
        world.place_tip();
        let tip = world.tip().0;
        let state = world.ledger().balances_at(&tip).unwrap();
        assert_eq!(state.entries.iter().map(|entry| entry.amount).sum::<i64>(), 0);
        assert!(state.entries.iter().all(|entry| entry.amount != 0));
        worst = state.entries.iter().map(|entry| entry.amount.abs()).fold(worst, i64::max);
        if round % 40 == 17 {
            world.restart();
            miners.iter_mut().for_each(|m| m.worker = None);
        }
    }
    assert!(orphans > 0 && twins > 0 && rows > 0 && reorgs > 0, "{orphans} {twins} {rows} {reorgs}");

    // What the chain paid, and what is owed at its tip.
    let mut income: HashMap<Vec<u8>, i64> = HashMap::new();
    let mut rewards = 0;
    for snapshot in world.chain.iter().filter_map(|block| block.own.as_ref()) {
        rewards += snapshot.split.reward.to_sat() - snapshot.split.fee.to_sat();
        for payout in snapshot.payouts() {
            *income.entry(payout.line.account.script().to_vec()).or_default() += payout.amount.to_sat();
        }
    }
    assert_eq!(income.values().sum::<i64>(), rewards, "the chain paid out every satoshi");
    let tip = world.tip().0;
    let state = world.ledger().balances_at(&tip).unwrap();
    for entry in &state.entries {
        *income.entry(entry.account.script().to_vec()).or_default() += entry.amount;
    }
    assert_eq!(income.values().sum::<i64>(), rewards);
    let mut sigmas = 0.0f64;
    for (n, m) in miners.iter().enumerate() {
        let got = *income.get(&common::script(n as u32)).unwrap_or(&0) as f64;
        // Beside luck: the roundings, and the own and the others' written-off balances.
        let allowed = m.variance.sqrt() * 6.0 + written_off as f64 + blocks as f64;
        let off = got - m.expected;
        assert!(
            off.abs() <= allowed,
            "miner {n} of rate {} got {got}, expected {} within {allowed}",
            m.rate,
            m.expected
        );
        sigmas = sigmas.max(off.abs() / m.variance.sqrt().max(1.0));
    }
    let worst = worst as f64 / REWARD as f64;
    eprintln!(
        "{population} miners, {} blocks kept of {blocks} rounds: {orphans} orphans, {twins} twins, {rows} in a row, {reorgs} \
         reorganisations; written off {:.6} of all rewards; largest balance {worst:.3} of a reward; at most {sigmas:.1} sigma \
         off; {} balances",
        world.chain.iter().filter(|block| block.own.is_some()).count(),
        written_off as f64 / rewards as f64,
        state.entries.len()
    );
    assert!((written_off as f64) < 0.01 * rewards as f64);
    assert!(worst < 1.0, "no balance comes near a whole reward");
    assert!(state.entries.len() <= population);
}
