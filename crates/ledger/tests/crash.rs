//! Kills a process that records shares, again and again: what it said was recorded is there, once.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{NOW, Random, miner, share, template};
use lode_ledger::{HOUR_MS, Ledger, LedgerOptions, log};
use lode_primitives::BlockHash;

const MINERS: u64 = 10;

/// Small segments, so that kills hit rolling over too; old ones are dropped.
fn options(dir: &Path) -> LedgerOptions {
    let mut options = LedgerOptions::new(dir, "bitcoin/regtest");
    options.log.segment_bytes = 64 << 10;
    options.drop_after_ms = Some(0);
    options
}

/// The child: records shares until it is killed. Share number n has n + 1 units of work and belongs to miner n % 10.
#[test]
fn child_that_pours_shares() {
    let Ok(dir) = std::env::var("LODE_CRASH_DIR") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (mut next, now) = (number("LODE_CRASH_NEXT"), number("LODE_CRASH_NOW"));
    let (mut ledger, _) = Ledger::open(options(Path::new(&dir)), now).unwrap();
    ledger.tick(now).unwrap();
    let miners: Vec<_> = (0..MINERS).map(|n| miner(&mut ledger, n as u32)).collect();
    let mut random = Random(next);
    let mut out = std::io::stdout().lock();
    let mut work = template(1, BlockHash([1; 32]));
    loop {
        if random.below(20) == 0 {
            work = template(random.next() as u32, random.hash());
        }
        let size = if random.below(10) == 0 { 3_000 } else { random.below(40) };
        let batch: Vec<_> = (0..size)
            .map(|i| share(&miners[((next + i) % MINERS) as usize], &work, next + i + 1, now))
            .collect();
        ledger.record(&batch).unwrap();
        next += size;
        writeln!(out, "recorded {next}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn no_recorded_share_is_lost_or_counted_twice_by_kills() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = lode_testkit::rounds(40, 500) as u64;
    let mut random = Random(42);
    let mut next = 0;
    for round in 0..rounds {
        // An hour passes in ten rounds, so the window moves on.
        let now = NOW + round * HOUR_MS / 10;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_pours_shares", "--exact", "--nocapture", "--test-threads=1"])
            .env("LODE_CRASH_DIR", dir.path())
            .env("LODE_CRASH_NEXT", next.to_string())
            .env("LODE_CRASH_NOW", now.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut recorded = next;
        let mut note = |line: std::io::Result<String>| {
            if let Some(n) = line.unwrap_or_default().strip_prefix("recorded ").and_then(|n| n.parse().ok()) {
                recorded = n;
            }
        };
        for _ in 0..2 + random.below(40) {
            note(lines.next().expect("the child goes on until it is killed"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(note);

        let (ledger, _) = Ledger::open(options(dir.path()), now).unwrap();
        let mut shares = BTreeMap::new();
        let mut last_time = 0;
        log::read(dir.path(), |record| {
            let n = record.credit.to_units() - 1;
            assert_eq!(record.account.name, format!("miner{}", n % MINERS), "share {n} belongs to another");
            assert!(record.time_ms >= last_time);
            last_time = record.time_ms;
            assert_eq!(record.sequence, n, "a share is missing before {n}, or was counted twice");
            assert!(shares.insert(n, record.time_ms).is_none());
        })
        .unwrap();
        let last = shares.keys().next_back().map_or(next, |n| n + 1);
        assert!(last >= recorded, "round {round}: {recorded} were recorded, the log ends with {last}");
        // The window is what the log says it is.
        let slice = HOUR_MS / lode_ledger::SLICES;
        let inside = shares.iter().filter(|(_, time)| **time / slice + lode_ledger::SLICES > now / slice);
        let units: u128 = inside.map(|(n, _)| u128::from(*n) + 1).sum();
        assert_eq!(ledger.window_total().units, units, "round {round}");
        assert_eq!(ledger.sequence(), last);
        next = last;
    }
    assert!(next > rounds * 20, "shares did pour in: {next}");
}
