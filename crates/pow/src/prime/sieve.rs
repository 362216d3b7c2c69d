//! The sieve: of many multipliers of one header, those whose chains have no small factor. Used by [`super::search`].

use super::member::batches_are_fast;
use super::number::Number;

/// Multipliers looked at in one sieve. The four bit sets take 128 KiB together and stay in a core's second cache.
pub(super) const SIEVE_SIZE: usize = 1 << 18;
/// Primes below this are sieved with, at most: see [`depth`].
const PRIME_MAX: usize = 1 << 16;
/// Marks of primes below this repeat soon enough to be copied in whole words.
const PATTERN_MAX: usize = 512;
/// Primes between two looks at whether to stop.
const PRIMES_PER_LOOK: usize = 256;

/// Which chains of a multiplier may be free of small factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hopes {
    pub(super) cunningham1: bool,
    pub(super) cunningham2: bool,
    pub(super) bi_twin: bool,
}

/// The sets of marks: of `fixed t 2^k - 1` for the k that a bi-twin chain needs, and for the others; the same of
/// `fixed t 2^k + 1`.
const BELOW: usize = 0;
const BELOW_MORE: usize = 1;
const ABOVE: usize = 2;
const ABOVE_MORE: usize = 3;

/// Marks for origins `fixed * t`, t from 1 to [`SIEVE_SIZE`] - 1. Reused from header to header.
pub(super) struct Sieve {
    primes: Vec<u32>,
    /// One bit for each t, set where a number of its chains has a small factor.
    marks: [Vec<u64>; 4],
    /// One prime's marks, up to where they repeat.
    patterns: [Vec<u64>; 4],
}

impl Sieve {
    pub(super) fn new() -> Self {
        let empty = |words: usize| std::array::from_fn(|_| vec![0; words]);
        let primes = odd_primes_below(PRIME_MAX);
        Self { primes, marks: empty(SIEVE_SIZE / 64), patterns: empty(PATTERN_MAX) }
    }

    /// Sieves for chains of `length` primes. False where `stop` became true before it was done.
    pub(super) fn sieve(&mut self, fixed: &Number, length: u32, stop: impl Fn() -> bool) -> bool {
        self.marks.iter_mut().for_each(|marks| marks.fill(0));
        let used = self.primes.partition_point(|&prime| prime < depth(length));
        for primes in self.primes[..used].chunks(PRIMES_PER_LOOK) {
            if stop() {
                return false;
            }
            for &prime in primes {
                let rest = remainder(fixed, prime);
                // A prime that divides the fixed part divides no member of any chain.
                if rest == 0 {
                    continue;
                }
                let words = prime as usize;
                if words >= PATTERN_MAX {
                    mark_chains(self.marks.each_mut().map(Vec::as_mut_slice), rest, prime, length);
                    continue;
                }
                // After as many words as the prime has units its marks begin anew.
                let patterns = self.patterns.each_mut().map(|pattern| {
                    pattern[..words].fill(0);
                    &mut pattern[..words]
                });
                mark_chains(patterns, rest, prime, length);
                for (marks, pattern) in self.marks.iter_mut().zip(&self.patterns) {
                    for part in marks.chunks_mut(words) {
                        part.iter_mut().zip(pattern).for_each(|(marks, pattern)| *marks |= pattern);
                    }
                }
            }
        }
        true
    }

    /// The multipliers left over, with what may be hoped for.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (u32, Hopes)> {
        (0..SIEVE_SIZE / 64).flat_map(move |i| {
            let [below, below_more, above, above_more] = self.marks.each_ref().map(|marks| marks[i]);
            let cunningham1 = !(below | below_more);
            let cunningham2 = !(above | above_more);
            let bi_twin = !(below | above);
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

/// Primes below this are sieved with for chains of so many: further ones take longer to sieve with than they save in tests.
/// Of long chains fewer candidates are left, so each prime saves less; and it saves less where tests are fast. Measured
/// there: twice or half of it makes little difference.
fn depth(length: u32) -> u32 {
    let shallower = length.saturating_sub(if batches_are_fast() { 5 } else { 7 }).min(5);
    PRIME_MAX as u32 >> shallower
}

/// Marks what `prime` divides, from t = 0 to the end of the sets. `rest` is the fixed part modulo the prime.
fn mark_chains(sets: [&mut [u64]; 4], rest: u32, prime: u32, length: u32) {
    // A bi-twin chain of `length` has one more of the first kind where `length` is odd.
    let (twins_below, twins_above) = (length.div_ceil(2), length / 2);
    // fixed t 2^k = 1 (mod p) has the solution t = 1 / (fixed 2^k), and -1 its negative.
    let mut t = inverse(rest, prime);
    for k in 0..length {
        mark(sets[if k < twins_below { BELOW } else { BELOW_MORE }], t, prime);
        mark(sets[if k < twins_above { ABOVE } else { ABOVE_MORE }], prime - t, prime);
        t = if t & 1 == 0 { t / 2 } else { (t + prime) / 2 };
    }
}

#[inline]
fn mark(marks: &mut [u64], first: u32, step: u32) {
    let mut at = first as usize;
    while at < 64 * marks.len() {
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
        // The first, and the last: marks of small primes are copied all the way.
        let end = SIEVE_SIZE as u32;
        for t in (1..300).chain(end - 300..end) {
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
