//! The vectors that the BIPs publish.

use std::str::FromStr;

use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use lode_primitives::{Amount, Decode as _, Transaction, TxOut, hash160};
use lode_script::{SighashType, TxSighashes, build, sign};
use lode_wallet::{AddressKind, Seed, read_psbt, xpub_descriptors};
use secp256k1::SECP256K1;
use serde_json::Value;

use crate::chain::{WORDS, wallet_of};

fn data(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[test]
fn bip39_words_to_seeds() {
    let vectors = data(include_str!("../vectors/bip39.json"));
    for vector in list(&vectors) {
        let words = vector["words"].as_str().unwrap();
        let seed = Seed::from_words(words, "TREZOR").unwrap();
        assert_eq!(hex::encode(*seed.bytes()), vector["seed"].as_str().unwrap());
        assert_eq!(*seed.words(), words);
        // Any case and white space; but not a word changed.
        let shouted = words.to_uppercase().replace(' ', "\n ");
        assert_eq!(Seed::from_words(&shouted, "TREZOR").unwrap().bytes(), seed.bytes());
        let wrong = format!("{} zoo", words.rsplit_once(' ').unwrap().0);
        if wrong != words && Seed::from_words(&wrong, "").is_ok() {
            // A checksum of a few bits lets one word in sixteen (or fewer) pass; not the same keys, though.
            assert_ne!(Seed::from_words(&wrong, "TREZOR").unwrap().bytes(), seed.bytes());
        }
    }
    assert_eq!(list(&vectors).len(), 24);
    let error = Seed::from_words("abandon abandon ability", "").unwrap_err().to_string();
    assert!(error.contains("not 3"), "{error}");
    let error = Seed::from_words(&WORDS.replace("about", "abuot"), "").unwrap_err().to_string();
    assert!(error.contains("word 12 of 12 is not in the English list"), "{error}");
    assert!(!error.contains("abuot"), "words are secrets: {error}");
}

#[test]
fn bip32_seeds_to_keys() {
    for vector in list(&data(include_str!("../vectors/bip32.json"))) {
        let seed = hex::decode(vector["seed"].as_str().unwrap()).unwrap();
        let master = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
        for key in list(&vector["keys"]) {
            let path: DerivationPath = key["path"].as_str().unwrap().parse().unwrap();
            let xprv = master.derive_priv(SECP256K1, &path).unwrap();
            assert_eq!(xprv.to_string(), key["xprv"].as_str().unwrap());
            assert_eq!(Xpub::from_priv(SECP256K1, &xprv).to_string(), key["xpub"].as_str().unwrap());
        }
    }
}

/// BIP84's and BIP86's own addresses; BIP49's is on its test network; BIP44 publishes none, its are those that every
/// wallet makes of these words.
#[test]
fn bip44_49_84_86_words_to_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let main = lode_coins::find("bitcoin", "main").unwrap();
    let mut wallet = wallet_of(WORDS, directory.path(), "main", main, 20);
    let mut next = |kind| wallet.new_address(Some(kind)).unwrap();
    assert_eq!(next(AddressKind::Segwit), "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu");
    assert_eq!(next(AddressKind::Segwit), "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g");
    assert_eq!(next(AddressKind::Taproot), "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr");
    assert_eq!(next(AddressKind::Taproot), "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh");
    assert_eq!(next(AddressKind::Legacy), "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA");
    assert_eq!(next(AddressKind::Nested), "37VucYSaXLCAsxYyAPfbSi9eh4iEcbShgf");
    let changes: Vec<_> = wallet.descriptors().into_iter().filter(|(_, change)| *change).collect();
    assert_eq!(changes.len(), 4);
    let test = lode_coins::find("bitcoin", "testnet4").unwrap();
    let mut wallet = wallet_of(WORDS, directory.path(), "test", test, 20);
    assert_eq!(wallet.new_address(Some(AddressKind::Nested)).unwrap(), "2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2");
}

/// BIP84's account key, as it is published, watches the same addresses as the words make; change too.
#[test]
fn bip84_account_key_watches() {
    let main = lode_coins::find("bitcoin", "main").unwrap();
    let zpub = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs";
    let [receive, change] = <[_; 2]>::try_from(xpub_descriptors(zpub, None, main).unwrap()).unwrap();
    assert!(receive.0.starts_with("wpkh(xpub6C") && receive.0.contains("/0/*") && !receive.1);
    assert!(change.0.contains("/1/*") && change.1);
    let descriptor = miniscript::Descriptor::<miniscript::DescriptorPublicKey>::from_str(&change.0).unwrap();
    let script = descriptor.at_derivation_index(0).unwrap().script_pubkey();
    assert_eq!(
        main.script_to_address(script.as_bytes()).unwrap(),
        "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"
    );
    let error = xpub_descriptors(zpub, None, lode_coins::find("bitcoin", "regtest").unwrap()).unwrap_err();
    assert!(error.to_string().contains("not an extended public key of this coin and network"));
    let bare = xpub_descriptors(
        "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V",
        None,
        main,
    );
    assert!(bare.unwrap_err().to_string().contains("--kind"));
}

#[test]
fn bip174_what_is_a_psbt_and_what_is_not() {
    let vectors = data(include_str!("../vectors/bip174.json"));
    for vector in list(&vectors["valid"]) {
        let bytes = hex::decode(vector.as_str().unwrap()).unwrap();
        let psbt = read_psbt(&bytes).unwrap();
        assert_eq!(psbt.serialize(), bytes);
        assert_eq!(read_psbt(psbt.to_string().as_bytes()).unwrap(), psbt);
    }
    for vector in list(&vectors["invalid"]) {
        let bytes = hex::decode(vector.as_str().unwrap()).unwrap();
        assert!(read_psbt(&bytes).is_err(), "{vector}");
    }
}

/// The secret key behind `hex`.
fn secret(hex: &str) -> secp256k1::SecretKey {
    hex.parse().unwrap()
}

/// BIP143's examples of P2WPKH, native and in P2SH: what the wallet signs with gives the very signatures.
#[test]
fn bip143_signatures() {
    for (tx, index, key, nested, coins, signature) in [
        (
            "0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000",
            1,
            "619c335025c7f4012e556c2a58b2506e30b8511b53ade95ea316fd8c3286feb9",
            false,
            6,
            "304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee01",
        ),
        (
            "0100000001db6b1b20aa0fd7b23880be2ecbd4a98130974cf4748fb66092ac4d3ceb1a54770100000000feffffff02b8b4eb0b000000001976a914a457b684d7f0d539a46a45bbc043f35b59d0d96388ac0008af2f000000001976a914fd270b1ee6abcaea97fea7ad0402e8bd8ad6d77c88ac92040000",
            0,
            "eb696a065ef48a2192da5b28b694f87544b30fae8327c4510137a922f32c6dcf",
            true,
            10,
            "3044022047ac8e878352d3ebbde1c94ce3a10d057c24175747116f8288e5d794d12d482f0220217f36a485cae903c713331d877c1f64677e3622ad4010726870540656fe9dcb01",
        ),
    ] {
        let form = lode_primitives::Form { witness: true, data: false, multiplier: false };
        let tx = Transaction::from_bytes(&hex::decode(tx).unwrap(), form).unwrap();
        let key = secret(key);
        let program = build::p2wpkh(&hash160(&key.public_key(SECP256K1).serialize()));
        let script_pubkey = if nested { build::p2sh_of(&program) } else { program };
        let output = TxOut { value: Amount::from_coins(coins), script_pubkey };
        let spent = vec![output; tx.inputs.len()];
        let (_, witness) =
            sign::input(&TxSighashes::new(&tx, &spent), index, &key, SighashType::ALL).unwrap();
        assert_eq!(hex::encode(&witness.0[0]), signature);
    }
}

/// BIP340's first vector, whose auxiliary randomness is zero, as the wallet's always is.
#[test]
fn bip340_signature() {
    let keypair = secret(&format!("{:064x}", 3)).keypair(SECP256K1);
    assert_eq!(
        hex::encode_upper(sign::schnorr([0; 32], &keypair, SighashType::DEFAULT)),
        "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA821525F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0"
    );
}
