//! One test of a prime candidate, and the tests that the check of a chain of ten takes, at three sizes: Lode's, num-bigint's,
//! GMP's, in one run. The least time of many rounds counts, so that what else the machine does matters little.

use std::hint::black_box;
use std::time::Instant;

use lode_pow::bench::Candidates;
use num_bigint::BigUint;
use rug::Integer;
use rug::integer::Order;

const ROUNDS: u32 = 2_000;
/// Numbers tested at once.
const BATCH: u32 = 8;
/// Members of a chain of ten, and the first number that is none on either side.
const CHECK: u32 = 12;

/// Microseconds of a run, at best.
fn least(run: impl Fn() -> u32) -> f64 {
    let times = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        black_box(run());
        began.elapsed().as_secs_f64() * 1e6
    });
    times.fold(f64::INFINITY, f64::min)
}

/// The same odd numbers for all three.
struct Numbers {
    lode: Candidates,
    bigint: Vec<BigUint>,
    gmp: Vec<Integer>,
}

impl Numbers {
    fn new(bits: u32, count: u32) -> Self {
        let bigint: Vec<BigUint> =
            (0..count).map(|i| (BigUint::from(1u8) << bits) - 0x1235u32 - 2 * i).collect();
        let bytes: Vec<Vec<u8>> = bigint.iter().map(BigUint::to_bytes_le).collect();
        let gmp = bytes.iter().map(|n| Integer::from_digits(n, Order::Lsf)).collect();
        Self { lode: Candidates::new(bytes.iter().map(Vec::as_slice)), bigint, gmp }
    }

    /// How many pass Fermat's test.
    fn by_bigint(&self) -> u32 {
        let one = BigUint::from(1u8);
        let passes = |n: &&BigUint| BigUint::from(2u8).modpow(&(*n - 1u8), n) == one;
        self.bigint.iter().filter(passes).count() as u32
    }

    fn by_gmp(&self) -> u32 {
        let passes =
            |n: &&Integer| Integer::from(2).pow_mod(&Integer::from(*n - 1), n).is_ok_and(|power| power == 1);
        self.gmp.iter().filter(passes).count() as u32
    }
}

fn main() {
    println!("microseconds                    lode   one by one   num-bigint      GMP   GMP / lode");
    for bits in [272, 336, 512] {
        let numbers = Numbers::new(bits, BATCH);
        // All say the same of each number before they are timed.
        let passing = numbers.by_gmp();
        let others = (numbers.lode.pass_fermat(), numbers.lode.pass_fermat_singly(), numbers.by_bigint());
        assert_eq!(others, (passing, passing, passing));
        let each = |time: f64| time / f64::from(BATCH);
        row(
            &format!("one test, {bits} bits"),
            each(least(|| black_box(&numbers).lode.pass_fermat())),
            Some(each(least(|| black_box(&numbers).lode.pass_fermat_singly()))),
            each(least(|| black_box(&numbers).by_bigint())),
            each(least(|| black_box(&numbers).by_gmp())),
        );
    }
    for bits in [272, 336, 512] {
        let numbers = Numbers::new(bits, CHECK);
        row(
            &format!("check of ten, {bits} bits"),
            least(|| black_box(&numbers).lode.pass_both()),
            None,
            least(|| black_box(&numbers).by_bigint()),
            least(|| black_box(&numbers).by_gmp()),
        );
    }
}

fn row(what: &str, lode: f64, singly: Option<f64>, bigint: f64, gmp: f64) {
    let singly = singly.map_or(String::new(), |time| format!("{time:.1}"));
    println!("{what:<25} {lode:>10.1} {singly:>12} {bigint:>12.1} {gmp:>8.1} {:>12.1}", gmp / lode);
}
