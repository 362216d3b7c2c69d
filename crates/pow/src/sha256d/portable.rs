//! The search kernel for any processor: one nonce after the other in plain integer code.

use super::block::Compressor;
use super::prepared::Prepared;

/// Appends to `out` those of `count` nonces from `first` whose hash may meet a target with these most significant
/// 32 bits.
pub(super) fn scan(job: &Prepared, first: u32, count: u32, limit: u32, out: &mut Vec<u32>) {
    for offset in 0..count {
        let nonce = first.wrapping_add(offset);
        let hash = job.hash(Compressor::Portable, nonce);
        if u32::from_le_bytes([hash[28], hash[29], hash[30], hash[31]]) <= limit {
            out.push(nonce);
        }
    }
}
