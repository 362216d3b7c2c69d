//! One SHA-256 compression, portable or with the processor's SHA instructions, and what is built of it.
//!
//! Used by the header hash and the search kernels of this folder, and by scrypt's PBKDF2.

/// SHA-256's initial state (FIPS 180-4, 5.3.3).
pub(crate) const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256's round constants (FIPS 180-4, 4.2.2).
#[rustfmt::skip]
pub(crate) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Which code compresses a single block here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressor {
    /// Plain integer code.
    Portable,
    /// The SHA extensions of x86-64.
    #[cfg(target_arch = "x86_64")]
    ShaNi,
}

impl Compressor {
    /// The fastest that this processor has.
    #[inline]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if super::sha_ni::available() {
            return Self::ShaNi;
        }
        Self::Portable
    }

    /// Folds one 64-byte block, given as big-endian words, into `state`.
    #[inline]
    #[allow(unsafe_code)]
    pub(crate) fn compress(self, state: &mut [u32; 8], block: &[u32; 16]) {
        match self {
            Self::Portable => compress_portable(state, block),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `best` gives this variant only after finding the instructions.
            Self::ShaNi => unsafe { super::sha_ni::compress(state, block) },
        }
    }
}

/// The 32 bytes of a finished state, each word big-endian.
pub(crate) fn state_bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(state) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// One round, on a state whose names move instead of its words: `a` is `s[(64 - i) % 8]`.
pub(crate) fn round(s: &mut [u32; 8], i: usize, word_and_constant: u32) {
    let at = |n: usize| (64 - i + n) % 8;
    let (a, b, c) = (s[at(0)], s[at(1)], s[at(2)]);
    let (e, f, g) = (s[at(4)], s[at(5)], s[at(6)]);
    let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let choice = g ^ (e & (f ^ g));
    let t1 = s[at(7)].wrapping_add(word_and_constant).wrapping_add(choice).wrapping_add(sum1);
    let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) | (c & (a | b));
    s[at(3)] = s[at(3)].wrapping_add(t1);
    s[at(7)] = t1.wrapping_add(sum0).wrapping_add(majority);
}

/// FIPS 180-4 sigma 0 of the message schedule.
pub(crate) fn small_sigma0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3)
}

/// FIPS 180-4 sigma 1 of the message schedule.
pub(crate) fn small_sigma1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10)
}

/// The compression function as FIPS 180-4, 6.2.2 writes it.
pub(crate) fn compress_portable(state: &mut [u32; 8], block: &[u32; 16]) {
    let mut w = *block;
    let mut s = *state;
    for i in 0..64 {
        if i >= 16 {
            w[i % 16] = w[i % 16]
                .wrapping_add(small_sigma0(w[(i + 1) % 16]))
                .wrapping_add(w[(i + 9) % 16])
                .wrapping_add(small_sigma1(w[(i + 14) % 16]));
        }
        round(&mut s, i, w[i % 16].wrapping_add(K[i]));
    }
    for (word, add) in state.iter_mut().zip(s) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_standards_example() {
        let mut block = [0; 16];
        block[0] = u32::from_be_bytes(*b"abc\x80");
        block[15] = 24;
        let mut state = IV;
        compress_portable(&mut state, &block);
        assert_eq!(
            hex::encode(state_bytes(&state)),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    proptest! {
        #[test]
        fn the_instructions_agree_with_plain_code(state: [u32; 8], block: [u32; 16]) {
            let (mut plain, mut best) = (state, state);
            compress_portable(&mut plain, &block);
            Compressor::best().compress(&mut best, &block);
            prop_assert_eq!(plain, best);
        }
    }
}
