//! What a block spent, kept so that the block can be taken back: its undo data.
//!
//! ```text
//! undo = block id [32] | transactions but the coinbase: count, then each: inputs: count, then each: output
//! ```

use lode_primitives::{BlockHash, Decode, DecodeError, Encode, Form, Reader, encode_compact_size};

use crate::utxo::Utxo;

/// The outputs a block spent: for each transaction but the coinbase, one per input, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undo(pub(crate) Vec<Vec<Utxo>>);

impl Undo {
    /// Appends the encoding to `out`.
    pub(crate) fn encode(&self, block: BlockHash, out: &mut Vec<u8>) {
        out.extend_from_slice(block.as_bytes());
        encode_compact_size(self.0.len() as u64, out);
        for spent in &self.0 {
            encode_compact_size(spent.len() as u64, out);
            for utxo in spent {
                utxo.encode(out);
            }
        }
    }

    /// Reads the undo data of `block`.
    pub(crate) fn decode(bytes: &[u8], block: BlockHash) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.array::<32>()? != block.0 {
            return Err(DecodeError::Malformed("undo data of another block"));
        }
        let count = reader.count(1)?;
        let transactions = (0..count)
            .map(|_| {
                let inputs = reader.count(3)?;
                (0..inputs).map(|_| Utxo::decode(&mut reader, Form::default())).collect()
            })
            .collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self(transactions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{Amount, TxOut};
    use proptest::prelude::*;

    #[test]
    fn round_trips_and_belongs_to_its_block() {
        let utxo = |height| Utxo {
            output: TxOut { value: Amount::from_sat(i64::from(height)), script_pubkey: vec![0x51; 25] },
            height,
            coinbase: height % 2 == 0,
        };
        let undo = Undo(vec![vec![utxo(1), utxo(2)], vec![utxo(300_000)]]);
        let block = BlockHash([3; 32]);
        let mut bytes = Vec::new();
        undo.encode(block, &mut bytes);
        assert_eq!(Undo::decode(&bytes, block), Ok(undo));
        assert!(Undo::decode(&bytes, BlockHash([4; 32])).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let block = BlockHash(bytes.get(..32).map_or([0; 32], |id| id.try_into().unwrap()));
            let _ = Undo::decode(&bytes, block);
        }
    }
}
