//! The choice among the SHA-256d search kernels.

use super::prepared::Prepared;

/// Code that tries many nonces of a header with SHA-256d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain integer code, for any processor.
    Portable,
    /// Eight at once in AVX2 registers.
    Avx2,
    /// Two at once with the SHA extensions of x86-64.
    ShaNi,
    /// Sixteen at once in AVX-512 registers.
    Avx512,
}

impl Kernel {
    /// All of them, slowest first as measured.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::ShaNi, Self::Avx512];

    /// The fastest that this processor can run.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|kernel| kernel.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::available(),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => super::sha_ni::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::available(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Short name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::ShaNi => "sha-ni",
            Self::Avx512 => "avx512",
        }
    }

    /// Appends to `out` those of `count` nonces from `first` (wrapping) whose hash, as a little-endian number, has
    /// most significant 32 bits of at most `limit`. A few nonces past the end may be among them.
    #[allow(unsafe_code)]
    pub(crate) fn scan(self, job: &Prepared, first: u32, count: u32, limit: u32, out: &mut Vec<u32>) {
        assert!(self.is_available(), "SHA-256d kernel {} cannot run on this processor", self.name());
        match self {
            Self::Portable => super::portable::scan(job, first, count, limit, out),
            // SAFETY (all three): `is_available` has just found the features.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::avx2::scan(job, first, count, limit, out) },
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => unsafe { super::sha_ni::scan(job, first, count, limit, out) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { super::avx512::scan(job, first, count, limit, out) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("is_available is false for all others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn all_kernels_find_the_same(start in proptest::collection::vec(any::<u8>(), 80), first: u32, count in 1..300u32, limit: u32) {
            let job = Prepared::new(&start.try_into().unwrap());
            let mut expected = Vec::new();
            Kernel::Portable.scan(&job, first, count, limit, &mut expected);
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                let mut found = Vec::new();
                kernel.scan(&job, first, count, limit, &mut found);
                found.retain(|nonce| nonce.wrapping_sub(first) < count);
                prop_assert_eq!(&found, &expected, "{}", kernel.name());
            }
        }
    }
}
