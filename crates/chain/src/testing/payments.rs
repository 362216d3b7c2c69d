//! Payments between outputs of every kind, signed by keys that everybody knows: for benches and for comparison with
//! other nodes.

use std::collections::VecDeque;
use std::sync::LazyLock;

use lode_primitives::{Amount, Block, OutPoint, ScriptBuf, Transaction, TxOut, Witness, hash160};
use lode_script::{SighashType, TapLeaf, TxSighashes, build, sign, tapleaf_hash};
use secp256k1::{Keypair, PublicKey, SECP256K1, SecretKey, XOnlyPublicKey};

use super::{block_with, grow};
use crate::Chain;

/// An output with the key that spends it.
pub type Owned = (OutPoint, TxOut);

/// Kinds of outputs that [`script`] makes and [`pay`] spends.
pub const KINDS: usize = 11;

/// Satoshi that [`pay`] leaves to the miner for each output; more than the least a mempool takes.
const FEE_PER_OUTPUT: i64 = 1_000;

const LEAF_VERSION: u8 = 0xc0;
const OP_CHECKSIG: u8 = 0xac;

/// The key everything is paid to.
pub fn key() -> SecretKey {
    SecretKey::from_slice(&[0x42; 32]).expect("a valid key")
}

/// The second key where two have to sign.
fn second_key() -> SecretKey {
    SecretKey::from_slice(&[0x43; 32]).expect("a valid key")
}

fn public(key: &SecretKey) -> [u8; 33] {
    PublicKey::from_secret_key(SECP256K1, key).serialize()
}

/// One of two signs.
fn one_of_two() -> ScriptBuf {
    build::multisig(1, &[&public(&key()), &public(&second_key())])
}

/// Both sign.
fn two_of_two() -> ScriptBuf {
    build::multisig(2, &[&public(&key()), &public(&second_key())])
}

/// A taproot leaf for one signature, by the second key.
fn leaf() -> ScriptBuf {
    let mut script = Vec::new();
    build::push_bytes(&second_key().x_only_public_key(SECP256K1).0.serialize(), &mut script);
    script.push(OP_CHECKSIG);
    script
}

/// The taproot output with [`leaf`] as its only script, and whether its key has an odd Y.
fn script_path_key() -> (XOnlyPublicKey, bool) {
    let root = tapleaf_hash(LEAF_VERSION, &leaf());
    sign::taproot_output_key(&key().x_only_public_key(SECP256K1).0, Some(&root)).expect("a valid key")
}

/// A script of each kind in turn: P2PK, P2PKH, bare multisig, P2SH, P2WPKH in P2SH, P2WSH in P2SH, P2WPKH, P2WSH,
/// P2TR by key, P2TR by script, P2A.
pub fn script(kind: usize) -> ScriptBuf {
    static SCRIPTS: LazyLock<[ScriptBuf; KINDS]> = LazyLock::new(|| std::array::from_fn(make_script));
    SCRIPTS[kind % KINDS].clone()
}

fn make_script(kind: usize) -> ScriptBuf {
    let hash = hash160(&public(&key()));
    match kind {
        0 => build::p2pk(&public(&key())),
        1 => build::p2pkh(&hash),
        2 => one_of_two(),
        3 => build::p2sh_of(&two_of_two()),
        4 => build::p2sh_of(&build::p2wpkh(&hash)),
        5 => build::p2sh_of(&build::p2wsh_of(&two_of_two())),
        6 => build::p2wpkh(&hash),
        7 => build::p2wsh_of(&two_of_two()),
        8 => {
            let internal = key().x_only_public_key(SECP256K1).0;
            build::p2tr(&sign::taproot_output_key(&internal, None).expect("a valid key").0.serialize())
        }
        9 => build::p2tr(&script_path_key().0.serialize()),
        _ => build::anchor(),
    }
}

/// What unlocks input `index`, which spends an output of [`script`] or one that anyone can spend.
fn unlock(sighashes: &TxSighashes<'_>, index: usize) -> (Vec<u8>, Witness) {
    let all = SighashType::ALL;
    let spent = &sighashes.spent(index).script_pubkey;
    let kind = (0..KINDS).find(|kind| script(*kind) == *spent);
    let both = |hash| [key(), second_key()].map(|key| sign::ecdsa(hash, &key, all));
    let nothing = Vec::new; // what CHECKMULTISIG takes too many
    let push_all = |items: &[Vec<u8>]| {
        let mut script = Vec::new();
        items.iter().for_each(|item| build::push_minimal(item, &mut script));
        script
    };
    let by_two = || {
        let [first, second] = both(sighashes.segwit_v0(index, &two_of_two(), all));
        Witness(vec![nothing(), first, second, two_of_two()])
    };
    match kind {
        None | Some(10) => Default::default(),
        Some(2) => {
            let signature = sign::ecdsa(sighashes.legacy(index, spent, all), &second_key(), all);
            (push_all(&[nothing(), signature]), Witness::default())
        }
        Some(3) => {
            let [first, second] = both(sighashes.legacy(index, &two_of_two(), all));
            (push_all(&[nothing(), first, second, two_of_two()]), Witness::default())
        }
        Some(5) => (push_all(&[build::p2wsh_of(&two_of_two())]), by_two()),
        Some(7) => (Vec::new(), by_two()),
        Some(9) => {
            let tapleaf = TapLeaf { hash: tapleaf_hash(LEAF_VERSION, &leaf()), codeseparator: u32::MAX };
            let hash = sighashes.taproot(index, 0, None, Some(tapleaf)).expect("the default type fits");
            let pair = Keypair::from_secret_key(SECP256K1, &second_key());
            let internal = key().x_only_public_key(SECP256K1).0.serialize();
            let control = [&[LEAF_VERSION | u8::from(script_path_key().1)][..], &internal].concat();
            (Vec::new(), Witness(vec![sign::schnorr(hash, &pair, SighashType::DEFAULT), leaf(), control]))
        }
        Some(_) => sign::input(sighashes, index, &key(), all).expect("our own key"),
    }
}

/// A signed payment from `spent` to `outputs` equal outputs, of kinds from `kind` on; every eighth carries an output of
/// data beside them.
pub fn pay(spent: &[Owned], outputs: usize, kind: usize) -> Transaction {
    let total: i64 = spent.iter().map(|(_, output)| output.value.to_sat()).sum();
    let prevouts: Vec<OutPoint> = spent.iter().map(|(outpoint, _)| *outpoint).collect();
    let mut tx = super::spend(&prevouts, &vec![total / outputs as i64 - FEE_PER_OUTPUT; outputs]);
    for (index, output) in tx.outputs.iter_mut().enumerate() {
        output.script_pubkey = script(kind + index);
    }
    if kind.is_multiple_of(8) {
        let script_pubkey = build::op_return(&[&kind.to_le_bytes()]);
        tx.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
    }
    sign_all(&mut tx, spent);
    tx
}

/// Signs every input of `tx`, which spends `spent`.
pub fn sign_all(tx: &mut Transaction, spent: &[Owned]) {
    let unlocked: Vec<_> = {
        let sighashes = TxSighashes::new(tx, spent.iter().map(|(_, output)| output));
        (0..spent.len()).map(|index| unlock(&sighashes, index)).collect()
    };
    for (input, (script_sig, witness)) in tx.inputs.iter_mut().zip(unlocked) {
        input.script_sig = script_sig;
        input.witness = witness;
    }
}

/// The outputs of `tx` that can be spent.
pub fn outputs(tx: &Transaction) -> Vec<Owned> {
    let txid = tx.txid();
    let owned = (0..).zip(&tx.outputs).map(|(vout, output)| (OutPoint { txid, vout }, output.clone()));
    owned.filter(|(_, output)| output.value > Amount::ZERO).collect()
}

/// Payments of two inputs and two outputs each, from the front of `owned` to its end.
pub fn payments(owned: &mut VecDeque<Owned>, count: usize) -> Vec<Transaction> {
    let mut made = Vec::with_capacity(count);
    for _ in 0..count.min(owned.len() / 2) {
        let spent: Vec<Owned> = owned.drain(..2).collect();
        // By chance, but the same each time.
        let kind = usize::from(spent[0].0.txid.0[0]);
        let tx = pay(&spent, 2, kind);
        owned.extend(outputs(&tx));
        made.push(tx);
    }
    made
}

/// Grows `chain` by a trunk of coinbases and blocks that fan them out into `count` outputs, or a few more.
///
/// # Panics
/// Where the chain refuses one.
pub fn fan_out(chain: &mut Chain, count: usize) -> VecDeque<Owned> {
    const EACH: usize = 1_000;
    let fans = count.div_ceil(EACH);
    let coins = grow(chain, 101 + fans as u32, 0);
    let mut owned = VecDeque::new();
    for (kind, coin) in coins.into_iter().take(fans).enumerate() {
        let output = chain.utxo(&coin).expect("readable").expect("unspent").output;
        let tx = pay(&[(coin, output)], EACH, kind);
        owned.extend(outputs(&tx));
        connect(chain, vec![tx]);
    }
    owned
}

/// Grows `chain` by a spendable trunk, blocks that fan out, and `full` blocks of `per_block` payments of two inputs and
/// two outputs each; gives all its blocks.
///
/// # Panics
/// Where the chain refuses one.
pub fn signed_chain(chain: &mut Chain, full: usize, per_block: usize) -> Vec<Block> {
    let mut owned = fan_out(chain, 2 * per_block);
    for _ in 0..full {
        let transactions = payments(&mut owned, per_block);
        connect(chain, transactions);
    }
    (1..=chain.height())
        .map(|height| {
            let hash = chain.entry_at(height).expect("in the chain").hash();
            chain.block(&hash).expect("readable").expect("stored")
        })
        .collect()
}

/// Adds a block with these transactions to the tip.
///
/// # Panics
/// Where the chain refuses it.
pub fn connect(chain: &mut Chain, transactions: Vec<Transaction>) {
    let block = block_with(chain, &chain.tip().hash(), 1, transactions);
    let (now, hash) = (block.header.time, block.hash());
    chain.accept_block(block, now).expect("a valid block");
    assert_eq!(chain.tip().hash(), hash);
}
