//! What runs short is driven until it is short: it is said before miners notice, strangers are turned away, and who works
//! stays and may come back.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Miner, TestPool, config};
use lode_pool::config::PoolConfig;
use lode_pool::front::Limit;
use lode_pool::guard::{GuardConfig, Refusal};
use lode_pool::load::usage;

const MINER: &str = "127.9.0.1";
const STRANGER: &str = "127.9.0.2";

fn strict(change: impl FnOnce(&mut PoolConfig)) -> TestPool {
    let guard = GuardConfig { allow: vec![], ..GuardConfig::default() };
    let mut config = PoolConfig { guard, ..config() };
    change(&mut config);
    TestPool::start(config)
}

/// A miner that has brought work.
fn working(pool: &TestPool) -> Miner {
    let mut miner = Miner::connect_from(MINER, pool.address()).unwrap();
    miner.login("rig");
    // One hash in 65,536 is no share even at the least difficulty: not by chance, then.
    miner.send(&miner.share(50, "rig", 1));
    assert_eq!(miner.answer(50)["result"], true);
    miner
}

fn limit(pool: &TestPool, what: &str) -> Option<Limit> {
    pool.front.stats().limits.lock().unwrap().iter().find(|limit| limit.what == what).cloned()
}

/// Waits until a stranger is turned away for this reason, or let in.
fn wait_for(pool: &TestPool, refusal: Option<Refusal>) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let came = Instant::now();
        let mut stranger = Miner::connect_from(STRANGER, pool.address()).unwrap();
        stranger.send("{\"id\":1,\"method\":\"mining.ping\"}\n");
        let seen = match stranger.read() {
            Some(_) => None,
            None => pool
                .front
                .why(STRANGER.parse().unwrap())
                .block
                .unwrap()
                .last_refusal
                .map(|(refusal, _)| refusal),
        };
        if seen == refusal {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?}, not {refusal:?}: {:?}", limit(pool, "memory"));
        std::thread::sleep(Duration::from_millis(200).saturating_sub(came.elapsed()));
    }
}

#[test]
fn short_of_memory_strangers_go_first() {
    const ROOM: u64 = 256;
    let used = usage(std::process::id()).unwrap().resident >> 20;
    let pool = strict(|config| config.memory_max_mib = used + ROOM);
    let mut miner = working(&pool);
    wait_for(&pool, None);
    let eaten = vec![1u8; (ROOM as usize) << 20];
    wait_for(&pool, Some(Refusal::Memory));
    let said = limit(&pool, "memory").unwrap();
    assert!(said.is_near() && said.words.contains("MiB of memory are in use"), "{said:?}");
    miner.send(&miner.share(51, "rig", 2));
    assert_eq!(miner.answer(51)["result"], true, "who works stays");
    let mut again = Miner::connect_from(MINER, pool.address()).unwrap();
    again.login("rig2");
    assert_eq!(eaten.iter().step_by(1 << 20).filter(|byte| **byte == 1).count() as u64, ROOM);
    drop(eaten);
    wait_for(&pool, None);
}

/// A slow disk, here, keeps the only serving thread at work all the time.
#[test]
fn short_of_processors_strangers_go_first() {
    let pool = strict(|config| config.threads = 1);
    let mut miner = working(&pool);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        pool.books.slow_ms.store(200, Ordering::SeqCst);
        let busy = scope.spawn(move || {
            for nonce in 2.. {
                miner.send(&miner.share(51, "rig", nonce));
                miner.answer(51);
                if done.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        wait_for(&pool, Some(Refusal::Busy));
        let said = limit(&pool, "processors").unwrap();
        assert!(said.is_near() && said.words.contains("at work"), "{said:?}");
        let mut again = Miner::connect_from(MINER, pool.address()).unwrap();
        again.login("rig2");
        done.store(true, Ordering::SeqCst);
        busy.join().expect("who works stays");
    });
    wait_for(&pool, None);
}
