//! Proof of work: verify one, search many.
//!
//! Floor 1 of the house: no IO, no clocks, no threads of its own. The node and the pool check hashes with it
//! ([`sha256d_80`], [`scrypt_1024_1_1`], [`Scrypt`] for many at once, [`check_prime_chain`]), the miner searches with it ([`Searcher`],
//! [`PrimeSearcher`]).
//! Which code does the work is chosen at run time by what the processor can do.
//!
//! This is the only crate with `unsafe` code: SIMD instructions behind a check that the processor has them.
//!
//! Hashes are in the order in which their bytes come out. Read as a number they are little-endian, and a hash meets
//! a [`Target`](lode_primitives::Target) where that number is not greater.

mod algorithm;
mod prime;
mod scrypt;
mod search;
mod sha256d;

pub use algorithm::{PowAlgorithm, UnknownAlgorithm};
#[doc(hidden)]
pub use prime::bench;
pub use prime::{
    ChainKind, ChainLength, Lengths, Origin, PrimeChain, PrimeChainError, PrimeFound, PrimeProgress,
    PrimeSearcher, check_prime_chain,
};
pub use scrypt::{Kernel as ScryptKernel, Scrypt, scrypt_1024_1_1};
pub use search::{Found, Searcher};
pub use sha256d::{Kernel as Sha256dKernel, sha256d_80};
