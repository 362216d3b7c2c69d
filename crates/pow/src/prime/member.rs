//! The test of one number of a chain: the reference implementation's Fermat and Euler-Lagrange-Lifchitz tests, both from
//! one modular power. Used by [`super::check`].

#[cfg(target_arch = "x86_64")]
use super::ifma;
use super::montgomery::Modulus;
use super::number::{LIMBS, Number};

/// What the tests said of a number n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// `2^(n-1)` is 1 modulo n.
    pub(super) fermat: bool,
    /// `2^((n-1)/2)` is what a prime of n's remainder modulo 8 has: 1 for 1 and 7, -1 for 3 and 5.
    pub(super) lifchitz: bool,
    /// `floor((n - 2^(n-1) mod n) * 2^24 / n)`: how near it came; `None` where that is 2^24 itself.
    pub(super) fraction: Option<u32>,
}

impl Member {
    /// A number that is out of reach: it ends a chain without a fraction.
    pub(super) const NONE: Self = Self { fermat: false, lifchitz: false, fraction: None };

    /// Tests n, which must be above 1.
    pub(super) fn test(n: &Number) -> Self {
        // Widths for which code is made: chains of today's networks need 5 to 7 limbs.
        match n.bits().div_ceil(64) {
            0..=4 => test_width::<4>(n),
            5 => test_width::<5>(n),
            6 => test_width::<6>(n),
            7 => test_width::<7>(n),
            8 => test_width::<8>(n),
            9..=12 => test_width::<12>(n),
            13..=20 => test_width::<20>(n),
            _ => test_width::<LIMBS>(n),
        }
    }
}

/// Fermat's test alone, without remainder: a candidate's first sight. Even numbers fail.
pub(super) fn passes_fermat(n: &Number) -> bool {
    match n.bits().div_ceil(64) {
        0..=4 => fermat_width::<4>(n),
        5 => fermat_width::<5>(n),
        6 => fermat_width::<6>(n),
        7 => fermat_width::<7>(n),
        8 => fermat_width::<8>(n),
        _ => Member::test(n).fermat,
    }
}

fn fermat_width<const N: usize>(n: &Number) -> bool {
    let modulus: [u64; N] = std::array::from_fn(|i| n.0[i]);
    if modulus[0] & 1 == 0 {
        return false;
    }
    let mut exponent = modulus;
    exponent[0] -= 1;
    let field = Modulus::new(&modulus);
    let power = field.plain(&field.power_of_two(&exponent));
    power[0] == 1 && power[1..].iter().all(|&limb| limb == 0)
}

fn test_width<const N: usize>(n: &Number) -> Member {
    let narrow = |number: &Number| -> [u64; N] { std::array::from_fn(|i| number.0[i]) };
    let Some(less) = n.minus(1) else { return Member::NONE };
    let twos = n.trailing_zeros();
    if twos > 0 {
        // n = 2^t m: 2^(n-1) mod n is 2^t (2^(n-1-t) mod m), and 2^t cancels in the fraction. An even n is no prime,
        // but a header of odd hash and odd multiplier begins with one, and its fraction counts.
        let odd = narrow(&n.shifted_right(twos));
        let Some(exponent) = less.minus(u64::from(twos)) else { return Member::NONE };
        let field = Modulus::new(&odd);
        let remainder = field.plain(&field.power_of_two(&narrow(&exponent)));
        return Member { fermat: false, lifchitz: false, fraction: fraction(&odd, &remainder) };
    }
    let modulus = narrow(n);
    let field = Modulus::new(&modulus);
    let root = field.power_of_two(&narrow(&less.shifted_right(1)));
    let square = field.plain(&field.square(&root));
    judge(&modulus, &field.plain(&root), &square)
}

/// What `root`, which is 2^((n-1)/2) modulo an odd n, and its square say of n.
fn judge<const N: usize>(n: &[u64; N], root: &[u64; N], square: &[u64; N]) -> Member {
    let one: [u64; N] = std::array::from_fn(|i| u64::from(i == 0));
    let mut minus_one = *n;
    minus_one[0] -= 1;
    let expected = if matches!(n[0] % 8, 1 | 7) { one } else { minus_one };
    Member { fermat: *square == one, lifchitz: *root == expected, fraction: fraction(n, square) }
}

/// Numbers that are tested together: as many as the processor does at once.
pub(super) const BATCH: usize = 8;

/// Whether up to [`BATCH`] numbers are tested in much less time than one after the other.
pub(super) fn batches_are_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return ifma::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The powers of up to [`BATCH`] numbers at once; `None` where this processor, or one of the numbers, is not fit for it.
#[cfg(target_arch = "x86_64")]
fn powers(numbers: &[Number]) -> Option<[ifma::Powers; BATCH]> {
    let fit = |n: &Number| n.0[0] & 1 == 1 && (2..=ifma::BITS_MAX).contains(&n.bits());
    if numbers.len() < 2 || numbers.len() > BATCH || !ifma::available() || !numbers.iter().all(fit) {
        return None;
    }
    // Lanes left over repeat the first number.
    Some(ifma::powers(&std::array::from_fn(|lane| *numbers.get(lane).unwrap_or(&numbers[0]))))
}

/// Tests each of up to [`BATCH`] numbers above 1.
pub(super) fn test_batch(numbers: &[Number]) -> Vec<Member> {
    #[cfg(target_arch = "x86_64")]
    if let Some(powers) = powers(numbers) {
        // Limbs enough for the longest number that comes here.
        const N: usize = ifma::BITS_MAX.div_ceil(64) as usize;
        let narrow = |number: &Number| -> [u64; N] { std::array::from_fn(|i| number.0[i]) };
        let judged = numbers.iter().zip(&powers);
        return judged.map(|(n, p)| judge(&narrow(n), &narrow(&p.root), &narrow(&p.square))).collect();
    }
    numbers.iter().map(Member::test).collect()
}

/// Fermat's test of each of up to [`BATCH`] numbers: bit `i` is set where number `i` passes.
pub(super) fn batch_passes_fermat(numbers: &[Number]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(powers) = powers(numbers) {
        let passes = powers.iter().take(numbers.len()).map(|p| p.square.bits() == 1);
        return passes.rev().fold(0, |bits, passes| bits << 1 | u32::from(passes));
    }
    numbers.iter().rev().fold(0, |bits, n| bits << 1 | u32::from(passes_fermat(n)))
}

/// `floor((n - r) * 2^24 / n)`, where r is below n; `None` where r is 0.
fn fraction<const N: usize>(n: &[u64; N], r: &[u64; N]) -> Option<u32> {
    if r.iter().all(|&limb| limb == 0) {
        return None;
    }
    let subtract = |a: &[u64; N], b: &[u64; N]| -> ([u64; N], bool) {
        let mut out = [0; N];
        let mut borrow = false;
        for i in 0..N {
            let (difference, under1) = a[i].overflowing_sub(b[i]);
            let (difference, under2) = difference.overflowing_sub(u64::from(borrow));
            (out[i], borrow) = (difference, under1 | under2);
        }
        (out, borrow)
    };
    let (mut rest, _) = subtract(n, r);
    let mut quotient = 0;
    for _ in 0..24 {
        let over = rest[N - 1] >> 63 == 1;
        for i in (1..N).rev() {
            rest[i] = rest[i] << 1 | rest[i - 1] >> 63;
        }
        rest[0] <<= 1;
        let (less, borrow) = subtract(&rest, n);
        let fits = over || !borrow;
        quotient = quotient << 1 | u32::from(fits);
        if fits {
            rest = less;
        }
    }
    Some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_testkit::rounds;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn oracle(n: &BigUint) -> Member {
        let one = BigUint::from(1u8);
        let two = BigUint::from(2u8);
        let remainder = two.modpow(&(n - &one), n);
        let quotient = ((n - &remainder) << 24u32) / n;
        let fraction = u32::try_from(&quotient).ok().filter(|&fraction| fraction < 1 << 24);
        let even = !n.bit(0);
        let root = two.modpow(&((n - &one) >> 1u32), n);
        let expected = match u8::try_from(n % 8u8).unwrap() {
            1 | 7 => one.clone(),
            _ => n - &one,
        };
        Member { fermat: remainder == one, lifchitz: !even && root == expected, fraction }
    }

    fn assert_agrees(bytes: &[u8]) {
        let n = BigUint::from_bytes_le(bytes);
        let number = Number::from_le_bytes(bytes).unwrap();
        assert_eq!(Member::test(&number), oracle(&n), "{n:x}");
        assert_eq!(passes_fermat(&number), oracle(&n).fermat, "{n:x}");
        let pair = [number, Number::from_le_bytes(&[13]).unwrap()];
        assert_eq!(test_batch(&pair), pair.map(|n| Member::test(&n)), "{n:x}");
        assert_eq!(batch_passes_fermat(&pair), 2 | u32::from(oracle(&n).fermat), "{n:x}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(48, 100_000) as u32))]
        #[test]
        fn agrees_with_num_bigint(mut bytes in prop::collection::vec(any::<u8>(), 30..80), twos in 0u32..70) {
            // Above 1, as a chain's numbers are.
            bytes.push(1);
            assert_agrees(&bytes);
            let even = BigUint::from_bytes_le(&bytes) << twos;
            assert_agrees(&even.to_bytes_le());
        }
    }

    #[test]
    fn known_numbers() {
        // Primes, a pseudoprime to base 2 (341), powers of two, and others; wide ones too.
        for n in [2u32, 3, 5, 7, 8, 9, 11, 13, 15, 17, 31, 127, 340, 341, 561, 1105, 65_536, 65_537] {
            assert_agrees(&n.to_le_bytes());
        }
        let mersenne = |bits: u32| ((BigUint::from(1u8) << bits) - 1u8).to_bytes_le();
        for bits in [256, 257, 320, 511, 512, 521, 607, 640, 1279, 2047, 2048] {
            assert_agrees(&mersenne(bits));
        }
        assert!(Member::test(&Number::from_le_bytes(&mersenne(1279)).unwrap()).lifchitz);
        let power = (BigUint::from(1u8) << 300u32).to_bytes_le();
        assert_eq!(Member::test(&Number::from_le_bytes(&power).unwrap()).fraction, None);
    }
}
