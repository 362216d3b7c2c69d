//! Compact block filters (BIP157): the messages' forms.

use lode_primitives::{
    BlockHash, Decode, DecodeError, Encode, Form, Hash256, Reader, encode_bytes, encode_compact_size,
};

use super::MAX_PAYLOAD;

/// Most filter headers in one message (BIP157).
pub const MAX_FILTER_HEADERS: usize = 2_000;

/// `getcfilters`: filters of a run of blocks, at most 1,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetCFilters {
    /// Kind of filter; 0 is the basic one.
    pub filter_type: u8,
    /// First height.
    pub start_height: u32,
    /// Last block.
    pub stop: BlockHash,
}

/// `cfilter`: one block's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CFilter {
    /// Kind of filter.
    pub filter_type: u8,
    /// The block.
    pub block: BlockHash,
    /// The filter (BIP158).
    pub filter: Vec<u8>,
}

/// `getcfheaders`: filter headers of a run of blocks, at most 2,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetCFHeaders {
    /// Kind of filter.
    pub filter_type: u8,
    /// First height.
    pub start_height: u32,
    /// Last block.
    pub stop: BlockHash,
}

/// `cfheaders`: the hashes of filters, and the filter header they build on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CFHeaders {
    /// Kind of filter.
    pub filter_type: u8,
    /// Last block.
    pub stop: BlockHash,
    /// Filter header before the first.
    pub previous: Hash256,
    /// Filters' hashes in block order.
    pub filter_hashes: Vec<Hash256>,
}

/// `getcfcheckpt`: every thousandth filter header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetCFCheckpt {
    /// Kind of filter.
    pub filter_type: u8,
    /// Last block.
    pub stop: BlockHash,
}

/// `cfcheckpt`: every thousandth filter header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CFCheckpt {
    /// Kind of filter.
    pub filter_type: u8,
    /// Last block.
    pub stop: BlockHash,
    /// Filter headers at heights 1,000, 2,000, ...
    pub headers: Vec<Hash256>,
}

fn encode_hashes(hashes: &[Hash256], out: &mut Vec<u8>) {
    encode_compact_size(hashes.len() as u64, out);
    for hash in hashes {
        out.extend_from_slice(hash.as_bytes());
    }
}

fn decode_hashes(reader: &mut Reader<'_>, max: usize) -> Result<Vec<Hash256>, DecodeError> {
    let count = super::bounded_count(reader, "filter hashes", 32, max)?;
    (0..count).map(|_| Ok(Hash256(reader.array()?))).collect()
}

macro_rules! height_range {
    ($name:ident) => {
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.filter_type);
                out.extend_from_slice(&self.start_height.to_le_bytes());
                out.extend_from_slice(self.stop.as_bytes());
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
                Ok(Self {
                    filter_type: reader.u8()?,
                    start_height: reader.u32_le()?,
                    stop: BlockHash(reader.array()?),
                })
            }
        }
    };
}

height_range!(GetCFilters);
height_range!(GetCFHeaders);

impl Encode for CFilter {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.filter_type);
        out.extend_from_slice(self.block.as_bytes());
        encode_bytes(&self.filter, out);
    }
}

impl Decode for CFilter {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            filter_type: reader.u8()?,
            block: BlockHash(reader.array()?),
            filter: reader.bytes("filter", MAX_PAYLOAD)?.to_vec(),
        })
    }
}

impl Encode for CFHeaders {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.filter_type);
        out.extend_from_slice(self.stop.as_bytes());
        out.extend_from_slice(self.previous.as_bytes());
        encode_hashes(&self.filter_hashes, out);
    }
}

impl Decode for CFHeaders {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            filter_type: reader.u8()?,
            stop: BlockHash(reader.array()?),
            previous: Hash256(reader.array()?),
            filter_hashes: decode_hashes(reader, MAX_FILTER_HEADERS)?,
        })
    }
}

impl Encode for GetCFCheckpt {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.filter_type);
        out.extend_from_slice(self.stop.as_bytes());
    }
}

impl Decode for GetCFCheckpt {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self { filter_type: reader.u8()?, stop: BlockHash(reader.array()?) })
    }
}

impl Encode for CFCheckpt {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.filter_type);
        out.extend_from_slice(self.stop.as_bytes());
        encode_hashes(&self.headers, out);
    }
}

impl Decode for CFCheckpt {
    fn decode(reader: &mut Reader<'_>, _: Form) -> Result<Self, DecodeError> {
        Ok(Self {
            filter_type: reader.u8()?,
            stop: BlockHash(reader.array()?),
            headers: decode_hashes(reader, MAX_PAYLOAD / 32)?,
        })
    }
}
