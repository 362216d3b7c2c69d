//! The front over real sockets: shares in and into the log, jobs out, and those who misbehave.

mod common;

use std::io::Read as _;
use std::sync::atomic::Ordering;

use common::{Miner, TestPool, config};
use lode_pool::class::CoinbaseClass;
use lode_pool::config::{PoolConfig, PortConfig};
use lode_primitives::BlockHash;

#[test]
fn shares_are_recorded_before_they_are_answered() {
    let pool = TestPool::start(config());
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    for nonce in 0..20 {
        miner.send(&miner.share(100, "rig", nonce));
        assert_eq!(miner.answer(100)["result"], true);
        assert_eq!(pool.recorded(), u64::from(nonce) + 1);
    }
    // A thousand at once are answered together, each of them once.
    let flood: String = (1000..2000).map(|nonce| miner.share(u64::from(nonce), "rig", nonce)).collect();
    miner.send(&flood);
    for id in 1000..2000 {
        assert_eq!(miner.answer(id)["result"], true);
    }
    assert_eq!(pool.recorded(), 1020);
    miner.send(&miner.share(7, "rig", 1500));
    assert_eq!(miner.answer(7)["error"][0], 22);
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let pool = TestPool::start(config());
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    pool.books.broken.store(true, Ordering::SeqCst);
    let lines = [
        miner.share(10, "rig", 1),
        "{\"id\":11,\"method\":\"mining.ping\",\"params\":[]}\n".to_owned(),
        miner.share(12, "nobody", 2),
        miner.share(13, "rig", 3),
    ];
    miner.send(&lines.concat());
    assert_eq!(miner.answer(10)["error"][1], "Pool not ready");
    assert_eq!(miner.answer(11)["result"], "pong");
    assert_eq!(miner.answer(12)["error"][1], "Pool not ready");
    assert_eq!(miner.answer(13)["error"][1], "Pool not ready");
    assert!(pool.front.stats().log_failed.load(Ordering::Relaxed));
    pool.books.broken.store(false, Ordering::SeqCst);
    miner.send(&miner.share(14, "rig", 4));
    assert_eq!(miner.answer(14)["result"], true);
    assert_eq!(pool.recorded(), 1);
}

#[test]
fn a_job_reaches_everyone_and_voids_the_last() {
    let mut pool = TestPool::start(config());
    let mut miners: Vec<Miner> = (0..200).map(|_| Miner::connect(pool.address())).collect();
    miners.iter_mut().for_each(|miner| miner.login("rig"));
    let old = miners[0].share(5, "rig", 1);
    pool.job(BlockHash([2; 32]));
    for miner in &mut miners {
        miner.next_job();
        assert_eq!(miner.job["params"][8], true);
    }
    miners[0].send(&old);
    assert_eq!(miners[0].answer(5)["error"][0], 21);
}

#[test]
fn balancers_tell_whom_they_speak_for() {
    let mut with_proxy = config();
    with_proxy.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    with_proxy.guard.deny = vec!["192.0.2.0/24".parse().unwrap()];
    let pool = TestPool::start(with_proxy);
    let mut miner = Miner::connect(pool.address());
    miner.send("PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n");
    miner.login("rig");
    for bad in ["PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n", "{\"id\":1,\"method\":\"mining.subscribe\"}\n"] {
        let mut miner = Miner::connect(pool.address());
        miner.send(bad);
        assert_eq!(miner.read(), None, "{bad}");
    }
}

#[test]
fn too_many_connections_are_turned_away_and_the_others_stay() {
    let pool = TestPool::start(PoolConfig { connections_max: 3, ..config() });
    let mut miners: Vec<Miner> = (0..3).map(|_| Miner::connect(pool.address())).collect();
    miners.iter_mut().for_each(|miner| miner.login("rig"));
    assert_eq!(Miner::connect(pool.address()).read(), None);
    for miner in &mut miners {
        miner.send("{\"id\":9,\"method\":\"mining.ping\"}\n");
        assert_eq!(miner.answer(9)["result"], "pong");
    }
    assert_eq!(pool.front.stats().turned_away.load(Ordering::Relaxed), 1);
}

#[test]
fn the_silent_and_the_endless_are_closed() {
    let pool = TestPool::start(PoolConfig { login_seconds: 1, ..config() });
    let mut silent = Miner::connect(pool.address());
    assert!(last_word(&mut silent).contains("no user name"));
    assert_eq!(silent.read(), None);
    let mut endless = Miner::connect(pool.address());
    endless.send(&"x".repeat(5_000));
    assert!(last_word(&mut endless).contains("too long"));
    assert_eq!(endless.read(), None);
}

/// Why the pool closes: an error that answers nothing.
fn last_word(miner: &mut Miner) -> String {
    let word = miner.until(|line| line["id"].is_null() && line["error"].is_array());
    word["error"][1].as_str().unwrap().to_owned()
}

/// After fifteen minutes, by default: here after one second.
#[test]
fn a_miner_without_a_share_for_too_long_is_told_and_closed() {
    assert_eq!(PoolConfig::default().idle_seconds, 15 * 60);
    let pool = TestPool::start(PoolConfig { idle_seconds: 1, ..config() });
    let mut busy = Miner::connect(pool.address());
    busy.login("busy");
    let mut idle = Miner::connect(pool.address());
    idle.login("idle");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let busy = scope.spawn(move || {
            for nonce in 0.. {
                busy.send(&busy.share(7, "busy", nonce));
                // One hash in 65,536 is no share even at the least difficulty: an answer is enough.
                busy.answer(7);
                if done.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        assert!(last_word(&mut idle).contains("no accepted share"));
        assert_eq!(idle.read(), None);
        done.store(true, Ordering::SeqCst);
        busy.join().expect("who mines stays");
    });
}

/// The line of a share that is refused.
fn stale(id: u32) -> String {
    format!(
        "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[\"{}.rig\",\"ffffff\",\"00\",\"00\",\"00\"]}}\n",
        common::ADDRESS
    )
}

/// Where the operator lets in whatever follows, no connection is closed for its refusals: each of them is answered.
#[test]
fn whoever_is_always_let_in_may_have_anything_refused() {
    let pool = TestPool::start(config());
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    for batch in 0..300 {
        let ids = 1000 + batch * 20..1020 + batch * 20;
        miner.send(&ids.clone().map(stale).collect::<String>());
        for id in ids {
            assert_eq!(miner.answer(id.into())["error"][0], 21);
        }
    }
    miner.send(&miner.share(7, "rig", 1));
    assert_eq!(miner.answer(7)["result"], true);
}

/// Whoever has too much refused is closed, but not before each of its shares that were read has an answer, and a word why.
#[test]
fn no_share_that_was_read_goes_unanswered_before_the_close() {
    let mut strict = config();
    strict.guard.allow = vec![];
    let pool = TestPool::start(strict);
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    let sent: String = (1000..10_500).map(stale).collect();
    let mut writer = miner.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        use std::io::Write as _;
        let _ = writer.write_all(sent.as_bytes());
    });
    let mut next = 1000;
    let word = loop {
        let line = miner.read().expect("a word before the end");
        if line["id"].is_null() {
            if line["error"].is_array() {
                break line;
            }
            continue;
        }
        assert_eq!(line["id"], next, "in order, none left out");
        next += 1;
    };
    assert!(next >= 6_000, "{next}");
    assert!(word["error"][1].as_str().unwrap().contains("refused"));
    assert_eq!(miner.read(), None);
    writing.join().unwrap();
}

/// A planned stop, as a cgminer sees it.
#[test]
fn a_planned_stop_is_said() {
    let mut pool = TestPool::start(config());
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    pool.front.stop();
    miner.until(|line| line["method"] == "client.show_message");
    assert_eq!(miner.until(|line| line["method"] == "client.reconnect")["params"], serde_json::json!([]));
    assert_eq!(miner.read(), None);
}

/// The system asks after miners that say nothing: a line that was cut is noticed.
#[test]
fn keep_alive_is_on() {
    let pool = TestPool::start(config());
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    miner.send("{\"id\":9,\"method\":\"mining.ping\"}\n");
    miner.answer(9);
    let ends = [pool.address().port(), miner.stream.local_addr().unwrap().port()];
    let [ours, theirs] = ends.map(|port| format!(":{port:04X}"));
    // Nothing is on its way, so the timer that runs on the pool's end is that of keep-alive (2).
    let timer = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let line = table.lines().find(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&ours))
                && fields.next().is_some_and(|peer| peer.ends_with(&theirs))
        });
        line.unwrap().split_whitespace().nth(5).unwrap()[..2].to_owned()
    };
    let since = std::time::Instant::now();
    while timer() != "02" {
        assert!(since.elapsed().as_secs() < 20, "timer {}", timer());
        std::thread::yield_now();
    }
}

/// Rentals have a port of their own: difficult from the start, and of their class whatever they call themselves.
#[test]
fn rentals_have_a_port_of_their_own() {
    let mut with_rentals = config();
    with_rentals.ports.push(PortConfig {
        bind: "127.0.0.1:0".parse().unwrap(),
        start_difficulty: 500_000.0,
        min_difficulty: 500_000.0,
        class: Some(CoinbaseClass::Rental),
        ..PortConfig::default()
    });
    let pool = TestPool::start(with_rentals);
    let mut rental = Miner::connect(pool.front.addresses()[1]);
    rental.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"epic\"]}\n");
    rental.send(&format!(
        "{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{}.r\",\"d=1\"]}}\n",
        common::ADDRESS
    ));
    let difficulty = rental.until(|line| line["method"] == "mining.set_difficulty");
    assert_eq!(difficulty["params"][0], 500_000);
    rental.next_job();
    let sessions: Vec<_> =
        pool.front.survey().into_iter().flat_map(|sessions| sessions.recv().unwrap()).collect();
    assert_eq!(sessions[0].class, CoinbaseClass::Rental);
    let mut other = Miner::connect(pool.address());
    other.login("rig");
}

#[test]
fn who_does_not_read_is_closed() {
    let pool = TestPool::start(config());
    let mut slow = Miner::connect(pool.address());
    slow.login("rig");
    slow.stream.set_write_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let ping = "{\"id\":9,\"method\":\"mining.ping\"}\n".repeat(1000);
    // Writes until the pool closes: it keeps only so much for one that does not read.
    use std::io::Write as _;
    while slow.stream.write_all(ping.as_bytes()).is_ok() {}
    let mut rest = Vec::new();
    let _ = slow.stream.read_to_end(&mut rest);
    let mut other = Miner::connect(pool.address());
    other.login("rig");
}

/// Random lines, as many as a test may; `lode load` sends a million. The pool must go on and hold nothing of them.
#[test]
fn nonsense_is_survived() {
    let pool = TestPool::start(config());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut sent = 0;
    while sent < 20_000 {
        let mut miner = Miner::connect(pool.address());
        let mut text = Vec::new();
        for _ in 0..200 {
            match random() % 4 {
                0 => (0..random() % 60).for_each(|_| text.push(random() as u8)),
                1 => text
                    .extend_from_slice(b"{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"a\",\"b\"]}"),
                2 => {
                    let method = ["subscribe", "authorize", "configure", "submit", "suggest_target"];
                    let method = method[(random() % 5) as usize];
                    let line = format!(
                        "{{\"id\":{},\"method\":\"mining.{method}\",\"params\":[{}]}}",
                        random(),
                        random()
                    );
                    text.extend_from_slice(line.as_bytes());
                }
                _ => text.extend_from_slice(b"{\"id\":null,\"method\":null}"),
            }
            text.push(b'\n');
            sent += 1;
        }
        use std::io::Write as _;
        // The pool may close before it has read all.
        let _ = miner.stream.write_all(&text);
        let _ = miner.stream.shutdown(std::net::Shutdown::Write);
        let mut answers = Vec::new();
        let _ = miner.stream.read_to_end(&mut answers);
    }
    let mut miner = Miner::connect(pool.address());
    miner.login("rig");
    assert_eq!(pool.recorded(), 0);
    assert_eq!(pool.front.stats().connections.load(Ordering::Relaxed), 1);
}
