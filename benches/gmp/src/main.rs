//! One test of a prime candidate at three sizes: Lode's, num-bigint's, GMP's, in one run. The least time of many rounds
//! counts, so that what else the machine does matters little.

use std::hint::black_box;
use std::time::Instant;

use lode_pow::bench::Candidates;
use num_bigint::BigUint;
use rug::Integer;
use rug::integer::Order;

/// Rounds of eight tests each.
const ROUNDS: u32 = 2_000;

/// Microseconds of one of the eight that `run` does, at best.
fn least(mut run: impl FnMut()) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        run();
        began.elapsed().as_secs_f64() * 1e6 / 8.0
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("microseconds for one test      lode, 8 at once   lode, singly   num-bigint      GMP   GMP / lode");
    for bits in [272u32, 336, 512] {
        let numbers: Vec<BigUint> =
            (0..8u32).map(|i| (BigUint::from(1u8) << bits) - 0x1235u32 - 2 * i).collect();
        let bytes: Vec<Vec<u8>> = numbers.iter().map(BigUint::to_bytes_le).collect();
        let candidates = Candidates::new(bytes.iter().map(Vec::as_slice));
        let gmp: Vec<Integer> = bytes.iter().map(|n| Integer::from_digits(n, Order::Lsf)).collect();
        let two = Integer::from(2);
        // All three say the same of each number before they are timed.
        let passes = |n: &Integer| two.clone().pow_mod(&Integer::from(n - 1), n).is_ok_and(|power| power == 1);
        let passing = gmp.iter().filter(|n| passes(n)).count() as u32;
        assert_eq!((candidates.pass_fermat(), candidates.pass_fermat_singly()), (passing, passing));

        let at_once = least(|| {
            black_box(black_box(&candidates).pass_fermat());
        });
        let singly = least(|| {
            black_box(black_box(&candidates).pass_fermat_singly());
        });
        let bigint = least(|| {
            for n in &numbers {
                black_box(BigUint::from(2u8).modpow(&(black_box(n) - 1u8), n));
            }
        });
        let by_gmp = least(|| {
            for n in &gmp {
                black_box(passes(black_box(n)));
            }
        });
        println!(
            "{bits:>4} bits                        {at_once:>15.2} {singly:>14.2} {bigint:>12.2} {by_gmp:>8.2} {:>12.1}",
            by_gmp / at_once
        );
    }
}
