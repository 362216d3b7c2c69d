//! The sieve: of many multipliers of one header, those whose chains have no small factor. Used by [`super::search`].

use super::number::Number;

/// Multipliers looked at in one sieve. The four bit sets take 128 KiB together and stay in a core's second cache.
pub(super) const SIEVE_SIZE: usize = 1 << 18;
/// Primes below this are sieved with: further ones take longer to sieve with than they save in tests.
const PRIME_MAX: usize = 1 << 16;
/// Primes between two looks at whether to stop.
const PRIMES_PER_LOOK: usize = 256;

/// Which chains of a multiplier may be free of small factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hopes {
    pub(super) cunningham1: bool,
    pub(super) cunningham2: bool,
    pub(super) bi_twin: bool,
}

/// Marks for origins `fixed * t`, t from 1 to [`SIEVE_SIZE`] - 1. Reused from header to header.
pub(super) struct Sieve {
    primes: Vec<u32>,
    /// Marks of `fixed t 2^k - 1`: of the k that a bi-twin chain needs, and of the others.
    below: [Vec<u64>; 2],
    /// The same of `fixed t 2^k + 1`.
    above: [Vec<u64>; 2],
}

impl Sieve {
    pub(super) fn new() -> Self {
        let marks = || [vec![0; SIEVE_SIZE / 64], vec![0; SIEVE_SIZE / 64]];
        Self { primes: odd_primes_below(PRIME_MAX), below: marks(), above: marks() }
    }

    /// Sieves for chains of `length` primes. False where `stop` became true before it was done.
    pub(super) fn sieve(&mut self, fixed: &Number, length: u32, stop: impl Fn() -> bool) -> bool {
        for marks in self.below.iter_mut().chain(&mut self.above) {
            marks.fill(0);
        }
        // A bi-twin chain of `length` has one more of the first kind where `length` is odd.
        let (twins_below, twins_above) = (length.div_ceil(2), length / 2);
        for primes in self.primes.chunks(PRIMES_PER_LOOK) {
            if stop() {
                return false;
            }
            for &prime in primes {
                let rest = remainder(fixed, prime);
                // A prime that divides the fixed part divides no member of any chain.
                if rest == 0 {
                    continue;
                }
                // fixed t 2^k = 1 (mod p) has the solution t = 1 / (fixed 2^k), and -1 its negative.
                let mut t = inverse(rest, prime);
                for k in 0..length {
                    mark(&mut self.below[usize::from(k >= twins_below)], t, prime);
                    mark(&mut self.above[usize::from(k >= twins_above)], prime - t, prime);
                    t = if t & 1 == 0 { t / 2 } else { (t + prime) / 2 };
                }
            }
        }
        true
    }

    /// The multipliers left over, with what may be hoped for.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (u32, Hopes)> {
        (0..SIEVE_SIZE / 64).flat_map(move |i| {
            let cunningham1 = !(self.below[0][i] | self.below[1][i]);
            let cunningham2 = !(self.above[0][i] | self.above[1][i]);
            let bi_twin = !(self.below[0][i] | self.above[0][i]);
            let mut left = cunningham1 | cunningham2 | bi_twin;
            if i == 0 {
                // Zero is no multiplier.
                left &= !1;
            }
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                let has = |set: u64| set >> bit & 1 == 1;
                let hopes = Hopes {
                    cunningham1: has(cunningham1),
                    cunningham2: has(cunningham2),
                    bi_twin: has(bi_twin),
                };
                Some((64 * i as u32 + bit, hopes))
            })
        })
    }
}

#[inline]
fn mark(marks: &mut [u64], first: u32, step: u32) {
    let mut at = first as usize;
    while at < SIEVE_SIZE {
        marks[at / 64] |= 1 << (at % 64);
        at += step as usize;
    }
}

/// `number` modulo a prime of at most 32 bits.
fn remainder(number: &Number, prime: u32) -> u32 {
    let prime = u64::from(prime);
    let used = number.bits().div_ceil(64) as usize;
    number.0[..used].iter().rev().fold(0u64, |rest, &limb| {
        let rest = (rest << 32 | limb >> 32) % prime;
        (rest << 32 | limb & 0xffff_ffff) % prime
    }) as u32
}

/// The inverse of `value` modulo a prime that does not divide it, by Euclid's algorithm.
fn inverse(value: u32, prime: u32) -> u32 {
    let (mut r0, mut r1) = (prime, value);
    let (mut t0, mut t1) = (0i64, 1i64);
    while r1 != 0 {
        let quotient = r0 / r1;
        (r0, r1) = (r1, r0 - quotient * r1);
        (t0, t1) = (t1, t0 - i64::from(quotient) * t1);
    }
    t0.rem_euclid(i64::from(prime)) as u32
}

/// The primes from 3 to below `max`, by Eratosthenes.
fn odd_primes_below(max: usize) -> Vec<u32> {
    let mut composite = vec![false; max];
    let mut primes = Vec::new();
    for n in (3..max).step_by(2) {
        if !composite[n] {
            primes.push(n as u32);
            for multiple in (n * n..max).step_by(n) {
                composite[multiple] = true;
            }
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_and_inverses() {
        let primes = odd_primes_below(PRIME_MAX);
        assert_eq!(primes[..5], [3, 5, 7, 11, 13]);
        assert_eq!((primes.len(), primes.last()), (6541, Some(&65_521)));
        for &prime in &primes[..200] {
            for value in 1..prime.min(50) {
                assert_eq!(u64::from(value) * u64::from(inverse(value, prime)) % u64::from(prime), 1);
            }
        }
    }

    #[test]
    fn what_is_left_has_no_small_factor_and_nothing_else_is_lost() {
        let fixed = Number::from_le_bytes(&[0x5b; 33])
            .and_then(|n| n.times(&Number::from_le_bytes(&[210]).unwrap()))
            .unwrap();
        let mut sieve = Sieve::new();
        let length = 3;
        assert!(sieve.sieve(&fixed, length, || false));
        let left: std::collections::HashMap<u32, Hopes> = sieve.candidates().collect();
        let primes = odd_primes_below(PRIME_MAX);
        let small_factor = |n: &Number| primes.iter().any(|&prime| remainder(n, prime) == 0);
        for t in 1..400u32 {
            let origin = fixed.times(&Number::from_le_bytes(&t.to_le_bytes()).unwrap()).unwrap();
            let clean = |above: bool, count: u32| {
                (0..count).all(|k| {
                    let centre = origin.shifted_left(k).unwrap();
                    !small_factor(&if above { centre.plus(1) } else { centre.minus(1) }.unwrap())
                })
            };
            let hopes = Hopes {
                cunningham1: clean(false, 3),
                cunningham2: clean(true, 3),
                bi_twin: clean(false, 2) && clean(true, 1),
            };
            let any = hopes.cunningham1 || hopes.cunningham2 || hopes.bi_twin;
            assert_eq!(left.get(&t), any.then_some(&hopes), "{t}");
        }
    }

    #[test]
    fn a_stop_is_heeded() {
        let fixed = Number::from_le_bytes(&[0x5b; 33]).unwrap();
        assert!(!Sieve::new().sieve(&fixed, 3, || true));
    }
}
