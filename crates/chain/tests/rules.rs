//! Every rule about blocks from both sides: just inside and just outside, on regtest, by the reference client's names.
#![allow(clippy::unwrap_used)]

use lode_chain::testing::{anyone, block_on, commit, mine, root, seal, spend, txids};
use lode_chain::{Blame, BlockError, Chain, ChainOptions};
use lode_primitives::{Amount, Block, Height, OutPoint, SEQUENCE_FINAL, Transaction, TxOut, Txid, Witness};

/// A chain with some coins that may be spent in its next block.
struct World {
    chain: Chain,
    coins: Vec<OutPoint>,
    tag: u32,
    _dir: tempfile::TempDir,
}

const SUBSIDY: i64 = 50 * 100_000_000;

impl World {
    fn new(network: &str, blocks: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::find("bitcoin", network).unwrap();
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
        let coins = lode_chain::testing::grow(&mut chain, blocks, 0);
        Self { chain, coins, tag: 0, _dir: dir }
    }

    fn height(&self) -> Height {
        self.chain.height() + 1
    }

    /// The next block, not sealed.
    fn block(&mut self) -> Block {
        self.tag += 1;
        block_on(&self.chain, &self.chain.tip().hash(), self.tag)
    }

    /// The next block with `transactions`, sealed.
    fn with(&mut self, transactions: Vec<Transaction>) -> Block {
        let mut block = self.block();
        block.transactions.extend(transactions);
        self.seal(&mut block);
        block
    }

    fn seal(&self, block: &mut Block) {
        seal(self.chain.coin(), block, self.height());
    }

    /// What the chain says of `block`: the reject reason, or "valid" if it is the tip now.
    fn verdict(&mut self, block: Block) -> String {
        self.outcome(block).map_or_else(|error| error.reject_reason(), |()| "valid".to_owned())
    }

    fn outcome(&mut self, block: Block) -> Result<(), BlockError> {
        let now = block.header.time;
        let hash = block.hash();
        let before = self.chain.tip().hash();
        let outcome = self.chain.accept_block(block, now).map(|report| {
            assert_eq!(report.connected.last().map(|last| last.hash), Some(hash));
        });
        assert_eq!(self.chain.tip().hash(), if outcome.is_ok() { hash } else { before });
        outcome
    }

    /// The next block with `change` made before the Merkle root and the work.
    fn changed(&mut self, change: impl FnOnce(&mut Block)) -> String {
        let mut block = self.block();
        change(&mut block);
        root(&mut block);
        mine(self.chain.coin(), &mut block);
        self.verdict(block)
    }
}

fn coin(value: i64) -> TxOut {
    TxOut { value: Amount::from_sat(value), script_pubkey: anyone() }
}

#[test]
fn header_rules() {
    let mut world = World::new("regtest", 20);
    let median = world.chain.median_time_past(&world.chain.tip().hash()).unwrap();

    assert_eq!(world.changed(|block| block.header.time = median), "time-too-old");
    assert_eq!(world.changed(|block| block.header.time = median + 1), "valid");
    assert_eq!(world.changed(|block| block.header.bits = 0x207f_fffe), "bad-diffbits");
    assert_eq!(world.changed(|block| block.header.version = 3), "bad-version(0x00000003)");
    assert_eq!(world.changed(|block| block.header.version = 4), "valid");
    assert_eq!(world.changed(|block| block.header.version = -1), "bad-version(0xffffffff)");

    let mut block = world.with(vec![]);
    while world.chain.coin().pow.hash(&block.header.pow_bytes()).unwrap()[31] < 0x80 {
        block.header.nonce += 1;
    }
    assert_eq!(world.verdict(block), "high-hash");
    let mut easy = world.with(vec![]);
    easy.header.bits = 0x2100_ffff; // easier than there is
    assert_eq!(world.verdict(easy), "high-hash");

    let block = world.with(vec![]);
    let early = block.header.time - 7_200;
    let error = world.chain.accept_block(block.clone(), early - 1).unwrap_err();
    assert_eq!((error.reject_reason().as_str(), error.blame()), ("time-too-new", Blame::Early));
    assert!(world.chain.accept_block(block, early).is_ok());

    let mut orphan = world.with(vec![]);
    orphan.header.prev.0[0] ^= 1;
    mine(world.chain.coin(), &mut orphan);
    let error = world.outcome(orphan).unwrap_err();
    assert_eq!((error.reject_reason().as_str(), error.blame()), ("prev-blk-not-found", Blame::MissingParent));
}

#[test]
fn an_invalid_block_is_remembered_and_so_are_its_children() {
    let mut world = World::new("regtest", 3);
    let mut block = world.block();
    block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY + 1);
    world.seal(&mut block);
    assert_eq!(world.verdict(block.clone()), "bad-cb-amount");
    assert_eq!(world.verdict(block.clone()), "duplicate-invalid");
    let mut child = block.clone();
    child.header.prev = block.hash();
    child.header.time += 1;
    mine(world.chain.coin(), &mut child);
    assert_eq!(world.verdict(child.clone()), "bad-prevblk");
    assert_eq!(
        world.chain.accept_header(&child.header, child.header.time).unwrap_err().reject_reason(),
        "bad-prevblk"
    );
}

#[test]
fn a_changed_body_does_not_condemn_the_header() {
    let mut world = World::new("regtest", 101);
    let spender = spend(&world.coins[..1], &[1]);
    let good = world.with(vec![spender.clone()]);
    // CVE-2012-2459: the last transactions again make the same root.
    let mut repeated = world.block();
    repeated.transactions.extend([spender.clone(), spend(&world.coins[..1], &[2])]);
    root(&mut repeated);
    let same_root = {
        let mut block = repeated.clone();
        let last = block.transactions[2].clone();
        block.transactions.push(last);
        block.transactions.truncate(4);
        block
    };
    let mut sealed = same_root.clone();
    root(&mut sealed);
    sealed.transactions.truncate(3);
    // Three transactions hash like four with the last twice.
    assert_eq!(txids(&sealed).len(), 3);
    mine(world.chain.coin(), &mut sealed);
    let mut mutated = sealed.clone();
    mutated.transactions.push(sealed.transactions[2].clone());
    let error = world.outcome(mutated).unwrap_err();
    assert_eq!((error.reject_reason().as_str(), error.blame()), ("bad-txns-duplicate", Blame::Mutated));

    let mut other = good.clone();
    other.transactions[1].outputs[0].value = Amount::from_sat(2);
    assert_eq!(world.verdict(other), "bad-txnmrklroot");
    let mut stuffed = good.clone();
    stuffed.transactions[1].inputs[0].witness = Witness(vec![vec![1]]);
    assert_eq!(world.verdict(stuffed), "unexpected-witness");
    assert_eq!(world.verdict(good), "valid");
}

#[test]
fn coinbase_rules() {
    let mut world = World::new("regtest", 20);
    assert_eq!(world.changed(|block| block.transactions.clear()), "bad-blk-length");
    assert_eq!(
        world.changed(
            |block| block.transactions[0].inputs[0].prevout = OutPoint { txid: Txid([1; 32]), vout: 0 }
        ),
        "bad-cb-missing"
    );
    assert_eq!(
        world.changed(|block| {
            let mut second = block.transactions[0].clone();
            second.outputs[0].value = Amount::ZERO;
            block.transactions.push(second);
        }),
        "bad-cb-multiple"
    );
    // Height 21 as a push of one byte, 17 and above; any other way of writing it does not count.
    assert_eq!(world.changed(|block| block.transactions[0].inputs[0].script_sig = vec![1, 21, 0]), "valid");
    assert_eq!(
        world.changed(|block| block.transactions[0].inputs[0].script_sig = vec![1, 21, 0]),
        "bad-cb-height"
    );
    assert_eq!(
        world.changed(|block| block.transactions[0].inputs[0].script_sig = vec![2, 22, 0]),
        "bad-cb-height"
    );
    assert_eq!(world.changed(|block| block.transactions[0].inputs[0].script_sig = vec![1, 22]), "valid");
    assert_eq!(world.changed(|block| block.transactions[0].inputs[0].script_sig = vec![0]), "bad-cb-length");
    for (more, wanted) in [(1, "bad-cb-amount"), (0, "valid"), (-1, "valid")] {
        let reason =
            world.changed(|block| block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY + more));
        assert_eq!(reason, wanted);
    }
}

#[test]
fn the_subsidy_halves() {
    let mut world = World::new("regtest", 149);
    assert_eq!(
        world.changed(|block| block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY)),
        "bad-cb-amount"
    );
    assert_eq!(
        world.changed(|block| block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY / 2 + 1)),
        "bad-cb-amount"
    );
    assert_eq!(
        world.changed(|block| block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY / 2)),
        "valid"
    );
}

#[test]
fn fees_go_to_the_coinbase_and_no_more() {
    let mut world = World::new("regtest", 105);
    let spender = spend(&world.coins[..2], &[2 * SUBSIDY - 700]);
    for (fees, wanted) in [(701, "bad-cb-amount"), (700, "valid")] {
        let mut block = world.block();
        block.transactions.push(spender.clone());
        block.transactions[0].outputs[0].value = Amount::from_sat(SUBSIDY + fees);
        world.seal(&mut block);
        assert_eq!(world.verdict(block), wanted);
    }
}

#[test]
fn inputs_must_exist_be_mature_and_pay() {
    let mut world = World::new("regtest", 101);
    let (first, second) = (world.coins[0], world.coins[1]);
    // Block 102 may spend the coinbases of blocks 1 and 2, and not that of 3.
    let third = world.coins[2];
    let block = world.with(vec![spend(&[third], &[1])]);
    assert_eq!(world.verdict(block), "bad-txns-premature-spend-of-coinbase");
    let block = world.with(vec![spend(&[first], &[SUBSIDY + 1])]);
    assert_eq!(world.verdict(block), "bad-txns-in-belowout");
    let missing = OutPoint { txid: first.txid, vout: 1 };
    let block = world.with(vec![spend(&[missing], &[1])]);
    assert_eq!(world.verdict(block), "bad-txns-inputs-missingorspent");
    let block = world.with(vec![spend(&[first], &[1]), spend(&[first], &[2])]);
    assert_eq!(world.verdict(block), "bad-txns-inputs-missingorspent");
    let block = world.with(vec![spend(&[first, first], &[1])]);
    assert_eq!(world.verdict(block), "bad-txns-inputs-duplicate");
    // In a block's own order only: first made, then spent.
    let parent = spend(&[first], &[SUBSIDY]);
    let child = spend(&[OutPoint { txid: parent.txid(), vout: 0 }], &[SUBSIDY]);
    let block = world.with(vec![child.clone(), parent.clone()]);
    assert_eq!(world.verdict(block), "bad-txns-inputs-missingorspent");
    let block = world.with(vec![parent.clone(), child, spend(&[second], &[SUBSIDY])]);
    assert_eq!(world.verdict(block), "valid");
    // The very same transaction again: its outputs were spent, its inputs are gone, and those of an earlier block stay.
    let block = world.with(vec![parent]);
    assert_eq!(world.verdict(block), "bad-txns-inputs-missingorspent");
}

/// A block that repeats a transaction of an earlier block is refused, and refusing it leaves the first one's outputs.
#[test]
fn an_unspent_transaction_is_not_overwritten() {
    let mut world = World::new("regtest", 101);
    let spender = spend(&world.coins[..1], &[SUBSIDY]);
    let outpoint = OutPoint { txid: spender.txid(), vout: 0 };
    let block = world.with(vec![spender.clone()]);
    assert_eq!(world.verdict(block), "valid");
    let block = world.with(vec![spender]);
    assert_eq!(world.verdict(block), "bad-txns-BIP30");
    assert!(world.chain.has_utxo(&outpoint).unwrap());
}

#[test]
fn lock_times_go_by_height_and_by_median_time() {
    let mut world = World::new("regtest", 105);
    let height = world.height();
    let median = world.chain.median_time_past(&world.chain.tip().hash()).unwrap();
    let locked = |world: &World, lock_time, sequence| {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.lock_time = lock_time;
        tx.inputs[0].sequence = sequence;
        tx
    };
    for lock_time in [height, median] {
        let block = world.with(vec![locked(&world, lock_time, 0)]);
        assert_eq!(world.verdict(block), "bad-txns-nonfinal");
    }
    assert!(!world.chain.is_final(&locked(&world, height, 0)));
    assert!(world.chain.is_final(&locked(&world, height - 1, 0)));
    let block = world.with(vec![locked(&world, height, SEQUENCE_FINAL)]);
    assert!(world.chain.test_block_validity(block, u32::MAX).is_ok());
    let block = world.with(vec![locked(&world, height - 1, 0)]);
    assert!(world.chain.test_block_validity(block, u32::MAX).is_ok());
    let block = world.with(vec![locked(&world, median - 1, 0)]);
    assert_eq!(world.verdict(block), "valid");
}

#[test]
fn relative_locks_go_by_height_and_by_median_time() {
    let mut world = World::new("regtest", 105);
    // Made at height 1: at height 106 it is 105 deep.
    for (version, sequence, wanted) in [
        (2, 106, "bad-txns-nonfinal"),
        (2, 105, "valid"),
        (1, 106, "valid"),
        (2, 106 | 1 << 31, "valid"),
        (2, 1 << 22 | 1, "bad-txns-nonfinal"), // 512 seconds; all of the chain is younger
        (2, 1 << 22, "valid"),
    ] {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.version = version;
        tx.inputs[0].sequence = sequence;
        let locks = world.chain.sequence_locks(&tx, [1]);
        assert_eq!(world.chain.locks_are_open(&locks), wanted == "valid");
        let block = world.with(vec![tx]);
        let reason = world
            .chain
            .test_block_validity(block, u32::MAX)
            .map_or_else(|error| error.reject_reason(), |()| "valid".to_owned());
        assert_eq!(reason, wanted, "{version} {sequence:#x}");
    }
}

#[test]
fn scripts_run_with_every_rule() {
    let mut world = World::new("regtest", 105);
    let pay = |world: &World, script_pubkey: Vec<u8>| {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.outputs[0].script_pubkey = script_pubkey;
        tx
    };
    // (script paid to, what unlocks it wrongly, what does)
    let cases = [
        (
            lode_script::build::p2sh_of(&[0x87]),
            [0x51, 0x52, 1, 0x87].to_vec(),
            [0x51, 0x51, 1, 0x87].to_vec(),
        ),
        (vec![0x87], vec![0x51, 0x52], vec![0x51, 0x51]),
    ];
    for (script, bad, good) in cases {
        let made = pay(&world, script);
        let outpoint = OutPoint { txid: made.txid(), vout: 0 };
        for (script_sig, wanted) in [(bad, false), (good, true)] {
            let mut tx = spend(&[outpoint], &[1]);
            tx.inputs[0].script_sig = script_sig;
            let block = world.with(vec![made.clone(), tx]);
            let verdict = world.chain.test_block_validity(block, u32::MAX);
            match verdict {
                Ok(()) => assert!(wanted),
                Err(error) => {
                    let reason = error.reject_reason();
                    assert!(!wanted && reason.starts_with("block-script-verify-flag-failed ("), "{reason}");
                }
            }
        }
    }
}

#[test]
fn witnesses_are_committed_to() {
    let mut world = World::new("regtest", 105);
    let script = vec![0x51];
    let made = {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.outputs[0].script_pubkey = lode_script::build::p2wsh_of(&script);
        tx
    };
    let mut spender = spend(&[OutPoint { txid: made.txid(), vout: 0 }], &[SUBSIDY]);
    spender.inputs[0].witness = Witness(vec![script]);
    let unsealed = {
        let mut block = world.block();
        block.transactions.extend([made, spender]);
        block
    };
    let finish = |world: &mut World, mut block: Block| {
        root(&mut block);
        mine(world.chain.coin(), &mut block);
        world.verdict(block)
    };
    assert_eq!(finish(&mut world, unsealed.clone()), "unexpected-witness");
    let mut block = unsealed;
    commit(world.chain.coin(), &mut block, 106);
    for (nonce, wanted) in [
        (vec![], "bad-witness-nonce-size"),
        (vec![vec![0; 31]], "bad-witness-nonce-size"),
        (vec![vec![0; 32], vec![]], "bad-witness-nonce-size"),
        (vec![vec![1; 32]], "bad-witness-merkle-match"),
    ] {
        let mut other = block.clone();
        other.transactions[0].inputs[0].witness = Witness(nonce);
        assert_eq!(finish(&mut world, other), wanted);
    }
    let mut other = block.clone();
    other.transactions[2].inputs[0].witness.0.push(vec![]);
    assert_eq!(finish(&mut world, other), "bad-witness-merkle-match");
    // Only the last commitment counts.
    let mut other = block.clone();
    let commitment = other.transactions[0].outputs[1].clone();
    other.transactions[0].outputs[1].script_pubkey[10] ^= 1;
    assert_eq!(finish(&mut world, other.clone()), "bad-witness-merkle-match");
    other.transactions[0].outputs.push(commitment);
    assert_eq!(finish(&mut world, other), "valid");
}

#[test]
fn weight_to_the_unit() {
    let mut world = World::new("regtest", 105);
    // 200 times OP_2DROP: a witness of 400 items.
    let script = [vec![0x6d; 200], vec![0x51]].concat();
    let made = {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.outputs[0].script_pubkey = lode_script::build::p2wsh_of(&script);
        tx
    };
    let block_of = |world: &mut World, excess: usize| {
        let mut block = world.block();
        // Most of the weight in outputs of the first transaction, the rest to the unit in its witness.
        let mut spender = spend(&[OutPoint { txid: made.txid(), vout: 0 }], &[SUBSIDY - 1]);
        let mut items = vec![vec![0u8; 500]; 400];
        items.push(script.clone());
        spender.inputs[0].witness = Witness(items);
        let filler = TxOut { value: Amount::ZERO, script_pubkey: vec![0x6a; 9_000] };
        spender.outputs.extend(vec![filler; 104]);
        block.transactions.extend([made.clone(), spender]);
        commit(world.chain.coin(), &mut block, 106);
        let missing = 4_000_000 + excess - block.weight();
        // Four units for each byte of the last output, single ones by the items.
        let (bytes, units) = (missing / 4, missing % 4);
        let spender = &mut block.transactions[2];
        let last = spender.outputs.len() - 1;
        spender.outputs[last].script_pubkey.extend(vec![0; bytes]);
        for item in 0..units {
            spender.inputs[0].witness.0[item].push(0);
        }
        let script_pubkey = lode_chain::witness_commitment_script(&block.transactions, &txids(&block));
        block.transactions[0].outputs[1].script_pubkey = script_pubkey;
        assert_eq!(block.weight(), 4_000_000 + excess);
        root(&mut block);
        mine(world.chain.coin(), &mut block);
        block
    };
    let block = block_of(&mut world, 1);
    assert_eq!(world.verdict(block), "bad-blk-weight");
    let block = block_of(&mut world, 0);
    assert_eq!(world.verdict(block), "valid");
}

#[test]
fn size_without_witnesses() {
    let mut world = World::new("regtest", 1);
    for (excess, wanted) in [(1, "bad-blk-length"), (0, "valid")] {
        let mut block = world.block();
        block.transactions[0].outputs.push(TxOut { value: Amount::ZERO, script_pubkey: vec![0x6a] });
        let rest = block.base_size();
        block.transactions[0].outputs[1].script_pubkey = vec![0x6a; 1_000_000 - rest - 4 + 1 + excess];
        assert_eq!(block.base_size(), 1_000_000 + excess);
        root(&mut block);
        mine(world.chain.coin(), &mut block);
        assert_eq!(world.verdict(block), wanted);
    }
}

#[test]
fn sigops_to_the_unit() {
    let mut world = World::new("regtest", 105);
    let checksigs = |count: usize| TxOut { value: Amount::ZERO, script_pubkey: vec![0xac; count] };
    // Legacy ones count four: 20,000 of them are the bound, wherever they stand.
    for (count, wanted) in [(20_001, "bad-blk-sigops"), (20_000, "valid")] {
        let reason = world.changed(|block| block.transactions[0].outputs.push(checksigs(count)));
        assert_eq!(reason, wanted);
    }
    // One of a witness counts one.
    let script = vec![0x51, 0x63, 0x68, 0x51]; // no sigops: OP_1 IF ENDIF OP_1
    assert!(lode_script::count_sigops(&script, true) == 0);
    let witness_script = [vec![0x00, 0x63], vec![0xac; 3], vec![0x68, 0x51]].concat(); // 0 IF three checks ENDIF 1
    let made = {
        let mut tx = spend(&world.coins[..1], &[SUBSIDY]);
        tx.outputs[0].script_pubkey = lode_script::build::p2wsh_of(&witness_script);
        tx
    };
    for (count, wanted) in [(20_000, "bad-blk-sigops"), (19_999, "valid")] {
        let mut spender = spend(&[OutPoint { txid: made.txid(), vout: 0 }], &[1]);
        spender.inputs[0].witness = Witness(vec![witness_script.clone()]);
        let mut block = world.block();
        block.transactions[0].outputs.push(checksigs(count)); // 79,996 and three more are below 80,000
        block.transactions.extend([made.clone(), spender]);
        world.seal(&mut block);
        assert_eq!(world.verdict(block), wanted);
    }
}

#[test]
fn amounts_of_outputs() {
    let mut world = World::new("regtest", 105);
    let max = 2_100_000_000_000_000;
    for (values, wanted) in [
        (vec![-1], "bad-txns-vout-negative"),
        (vec![max + 1], "bad-txns-vout-toolarge"),
        (vec![max, 1], "bad-txns-txouttotal-toolarge"),
        (vec![max], "bad-txns-in-belowout"),
    ] {
        let block = world.with(vec![spend(&world.coins[..1], &values)]);
        assert_eq!(world.verdict(block), wanted);
    }
    let mut empty = spend(&world.coins[..1], &[]);
    let block = world.with(vec![empty.clone()]);
    assert_eq!(world.verdict(block), "bad-txns-vout-empty");
    empty.outputs.push(coin(0));
    empty.inputs.push(empty.inputs[0].clone());
    empty.inputs[1].prevout = OutPoint::NULL;
    let block = world.with(vec![empty]);
    assert_eq!(world.verdict(block), "bad-txns-prevout-null");
}

#[test]
fn proposals_need_no_work_but_the_tip() {
    let mut world = World::new("regtest", 105);
    let mut block = world.with(vec![spend(&world.coins[..1], &[1])]);
    block.header.nonce ^= 0x8000_0000;
    let now = block.header.time;
    let before = world.chain.output_set().unwrap().info(lode_chain::SetHash::Serialized).unwrap();
    assert!(world.chain.test_block_validity(block.clone(), now).is_ok());
    assert!(world.chain.test_block_validity(block.clone(), now).is_ok(), "nothing is left of the first time");
    let after = world.chain.output_set().unwrap().info(lode_chain::SetHash::Serialized).unwrap();
    assert_eq!(before.set_hash, after.set_hash);
    block.header.prev = world.chain.entry_at(104).unwrap().hash();
    let error = world.chain.test_block_validity(block, now).unwrap_err();
    assert_eq!(error.reject_reason(), "inconclusive-not-best-prevblk");
}

/// A signet whose challenge anyone meets, and one that nobody does.
#[test]
fn signet_blocks_must_be_signed() {
    for (challenge, wanted) in [(vec![0x51], "valid"), (vec![0x00], "bad-signet-blksig")] {
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::custom_signet(&challenge);
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
        let mut block = block_on(&chain, &chain.tip().hash(), 0);
        // Without a witness commitment there is no place for a solution, so even this challenge fails.
        root(&mut block);
        mine(coin, &mut block);
        let error = chain.accept_block(block.clone(), block.header.time).unwrap_err();
        assert_eq!(error.reject_reason(), "bad-signet-blksig");
        let script_pubkey = lode_chain::witness_commitment_script(&block.transactions, &txids(&block));
        block.transactions[0].inputs[0].witness = Witness(vec![vec![0; 32]]);
        block.transactions[0].outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
        root(&mut block);
        mine(coin, &mut block);
        let verdict = chain.accept_block(block.clone(), block.header.time);
        assert_eq!(verdict.map_or_else(|error| error.reject_reason(), |_| "valid".to_owned()), wanted);
    }
}

/// Regtest's rules with retargets every ten blocks, of the kind testnet4 has (BIP94).
fn short_intervals() -> &'static lode_coins::Coin {
    let regtest = lode_coins::find("bitcoin", "regtest").unwrap();
    Box::leak(Box::new(lode_coins::Coin {
        retarget: lode_coins::Retarget::Interval {
            timespan: 6_000,
            spacing: 600,
            whole_interval: false,
            min_difficulty_blocks: true,
            never: false,
            bip94: true,
        },
        ..*regtest
    }))
}

#[test]
fn an_interval_may_not_begin_long_before_the_last_ended() {
    let dir = tempfile::tempdir().unwrap();
    let coin = short_intervals();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    lode_chain::testing::grow(&mut chain, 8, 0);
    let accept = |chain: &mut Chain, time: u32| {
        let mut block = block_on(chain, &chain.tip().hash(), time);
        block.header.time = time;
        block.header.bits = chain.next_bits(&block.header.prev, time).unwrap();
        root(&mut block);
        mine(coin, &mut block);
        chain.accept_block(block, u32::MAX).map_or_else(|error| error.reject_reason(), |_| "valid".to_owned())
    };
    // The last block of the interval is far ahead.
    let last = chain.tip().time() + 5_000;
    assert_eq!(accept(&mut chain, last), "valid");
    assert_eq!(chain.height(), 9);
    assert_eq!(chain.least_time(), last - 600);
    assert_eq!(accept(&mut chain, last - 601), "time-timewarp-attack");
    assert_eq!(accept(&mut chain, last - 600), "valid");
}

/// Scripts below an assumed-valid block are not run once two weeks' worth of headers stand on top; all else is checked.
#[test]
fn assumed_valid_means_scripts_only() {
    let mut world = World::new("regtest", 101);
    let source = world.coins[0];
    let mut made = spend(&[source], &[SUBSIDY]);
    made.outputs[0].script_pubkey = vec![0]; // false: never spendable
    let theft = spend(&[OutPoint { txid: made.txid(), vout: 0 }], &[SUBSIDY]);
    let below: Vec<Block> = (1..=101)
        .map(|height| world.chain.block(&world.chain.entry_at(height).unwrap().hash()).unwrap().unwrap())
        .collect();
    let bad = world.with(vec![made, theft]);
    let mut headers: Vec<_> = below.iter().map(|block| block.header.clone()).collect();
    headers.push(bad.header.clone());
    for _ in 0..2_100 {
        let mut next = Block { header: headers[headers.len() - 1].clone(), transactions: vec![] };
        next.header.prev = next.header.hash();
        next.header.time += 1;
        mine(world.chain.coin(), &mut next);
        headers.push(next.header);
    }
    // (assumed valid, headers known, whether the block passes)
    for (assumed, known, passes) in [
        (Some(bad.hash()), headers.len(), true),
        (Some(headers[110].hash()), headers.len(), true),
        (None, headers.len(), false),
        (Some(bad.hash()), 101 + 2_016, false), // two weeks, and not more
        (Some(headers[90].hash()), headers.len(), false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = ChainOptions::new(world.chain.coin(), dir.path());
        options.assume_valid = assumed;
        let mut chain = Chain::open(options).unwrap();
        let now = headers[headers.len() - 1].time;
        chain.accept_headers(&headers[..known], now).unwrap();
        for block in &below {
            chain.accept_block(block.clone(), now).unwrap();
        }
        let reason = chain.accept_block(bad.clone(), now).map_err(|error| error.reject_reason());
        match passes {
            true => assert_eq!(reason.unwrap().connected.len(), 1),
            false => assert!(reason.unwrap_err().starts_with("block-script-verify-flag-failed")),
        }
    }
}
