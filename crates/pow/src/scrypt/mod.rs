//! scrypt(N = 1024, r = 1, p = 1) of block headers, as Litecoin uses it: one at a time for whoever checks, many at a
//! time for the search and for a pool with a pile of shares to check.
//!
//! RFC 7914; header as password and as salt, 32 bytes out.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod pbkdf2;
mod portable;
mod rows;

use std::cell::RefCell;

pub use kernel::{Kernel, Scrypt};

/// The scrypt hash of an 80-byte block header, in the order the bytes come out (little-endian as a number). Each
/// thread that calls it keeps 128 KiB.
pub fn scrypt_1024_1_1(header: &[u8; 80]) -> [u8; 32] {
    thread_local! {
        static SINGLE: RefCell<Scrypt> = RefCell::new(Scrypt::single());
    }
    let mut hash = [0; 32];
    SINGLE.with_borrow_mut(|scrypt| scrypt.hash_each(std::slice::from_ref(header), |_, found| hash = found));
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn litecoin_genesis() {
        // Litecoin Core, `CreateGenesisBlock`; the hash is that of its proof of work, not its id.
        let header = "0100000000000000000000000000000000000000000000000000000000000000000000\
             00d9ced4ed1130f7b7faad9be25323ffafa33232a17c3edf6cfd97bee6bafbdd97b9aa8e4ef0ff0f1ecd513f7c";
        let header: [u8; 80] = hex::decode(header).unwrap().try_into().unwrap();
        let mut hash = scrypt_1024_1_1(&header);
        hash.reverse();
        assert_eq!(hex::encode(hash), "0000050c34a64b415b6b15b37f2216634b5b1669cb9a2e38d76f7213b0671e00");
    }
}
