//! The messages of the peer protocol and their payloads' wire form. Framing is [`crate::frame`]'s business.
//!
//! Decoding never panics, allocates no more than the bytes at hand justify, and tolerates bytes behind a payload
//! where the reference client does (all messages may be extended).

mod address;
mod compact;
mod filter;
mod inventory;
mod version;

use std::sync::Arc;

use lode_primitives::merkle::PartialTree;
use lode_primitives::{
    Block, BlockHash, Decode, DecodeError, Encode, Form, Header, Reader, Transaction, encode_compact_size,
    encode_vec,
};

pub(crate) use address::decode_entry;
pub use address::{AddrEntry, Endpoint, MAX_ADDRESSES, NetAddr};
pub use compact::{BlockTxn, CompactBlock, GetBlockTxn, PrefilledTx, ShortId, ShortIdKey};
pub use filter::{
    CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters, MAX_FILTER_HEADERS,
};
pub use inventory::{InvItem, InvKind, MAX_INV};
pub use version::{Services, Version};

/// Most headers in a `headers` message (reference client's `MAX_HEADERS_RESULTS`).
pub const MAX_HEADERS: usize = 2_000;
/// Most hashes in a block locator (reference client's `MAX_LOCATOR_SZ`).
pub const MAX_LOCATOR: usize = 101;
/// Largest payload of any message, in bytes (reference client's `MAX_PROTOCOL_MESSAGE_LENGTH`): holds the largest
/// block and the largest `inv`.
pub const MAX_PAYLOAD: usize = 4_000_000;

/// The names of all messages there are, in the order of [`Message`].
pub const COMMANDS: [&str; 31] = [
    "version",
    "verack",
    "wtxidrelay",
    "sendaddrv2",
    "sendheaders",
    "sendcmpct",
    "feefilter",
    "ping",
    "pong",
    "getaddr",
    "addr",
    "addrv2",
    "inv",
    "getdata",
    "notfound",
    "getheaders",
    "getblocks",
    "headers",
    "block",
    "tx",
    "mempool",
    "cmpctblock",
    "getblocktxn",
    "blocktxn",
    "merkleblock",
    "getcfilters",
    "cfilter",
    "getcfheaders",
    "cfheaders",
    "getcfcheckpt",
    "cfcheckpt",
];

/// `getheaders` and `getblocks`: where we are, and where to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Sender's protocol version; nobody reads it.
    pub version: u32,
    /// Known blocks, newest first, thinning out towards genesis.
    pub hashes: Vec<BlockHash>,
    /// Last block wanted; zero for as many as fit.
    pub stop: BlockHash,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the protocol's own names
pub enum Message {
    Version(Version),
    Verack,
    /// BIP339: announce transactions by wtxid.
    WtxidRelay,
    /// BIP155: send addresses as `addrv2`.
    SendAddrV2,
    /// BIP130: announce blocks by `headers`.
    SendHeaders,
    /// BIP152: compact blocks, at once (high bandwidth) or on request.
    SendCmpct {
        high_bandwidth: bool,
        version: u64,
    },
    /// BIP133: no transactions below this fee rate, satoshi per 1,000 virtual bytes.
    FeeFilter(i64),
    Ping(u64),
    Pong(u64),
    GetAddr,
    Addr(Vec<AddrEntry>),
    AddrV2(Vec<AddrEntry>),
    Inv(Vec<InvItem>),
    GetData(Vec<InvItem>),
    NotFound(Vec<InvItem>),
    GetHeaders(Locator),
    GetBlocks(Locator),
    Headers(Vec<Header>),
    Block(Arc<Block>),
    Tx(Arc<Transaction>),
    Mempool,
    CmpctBlock(Arc<CompactBlock>),
    GetBlockTxn(GetBlockTxn),
    BlockTxn(BlockTxn),
    MerkleBlock {
        header: Header,
        tree: PartialTree,
    },
    GetCFilters(GetCFilters),
    CFilter(CFilter),
    GetCFHeaders(GetCFHeaders),
    CFHeaders(CFHeaders),
    GetCFCheckpt(GetCFCheckpt),
    CFCheckpt(CFCheckpt),
    /// Anything else, by its name: ignored, as the protocol wants it (`reject`, `alert`, `checkpoint`, ...).
    Unknown(String),
}

impl Message {
    /// The message's name on the wire.
    pub fn command(&self) -> &str {
        match self {
            Self::Version(_) => "version",
            Self::Verack => "verack",
            Self::WtxidRelay => "wtxidrelay",
            Self::SendAddrV2 => "sendaddrv2",
            Self::SendHeaders => "sendheaders",
            Self::SendCmpct { .. } => "sendcmpct",
            Self::FeeFilter(_) => "feefilter",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::GetAddr => "getaddr",
            Self::Addr(_) => "addr",
            Self::AddrV2(_) => "addrv2",
            Self::Inv(_) => "inv",
            Self::GetData(_) => "getdata",
            Self::NotFound(_) => "notfound",
            Self::GetHeaders(_) => "getheaders",
            Self::GetBlocks(_) => "getblocks",
            Self::Headers(_) => "headers",
            Self::Block(_) => "block",
            Self::Tx(_) => "tx",
            Self::Mempool => "mempool",
            Self::CmpctBlock(_) => "cmpctblock",
            Self::GetBlockTxn(_) => "getblocktxn",
            Self::BlockTxn(_) => "blocktxn",
            Self::MerkleBlock { .. } => "merkleblock",
            Self::GetCFilters(_) => "getcfilters",
            Self::CFilter(_) => "cfilter",
            Self::GetCFHeaders(_) => "getcfheaders",
            Self::CFHeaders(_) => "cfheaders",
            Self::GetCFCheckpt(_) => "getcfcheckpt",
            Self::CFCheckpt(_) => "cfcheckpt",
            Self::Unknown(name) => name,
        }
    }

    /// Appends the payload.
    pub fn encode_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::Version(version) => version.encode(out),
            Self::Verack
            | Self::WtxidRelay
            | Self::SendAddrV2
            | Self::SendHeaders
            | Self::GetAddr
            | Self::Mempool
            | Self::Unknown(_) => {}
            Self::SendCmpct { high_bandwidth, version } => {
                out.push(u8::from(*high_bandwidth));
                out.extend_from_slice(&version.to_le_bytes());
            }
            Self::FeeFilter(rate) => out.extend_from_slice(&rate.to_le_bytes()),
            Self::Ping(nonce) | Self::Pong(nonce) => out.extend_from_slice(&nonce.to_le_bytes()),
            Self::Addr(entries) => address::encode_addr(entries, out),
            Self::AddrV2(entries) => address::encode_addrv2(entries, out),
            Self::Inv(items) | Self::GetData(items) | Self::NotFound(items) => encode_vec(items, out),
            Self::GetHeaders(locator) | Self::GetBlocks(locator) => locator.encode(out),
            Self::Headers(headers) => {
                encode_compact_size(headers.len() as u64, out);
                for header in headers {
                    header.encode(out);
                    out.push(0); // a transaction count that is always none
                }
            }
            Self::Block(block) => block.encode(out),
            Self::Tx(transaction) => transaction.encode(out),
            Self::CmpctBlock(compact) => compact.encode(out),
            Self::GetBlockTxn(request) => request.encode(out),
            Self::BlockTxn(answer) => answer.encode(out),
            Self::MerkleBlock { header, tree } => {
                header.encode(out);
                tree.encode(out);
            }
            Self::GetCFilters(request) => request.encode(out),
            Self::CFilter(answer) => answer.encode(out),
            Self::GetCFHeaders(request) => request.encode(out),
            Self::CFHeaders(answer) => answer.encode(out),
            Self::GetCFCheckpt(request) => request.encode(out),
            Self::CFCheckpt(answer) => answer.encode(out),
        }
    }

    /// Reads the payload of the message named `command`.
    pub fn decode(command: &str, payload: &[u8], form: Form) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let r = &mut reader;
        Ok(match command {
            "version" => Self::Version(Version::decode(r, form)?),
            "verack" => Self::Verack,
            "wtxidrelay" => Self::WtxidRelay,
            "sendaddrv2" => Self::SendAddrV2,
            "sendheaders" => Self::SendHeaders,
            "sendcmpct" => Self::SendCmpct { high_bandwidth: r.u8()? == 1, version: r.u64_le()? },
            "feefilter" => Self::FeeFilter(r.i64_le()?),
            "ping" => Self::Ping(r.u64_le()?),
            "pong" => Self::Pong(r.u64_le()?),
            "getaddr" => Self::GetAddr,
            "addr" => Self::Addr(address::decode_addr(r)?),
            "addrv2" => Self::AddrV2(address::decode_addrv2(r)?),
            "inv" => Self::Inv(inventory::decode_items(r)?),
            "getdata" => Self::GetData(inventory::decode_items(r)?),
            "notfound" => Self::NotFound(inventory::decode_items(r)?),
            "getheaders" => Self::GetHeaders(Locator::decode(r, form)?),
            "getblocks" => Self::GetBlocks(Locator::decode(r, form)?),
            "headers" => Self::Headers(decode_headers(r, form)?),
            "block" => Self::Block(Arc::new(Block::decode(r, form)?)),
            "tx" => Self::Tx(Arc::new(Transaction::decode(r, form)?)),
            "mempool" => Self::Mempool,
            "cmpctblock" => Self::CmpctBlock(Arc::new(CompactBlock::decode(r, form)?)),
            "getblocktxn" => Self::GetBlockTxn(GetBlockTxn::decode(r, form)?),
            "blocktxn" => Self::BlockTxn(BlockTxn::decode(r, form)?),
            "merkleblock" => {
                Self::MerkleBlock { header: Header::decode(r, form)?, tree: PartialTree::decode(r, form)? }
            }
            "getcfilters" => Self::GetCFilters(GetCFilters::decode(r, form)?),
            "cfilter" => Self::CFilter(CFilter::decode(r, form)?),
            "getcfheaders" => Self::GetCFHeaders(GetCFHeaders::decode(r, form)?),
            "cfheaders" => Self::CFHeaders(CFHeaders::decode(r, form)?),
            "getcfcheckpt" => Self::GetCFCheckpt(GetCFCheckpt::decode(r, form)?),
            "cfcheckpt" => Self::CFCheckpt(CFCheckpt::decode(r, form)?),
            other => Self::Unknown(other.to_owned()),
        })
    }
}

/// Longest payload accepted under a name, in bytes. Small messages cannot be used to fill memory.
pub fn max_payload(command: &str) -> usize {
    match command {
        "version" => 2_000,
        "verack" | "wtxidrelay" | "sendaddrv2" | "sendheaders" | "sendcmpct" | "feefilter" | "ping"
        | "pong" | "getaddr" | "mempool" | "getcfilters" | "getcfheaders" | "getcfcheckpt" => 200,
        "addr" => 40_000,
        "addrv2" => MAX_ADDRESSES * 540,
        "getheaders" | "getblocks" => 45 + MAX_LOCATOR * 32,
        _ => MAX_PAYLOAD,
    }
}

impl Encode for Locator {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        encode_compact_size(self.hashes.len() as u64, out);
        for hash in &self.hashes {
            out.extend_from_slice(hash.as_bytes());
        }
        out.extend_from_slice(self.stop.as_bytes());
    }
}

impl Decode for Locator {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        let version = reader.u32_le()?;
        let count = bounded_count(reader, "locator hashes", 32, MAX_LOCATOR)?;
        let hashes =
            (0..count).map(|_| Ok(BlockHash(reader.array()?))).collect::<Result<Vec<_>, DecodeError>>()?;
        Ok(Self { version, hashes, stop: BlockHash(reader.array()?) })
    }
}

fn decode_headers(reader: &mut Reader<'_>, form: Form) -> Result<Vec<Header>, DecodeError> {
    let count = bounded_count(reader, "headers", 81, MAX_HEADERS)?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push(Header::decode(reader, form)?);
        // The count of transactions is none; the reference client ignores its value.
        reader.compact_size()?;
    }
    Ok(headers)
}

/// A count of items of at least `item_min` bytes, refused where over `max`.
fn bounded_count(
    reader: &mut Reader<'_>,
    what: &'static str,
    item_min: usize,
    max: usize,
) -> Result<usize, DecodeError> {
    let count = reader.count(item_min)?;
    if count > max {
        return Err(DecodeError::TooLarge { what, size: count as u64, max: max as u64 });
    }
    Ok(count)
}
