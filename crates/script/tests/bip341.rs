//! BIP341's wallet vectors: trees, tweaks, signature hashes and signatures.

#![allow(clippy::unwrap_used)] // a test may

use lode_primitives::{Amount, Decode, Form, Transaction, TxOut, Witness};
use lode_script::{Flags, SighashType, TxSighashes, build, sign, tapbranch_hash, tapleaf_hash, verify_input};
use secp256k1::{SecretKey, XOnlyPublicKey};
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/bip341_wallet_vectors.json")).unwrap()
}

/// A leaf's id, hash and path.
type Leaf = (u64, [u8; 32], Vec<[u8; 32]>);

/// The root of a tree of scripts, and its leaves.
fn tree(node: &Value) -> ([u8; 32], Vec<Leaf>) {
    if let Some(branches) = node.as_array() {
        let (left, right) = (tree(&branches[0]), tree(&branches[1]));
        let extend = |leaves: Vec<Leaf>, other: [u8; 32]| {
            leaves.into_iter().map(move |(id, hash, mut path)| {
                path.push(other);
                (id, hash, path)
            })
        };
        let leaves = extend(left.1, right.0).chain(extend(right.1, left.0)).collect();
        return (tapbranch_hash(&left.0, &right.0), leaves);
    }
    let hash = tapleaf_hash(node["leafVersion"].as_u64().unwrap() as u8, &bytes(&node["script"]));
    (hash, vec![(node["id"].as_u64().unwrap(), hash, vec![])])
}

#[test]
fn output_scripts() {
    for case in vectors()["scriptPubKey"].as_array().unwrap() {
        let (given, middle, expected) = (&case["given"], &case["intermediary"], &case["expected"]);
        let internal = XOnlyPublicKey::from_slice(&bytes(&given["internalPubkey"])).unwrap();
        let (root, leaves) = if given["scriptTree"].is_null() {
            (None, vec![])
        } else {
            let (root, leaves) = tree(&given["scriptTree"]);
            (Some(root), leaves)
        };
        assert_eq!(root, (!middle["merkleRoot"].is_null()).then(|| array(&middle["merkleRoot"])));
        assert_eq!(sign::taproot_tweak(&internal, root.as_ref()), array(&middle["tweak"]));
        let (key, odd) = sign::taproot_output_key(&internal, root.as_ref()).unwrap();
        assert_eq!(key.serialize(), array(&middle["tweakedPubkey"]));
        assert_eq!(build::p2tr(&key.serialize()), bytes(&expected["scriptPubKey"]));
        for (id, hash, path) in leaves {
            let at = id as usize;
            assert_eq!(hash, array(&middle["leafHashes"][at]));
            let control = bytes(&expected["scriptPathControlBlocks"][at]);
            assert_eq!(control[0] & 1 == 1, odd);
            assert_eq!(control[33..], path.concat());
        }
    }
}

#[test]
fn key_path_spends() {
    for case in vectors()["keyPathSpending"].as_array().unwrap() {
        let form = Form { witness: true, ..Form::default() };
        let mut tx = Transaction::from_bytes(&bytes(&case["given"]["rawUnsignedTx"]), form).unwrap();
        let spent: Vec<TxOut> = case["given"]["utxosSpent"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output["amountSats"].as_i64().unwrap()),
                script_pubkey: bytes(&output["scriptPubKey"]),
            })
            .collect();
        let mut signed = Vec::new();
        for input in case["inputSpending"].as_array().unwrap() {
            let (given, middle) = (&input["given"], &input["intermediary"]);
            let index = given["txinIndex"].as_u64().unwrap() as usize;
            let hash_type = SighashType(given["hashType"].as_u64().unwrap() as u32);
            let key = SecretKey::from_slice(&bytes(&given["internalPrivkey"])).unwrap();
            let root = (!given["merkleRoot"].is_null()).then(|| array(&given["merkleRoot"]));
            let keypair = sign::taproot_tweaked_key(&key, root.as_ref()).unwrap();
            assert_eq!(keypair.secret_bytes(), array(&middle["tweakedPrivkey"]));
            let sighashes = TxSighashes::new(&tx, &spent);
            let hash = sighashes.taproot(index, hash_type.0 as u8, None, None).unwrap();
            assert_eq!(hash, array(&middle["sigHash"]));
            let signature = sign::schnorr(hash, &keypair, hash_type);
            assert_eq!(signature, bytes(&input["expected"]["witness"][0]));
            signed.push((index, signature));
        }
        for (index, signature) in &signed {
            tx.inputs[*index].witness = Witness(vec![signature.clone()]);
        }
        let sighashes = TxSighashes::new(&tx, &spent);
        for (index, _) in &signed {
            assert_eq!(verify_input(&sighashes, *index, Flags::STANDARD, None), Ok(()), "input {index}");
        }
    }
}
