//! Addresses: base58check (P2PKH, P2SH) and bech32 (BIP173, BIP350), to scripts and back.

use bech32::Fe32;
use bech32::Hrp;
use lode_primitives::ScriptBuf;

use crate::Coin;

/// How a coin writes addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressFormat {
    /// Version byte of pay-to-public-key-hash.
    pub p2pkh: u8,
    /// Version bytes of pay-to-script-hash; the first is written, all are read.
    pub p2sh: &'static [u8],
    /// Version byte of a private key in wallet import format.
    pub wif: u8,
    /// Human-readable part of witness addresses; `None` where the coin has no witnesses.
    pub bech32_hrp: Option<&'static str>,
    /// Version bytes of extended public keys (BIP32).
    pub xpub: [u8; 4],
    /// Version bytes of extended private keys (BIP32).
    pub xprv: [u8; 4],
}

/// Why a text is not a private key of a coin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WifError {
    /// Not base58check. The text is a secret and not shown.
    #[error("not a private key in wallet import format: {0}")]
    Malformed(String),
    /// A key for another coin or network.
    #[error("a private key with version {found}, this coin's have {wanted}")]
    Foreign {
        /// The version byte read.
        found: u8,
        /// The coin's.
        wanted: u8,
    },
}

/// Why a text is not an address of a coin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither base58check nor bech32, or a wrong checksum.
    #[error("{address:?} is not an address: {reason}")]
    Malformed {
        /// The text.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An address, but of another coin or network.
    #[error("{address:?} is an address of {found}, not of {wanted}")]
    Foreign {
        /// The text.
        address: String,
        /// Where it belongs, as far as known.
        found: String,
        /// The coin and network asked for.
        wanted: String,
    },
}

impl Coin {
    /// The locking script that an address stands for.
    pub fn address_to_script(&self, address: &str) -> Result<ScriptBuf, AddressError> {
        // Whatever comes from outside may be long; no address is longer than bech32's 90 characters.
        let shown: String = address.chars().take(100).collect();
        match parse(address) {
            Err(reason) => Err(AddressError::Malformed { address: shown, reason }),
            Ok(parsed) => self.script_of(&parsed).ok_or_else(|| {
                let found = crate::COINS.iter().find(|coin| coin.script_of(&parsed).is_some());
                AddressError::Foreign {
                    address: shown,
                    found: found.map_or_else(|| "an unknown coin".to_owned(), ToString::to_string),
                    wanted: self.to_string(),
                }
            }),
        }
    }

    /// The address that pays to `script`, or `None` where there is none (bare multisig, data, anything odd).
    pub fn script_to_address(&self, script: &[u8]) -> Option<String> {
        match script {
            [0x76, 0xa9, 20, hash @ .., 0x88, 0xac] if hash.len() == 20 => {
                Some(base58(self.address.p2pkh, hash))
            }
            [0xa9, 20, hash @ .., 0x87] if hash.len() == 20 => {
                Some(base58(*self.address.p2sh.first()?, hash))
            }
            [version @ (0 | 0x51..=0x60), length @ 2..=40, program @ ..]
                if program.len() == *length as usize =>
            {
                let version = if *version == 0 { 0 } else { version - 0x50 };
                let hrp = Hrp::parse(self.address.bech32_hrp?).ok()?;
                bech32::segwit::encode(hrp, Fe32::try_from(version).ok()?, program).ok()
            }
            _ => None,
        }
    }

    /// A private key in wallet import format, for a compressed public key.
    pub fn encode_wif(&self, key: &[u8; 32]) -> String {
        base58(self.address.wif, &[&key[..], &[1]].concat())
    }

    /// The private key of a wallet import format that says its public key is compressed.
    pub fn decode_wif(&self, wif: &str) -> Result<[u8; 32], WifError> {
        if wif.len() > 100 {
            return Err(WifError::Malformed(format!("{} characters long", wif.len())));
        }
        let bytes = base58ck::decode_check(wif).map_err(|error| WifError::Malformed(whole_error(&error)))?;
        match bytes.as_slice() {
            [version, key @ .., 1] if key.len() == 32 => {
                let key = key.try_into().expect("32 bytes, as just asked");
                if *version == self.address.wif {
                    Ok(key)
                } else {
                    Err(WifError::Foreign { found: *version, wanted: self.address.wif })
                }
            }
            _ => Err(WifError::Malformed(format!(
                "{} bytes where 34 with a last one of 1 are needed",
                bytes.len()
            ))),
        }
    }

    fn script_of(&self, parsed: &Parsed) -> Option<ScriptBuf> {
        match parsed {
            Parsed::Base58(version, hash) if *version == self.address.p2pkh => {
                Some([&[0x76, 0xa9, 20], hash.as_slice(), &[0x88, 0xac]].concat())
            }
            Parsed::Base58(version, hash) if self.address.p2sh.contains(version) => {
                Some([&[0xa9, 20], hash.as_slice(), &[0x87]].concat())
            }
            Parsed::Bech32(hrp, version, program) if Some(hrp.as_str()) == self.address.bech32_hrp => {
                let version = if *version == 0 { 0 } else { 0x50 + version };
                Some([&[version, program.len() as u8], program.as_slice()].concat())
            }
            _ => None,
        }
    }
}

enum Parsed {
    Base58(u8, [u8; 20]),
    Bech32(String, u8, Vec<u8>),
}

fn parse(address: &str) -> Result<Parsed, String> {
    if address.is_empty() || address.len() > 100 {
        return Err(format!("{} characters long", address.len()));
    }
    // A base58 address has no separator with a lower- or upper-case prefix known to be bech32's: try bech32 first,
    // since a bech32 text with a typing error should be told as one.
    match bech32::segwit::decode(address) {
        Ok((hrp, version, program)) => {
            return Ok(Parsed::Bech32(hrp.to_lowercase(), version.to_u8(), program));
        }
        Err(error) => {
            let looks_bech32 = crate::COINS.iter().filter_map(|coin| coin.address.bech32_hrp).any(|hrp| {
                address.len() > hrp.len() && address.to_ascii_lowercase().starts_with(&format!("{hrp}1"))
            });
            if looks_bech32 {
                return Err(whole_error(&error));
            }
        }
    }
    let bytes = base58ck::decode_check(address).map_err(|error| whole_error(&error))?;
    match <[u8; 21]>::try_from(bytes.as_slice()) {
        Ok([version, hash @ ..]) => Ok(Parsed::Base58(version, hash)),
        Err(_) => Err(format!("{} bytes where 21 are needed", bytes.len())),
    }
}

/// An error with what is behind it, in one line.
fn whole_error(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn base58(version: u8, hash: &[u8]) -> String {
    let mut bytes = vec![version];
    bytes.extend_from_slice(hash);
    base58ck::Base58CkString::encode_unbounded(&bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    #[test]
    fn known_addresses_both_ways() {
        for (coin, network, address, script) in [
            (
                "bitcoin",
                "main",
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac",
            ),
            (
                "bitcoin",
                "main",
                "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
                "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87",
            ),
            (
                "bitcoin",
                "main",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "0014751e76e8199196d454941c45d1b3a323f1433bd6",
            ),
            (
                "bitcoin",
                "main",
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
                "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            ),
            (
                "bitcoin",
                "testnet4",
                "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
                "0014751e76e8199196d454941c45d1b3a323f1433bd6",
            ),
        ] {
            let coin = find(coin, network).unwrap();
            assert_eq!(hex::encode(coin.address_to_script(address).unwrap()), script);
            assert_eq!(coin.script_to_address(&hex::decode(script).unwrap()).as_deref(), Some(address));
        }
    }

    #[test]
    fn litecoin_reads_both_script_versions_and_writes_the_new() {
        let coin = find("litecoin", "main").unwrap();
        let script = [&[0xa9, 20][..], &[7; 20], &[0x87]].concat();
        let new = coin.script_to_address(&script).unwrap();
        assert!(new.starts_with('M'));
        assert_eq!(coin.address_to_script(&new).unwrap(), script);
        assert_eq!(coin.address_to_script(&base58(5, &[7; 20])).unwrap(), script);
    }

    #[test]
    fn refusals_say_why() {
        let main = find("bitcoin", "main").unwrap();
        let refused = |address: &str| main.address_to_script(address).unwrap_err().to_string();
        assert!(refused("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb").contains("not an address"));
        assert!(refused("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5").contains("checksum"));
        assert!(refused("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx").contains("is an address of bitcoin"));
        assert!(refused(&"1".repeat(5000)).contains("5000 characters"));
        assert!(refused("").contains("0 characters"));
    }

    #[test]
    fn private_keys_both_ways() {
        let main = find("bitcoin", "main").unwrap();
        let key = std::array::from_fn(|i| i as u8 + 1);
        let wif = main.encode_wif(&key);
        assert!(wif.starts_with('K') || wif.starts_with('L'));
        assert_eq!(main.decode_wif(&wif), Ok(key));
        let test = find("bitcoin", "regtest").unwrap();
        assert_eq!(test.decode_wif(&wif), Err(WifError::Foreign { found: 128, wanted: 239 }));
        assert!(main.decode_wif("5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ").is_err()); // not compressed
        assert!(main.decode_wif("").is_err());
    }

    #[test]
    fn odd_scripts_have_no_address() {
        let main = find("bitcoin", "main").unwrap();
        for script in [&[][..], &[0x6a], &[0x51, 41], &[0, 1, 0]] {
            assert_eq!(main.script_to_address(script), None);
        }
    }
}
