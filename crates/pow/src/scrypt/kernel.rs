//! The choice among the scrypt kernels, and many headers hashed with one.

use super::pbkdf2::{Block, HeaderHmac};
use super::rows::{Line, SCRATCH_LINES};
use crate::sha256d::block::Compressor;

/// Code that hashes several headers at once with scrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// Plain integer code, one at a time, for any processor.
    Portable,
    /// Eight at once in AVX2 registers.
    Avx2,
    /// Sixteen at once in AVX-512 registers.
    Avx512,
}

impl Kernel {
    /// All of them, slowest first as measured.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

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
            Self::Avx512 => "avx512",
        }
    }

    /// Headers hashed at once; each needs 128 KiB of memory.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable => super::portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => super::avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => super::avx512::LANES,
            #[cfg(not(target_arch = "x86_64"))]
            _ => 1,
        }
    }
}

/// A kernel with its memory. Reuse it: the memory is 128 KiB for each lane and costs more to get than to hash in.
#[derive(Clone)]
pub struct Scrypt {
    kernel: Kernel,
    compressor: Compressor,
    scratch: Vec<Line>,
}

impl Default for Scrypt {
    fn default() -> Self {
        Self::new()
    }
}

impl Scrypt {
    /// With the fastest kernel here.
    pub fn new() -> Self {
        Self::with_kernel(Kernel::best()).unwrap_or_else(Self::single)
    }

    /// For one hash at a time: 128 KiB and nothing to wait for.
    pub fn single() -> Self {
        let kernel = Kernel::Portable;
        let scratch = vec![Line::ZERO; kernel.lanes() * SCRATCH_LINES];
        Self { kernel, compressor: Compressor::best(), scratch }
    }

    /// With this kernel; `None` where the processor cannot run it.
    pub fn with_kernel(kernel: Kernel) -> Option<Self> {
        let scratch = vec![Line::ZERO; kernel.lanes() * SCRATCH_LINES];
        kernel.is_available().then(|| Self { kernel, compressor: Compressor::best(), scratch })
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// scrypt(1024, 1, 1) of each header, given to `each` with its index, in order.
    #[allow(unsafe_code)]
    pub fn hash_each(&mut self, headers: &[[u8; 80]], each: impl FnMut(usize, [u8; 32])) {
        match self.kernel {
            Kernel::Portable => self.by_lanes(headers, super::portable::mix_lanes, each),
            // SAFETY (both): `with_kernel` found the features that the kernel needs.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => self.by_lanes(headers, |b, s| unsafe { super::avx2::mix_lanes(b, s) }, each),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => self.by_lanes(headers, |b, s| unsafe { super::avx512::mix_lanes(b, s) }, each),
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("with_kernel gives only what the processor can run"),
        }
    }

    fn by_lanes<const LANES: usize>(
        &mut self,
        headers: &[[u8; 80]],
        mix: impl Fn(&mut [Block; LANES], &mut [Line]),
        mut each: impl FnMut(usize, [u8; 32]),
    ) {
        for (group, chunk) in headers.chunks(LANES).enumerate() {
            // A last, shorter chunk repeats its first header in the lanes left over.
            let begun: [_; LANES] = std::array::from_fn(|lane| {
                HeaderHmac::begin(self.compressor, chunk.get(lane).unwrap_or(&chunk[0]))
            });
            let mut blocks = begun.map(|(_, block)| block);
            mix(&mut blocks, &mut self.scratch);
            for lane in 0..chunk.len() {
                each(group * LANES + lane, begun[lane].0.finish(self.compressor, &blocks[lane]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn all_kernels_agree_with_the_scrypt_crate(
            headers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 80), 0..20),
        ) {
            let headers: Vec<[u8; 80]> = headers.into_iter().map(|h| h.try_into().unwrap()).collect();
            let params = scrypt::Params::new(10, 1, 1, 32).unwrap();
            let expected: Vec<[u8; 32]> = headers.iter().map(|header| {
                let mut hash = [0; 32];
                scrypt::scrypt(header, header, &params, &mut hash).unwrap();
                hash
            }).collect();
            for kernel in Kernel::ALL {
                let Some(mut scrypt) = Scrypt::with_kernel(kernel) else { continue };
                let mut hashes = Vec::new();
                scrypt.hash_each(&headers, |i, hash| {
                    assert_eq!(i, hashes.len());
                    hashes.push(hash);
                });
                prop_assert_eq!(&hashes, &expected, "{}", kernel.name());
            }
        }
    }
}
