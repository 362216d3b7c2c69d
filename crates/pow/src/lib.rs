//! Proof of work: verify one, search many.

use lode_primitives::sha256d;

/// What a coin's blocks prove their work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowAlgorithm {
    /// SHA-256 twice over the 80 header bytes (Bitcoin).
    Sha256d,
    /// scrypt with N = 1024, r = 1, p = 1 over the 80 header bytes (Litecoin).
    Scrypt,
    /// A chain of primes whose origin is a multiple of the header's hash (Primecoin, Datacoin).
    PrimeChain,
}

impl PowAlgorithm {
    /// The hash that is held against the target, in internal byte order, or `None` where work is no hash.
    pub fn hash(self, header: &[u8; 80]) -> Option<[u8; 32]> {
        match self {
            Self::Sha256d => Some(sha256d(header)),
            Self::Scrypt | Self::PrimeChain => None,
        }
    }
}
