//! The blobs of `getwork` for prime chains, as the reference nodes give and take them and as miners of 2013 know them. The node's
//! RPC and the pool's HTTP port both speak it.
//!
//! Work is a header's 80 bytes with the padding of SHA-256 up to 128, each group of four bytes reversed, in hex. It comes back with
//! another time and nonce, and with the multiplier behind the 80 bytes, in one of two forms that nothing tells apart:
//!
//! - one byte of length and the number as in a block's header, then anything: blobs of 128 bytes (47 for the number), 256 or
//!   512 (the reference nodes up to 2020, Datacoin's, and the miners of that time);
//! - the number in 32 bytes: blobs of 128 bytes (Primecoin's nodes since February 2020).
//!
//! So [`Solution::multipliers`] gives what a blob may mean, and whoever checks the chain takes the one that is one.

use lode_pow::ChainLength;
use lode_primitives::Multiplier;

use crate::hex_field::{hex_bytes, push_hex};

/// Bytes of a header without its multiplier.
const HEADER: usize = 80;
/// Bytes of work, and of the shortest solution.
const WORK: usize = 128;
/// Bytes of a solution at most; beyond it no miner known goes.
const SOLUTION_MAX: usize = 512;
/// Bytes of the number in the second form.
const RAW: usize = 32;
/// Bytes of a multiplier at most: longer ones make no valid chain.
const MULTIPLIER_MAX: usize = 219;

/// Work as it stands in `data`: 256 hex digits.
pub fn write_work(header: &[u8; HEADER]) -> String {
    let mut blob = [0; WORK];
    blob[..HEADER].copy_from_slice(header);
    // SHA-256's padding: a one, and the length in bits as the last number.
    blob[HEADER] = 0x80;
    blob[WORK - 2..].copy_from_slice(&(HEADER as u16 * 8).to_be_bytes());
    write(&mut blob)
}

/// A solution with a multiplier in the first form, of 128 bytes where it fits: what a miner sends.
pub fn write_work_solution(header: &[u8; HEADER], multiplier: &Multiplier) -> String {
    let number = multiplier.as_bytes();
    let size = if HEADER + 1 + number.len() <= WORK { WORK } else { 2 * WORK };
    let mut blob = header.to_vec();
    blob.push(number.len() as u8);
    blob.extend_from_slice(number);
    blob.resize(size.max(blob.len().next_multiple_of(4)), 0);
    write(&mut blob)
}

/// `serverData` as pools gave it beside `data`: 32 bytes that a miner sends back with its solution, of which it reads the second number, the
/// length it is to hand in from, and the third, the height. Without it miners hand in blocks alone.
pub fn write_server_data(share: ChainLength, height: u32) -> String {
    let mut bytes = [0; 32];
    bytes[4..8].copy_from_slice(&share.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&height.to_le_bytes());
    let mut out = Vec::with_capacity(64);
    push_hex(&bytes, &mut out);
    text(out)
}

fn write(blob: &mut [u8]) -> String {
    blob.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let mut out = Vec::with_capacity(2 * blob.len());
    push_hex(blob, &mut out);
    text(out)
}

fn text(hex: Vec<u8>) -> String {
    String::from_utf8(hex).expect("hex digits are ASCII")
}

/// What a miner made of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The header's 80 bytes: the work's but for time and nonce, if it is an honest one.
    pub header: [u8; HEADER],
    behind: Vec<u8>,
}

impl Solution {
    /// Reads a solution's hex; `None` where it is no blob of 128 to 512 bytes in whole groups of four.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 2 * SOLUTION_MAX {
            return None;
        }
        let mut blob = hex_bytes(text).filter(|blob| blob.len() >= WORK && blob.len().is_multiple_of(4))?;
        blob.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        let behind = blob.split_off(HEADER);
        Some(Self { header: blob.try_into().ok()?, behind })
    }

    /// The multipliers that it may carry, one of each form; none is zero or negative. Only a check of the chain tells which is meant.
    pub fn multipliers(&self) -> impl Iterator<Item = Multiplier> {
        let with_length = self.behind.split_first().and_then(|(length, number)| {
            let number =
                number.get(..usize::from(*length)).filter(|number| number.len() <= MULTIPLIER_MAX)?;
            let signed = number.last().is_some_and(|top| top & 0x80 != 0);
            (!signed).then(|| Multiplier::from_le_magnitude(number))
        });
        let raw =
            (self.behind.len() == WORK - HEADER).then(|| Multiplier::from_le_magnitude(&self.behind[..RAW]));
        with_length.into_iter().chain(raw).filter(|multiplier| !multiplier.as_bytes().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> [u8; HEADER] {
        std::array::from_fn(|i| i as u8)
    }

    #[test]
    fn work_is_padded_and_its_words_are_reversed() {
        let work = write_work(&header());
        assert!(work.starts_with("0302010007060504") && work.len() == 256);
        // A one behind the 80 bytes, and 640 bits at the end: as numbers, most significant digit first.
        assert_eq!((&work[160..168], &work[248..]), ("00000080", "80020000"));
        assert_eq!(Solution::parse(&work).unwrap().header, header());
    }

    #[test]
    fn both_forms_are_read() {
        // Multipliers of the vectors: 969371 is 03 9bca0e in a header.
        let multiplier = Multiplier::from_le_magnitude(&[0x9b, 0xca, 0x0e]);
        let sent = write_work_solution(&header(), &multiplier);
        assert_eq!((sent.len(), &sent[160..168]), (256, "0eca9b03"));
        let solution = Solution::parse(&sent).unwrap();
        assert_eq!(solution.multipliers().next(), Some(multiplier.clone()));
        let mut raw = Solution { header: header(), behind: vec![0; 48] };
        raw.behind[..3].copy_from_slice(&[0x9b, 0xca, 0x0e]);
        // 0x9b is no length that fits; what lies behind the 32 bytes is no part of it.
        raw.behind[40] = 7;
        assert_eq!(raw.multipliers().collect::<Vec<_>>(), [multiplier]);
        // Work that was not worked on carries none of the first form.
        assert_eq!(Solution::parse(&write_work(&header())).unwrap().multipliers().count(), 1);
        assert_eq!(Solution { header: header(), behind: vec![0; 48] }.multipliers().count(), 0);
    }

    #[test]
    fn server_data_tells_length_and_height() {
        let data = write_server_data(ChainLength(0x0980_0000), 0x0102_0304);
        assert_eq!(data, format!("00000000{}{}{}", "00008009", "04030201", "0".repeat(40)));
    }

    proptest! {
        #[test]
        fn what_a_miner_sends_is_among_what_is_read(
            magnitude in prop::collection::vec(any::<u8>(), 1..215), header: [u8; 32], cut in 0usize..600,
        ) {
            let multiplier = Multiplier::from_le_magnitude(&magnitude);
            prop_assume!(!multiplier.as_bytes().is_empty());
            let whole: [u8; HEADER] = std::array::from_fn(|i| header[i % 32]);
            let text = write_work_solution(&whole, &multiplier);
            let read = Solution::parse(&text).unwrap();
            prop_assert_eq!(read.header, whole);
            prop_assert!(read.multipliers().any(|read| read == multiplier));
            // Cut or odd, it is survived.
            let _ = Solution::parse(&text[..cut.min(text.len())]).map(|cut| cut.multipliers().count());
        }

        #[test]
        fn any_text_is_survived(text in ".{0,300}", hex in "[0-9a-f]{256,1040}") {
            for text in [text, hex] {
                let _ = Solution::parse(&text).map(|read| read.multipliers().count());
            }
        }
    }
}
