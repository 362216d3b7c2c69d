//! Honest miners under those who mean harm, each kind apart and all at once: no honest miner is dropped, no share of theirs
//! is lost, and what attackers do under a big miner's address changes nothing for it.
//!
//! The attackers are a process of their own (this test's program again), from a thousand loopback addresses, at the lowest
//! priority: in the world they do not compute on the pool's machine. `LODE_FULL=1` takes 10,000 of them against 1,000 miners
//! and holds the time to an answer against the quiet one's; the short form says it.

mod common;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{ADDRESS, Miner, TestPool, config};
use lode_pool::config::PoolConfig;
use lode_pool::guard::{GuardConfig, Refusal};
use lode_pool::load::{Attack, AttackOptions, LoadOptions, LoadReport, ShareKind, attack, run};
use lode_testkit::rounds;

/// Says to this program that it is the attackers: address, number, seconds, kinds.
const ATTACK: &str = "LODE_TEST_ATTACK";

/// Nothing where it is run as a test; else the attackers.
#[test]
fn attackers() {
    let Ok(order) = std::env::var(ATTACK) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    let attackers = words[1].parse().unwrap();
    let options = AttackOptions {
        address: words[0].parse().unwrap(),
        kinds: words[3..].iter().map(|kind| kind.parse().unwrap()).collect(),
        attackers,
        sources: (attackers as u32 / 10).max(10),
        user: ADDRESS.into(),
        time: Duration::from_secs(words[2].parse().unwrap()),
        pause: Duration::from_secs(1),
    };
    let report = attack(&options).unwrap();
    println!("attackers saw {report:?}");
}

struct Attackers(Child);

impl Attackers {
    fn start(pool: &TestPool, kinds: &[Attack], number: usize) -> Self {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let order = format!("{} {number} 600 {}", pool.address(), kinds.join(" "));
        let program = std::env::current_exe().unwrap();
        let child = Command::new("nice")
            .args(["-n", "19", program.to_str().unwrap(), "attackers", "--exact"])
            .env(ATTACK, order)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // All have come once.
        let (before, deadline) = (came(pool), Instant::now() + Duration::from_secs(60));
        while came(pool) < before + number as u64 {
            assert!(Instant::now() < deadline, "the attackers do not come");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn came(pool: &TestPool) -> u64 {
    let stats = pool.front.stats();
    stats.connected.load(Ordering::Relaxed) + stats.turned_away.load(Ordering::Relaxed)
}

fn honest(pool: &TestPool, miners: usize, time: Duration) -> LoadOptions {
    LoadOptions {
        address: pool.address(),
        user: format!("{ADDRESS}.w%"),
        password: "x".into(),
        connections: miners,
        // From other addresses than the attackers.
        sources: 100,
        connecting: 64,
        idle: Duration::ZERO,
        shares_for: time,
        rate: miners as f64,
        pipeline: 1,
        sending: miners,
        shares: ShareKind::Fresh,
        jobs_for: Duration::ZERO,
        nonsense: 0,
        pid: None,
    }
}

fn check(pool: &TestPool, report: &LoadReport, miners: usize, recorded_before: u64) {
    assert_eq!((report.connections, report.lost), (miners, 0), "an honest miner was dropped");
    assert_eq!(report.unanswered, 0, "a share was lost");
    // One hash in 65,536 is no share even at the least difficulty.
    assert!(report.accepted > 0 && report.refused <= 2, "{report:?}");
    assert_eq!(pool.recorded() - recorded_before, report.accepted);
}

/// Attacks of these kinds; the 99th percentile of answers, quiet and under attack.
fn hold(kinds: &[Attack]) {
    let (attackers, miners) = (rounds(500, 10_000), rounds(50, 1_000));
    let time = Duration::from_millis(rounds(1_500, 10_000) as u64);
    let guard = GuardConfig { allow: vec![], ..GuardConfig::default() };
    let pool = TestPool::start(PoolConfig { login_seconds: 10, guard, ..config() });
    let options = honest(&pool, miners, time);
    let quiet = run(&options, |_| {}).unwrap();
    check(&pool, &quiet, miners, 0);
    let stats = pool.front.stats();
    let before = pool.recorded();
    let mut running = None;
    let report = run(&options, |phase| {
        // The honest are logged in.
        if phase == "sending shares" {
            running = Some(Attackers::start(&pool, kinds, attackers));
        }
    })
    .unwrap();
    check(&pool, &report, miners, before);
    let (quiet, now) = (quiet.latency_us.unwrap(), report.latency_us.unwrap());
    println!(
        "{kinds:?}: answers in {now:?} us, quiet {quiet:?} (median, 99 %, longest); {} connections accepted, {} turned away, {} bans, {} open",
        stats.connected.load(Ordering::Relaxed),
        stats.turned_away.load(Ordering::Relaxed),
        pool.front.bans().len(),
        stats.connections.load(Ordering::Relaxed),
    );
    if rounds(0, 1) == 1 {
        assert!(now[1] < 3 * quiet[1], "99th percentile {} us under attack, {} us quiet", now[1], quiet[1]);
    }
}

#[test]
fn churn_is_withstood() {
    hold(&[Attack::Churn]);
}

#[test]
fn slowness_is_withstood() {
    hold(&[Attack::Slow]);
}

#[test]
fn nonsense_is_withstood() {
    hold(&[Attack::Malformed]);
}

#[test]
fn shares_without_work_are_withstood() {
    hold(&[Attack::LowWork]);
}

#[test]
fn silence_is_withstood() {
    hold(&[Attack::Silent]);
}

#[test]
fn all_at_once_is_withstood() {
    hold(&Attack::ALL);
}

/// However many strangers were there first: the share of one who has brought work is recorded, and so answered, before any of
/// them is heard.
#[test]
fn who_works_is_heard_before_the_crowd_at_the_door() {
    let pool = TestPool::start(PoolConfig { threads: 1, ..config() });
    let mut miners = [Miner::connect(pool.address()), Miner::connect(pool.address())];
    for (miner, nonce) in miners.iter_mut().zip(1..) {
        miner.login("rig");
        miner.send(&miner.share(50, "rig", nonce));
        assert_eq!(miner.answer(50)["result"], true);
    }
    let mut crowd: Vec<Miner> = (0..300).map(|_| Miner::connect(pool.address())).collect();
    for stranger in &mut crowd {
        stranger.send("{\"id\":1,\"method\":\"mining.ping\"}\n");
        stranger.answer(1);
    }
    let refused =
        || pool.front.stats().refused.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    let begun = |batches| {
        while pool.books.batches.load(Ordering::SeqCst) < batches {
            std::thread::yield_now();
        }
    };
    // The only thread is held, while it records the share of the one, until all others have spoken.
    pool.books.batches_max.store(2, Ordering::SeqCst);
    miners[0].send(&miners[0].share(51, "rig", 3));
    begun(3);
    for stranger in &mut crowd {
        stranger.send("{\"id\":2,\"method\":\"no.such\"}\n");
    }
    miners[1].send(&miners[1].share(51, "rig", 4));
    pool.books.batches_max.store(3, Ordering::SeqCst);
    begun(4);
    let heard_first = refused();
    pool.books.batches_max.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(heard_first, 0, "strangers were heard before who works");
    for miner in &mut miners {
        assert_eq!(miner.answer(51)["result"], true);
    }
    for stranger in &mut crowd {
        assert_eq!(stranger.answer(2)["error"][0], 20);
    }
}

/// Who attacks is banned in the end, told so, and those who mine are not.
#[test]
fn attackers_are_banned_and_the_miner_whose_address_they_use_is_not() {
    let guard = GuardConfig { allow: vec![], offences_max: 5, ..GuardConfig::default() };
    let pool = TestPool::start(PoolConfig { guard, ..config() });
    let mut big = Miner::connect_from("127.9.0.1", pool.address()).unwrap();
    big.login("rig");
    big.send(&big.share(50, "rig", 1));
    assert_eq!(big.answer(50)["result"], true);
    for _ in 0..6 {
        let mut bad = Miner::connect_from("127.9.0.2", pool.address()).unwrap();
        bad.send(&"not a request\n".repeat(20));
        while bad.read().is_some() {}
    }
    let mut again = Miner::connect_from("127.9.0.2", pool.address()).unwrap();
    assert_eq!(again.read(), None);
    let why = pool.front.why("127.9.0.2".parse().unwrap());
    assert_eq!(why.now, Some(Refusal::Banned));
    assert_eq!(pool.front.bans().len(), 1);
    big.send(&big.share(51, "rig", 2));
    assert_eq!(big.answer(51)["result"], true);
    let mut more = Miner::connect_from("127.9.0.1", pool.address()).unwrap();
    more.login("rig2");
}

/// Connections that bring less than the operator's floor are closed; without a floor the weakest stay.
#[test]
fn the_floor_on_work_is_the_operators_choice() {
    let guard = GuardConfig { work_floor: 1e3, work_floor_seconds: 1, ..GuardConfig::default() };
    let pool = TestPool::start(PoolConfig { guard, ..config() });
    let mut lazy = Miner::connect(pool.address());
    lazy.login("rig");
    let mut last = String::new();
    while let Some(line) = lazy.read() {
        last = line.to_string();
    }
    assert!(last.contains("less work than this pool asks"), "{last}");
}
