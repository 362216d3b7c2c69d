//! The vectors that the BIPs publish.

use std::collections::HashMap;
use std::str::FromStr;

use bitcoin::NetworkKind;
use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use lode_primitives::{Amount, Decode as _, Encode as _, Transaction, TxOut, hash160};
use lode_script::{Flags, SighashType, TxSighashes, build, sign, verify_input};
use lode_wallet::{AddressKind, Seed, read_psbt, watch_descriptors, xpub_descriptors};
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
    let vectors = data(include_str!("../vectors/bip32.json"));
    for vector in list(&vectors["chains"]) {
        let seed = hex::decode(vector["seed"].as_str().unwrap()).unwrap();
        let master = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
        for key in list(&vector["keys"]) {
            let path: DerivationPath = key["path"].as_str().unwrap().parse().unwrap();
            let xprv = master.derive_priv(SECP256K1, &path).unwrap();
            assert_eq!(xprv.to_string(), key["xprv"].as_str().unwrap());
            assert_eq!(Xpub::from_priv(SECP256K1, &xprv).to_string(), key["xpub"].as_str().unwrap());
        }
    }
    let main = lode_coins::find("bitcoin", "main").unwrap();
    for invalid in list(&vectors["invalid"]) {
        let key = invalid["key"].as_str().unwrap();
        // Private ones are read nowhere, sound or not.
        assert!(xpub_descriptors(key, Some(AddressKind::Segwit), main).is_err(), "{invalid}");
        assert!(watch_descriptors(&[format!("wpkh({key}/0/*)")]).is_err(), "{invalid}");
    }
    assert_eq!((list(&vectors["chains"]).len(), list(&vectors["invalid"]).len()), (4, 16));
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

/// The account keys of BIP84, BIP86 and BIP49, as they are published, watch the addresses that those publish; change
/// too.
#[test]
fn bip49_84_86_account_keys_watch() {
    let main = lode_coins::find("bitcoin", "main").unwrap();
    let zpub = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs";
    let [receive, change] = <[_; 2]>::try_from(xpub_descriptors(zpub, None, main).unwrap()).unwrap();
    assert!(receive.0.starts_with("wpkh(xpub6C") && receive.0.contains("/0/*") && !receive.1);
    assert!(change.0.contains("/1/*") && change.1);
    let addresses = |coin: &lode_coins::Coin, pair: &[(String, bool)]| -> Vec<String> {
        let at = |text: &str, index| {
            let descriptor =
                miniscript::Descriptor::<miniscript::DescriptorPublicKey>::from_str(text).unwrap();
            let script = descriptor.at_derivation_index(index).unwrap().script_pubkey();
            coin.script_to_address(script.as_bytes()).unwrap()
        };
        vec![at(&pair[0].0, 0), at(&pair[0].0, 1), at(&pair[1].0, 0)]
    };
    assert_eq!(
        addresses(main, &[receive, change]),
        [
            "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
            "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
            "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el"
        ]
    );
    let xpub = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
    assert_eq!(
        addresses(main, &xpub_descriptors(xpub, Some(AddressKind::Taproot), main).unwrap()),
        [
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
            "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
            "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7"
        ]
    );
    let test = lode_coins::find("bitcoin", "testnet4").unwrap();
    let upub = "upub5EFU65HtV5TeiSHmZZm7FUffBGy8UKeqp7vw43jYbvZPpoVsgU93oac7Wk3u6moKegAEWtGNF8DehrnHtv21XXEMYRUocHqguyjknFHYfgY";
    let nested = addresses(test, &xpub_descriptors(upub, None, test).unwrap());
    assert_eq!(nested[0], "2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2");
    let error = xpub_descriptors(zpub, None, lode_coins::find("bitcoin", "regtest").unwrap()).unwrap_err();
    assert!(error.to_string().contains("not an extended public key of this coin and network"));
    let bare = xpub_descriptors(
        "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V",
        None,
        main,
    );
    assert!(bare.unwrap_err().to_string().contains("--kind"));
}

fn psbt_bytes(vector: &Value) -> Vec<u8> {
    hex::decode(vector["hex"].as_str().unwrap()).unwrap()
}

/// All that BIP174 publishes: what is a PSBT and what is not, and what each role makes of one.
#[test]
fn bip174_what_is_a_psbt_and_what_is_not() {
    let vectors = data(include_str!("../vectors/bip174.json"));
    for vector in list(&vectors["valid"]) {
        let bytes = psbt_bytes(vector);
        let psbt = read_psbt(&bytes).unwrap_or_else(|error| panic!("{}: {error}", vector["case"]));
        assert_eq!(psbt.serialize(), bytes, "{}", vector["case"]);
        assert_eq!(read_psbt(psbt.to_string().as_bytes()).unwrap(), psbt);
    }
    for vector in list(&vectors["invalid"]) {
        assert!(read_psbt(&psbt_bytes(vector)).is_err(), "{}", vector["case"]);
    }
    assert_eq!((list(&vectors["valid"]).len(), list(&vectors["invalid"]).len()), (10, 20));
}

#[test]
fn bip174_signing_combining_and_finishing() {
    let vectors = data(include_str!("../vectors/bip174.json"));
    let master: Xpriv = vectors["steps"]["master"].as_str().unwrap().parse().unwrap();
    // What does not fit together gets no signature.
    for vector in list(&vectors["not_to_be_signed"]) {
        assert!(read_psbt(&psbt_bytes(vector)).is_err(), "{}", vector["case"]);
    }
    let step = |name: &str| hex::decode(vectors["steps"][name].as_str().unwrap()).unwrap();
    // Two signers, each with two of the keys.
    let keys_at = |paths: [&str; 2]| -> HashMap<bitcoin::PublicKey, bitcoin::PrivateKey> {
        let key = |path: &str| {
            let path: DerivationPath = path.parse().unwrap();
            let key = master.derive_priv(SECP256K1, &path).unwrap().to_priv();
            (key.public_key(SECP256K1), key)
        };
        paths.map(key).into()
    };
    let signed_by = |paths| {
        let mut psbt = read_psbt(&step("with_sighash")).unwrap();
        let _ = psbt.sign(&keys_at(paths), SECP256K1); // the other inputs' keys are missing
        psbt
    };
    let mut first = signed_by(["m/0h/0h/0h", "m/0h/0h/2h"]);
    let second = signed_by(["m/0h/0h/1h", "m/0h/0h/3h"]);
    assert_eq!(first, read_psbt(&step("signed_by_first")).unwrap());
    assert_eq!(second, read_psbt(&step("signed_by_second")).unwrap());
    first.combine(second).unwrap();
    assert_eq!(first, read_psbt(&step("combined")).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let coin = lode_coins::find("bitcoin", "testnet4").unwrap();
    let wallet = wallet_of(WORDS, directory.path(), "any", coin, 20);
    let tx = wallet.finish_psbt(&mut first).unwrap().expect("all signatures are there");
    assert_eq!(hex::encode(tx.to_bytes()), vectors["steps"]["extracted"].as_str().unwrap());
    assert_eq!(first, read_psbt(&step("finalized")).unwrap());
    let mut unknown = read_psbt(&step("unknown_1")).unwrap();
    unknown.combine(read_psbt(&step("unknown_2")).unwrap()).unwrap();
    assert_eq!(unknown, read_psbt(&step("unknown_combined")).unwrap());
}

/// All that BIP370 publishes: what is a PSBT of version 2 and what is not, and which lock time its inputs agree on.
#[test]
fn bip370_what_is_a_psbt_of_version_2_and_what_is_not() {
    let vectors = data(include_str!("../vectors/bip370.json"));
    for vector in list(&vectors["invalid"]) {
        assert!(read_psbt(&psbt_bytes(vector)).is_err(), "{}", vector["case"]);
    }
    for vector in list(&vectors["valid"]) {
        let psbt =
            read_psbt(&psbt_bytes(vector)).unwrap_or_else(|error| panic!("{}: {error}", vector["case"]));
        assert_eq!((psbt.inputs.len(), psbt.outputs.len()), (1, 2), "{}", vector["case"]);
        assert_eq!(read_psbt(&psbt.serialize()).unwrap(), psbt);
    }
    for vector in list(&vectors["lock_times"]) {
        let psbt = read_psbt(&psbt_bytes(vector));
        let agreed = psbt.ok().map(|psbt| u64::from(psbt.unsigned_tx.lock_time.to_consensus_u32()));
        assert_eq!(agreed, vector["lock_time"].as_u64(), "{}", vector["case"]);
    }
    let count = |name: &str| list(&vectors[name]).len();
    assert_eq!((count("invalid"), count("valid"), count("lock_times")), (24, 13, 10));
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

/// Every transaction that BIP143 publishes passes, and with another amount none does.
#[test]
fn bip143_transactions() {
    let vectors = data(include_str!("../vectors/bip143.json"));
    let form = lode_primitives::Form { witness: true, data: false, multiplier: false };
    for vector in list(&vectors) {
        let tx =
            Transaction::from_bytes(&hex::decode(vector["tx"].as_str().unwrap()).unwrap(), form).unwrap();
        let spent = |more: i64| -> Vec<TxOut> {
            let output = |spent: &Value| TxOut {
                value: Amount::from_sat(spent["sat"].as_i64().unwrap() + more),
                script_pubkey: hex::decode(spent["script"].as_str().unwrap()).unwrap(),
            };
            list(&vector["spent"]).iter().map(output).collect()
        };
        let passes = |spent: &[TxOut], index| {
            verify_input(&TxSighashes::new(&tx, spent), index, Flags::STANDARD, None).is_ok()
                || verify_input(&TxSighashes::new(&tx, spent), index, Flags::MANDATORY, None).is_ok()
        };
        for (index, input) in tx.inputs.iter().enumerate() {
            assert!(passes(&spent(0), index), "{} input {index}", vector["case"]);
            assert_eq!(
                passes(&spent(1), index),
                input.witness.0.is_empty(),
                "{} input {index}",
                vector["case"]
            );
        }
    }
    assert_eq!(list(&vectors).len(), 8);
}

/// All of BIP340's vectors but four, whose messages are not 32 bytes long: what Bitcoin signs always is. The wallet's
/// auxiliary randomness is zero, as the first vector's; the next three show the library that it signs with.
#[test]
fn bip340_signatures() {
    let vectors = data(include_str!("../vectors/bip340.json"));
    let (mut signed, mut verified, mut other_lengths) = (0, 0, 0);
    for vector in list(&vectors) {
        let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let Ok(message) = <[u8; 32]>::try_from(bytes("message")) else {
            other_lengths += 1;
            continue;
        };
        let message = secp256k1::Message::from_digest(message);
        let key = secp256k1::XOnlyPublicKey::from_slice(&bytes("public_key"));
        let signature = secp256k1::schnorr::Signature::from_slice(&bytes("signature")).unwrap();
        let passes = key.is_ok_and(|key| SECP256K1.verify_schnorr(&signature, &message, &key).is_ok());
        assert_eq!(passes, vector["verification_result"] == "TRUE", "{vector}");
        verified += 1;
        let Ok(secret) = secp256k1::SecretKey::from_slice(&bytes("secret_key")) else { continue };
        let keypair = secret.keypair(SECP256K1);
        assert_eq!(keypair.x_only_public_key().0.serialize().to_vec(), bytes("public_key"));
        let aux: [u8; 32] = bytes("aux_rand").try_into().unwrap();
        assert_eq!(SECP256K1.sign_schnorr_with_aux_rand(&message, &keypair, &aux), signature, "{vector}");
        if aux == [0; 32] {
            let ours = sign::schnorr(*message.as_ref(), &keypair, SighashType::DEFAULT);
            assert_eq!(ours, bytes("signature"));
        }
        signed += 1;
    }
    assert_eq!((signed, verified, other_lengths), (4, 15, 4));
}
