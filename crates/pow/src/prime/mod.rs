//! Prime chains: the proof of work of Primecoin and Datacoin. Verify one, search many.
//!
//! The header's SHA-256d times a multiplier is a chain's origin O. Around the numbers O * 2^k stand candidates
//! O * 2^k - 1 (a Cunningham chain of the first kind, where they are prime for k = 0, 1, ...), O * 2^k + 1 (of the
//! second kind), or both in turn (a bi-twin chain). The longest of the three counts; the first number of it that is not
//! prime adds a fraction. The rules are the reference implementation's `CheckPrimeProofOfWork`.
//!
//! [`check_prime_chain`] serves node and pool, [`PrimeSearcher`] the miner.

#[doc(hidden)]
pub mod bench;
mod check;
#[cfg(target_arch = "x86_64")]
mod ifma;
mod length;
mod member;
mod montgomery;
mod number;
mod search;
mod sieve;

pub use check::{Lengths, Origin, PrimeChain, PrimeChainError, check_prime_chain};
pub use length::{ChainKind, ChainLength};
pub use search::{PrimeFound, PrimeProgress, PrimeSearcher};
