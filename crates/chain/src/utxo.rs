//! Unspent outputs, as they are kept in memory, in the database and in undo data.

use lode_primitives::{
    Amount, Decode, DecodeError, Encode, Form, Height, OutPoint, Reader, TxOut, Txid, encode_bytes,
    encode_compact_size,
};

/// An unspent output and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utxo {
    /// The amount and the script.
    pub output: TxOut,
    /// Height of the block it was made in.
    pub height: Height,
    /// Made by a coinbase, so it has to mature.
    pub coinbase: bool,
}

/// No longer script is kept: it could never be executed.
const MAX_SCRIPT_BYTES: usize = 10_000;

impl Utxo {
    /// Height and coinbase flag in one number, as the reference client's hashes have it.
    pub(crate) fn code(&self) -> u64 {
        u64::from(self.height) << 1 | u64::from(self.coinbase)
    }

    /// Bytes of heap this takes beside its own struct, as an allocator rounds them.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.output.script_pubkey.capacity().next_multiple_of(16) + 16
    }
}

impl Encode for Utxo {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_compact_size(self.code(), out);
        encode_compact_size(self.output.value.to_sat() as u64, out);
        encode_bytes(&self.output.script_pubkey, out);
    }
}

impl Decode for Utxo {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        let code = reader.compact_size()?;
        let height =
            Height::try_from(code >> 1).map_err(|_| DecodeError::Malformed("height of an unspent output"))?;
        let sat = i64::try_from(reader.compact_size()?)
            .map_err(|_| DecodeError::Malformed("amount of an unspent output"))?;
        let script_pubkey = reader.bytes("script", MAX_SCRIPT_BYTES)?.to_vec();
        Ok(Self {
            output: TxOut { value: Amount::from_sat(sat), script_pubkey },
            height,
            coinbase: code & 1 == 1,
        })
    }
}

/// The database's key: the txid's bytes, then the index, big-endian, so that a transaction's outputs are neighbours
/// in order. The reference client's database has this order too, on which `hash_serialized_3` depends.
pub(crate) fn key(outpoint: &OutPoint) -> [u8; 36] {
    let mut key = [0; 36];
    key[..32].copy_from_slice(outpoint.txid.as_bytes());
    key[32..].copy_from_slice(&outpoint.vout.to_be_bytes());
    key
}

/// The outpoint of a database key.
pub(crate) fn outpoint_of_key(key: &[u8]) -> Option<OutPoint> {
    let key: &[u8; 36] = key.try_into().ok()?;
    let (txid, vout) = key.split_at(32);
    Some(OutPoint { txid: Txid(txid.try_into().ok()?), vout: u32::from_be_bytes(vout.try_into().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(sat in 0..=i64::MAX, height in 0..u32::MAX, coinbase: bool, script in vec(any::<u8>(), 0..80)) {
            let utxo = Utxo { output: TxOut { value: Amount::from_sat(sat), script_pubkey: script }, height, coinbase };
            prop_assert_eq!(Utxo::from_bytes(&utxo.to_bytes(), Form::default()), Ok(utxo));
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..80)) {
            let _ = Utxo::from_bytes(&bytes, Form::default());
        }

        #[test]
        fn keys_sort_by_txid_and_index(txid: [u8; 32], a: u32, b: u32) {
            let of = |vout| OutPoint { txid: Txid(txid), vout };
            prop_assert_eq!(key(&of(a)).cmp(&key(&of(b))), a.cmp(&b));
            prop_assert_eq!(outpoint_of_key(&key(&of(a))), Some(of(a)));
        }
    }
}
