//! Hash functions and the hash newtypes. Bytes are kept in internal order (as hashed, as on the wire); people see
//! them reversed, as every block explorer shows them.

use std::fmt;
use std::str::FromStr;

use bitcoin_hashes::{Ripemd160, Sha256, Sha256d};

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::hash(data).to_byte_array()
}

/// SHA-256 of the SHA-256 of `data`: ids, Merkle nodes, message checksums.
pub fn sha256d(data: &[u8]) -> [u8; 32] {
    Sha256d::hash(data).to_byte_array()
}

/// RIPEMD-160 of the SHA-256 of `data`: the payload of P2PKH and P2SH.
pub fn hash160(data: &[u8]) -> [u8; 20] {
    Ripemd160::hash(&sha256(data)).to_byte_array()
}

/// BIP340 tagged hash: `SHA256(SHA256(tag) || SHA256(tag) || parts...)`.
pub fn tagged_hash(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    use bitcoin_hashes::HashEngine as _;
    let tag = sha256(tag.as_bytes());
    let mut engine = Sha256::engine();
    engine.input(&tag);
    engine.input(&tag);
    for part in parts {
        engine.input(part);
    }
    Sha256::from_engine(engine).to_byte_array()
}

/// A hash written as hex was not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hex digits, this is {0:?}")]
pub struct HashParseError(String);

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// The bytes are in internal order; `Display` and `FromStr` use the reversed hex that people see.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// All zero bytes: "none" in a previous-block field or a coinbase's outpoint.
            pub const ZERO: Self = Self([0; 32]);

            /// The bytes in internal order.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The hash from the hex that people see (reversed bytes).
            pub fn from_display_hex(hex: &str) -> Result<Self, HashParseError> {
                let mut bytes = [0u8; 32];
                hex::decode_to_slice(hex, &mut bytes).map_err(|_| HashParseError(hex.chars().take(80).collect()))?;
                bytes.reverse();
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HashParseError;
            fn from_str(s: &str) -> Result<Self, HashParseError> {
                Self::from_display_hex(s)
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

hash_type! {
    /// A 32-byte hash with no more said about what it is of.
    Hash256
}
hash_type! {
    /// A block's id: SHA-256d of its header (for prime chains, with the multiplier).
    BlockHash
}
hash_type! {
    /// A transaction's id: SHA-256d of it without witnesses.
    Txid
}
hash_type! {
    /// A transaction's id with its witnesses (BIP141).
    Wtxid
}
hash_type! {
    /// A node of a block's Merkle tree.
    MerkleNode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_reversed_and_round_trips() {
        let shown = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
        let hash: BlockHash = shown.parse().unwrap();
        assert_eq!(hash.0[0], 0x6f);
        assert_eq!(hash.to_string(), shown);
        assert!("00".parse::<Txid>().is_err());
    }

    #[test]
    fn known_digests() {
        assert_eq!(
            hex::encode(sha256d(b"")),
            "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456"
        );
        assert_eq!(hex::encode(hash160(b"")), "b472a266d0bd89c13706a4132ccfb16f7c3b9fcb");
    }
}
