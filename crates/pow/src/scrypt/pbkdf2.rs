//! PBKDF2-HMAC-SHA256 with one iteration, for the one shape in which scrypt as proof of work needs it: the header is
//! password and salt of the first call, password of the second, whose salt is the mixed block.
//!
//! Called by this folder's [`super`] only; RFC 8018 and RFC 7914, section 6.

use crate::sha256d::block::{Compressor, IV, state_bytes};

/// The 128 bytes that scrypt mixes, as little-endian words.
pub(super) type Block = [u32; 32];

const PADDING: u32 = 0x8000_0000;

/// HMAC-SHA256 keyed with a header: the states after the inner and the outer pad.
#[derive(Clone, Copy)]
pub(super) struct HeaderHmac {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HeaderHmac {
    /// The first call: the key and the block to mix.
    pub(super) fn begin(compressor: Compressor, header: &[u8; 80]) -> (Self, Block) {
        let (first, [t0, t1, t2], nonce) = crate::sha256d::header_words(header);
        // The key is longer than a SHA-256 block, so HMAC takes its hash.
        let mut key = IV;
        compressor.compress(&mut key, &first);
        compressor.compress(&mut key, &[t0, t1, t2, nonce, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 640]);
        let pad = |byte: u32| {
            let mut block = [byte; 16];
            block.iter_mut().zip(key).for_each(|(word, key)| *word ^= key);
            let mut state = IV;
            compressor.compress(&mut state, &block);
            state
        };
        let hmac = Self { inner: pad(0x3636_3636), outer: pad(0x5c5c_5c5c) };

        // Salt, then the number of the output block. All four share the first 64 bytes of salt.
        let mut salted = hmac.inner;
        compressor.compress(&mut salted, &first);
        let mut block = [0; 32];
        for (i, out) in (1u32..).zip(block.chunks_exact_mut(8)) {
            let mut inner = salted;
            let length = (64 + 84) * 8;
            compressor
                .compress(&mut inner, &[t0, t1, t2, nonce, i, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, length]);
            let words = hmac.close(compressor, inner);
            out.iter_mut().zip(words).for_each(|(out, word)| *out = word.swap_bytes());
        }
        (hmac, block)
    }

    /// The second call: the proof-of-work hash of a mixed block.
    pub(super) fn finish(&self, compressor: Compressor, mixed: &Block) -> [u8; 32] {
        let mut inner = self.inner;
        for half in mixed.chunks_exact(16) {
            let block = std::array::from_fn(|i| half[i].swap_bytes());
            compressor.compress(&mut inner, &block);
        }
        let length = (64 + 132) * 8;
        compressor.compress(&mut inner, &[1, PADDING, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length]);
        state_bytes(&self.close(compressor, inner))
    }

    /// HMAC's outer hash over a finished inner one.
    fn close(&self, compressor: Compressor, inner: [u32; 8]) -> [u32; 8] {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&inner);
        block[8] = PADDING;
        block[15] = (64 + 32) * 8;
        let mut state = self.outer;
        compressor.compress(&mut state, &block);
        state
    }
}
