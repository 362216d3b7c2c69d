//! Chains of primes: one candidate's test, one chain's check, the search. num-bigint does the same beside it; GMP's place is
//! `benches/gmp`, outside the workspace.
//!
//! `cargo bench -p lode-pow --bench prime`

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lode_pow::bench::Candidates;
use lode_pow::{ChainLength, PrimeSearcher, check_prime_chain};
use lode_primitives::Multiplier;
use num_bigint::BigUint;

/// Block 396834 of Primecoin's main network: a chain of ten, 335 bits.
const TEN: (&str, &str, u32) = (
    "02000000d2f4e88084f2b0d0376b0fa38bbdf63fdcc8841e1a4fe391a05f2bbe04333f224ea945fc9ec2d64437d7869d37ede271d1ab706e08a72c09f47f9857e3c572b0dda7f75268756a0ad7ba0100",
    "33d37ba73bbc5072dbe900",
    0x0a6a_7568,
);
/// A header's hash alone, the chains of today, and the longest for which there is fast code.
const SIZES: [u32; 3] = [272, 336, 512];
/// What the check of a chain of ten tests: ten members, and the first that is none on either side.
const CHECK: usize = 12;

fn header() -> [u8; 80] {
    hex::decode(TEN.0).unwrap().try_into().unwrap()
}

/// So many odd numbers of so many bits.
fn numbers(bits: u32, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| ((BigUint::from(1u8) << bits) - 0x1235u32 - 2 * i).to_bytes_le()).collect()
}

fn one_test(criterion: &mut Criterion) {
    for bits in SIZES {
        let mut group = criterion.benchmark_group(format!("prime/one test, {bits} bits"));
        let bytes = numbers(bits, 8);
        let candidates = Candidates::new(bytes.iter().map(Vec::as_slice));
        group.throughput(Throughput::Elements(8));
        group.bench_function("lode, eight at once", |bencher| {
            bencher.iter(|| black_box(&candidates).pass_fermat());
        });
        group.bench_function("lode, singly", |bencher| {
            bencher.iter(|| black_box(&candidates).pass_fermat_singly());
        });
        group.throughput(Throughput::Elements(1));
        let n = BigUint::from_bytes_le(&bytes[0]);
        group.bench_function("num-bigint", |bencher| {
            bencher.iter(|| BigUint::from(2u8).modpow(&(black_box(&n) - 1u8), &n));
        });
        group.finish();
    }
}

fn one_check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prime/check of a chain of ten");
    let (header, multiplier) = (header(), Multiplier::from_signed_le(&hex::decode(TEN.1).unwrap()).unwrap());
    group.bench_function("a block of 335 bits", |bencher| {
        bencher.iter(|| check_prime_chain(black_box(&header), &multiplier, ChainLength(TEN.2), 6).unwrap());
    });
    // Nobody has found such chains at the other sizes: as many numbers are tested as one has members.
    for bits in SIZES {
        let bytes = numbers(bits, CHECK);
        let candidates = Candidates::new(bytes.iter().map(Vec::as_slice));
        group.bench_function(format!("its tests at {bits} bits"), |bencher| {
            bencher.iter(|| black_box(&candidates).pass_both());
        });
        let n = BigUint::from_bytes_le(&bytes[0]);
        group.bench_function(format!("num-bigint, its tests at {bits} bits"), |bencher| {
            bencher.iter(|| {
                for _ in 0..CHECK {
                    black_box(BigUint::from(2u8).modpow(&(black_box(&n) >> 1u8), &n));
                }
            });
        });
    }
    group.finish();
}

/// Not criterion's way of timing: what counts is how many tests a second come out of a search, sieve and all.
fn search(_: &mut Criterion) {
    for primes in [5, 7, 10] {
        let (length, stop) = (ChainLength::whole(primes), AtomicBool::new(false));
        let mut found = 0;
        let began = Instant::now();
        let progress = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(4));
                stop.store(true, Ordering::Relaxed);
            });
            let told = ChainLength::whole(primes.min(5));
            PrimeSearcher::new().search(&header(), (length, told), 0..1 << 32, &stop, |_| found += 1)
        });
        let a_second = |count: u64| count as f64 / began.elapsed().as_secs_f64();
        println!(
            "prime/search for {primes} primes: {:.0} tests a second, {:.3} chains of five and more, {:.0} nonces",
            a_second(progress.tests),
            a_second(found),
            a_second(progress.nonces)
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = one_test, one_check, search
}
criterion_main!(benches);
