//! The check of a prime chain as proof of work: `CheckPrimeProofOfWork` of the reference implementation, in its order.
//!
//! The reference tests all members after the first with the Euler-Lagrange-Lifchitz test, then everything again with
//! Fermat's, and wants both to agree. Here one modular power per number serves both.

use lode_primitives::{Hash256, Multiplier};

use super::length::{ChainKind, ChainLength, LENGTH_MAX};
use super::member::{BATCH, Member, batches_are_fast, test_batch};
use super::number::Number;
use crate::sha256d_80;

/// Bits of the least header hash and of the least origin.
const BITS_MIN: u32 = 256;
/// Bits of the greatest origin.
const ORIGIN_BITS_MAX: u32 = 2000;

/// Why a prime chain is no proof of work. The wording is the reference implementation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrimeChainError {
    /// The length asked for is below the network's least or above 99.
    #[error("invalid chain length target {0}")]
    LengthTarget(ChainLength),
    /// The header's hash is below 2^255.
    #[error("block header hash under limit: {0}")]
    HashTooSmall(Hash256),
    /// The origin is below 2^255.
    #[error("prime too small")]
    OriginTooSmall,
    /// The origin is above 2^2000 - 1.
    #[error("prime too big")]
    OriginTooBig,
    /// No chain is as long as asked for.
    #[error("failed prime chain test target={target} length=({} {} {})", .lengths.cunningham1, .lengths.cunningham2, .lengths.bi_twin)]
    TooShort {
        /// The length asked for.
        target: ChainLength,
        /// The lengths found.
        lengths: Lengths,
    },
    /// Fermat's test alone finds other lengths: a pseudoprime is in the chain.
    #[error("failed Fermat-only double check target={target} length=({} {} {})", .fermat.cunningham1, .fermat.cunningham2, .fermat.bi_twin)]
    FermatDisagrees {
        /// The length asked for.
        target: ChainLength,
        /// The lengths by Fermat's test.
        fermat: Lengths,
    },
    /// Half the multiplier would give a longer chain.
    #[error("prime certificate not normalized target={target} length={length} extended=({} {} {})", .extended.cunningham1, .extended.cunningham2, .extended.bi_twin)]
    NotNormalized {
        /// The length asked for.
        target: ChainLength,
        /// The chain's length.
        length: ChainLength,
        /// The lengths with half the multiplier.
        extended: Lengths,
    },
}

/// The lengths of the three chains around an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Of the Cunningham chain of the first kind.
    pub cunningham1: ChainLength,
    /// Of the Cunningham chain of the second kind.
    pub cunningham2: ChainLength,
    /// Of the bi-twin chain.
    pub bi_twin: ChainLength,
}

/// The longest chain around an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimeChain {
    /// Which of the three.
    pub kind: ChainKind,
    /// Its length.
    pub length: ChainLength,
}

impl std::fmt::Display for PrimeChain {
    /// As the reference implementation's RPC shows it: `1CC0a.c64944`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.kind, self.length)
    }
}

impl Lengths {
    fn new(cunningham1: ChainLength, cunningham2: ChainLength) -> Self {
        let (a, b) = (cunningham1.primes(), cunningham2.primes());
        // A bi-twin chain may end with one more prime of the first kind; its fraction is that of the number missing.
        let bi_twin = if a > b { cunningham2.plus(b + 1) } else { cunningham1.plus(a) };
        Self { cunningham1, cunningham2, bi_twin }
    }

    /// True where one of them is at least `target`.
    pub fn reach(&self, target: ChainLength) -> bool {
        self.longest().length >= target
    }

    /// The longest; of equals the first kind, then the second.
    pub fn longest(&self) -> PrimeChain {
        let mut longest = PrimeChain { kind: ChainKind::Cunningham1, length: self.cunningham1 };
        for (kind, length) in [(ChainKind::Cunningham2, self.cunningham2), (ChainKind::BiTwin, self.bi_twin)]
        {
            if length > longest.length {
                longest = PrimeChain { kind, length };
            }
        }
        longest
    }
}

/// Checks the length that a header asks for: whole part from `min_length`, which is the network's, to 99.
fn check_target(target: ChainLength, min_length: u32) -> Result<(), PrimeChainError> {
    let fits = (min_length..=LENGTH_MAX).contains(&target.primes());
    if fits { Ok(()) } else { Err(PrimeChainError::LengthTarget(target)) }
}

/// A chain's origin: header hash times multiplier, both within their limits.
#[derive(Clone, Debug)]
pub struct Origin {
    origin: Number,
    multiplier_is_even: bool,
}

impl Origin {
    /// The cheap part of the check: the limits of hash and origin. `header` is the 80 bytes in front of the multiplier.
    pub fn new(header: &[u8; 80], multiplier: &Multiplier) -> Result<Self, PrimeChainError> {
        let hash = sha256d_80(header);
        let small = PrimeChainError::HashTooSmall(Hash256(hash));
        let hash = Number::from_le_bytes(&hash).filter(|hash| hash.bits() >= BITS_MIN).ok_or(small)?;
        // A multiplier is bounded to 251 bytes where it is read; the sign byte is zero.
        let factor = Number::from_le_bytes(multiplier.as_bytes()).ok_or(PrimeChainError::OriginTooBig)?;
        if factor.bits() == 0 {
            return Err(PrimeChainError::OriginTooSmall);
        }
        let fits = |origin: &Number| origin.bits() <= ORIGIN_BITS_MAX;
        let origin = hash.times(&factor).filter(fits).ok_or(PrimeChainError::OriginTooBig)?;
        Ok(Self { origin, multiplier_is_even: factor.trailing_zeros() > 0 })
    }

    /// What all origins of one run of primes have in common, whatever power of two is in their multipliers: the odd part
    /// of the origin, little-endian, without leading zeros. Since one origin can be a multiple of several headers' hashes,
    /// this and not the header tells whether a chain was seen before.
    pub fn odd_part(&self) -> Vec<u8> {
        let odd = self.origin.shifted_right(self.origin.trailing_zeros());
        let mut bytes: Vec<u8> = odd.0.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.truncate(odd.bits().div_ceil(8) as usize);
        bytes
    }

    /// O 2^k - 1, or + 1; `None` beyond 2048 bits: 47 primes and more in a chain, which nobody will see.
    fn number(&self, k: usize, above: bool) -> Option<Number> {
        let centre = self.origin.shifted_left(u32::try_from(k).ok()?)?;
        if above { centre.plus(1) } else { centre.minus(1) }
    }

    /// Tests O 2^k - 1 and O 2^k + 1 for k = 0, 1, ..., each up to the first that fails Fermat's test. Where the
    /// processor tests several at once, further ones are tested in advance.
    fn runs(&self) -> [Vec<Member>; 2] {
        let mut runs = [const { Vec::new() }; 2];
        let ended = |run: &Vec<Member>| run.last().is_some_and(|last: &Member| !last.fermat);
        while !runs.iter().all(ended) {
            let open: Vec<usize> = (0..2).filter(|&i| !ended(&runs[i])).collect();
            let ahead = if batches_are_fast() { BATCH / open.len() } else { 1 };
            let wanted: Vec<(usize, Option<Number>)> = open
                .iter()
                .flat_map(|&i| (0..ahead).map(move |n| (i, n)))
                .map(|(i, n)| (i, self.number(runs[i].len() + n, i == 1)))
                .collect();
            let numbers: Vec<Number> = wanted.iter().filter_map(|(_, number)| *number).collect();
            let mut tested = test_batch(&numbers).into_iter();
            for (i, number) in wanted {
                let member = number.and_then(|_| tested.next()).unwrap_or(Member::NONE);
                if !ended(&runs[i]) {
                    runs[i].push(member);
                }
            }
        }
        runs
    }

    /// The lengths of the three chains, and where Fermat's test alone finds others, those.
    fn both_lengths(&self, runs: &[Vec<Member>; 2]) -> (Lengths, Lengths) {
        let by_lifchitz =
            runs.each_ref().map(|run| length(run.iter(), |k, m| if k == 0 { m.fermat } else { m.lifchitz }));
        let by_fermat = runs.each_ref().map(|run| length(run.iter(), |_, m| m.fermat));
        (Lengths::new(by_lifchitz[0], by_lifchitz[1]), Lengths::new(by_fermat[0], by_fermat[1]))
    }

    /// The lengths of the three chains around half the origin; what is known of the whole one is used again.
    fn halved_lengths(&self, runs: &[Vec<Member>; 2]) -> Lengths {
        let half = self.origin.shifted_right(1);
        let first = [half.minus(1), half.plus(1)].map(|n| n.map_or(Member::NONE, |n| Member::test(&n)));
        let [one, two] = [0, 1].map(|i| {
            let members = std::iter::once(&first[i]).chain(&runs[i]);
            length(members, |k, m| if k == 0 { m.fermat } else { m.lifchitz })
        });
        Lengths::new(one, two)
    }

    /// The whole check: the longest chain, where it is at least `target` long and normalised.
    pub fn check(&self, target: ChainLength) -> Result<PrimeChain, PrimeChainError> {
        let runs = self.runs();
        let (lengths, fermat) = self.both_lengths(&runs);
        let chain = lengths.longest();
        if chain.length < target {
            return Err(PrimeChainError::TooShort { target, lengths });
        }
        if fermat != lengths {
            return Err(PrimeChainError::FermatDisagrees { target, fermat });
        }
        if self.multiplier_is_even && self.origin.trailing_zeros() >= 2 {
            let extended = self.halved_lengths(&runs);
            if extended.reach(target) && extended.longest().length > chain.length {
                return Err(PrimeChainError::NotNormalized { target, length: chain.length, extended });
            }
        }
        Ok(chain)
    }

    /// The origin itself, little-endian.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        self.origin.to_le_bytes()
    }

    /// The lengths of the three chains, for who wants to know them whatever they are.
    pub fn lengths(&self) -> Lengths {
        self.both_lengths(&self.runs()).0
    }
}

/// The length of a run of members: those that pass, and the fraction of the first that does not.
fn length<'a>(
    members: impl Iterator<Item = &'a Member>,
    passes: impl Fn(usize, &Member) -> bool,
) -> ChainLength {
    let mut length = ChainLength::default();
    for (k, member) in members.enumerate() {
        if !passes(k, member) {
            return ChainLength(length.0 | member.fraction.unwrap_or(0));
        }
        length = length.plus(1);
    }
    length
}

/// The proof of work of a prime chain's header: 80 bytes, multiplier, and the least length `target` (a block's `bits`; a
/// pool gives its share's length). `min_length` is the network's least whole length. Gives the longest chain.
pub fn check_prime_chain(
    header: &[u8; 80],
    multiplier: &Multiplier,
    target: ChainLength,
    min_length: u32,
) -> Result<PrimeChain, PrimeChainError> {
    check_target(target, min_length)?;
    Origin::new(header, multiplier)?.check(target)
}
