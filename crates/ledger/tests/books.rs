//! The ledger as the pool uses it: shares in, splits out, blocks settled, restarts.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lode_ledger::{
    ChainBooks, ChainShare, Credit, Fee, Ledger, LedgerError, LedgerOptions, Limits, Payees, Rules, Share,
    TemplateRef, Worker,
};
use lode_pow::ChainLength;
use lode_primitives::{Amount, BlockHash};

const HOUR: u64 = 3_600_000;

fn options(dir: &std::path::Path) -> LedgerOptions {
    let mut options = LedgerOptions::new(dir, "bitcoin/regtest");
    options.log.sync_every = None;
    options.rules =
        Rules { fee: Some(Fee { script: vec![0x51; 22], basis_points: 100 }), ..Rules::default() };
    options
}

fn miner(ledger: &mut Ledger, n: u8) -> Arc<Worker> {
    let mut script = vec![0, 20];
    script.extend([n; 20]);
    ledger.worker(&format!("miner{n}"), &script, "rig").unwrap()
}

fn share(worker: &Arc<Worker>, template: &Arc<TemplateRef>, difficulty: f64, time_ms: u64) -> Share {
    let credit = Credit::from_difficulty(difficulty).unwrap();
    Share { worker: Arc::clone(worker), template: Arc::clone(template), credit, time_ms }
}

fn hash(n: u8) -> BlockHash {
    BlockHash([n; 32])
}

#[test]
fn shares_become_outputs_and_a_restart_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let template = TemplateRef::new(101, hash(1), 1000.0);
    let reward = Amount::from_coins(50);
    assert!(matches!(ledger.split(&template, reward, &Payees::Window, HOUR), Err(LedgerError::EmptyWindow)));
    let (a, b) = (miner(&mut ledger, 1), miner(&mut ledger, 2));
    for i in 0..30 {
        let batch = [share(&a, &template, 0.25, HOUR + i), share(&b, &template, 0.5, HOUR + i)];
        ledger.record(&batch).unwrap();
    }
    let split = ledger.split(&template, reward, &Payees::Window, HOUR + 50).unwrap();
    let snapshot = split.snapshot(Limits::NONE);
    let outputs: Vec<i64> = snapshot.outputs().iter().map(|output| output.value.to_sat()).collect();
    assert_eq!(outputs, [3_300_000_000, 1_650_000_000, 50_000_000]);
    assert!(ledger.found(hash(2), &snapshot).unwrap());
    assert!(!ledger.found(hash(2), &snapshot).unwrap());
    ledger.balance_file().write().unwrap();
    let rate = |ledger: &Ledger, worker: usize| {
        let account = ledger.find_account(&format!("miner{worker}")).unwrap();
        let workers = ledger.workers_of(&account, HOUR + 100);
        assert_eq!((workers.len(), workers[0].last_ms), (1, HOUR + 29));
        (workers[0].rate, ledger.account_rate(&account, HOUR + 100))
    };
    let rates = [rate(&ledger, 1), rate(&ledger, 2)];
    assert!(rates[0].0 > 0.0 && (rates[0].1 / rates[1].1 - 0.5).abs() < 1e-9, "{rates:?}");
    drop((ledger, a, b));

    let (mut ledger, recovery) = Ledger::open(options(dir.path()), HOUR + 100).unwrap();
    assert_eq!((recovery.shares, recovery.cut), (60, None));
    assert_eq!(ledger.sequence(), 60);
    let next = TemplateRef::new(102, hash(2), 1000.0);
    let again = ledger.split(&next, reward, &Payees::Window, HOUR + 100).unwrap().snapshot(Limits::NONE);
    assert_eq!(again.outputs(), snapshot.outputs());
    assert_eq!(again.split.base, hash(2));
    assert_eq!([rate(&ledger, 1), rate(&ledger, 2)], rates, "rates are read back from the log");
}

#[test]
fn a_small_class_pays_some_now_and_the_others_at_the_next_block() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let template = TemplateRef::new(101, hash(1), 1000.0);
    let miners: Vec<_> = (1..=9).map(|n| miner(&mut ledger, n)).collect();
    for (i, worker) in miners.iter().enumerate() {
        ledger.record(&[share(worker, &template, (i + 1) as f64, HOUR)]).unwrap();
    }
    let reward = Amount::from_coins(50);
    let split = ledger.split(&template, reward, &Payees::Window, HOUR).unwrap();
    let small = split.snapshot(Limits { outputs: 5, bytes: 1_000, ..Limits::NONE });
    assert_eq!(small.outputs().len(), 5);
    assert_eq!(small.outputs().iter().map(|o| o.value.to_sat()).sum::<i64>(), reward.to_sat());
    ledger.found(hash(2), &small).unwrap();
    let state = ledger.balances_at(&hash(2)).unwrap();
    assert_eq!(state.entries.iter().map(|entry| entry.amount).sum::<i64>(), 0);
    assert_eq!(state.balance(miners[0].account().script()), 110_000_000);
    assert!(state.balance(miners[8].account().script()) < 0);
    assert_eq!(small.carried(), Amount::from_sat(110_000_000 * 15));

    // Work goes on below it too, where a node has refused it.
    let again = ledger.split(&template, reward, &Payees::Window, HOUR).unwrap();
    assert_eq!(again.base, BlockHash::ZERO);

    // A tip on another branch knows nothing of that block; one above it does.
    assert_eq!(ledger.unplaced(&hash(9), 101).len(), 1);
    ledger.place(hash(9), 101, None).unwrap();
    assert!(ledger.balances_at(&hash(9)).unwrap().entries.is_empty());
    ledger.connect(hash(3), 102, &hash(2)).unwrap();

    // The next block, in a class where all fit, makes everything even.
    let next = TemplateRef::new(103, hash(3), 1000.0);
    let all = ledger.split(&next, reward, &Payees::Window, HOUR).unwrap().snapshot(Limits::NONE);
    ledger.found(hash(4), &all).unwrap();
    assert!(ledger.balances_at(&hash(4)).unwrap().entries.is_empty());
}

#[test]
fn where_every_block_is_the_pools_own_the_books_stay_small() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let work = TemplateRef::new(1, hash(0), 1000.0);
    for n in 1..=3 {
        let worker = miner(&mut ledger, n);
        ledger.record(&[share(&worker, &work, f64::from(n), HOUR)]).unwrap();
    }
    let block = |n: u32| {
        let mut hash = hash(1);
        hash.0[..4].copy_from_slice(&n.to_le_bytes());
        hash
    };
    let blocks = 700;
    for n in 1..=blocks {
        let template = TemplateRef::new(n, block(n - 1), 1000.0);
        let split = ledger.split(&template, Amount::from_coins(1), &Payees::Window, HOUR).unwrap();
        ledger.found(block(n), &split.snapshot(Limits { outputs: 3, bytes: 93, ..Limits::NONE })).unwrap();
    }
    // All at once, and what has gone final meanwhile is left out.
    ledger.balance_file().write().unwrap();
    let open = ledger.open_blocks().count();
    assert!((200..=240).contains(&open), "{open}");
    assert!(std::fs::metadata(dir.path().join("balances")).unwrap().len() < 200_000);
    let before = ledger.balances_at(&block(blocks)).unwrap();
    assert_eq!(before.entries.iter().map(|entry| entry.amount).sum::<i64>(), 0);
    drop(ledger);
    let (ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let after = ledger.balances_at(&block(blocks)).unwrap();
    let shown =
        |state: &lode_ledger::State| state.entries.iter().map(|e| (e.amount, e.seen)).collect::<Vec<_>>();
    assert_eq!(shown(&after), shown(&before));
    // What is final is not asked about any more.
    assert!(ledger.balances_at(&block(1)).is_err());
}

/// Who records shares never waits for the balances to reach the disk: that is done beside the ledger.
#[test]
fn a_found_block_touches_no_file_until_the_ledger_is_let_go_of() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let template = TemplateRef::new(101, hash(1), 1000.0);
    let worker = miner(&mut ledger, 1);
    ledger.record(&[share(&worker, &template, 1.0, HOUR)]).unwrap();
    let split = ledger.split(&template, Amount::from_coins(50), &Payees::Window, HOUR).unwrap();
    let size = || std::fs::metadata(dir.path().join("balances")).unwrap().len();
    let before = size();
    ledger.found(hash(2), &split.snapshot(Limits::NONE)).unwrap();
    assert_eq!(size(), before);
    let file = ledger.balance_file();
    file.write().unwrap();
    let after = size();
    assert!(after > before);
    file.write().unwrap();
    assert_eq!(size(), after, "what is written is not written again");
    drop((ledger, worker));
    let (ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    assert_eq!(ledger.open_blocks().count(), 1);
}

/// What is due to an account for its block outlives a kill from the next tick on.
#[test]
fn a_prime_block_is_remembered_at_the_next_tick() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(options(dir.path()), HOUR).unwrap();
    let worker = miner(&mut ledger, 1);
    let network = ChainLength(0x0a80_0000);
    let mut take = |length| {
        let share =
            ChainShare { length: ChainLength(length), target: network.one_less(), network, parent: hash(1) };
        ledger.credit_chain(worker.account(), &share);
        ledger.tick(HOUR + 1_000).unwrap();
        ledger.chains().standing(worker.account().name())
    };
    let path = dir.path().join("chains");
    take(0x09c0_0000);
    assert!(!path.exists(), "a share is written with the minute");
    let standing = take(0x0a90_0000);
    assert_eq!(ChainBooks::open(&path).standing(worker.account().name()), standing);
    assert_eq!(standing.blocks, 1);
}
