//! Times of the prime chain's check, and of one Fermat test against num-bigint's.
//!
//! `cargo bench -p lode-pow --bench prime`

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use lode_pow::{ChainLength, Origin, check_prime_chain};
use lode_primitives::Multiplier;
use num_bigint::BigUint;

/// Block 396834 of Primecoin's main network: a chain of ten, 335 bits.
const TEN: (&str, &str, u32) = (
    "02000000d2f4e88084f2b0d0376b0fa38bbdf63fdcc8841e1a4fe391a05f2bbe04333f224ea945fc9ec2d64437d7869d37ede271d1ab706e08a72c09f47f9857e3c572b0dda7f75268756a0ad7ba0100",
    "33d37ba73bbc5072dbe900",
    0x0a6a_7568,
);

fn checks(criterion: &mut Criterion) {
    let header: [u8; 80] = hex::decode(TEN.0).unwrap().try_into().unwrap();
    let multiplier = Multiplier::from_signed_le(&hex::decode(TEN.1).unwrap()).unwrap();
    let mut group = criterion.benchmark_group("prime/check");
    group.bench_function("length 10, 335 bits", |bencher| {
        bencher.iter(|| check_prime_chain(black_box(&header), &multiplier, ChainLength(TEN.2), 6).unwrap());
    });
    group.finish();
}

/// Both tests of an origin's two first neighbours, at several widths; num-bigint does the same two modular powers.
fn widths(criterion: &mut Criterion) {
    let header: [u8; 80] = hex::decode(TEN.0).unwrap().try_into().unwrap();
    let mut group = criterion.benchmark_group("prime/two tests");
    for bits in [272u32, 336, 512] {
        // A multiplier without a chain: both neighbours fail, so two numbers are tested.
        let multiplier =
            Multiplier::from_le_magnitude(&[&vec![0x55; (bits as usize - 256) / 8][..]].concat());
        let origin = Origin::new(&header, &multiplier).unwrap();
        assert_eq!(origin.lengths().longest().length.primes(), 0);
        group.bench_function(format!("lode, {bits} bits"), |bencher| {
            bencher.iter(|| black_box(&origin).lengths());
        });
        let n = (BigUint::from(1u8) << bits) - 0x1235u32;
        group.bench_function(format!("num-bigint, {bits} bits"), |bencher| {
            bencher.iter(|| {
                for below in [1u32, 3] {
                    let n = black_box(&n) + below - 1u32;
                    black_box(BigUint::from(2u8).modpow(&(&n - 1u32), &n));
                }
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = checks, widths
}
criterion_main!(benches);
