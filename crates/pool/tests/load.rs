//! The load generator against the front: what it counts is what was recorded.

mod common;

use std::time::Duration;

use common::{ADDRESS, TestPool, config};
use lode_pool::load::{LoadOptions, ShareKind, churn, run};
use lode_primitives::BlockHash;

fn options(pool: &TestPool) -> LoadOptions {
    LoadOptions {
        address: pool.address(),
        user: format!("{ADDRESS}.w%"),
        password: "x".into(),
        connections: 100,
        sources: 4,
        connecting: 32,
        idle: Duration::ZERO,
        shares_for: Duration::from_millis(500),
        rate: 0.0,
        pipeline: 5,
        sending: 50,
        shares: ShareKind::Fresh,
        jobs_for: Duration::ZERO,
        nonsense: 0,
        pid: Some(std::process::id()),
    }
}

#[test]
fn every_share_counted_is_recorded() {
    let pool = TestPool::start(config());
    let report = run(&options(&pool), |_| {}).unwrap();
    assert_eq!((report.connections, report.lost), (100, 0));
    assert!(report.accepted > 0);
    assert_eq!(report.unanswered, 0);
    // At the least difficulty one hash in 65,536 is still too high.
    assert!(report.refused <= report.accepted / 1_000, "{:?}", pool.front.stats());
    assert_eq!(pool.recorded(), report.accepted);
    assert!(report.latency_us.is_some() && report.cpu_us_per_share.is_some());
}

#[test]
fn refusals_jobs_and_nonsense_are_seen() {
    const SENDING: usize = 10;
    let mut pool = TestPool::start(config());
    let options = LoadOptions {
        shares: ShareKind::Same,
        shares_for: Duration::from_millis(200),
        sending: SENDING,
        jobs_for: Duration::from_secs(1),
        nonsense: 3_000,
        ..options(&pool)
    };
    let load = std::thread::spawn(move || run(&options, |_| {}));
    while !load.is_finished() {
        // Jobs keep coming; the ones that come while it waits for them are measured.
        std::thread::sleep(Duration::from_millis(100));
        pool.job(BlockHash([7; 32]));
    }
    let report = load.join().unwrap().unwrap();
    assert!(report.refused > 0);
    assert_eq!(report.nonsense, 3_000);
    // The pool may close those whose every share it refuses: how many they get to send is the machine's speed.
    let kept = report.connections - SENDING;
    assert!(report.jobs.iter().any(|job| job.connections >= kept), "{:?}", report.jobs);
    assert!(report.lost <= SENDING, "{} of {SENDING} senders lost", report.lost);
}

/// Connections that came and went are remembered by nothing that grows with them: 200 bytes for each would be seen.
#[test]
fn memory_after_churn_is_as_at_its_start() {
    let pool = TestPool::start(config());
    let count = lode_testkit::rounds(20_000, 1_000_000) as u64;
    let report = {
        // One worker: nothing sweeps the registry of workers here.
        let user = format!("{ADDRESS}.w");
        churn(&LoadOptions { user, sources: 500, connecting: 64, ..options(&pool) }, count).unwrap()
    };
    assert_eq!((report.logins, report.lost), (count, 0));
    let [before, warm, after] = report.memory.unwrap();
    println!("{before} bytes before, {warm} after a tenth, {after} after {count} log-ins");
    assert!(after < warm + 200 * count.min(20_000), "{warm} bytes after a tenth, {after} at the end");
    let connections = &pool.front.stats().connections;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while connections.load(std::sync::atomic::Ordering::Relaxed) > 0 {
        assert!(std::time::Instant::now() < deadline, "the pool does not see them go");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pool that closes whoever has too much refused leaves the last batch of each without an answer: that is not the same as a
/// share that got lost on a connection that is open.
#[test]
fn what_is_cut_off_is_told_from_what_is_not_answered() {
    let mut strict = config();
    strict.guard.allow = vec![];
    let pool = TestPool::start(strict);
    let options = LoadOptions {
        shares: ShareKind::Same,
        shares_for: Duration::from_secs(600),
        pipeline: 500,
        connections: 2,
        sending: 2,
        ..options(&pool)
    };
    let report = run(&options, |_| {}).unwrap();
    assert_eq!((report.lost, report.unanswered), (2, 0));
    assert!(report.refused >= 10_000 && report.cut_off <= 1_000, "{report:?}");
}
