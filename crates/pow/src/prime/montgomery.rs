//! Powers of two modulo an odd number of fixed width, by Montgomery's method. Used by [`super::member`].

/// An odd modulus of `N` 64-bit limbs, the least significant first, with what Montgomery's method needs.
pub(super) struct Modulus<const N: usize> {
    modulus: [u64; N],
    /// -1 / modulus modulo 2^64.
    negative_inverse: u64,
}

/// `a + b * c + carry` as low limb and carry: it cannot overflow two limbs.
#[inline(always)]
fn multiply_add(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
    let sum = u128::from(a) + u128::from(b) * u128::from(c) + u128::from(carry);
    (sum as u64, (sum >> 64) as u64)
}

impl<const N: usize> Modulus<N> {
    /// `modulus` must be odd.
    pub(super) fn new(modulus: &[u64; N]) -> Self {
        debug_assert!(modulus[0] & 1 == 1, "Montgomery's method wants an odd modulus");
        // Newton: each step doubles the correct low bits, of which an odd number has three to begin with.
        let mut inverse = modulus[0];
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(modulus[0].wrapping_mul(inverse)));
        }
        Self { modulus: *modulus, negative_inverse: inverse.wrapping_neg() }
    }

    /// `value - modulus` where `value` (with `over` as bit 64 N) is not below it, else `value`.
    #[inline(always)]
    fn reduce_once(&self, value: &[u64; N], over: bool) -> [u64; N] {
        let mut less = [0; N];
        let mut borrow = false;
        for i in 0..N {
            let (difference, under1) = value[i].overflowing_sub(self.modulus[i]);
            let (difference, under2) = difference.overflowing_sub(u64::from(borrow));
            less[i] = difference;
            borrow = under1 | under2;
        }
        if over || !borrow { less } else { *value }
    }

    /// Twice `value` modulo the modulus.
    #[inline(always)]
    pub(super) fn double(&self, value: &[u64; N]) -> [u64; N] {
        let mut twice = [0; N];
        let mut carry = 0;
        for i in 0..N {
            twice[i] = value[i] << 1 | carry;
            carry = value[i] >> 63;
        }
        self.reduce_once(&twice, carry == 1)
    }

    /// `a * b / 2^(64 N)` modulo the modulus, for `a` and `b` below it.
    #[inline(always)]
    fn multiply(&self, a: &[u64; N], b: &[u64; N]) -> [u64; N] {
        let mut t = [0u64; N];
        let mut top = 0u64;
        for &factor in b {
            let mut carry = 0;
            for j in 0..N {
                (t[j], carry) = multiply_add(t[j], a[j], factor, carry);
            }
            let (high, over) = top.overflowing_add(carry);
            let m = t[0].wrapping_mul(self.negative_inverse);
            let (_, mut carry) = multiply_add(t[0], m, self.modulus[0], 0);
            for j in 1..N {
                (t[j - 1], carry) = multiply_add(t[j], m, self.modulus[j], carry);
            }
            let (high, over_again) = high.overflowing_add(carry);
            t[N - 1] = high;
            top = u64::from(over) + u64::from(over_again);
        }
        self.reduce_once(&t, top != 0)
    }

    /// The square in Montgomery form.
    #[inline(always)]
    pub(super) fn square(&self, value: &[u64; N]) -> [u64; N] {
        self.multiply(value, value)
    }

    /// `2^exponent` modulo the modulus, in Montgomery form. `exponent` has the limbs' order of the modulus.
    pub(super) fn power_of_two(&self, exponent: &[u64; N]) -> [u64; N] {
        let bits = |limbs: &[u64; N]| {
            limbs
                .iter()
                .rposition(|&limb| limb != 0)
                .map_or(0, |i| 64 * (i + 1) - limbs[i].leading_zeros() as usize)
        };
        let bit = |i: usize| exponent[i / 64] >> (i % 64) & 1;
        // The first bits of the exponent are done by doubling: cheaper than squaring while the power is small.
        let mut next = bits(exponent).saturating_sub(5);
        let first = (next..bits(exponent)).rev().fold(0, |power, i| power << 1 | bit(i));
        // The greatest power of two that is not above the modulus needs no reduction, for all but 1.
        let start = bits(&self.modulus) - 1;
        let mut value = [0; N];
        value[start / 64] = 1 << (start % 64);
        value = self.reduce_once(&value, false);
        for _ in start..64 * N + first as usize {
            value = self.double(&value);
        }
        while next > 0 {
            next -= 1;
            value = self.square(&value);
            if bit(next) == 1 {
                value = self.double(&value);
            }
        }
        value
    }

    /// A value in Montgomery form as the plain number.
    pub(super) fn plain(&self, value: &[u64; N]) -> [u64; N] {
        let mut one = [0; N];
        one[0] = 1;
        self.multiply(value, &one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_testkit::rounds;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn big(limbs: &[u64]) -> BigUint {
        BigUint::from_bytes_le(&limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect::<Vec<_>>())
    }

    fn check<const N: usize>(mut modulus: [u64; N], exponent: [u64; N]) {
        modulus[0] |= 1;
        let field = Modulus::new(&modulus);
        let power = field.power_of_two(&exponent);
        let expected = BigUint::from(2u8).modpow(&big(&exponent), &big(&modulus));
        assert_eq!(big(&field.plain(&power)), expected);
        let squared = field.plain(&field.square(&power));
        assert_eq!(big(&squared), &expected * &expected % big(&modulus));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(64, 200_000) as u32))]
        #[test]
        fn agrees_with_num_bigint(modulus: [u64; 7], exponent: [u64; 7], cut in 0..7usize) {
            check(modulus, exponent);
            let (mut short, mut small) = (modulus, exponent);
            short[cut..].fill(0);
            small[cut..].fill(0);
            check(short, exponent);
            check(modulus, small);
            check([modulus[0]], [exponent[0]]);
            check([modulus[0], u64::MAX, u64::MAX, u64::MAX], [exponent[0], 1, 2, 3]);
        }
    }

    #[test]
    fn edges() {
        check([u64::MAX; 6], [u64::MAX; 6]);
        check([1, 0], [5, 0]);
        check([3, 0], [0, 0]);
        check([1, 0, 0, 1 << 63], [0, 0, 0, 1]);
    }
}
