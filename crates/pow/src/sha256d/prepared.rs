//! What is the same for all nonces of a header, worked out once. Made by the search, read by the kernels.

use super::block::{Compressor, IV, K, round, small_sigma0, small_sigma1};
use super::header_words;

/// A header made ready for hashing with many nonces.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// State after the first 64 bytes.
    pub(crate) midstate: [u32; 8],
    /// Big-endian words of bytes 64 to 76: end of the Merkle root, time, bits.
    pub(crate) tail: [u32; 3],
    /// State after the three rounds of the second block that do not see the nonce, in [`round`]'s moving order.
    pub(crate) after_three: [u32; 8],
    /// Message words 16 and 17, which do not depend on the nonce.
    pub(crate) w16: u32,
    /// See `w16`.
    pub(crate) w17: u32,
    /// Message word 18 without sigma 0 of the nonce.
    pub(crate) w18_fixed: u32,
    /// Message word 19 without the nonce.
    pub(crate) w19_fixed: u32,
}

impl Prepared {
    /// Prepares 80 header bytes; their nonce (bytes 76 to 80) does not matter.
    pub(crate) fn new(header: &[u8; 80]) -> Self {
        let (first, tail, _) = header_words(header);
        let mut midstate = IV;
        Compressor::best().compress(&mut midstate, &first);
        let mut after_three = midstate;
        for (i, word) in tail.iter().enumerate() {
            round(&mut after_three, i, word.wrapping_add(K[i]));
        }
        const PADDING: u32 = 0x8000_0000;
        const BITS: u32 = 640;
        // w[i] = sigma1(w[i-2]) + w[i-7] + sigma0(w[i-15]) + w[i-16], where w[4] is the padding, w[5..15] are
        // zero and w[15] is the length.
        let w16 = small_sigma0(tail[1]).wrapping_add(tail[0]);
        let w17 = small_sigma1(BITS).wrapping_add(small_sigma0(tail[2])).wrapping_add(tail[1]);
        let w18_fixed = small_sigma1(w16).wrapping_add(tail[2]);
        let w19_fixed = small_sigma1(w17).wrapping_add(small_sigma0(PADDING));
        Self { midstate, tail, after_three, w16, w17, w18_fixed, w19_fixed }
    }

    /// SHA-256d of the header with this nonce (its value as a little-endian header field).
    pub(crate) fn hash(&self, compressor: Compressor, nonce: u32) -> [u8; 32] {
        super::finish(compressor, &self.midstate, &self.tail, nonce.swap_bytes())
    }
}
