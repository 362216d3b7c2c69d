//! MuHash3072: a hash of a set that does not depend on the order its elements come in.
//!
//! `gettxoutsetinfo muhash` uses it. An element becomes a number modulo 2^3072 - 1103717 (the ChaCha20 key stream
//! under its SHA-256), and the set is the product of its elements. Source: the reference implementation's
//! `crypto/muhash`.

use lode_primitives::sha256;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// 64-bit limbs of 3072 bits.
const LIMBS: usize = 48;
/// 2^3072 minus the modulus.
const SHORT: u64 = 1_103_717;

/// A number below 2^3072, least significant limb first.
type Number = [u64; LIMBS];

/// The product of a set's elements so far.
#[derive(Clone)]
pub(crate) struct MuHash(Number);

impl MuHash {
    /// The empty set.
    pub(crate) fn new() -> Self {
        let mut one = [0; LIMBS];
        one[0] = 1;
        Self(one)
    }

    /// Adds one element.
    pub(crate) fn insert(&mut self, element: &[u8]) {
        let mut stream = ChaCha20Rng::from_seed(sha256(element));
        let mut number = [0; LIMBS];
        for limb in &mut number {
            *limb = stream.next_u64();
        }
        self.0 = multiply(&self.0, &number);
    }

    /// The hash of the set, in internal byte order.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        // The product is below 2^3072, which may still be one modulus too much.
        if self.0[1..].iter().all(|limb| *limb == u64::MAX) && self.0[0] >= 0u64.wrapping_sub(SHORT) {
            add_small(&mut self.0, SHORT);
        }
        let mut bytes = Vec::with_capacity(LIMBS * 8);
        for limb in self.0 {
            bytes.extend_from_slice(&limb.to_le_bytes());
        }
        sha256(&bytes)
    }
}

/// Adds `small`; returns the carry out of the top.
fn add_small(number: &mut Number, small: u64) -> bool {
    let mut carry = small;
    for limb in number {
        let (sum, overflow) = limb.overflowing_add(carry);
        *limb = sum;
        if !overflow {
            return false;
        }
        carry = 1;
    }
    true
}

/// a * b modulo 2^3072 - 1103717, below 2^3072.
fn multiply(a: &Number, b: &Number) -> Number {
    let mut wide = [0u64; 2 * LIMBS];
    for (i, x) in a.iter().enumerate() {
        let mut carry = 0u128;
        for (j, y) in b.iter().enumerate() {
            let sum = u128::from(*x) * u128::from(*y) + u128::from(wide[i + j]) + carry;
            wide[i + j] = sum as u64;
            carry = sum >> 64;
        }
        wide[i + LIMBS] = carry as u64;
    }
    // 2^3072 is SHORT modulo the modulus: low half + SHORT * high half, and the same for what sticks out again.
    let mut low = [0u64; LIMBS];
    let mut carry = 0u128;
    for i in 0..LIMBS {
        let sum = u128::from(wide[i]) + u128::from(wide[LIMBS + i]) * u128::from(SHORT) + carry;
        low[i] = sum as u64;
        carry = sum >> 64;
    }
    // carry < 2^21 + 1, so the product fits 64 bits.
    if add_small(&mut low, carry as u64 * SHORT) {
        add_small(&mut low, SHORT);
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's unit test: the elements 0, 1 and 2, each the 32-byte array that starts with it.
    #[test]
    fn order_does_not_matter_and_empty_set_is_one() {
        let element = |n: u8| {
            let mut bytes = [0u8; 32];
            bytes[0] = n;
            bytes
        };
        let hash = |order: [u8; 3]| {
            let mut set = MuHash::new();
            for n in order {
                set.insert(&element(n));
            }
            set.finish()
        };
        assert_eq!(hash([0, 1, 2]), hash([2, 0, 1]));
        assert_ne!(hash([0, 1, 2]), hash([0, 1, 3]));
        let mut one = [0u8; 384];
        one[0] = 1;
        assert_eq!(MuHash::new().finish(), sha256(&one));
    }

    #[test]
    fn the_modulus_counts_as_zero() {
        let mut modulus = [u64::MAX; LIMBS];
        modulus[0] = 0u64.wrapping_sub(SHORT);
        assert_eq!(MuHash(modulus).finish(), sha256(&[0; 384]));
        // (m - 1)^2 = 1 modulo m
        let mut below = modulus;
        below[0] -= 1;
        assert_eq!(MuHash(multiply(&below, &below)).finish(), MuHash::new().finish());
    }
}
