//! Headers with multipliers as strangers send them, and what is worked out of them: nothing panics, work adds up, and a
//! proof that holds holds for its minimal form too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_pow::{ChainLength, Origin, check_prime_chain};
use lode_primitives::{Decode, Encode, Form, Header, decimal};

fuzz_target!(|data: &[u8]| {
    let form = Form { witness: false, data: true, multiplier: true };
    let Ok(header) = Header::from_bytes(data, form) else { return };
    let Some(multiplier) = header.multiplier.clone() else { return };
    let (bytes, length) = (header.pow_bytes(), ChainLength(header.bits));
    let verdict = check_prime_chain(&bytes, &multiplier, length, 2);
    if let Ok(origin) = Origin::new(&bytes, &multiplier) {
        let longest = origin.lengths().longest();
        assert!(verdict.as_ref().is_ok_and(|chain| *chain == longest) || verdict.is_err());
        assert!(!decimal(&origin.to_le_bytes()).starts_with('0'));
    }
    assert_eq!(length.work(2).is_some(), (2..=99).contains(&length.primes()));
    for elapsed in [0, 10, i64::from(header.time), -i64::from(header.time)] {
        let next = length.retargeted(604_860, 604_740 + 2 * elapsed, 2);
        assert!(next.primes().abs_diff(length.primes()) <= 1);
    }
    let again = Header::from_bytes(&header.to_bytes(), form).unwrap();
    assert_eq!((again.hash(), &again), (header.hash(), &header));
});
