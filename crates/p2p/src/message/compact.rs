//! Compact blocks (BIP152, version 2: short ids of wtxids).

use lode_primitives::{
    Block, BlockHash, Decode, DecodeError, Encode, Form, Header, Reader, Transaction, Wtxid,
    encode_compact_size, encode_vec, sha256,
};

/// Most transactions a block can have: 4,000,000 weight over the 240 of the least transaction.
const MAX_BLOCK_TRANSACTIONS: usize = 4_000_000 / 240;

/// A 6-byte transaction id, valid for one compact block only.
pub type ShortId = u64;

/// A block as header, short ids and a few whole transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactBlock {
    /// The block's header.
    pub header: Header,
    /// Goes into the short ids' key.
    pub nonce: u64,
    /// Short ids of the transactions not given whole, in block order.
    pub short_ids: Vec<ShortId>,
    /// Transactions given whole, in block order; the coinbase at least.
    pub prefilled: Vec<PrefilledTx>,
}

/// A transaction given whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefilledTx {
    /// Its place in the block. (Differentially encoded on the wire.)
    pub index: usize,
    /// The transaction.
    pub transaction: Transaction,
}

/// The SipHash key of a compact block's short ids.
#[derive(Clone, Copy, Debug)]
pub struct ShortIdKey(u64, u64);

impl ShortIdKey {
    /// The key: the first two 64-bit words of SHA-256 of header and nonce.
    pub fn new(header: &Header, nonce: u64) -> Self {
        let mut bytes = header.to_bytes();
        bytes.extend_from_slice(&nonce.to_le_bytes());
        let digest = sha256(&bytes);
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| digest[at + i]));
        Self(word(0), word(8))
    }

    /// The short id of a transaction: the low 48 bits of SipHash-2-4.
    pub fn short_id(&self, wtxid: &Wtxid) -> ShortId {
        bitcoin_hashes::siphash24::Hash::hash_to_u64_with_keys(self.0, self.1, wtxid.as_bytes())
            & 0xffff_ffff_ffff
    }
}

impl CompactBlock {
    /// The compact form of `block`: the coinbase whole, all else by short id.
    pub fn new(block: &Block, nonce: u64) -> Self {
        let key = ShortIdKey::new(&block.header, nonce);
        let (coinbase, rest) = block.transactions.split_at(block.transactions.len().min(1));
        Self {
            header: block.header.clone(),
            nonce,
            short_ids: rest.iter().map(|tx| key.short_id(&tx.wtxid())).collect(),
            prefilled: coinbase
                .iter()
                .map(|transaction| PrefilledTx { index: 0, transaction: transaction.clone() })
                .collect(),
        }
    }

    /// How many transactions the block has.
    pub fn transaction_count(&self) -> usize {
        self.short_ids.len() + self.prefilled.len()
    }
}

impl Encode for CompactBlock {
    fn encode(&self, out: &mut Vec<u8>) {
        self.header.encode(out);
        out.extend_from_slice(&self.nonce.to_le_bytes());
        encode_compact_size(self.short_ids.len() as u64, out);
        for id in &self.short_ids {
            out.extend_from_slice(&id.to_le_bytes()[..6]);
        }
        encode_compact_size(self.prefilled.len() as u64, out);
        let mut next = 0;
        for prefilled in &self.prefilled {
            encode_compact_size(prefilled.index.saturating_sub(next) as u64, out);
            prefilled.transaction.encode(out);
            next = prefilled.index + 1;
        }
    }
}

impl Decode for CompactBlock {
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let header = Header::decode(reader, form)?;
        let nonce = reader.u64_le()?;
        let count = super::bounded_count(reader, "short ids", 6, MAX_BLOCK_TRANSACTIONS)?;
        let mut short_ids = Vec::with_capacity(count);
        for _ in 0..count {
            let [a, b, c, d, e, f] = reader.array::<6>()?;
            short_ids.push(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
        }
        let whole = super::bounded_count(reader, "prefilled transactions", 11, MAX_BLOCK_TRANSACTIONS)?;
        let mut prefilled: Vec<PrefilledTx> = Vec::with_capacity(whole.min(16));
        for _ in 0..whole {
            let index = next_index(reader, prefilled.last().map(|last| last.index), count + whole)?;
            prefilled.push(PrefilledTx { index, transaction: Transaction::decode(reader, form)? });
        }
        Ok(Self { header, nonce, short_ids, prefilled })
    }
}

/// A differentially encoded index: the gap behind the index before it. Refused at `end` or above.
fn next_index(reader: &mut Reader<'_>, last: Option<usize>, end: usize) -> Result<usize, DecodeError> {
    let gap = usize::try_from(reader.compact_size()?).unwrap_or(usize::MAX);
    match last.map_or(0, |last| last + 1).checked_add(gap) {
        Some(index) if index < end => Ok(index),
        _ => Err(DecodeError::Malformed("transaction index outside of the block")),
    }
}

/// `getblocktxn`: transactions of a block by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetBlockTxn {
    /// The block.
    pub block: BlockHash,
    /// Places, ascending. (Differentially encoded on the wire.)
    pub indexes: Vec<usize>,
}

impl Encode for GetBlockTxn {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.block.as_bytes());
        encode_compact_size(self.indexes.len() as u64, out);
        let mut next = 0;
        for &index in &self.indexes {
            encode_compact_size(index.saturating_sub(next) as u64, out);
            next = index + 1;
        }
    }
}

impl Decode for GetBlockTxn {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        let block = BlockHash(reader.array()?);
        let count = super::bounded_count(reader, "transaction indexes", 1, MAX_BLOCK_TRANSACTIONS)?;
        let mut indexes = Vec::with_capacity(count);
        for _ in 0..count {
            indexes.push(next_index(reader, indexes.last().copied(), MAX_BLOCK_TRANSACTIONS)?);
        }
        Ok(Self { block, indexes })
    }
}

/// `blocktxn`: the transactions asked for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTxn {
    /// The block.
    pub block: BlockHash,
    /// Its transactions that were asked for.
    pub transactions: Vec<Transaction>,
}

impl Encode for BlockTxn {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.block.as_bytes());
        encode_vec(&self.transactions, out);
    }
}

impl Decode for BlockTxn {
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError> {
        let block = BlockHash(reader.array()?);
        let count = super::bounded_count(reader, "transactions", 10, MAX_BLOCK_TRANSACTIONS)?;
        let transactions = (0..count).map(|_| Transaction::decode(reader, form)).collect::<Result<_, _>>()?;
        Ok(Self { block, transactions })
    }
}
