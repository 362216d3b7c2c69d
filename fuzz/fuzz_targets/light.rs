//! What a light client reads from strangers: filters and payment proofs. The first byte picks which.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lode_chain::HeaderChain;
use lode_light::proof::Proof;
use lode_primitives::{BlockFilter, BlockHash};

/// Headers that a proof can be about: the first block's.
fn headers() -> &'static HeaderChain {
    static HEADERS: OnceLock<HeaderChain> = OnceLock::new();
    HEADERS.get_or_init(|| HeaderChain::new(lode_coins::find("bitcoin", "regtest").expect("a known network")))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, rest)) = bytes.split_first() else { return };
    if which % 2 == 0 {
        let block = BlockHash([which; 32]);
        let filter = BlockFilter::from_bytes(rest.to_vec());
        let scripts = || [&b"one"[..], b"two", b"three"].into_iter();
        let any = filter.matches_any(&block, scripts());
        // Where the whole filter reads, both ways of looking must agree.
        if let Ok(missing) = filter.first_missing(&block, scripts()) {
            let all_missing = scripts().all(|script| filter.first_missing(&block, [script]) == Ok(Some(script)));
            assert_eq!(any, Ok(!all_missing));
            assert!(missing.is_some() || any == Ok(true));
        }
    } else if let Ok(proof) = Proof::read(rest) {
        assert_eq!(Proof::read(proof.to_json().as_bytes()).as_ref(), Ok(&proof));
        if let Ok(shown) = proof.verify(headers()) {
            assert_eq!(shown.confirmations, 1);
        }
    }
});
