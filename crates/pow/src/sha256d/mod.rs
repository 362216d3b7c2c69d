//! SHA-256d of block headers: one at a time for whoever checks, many at a time for the search.
//!
//! `sha256d_80` serves node and pool; [`Kernel`] and its `scan` serve [`crate::Searcher`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod block;
mod kernel;
mod lanes;
mod portable;
mod prepared;
#[cfg(target_arch = "x86_64")]
pub(crate) mod sha_ni;

use block::{Compressor, IV, state_bytes};
pub use kernel::Kernel;
pub(crate) use prepared::Prepared;

/// The SHA-256d of an 80-byte block header, in the order the bytes come out (little-endian as a number, so a block
/// id as people write it is these bytes reversed).
pub fn sha256d_80(header: &[u8; 80]) -> [u8; 32] {
    let (first, tail, nonce) = header_words(header);
    let compressor = Compressor::best();
    let mut midstate = IV;
    compressor.compress(&mut midstate, &first);
    finish(compressor, &midstate, &tail, nonce)
}

/// A header as big-endian words: the first block, then three words and the nonce.
pub(crate) fn header_words(header: &[u8; 80]) -> ([u32; 16], [u32; 3], u32) {
    let word = |i: usize| {
        u32::from_be_bytes([header[4 * i], header[4 * i + 1], header[4 * i + 2], header[4 * i + 3]])
    };
    (std::array::from_fn(word), [word(16), word(17), word(18)], word(19))
}

/// The header's second block and the second hash; `nonce` is its big-endian word.
fn finish(compressor: Compressor, midstate: &[u32; 8], tail: &[u32; 3], nonce: u32) -> [u8; 32] {
    let mut state = *midstate;
    let mut block = [0; 16];
    block[..3].copy_from_slice(tail);
    block[3] = nonce;
    block[4] = 0x8000_0000;
    block[15] = 640;
    compressor.compress(&mut state, &block);
    let mut block = [0; 16];
    block[..8].copy_from_slice(&state);
    block[8] = 0x8000_0000;
    block[15] = 256;
    let mut state = IV;
    compressor.compress(&mut state, &block);
    state_bytes(&state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The main network's first block (Bitcoin Core, `CreateGenesisBlock`).
    const BITCOIN_GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3ed\
         fd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c";

    #[test]
    fn bitcoin_genesis() {
        let header: [u8; 80] = hex::decode(BITCOIN_GENESIS).unwrap().try_into().unwrap();
        let mut id = sha256d_80(&header);
        id.reverse();
        assert_eq!(hex::encode(id), "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
    }

    proptest! {
        #[test]
        fn agrees_with_bitcoin_hashes(header in proptest::array::uniform32(any::<u8>()), rest in proptest::array::uniform32(any::<u8>()), end: [u8; 16]) {
            let mut bytes = [0; 80];
            bytes[..32].copy_from_slice(&header);
            bytes[32..64].copy_from_slice(&rest);
            bytes[64..].copy_from_slice(&end);
            let oracle = bitcoin_hashes::sha256d::Hash::hash(&bytes).to_byte_array();
            prop_assert_eq!(sha256d_80(&bytes), oracle);
            let nonce = u32::from_le_bytes(bytes[76..].try_into().unwrap());
            prop_assert_eq!(Prepared::new(&bytes).hash(Compressor::Portable, nonce), oracle);
        }
    }
}
