//! The two mempools through the same hours: chains, replacements, priorities, blocks and reorganisations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lode_chain::mempool::{Mempool, MempoolOptions, PackageError, PackageVerdict, Removal};
use lode_chain::template::{self, BlockTemplate, TemplateOptions};
use lode_chain::{Connected, testing};
use lode_primitives::{
    Amount, Block, Encode, Header, Height, MerkleNode, OutPoint, Transaction, TxIn, TxOut, Txid, Witness,
};
use lode_script::build;
use lode_testkit::rounds;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Bench, core_verdict, count, own_verdict, print_tally, seed};

/// Weight of a block here, so that templates are full: the nodes are started with it as `-blockmaxweight`.
const SMALL_BLOCK: usize = 60_000;

/// What every output here pays to: a witness script of `OP_1`.
fn script() -> Vec<u8> {
    build::p2wsh_of(&[0x51])
}

fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// An output that may be spent, and what it holds.
type Coin = (OutPoint, i64);

/// A verdict of Lode's in the words of [`described_by_core`].
fn described(verdict: Option<&PackageVerdict>) -> String {
    match verdict {
        None => "not judged".to_owned(),
        Some(PackageVerdict::Refused(error)) => error.reject_reason(),
        Some(PackageVerdict::OtherWitness(wtxid)) => format!("other {wtxid}"),
        Some(PackageVerdict::Here(tested)) => format!("allowed, {} vB, {}", tested.vsize, tested.fee),
        Some(PackageVerdict::Taken { tested, fee, vsize, includes }) => {
            let rate = Amount::from_sat(fee * 1_000 / *vsize as i64);
            let includes: Vec<String> = includes.iter().map(ToString::to_string).collect();
            format!("allowed, {} vB, {}, at {rate} with {}", tested.vsize, tested.fee, includes.join(" "))
        }
    }
}

/// A member of the peer's answer to `submitpackage` or `testmempoolaccept`.
fn described_by_core(answer: &Value) -> String {
    if let Some(error) = answer["error"].as_str() {
        return error.split(", ").next().unwrap().replace("package-not-validated", "not judged");
    }
    if let Some(wtxid) = answer["other-wtxid"].as_str() {
        return format!("other {wtxid}");
    }
    let amount = |value: &Value| value.to_string().parse::<Amount>().unwrap();
    let fees = &answer["fees"];
    let mut text = format!("allowed, {} vB, {}", answer["vsize"], amount(&fees["base"]));
    if let Some(includes) = fees["effective-includes"].as_array() {
        let includes: Vec<&str> = includes.iter().filter_map(Value::as_str).collect();
        text += &format!(", at {} with {}", amount(&fees["effective-feerate"]), includes.join(" "));
    }
    text
}

struct Game {
    bench: Bench,
    mempool: Mempool,
    rng: StdRng,
    /// On the chain when the game began.
    confirmed: Vec<Coin>,
    /// Made by the latest transactions, whether they are there still or not.
    recent: Vec<Coin>,
    tally: BTreeMap<String, usize>,
    step: usize,
    /// Transactions are not offered where they would join larger clusters.
    largest_cluster: usize,
    /// The chain when the game began.
    first_height: Height,
    /// A reorganisation joined clusters beyond the limit, so that transactions were given up.
    overgrown: bool,
    /// Other ones were given up by each: of two orders of a cluster that are equally good, each has its own.
    parted: bool,
    /// Unix seconds; both mempools live by it.
    clock: u32,
}

impl Game {
    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, own: T, core: T) {
        assert_eq!(own, core, "seed {}, step {}: {what} (Lode left, Core right)", seed(), self.step);
    }

    fn tick(&mut self, seconds: u32) {
        self.clock += seconds;
        self.bench.strict.rpc("setmocktime", json!([self.clock]));
    }

    fn random_tx(&mut self) -> Transaction {
        let rng = &mut self.rng;
        let mut coins: Vec<Coin> = Vec::new();
        for _ in 0..if rng.random_ratio(1, 3) { rng.random_range(1..5) } else { 1 } {
            let from =
                if rng.random_bool(0.65) && !self.recent.is_empty() { &self.recent } else { &self.confirmed };
            // Mostly the last ones, so that clusters grow.
            let last = from.len().min(if rng.random_bool(0.5) { 12 } else { 1_000 });
            coins.extend(from[from.len() - last..].choose(rng));
        }
        coins.sort_unstable();
        coins.dedup();
        let total: i64 = coins.iter().map(|(_, sat)| sat).sum();
        let version = if rng.random_ratio(1, 5) { 3 } else { 2 };
        let padding = if rng.random_ratio(1, 6) { rng.random_range(0..11_000) } else { 0 };
        let rate =
            *[0, 0, 90, 100, 101, 200, 1_000, 3_000, 20_000].choose(rng).unwrap() + rng.random_range(0..40);
        let outputs = rng.random_range(1..4);
        let size = 10 + 42 * coins.len() as i64 + 43 * outputs + padding as i64;
        let fee = (rate * size / 1_000).min(total - 1_000 * outputs);
        let fee = if rng.random_ratio(1, 30) { 0 } else { fee.max(0) };
        let output = |sat| TxOut { value: Amount::from_sat(sat), script_pubkey: script() };
        let witness = Witness(vec![vec![0x51]]);
        let input = |(prevout, _): &Coin| TxIn { witness: witness.clone(), ..TxIn::spending(*prevout) };
        let mut tx = Transaction::new(
            coins.iter().map(input).collect(),
            (0..outputs).map(|_| output((total - fee) / outputs)).collect(),
        );
        tx.version = version;
        if padding > 0 {
            let script_pubkey = build::op_return(&[&vec![7; padding]]);
            tx.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
        }
        tx
    }

    /// Transactions in the clusters that `tx` would join.
    fn cluster_size(&self, tx: &Transaction) -> usize {
        let parents: BTreeSet<Txid> = tx.inputs.iter().map(|input| input.prevout.txid).collect();
        let clusters = parents.iter().filter_map(|parent| self.mempool.cluster(parent));
        clusters.flatten().map(|(_, txids)| txids.len()).sum()
    }

    /// One transaction offered to both.
    fn offer(&mut self) {
        let tx = self.random_tx();
        if self.cluster_size(&tx) > self.largest_cluster {
            return;
        }
        let bytes = tx.to_bytes();
        let own = own_verdict(&self.mempool, &self.bench.chain, &bytes);
        let core = core_verdict(&self.bench.strict, &bytes);
        if own != core {
            let spent: Vec<_> = tx.inputs.iter().map(|input| self.mempool.get(&input.prevout.txid)).collect();
            eprintln!("{tx:?}\nparents {spent:?}");
        }
        self.same("verdict", &own, &core);
        count(&mut self.tally, &core);
        if own.starts_with("allowed") {
            let txid = tx.txid();
            let values = tx.outputs.iter().filter(|output| output.value > Amount::ZERO);
            let coins =
                values.zip(0..).map(|(output, vout)| (OutPoint { txid, vout }, output.value.to_sat()));
            self.recent.extend(coins);
            self.bench.strict.rpc("sendrawtransaction", json!([hex::encode(&bytes), 0]));
            self.mempool.accept(tx, &self.bench.chain, self.clock).unwrap();
        }
    }

    /// A parent that pays little or nothing, and a child that may pay for both, offered as a package.
    fn offer_package(&mut self) {
        // Sometimes one that is spent already: the two may take its place.
        let rivals = self.rng.random_bool(0.4);
        let fits = |(outpoint, _): &&Coin| self.mempool.spender(outpoint).is_some() == rivals;
        let coins: Vec<Coin> = self.confirmed.iter().filter(fits).copied().collect();
        let Some((prevout, sat)) = coins.choose(&mut self.rng).copied() else { return };
        if !self.bench.chain.has_utxo(&prevout).unwrap() {
            return;
        }
        let rng = &mut self.rng;
        let dust = if rng.random_bool(0.4) { 100 } else { 1_000 };
        let fee = if rng.random_bool(0.7) { 0 } else { rng.random_range(0..40) };
        let mut parent = testing::spend(&[prevout], &[sat - dust - fee, dust]);
        parent.version = if rng.random_bool(0.5) { 3 } else { 2 };
        let txid = parent.txid();
        let spent = if rng.random_bool(0.7) { 2 } else { 1 };
        let prevouts: Vec<_> = (0..spent).map(|vout| OutPoint { txid, vout }).collect();
        let child_fee = if rivals { rng.random_range(0..9_000) } else { rng.random_range(0..60) };
        let mut child = testing::spend(&prevouts, &[sat / 2]);
        child.outputs[0].value = Amount::from_sat(sat - dust - fee - child_fee);
        child.version = if rng.random_ratio(1, 8) { 5 - parent.version } else { parent.version };
        for tx in [&mut parent, &mut child] {
            tx.inputs.iter_mut().for_each(|input| input.witness = Witness(vec![vec![0x51]]));
            tx.outputs.iter_mut().for_each(|output| output.script_pubkey = script());
        }
        // The child was made for the parent's id before its outputs' scripts were set.
        let txid = parent.txid();
        child.inputs.iter_mut().for_each(|input| input.prevout.txid = txid);
        self.submit_package(&[parent, child]);
        self.compare();
    }

    /// A package given to both, and the answers compared member by member.
    fn submit_package(&mut self, package: &[Transaction]) {
        let bytes: Vec<String> = package.iter().map(|tx| hex::encode(tx.to_bytes())).collect();
        let core = self.bench.strict.rpc("submitpackage", json!([bytes, 0]));
        let own = self.mempool.accept_package(package, None, &self.bench.chain, self.clock);
        let reason = |text: &Value| text.as_str().unwrap_or("success").split(", ").next().unwrap().to_owned();
        let own_reason = own.error.map_or_else(|| "success".to_owned(), |error| error.reject_reason());
        self.same("package", own_reason.clone(), reason(&core["package_msg"]));
        *self.tally.entry(format!("package: {own_reason}")).or_default() += 1;
        for (tx, verdict) in package.iter().zip(&own.verdicts) {
            let theirs = &core["tx-results"][tx.wtxid().to_string()];
            self.same("of a package", described(verdict.as_ref()), described_by_core(theirs));
        }
        let replaced = |(tx, why): &(_, Removal)| -> Option<String> {
            let tx: &Arc<Transaction> = tx;
            (*why == Removal::Replaced).then(|| tx.txid().to_string())
        };
        let own: BTreeSet<String> = own.removed.iter().filter_map(replaced).collect();
        let core = core["replaced-transactions"].as_array().unwrap();
        self.same("replaced", own, core.iter().map(|txid| txid.as_str().unwrap().to_owned()).collect());
    }

    /// Transactions that spend one another, judged by both without being taken.
    fn test_package(&mut self) {
        let mut package = vec![self.random_tx()];
        for _ in 0..self.rng.random_range(1..4) {
            let mut next = self.random_tx();
            let parent = package.choose(&mut self.rng).unwrap();
            let vout = self.rng.random_range(0..parent.outputs.len()) as u32;
            next.inputs[0].prevout = OutPoint { txid: parent.txid(), vout };
            let most = parent.outputs[vout as usize].value.to_sat() / next.outputs.len() as i64;
            let fee = self.rng.random_range(0..60);
            for output in next.outputs.iter_mut().filter(|output| output.value > Amount::ZERO) {
                output.value = Amount::from_sat((most - fee).max(400));
            }
            next.inputs.truncate(self.rng.random_range(1..=next.inputs.len()));
            if self.rng.random_bool(0.7) {
                next.version = parent.version;
            }
            package.push(next);
        }
        if self.rng.random_ratio(1, 20) {
            package.reverse();
        }
        let bytes: Vec<String> = package.iter().map(|tx| hex::encode(tx.to_bytes())).collect();
        let core = self.bench.strict.rpc("testmempoolaccept", json!([bytes, 0]));
        let own = self.mempool.test_package(&package, &self.bench.chain, self.clock);
        let error = own.error.filter(PackageError::is_of_package).map(|error| error.reject_reason());
        let theirs = core[0]["package-error"].as_str();
        let theirs = theirs.map(|error| error.split(", ").next().unwrap().to_owned());
        self.same("package error", error.clone(), theirs);
        for (verdict, theirs) in own.verdicts.iter().zip(core.as_array().unwrap()) {
            let core = match theirs.get("allowed") {
                None => "not judged".to_owned(),
                Some(Value::Bool(true)) => described_by_core(theirs),
                Some(_) => theirs["reject-reason"]
                    .as_str()
                    .unwrap()
                    .replace("missing-inputs", "bad-txns-inputs-missingorspent"),
            };
            self.same("tested in a package", described(verdict.as_ref()), core);
        }
        let kind = error.unwrap_or_else(|| described(own.verdicts.last().unwrap().as_ref()));
        let kind = kind.split(',').next().unwrap_or_default();
        *self.tally.entry(format!("tested package: {kind}")).or_default() += 1;
    }

    fn own_txids(&self) -> BTreeSet<String> {
        self.mempool.iter().map(|entry| entry.txid.to_string()).collect()
    }

    fn core_txids(&self) -> BTreeSet<String> {
        let answer = self.bench.strict.rpc("getrawmempool", json!([]));
        answer.as_array().unwrap().iter().map(|txid| txid.as_str().unwrap().to_owned()).collect()
    }

    /// Forgets outputs of transactions that were replaced; what is in the chain by now stays.
    fn forget_lost(&mut self) {
        let (mempool, chain) = (&self.mempool, &self.bench.chain);
        self.recent
            .retain(|(outpoint, _)| mempool.contains(&outpoint.txid) || chain.has_utxo(outpoint).unwrap());
        self.confirmed.retain(|(outpoint, _)| chain.has_utxo(outpoint).unwrap());
    }

    /// The same transactions, and for one of them the same kin and chunk.
    fn compare(&mut self) {
        let (own, core) = (self.own_txids(), self.core_txids());
        self.same("only in one mempool", own.difference(&core).collect::<Vec<_>>(), Vec::new());
        self.same("only in one mempool", Vec::new(), core.difference(&own).collect::<Vec<_>>());
        let Some(txid) = own.iter().collect::<Vec<_>>().choose(&mut self.rng).map(|txid| (*txid).clone())
        else {
            return;
        };
        let entry = self.bench.strict.rpc("getmempoolentry", json!([txid]));
        let info = self.mempool.entry_info(&txid.parse::<Txid>().unwrap()).unwrap();
        let sat = |value: &Value| value.to_string().parse::<Amount>().unwrap().to_sat();
        let number = |name: &str| entry[name].as_u64().unwrap() as usize;
        self.same("vsize", info.vsize, number("vsize"));
        self.same("ancestors", info.ancestor_count, number("ancestorcount"));
        self.same("ancestors' size", info.ancestor_vsize, number("ancestorsize"));
        self.same("ancestors' fees", info.ancestor_fees, sat(&entry["fees"]["ancestor"]));
        self.same("descendants", info.descendant_count, number("descendantcount"));
        self.same("descendants' fees", info.descendant_fees, sat(&entry["fees"]["descendant"]));
        self.same("modified fee", info.modified_fee, sat(&entry["fees"]["modified"]));
        // Chunks of equal rate may be cut differently; the rate itself may not differ.
        let chunk = (sat(&entry["fees"]["chunk"]), number("chunkweight"));
        let rates =
            (info.chunk.fee as i128 * chunk.1 as i128, chunk.0 as i128 * i128::from(info.chunk.weight));
        self.same("chunk's feerate", rates.0, rates.1);
        let set = |ids: Vec<Txid>| ids.iter().map(Txid::to_string).collect::<BTreeSet<_>>();
        let listed = |name: &str| {
            entry[name]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned())
                .collect::<BTreeSet<_>>()
        };
        self.same("parents", set(info.depends), listed("depends"));
        self.same("children", set(info.spent_by), listed("spentby"));
    }

    fn template(&self, weight: usize) -> BlockTemplate {
        let limit = self.bench.chain.coin().max_block_weight;
        let options =
            TemplateOptions { reserved_weight: limit - weight + 8_000, ..TemplateOptions::default() };
        template::build(&self.bench.chain, &self.mempool, &options, self.clock)
    }

    /// What a template of Lode's earns, against one of Core's of the same size.
    fn compare_templates(&mut self) {
        // Core makes no new template within five seconds of the last.
        self.tick(6);
        let own = self.template(SMALL_BLOCK);
        let core = self.bench.strict.rpc("getblocktemplate", json!([{ "rules": ["segwit"] }]));
        self.same("bits", format!("{:08x}", own.bits), core["bits"].as_str().unwrap().to_owned());
        self.same("height", u64::from(own.height), core["height"].as_u64().unwrap());
        self.same("least time", u64::from(own.min_time), core["mintime"].as_u64().unwrap());
        // Where chunks of equal rate compete for the last place, either choice is right: one chunk's worth of slack.
        let (earned, theirs) = (own.coinbase_value.to_sat(), core["coinbasevalue"].as_i64().unwrap());
        let count = core["transactions"].as_array().unwrap().len();
        let kind = if earned == theirs { "template, equal" } else { "template, other choice at the end" };
        *self.tally.entry(kind.to_owned()).or_default() += 1;
        let slack = (theirs - 5_000_000_000 / 2).abs() / 50 + 1;
        assert!(
            (earned - theirs).abs() <= slack,
            "seed {}, step {}: Lode's template of {} earns {earned}, Core's of {count} {theirs}",
            seed(),
            self.step,
            own.transactions.len()
        );
        let places: Vec<_> = own.transactions.iter().map(|tx| tx.txid).collect();
        for (at, tx) in own.transactions.iter().enumerate() {
            assert!(tx.depends.iter().all(|place| *place <= at), "parents first");
            let parents = tx.tx.inputs.iter().map(|input| input.prevout.txid);
            assert!(parents.filter(|txid| places.contains(txid)).all(|txid| places[..at].contains(&txid)));
        }
    }

    /// A block of Lode's own template, judged by Core before and after it is mined.
    fn mine(&mut self) {
        let weight = if self.rng.random_bool(0.5) { SMALL_BLOCK } else { 4_000_000 };
        let template = self.template(weight);
        let chain = &self.bench.chain;
        let mut coinbase =
            testing::coinbase(chain.coin(), template.height, template.bits, self.step as u32, template.fees);
        self.same("coinbase value", coinbase.outputs[0].value, template.coinbase_value);
        coinbase
            .outputs
            .push(TxOut { value: Amount::ZERO, script_pubkey: template.witness_commitment.clone().unwrap() });
        coinbase.inputs[0].witness = Witness(vec![vec![0; 32]]);
        let transactions = template.transactions.iter().map(|tx| (*tx.tx).clone());
        let mut block = Block {
            header: Header {
                version: template.version,
                prev: template.prev,
                merkle_root: MerkleNode::ZERO,
                time: template.time,
                bits: template.bits,
                nonce: 0,
                multiplier: None,
            },
            transactions: std::iter::once(coinbase).chain(transactions).collect(),
        };
        testing::root(&mut block);
        let request =
            json!([{ "mode": "proposal", "data": hex::encode(block.to_bytes()), "rules": ["segwit"] }]);
        let answer = self.bench.strict.rpc("getblocktemplate", request);
        assert!(answer.is_null(), "seed {}, step {}: Core refuses the template: {answer}", seed(), self.step);
        testing::mine(chain.coin(), &mut block);
        self.bench.submit(&block.to_bytes());
        let report = self.bench.chain.accept_block(block, self.clock).unwrap();
        self.follow(&report);
        *self.tally.entry("block of Lode's template".to_owned()).or_default() += 1;
    }

    fn follow(&mut self, report: &Connected) {
        assert!(!report.more);
        let change = self.mempool.on_tip_changed(report, &self.bench.chain, self.clock).unwrap();
        // No lock or coinbase is involved here: only a cluster grown too large makes a transaction go.
        self.overgrown = change.removed.iter().any(|(_, why)| *why == Removal::Reorg);
        self.same(
            "tip",
            self.bench.chain.tip().hash().to_string(),
            self.bench.strict.rpc("getbestblockhash", json!([])).as_str().unwrap().to_owned(),
        );
    }

    /// A few blocks taken back, and maybe given again.
    fn reorganise(&mut self) {
        let height = self.bench.chain.height() - self.rng.random_range(0..3);
        if height <= self.first_height {
            return;
        }
        let hash = self.bench.chain.entry_at(height).unwrap().hash();
        for node in [&self.bench.strict, &self.bench.lenient] {
            node.rpc("invalidateblock", json!([hash.to_string()]));
        }
        let report = self.bench.chain.invalidate_block(&hash).unwrap().unwrap();
        self.follow(&report);
        *self.tally.entry("blocks taken back".to_owned()).or_default() += report.disconnected.len();
        if self.overgrown {
            self.parted = self.own_txids() != self.core_txids();
            let kind = if self.parted { "clusters cut, otherwise" } else { "clusters cut, equally" };
            *self.tally.entry(kind.to_owned()).or_default() += 1;
            let fees = self.bench.strict.rpc("getmempoolinfo", json!([]))["total_fee"].to_string();
            let (own, core) =
                (self.mempool.info(self.clock).total_fee.to_sat(), fees.parse::<Amount>().unwrap());
            assert!(
                own * 10 >= core.to_sat() * 9,
                "seed {}, step {}: kept {own} of {core}",
                seed(),
                self.step
            );
        }
        if self.parted {
            return;
        }
        self.compare();
        if self.rng.random_bool(0.5) {
            for node in [&self.bench.strict, &self.bench.lenient] {
                node.rpc("reconsiderblock", json!([hash.to_string()]));
            }
            let report = self.bench.chain.reconsider_block(&hash).unwrap().unwrap();
            self.follow(&report);
        }
    }

    fn prioritise(&mut self) {
        let txids: Vec<Txid> = self.mempool.iter().map(|entry| entry.txid).collect();
        let Some(txid) = txids.choose(&mut self.rng) else { return };
        let delta = *[-5_000, -100, 100, 5_000].choose(&mut self.rng).unwrap();
        let core = self.bench.strict.try_rpc("prioritisetransaction", json!([txid.to_string(), 0, delta]));
        let own = self.mempool.prioritise(*txid, delta);
        self.same("priority given", own, core.is_ok());
    }
}

/// `largest_cluster`: of the game. `reorganisations`: in it or not.
fn play(largest_cluster: usize, reorganisations: bool) {
    let weight = format!("-blockmaxweight={SMALL_BLOCK}");
    let Some(mut bench) = Bench::start(&[&weight]) else { return };
    let mut confirmed = Vec::new();
    let mut funding = Vec::new();
    for _ in 0..40 {
        let mut tx = testing::spend(&[bench.coinbase()], &[100_000; 100]);
        for output in &mut tx.outputs {
            output.script_pubkey = script();
        }
        let txid = tx.txid();
        confirmed.extend((0..100).map(|vout| (OutPoint { txid, vout }, 100_000)));
        funding.push(tx);
    }
    bench.connect(funding);
    let (coin, first_height) = (bench.chain.coin(), bench.chain.height());
    let mut game = Game {
        mempool: Mempool::new(MempoolOptions::for_coin(coin)),
        bench,
        rng: StdRng::seed_from_u64(seed() ^ 0x3e3),
        confirmed,
        recent: Vec::new(),
        tally: BTreeMap::new(),
        step: 0,
        largest_cluster,
        first_height,
        overgrown: false,
        parted: false,
        clock: now(),
    };
    game.tick(1);
    for step in 0..rounds(800, 10_000) {
        game.step = step;
        match game.rng.random_range(0..200) {
            0 => game.mine(),
            1..4 if reorganisations => game.mine(),
            4 if reorganisations => game.reorganise(),
            5..9 => game.prioritise(),
            9..13 => game.compare_templates(),
            13..30 => game.compare(),
            30..34 => game.forget_lost(),
            34..38 => game.offer_package(),
            38..44 => game.test_package(),
            _ => game.offer(),
        }
        if game.parted {
            println!("ended at step {step}: from here on the two mempools differ");
            break;
        }
    }
    if !game.parted {
        game.compare();
    }
    print_tally("mempools", &game.tally);
}

#[test]
fn mempools_with_large_clusters() {
    play(usize::MAX, false);
}

/// Clusters are kept small, so that reorganisations seldom join them beyond the limit.
#[test]
fn mempools_with_reorganisations() {
    play(5, true);
}

/// Reorganisations join clusters beyond the limit all the time.
#[test]
fn mempools_with_reorganisations_of_large_clusters() {
    play(usize::MAX, true);
}

/// A block is taken back whose transactions more of the mempool spend than a cluster may hold, by count and by size: both
/// keep the same, those that pay best.
#[test]
fn clusters_too_large_are_cut_alike() {
    for (children, padding) in [(100, 0), (40, 6_000)] {
        let Some(mut bench) = Bench::start(&[]) else { return };
        // Coinbases pay to scripts that are not standard; what is to come back must spend some that are.
        let pays = |tx: &mut Transaction| {
            tx.outputs.iter_mut().for_each(|output| output.script_pubkey = script());
        };
        let mut funding = testing::spend(&[bench.coinbase()], &[20_000_000; 2]);
        pays(&mut funding);
        bench.connect(vec![funding.clone()]);
        let parents: Vec<Transaction> = (0..2)
            .map(|vout| {
                let outpoint = OutPoint { txid: funding.txid(), vout };
                let mut tx = testing::spend(&[outpoint], &vec![100_000; children]);
                tx.inputs[0].witness = Witness(vec![vec![0x51]]);
                pays(&mut tx);
                tx
            })
            .collect();
        bench.connect(parents.clone());
        let clock = now();
        bench.strict.rpc("setmocktime", json!([clock]));
        let mut mempool = Mempool::new(MempoolOptions::for_coin(bench.chain.coin()));
        let mut offer = |tx: &Transaction| {
            bench.strict.rpc("sendrawtransaction", json!([hex::encode(tx.to_bytes()), 0]));
            mempool.accept(tx.clone(), &bench.chain, clock).unwrap();
        };
        for (vout, which) in (0..children).flat_map(|vout| [(vout, 0), (vout, 1)]) {
            let outpoint = OutPoint { txid: parents[which].txid(), vout: vout as u32 };
            // No two pay the same rate, and not in the order they come.
            let fee = 3_000 + 7 * ((vout * 37 + which * 11) % 211) as i64;
            let mut child = testing::spend(&[outpoint], &[100_000 - fee]);
            child.inputs[0].witness = Witness(vec![vec![0x51]]);
            child.outputs[0].script_pubkey = script();
            if padding > 0 {
                let script_pubkey = build::op_return(&[&vec![7; padding + 13 * vout]]);
                child.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
            }
            offer(&child);
            if vout % 5 == 0 {
                let outpoint = OutPoint { txid: child.txid(), vout: 0 };
                let mut grandchild = testing::spend(&[outpoint], &[90_000 - 9 * vout as i64]);
                grandchild.inputs[0].witness = Witness(vec![vec![0x51]]);
                grandchild.outputs[0].script_pubkey = script();
                offer(&grandchild);
            }
        }
        let before = mempool.len();
        let tip = bench.chain.tip().hash();
        for node in [&bench.strict, &bench.lenient] {
            node.rpc("invalidateblock", json!([tip.to_string()]));
        }
        let report = bench.chain.invalidate_block(&tip).unwrap().unwrap();
        let change = mempool.on_tip_changed(&report, &bench.chain, clock).unwrap();
        assert!(change.removed.len() > 20, "{} of {before} given up", change.removed.len());
        let core = bench.strict.rpc("getrawmempool", json!([]));
        let core: BTreeSet<String> =
            core.as_array().unwrap().iter().map(|txid| txid.as_str().unwrap().to_owned()).collect();
        let own: BTreeSet<String> = mempool.iter().map(|entry| entry.txid.to_string()).collect();
        assert_eq!(own, core);
        assert!(own.len() > 20 && parents.iter().all(|tx| mempool.contains(&tx.txid())), "{}", own.len());
        println!("of {before} transactions and 2 parents both keep the same {}", own.len());
    }
}
