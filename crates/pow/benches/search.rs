//! Hashes a second of every search kernel this processor can run, and the time of a single check.
//!
//! `cargo bench -p lode-pow --bench search`; the portable kernel is the yardstick for ratios.

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use lode_pow::{Scrypt, ScryptKernel, Searcher, Sha256dKernel, scrypt_1024_1_1, sha256d_80};
use lode_primitives::{Target, U256};

fn search(group: &mut BenchmarkGroup<'_, WallTime>, mut searcher: Searcher, nonces: u64) {
    let never = AtomicBool::new(false);
    group.throughput(Throughput::Elements(nonces)).bench_function(searcher.kernel_name(), |bencher| {
        // No hash is below target zero.
        bencher
            .iter(|| searcher.search(black_box(&[0x5a; 80]), Target(U256::ZERO), 0..nonces, &never, |_| ()));
    });
}

fn searches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search/sha256d");
    for searcher in Sha256dKernel::ALL.into_iter().filter_map(Searcher::sha256d) {
        search(&mut group, searcher, 1 << 18);
    }
    group.finish();
    let mut group = criterion.benchmark_group("search/scrypt");
    for searcher in ScryptKernel::ALL.into_iter().filter_map(Searcher::scrypt) {
        search(&mut group, searcher, 96);
    }
    group.finish();
}

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check");
    group.bench_function("sha256d/one", |bencher| bencher.iter(|| sha256d_80(black_box(&[0x5a; 80]))));
    group.bench_function("scrypt/one", |bencher| bencher.iter(|| scrypt_1024_1_1(black_box(&[0x5a; 80]))));
    let mut scrypt = Scrypt::new();
    let headers = [[0x5a; 80]; 16];
    group.throughput(Throughput::Elements(16)).bench_function("scrypt/sixteen", |bencher| {
        bencher.iter(|| scrypt.hash_each(black_box(&headers), |_, hash| _ = black_box(hash)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = searches, checks
}
criterion_main!(benches);
