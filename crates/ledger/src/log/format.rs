//! Bytes of the share log: segment header, frames, records. `docs/share-log.md` shows them as diagrams.
//!
//! A segment is a header and frames; a frame is one batch of records under one checksum; a segment's dictionary
//! records make it readable on its own. All integers are little-endian.

use lode_primitives::BlockHash;

use crate::Credit;
use crate::registry::{MAX_ACCOUNT_NAME, MAX_SCRIPT, MAX_WORKER_NAME};

/// Bytes of a segment's header.
pub(super) const HEADER_LEN: usize = 96;
/// Bytes of a frame's header.
pub(super) const FRAME_LEN: usize = 24;
/// Bytes of a share record.
pub(super) const SHARE_LEN: usize = 20;
/// Longest payload of a frame: a full batch with a dictionary entry for every share stays below it.
pub(super) const PAYLOAD_MAX: usize = 64 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"LODESHR1";
pub(super) const FRAME_MAGIC: [u8; 4] = *b"LSf1";
const CHAIN_LEN: usize = 24;
const TEMPLATE_LEN: usize = 56;

const TAG_ACCOUNT: u8 = 1;
const TAG_WORKER: u8 = 2;
const TAG_TEMPLATE: u8 = 3;
const TAG_SHARE: u8 = 4;

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number, counted from 1.
    pub number: u64,
    /// Unix time in milliseconds; the shares' times count from it.
    pub base_ms: u64,
    /// Sequence number of its first share: shares are counted from 0 over the whole log.
    pub first_sequence: u64,
    /// Sum of the credit units of all shares before it.
    pub units_before: u128,
    /// The network's difficulty in credit units when it was begun.
    pub network_units: u128,
    /// Coin and network, such as `bitcoin/regtest`.
    pub chain: String,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.base_ms.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[32..48].copy_from_slice(&self.units_before.to_le_bytes());
        out[48..64].copy_from_slice(&self.network_units.to_le_bytes());
        let chain = &self.chain.as_bytes()[..self.chain.len().min(CHAIN_LEN)];
        out[64..64 + chain.len()].copy_from_slice(chain);
        let crc = crc32fast::hash(&out[..HEADER_LEN - 4]);
        out[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.get(..HEADER_LEN)?.try_into().ok()?;
        if bytes[..8] != SEGMENT_MAGIC
            || crc32fast::hash(&bytes[..HEADER_LEN - 4]) != u32_at(bytes, HEADER_LEN - 4)
        {
            return None;
        }
        let chain = bytes[64..64 + CHAIN_LEN].split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            number: u64_at(bytes, 8),
            base_ms: u64_at(bytes, 16),
            first_sequence: u64_at(bytes, 24),
            units_before: u128_at(bytes, 32),
            network_units: u128_at(bytes, 48),
            chain: String::from_utf8_lossy(chain).into_owned(),
        })
    }
}

/// One record of a frame's payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Account { index: u32, name: &'a str, script: &'a [u8] },
    Worker { index: u32, account: u32, name: &'a str },
    Template { index: u16, height: u32, prev: BlockHash, network_units: u128 },
    Share { template: u16, worker: u32, offset_ms: u32, credit: Credit },
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Account { index, name, script } => {
                out.extend_from_slice(&[TAG_ACCOUNT, name.len() as u8, script.len() as u8, 0]);
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(script);
            }
            Self::Worker { index, account, name } => {
                out.extend_from_slice(&[TAG_WORKER, name.len() as u8, 0, 0]);
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(&account.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
            }
            Self::Template { index, height, prev, network_units } => {
                out.extend_from_slice(&[TAG_TEMPLATE, 0]);
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(&height.to_le_bytes());
                out.extend_from_slice(prev.as_bytes());
                out.extend_from_slice(&network_units.to_le_bytes());
            }
            Self::Share { template, worker, offset_ms, credit } => {
                let mut record = [0; SHARE_LEN];
                record[0] = TAG_SHARE;
                record[2..4].copy_from_slice(&template.to_le_bytes());
                record[4..8].copy_from_slice(&worker.to_le_bytes());
                record[8..12].copy_from_slice(&offset_ms.to_le_bytes());
                record[12..].copy_from_slice(&credit.to_units().to_le_bytes());
                out.extend_from_slice(&record);
            }
        }
    }

    /// The first record of `payload` and its length; `None` where it is not one.
    pub(super) fn decode(payload: &'a [u8]) -> Option<(Self, usize)> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        match *payload.first()? {
            TAG_ACCOUNT => {
                let (name_len, script_len) = (usize::from(*payload.get(1)?), usize::from(*payload.get(2)?));
                if name_len > MAX_ACCOUNT_NAME || script_len > MAX_SCRIPT {
                    return None;
                }
                let bytes = payload.get(..8 + name_len + script_len)?;
                let (name, script) = bytes[8..].split_at(name_len);
                Some((Self::Account { index: u32_at(bytes, 4), name: text(name)?, script }, bytes.len()))
            }
            TAG_WORKER => {
                let name_len = usize::from(*payload.get(1)?);
                let bytes = payload.get(..12 + name_len).filter(|_| name_len <= MAX_WORKER_NAME)?;
                let (index, account) = (u32_at(bytes, 4), u32_at(bytes, 8));
                Some((Self::Worker { index, account, name: text(&bytes[12..])? }, bytes.len()))
            }
            TAG_TEMPLATE => {
                let bytes = payload.get(..TEMPLATE_LEN)?;
                let index = u16::from_le_bytes([bytes[2], bytes[3]]);
                let mut prev = BlockHash::ZERO;
                prev.0.copy_from_slice(&bytes[8..40]);
                let network_units = u128_at(bytes, 40);
                Some((Self::Template { index, height: u32_at(bytes, 4), prev, network_units }, TEMPLATE_LEN))
            }
            TAG_SHARE => {
                let bytes = payload.get(..SHARE_LEN)?;
                let template = u16::from_le_bytes([bytes[2], bytes[3]]);
                let credit = Credit::from_units(u64_at(bytes, 12));
                let (worker, offset_ms) = (u32_at(bytes, 4), u32_at(bytes, 8));
                Some((Self::Share { template, worker, offset_ms, credit }, SHARE_LEN))
            }
            _ => None,
        }
    }
}

/// A frame found intact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Its records.
    pub(super) payload: &'a [u8],
    /// Bytes of the segment that were on the disk when it was written.
    pub(super) synced: u32,
    /// Sequence number of its first share.
    pub(super) sequence: u64,
}

impl<'a> Frame<'a> {
    /// The intact frame at the start of `bytes`.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let frame = Self::opened(bytes)?;
        (crc32fast::hash(&bytes[8..frame.len()]) == u32_at(bytes, 4)).then_some(frame)
    }

    /// The frame at the start of `bytes`, whose checksum was found right before.
    pub(super) fn opened(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.get(..FRAME_LEN)?;
        let len = u32_at(head, 8) as usize;
        if head[..4] != FRAME_MAGIC || len > PAYLOAD_MAX {
            return None;
        }
        let frame = bytes.get(..FRAME_LEN + len)?;
        Some(Self { payload: &frame[FRAME_LEN..], synced: u32_at(head, 12), sequence: u64_at(head, 16) })
    }

    /// Bytes it takes, header included.
    pub(super) fn len(&self) -> usize {
        FRAME_LEN + self.payload.len()
    }

    /// Fills in the header of the frame in `bytes`: `FRAME_LEN` bytes of room, then the payload.
    pub(super) fn seal(bytes: &mut [u8], synced: u32, sequence: u64) {
        let len = (bytes.len() - FRAME_LEN) as u32;
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..16].copy_from_slice(&synced.to_le_bytes());
        bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array(bytes, at))
}

/// `N` bytes at `at`, inside a slice whose length was checked.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_survives_and_a_flipped_bit_does_not() {
        let header = SegmentHeader {
            number: 7,
            base_ms: 1_700_000_000_123,
            first_sequence: 99,
            units_before: 1 << 90,
            network_units: 1 << 79,
            chain: "litecoin/regtest".into(),
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        bytes[33] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn records_round_trip(name in ".{0,20}", script in prop::collection::vec(any::<u8>(), 1..100), n: u32, t: u16, c: u64, w: u128) {
            for record in [
                Record::Account { index: n, name: &name, script: &script },
                Record::Worker { index: !n, account: n, name: &cut(&name) },
                Record::Template { index: t, height: n, prev: BlockHash([n as u8; 32]), network_units: w },
                Record::Share { template: t, worker: n, offset_ms: !n, credit: Credit::from_units(c) },
            ] {
                let mut bytes = Vec::new();
                record.encode(&mut bytes);
                let len = bytes.len();
                prop_assert_eq!(Record::decode(&bytes), Some((record, len)));
                prop_assert!(Record::decode(&bytes[..len - 1]).is_none());
            }
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
            let _ = Frame::open(&bytes);
            let _ = SegmentHeader::decode(&bytes);
        }
    }

    fn cut(name: &str) -> String {
        name.chars().take(10).collect()
    }
}
