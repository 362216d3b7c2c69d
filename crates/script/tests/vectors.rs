//! The reference client's script, transaction and signature hash vectors: all of them, none left out. (Transactions
//! that `tx_invalid.json` marks `BADTX` break a rule of the transaction itself, before any script: those belong to
//! `chain`, whose tests run them.)

#![allow(clippy::unwrap_used)] // a test may

mod common;

use std::collections::HashMap;

use common::{assemble, cases, flags};
use lode_primitives::{Amount, Decode, Form, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut, Witness};
use lode_script::{Flags, SighashType, TxSighashes, legacy_sighash, sign, tapleaf_hash, verify_input};
use secp256k1::{SECP256K1, SecretKey};
use serde_json::Value;

const FORM: Form = Form { witness: true, data: false, multiplier: false };

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Flags that imply others, without those whose implications are missing.
fn trimmed(mut flags: Flags) -> Flags {
    if !flags.contains(Flags::P2SH) {
        flags = flags.without(Flags::WITNESS);
    }
    if !flags.contains(Flags::WITNESS) {
        flags = flags.without(Flags::CLEANSTACK);
    }
    flags
}

/// A witness of `script_tests.json`: hex items, or a script in words and a control block to be made for it. Gives the
/// taproot output key, where a control block was made.
fn witness(items: &[Value]) -> (Witness, Option<[u8; 32]>) {
    let (internal, _) = SecretKey::from_slice(&{
        let mut one = [0; 32];
        one[31] = 1;
        one
    })
    .unwrap()
    .x_only_public_key(SECP256K1);
    let mut stack: Vec<Vec<u8>> = Vec::new();
    let mut output_key = None;
    for item in items {
        if let Some(words) = text(item).strip_prefix("#SCRIPT#") {
            stack.push(assemble(words));
        } else if text(item) == "#CONTROLBLOCK#" {
            let root = tapleaf_hash(0xc0, stack.last().unwrap());
            let (key, odd) = sign::taproot_output_key(&internal, Some(&root)).unwrap();
            output_key = Some(key.serialize());
            stack.push([&[0xc0 | u8::from(odd)][..], &internal.serialize()].concat());
        } else {
            stack.push(hex::decode(text(item)).unwrap());
        }
    }
    (Witness(stack), output_key)
}

#[test]
fn script_tests() {
    let cases = cases(include_str!("data/script_tests.json"));
    assert!(cases.len() > 1_200);
    let mut wrong = Vec::new();
    for case in &cases {
        let (mut at, mut value, mut stack, mut output_key) = (0, Amount::ZERO, Witness::default(), None);
        if let Some(items) = case[0].as_array() {
            let (amount, items) = items.split_last().unwrap();
            value = amount.to_string().parse().unwrap();
            (stack, output_key) = witness(items);
            at = 1;
        }
        let script_pubkey = match text(&case[at + 1]) {
            "0x51 0x20 #TAPROOTOUTPUT#" => lode_script::build::p2tr(&output_key.unwrap()),
            words => assemble(words),
        };
        let input =
            |prevout, script_sig, witness| TxIn { prevout, script_sig, sequence: SEQUENCE_FINAL, witness };
        let credit = Transaction {
            version: 1,
            inputs: vec![input(OutPoint::NULL, vec![0, 0], Witness::default())],
            outputs: vec![TxOut { value, script_pubkey }],
            lock_time: 0,
            data: None,
        };
        let prevout = OutPoint { txid: credit.txid(), vout: 0 };
        let spend = Transaction {
            version: 1,
            inputs: vec![input(prevout, assemble(text(&case[at])), stack)],
            outputs: vec![TxOut { value, script_pubkey: vec![] }],
            lock_time: 0,
            data: None,
        };
        let sighashes = TxSighashes::new(&spend, &credit.outputs);
        let verdict = match verify_input(&sighashes, 0, flags(text(&case[at + 2])), None) {
            Ok(()) => "OK",
            Err(error) => error.name(),
        };
        if verdict != text(&case[at + 3]) {
            wrong.push(format!("{verdict}: {case:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

struct TxCase {
    tx: Transaction,
    spent: Vec<TxOut>,
    flags: String,
}

impl TxCase {
    fn valid(&self, flags: Flags) -> bool {
        let sighashes = TxSighashes::new(&self.tx, &self.spent);
        (0..self.tx.inputs.len()).all(|index| verify_input(&sighashes, index, flags, None).is_ok())
    }
}

fn tx_cases(json: &str) -> Vec<TxCase> {
    let read = |case: &Vec<Value>| {
        let tx = Transaction::from_bytes(&hex::decode(text(&case[1])).unwrap(), FORM).unwrap();
        let outputs: HashMap<OutPoint, TxOut> = case[0]
            .as_array()
            .unwrap()
            .iter()
            .map(|spent| {
                let vout = spent[1].as_i64().unwrap() as u32;
                let value = Amount::from_sat(spent.get(3).map_or(0, |sat| sat.as_i64().unwrap()));
                (
                    OutPoint { txid: text(&spent[0]).parse().unwrap(), vout },
                    TxOut { value, script_pubkey: assemble(text(&spent[2])) },
                )
            })
            .collect();
        let spent = tx.inputs.iter().map(|input| outputs.get(&input.prevout).cloned());
        // Only a transaction that is bad in itself spends what is not there.
        let nothing = TxOut { value: Amount::ZERO, script_pubkey: vec![] };
        let spent = spent.map(|output| output.unwrap_or_else(|| nothing.clone())).collect();
        TxCase { tx, spent, flags: text(&case[2]).to_owned() }
    };
    cases(json).iter().map(read).collect()
}

#[test]
fn valid_transactions() {
    let cases = tx_cases(include_str!("data/tx_valid.json"));
    assert!(cases.len() > 110);
    for case in &cases {
        let excluded = flags(&case.flags);
        let txid = case.tx.txid();
        assert!(case.valid(!excluded), "{txid} is valid without {excluded:?}");
        for (name, flag) in Flags::NAMES {
            // Fewer rules never make it invalid ...
            assert!(case.valid(trimmed(!(excluded | *flag))), "{txid} is valid without {name} too");
            // ... and each rule left out was left out for a reason.
            let fewer = trimmed(excluded.without(*flag));
            if fewer != excluded {
                assert!(!case.valid(!fewer), "{txid} is invalid with {:?}", !fewer);
            }
        }
    }
}

#[test]
fn invalid_transactions() {
    let cases = tx_cases(include_str!("data/tx_invalid.json"));
    assert!(cases.len() > 80);
    for case in cases.iter().filter(|case| case.flags != "BADTX") {
        let required = flags(&case.flags);
        let txid = case.tx.txid();
        assert!(!case.valid(required), "{txid} is invalid with {required:?}");
        for (name, flag) in Flags::NAMES {
            assert!(!case.valid(required | *flag), "{txid} is invalid with {name} too");
            let fewer = trimmed(required.without(*flag));
            if fewer != required {
                assert!(case.valid(fewer), "{txid} is valid with {fewer:?}");
            }
        }
    }
}

#[test]
fn signature_hashes() {
    let cases = cases(include_str!("data/sighash.json"));
    assert_eq!(cases.len(), 500);
    for case in &cases {
        let tx = Transaction::from_bytes(&hex::decode(text(&case[0])).unwrap(), FORM).unwrap();
        let code = hex::decode(text(&case[1])).unwrap();
        let hash_type = SighashType(case[3].as_i64().unwrap() as i32 as u32);
        let mut hash = legacy_sighash(&tx, case[2].as_u64().unwrap() as usize, &code, hash_type);
        hash.reverse();
        assert_eq!(hex::encode(hash), text(&case[4]));
    }
}

#[test]
fn a_data_field_is_signed_behind_the_lock_time() {
    let input =
        TxIn { prevout: OutPoint::default(), script_sig: vec![], sequence: 7, witness: Witness::default() };
    let tx = Transaction {
        version: 1,
        inputs: vec![input],
        outputs: vec![],
        lock_time: 9,
        data: Some(vec![1, 2, 3]),
    };
    let mut preimage = vec![1, 0, 0, 0, 1];
    preimage.extend([0; 36]);
    preimage.extend([1, 0x51, 7, 0, 0, 0, 0, 9, 0, 0, 0, 3, 1, 2, 3, 1, 0, 0, 0]);
    assert_eq!(legacy_sighash(&tx, 0, &[0x51], SighashType::ALL), lode_primitives::sha256d(&preimage));
}
