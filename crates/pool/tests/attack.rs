//! Honest miners under those who mean harm: none is dropped, no share of theirs is lost, and the attackers' addresses end up
//! banned. `LODE_FULL=1` runs the long form.

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Miner, TestPool, config};
use lode_pool::config::PoolConfig;
use lode_pool::guard::GuardConfig;

/// One attacker, again and again until told to stop.
fn attack(kind: usize, number: usize, address: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let source = format!("127.0.{}.{}", 1 + kind, 1 + number);
        let Ok(mut miner) = Miner::connect_from(&source, address) else { continue };
        let _ = miner.stream.set_read_timeout(Some(Duration::from_millis(100)));
        let _ = miner.stream.set_write_timeout(Some(Duration::from_millis(100)));
        let mut sink = [0; 4096];
        match kind {
            // Churn: gone as soon as connected.
            0 => {}
            // Silence.
            1 => while !stop.load(Ordering::Relaxed) && miner.stream.read(&mut sink).is_err() {},
            // Nonsense.
            2 => {
                let _ = miner.stream.write_all(&b"not a request\n".repeat(50));
                while miner.stream.read(&mut sink).is_ok_and(|read| read > 0) {}
            }
            // Reads nothing of much that it asks.
            3 => {
                let login = format!(
                    "{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{}\"]}}\n",
                    common::ADDRESS
                );
                let _ = miner.stream.write_all(login.as_bytes());
                let ask = b"{\"id\":1,\"method\":\"mining.ping\"}\n".repeat(500);
                while !stop.load(Ordering::Relaxed) && miner.stream.write_all(&ask).is_ok() {}
            }
            // Sends shares of a big miner's address that are all refused.
            _ => {
                let login = format!(
                    "{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{0}\"]}}\n{{\"id\":1,\"method\":\"mining.subscribe\"}}\n",
                    common::ADDRESS
                );
                let _ = miner.stream.write_all(login.as_bytes());
                let share = format!(
                    "{{\"id\":3,\"method\":\"mining.submit\",\"params\":[\"{}\",\"ffffff\",\"00\",\"00\",\"00\"]}}\n",
                    common::ADDRESS
                );
                let flood = share.repeat(200);
                while !stop.load(Ordering::Relaxed) && miner.stream.write_all(flood.as_bytes()).is_ok() {
                    let _ = miner.stream.read(&mut sink);
                }
            }
        }
    }
}

#[test]
fn honest_miners_are_served_through_all_of_it_at_once() {
    let guard =
        GuardConfig { unlimited: vec![], offences_max: 5, connects_burst: 100, ..GuardConfig::default() };
    let pool = TestPool::start(PoolConfig { login_seconds: 1, guard, ..config() });
    let address = pool.address();
    let stop = Arc::new(AtomicBool::new(false));
    let recorded = Arc::new(AtomicU64::new(0));
    let rounds = lode_testkit::rounds(30, 1_000);
    let attackers: Vec<_> = (0..5 * lode_testkit::rounds(3, 20))
        .map(|n| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || attack(n % 5, n / 5, address, &stop))
        })
        .collect();
    let honest: Vec<_> = (0..10)
        .map(|n| {
            let recorded = Arc::clone(&recorded);
            std::thread::spawn(move || {
                let mut miner = Miner::connect_from(&format!("127.1.0.{}", n + 1), address).unwrap();
                miner.login(&format!("honest{n}"));
                for nonce in 0..rounds as u32 {
                    miner.send(&miner.share(50, &format!("honest{n}"), nonce));
                    if miner.answer(50)["result"] == true {
                        recorded.fetch_add(1, Ordering::Relaxed);
                    }
                    // A steady miner, while the attackers do what they can.
                    std::thread::sleep(Duration::from_millis(50));
                }
            })
        })
        .collect();
    for miner in honest {
        miner.join().expect("an honest miner was dropped");
    }
    stop.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    // One hash in 65,536 is no share even at the least difficulty.
    assert!(recorded.load(Ordering::Relaxed) >= 10 * rounds as u64 - 2);
    assert_eq!(pool.recorded(), recorded.load(Ordering::Relaxed));
    assert!(pool.front.stats().turned_away.load(Ordering::Relaxed) > 0, "nobody was banned");
}
