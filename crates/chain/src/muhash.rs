//! MuHash3072: a hash of a set, the product of its elements' hashes modulo the greatest safe prime below 2^3072.
//!
//! An element's factor is 384 bytes of ChaCha20 under the key SHA-256(element); the set's hash is the SHA-256 of the
//! product, little-endian (the reference client's `crypto/muhash`). Only insertion is needed here.

use lode_primitives::sha256;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// 64-bit limbs of 3072 bits, least first.
const LIMBS: usize = 48;

/// The modulus is 2^3072 less this.
const GAP: u64 = 1_103_717;

type Number = [u64; LIMBS];

/// The running product.
#[derive(Clone, Debug)]
pub(crate) struct MuHash {
    product: Number,
}

impl Default for MuHash {
    fn default() -> Self {
        let mut product = [0; LIMBS];
        product[0] = 1;
        Self { product }
    }
}

impl MuHash {
    /// Adds an element to the set.
    pub(crate) fn insert(&mut self, element: &[u8]) {
        // With its counter and stream at zero the generator's output is ChaCha20's key stream.
        let mut stream = ChaCha20Rng::from_seed(sha256(element));
        let mut bytes = [0; 8 * LIMBS];
        stream.fill_bytes(&mut bytes);
        let mut factor = [0; LIMBS];
        for (limb, bytes) in factor.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *limb = u64::from_le_bytes(*bytes);
        }
        self.product = multiply(&self.product, &factor);
    }

    /// The set's hash.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        // Below 2^3072 already; not below the modulus only where every limb but the least is full.
        if self.product[0] >= 0u64.wrapping_sub(GAP) && self.product[1..].iter().all(|&limb| limb == u64::MAX)
        {
            self.product[0] = self.product[0].wrapping_add(GAP);
            self.product[1..].fill(0);
        }
        let bytes: Vec<u8> = self.product.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        sha256(&bytes)
    }
}

/// The product modulo 2^3072 - GAP, below 2^3072.
fn multiply(a: &Number, b: &Number) -> Number {
    let mut wide = [0u64; 2 * LIMBS];
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, &y) in b.iter().enumerate() {
            let sum = u128::from(x) * u128::from(y) + u128::from(wide[i + j]) + u128::from(carry);
            wide[i + j] = sum as u64;
            carry = (sum >> 64) as u64;
        }
        wide[i + LIMBS] = carry;
    }
    // high * 2^3072 is high * GAP.
    let (low, high) = wide.split_at(LIMBS);
    let mut out = [0; LIMBS];
    let mut carry = 0u64;
    for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
        let sum = u128::from(high) * u128::from(GAP) + u128::from(low) + u128::from(carry);
        *out = sum as u64;
        carry = (sum >> 64) as u64;
    }
    // What is carried out is less than GAP + 1; folded in it can carry out once more at most.
    let mut fold = u128::from(carry) * u128::from(GAP);
    while fold > 0 {
        for limb in &mut out {
            let sum = u128::from(*limb) + (fold & u128::from(u64::MAX));
            *limb = sum as u64;
            fold = (fold >> 64) + (sum >> 64);
            if fold == 0 {
                return out;
            }
        }
        fold *= u128::from(GAP);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `number` to the power of the modulus less two: its inverse.
    fn inverse(number: &Number) -> Number {
        let mut exponent = [u64::MAX; LIMBS];
        exponent[0] = 0u64.wrapping_sub(GAP + 2);
        let mut power = MuHash::default().product;
        for bit in (0..64 * LIMBS).rev() {
            power = multiply(&power, &power);
            if exponent[bit / 64] >> (bit % 64) & 1 == 1 {
                power = multiply(&power, number);
            }
        }
        power
    }

    fn of(elements: &[u8]) -> MuHash {
        let mut set = MuHash::default();
        for &element in elements {
            let mut bytes = [0; 32];
            bytes[0] = element;
            set.insert(&bytes);
        }
        set
    }

    /// The reference client's own vector (`crypto_tests`, `muhash_tests`): elements 0 and 1 put in, 2 taken out.
    #[test]
    fn known_set() {
        let mut set = of(&[0, 1]);
        set.product = multiply(&set.product, &inverse(&of(&[2]).product));
        let mut hash = set.finish();
        hash.reverse();
        assert_eq!(hex::encode(hash), "10d312b100cbd32ada024a6646e40d3482fcff103668d2625f10002a607d5863");
    }

    #[test]
    fn order_does_not_matter_and_elements_do() {
        let mut one = vec![0; 384];
        one[0] = 1;
        assert_eq!(MuHash::default().finish(), sha256(&one));
        assert_eq!(of(&[0, 1, 2]).finish(), of(&[2, 0, 1]).finish());
        assert_ne!(of(&[0, 1]).finish(), of(&[0, 2]).finish());
    }

    #[test]
    fn products_are_reduced() {
        // (2^3072 - 1)^2 = (GAP - 1)^2 modulo the prime.
        let all = [u64::MAX; LIMBS];
        let mut wanted = [0; LIMBS];
        wanted[0] = (GAP - 1) * (GAP - 1);
        assert_eq!(multiply(&all, &all), wanted);
        // The prime itself is zero.
        let mut prime = all;
        prime[0] = 0u64.wrapping_sub(GAP);
        let set = MuHash { product: prime };
        assert_eq!(set.finish(), sha256(&[0; 384]));
    }
}
