//! Blocks of Bitcoin's main network, whole, with the outputs they spent: every rule at its real height.

use std::sync::Arc;

use lode_primitives::{Block, Decode, Form, Height, MerkleNode, OutPoint, Reader, TxOut};

use crate::cache::Coins;
use crate::connect::{Place, connect, disconnect};
use crate::db::Database;
use crate::rules::block::{Hashed, Scope, check, check_in_context};
use crate::rules::script_flags;
use crate::signatures::SignatureTable;
use crate::tree::Tree;
use crate::utxo::Utxo;
use crate::{BlockError, TxError};

struct Fixture {
    block: Block,
    spent: Vec<Utxo>,
    height: Height,
    dir: tempfile::TempDir,
}

/// `None` where the blocks are not at hand: see `tests/main_net.md`.
fn fixture(height: Height) -> Option<Fixture> {
    let Some(dir) = std::env::var_os("LODE_CHAIN_DATA") else {
        eprintln!(
            "SKIPPED: needs LODE_CHAIN_DATA, a directory of real blocks; see crates/chain/tests/main_net.md"
        );
        return None;
    };
    let read =
        |kind: &str| std::fs::read(std::path::Path::new(&dir).join(format!("main-{height}.{kind}"))).unwrap();
    let block = Block::from_bytes(&read("block"), lode_coins::find("bitcoin", "main").unwrap().form).unwrap();
    let bytes = read("spent");
    let mut reader = Reader::new(&bytes);
    let mut spent = Vec::new();
    while reader.remaining() > 0 {
        spent.push(Utxo::decode(&mut reader, Form::default()).unwrap());
    }
    Some(Fixture { block, spent, height, dir: tempfile::tempdir().unwrap() })
}

impl Fixture {
    /// Checks the block as `change` makes it, on outputs as `damage` makes them.
    fn verdict(
        &self,
        change: impl Fn(&mut Block),
        damage: impl Fn(usize, &mut TxOut),
    ) -> Result<(), BlockError> {
        let coin = lode_coins::find("bitcoin", "main").unwrap();
        let mut block = self.block.clone();
        change(&mut block);
        let hashed = Hashed::new(Arc::new(block));
        check(coin, &hashed, Scope::Whole)?;

        let mut tree = Tree::default();
        let mut above = self.block.header.clone();
        above.prev = lode_primitives::BlockHash::ZERO;
        above.merkle_root = MerkleNode::ZERO;
        let parent = tree.plant(coin, &above, self.height - 1);
        check_in_context(&tree, coin, &hashed, parent)?;

        let db = Database::open(self.dir.path()).unwrap();
        let mut coins = Coins::new(1 << 30);
        let made: std::collections::HashSet<_> = hashed.txids.iter().collect();
        let inputs = hashed.block.transactions.iter().skip(1).flat_map(|tx| &tx.inputs);
        let outside: Vec<OutPoint> =
            inputs.map(|input| input.prevout).filter(|prevout| !made.contains(&prevout.txid)).collect();
        assert_eq!(outside.len(), self.spent.len());
        for (index, (prevout, utxo)) in outside.iter().zip(&self.spent).enumerate() {
            let mut utxo = utxo.clone();
            damage(index, &mut utxo.output);
            coins.add(*prevout, utxo, false);
        }
        let before = coins.len();
        let place = Place {
            coin,
            tree: &tree,
            db: &db,
            parent,
            flags: script_flags(coin, self.height, &hashed.hash),
            scripts: true,
            signatures: &SignatureTable::default(),
        };
        let connected = connect(&place, &mut coins, &hashed);
        let verdict = connected.map(|undo| {
            assert!(!coins.has(&db, &outside[0]).unwrap());
            disconnect(&db, &mut coins, &hashed, undo).unwrap();
        });
        // Taken back by hand or for a broken rule: what was there is there again, and nothing else.
        assert_eq!(coins.len(), before);
        for (index, (prevout, utxo)) in outside.iter().zip(&self.spent).enumerate() {
            let mut utxo = utxo.clone();
            damage(index, &mut utxo.output);
            assert_eq!(coins.get(&db, prevout).unwrap().as_ref(), Some(&utxo));
        }
        verdict
    }
}

fn reason(verdict: Result<(), BlockError>) -> String {
    verdict.map_or_else(|error| error.reject_reason(), |()| "valid".to_owned())
}

/// 20,817 inputs in 420 transactions: a million bytes, no witnesses.
#[test]
fn block_367891() {
    let Some(fixture) = fixture(367_891) else { return };
    assert_eq!(reason(fixture.verdict(|_| (), |_, _| ())), "valid");
    let other_script = |index: usize, output: &mut TxOut| {
        if index == 12_345 {
            output.script_pubkey = vec![0]; // leaves false on the stack
        }
    };
    let error = fixture.verdict(|_| (), other_script).unwrap_err();
    assert!(matches!(error, BlockError::Tx { error: TxError::Script { .. }, .. }), "{error}");
    assert!(error.reject_reason().starts_with("block-script-verify-flag-failed"));
}

/// 4,864 transactions with witnesses of versions 0 and 1, half of their inputs spending outputs of the same block.
#[test]
fn block_866342() {
    let Some(fixture) = fixture(866_342) else { return };
    assert_eq!(reason(fixture.verdict(|_| (), |_, _| ())), "valid");
    let more = |index: usize, output: &mut TxOut| {
        if index == 3_000 {
            output.value = output.value.checked_add(lode_primitives::Amount::from_sat(1)).unwrap();
        }
    };
    // An amount is signed by witness inputs; the reward is checked before the scripts run.
    let error = fixture.verdict(|_| (), more).unwrap_err();
    assert!(matches!(error, BlockError::Tx { error: TxError::Script { .. }, .. }), "{error}");
    let witness = |block: &mut Block| block.transactions[1].inputs[0].witness.0.push(vec![]);
    assert_eq!(reason(fixture.verdict(witness, |_, _| ())), "bad-witness-merkle-match");
    let time = |block: &mut Block| block.header.time += 1;
    assert_eq!(reason(fixture.verdict(time, |_, _| ())), "high-hash");
    let swapped = |block: &mut Block| block.transactions.swap(1, 2);
    assert_eq!(reason(fixture.verdict(swapped, |_, _| ())), "bad-txnmrklroot");
}
