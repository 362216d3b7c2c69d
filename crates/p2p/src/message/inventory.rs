//! `inv`, `getdata` and `notfound`: lists of things by hash.

use lode_primitives::{BlockHash, DecodeError, Encode, Hash256, Reader, Txid, Wtxid};

/// Most items in one message (reference client's `MAX_INV_SZ`).
pub const MAX_INV: usize = 50_000;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InvKind {
    /// A transaction by txid, without witnesses.
    Tx,
    /// A transaction by txid, with witnesses (BIP144; in `getdata` only).
    WitnessTx,
    /// A transaction by wtxid (BIP339).
    Wtx,
    /// A block, without witnesses.
    Block,
    /// A block with witnesses (BIP144; in `getdata` only).
    WitnessBlock,
    /// A Merkle block (BIP37; in `getdata` only).
    FilteredBlock,
    /// A compact block (BIP152; in `getdata` only).
    CompactBlock,
    /// Any other number: skipped.
    Unknown(u32),
}

impl InvKind {
    /// The number on the wire.
    pub const fn to_u32(self) -> u32 {
        match self {
            Self::Tx => 1,
            Self::Block => 2,
            Self::FilteredBlock => 3,
            Self::CompactBlock => 4,
            Self::Wtx => 5,
            Self::WitnessTx => 0x4000_0001,
            Self::WitnessBlock => 0x4000_0002,
            Self::Unknown(other) => other,
        }
    }

    /// What a number on the wire means.
    pub const fn from_u32(number: u32) -> Self {
        match number {
            1 => Self::Tx,
            2 => Self::Block,
            3 => Self::FilteredBlock,
            4 => Self::CompactBlock,
            5 => Self::Wtx,
            0x4000_0001 => Self::WitnessTx,
            0x4000_0002 => Self::WitnessBlock,
            other => Self::Unknown(other),
        }
    }

    /// A block in any of its forms.
    pub const fn is_block(self) -> bool {
        matches!(self, Self::Block | Self::WitnessBlock | Self::FilteredBlock | Self::CompactBlock)
    }

    /// A transaction under any of its ids.
    pub const fn is_transaction(self) -> bool {
        matches!(self, Self::Tx | Self::WitnessTx | Self::Wtx)
    }
}

/// One thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvItem {
    /// What it is.
    pub kind: InvKind,
    /// Its hash.
    pub hash: Hash256,
}

impl InvItem {
    /// A block.
    pub const fn block(kind: InvKind, hash: BlockHash) -> Self {
        Self { kind, hash: Hash256(hash.0) }
    }

    /// A transaction by wtxid.
    pub const fn wtx(wtxid: Wtxid) -> Self {
        Self { kind: InvKind::Wtx, hash: Hash256(wtxid.0) }
    }

    /// A transaction by txid.
    pub const fn tx(kind: InvKind, txid: Txid) -> Self {
        Self { kind, hash: Hash256(txid.0) }
    }

    /// The hash as a block's.
    pub const fn block_hash(&self) -> BlockHash {
        BlockHash(self.hash.0)
    }
}

impl Encode for InvItem {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.kind.to_u32().to_le_bytes());
        out.extend_from_slice(self.hash.as_bytes());
    }
}

pub(super) fn decode_items(reader: &mut Reader<'_>) -> Result<Vec<InvItem>, DecodeError> {
    let count = super::bounded_count(reader, "inventory items", 36, MAX_INV)?;
    (0..count)
        .map(|_| Ok(InvItem { kind: InvKind::from_u32(reader.u32_le()?), hash: Hash256(reader.array()?) }))
        .collect()
}
