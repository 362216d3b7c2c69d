//! Addresses, private keys and descriptors as people give them, for every coin: what reads must be written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lode_coins::COINS;
use lode_node::testing::output_script;

fuzz_target!(|data: &[u8]| {
    for coin in COINS {
        // Bytes as a script: the address that is shown for it must lead back to it.
        if let Some(address) = coin.script_to_address(data) {
            assert_eq!(coin.address_to_script(&address).as_deref(), Ok(data), "{address}");
        }
        if let Ok(key) = data.try_into() {
            assert_eq!(coin.decode_wif(&coin.encode_wif(key)).as_ref(), Ok(key));
        }
        let Ok(text) = std::str::from_utf8(data) else { continue };
        if let Ok(script) = coin.address_to_script(text) {
            let shown = coin.script_to_address(&script).expect("it came from an address");
            // Some coins read more than one version of pay-to-script-hash, and bech32 may be upper case.
            assert_eq!(coin.address_to_script(&shown), Ok(script));
        }
        if let Ok(key) = coin.decode_wif(text) {
            assert_eq!(coin.encode_wif(&key), text);
        }
        let _ = output_script(coin, text);
    }
});
