//! The search for prime chains: nonces whose hash has small factors, a sieve over multipliers of each, tests of what is
//! left. Called by the miner, one [`PrimeSearcher`] per thread.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use lode_primitives::Multiplier;

use super::check::{Origin, PrimeChain, PrimeChainError};
use super::length::{ChainKind, ChainLength};
use super::member::{BATCH, batch_passes_fermat};
use super::number::Number;
use super::sieve::{Hopes, SIEVE_SIZE, Sieve};
use crate::sha256d::{Prepared, block::Compressor};

/// What the hash of a nonce worth sieving is divisible by: primes that divide the origin divide no member of its chains.
const HASH_FACTOR: u64 = 2 * 3 * 5 * 7;
/// The next primes, put into every multiplier: ever more of them for longer chains.
const MULTIPLIER_PRIMES: [u64; 6] = [11, 13, 17, 19, 23, 29];
/// Nonces hashed between two looks at the stop flag.
const NONCES_PER_LOOK: u64 = 1024;

/// A multiplier that makes a chain of the length asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimeFound {
    /// The nonce as a number; in the header it is little-endian at bytes 76 to 80.
    pub nonce: u32,
    /// The multiplier, normalised.
    pub multiplier: Multiplier,
    /// The chain.
    pub chain: PrimeChain,
}

/// How far a search came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrimeProgress {
    /// Nonces done: a search that was stopped continues at the range's start plus that.
    pub nonces: u64,
    /// Numbers tested for being prime: what prime miners count as others count hashes.
    pub tests: u64,
}

/// Searches for prime chains. Holds its sieve (160 KiB): keep it, one per thread.
pub struct PrimeSearcher {
    sieve: Sieve,
}

impl Default for PrimeSearcher {
    fn default() -> Self {
        Self::new()
    }
}

impl PrimeSearcher {
    /// With an empty sieve.
    pub fn new() -> Self {
        Self { sieve: Sieve::new() }
    }

    /// Tries the `nonces` (those below 2^32) of `header` in order and gives each multiplier whose longest chain is at
    /// least `target` to `found`. The nonce in the header does not matter. Ends early, within milliseconds, once
    /// `stop` is true; the nonce it was at then counts as done.
    ///
    /// `aim` is what the search is for (a block's length), `target` what is told on the way to it (a pool's shares): where
    /// it is shorter, chains that end before the aim are told too, but the sieve is the aim's all the same.
    ///
    /// One nonce in 420 is worth sieving; each gives 2^18 multipliers.
    pub fn search(
        &mut self,
        header: &[u8; 80],
        (aim, target): (ChainLength, ChainLength),
        nonces: Range<u64>,
        stop: &AtomicBool,
        mut found: impl FnMut(PrimeFound),
    ) -> PrimeProgress {
        let mut progress = PrimeProgress::default();
        let job = Prepared::new(header);
        let mut header = *header;
        for nonce in nonces.start..nonces.end.min(1 << 32) {
            if progress.nonces % NONCES_PER_LOOK == 0 && stop.load(Ordering::Relaxed) {
                break;
            }
            progress.nonces += 1;
            let nonce = nonce as u32;
            let hash = job.hash(Compressor::best(), nonce);
            if !worth_sieving(&hash) {
                continue;
            }
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            progress.tests += self.search_nonce(&header, &hash, (aim, target), stop, |multiplier, chain| {
                found(PrimeFound { nonce, multiplier, chain });
            });
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        progress
    }

    /// Sieves and tests the multipliers of one header; returns the tests made.
    fn search_nonce(
        &mut self,
        header: &[u8; 80],
        hash: &[u8; 32],
        (aim, target): (ChainLength, ChainLength),
        stop: &AtomicBool,
        mut found: impl FnMut(Multiplier, PrimeChain),
    ) -> u64 {
        let stopped = || stop.load(Ordering::Relaxed);
        let length = sieve_length(aim.max(target));
        let told = target.primes().clamp(1, length);
        // Enough factors for the length, and not more bits than it is worth.
        let factors = (length as usize).saturating_sub(2).min(MULTIPLIER_PRIMES.len());
        let factor: u64 = MULTIPLIER_PRIMES[..factors].iter().product();
        let Some(hash) = Number::from_le_bytes(hash) else { return 0 };
        let Some(fixed) = hash.times(&Number::from(factor)) else { return 0 };
        if !self.sieve.sieve(&fixed, length, stopped) {
            return 0;
        }
        let mut tests = 0;
        let mut candidates = self.sieve.candidates();
        // Chains begun: the last one is gone on with first, so there are never many.
        let mut begun: Vec<Attempt> = Vec::new();
        // Runs of primes told, by the odd part of their multiplier, which all members of a run share: one may be met as
        // chains of two kinds and under twice its multiplier. A handful for each header.
        let mut runs: Vec<u64> = Vec::new();
        // At most 2^18 times 30 bits.
        let mut tell = |multiplier: u32| {
            let multiplier = factor * u64::from(multiplier);
            let run = multiplier >> multiplier.trailing_zeros();
            if !runs.contains(&run)
                && let Some((multiplier, chain)) = settle(header, multiplier, target)
            {
                runs.push(run);
                found(multiplier, chain);
            }
        };
        while !stopped() {
            while begun.len() < BATCH {
                let Some((t, hopes)) = candidates.next() else { break };
                begun.extend(Attempt::begin(t, hopes));
            }
            if begun.is_empty() {
                break;
            }
            let batch = begun.split_off(begun.len().saturating_sub(BATCH));
            // An origin here has at most 256 + 30 + 18 bits, doubled a few times.
            let numbers: Vec<Number> =
                batch.iter().map(|attempt| attempt.number(&fixed).expect("far below 2048 bits")).collect();
            tests += numbers.len() as u64;
            let passed = batch_passes_fermat(&numbers);
            for (i, attempt) in batch.into_iter().enumerate() {
                if passed >> i & 1 == 0 {
                    // Ended before the aim, but long enough to be told.
                    if attempt.index >= told {
                        tell(attempt.multiplier);
                    }
                    continue;
                }
                for next in attempt.next() {
                    if next.index < length {
                        begun.push(next);
                    } else {
                        tell(next.multiplier);
                    }
                }
            }
        }
        tests
    }
}

/// A chain on the way: its numbers before `index` are prime.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    multiplier: u32,
    kind: ChainKind,
    index: u32,
    /// Its first number is that of a bi-twin chain too, which is to be tried as well.
    bi_twin_too: bool,
}

impl Attempt {
    /// The attempts that a multiplier is worth.
    fn begin(multiplier: u32, hopes: Hopes) -> impl Iterator<Item = Self> {
        let attempt = |kind, bi_twin_too| Self { multiplier, kind, index: 0, bi_twin_too };
        let first = if hopes.cunningham1 {
            Some(attempt(ChainKind::Cunningham1, hopes.bi_twin))
        } else {
            hopes.bi_twin.then(|| attempt(ChainKind::BiTwin, false))
        };
        let second = hopes.cunningham2.then(|| attempt(ChainKind::Cunningham2, false));
        first.into_iter().chain(second)
    }

    /// The number to test next.
    fn number(&self, fixed: &Number) -> Option<Number> {
        let (k, above) = match self.kind {
            ChainKind::Cunningham1 => (self.index, false),
            ChainKind::Cunningham2 => (self.index, true),
            ChainKind::BiTwin => (self.index / 2, self.index % 2 == 1),
        };
        let centre = fixed.times(&Number::from(u64::from(self.multiplier)))?.shifted_left(k)?;
        if above { centre.plus(1) } else { centre.minus(1) }
    }

    /// What to go on with after its number passed.
    fn next(self) -> impl Iterator<Item = Self> {
        let next = Self { index: self.index + 1, bi_twin_too: false, ..self };
        let bi_twin = self.bi_twin_too.then_some(Self { kind: ChainKind::BiTwin, ..next });
        std::iter::once(next).chain(bi_twin)
    }
}

const _: () = assert!(SIEVE_SIZE <= 1 << 18, "a multiplier must stay within 64 bits");

/// The fraction of a length from which on one prime more is aimed at: by then most blocks come from there.
const AIM_HIGHER: u32 = 0xf0_0000;

/// The primes to sieve for.
fn sieve_length(aim: ChainLength) -> u32 {
    (aim.primes() + u32::from(aim.fraction() >= AIM_HIGHER)).max(1)
}

/// A hash that a block may have (at least 2^255), with the small factors that make chains likelier.
fn worth_sieving(hash: &[u8; 32]) -> bool {
    // Cheapest first.
    hash[31] & 0x80 != 0
        && hash[0] & 1 == 0
        && hash.iter().rev().fold(0, |rest, &byte| (rest << 8 | u64::from(byte)) % HASH_FACTOR) == 0
}

/// The exact check of a multiplier, halved as long as that makes its chain longer.
fn settle(header: &[u8; 80], mut multiplier: u64, target: ChainLength) -> Option<(Multiplier, PrimeChain)> {
    loop {
        let encoded = Multiplier::from_le_magnitude(&multiplier.to_le_bytes());
        match Origin::new(header, &encoded).and_then(|origin| origin.check(target)) {
            Ok(chain) => return Some((encoded, chain)),
            Err(PrimeChainError::NotNormalized { .. }) => multiplier /= 2,
            // As long as asked for in whole primes, but not in its fraction.
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_prime_chain;

    #[test]
    fn finds_chains_that_the_check_accepts() {
        let header: [u8; 80] = std::array::from_fn(|i| i as u8);
        let mut searcher = PrimeSearcher::new();
        for target in [ChainLength(0x0100_0000), ChainLength(0x0280_0000), ChainLength(0x0300_0000)] {
            let stop = AtomicBool::new(false);
            let mut all = Vec::new();
            let progress = searcher.search(&header, (target, target), 0..1 << 32, &stop, |found| {
                all.push(found);
                if all.len() == 20 {
                    stop.store(true, Ordering::Relaxed);
                }
            });
            assert!(all.len() >= 20 && progress.tests > 0 && progress.nonces > 0);
            for found in &all {
                let mut header = header;
                header[76..].copy_from_slice(&found.nonce.to_le_bytes());
                assert_eq!(check_prime_chain(&header, &found.multiplier, target, 1), Ok(found.chain));
                assert!(found.chain.length >= target);
            }
            if target.primes() > 1 {
                let kinds = |kind| all.iter().any(|found| found.chain.kind == kind);
                assert!(
                    kinds(ChainKind::Cunningham1)
                        && kinds(ChainKind::Cunningham2)
                        && kinds(ChainKind::BiTwin)
                );
            }
        }
    }

    #[test]
    fn shares_on_the_way_are_told_once_each() {
        let header: [u8; 80] = std::array::from_fn(|i| i as u8);
        let (aim, target) = (ChainLength(0x0480_0000), ChainLength(0x0280_0000));
        let stop = AtomicBool::new(false);
        let mut all = Vec::new();
        PrimeSearcher::new().search(&header, (aim, target), 0..1 << 32, &stop, |found| {
            all.push(found);
            if all.len() == 300 {
                stop.store(true, Ordering::Relaxed);
            }
        });
        let distinct: std::collections::HashSet<_> =
            all.iter().map(|found| (found.nonce, found.multiplier.clone())).collect();
        assert_eq!(distinct.len(), all.len());
        let of = |primes| all.iter().filter(|found| found.chain.length.primes() == primes).count();
        assert!(of(2) > 0 && of(3) > 0 && of(4) > 0, "{} {} {}", of(2), of(3), of(4));
        for found in &all {
            let mut header = header;
            header[76..].copy_from_slice(&found.nonce.to_le_bytes());
            assert_eq!(check_prime_chain(&header, &found.multiplier, target, 1), Ok(found.chain));
        }
    }

    #[test]
    fn hashes_worth_sieving() {
        let mut hash = [0; 32];
        // 210 * 2^247 is at least 2^254: too small; four times that has the top bit.
        hash[31] = 210;
        assert!(worth_sieving(&hash));
        hash[31] = 105;
        assert!(!worth_sieving(&hash));
        hash[31] = 210;
        hash[0] = 1;
        assert!(!worth_sieving(&hash));
    }

    #[test]
    fn stops_when_told() {
        let stop = AtomicBool::new(true);
        let progress = PrimeSearcher::new().search(
            &[0; 80],
            (ChainLength::whole(2), ChainLength::whole(2)),
            0..1 << 32,
            &stop,
            |_| panic!(),
        );
        assert_eq!(progress, PrimeProgress::default());
    }
}
