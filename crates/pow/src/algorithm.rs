//! The proof-of-work algorithms that the coins' table chooses from, and share difficulty.

use std::fmt;
use std::str::FromStr;

use lode_primitives::{Target, U256};

/// What a coin's blocks prove their work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowAlgorithm {
    /// SHA-256 twice over the 80-byte header (Bitcoin).
    Sha256d,
    /// scrypt with N = 1024, r = 1, p = 1 over the 80-byte header, which is password and salt (Litecoin).
    Scrypt,
    /// A chain of primes around a multiple of the header's SHA-256d (Primecoin, Datacoin). There is no hash to be
    /// below a target: the chain's length, a fixed-point number, must reach the one in the header.
    PrimeChain,
}

/// A name that stands for no algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no proof-of-work algorithm is called {0:?}; there are sha256d, scrypt and prime")]
pub struct UnknownAlgorithm(String);

impl PowAlgorithm {
    /// The name on command lines and in messages: `sha256d`, `scrypt`, `prime`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256d => "sha256d",
            Self::Scrypt => "scrypt",
            Self::PrimeChain => "prime",
        }
    }

    /// The hash that has to meet the target; `None` for prime chains, which have none.
    pub fn hash(self, header: &[u8; 80]) -> Option<[u8; 32]> {
        match self {
            Self::Sha256d => Some(crate::sha256d_80(header)),
            Self::Scrypt => Some(crate::scrypt_1024_1_1(header)),
            Self::PrimeChain => None,
        }
    }

    /// The target that miners and pools call share difficulty 1; `None` for prime chains, whose shares are measured
    /// in chain length.
    ///
    /// SHA-256d: `0xffff << 208`, the same as compact bits `1d00ffff`, so one share is 2^32 hashes.
    ///
    /// scrypt: 65536 times easier, `0xffff << 224`, so one share is 2^16 hashes. All Stratum miners and pools of
    /// Litecoin's family count so (`set_difficulty` 1 means this target), while the `difficulty` that litecoind's RPC
    /// shows is counted by Bitcoin's target and thus 65536 times smaller. [`Self::block_difficulty_one_target`] is that one.
    pub fn difficulty_one_target(self) -> Option<Target> {
        match self {
            Self::Sha256d => Some(Target(U256::from(0xffffu32) << 208)),
            Self::Scrypt => Some(Target(U256::from(0xffffu32) << 224)),
            Self::PrimeChain => None,
        }
    }

    /// The target that nodes' RPC and block explorers call difficulty 1: Bitcoin's, for scrypt coins too. `None` for
    /// prime chains.
    pub fn block_difficulty_one_target(self) -> Option<Target> {
        match self {
            Self::Sha256d | Self::Scrypt => Some(Target(U256::from(0xffffu32) << 208)),
            Self::PrimeChain => None,
        }
    }

    /// The share difficulty that a hash of this algorithm achieves, for people to read and for "best share". Credit
    /// goes by the difficulty assigned, never by this. `None` for prime chains.
    pub fn achieved_difficulty(self, hash: &[u8; 32]) -> Option<f64> {
        let value = U256::from_le_bytes(*hash).max(U256::ONE);
        Some(Target(value).difficulty(self.difficulty_one_target()?))
    }

    /// Expected hashes for one share of difficulty 1; `None` for prime chains.
    pub fn hashes_per_difficulty(self) -> Option<f64> {
        Some(self.difficulty_one_target()?.work().to_f64())
    }
}

impl fmt::Display for PowAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PowAlgorithm {
    type Err = UnknownAlgorithm;

    /// Accepts the names and what other miners call them.
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name.to_ascii_lowercase().as_str() {
            "sha256d" | "sha256" => Ok(Self::Sha256d),
            "scrypt" | "scrypt:1024" => Ok(Self::Scrypt),
            "prime" | "primechain" | "primecoin" | "xpm" => Ok(Self::PrimeChain),
            _ => Err(UnknownAlgorithm(name.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difficulty_one_is_what_miners_expect() {
        let sha = PowAlgorithm::Sha256d.difficulty_one_target().unwrap();
        assert_eq!(sha, Target::from_compact(0x1d00_ffff).unwrap());
        assert_eq!(sha.work().0, U256::from(0x1_0001_0001u64));
        let scrypt = PowAlgorithm::Scrypt.difficulty_one_target().unwrap();
        assert_eq!(scrypt.0, sha.0 << 16);
        assert_eq!(PowAlgorithm::PrimeChain.difficulty_one_target(), None);
    }

    #[test]
    fn names_round_trip() {
        for algorithm in [PowAlgorithm::Sha256d, PowAlgorithm::Scrypt, PowAlgorithm::PrimeChain] {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert!("x11".parse::<PowAlgorithm>().is_err());
    }
}
