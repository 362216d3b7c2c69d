//! Speed of the books: shares recorded a second, and a template's split among many accounts.
//!
//! `cargo bench -p lode-ledger`. Recording is measured with the syncing thread at work, as in the pool.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lode_ledger::{Ledger, LedgerOptions, Limits, Payees};
use lode_primitives::{Amount, BlockHash};

fn record(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(LedgerOptions::new(dir.path(), "bench"), common::NOW).unwrap();
    let miners: Vec<_> = (0..10_000).map(|n| common::miner(&mut ledger, n)).collect();
    let work = common::template(1, BlockHash::ZERO);
    let mut group = criterion.benchmark_group("record");
    for batch in [1usize, 16, 256, 4_096] {
        let shares: Vec<_> = (0..batch)
            .map(|i| common::share(&miners[i * 7 % miners.len()], &work, 1 << 32, common::NOW))
            .collect();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("batch of {batch}"), |bencher| {
            bencher.iter(|| ledger.record(&shares).unwrap());
        });
    }
    group.finish();
}

fn split(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for accounts in [100u32, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, _) = Ledger::open(common::options(dir.path()), common::NOW).unwrap();
        let work = common::template(1, BlockHash::ZERO);
        let shares: Vec<_> = (0..accounts)
            .map(|n| common::share(&common::miner(&mut ledger, n), &work, 1 << (20 + n % 20), common::NOW))
            .collect();
        ledger.record(&shares).unwrap();
        let reward = Amount::from_coins(3);
        group.bench_function(format!("{accounts} accounts"), |bencher| {
            bencher.iter(|| ledger.split(&work, reward, &Payees::Window, common::NOW).unwrap());
        });
        let split = ledger.split(&work, reward, &Payees::Window, common::NOW).unwrap();
        group.bench_function(format!("{accounts} accounts, 65 outputs chosen"), |bencher| {
            let limits = Limits { outputs: 65, bytes: 2_100, ..Limits::NONE };
            bencher.iter_batched(|| split.clone(), |split| split.snapshot(limits), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, record, split);
criterion_main!(benches);
