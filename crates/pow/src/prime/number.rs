//! Natural numbers of up to 2048 bits, as far as chains need them. Used by the check and the search beside it.

/// Room for the greatest origin, 2^2000 - 1, doubled 47 times.
pub(super) const LIMBS: usize = 32;

/// A natural number: 64-bit limbs, the least significant first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Number(pub(super) [u64; LIMBS]);

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        let mut limbs = [0; LIMBS];
        limbs[0] = value;
        Self(limbs)
    }
}

impl Number {
    /// The number of these little-endian bytes; `None` where it needs more than 2048 bits.
    pub(super) fn from_le_bytes(bytes: &[u8]) -> Option<Self> {
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let mut limbs = [0; LIMBS];
        if used > 8 * LIMBS {
            return None;
        }
        for (limb, chunk) in limbs.iter_mut().zip(bytes[..used].chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            *limb = u64::from_le_bytes(word);
        }
        Some(Self(limbs))
    }

    /// All its bytes, little-endian.
    pub(super) fn to_le_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|limb| limb.to_le_bytes()).collect()
    }

    /// Position of the highest bit set, plus one; 0 for zero.
    pub(super) fn bits(&self) -> u32 {
        let top = self.0.iter().rposition(|&limb| limb != 0);
        top.map_or(0, |top| 64 * (top as u32 + 1) - self.0[top].leading_zeros())
    }

    /// Zero bits at the low end; 2048 for zero.
    pub(super) fn trailing_zeros(&self) -> u32 {
        let first = self.0.iter().position(|&limb| limb != 0);
        first.map_or(64 * LIMBS as u32, |first| 64 * first as u32 + self.0[first].trailing_zeros())
    }

    /// The product; `None` where it needs more than 2048 bits.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut product = [0u64; 2 * LIMBS];
        let used = |number: &Self| number.bits().div_ceil(64) as usize;
        let (mine, its) = (used(self), used(other));
        for (i, &a) in self.0[..mine].iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.0[..its].iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(product[i + j]) + u128::from(carry);
                product[i + j] = sum as u64;
                carry = (sum >> 64) as u64;
            }
            product[i + its] = carry;
        }
        let (low, high) = product.split_at(LIMBS);
        high.iter().all(|&limb| limb == 0).then(|| Self(low.try_into().expect("half of the limbs")))
    }

    /// Times 2^`places`; `None` where it needs more than 2048 bits.
    pub(super) fn shifted_left(&self, places: u32) -> Option<Self> {
        if self.bits() + places > 64 * LIMBS as u32 {
            return None;
        }
        let (limbs, bits) = ((places / 64) as usize, places % 64);
        let mut out = [0; LIMBS];
        for i in (limbs..LIMBS).rev() {
            let high = self.0[i - limbs] << bits;
            let low = if bits > 0 && i > limbs { self.0[i - limbs - 1] >> (64 - bits) } else { 0 };
            out[i] = high | low;
        }
        Some(Self(out))
    }

    /// Divided by 2^`places`, rounded down.
    pub(super) fn shifted_right(&self, places: u32) -> Self {
        let (limbs, bits) = ((places / 64) as usize, places % 64);
        let mut out = [0; LIMBS];
        for (i, out) in out.iter_mut().enumerate().take(LIMBS.saturating_sub(limbs)) {
            let low = self.0[i + limbs] >> bits;
            let high = self.0.get(i + limbs + 1).filter(|_| bits > 0).map_or(0, |next| next << (64 - bits));
            *out = low | high;
        }
        Self(out)
    }

    /// Plus a small number; `None` where it needs more than 2048 bits.
    pub(super) fn plus(mut self, small: u64) -> Option<Self> {
        let mut carry = small;
        for limb in &mut self.0 {
            let (sum, over) = limb.overflowing_add(carry);
            *limb = sum;
            carry = u64::from(over);
        }
        (carry == 0).then_some(self)
    }

    /// Minus a small number; `None` where that is greater.
    pub(super) fn minus(mut self, small: u64) -> Option<Self> {
        let mut borrow = small;
        for limb in &mut self.0 {
            let (difference, under) = limb.overflowing_sub(borrow);
            *limb = difference;
            borrow = u64::from(under);
        }
        (borrow == 0).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn big(number: &Number) -> BigUint {
        BigUint::from_bytes_le(&number.0.iter().flat_map(|limb| limb.to_le_bytes()).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn agrees_with_num_bigint(
            a in prop::collection::vec(any::<u8>(), 0..257), b in prop::collection::vec(any::<u8>(), 0..200),
            places in 0u32..2050, small: u64,
        ) {
            let (x, y) = (Number::from_le_bytes(&a).unwrap(), Number::from_le_bytes(&b).unwrap());
            let (p, q) = (BigUint::from_bytes_le(&a), BigUint::from_bytes_le(&b));
            prop_assert_eq!(big(&x), p.clone());
            prop_assert_eq!(u64::from(x.bits()), p.bits());
            prop_assert_eq!(p.trailing_zeros().unwrap_or(2048), u64::from(x.trailing_zeros()));
            let fits = |value: &BigUint| value.bits() <= 2048;
            prop_assert_eq!(x.times(&y).map(|n| big(&n)), Some(&p * &q).filter(fits));
            prop_assert_eq!(x.shifted_left(places).map(|n| big(&n)), Some(&p << places).filter(fits));
            prop_assert_eq!(big(&x.shifted_right(places)), &p >> places);
            prop_assert_eq!(x.plus(small).map(|n| big(&n)), Some(&p + small).filter(fits));
            let less = (p >= BigUint::from(small)).then(|| &p - small);
            prop_assert_eq!(x.minus(small).map(|n| big(&n)), less);
        }
    }

    #[test]
    fn too_long_is_refused() {
        let mut bytes = [0xff; 257];
        assert_eq!(Number::from_le_bytes(&bytes), None);
        bytes[256] = 0;
        assert!(Number::from_le_bytes(&bytes).is_some());
    }
}
