//! Transactions that spend a coin as they should, and then one thing, or a few, changed.

use lode_primitives::{Amount, Height, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut, Witness};
use lode_script::build;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use secp256k1::SecretKey;

use super::coins::{COIN_VALUE, TestCoin, Unlock, unlock};

const HASH_TYPES: [u8; 6] = [1, 2, 3, 0x81, 0x82, 0x83];

fn plain_output(sat: i64) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey: build::p2wpkh(&[3; 20]) }
}

/// A spend of `coin`, sometimes together with `other`, changed or not.
pub(crate) fn spend(
    rng: &mut StdRng,
    coin: &TestCoin,
    other: &TestCoin,
    height: Height,
    coinbases: &[OutPoint],
) -> Transaction {
    let two = rng.random_ratio(1, 6) && other.outpoint != coin.outpoint;
    let coins: Vec<&TestCoin> = if two { vec![coin, other] } else { vec![coin] };
    let fee = if rng.random_ratio(1, 20) { rng.random_range(0..40) } else { rng.random_range(2_000..20_000) };
    let mut tx = Transaction {
        version: if rng.random_ratio(1, 10) { rng.random_range(-1..5) } else { 2 },
        inputs: coins.iter().map(|coin| TxIn::spending(coin.outpoint)).collect(),
        outputs: vec![plain_output(COIN_VALUE * coins.len() as i64 - fee)],
        lock_time: 0,
        data: None,
    };
    if rng.random_bool(0.4) {
        tx.lock_time = *[height - 1, height, height + 1, 220, 240, 499_999_999, 500_000_000, 1_296_688_602]
            .choose(rng)
            .unwrap();
        let sequences = [0, 1, 2, 3, 4, 5, 0x40_0000, 0x40_0001, 0x8000_0000, 0xffff_fffe, SEQUENCE_FINAL];
        tx.inputs[0].sequence = *sequences.choose(rng).unwrap();
    }
    if rng.random_ratio(1, 8) {
        tx.outputs.push(plain_output(rng.random_range(200..1_000)));
    }
    if rng.random_ratio(1, 6) {
        before_signing(rng, &mut tx, coinbases);
    }
    sign(rng, &mut tx, &coins);
    if rng.random_ratio(1, 8) {
        after_signing(rng, &mut tx);
    }
    tx
}

fn sign(rng: &mut StdRng, tx: &mut Transaction, coins: &[&TestCoin]) {
    // Signing needs an output for each input, whatever became of the inputs.
    let spent: Vec<TxOut> = tx
        .inputs
        .iter()
        .map(|input| coins.iter().find(|coin| coin.outpoint == input.prevout))
        .map(|coin| coin.map_or_else(|| plain_output(COIN_VALUE), |coin| coin.output.clone()))
        .collect();
    for index in 0..tx.inputs.len() {
        let Some(coin) = coins.iter().find(|coin| coin.outpoint == tx.inputs[index].prevout) else {
            continue;
        };
        let taproot = matches!(coin.unlock, Unlock::TaprootKey { .. } | Unlock::TaprootScript { .. });
        let hash_type = match rng.random_range(0..10) {
            0 => *[0, 4, 0x41, 0x80, 0x84, 0xff].choose(rng).unwrap(),
            1..4 => *HASH_TYPES.choose(rng).unwrap(),
            _ if taproot => 0,
            _ => 1,
        };
        let change = rng.random_ratio(1, 3);
        let mut changes = |items: &mut Vec<Vec<u8>>| {
            if change {
                change_items(rng, items);
            }
        };
        let unlocked = unlock(coin, tx, &spent, index, hash_type, &mut changes);
        (tx.inputs[index].script_sig, tx.inputs[index].witness) = unlocked;
    }
}

/// One of the items that unlock, changed.
fn change_items(rng: &mut StdRng, items: &mut Vec<Vec<u8>>) {
    let at = rng.random_range(0..=items.len());
    match rng.random_range(0..12) {
        0 => items.insert(at, vec![]),
        1 => items.insert(at, vec![1; *[1, 80, 81, 520, 521].choose(rng).unwrap()]),
        2 => items.push([&[0x50][..], b"annex"].concat()),
        _ if at == items.len() => items.extend(items.last().cloned()),
        3 => {
            items.remove(at);
        }
        4 => items[at].clear(),
        5 => items[at].push(rng.random()),
        6 => {
            items[at].pop();
        }
        7 if !items[at].is_empty() => {
            let bit = rng.random_range(0..items[at].len() * 8);
            items[at][bit / 8] ^= 1 << (bit % 8);
        }
        8 if !items[at].is_empty() => {
            let last = items[at].len() - 1;
            items[at][last] = *[0, 1, 2, 4, 0x41, 0x80, 0x83].choose(rng).unwrap();
        }
        9 => items.swap(0, at),
        _ => change_der(rng, &mut items[at]),
    }
}

/// A DER signature written otherwise: high S, padded or negative numbers, wrong lengths, bytes too many.
fn change_der(rng: &mut StdRng, signature: &mut Vec<u8>) {
    let [0x30, _, 2, r_len, ..] = signature[..] else { return };
    let (r_end, kind) = (4 + usize::from(r_len), signature.pop());
    let (Some(kind), Some(&[2, s_len])) = (kind, signature.get(r_end..).and_then(<[u8]>::first_chunk)) else {
        return;
    };
    let (Some(r), Some(s)) =
        (signature.get(4..r_end), signature.get(r_end + 2..r_end + 2 + usize::from(s_len)))
    else {
        return;
    };
    let (mut r, mut s) = (r.to_vec(), s.to_vec());
    let mut tail = Vec::new();
    match rng.random_range(0..8) {
        0 => {
            let mut scalar = [0; 32];
            let trimmed = &s[usize::from(s[0] == 0)..];
            scalar[32 - trimmed.len()..].copy_from_slice(trimmed);
            if let Ok(scalar) = SecretKey::from_slice(&scalar) {
                s = [&[0][..], &scalar.negate().secret_bytes()].concat();
                if s[1] & 0x80 == 0 {
                    s.remove(0);
                }
            }
        }
        1 => r.insert(0, 0),
        2 => s.insert(0, 0),
        3 => s[0] |= 0x80,
        4 => s.clear(),
        5 => tail.push(0),
        6 => r = vec![0],
        _ => s = vec![0xff; 33],
    }
    let wrong = u8::from(rng.random_ratio(1, 8));
    let body =
        [&[2, r.len() as u8][..], &r, &[2, (s.len() as u8).wrapping_add(wrong)][..], &s, &tail].concat();
    *signature = [&[0x30, body.len() as u8][..], &body, &[kind]].concat();
}

/// Changes that signatures then cover.
fn before_signing(rng: &mut StdRng, tx: &mut Transaction, coinbases: &[OutPoint]) {
    let max = 21_000_000 * 100_000_000;
    match rng.random_range(0..18) {
        0 => tx.outputs.clear(),
        1 => tx.inputs.push(tx.inputs[0].clone()),
        2 => tx.inputs.push(TxIn::spending(OutPoint::NULL)),
        3 => tx.inputs.push(TxIn::spending(OutPoint { vout: 77_777, ..tx.inputs[0].prevout })),
        4 => tx.inputs.push(TxIn::spending(*coinbases.last().unwrap())),
        5 => tx.inputs.push(TxIn::spending(coinbases[coinbases.len() - rng.random_range(95..105)])),
        6 => {
            tx.outputs[0].value =
                Amount::from_sat(*[-1, i64::MIN, i64::MAX, max, max + 1].choose(rng).unwrap());
        }
        7 => tx.outputs.extend([plain_output(max), plain_output(1)]),
        8 => {
            tx.outputs[0].value =
                Amount::from_sat(COIN_VALUE * tx.inputs.len() as i64 + rng.random_range(0..2));
        }
        9 => tx.outputs[0].script_pubkey = build::op_return(&[&[7; 100]]),
        10 => tx.outputs[0].script_pubkey = build::op_return(&[&vec![7; rng.random_range(99_850..99_950)]]),
        11 => tx.outputs[0].script_pubkey = vec![0x51],
        12 => {
            let key = super::coins::public(0, 0);
            tx.outputs[0].script_pubkey = build::multisig(1, &vec![&key[..]; rng.random_range(1..6)]);
        }
        13 => tx.outputs.extend(vec![plain_output(rng.random_range(290..298)); 2]),
        14 => tx.outputs = vec![plain_output(COIN_VALUE), plain_output(0)],
        15 => tx
            .outputs
            .push(TxOut { value: Amount::ZERO, script_pubkey: vec![0xac; rng.random_range(1..5_000)] }),
        16 => tx.outputs = vec![TxOut { value: Amount::from_sat(90_000), script_pubkey: vec![0x6a; 1] }],
        _ => tx.outputs = vec![plain_output(30); rng.random_range(2..3_500)],
    }
}

/// Changes that signatures may or may not cover.
fn after_signing(rng: &mut StdRng, tx: &mut Transaction) {
    let at = rng.random_range(0..tx.inputs.len());
    let input = &mut tx.inputs[at];
    match rng.random_range(0..12) {
        0 => input.script_sig.push(0x61),
        1 => input.script_sig.insert(0, 0x51),
        2 => input.script_sig = vec![0; rng.random_range(1_645..1_655)],
        3 => input.script_sig = [&[0x4c, input.script_sig.len() as u8][..], &input.script_sig].concat(),
        4 => input.witness = Witness::default(),
        5 => input.witness.0.push(vec![1]),
        6 => input.sequence ^= 1,
        7 => tx.lock_time ^= 1,
        8 => tx.version = 1,
        9 => tx.outputs.push(plain_output(400)),
        10 => input.script_sig.clear(),
        _ => input.script_sig.push(0x50),
    }
}

/// A few bytes of an encoding changed, taken out or put in.
pub(crate) fn bytes(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.insert(at, rng.random()),
            1 => {
                bytes.remove(at);
            }
            2 => bytes.truncate(at),
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
}
