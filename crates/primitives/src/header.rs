//! Block headers: Bitcoin's 80 bytes, and a multiplier behind them on prime chains.

use std::fmt;

use crate::encode::{Decode, DecodeError, Encode, Form, MAX_MULTIPLIER_BYTES, Reader, encode_bytes};
use crate::{BlockHash, MerkleNode, sha256d};

/// A block's height: blocks above genesis, which has height 0.
pub type Height = u32;

/// A prime chain's multiplier: a non-negative integer as minimal little-endian signed-magnitude bytes (a zero byte
/// is appended where the top bit is set; zero is no bytes at all). See "Multiplier serialisation" in the reference
/// implementation's `CBigNum`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Multiplier(Vec<u8>);

impl Multiplier {
    /// The multiplier whose little-endian magnitude is `magnitude`, made minimal.
    pub fn from_le_magnitude(magnitude: &[u8]) -> Self {
        let used = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let mut bytes = magnitude[..used].to_vec();
        if bytes.last().is_some_and(|&top| top & 0x80 != 0) {
            bytes.push(0);
        }
        Self(bytes)
    }

    /// Reads signed bytes as found in a header: longer forms of the same number are accepted and made minimal, as
    /// the reference does before it hashes; negative numbers are refused.
    pub fn from_signed_le(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_MULTIPLIER_BYTES {
            return Err(DecodeError::TooLarge {
                what: "multiplier",
                size: bytes.len() as u64,
                max: MAX_MULTIPLIER_BYTES as u64,
            });
        }
        if bytes.last().is_some_and(|&top| top & 0x80 != 0) {
            return Err(DecodeError::NegativeMultiplier);
        }
        Ok(Self::from_le_magnitude(bytes))
    }

    /// The number in decimal.
    pub fn to_decimal(&self) -> String {
        decimal(&self.0)
    }

    /// The minimal signed bytes, little-endian, as in the header.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A little-endian number of any length in decimal.
pub fn decimal(magnitude: &[u8]) -> String {
    let mut rest = magnitude.to_vec();
    let mut groups = Vec::new();
    while rest.iter().any(|&byte| byte != 0) {
        // Divided by 10^9, the greatest power of ten that leaves room for a byte beside the remainder.
        let remainder = rest.iter_mut().rev().fold(0u64, |carry, byte| {
            let part = carry << 8 | u64::from(*byte);
            *byte = (part / 1_000_000_000) as u8;
            part % 1_000_000_000
        });
        groups.push(remainder);
    }
    let mut text = groups.pop().unwrap_or(0).to_string();
    groups.iter().rev().for_each(|group| text += &format!("{group:09}"));
    text
}

impl fmt::Debug for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x")?;
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A block header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Version and, in its bits, signals (BIP9).
    pub version: i32,
    /// The block before.
    pub prev: BlockHash,
    /// Root of the Merkle tree over the transactions' ids.
    pub merkle_root: MerkleNode,
    /// Unix time in seconds.
    pub time: u32,
    /// The target in compact form; on prime chains the least chain length as 8.24 fixed point.
    pub bits: u32,
    /// What the miner counts through.
    pub nonce: u32,
    /// The multiplier; `Some` exactly where the coin's form has one.
    pub multiplier: Option<Multiplier>,
}

impl Header {
    /// The first 80 bytes: what proof of work is done on, for every coin.
    pub fn pow_bytes(&self) -> [u8; 80] {
        let mut out = [0; 80];
        out[0..4].copy_from_slice(&self.version.to_le_bytes());
        out[4..36].copy_from_slice(self.prev.as_bytes());
        out[36..68].copy_from_slice(self.merkle_root.as_bytes());
        out[68..72].copy_from_slice(&self.time.to_le_bytes());
        out[72..76].copy_from_slice(&self.bits.to_le_bytes());
        out[76..80].copy_from_slice(&self.nonce.to_le_bytes());
        out
    }

    /// The block's id: SHA-256d of the whole header, multiplier included.
    pub fn hash(&self) -> BlockHash {
        match self.multiplier {
            None => BlockHash(sha256d(&self.pow_bytes())),
            Some(_) => BlockHash(sha256d(&self.to_bytes())),
        }
    }
}

impl Encode for Header {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.pow_bytes());
        if let Some(multiplier) = &self.multiplier {
            encode_bytes(multiplier.as_bytes(), out);
        }
    }
}

impl Decode for Header {
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            version: reader.i32_le()?,
            prev: BlockHash(reader.array()?),
            merkle_root: MerkleNode(reader.array()?),
            time: reader.u32_le()?,
            bits: reader.u32_le()?,
            nonce: reader.u32_le()?,
            multiplier: if form.multiplier {
                Some(Multiplier::from_signed_le(reader.bytes("multiplier", MAX_MULTIPLIER_BYTES)?)?)
            } else {
                None
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIME: Form = Form { witness: false, data: false, multiplier: true };

    #[test]
    fn bitcoin_genesis() {
        let hex = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f61\
                   7fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c";
        let bytes = hex::decode(hex.replace(' ', "")).unwrap();
        let header = Header::from_bytes(&bytes, Form::default()).unwrap();
        assert_eq!(
            header.hash().to_string(),
            "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
        );
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn multipliers_are_minimal() {
        assert_eq!(Multiplier::from_le_magnitude(&969_371u32.to_le_bytes()).as_bytes(), [0x9b, 0xca, 0x0e]);
        assert_eq!(Multiplier::from_le_magnitude(&[0xee, 0x7f, 0x64, 0xb3, 0x0d, 0x6c]).as_bytes().len(), 6);
        assert_eq!(Multiplier::from_le_magnitude(&[0x80]).as_bytes(), [0x80, 0]);
        assert_eq!(Multiplier::from_le_magnitude(&[0, 0]).as_bytes(), [0u8; 0]);
        assert_eq!(Multiplier::default().to_decimal(), "0");
        let large = Multiplier::from_le_magnitude(&1_104_359_464_000_000_000_000_675u128.to_le_bytes());
        assert_eq!(large.to_decimal(), "1104359464000000000000675");
    }

    #[test]
    fn a_padded_multiplier_hashes_as_its_minimal_form() {
        let mut minimal = vec![2; 80];
        minimal.extend_from_slice(&[3, 0x9b, 0xca, 0x0e]);
        let mut padded = vec![2; 80];
        padded.extend_from_slice(&[5, 0x9b, 0xca, 0x0e, 0, 0]);
        let minimal = Header::from_bytes(&minimal, PRIME).unwrap();
        let padded = Header::from_bytes(&padded, PRIME).unwrap();
        assert_eq!(minimal.hash(), padded.hash());

        let mut negative = vec![2; 80];
        negative.extend_from_slice(&[1, 0x81]);
        assert_eq!(Header::from_bytes(&negative, PRIME), Err(DecodeError::NegativeMultiplier));
    }
}
