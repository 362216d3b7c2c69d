//! A chain of signed payments of every usual kind, for benches and for comparison with other nodes.

use lode_chain::Chain;
use lode_chain::testing::{block_with, grow};
use lode_primitives::{Block, OutPoint, ScriptBuf, Transaction, TxOut, hash160};
use lode_script::{SighashType, TxSighashes, build, sign};
use secp256k1::{SECP256K1, SecretKey};

/// An output with the key that spends it.
pub(crate) type Owned = (OutPoint, TxOut);

/// The key everything is paid to.
pub(crate) fn key() -> SecretKey {
    SecretKey::from_slice(&[0x42; 32]).expect("a valid key")
}

/// A script of each kind in turn: P2PKH, P2WPKH, P2TR, P2SH-P2WPKH, P2PK.
pub(crate) fn script(kind: usize) -> ScriptBuf {
    let public = key().public_key(SECP256K1);
    let hash = hash160(&public.serialize());
    match kind % 5 {
        0 => build::p2pkh(&hash),
        1 => build::p2wpkh(&hash),
        2 => {
            let output =
                sign::taproot_output_key(&public.x_only_public_key().0, None).expect("a valid key").0;
            build::p2tr(&output.serialize())
        }
        3 => build::p2sh_of(&build::p2wpkh(&hash)),
        _ => build::p2pk(&public.serialize()),
    }
}

/// A signed payment from `spent` to `outputs` equal outputs, of kinds from `kind` on.
pub(crate) fn pay(spent: &[Owned], outputs: usize, kind: usize) -> Transaction {
    let total: i64 = spent.iter().map(|(_, output)| output.value.to_sat()).sum();
    let prevouts: Vec<OutPoint> = spent.iter().map(|(outpoint, _)| *outpoint).collect();
    let mut tx = lode_chain::testing::spend(&prevouts, &vec![total / outputs as i64 - 10; outputs]);
    for (index, output) in tx.outputs.iter_mut().enumerate() {
        output.script_pubkey = script(kind + index);
    }
    let unlocked: Vec<_> = {
        let sighashes = TxSighashes::new(&tx, spent.iter().map(|(_, output)| output));
        (0..spent.len())
            .map(|index| match spent[index].1.script_pubkey.as_slice() {
                [0x51] => Default::default(),
                _ => sign::input(&sighashes, index, &key(), SighashType::ALL).expect("our own key"),
            })
            .collect()
    };
    for (input, (script_sig, witness)) in tx.inputs.iter_mut().zip(unlocked) {
        input.script_sig = script_sig;
        input.witness = witness;
    }
    tx
}

/// The outputs of `tx`.
pub(crate) fn outputs(tx: &Transaction) -> Vec<Owned> {
    let txid = tx.txid();
    (0..).zip(&tx.outputs).map(|(vout, output)| (OutPoint { txid, vout }, output.clone())).collect()
}

/// Grows `chain` by a spendable trunk, blocks that fan out, and `full` blocks of `per_block` payments of two inputs and
/// two outputs each; gives all its blocks.
pub(crate) fn signed_chain(chain: &mut Chain, full: usize, per_block: usize) -> Vec<Block> {
    let fans = 2 * per_block.div_ceil(1_000);
    let coins = grow(chain, 101 + fans as u32, 0);
    let reward = |outpoint: OutPoint, chain: &Chain| {
        let output = chain.utxo(&outpoint).expect("readable").expect("unspent").output;
        (outpoint, output)
    };
    let mut owned = std::collections::VecDeque::new();
    for (kind, coin) in coins.into_iter().take(fans).enumerate() {
        let coin = reward(coin, chain);
        let tx = pay(&[coin], 1_000, kind);
        owned.extend(outputs(&tx));
        connect(chain, vec![tx]);
    }
    for _ in 0..full {
        let transactions: Vec<Transaction> = (0..per_block)
            .map(|kind| {
                let spent: Vec<Owned> = owned.drain(..2).collect();
                let tx = pay(&spent, 2, kind);
                owned.extend(outputs(&tx));
                tx
            })
            .collect();
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
pub(crate) fn connect(chain: &mut Chain, transactions: Vec<Transaction>) {
    let block = block_with(chain, &chain.tip().hash(), 1, transactions);
    let (now, hash) = (block.header.time, block.hash());
    chain.accept_block(block, now).expect("a valid block");
    assert_eq!(chain.tip().hash(), hash);
}
