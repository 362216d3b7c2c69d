use std::collections::HashMap;

use lode_primitives::{Amount, Block, BlockHash, Header, MerkleNode, TxOut, Witness};
use lode_script::{SignatureCache, build};

use super::*;
use crate::template::{self, TemplateOptions};
use crate::{ChainBlock, Connected};

/// Coins anybody can spend, on a chain of nothing else.
struct View {
    coins: HashMap<OutPoint, Utxo>,
    height: Height,
}

/// What every output here pays to: a witness script of `OP_1`, which is standard to pay to and to spend.
fn script() -> Vec<u8> {
    build::p2wsh_of(&[0x51])
}

impl View {
    fn new() -> Self {
        let output = TxOut { value: Amount::from_sat(1_000_000), script_pubkey: script() };
        let coin = |n: u8| {
            (
                OutPoint { txid: Txid([n; 32]), vout: 0 },
                Utxo { output: output.clone(), height: 10, coinbase: false },
            )
        };
        Self { coins: (0..=255).map(coin).collect(), height: 200 }
    }
}

impl ChainView for View {
    fn coin(&self) -> &'static Coin {
        lode_coins::find("bitcoin", "regtest").unwrap()
    }
    fn tip_hash(&self) -> BlockHash {
        BlockHash::ZERO
    }
    fn tip_height(&self) -> Height {
        self.height
    }
    fn tip_time(&self) -> u32 {
        self.median_time_past(self.height) + 3_600
    }
    fn median_time_past(&self, height: Height) -> u32 {
        1_700_000_000 + height * 600
    }
    fn least_time(&self) -> u32 {
        self.median_time_past(self.height) + 1
    }
    fn next_bits(&self, _: u32) -> u32 {
        0x207f_ffff
    }
    fn unspent(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        Ok(self.coins.get(outpoint).cloned())
    }
    fn signatures(&self) -> Option<&dyn SignatureCache> {
        None
    }
}

const NOW: u32 = 1_800_000_000;

fn coin(n: u8) -> OutPoint {
    OutPoint { txid: Txid([n; 32]), vout: 0 }
}

/// Spends `prevouts`, pays `values`.
fn tx(prevouts: &[OutPoint], values: &[i64]) -> Transaction {
    let mut tx = crate::testing::spend(prevouts, values);
    tx.inputs.iter_mut().for_each(|input| input.witness = Witness(vec![vec![0x51]]));
    tx.outputs.iter_mut().for_each(|output| output.script_pubkey = script());
    tx
}

fn out(tx: &Transaction, vout: u32) -> OutPoint {
    OutPoint { txid: tx.txid(), vout }
}

fn mempool() -> Mempool {
    Mempool::new(MempoolOptions::for_coin(View::new().coin()))
}

fn reason(result: Result<Accepted, MempoolError>) -> String {
    result.unwrap_err().reject_reason()
}

fn block(transactions: Vec<Transaction>) -> ChainBlock {
    let coinbase = tx(&[OutPoint::NULL], &[0]);
    let transactions: Vec<_> = std::iter::once(coinbase).chain(transactions).collect();
    let txids = transactions.iter().map(Transaction::txid).collect();
    let header = Header {
        version: 1,
        prev: BlockHash::ZERO,
        merkle_root: MerkleNode::ZERO,
        time: 0,
        bits: 0,
        nonce: 0,
        multiplier: None,
    };
    ChainBlock { block: Arc::new(Block { header, transactions }), hash: BlockHash::ZERO, height: 201, txids }
}

/// The tables, the graph and the sums agree.
fn check_consistent(pool: &Mempool) {
    assert_eq!(pool.graph.iter().count(), pool.by_txid.len());
    assert_eq!(pool.by_wtxid.len(), pool.by_txid.len());
    assert_eq!(pool.bytes, pool.iter().map(Entry::memory).sum::<usize>());
    assert_eq!(pool.vsize, pool.iter().map(|entry| entry.vsize() as u64).sum::<u64>());
    assert_eq!(pool.spends.len(), pool.iter().map(|entry| entry.tx.inputs.len()).sum::<usize>());
    assert_eq!(pool.by_time.len(), pool.by_txid.len());
    assert_eq!(pool.total_fee, pool.iter().map(|entry| entry.fee.to_sat()).sum::<i64>());
    let mut seen = HashSet::new();
    let mut last: Option<FeeSize> = None;
    for (rate, chunk) in pool.chunks() {
        assert!(last.is_none_or(|last| rate.cmp_rate(&last).is_le()), "best first");
        last = Some(rate);
        for entry in chunk {
            assert!(pool.parents(entry).all(|parent| seen.contains(&parent)), "parents first");
            assert!(seen.insert(entry.txid));
        }
    }
    assert_eq!(seen.len(), pool.len());
}

#[test]
fn what_is_taken_and_what_is_not() {
    let (view, mut pool) = (View::new(), mempool());
    let good = tx(&[coin(1)], &[990_000]);
    assert_eq!(pool.test(&good, &view, NOW).unwrap().fee, Amount::from_sat(10_000));
    assert!(pool.is_empty());
    let accepted = pool.accept(good.clone(), &view, NOW).unwrap();
    assert_eq!((accepted.vsize, pool.len()), (good.weight().div_ceil(4), 1));
    assert_eq!(reason(pool.accept(good.clone(), &view, NOW)), "txn-already-in-mempool");
    let mut other_witness = good.clone();
    other_witness.inputs[0].witness = Witness(vec![vec![], vec![0x51]]);
    assert_eq!(reason(pool.accept(other_witness, &view, NOW)), "txn-same-nonwitness-data-in-mempool");

    let free = tx(&[coin(2)], &[1_000_000]);
    assert_eq!(reason(pool.accept(free, &view, NOW)), "min relay fee not met");
    assert_eq!(reason(pool.accept(tx(&[coin(2)], &[1_000_001]), &view, NOW)), "bad-txns-in-belowout");
    let unknown = OutPoint { txid: Txid([9; 32]), vout: 7 };
    assert_eq!(reason(pool.accept(tx(&[unknown], &[1]), &view, NOW)), "bad-txns-inputs-missingorspent");
    assert_eq!(reason(pool.accept(tx(&[coin(2)], &[]), &view, NOW)), "bad-txns-vout-empty");
    assert_eq!(reason(pool.accept(tx(&[OutPoint::NULL], &[1]), &view, NOW)), "bad-cb-length");

    let mut locked = tx(&[coin(2)], &[990_000]);
    locked.inputs[0].sequence = 0;
    locked.lock_time = 202;
    assert_eq!(reason(pool.accept(locked.clone(), &view, NOW)), "non-final");
    locked.lock_time = 200;
    locked.inputs[0].sequence = 192; // made at 10, so it opens above 201
    assert_eq!(reason(pool.accept(locked.clone(), &view, NOW)), "non-BIP68-final");
    locked.inputs[0].sequence = 191;
    pool.accept(locked, &view, NOW).unwrap();

    let mut wrong = tx(&[coin(3)], &[990_000]);
    wrong.inputs[0].witness = Witness(vec![vec![0x52]]);
    assert_eq!(
        reason(pool.accept(wrong, &view, NOW)),
        "mempool-script-verify-flag-failed (Witness program hash mismatch)"
    );
    let mut version = tx(&[coin(3)], &[990_000]);
    version.version = 4;
    assert_eq!(reason(pool.accept(version, &view, NOW)), "version");
    check_consistent(&pool);
}

#[test]
fn a_better_paying_transaction_replaces_and_takes_the_children_with_it() {
    let (view, mut pool) = (View::new(), mempool());
    let first = tx(&[coin(1)], &[990_000]);
    let child = tx(&[out(&first, 0)], &[980_000]);
    pool.accept(first.clone(), &view, NOW).unwrap();
    pool.accept(child.clone(), &view, NOW).unwrap();
    assert_eq!(reason(pool.accept(tx(&[coin(1)], &[985_000]), &view, NOW)), "insufficient fee");
    // As much as both pay, but nothing for its own relay.
    assert_eq!(reason(pool.accept(tx(&[coin(1)], &[980_000]), &view, NOW)), "insufficient fee");
    let spends_conflict = tx(&[coin(1), out(&first, 0)], &[900_000]);
    assert_eq!(reason(pool.accept(spends_conflict, &view, NOW)), "bad-txns-spends-conflicting-tx");
    let accepted = pool.accept(tx(&[coin(1)], &[970_000]), &view, NOW).unwrap();
    let removed: HashSet<Txid> = accepted.removed.iter().map(|(tx, _)| tx.txid()).collect();
    assert_eq!(removed, HashSet::from([first.txid(), child.txid()]));
    assert_eq!(pool.len(), 1);
    check_consistent(&pool);
}

#[test]
fn a_replacement_that_pays_more_but_at_a_worse_rate_is_refused() {
    let (view, mut pool) = (View::new(), mempool());
    pool.accept(tx(&[coin(1)], &[990_000]), &view, NOW).unwrap();
    // Ten times the size for twice the fee.
    let prevouts: Vec<_> = (1..40).map(coin).collect();
    let big = tx(&prevouts, &[39_000_000 - 20_000]);
    assert_eq!(reason(pool.accept(big, &view, NOW)), "replacement-failed");
    check_consistent(&pool);
}

#[test]
fn clusters_are_bounded() {
    let (view, mut pool) = (View::new(), mempool());
    let mut value = 1_000_000;
    let mut last = coin(1);
    for _ in 0..MAX_CLUSTER_COUNT {
        value -= 1_000;
        let next = tx(&[last], &[value]);
        last = out(&next, 0);
        pool.accept(next, &view, NOW).unwrap();
    }
    assert_eq!(reason(pool.accept(tx(&[last], &[value - 1_000]), &view, NOW)), "too-large-cluster");
    // Two clusters of 32 joined by a 65th.
    let mut ends = Vec::new();
    for start in [10, 20] {
        let (mut value, mut last) = (1_000_000, coin(start));
        for _ in 0..32 {
            value -= 1_000;
            let next = tx(&[last], &[value]);
            last = out(&next, 0);
            pool.accept(next, &view, NOW).unwrap();
        }
        ends.push(last);
    }
    assert_eq!(reason(pool.accept(tx(&ends, &[1_000_000]), &view, NOW)), "too-large-cluster");
    check_consistent(&pool);
}

#[test]
fn version_3_transactions_come_in_pairs() {
    let (view, mut pool) = (View::new(), mempool());
    let v3 = |prevouts: &[OutPoint], values: &[i64]| Transaction { version: 3, ..tx(prevouts, values) };
    let parent = v3(&[coin(1)], &[400_000, 400_000]);
    pool.accept(parent.clone(), &view, NOW).unwrap();
    assert_eq!(reason(pool.accept(tx(&[out(&parent, 0)], &[300_000]), &view, NOW)), "TRUC-violation");
    let child = v3(&[out(&parent, 0)], &[390_000]);
    pool.accept(child.clone(), &view, NOW).unwrap();
    assert_eq!(reason(pool.accept(v3(&[out(&child, 0)], &[380_000]), &view, NOW)), "TRUC-violation");
    // A sibling takes the child's place where it pays for it.
    assert_eq!(
        reason(pool.accept(v3(&[out(&parent, 1)], &[399_000]), &view, NOW)),
        "insufficient fee (including sibling eviction)"
    );
    let sibling = v3(&[out(&parent, 1)], &[300_000]);
    let accepted = pool.accept(sibling, &view, NOW).unwrap();
    assert_eq!(accepted.removed[0].0.txid(), child.txid());
    check_consistent(&pool);
}

#[test]
fn dust_needs_a_child_and_no_fee() {
    let (view, mut pool) = (View::new(), mempool());
    assert_eq!(reason(pool.accept(tx(&[coin(1)], &[900_000, 100]), &view, NOW)), "dust");
    let parent = tx(&[coin(1)], &[999_900, 100]);
    assert_eq!(reason(pool.accept(parent.clone(), &view, NOW)), "min relay fee not met");
    // With a priority it would pass relay, but priority is a fee too.
    pool.prioritise(parent.txid(), 10_000);
    assert_eq!(reason(pool.accept(parent, &view, NOW)), "dust");
}

/// Offers a package; the short name of what is wrong with all of it, and with each.
fn offer(pool: &mut Mempool, view: &View, package: &[Transaction]) -> (Option<String>, Vec<Option<String>>) {
    let report = pool.accept_package(package, None, view, NOW);
    check_consistent(pool);
    let reason = |verdict: &Option<PackageVerdict>| match verdict {
        Some(PackageVerdict::Refused(error)) => Some(error.reject_reason()),
        Some(_) => None,
        None => Some("not judged".to_owned()),
    };
    (report.error.map(|error| error.reject_reason()), report.verdicts.iter().map(reason).collect())
}

fn some(reason: &str) -> Option<String> {
    Some(reason.to_owned())
}

#[test]
fn a_child_pays_for_parents_that_come_with_it() {
    let (view, mut pool) = (View::new(), mempool());
    let free = tx(&[coin(1)], &[1_000_000]);
    let child = |fee: i64| tx(&[out(&free, 0)], &[1_000_000 - fee]);
    // 20 satoshi pay for the child but not for both.
    let low = offer(&mut pool, &view, &[free.clone(), child(15)]);
    assert_eq!(low, (some("transaction failed"), vec![some("min relay fee not met"); 2]));
    assert!(pool.is_empty());
    check_consistent(&pool);
    assert_eq!(offer(&mut pool, &view, &[free.clone(), child(1_000)]), (None, vec![None, None]));
    assert_eq!(pool.len(), 2);
    // A parent that pays for itself is taken whatever becomes of the child.
    let paying = tx(&[coin(2)], &[900_000]);
    let bad = tx(&[out(&paying, 0)], &[900_001]);
    let mixed = offer(&mut pool, &view, &[paying, bad]);
    assert_eq!(mixed, (some("transaction failed"), vec![None, some("bad-txns-in-belowout")]));
    // Dust that only the child may spend, and must.
    let dust = tx(&[coin(3)], &[999_900, 100]);
    let skips = tx(&[out(&dust, 0)], &[900_000]);
    let spends = tx(&[out(&dust, 0), out(&dust, 1)], &[900_000]);
    let skipped = offer(&mut pool, &view, &[dust.clone(), skips]);
    assert_eq!((skipped.0, &skipped.1[1]), (some("unspent-dust"), &some("missing-ephemeral-spends")));
    assert_eq!(offer(&mut pool, &view, &[dust, spends]), (None, vec![None, None]));
}

#[test]
fn a_parent_and_a_child_replace_what_pays_less_than_both() {
    let (view, mut pool) = (View::new(), mempool());
    let old = tx(&[coin(1)], &[999_000]);
    let of_old = tx(&[out(&old, 0)], &[998_000]);
    for tx in [&old, &of_old] {
        pool.accept(tx.clone(), &view, NOW).unwrap();
    }
    let parent = tx(&[coin(1)], &[999_999]);
    let child = |fee: i64| tx(&[out(&parent, 0)], &[999_999 - fee]);
    let refused = |why: &str| some(&format!("package RBF failed: {why}"));
    let low = offer(&mut pool, &view, &[parent.clone(), child(1_500)]);
    assert_eq!(low.0, refused("insufficient anti-DoS fees"));
    assert!(pool.contains(&of_old.txid()), "nothing is replaced by what is refused");
    // A child with another parent in the mempool is not of the package alone.
    let other = tx(&[coin(2)], &[900_000]);
    pool.accept(other.clone(), &view, NOW).unwrap();
    let joined = tx(&[out(&parent, 0), out(&other, 0)], &[1_000_000]);
    let joined = offer(&mut pool, &view, &[parent.clone(), joined]);
    assert_eq!(joined.0, refused("new transaction cannot have mempool ancestors"));

    let report = pool.accept_package(&[parent.clone(), child(5_000)], None, &view, NOW);
    assert_eq!(report.error, None);
    let gone: Vec<_> = report.removed.iter().map(|(tx, why)| (tx.txid(), *why)).collect();
    assert!(
        gone.contains(&(old.txid(), Removal::Replaced)) && gone.contains(&(of_old.txid(), Removal::Replaced))
    );
    assert!(pool.contains(&parent.txid()) && pool.contains(&child(5_000).txid()));
    check_consistent(&pool);
}

#[test]
fn dependent_transactions_are_judged_without_being_taken() {
    let (view, mut pool) = (View::new(), mempool());
    let before = pool.changes();
    let first = tx(&[coin(1)], &[999_000]);
    let second = tx(&[out(&first, 0)], &[998_000]);
    let third = tx(&[out(&second, 0)], &[998_001]);
    let report = pool.test_package(&[first.clone(), second.clone(), third], &view, NOW);
    assert_eq!(report.error, Some(PackageError::Transaction));
    assert!(matches!(report.verdicts[2], Some(PackageVerdict::Refused(MempoolError::Tx(_)))));
    let report = pool.test_package(&[first.clone(), second.clone()], &view, NOW);
    assert!(report.error.is_none() && report.verdicts.iter().all(Option::is_some));
    let unsorted = pool.test_package(&[second.clone(), first.clone()], &view, NOW);
    assert_eq!(unsorted.error, Some(PackageError::NotSorted));
    assert!(pool.is_empty() && pool.changes() == before);
    pool.accept(first.clone(), &view, NOW).unwrap();
    let rival = tx(&[coin(1)], &[900_000]);
    let report = pool.test_package(&[rival.clone(), tx(&[out(&rival, 0)], &[800_000])], &view, NOW);
    assert!(matches!(report.verdicts[0], Some(PackageVerdict::Refused(MempoolError::ReplacementNotTested))));
    check_consistent(&pool);
}

/// A parent comes back under more children than a cluster may have: the best 63 stay.
#[test]
fn a_reorganisation_keeps_the_best_of_a_cluster_too_large() {
    let (mut view, mut pool) = (View::new(), mempool());
    let parent = tx(&[coin(1)], &[10_000; 70]);
    let output = |vout: usize| Utxo { output: parent.outputs[vout].clone(), height: 200, coinbase: false };
    for vout in 0..70 {
        view.coins.insert(out(&parent, vout as u32), output(vout));
    }
    let child = |vout: u32| tx(&[out(&parent, vout)], &[9_000 - 10 * i64::from(vout)]);
    let grandchild = tx(&[out(&child(0), 0)], &[1_000]);
    (0..70).for_each(|vout| drop(pool.accept(child(vout), &view, NOW).unwrap()));
    pool.accept(grandchild.clone(), &view, NOW).unwrap();
    (0..70).for_each(|vout| drop(view.coins.remove(&out(&parent, vout))));
    let change = Connected { disconnected: vec![block(vec![parent.clone()])], ..Connected::default() };
    let report = pool.on_tip_changed(&change, &view, NOW).unwrap();
    assert_eq!((report.returned, pool.len(), report.removed.len()), (vec![parent.txid()], 64, 8));
    // Child 0 pays least, but its own child pays for it.
    assert!(pool.contains(&grandchild.txid()));
    assert!((1..=8).all(|vout| !pool.contains(&child(vout).txid())));
    check_consistent(&pool);
}

#[test]
fn a_block_takes_its_transactions_and_their_rivals() {
    let (mut view, mut pool) = (View::new(), mempool());
    let parent = tx(&[coin(1)], &[900_000]);
    let child = tx(&[out(&parent, 0)], &[800_000]);
    let rival = tx(&[coin(2)], &[900_000]);
    let of_rival = tx(&[out(&rival, 0)], &[800_000]);
    for tx in [&parent, &child, &rival, &of_rival] {
        pool.accept(tx.clone(), &view, NOW).unwrap();
    }
    let mined = block(vec![parent.clone(), tx(&[coin(2)], &[999_999])]);
    view.height += 1;
    view.coins
        .insert(out(&parent, 0), Utxo { output: parent.outputs[0].clone(), height: 201, coinbase: false });
    let change = Connected { connected: vec![mined], ..Connected::default() };
    let report = pool.on_tip_changed(&change, &view, NOW).unwrap();
    let removed: Vec<_> = report.removed.iter().map(|(tx, why)| (tx.txid(), *why)).collect();
    assert!(removed.contains(&(parent.txid(), Removal::Block)));
    assert!(removed.contains(&(rival.txid(), Removal::Conflict)));
    assert!(removed.contains(&(of_rival.txid(), Removal::Conflict)));
    assert_eq!(pool.iter().map(|entry| entry.txid).collect::<Vec<_>>(), [child.txid()]);
    check_consistent(&pool);
}

#[test]
fn a_disconnected_block_gives_its_transactions_back() {
    let (mut view, mut pool) = (View::new(), mempool());
    let parent = tx(&[coin(1)], &[900_000]);
    let middle = tx(&[out(&parent, 0)], &[800_000]);
    let child = tx(&[out(&middle, 0)], &[700_000]);
    let free = tx(&[coin(2)], &[1_000_000]);
    let lost = tx(&[coin(3)], &[900_000]);
    let of_lost = tx(&[out(&lost, 0)], &[800_000]);
    // As it is while the block is in the chain: the children of its transactions are here.
    for (tx, vout) in [(&middle, 0), (&lost, 0)] {
        let output = tx.outputs[vout].clone();
        view.coins.insert(out(tx, vout as u32), Utxo { output, height: 200, coinbase: false });
    }
    pool.accept(child.clone(), &view, NOW).unwrap();
    pool.accept(of_lost.clone(), &view, NOW).unwrap();
    // The block goes, and with it the coin that one of its transactions spent.
    for outpoint in [out(&middle, 0), out(&lost, 0), coin(3)] {
        view.coins.remove(&outpoint);
    }
    let gone = block(vec![parent.clone(), middle.clone(), free.clone(), lost]);
    let change = Connected { disconnected: vec![gone], ..Connected::default() };
    let report = pool.on_tip_changed(&change, &view, NOW).unwrap();
    assert_eq!(report.returned, [parent.txid(), middle.txid(), free.txid()]);
    assert!(report.removed.iter().any(|(tx, _)| tx.txid() == of_lost.txid()));
    let info = pool.entry_info(&middle.txid()).unwrap();
    assert_eq!((info.depends, info.spent_by), (vec![parent.txid()], vec![child.txid()]));
    check_consistent(&pool);
}

#[test]
fn a_full_mempool_gives_up_the_worst_and_asks_for_more() {
    let (view, mut pool) = (View::new(), mempool());
    let one = graph::memory_of(&tx(&[coin(1)], &[1]));
    pool.options.max_bytes = one * 20;
    for n in 0..40u8 {
        let _ = pool.accept(tx(&[coin(n)], &[999_000 - i64::from(n) * 100]), &view, NOW);
    }
    assert_eq!(pool.len(), 20);
    assert!(pool.iter().all(|entry| entry.fee >= Amount::from_sat(1_000 + 20 * 100)));
    assert!(pool.floor(NOW) > pool.options.min_relay);
    assert_eq!(reason(pool.accept(tx(&[coin(50)], &[998_000]), &view, NOW)), "mempool min fee not met");
    check_consistent(&pool);
    // It falls once a block has come, and is gone in the end.
    let change = Connected { connected: vec![block(vec![])], ..Connected::default() };
    pool.on_tip_changed(&change, &view, NOW).unwrap();
    let full = pool.floor(NOW);
    assert!(pool.floor(NOW + 12 * 3_600) < full);
    assert_eq!(pool.floor(NOW + 20 * 24 * 3_600), FeeRate::default());
    assert_eq!(pool.expire(NOW + pool.options.expiry + 1).len(), 20);
    check_consistent(&pool);
}

#[test]
fn a_template_takes_the_best_chunks_and_names_dependencies() {
    let (view, mut pool) = (View::new(), mempool());
    let cheap = tx(&[coin(1)], &[999_000]);
    let paying = tx(&[out(&cheap, 0)], &[900_000]);
    let middle = tx(&[coin(2)], &[980_000]);
    let low = tx(&[coin(3)], &[999_500]);
    for tx in [&low, &cheap, &middle, &paying] {
        pool.accept(tx.clone(), &view, NOW).unwrap();
    }
    let options = TemplateOptions::default();
    let block = template::build(&view, &pool, &options, NOW);
    let ids: Vec<_> = block.transactions.iter().map(|tx| tx.txid).collect();
    assert_eq!(ids, [cheap.txid(), paying.txid(), middle.txid(), low.txid()]);
    assert_eq!(block.transactions[1].depends, [1]);
    assert_eq!(block.fees, Amount::from_sat(1_000 + 99_000 + 20_000 + 500));
    assert_eq!(block.coinbase_value, Amount::from_sat(25 * 100_000_000 + 120_500));
    assert_eq!((block.height, block.time, block.rules), (201, NOW, vec!["csv", "!segwit", "taproot"]));
    assert_eq!(block.min_time, view.least_time());
    let interval = View { height: 143, ..View::new() };
    let at_interval = template::build(&interval, &pool, &options, NOW);
    assert_eq!(at_interval.min_time, interval.tip_time() - 600);
    assert_eq!(block.witness_commitment.map(|script| script.len()), Some(38));
    // No room: the pair does not fit, so what comes after it may.
    let weight = block.transactions[2].weight;
    let options = TemplateOptions { reserved_weight: block.weight_limit - weight - 1, ..options };
    let block = template::build(&view, &pool, &options, NOW);
    assert_eq!(block.transactions.iter().map(|tx| tx.txid).collect::<Vec<_>>(), [middle.txid()]);
    pool.prioritise(low.txid(), 1_000_000);
    let block = template::build(&view, &pool, &TemplateOptions::default(), NOW);
    assert_eq!(block.transactions[0].txid, low.txid());
    assert_eq!(block.transactions[0].fee, Amount::from_sat(500));
}

/// The part of the reference client's transaction vectors (see `crates/script/tests/data`) that is not about scripts:
/// those marked `BADTX` break a rule of the transaction by itself, the others none.
#[test]
fn bad_transactions_of_the_reference_clients_vectors() {
    use lode_primitives::{Decode, Form};
    let coin = lode_coins::find("bitcoin", "main").unwrap();
    let mut bad = 0;
    for json in [
        include_str!("../../../script/tests/data/tx_invalid.json"),
        include_str!("../../../script/tests/data/tx_valid.json"),
    ] {
        let cases: Vec<Vec<serde_json::Value>> = serde_json::from_str(json).unwrap();
        for case in cases.into_iter().filter(|case| case.len() == 3) {
            let bytes = hex::decode(case[1].as_str().unwrap()).unwrap();
            let tx = Transaction::from_bytes(&bytes, Form { witness: true, ..Form::default() }).unwrap();
            assert_eq!(rules::check(coin, &tx).is_err(), case[2] == "BADTX", "{}", case[1]);
            bad += usize::from(case[2] == "BADTX");
        }
    }
    assert!(bad >= 8, "only {bad}");
}
