//! Who lied: peers tell different filters of one block, and the block is at hand.
//!
//! A filter holds the scripts of the block's outputs and of the outputs it spends. The former are in the block: a filter
//! that lacks one is a lie, and so is one with more elements than the block can have. The latter are not, but most of
//! them can be told from what spends them (a key, a redeem script, a witness script); what is found so is evidence, not
//! proof, since an input may be made to look like another kind. So filters that pass the first test are compared by
//! how much of that they lack, then by how many peers tell them, then by size: a filter with too much in it makes work,
//! one with too little hides a payment.

use std::collections::HashSet;

use lode_primitives::filter::made;
use lode_primitives::{Block, BlockFilter, BlockHash, OutPoint, ScriptBuf, TxIn, hash160, sha256};

/// Why a filter cannot be that of `block`, whose id is `hash`; `None` where it may be.
pub(crate) fn lie(block: &Block, hash: &BlockHash, filter: &BlockFilter) -> Option<String> {
    let outputs: HashSet<&[u8]> = made(block).collect();
    let inputs = block.transactions.iter().skip(1).map(|transaction| transaction.inputs.len()).sum::<usize>();
    match filter.first_missing(hash, made(block)) {
        Err(error) => return Some(format!("is no filter: {error}")),
        Ok(Some(script)) => return Some(format!("lacks the output script {}", hex::encode(script))),
        Ok(None) => {}
    }
    let most = (outputs.len() + inputs) as u64;
    match filter.count() {
        Ok(count) if count > most => {
            Some(format!("has {count} elements where the block can have {most} at the most"))
        }
        Ok(_) => None,
        Err(error) => Some(format!("is no filter: {error}")),
    }
}

/// How many of the scripts that `block` seems to spend are not in the filter.
pub(crate) fn spent_missing(block: &Block, hash: &BlockHash, filter: &BlockFilter) -> usize {
    let within: std::collections::HashMap<OutPoint, &[u8]> = block
        .transactions
        .iter()
        .flat_map(|transaction| {
            let txid = transaction.txid();
            (0..)
                .zip(&transaction.outputs)
                .map(move |(vout, output)| (OutPoint { txid, vout }, output.script_pubkey.as_slice()))
        })
        .collect();
    let inputs = block.transactions.iter().skip(1).flat_map(|transaction| &transaction.inputs);
    let scripts: Vec<ScriptBuf> = inputs
        .filter_map(|input| match within.get(&input.prevout) {
            Some(script) => Some(script.to_vec()),
            None => spent_script(input),
        })
        .collect();
    let missing = |script: &&ScriptBuf| {
        filter.first_missing(hash, [script.as_slice()]).is_ok_and(|missing| missing.is_some())
    };
    scripts.iter().filter(missing).count()
}

const OP_0: u8 = 0x00;
const OP_CHECKMULTISIG: u8 = 0xae;

/// The script that an input seems to spend, judged by what it spends it with.
fn spent_script(input: &TxIn) -> Option<ScriptBuf> {
    let witness = &input.witness.0;
    let pushes = pushes(&input.script_sig)?;
    let p2sh = |redeem: &[u8]| [&[0xa9, 20][..], &hash160(redeem), &[0x87]].concat();
    match (pushes.as_slice(), witness.as_slice()) {
        // A witness program of its own.
        ([], [_, key]) if is_compressed_key(key) => Some([&[OP_0, 20][..], &hash160(key)].concat()),
        // Taproot's control block ends a witness with 33 + 32 n bytes; its key alone has one item.
        ([], [_, .., script]) if !(script.len() >= 33 && script.len() % 32 == 1) => {
            Some([&[OP_0, 32][..], &sha256(script)].concat())
        }
        // A witness program wrapped in a script hash.
        ([redeem], [_, ..]) if is_witness_v0(redeem) => Some(p2sh(redeem)),
        ([signature, key], []) if is_signature(signature) && is_key(key) => {
            Some([&[0x76, 0xa9, 20][..], &hash160(key), &[0x88, 0xac]].concat())
        }
        ([.., redeem], []) if redeem.last() == Some(&OP_CHECKMULTISIG) => Some(p2sh(redeem)),
        _ => None,
    }
}

fn is_compressed_key(bytes: &[u8]) -> bool {
    bytes.len() == 33 && matches!(bytes[0], 2 | 3)
}

fn is_key(bytes: &[u8]) -> bool {
    is_compressed_key(bytes) || (bytes.len() == 65 && bytes[0] == 4)
}

fn is_signature(bytes: &[u8]) -> bool {
    (9..=73).contains(&bytes.len()) && bytes[0] == 0x30
}

fn is_witness_v0(script: &[u8]) -> bool {
    matches!(script, [OP_0, 20, rest @ ..] if rest.len() == 20)
        || matches!(script, [OP_0, 32, rest @ ..] if rest.len() == 32)
}

/// What a script pushes, where it does nothing else.
fn pushes(mut script: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while let [opcode, rest @ ..] = script {
        let (length, rest) = match (opcode, rest) {
            (0..=75, rest) => (usize::from(*opcode), rest),
            (76, [length, rest @ ..]) => (usize::from(*length), rest),
            (77, [low, high, rest @ ..]) => (usize::from(u16::from_le_bytes([*low, *high])), rest),
            _ => return None,
        };
        let (push, rest) = rest.split_at_checked(length)?;
        found.push(push);
        script = rest;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_chain::testing::block_with;
    use lode_chain::testing::payments;
    use lode_chain::{Chain, ChainOptions};

    /// Over a chain that spends every kind of output: the true filter passes, and every script that a lying one leaves
    /// out tells on it, but for those that nothing in the block shows.
    #[test]
    fn what_is_left_out_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
        let mut owned = payments::fan_out(&mut chain, 60);
        // P2PK, bare multisig, taproot, P2A, and what anybody can spend: what spends them does not show them.
        let unseen: Vec<ScriptBuf> = [0, 2, 8, 9, 10].map(payments::script).to_vec();
        let seen = |script: &[u8]| script.len() > 1 && !unseen.iter().any(|other| other == script);
        let mut told = HashSet::new();
        for round in 0..4 {
            let transactions = payments::payments(&mut owned, 4);
            let parent = chain.tip().hash();
            let block = block_with(&chain, &parent, round, transactions);
            let (hash, now) = (block.hash(), block.header.time);
            chain.accept_block(block.clone(), now).unwrap();
            let filter = chain.block_filter(&hash).unwrap().unwrap();
            assert_eq!(lie(&block, &hash, &filter), None);
            assert_eq!(spent_missing(&block, &hash, &filter), 0);
            let spent = chain.spent_outputs(&hash).unwrap().unwrap();
            let spent: Vec<&[u8]> =
                spent.iter().flatten().map(|utxo| &utxo.output.script_pubkey[..]).collect();
            let all: HashSet<&[u8]> = made(&block).chain(spent.iter().copied()).collect();
            for script in &all {
                let without = all.iter().copied().filter(|other| other != script);
                let liar = BlockFilter::of_scripts(&hash, without);
                let proven = lie(&block, &hash, &liar).is_some();
                assert_eq!(proven, made(&block).any(|made| made == *script));
                let missing = spent_missing(&block, &hash, &liar);
                assert!(proven || missing > 0 || !seen(script), "{} is not missed", hex::encode(script));
                if !proven && missing > 0 {
                    told.insert(script.to_vec());
                }
            }
            let junk: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 30]).collect();
            let more =
                BlockFilter::of_scripts(&hash, all.iter().copied().chain(junk.iter().map(Vec::as_slice)));
            assert!(lie(&block, &hash, &more).unwrap().contains("at the most"));
        }
        assert!(told.len() > 1, "spent scripts alone told on {} liars", told.len());
        let broken = BlockFilter::from_bytes(vec![0xfd, 0xff, 0xff]);
        assert!(lie(&coin.genesis_block(), &coin.genesis_block().hash(), &broken).is_some());
    }
}
