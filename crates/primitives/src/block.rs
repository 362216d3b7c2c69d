//! Blocks: a header and its transactions, the coinbase first.

use crate::encode::{Decode, DecodeError, Encode, Form, Reader, compact_size_len, encode_vec};
use crate::transaction::decode_vec;
use crate::{BlockHash, Header, Transaction};

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, the coinbase first.
    pub transactions: Vec<Transaction>,
}

/// Least bytes of an encoded transaction: version, counts of none, lock time.
const TX_MIN: usize = 10;

impl Block {
    /// The block's id.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// Bytes without witnesses.
    pub fn base_size(&self) -> usize {
        self.overhead() + self.transactions.iter().map(Transaction::base_size).sum::<usize>()
    }

    /// Bytes on the wire, witnesses included.
    pub fn total_size(&self) -> usize {
        self.overhead() + self.transactions.iter().map(Transaction::total_size).sum::<usize>()
    }

    /// Weight units (BIP141).
    pub fn weight(&self) -> usize {
        3 * self.base_size() + self.total_size()
    }

    fn overhead(&self) -> usize {
        let multiplier = self.header.multiplier.as_ref().map_or(0, |m| 1 + m.as_bytes().len());
        80 + multiplier + compact_size_len(self.transactions.len() as u64)
    }
}

impl Encode for Block {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        encode_vec(&self.transactions, out);
    }
}

impl Decode for Block {
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        Ok(Self { header: Header::decode(reader, form)?, transactions: decode_vec(reader, form, TX_MIN)? })
    }
}
