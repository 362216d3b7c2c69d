//! Transactions that carry data, against vectors recorded from datacoind (`crates/pow/tests/data/prime.json`, its source is
//! named inside): the signature covers the data.

#![allow(clippy::unwrap_used)] // a test may

use lode_primitives::{Amount, Decode, Encode, Form, Transaction, TxOut};
use lode_script::{Flags, ScriptError, TxSighashes, verify_input};
use serde_json::Value;

fn bytes(row: &Value, key: &str) -> Vec<u8> {
    hex::decode(row[key].as_str().unwrap()).unwrap()
}

#[test]
fn a_signature_covers_the_data() {
    let file: Value = serde_json::from_str(include_str!("../../pow/tests/data/prime.json")).unwrap();
    let rows = file["datacoin_tx"].as_array().unwrap();
    // The second row spends what the first one does.
    let value = Amount::from_coins(1).to_sat() as f64 * rows[0]["prevout_amount"].as_f64().unwrap();
    let spent = [TxOut {
        value: Amount::from_sat(value.round() as i64),
        script_pubkey: bytes(&rows[0], "prevout_scriptPubKey"),
    }];
    let form = Form { data: true, ..Form::default() };
    let mut verdicts = Vec::new();
    for row in rows {
        let raw = bytes(row, "hex");
        let tx = Transaction::from_bytes(&raw, form).unwrap();
        assert_eq!(tx.to_bytes(), raw);
        if let Some(txid) = row["txid"].as_str() {
            assert_eq!(tx.txid().to_string(), txid);
            assert_eq!(tx.data.as_deref(), row["data_utf8"].as_str().map(str::as_bytes));
        }
        let verdict = verify_input(&TxSighashes::new(&tx, &spent), 0, Flags::P2SH, None);
        assert_eq!(verdict.is_ok(), row["valid"].as_bool().unwrap(), "{}: {verdict:?}", row["note"]);
        verdicts.push(verdict);
    }
    assert_eq!(verdicts, [Ok(()), Err(ScriptError::EvalFalse)]);
}
