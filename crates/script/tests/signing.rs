//! What the signing helpers make, the interpreter accepts; what is changed afterwards, it does not.

#![allow(clippy::unwrap_used)] // a test may

use std::collections::HashSet;
use std::sync::Mutex;

use lode_primitives::{Amount, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut, Witness, hash160};
use lode_script::{Flags, ScriptError, SighashType, SignatureCache, TxSighashes, build, sign, verify_input};
use secp256k1::{SECP256K1, SecretKey};

fn key() -> SecretKey {
    SecretKey::from_slice(&[5; 32]).unwrap()
}

fn scripts() -> Vec<Vec<u8>> {
    let public = key().public_key(SECP256K1);
    let (short, long) = (public.serialize(), public.serialize_uncompressed());
    let wpkh = build::p2wpkh(&hash160(&short));
    let (taproot, _) = sign::taproot_output_key(&public.x_only_public_key().0, None).unwrap();
    vec![
        build::p2pk(&short),
        build::p2pk(&long),
        build::p2pkh(&hash160(&short)),
        build::p2pkh(&hash160(&long)),
        build::p2sh_of(&wpkh),
        wpkh,
        build::p2tr(&taproot.serialize()),
    ]
}

fn signed(hash_type: SighashType, data: Option<Vec<u8>>) -> (Transaction, Vec<TxOut>) {
    let spent: Vec<_> = scripts()
        .into_iter()
        .map(|script_pubkey| TxOut { value: Amount::from_sat(1_000), script_pubkey })
        .collect();
    let input = |vout| TxIn {
        prevout: OutPoint { vout, ..OutPoint::default() },
        script_sig: vec![],
        sequence: SEQUENCE_FINAL,
        witness: Witness::default(),
    };
    let inputs = (0..spent.len() as u32).map(input).collect();
    let mut tx = Transaction { version: 2, inputs, outputs: spent.clone(), lock_time: 0, data };
    for index in 0..spent.len() {
        let made = sign::input(&TxSighashes::new(&tx, &spent), index, &key(), hash_type).unwrap();
        (tx.inputs[index].script_sig, tx.inputs[index].witness) = made;
    }
    (tx, spent)
}

fn verdicts(tx: &Transaction, spent: &[TxOut]) -> Vec<Result<(), ScriptError>> {
    let sighashes = TxSighashes::new(tx, spent);
    (0..spent.len()).map(|index| verify_input(&sighashes, index, Flags::STANDARD, None)).collect()
}

#[test]
fn every_kind_under_every_signature_type() {
    for hash_type in [SighashType::ALL, SighashType::NONE, SighashType::SINGLE] {
        for hash_type in [hash_type, hash_type.anyone_can_pay()] {
            let (mut tx, spent) = signed(hash_type, None);
            assert!(verdicts(&tx, &spent).iter().all(Result::is_ok), "{hash_type:?}");
            tx.outputs[0].value = Amount::from_sat(999);
            let good = verdicts(&tx, &spent).iter().filter(|verdict| verdict.is_ok()).count();
            let expected = match hash_type.0 & 3 {
                1 => 0,
                2 => spent.len(),
                _ => spent.len() - 1,
            };
            assert_eq!(good, expected, "{hash_type:?}: who signed the first output");
        }
    }
}

#[test]
fn a_data_field_is_covered_outside_witnesses() {
    let (mut tx, spent) = signed(SighashType::ALL, Some(b"data".to_vec()));
    assert!(verdicts(&tx, &spent)[..4].iter().all(Result::is_ok));
    tx.data = Some(b"date".to_vec());
    assert!(verdicts(&tx, &spent)[..4].iter().all(Result::is_err));
}

#[derive(Default)]
struct Kept(Mutex<HashSet<[u8; 32]>>);

impl SignatureCache for Kept {
    fn contains(&self, key: &[u8; 32]) -> bool {
        self.0.lock().unwrap().contains(key)
    }
    fn insert(&self, key: [u8; 32]) {
        self.0.lock().unwrap().insert(key);
    }
}

#[test]
fn a_cache_keeps_good_signatures_and_never_lets_another_through() {
    let cache = Kept::default();
    let (mut tx, spent) = signed(SighashType::ALL, None);
    for round in 0..2 {
        let sighashes = TxSighashes::new(&tx, &spent);
        for index in 0..spent.len() {
            assert_eq!(
                verify_input(&sighashes, index, Flags::STANDARD, Some(&cache)),
                Ok(()),
                "round {round}"
            );
        }
        assert_eq!(cache.0.lock().unwrap().len(), spent.len());
    }
    tx.outputs[0].value = Amount::from_sat(999);
    let sighashes = TxSighashes::new(&tx, &spent);
    for index in 0..spent.len() {
        assert!(verify_input(&sighashes, index, Flags::STANDARD, Some(&cache)).is_err());
    }
    assert_eq!(cache.0.lock().unwrap().len(), spent.len());
}
