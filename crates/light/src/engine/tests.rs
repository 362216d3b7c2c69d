//! The engine driven by hand: nobody who is honest is accused, whatever the chain, the clock and slow disks do.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

use lode_chain::testing::{block_with, grow};
use lode_chain::{Chain, ChainOptions};
use lode_p2p::message::{CFHeaders, CFilter};
use lode_primitives::filter::{BASIC_FILTER, filter_header};
use lode_primitives::{Block, BlockFilter, Hash256, Header, ScriptBuf};

use super::*;
use crate::store::Place;

const PATIENCE: Time = Duration::from_secs(20);
const SECOND: Time = Duration::from_secs(1);

/// A tree of blocks, each with a filter that holds one script of its own.
struct Tree {
    _dir: tempfile::TempDir,
    chain: Chain,
    blocks: BTreeMap<BlockHash, (Height, Block)>,
}

/// What the block `hash` pays to.
fn script(hash: &BlockHash) -> ScriptBuf {
    [&[0, 32], &hash.0[..]].concat()
}

fn filter(hash: &BlockHash) -> BlockFilter {
    BlockFilter::of_scripts(hash, [script(hash).as_slice()])
}

impl Tree {
    /// `count` blocks.
    fn new(count: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
        grow(&mut chain, count, 0);
        let mut blocks = BTreeMap::new();
        for height in 0..=count {
            let hash = chain.entry_at(height).unwrap().hash();
            blocks.insert(hash, (height, chain.block(&hash).unwrap().unwrap()));
        }
        Self { _dir: dir, chain, blocks }
    }

    /// `count` blocks on top of `parent`; the last one.
    fn branch(&mut self, parent: BlockHash, count: u32, tag: u32) -> BlockHash {
        let mut tip = parent;
        for _ in 0..count {
            let block = block_with(&self.chain, &tip, tag, Vec::new());
            let height = self.blocks[&tip].0 + 1;
            tip = block.hash();
            self.chain.accept_block(block.clone(), block.header.time).unwrap();
            self.blocks.insert(tip, (height, block));
        }
        tip
    }

    fn tip(&self) -> BlockHash {
        self.chain.tip().hash()
    }

    fn height(&self, hash: &BlockHash) -> Height {
        self.blocks[hash].0
    }

    fn at(&self, tip: &BlockHash, height: Height) -> BlockHash {
        let mut hash = *tip;
        while self.height(&hash) > height {
            hash = self.blocks[&hash].1.header.prev;
        }
        hash
    }

    fn is_ancestor(&self, hash: &BlockHash, tip: &BlockHash) -> bool {
        self.height(hash) <= self.height(tip) && self.at(tip, self.height(hash)) == *hash
    }

    fn path(&self, tip: &BlockHash) -> Vec<BlockHash> {
        (0..=self.height(tip)).map(|height| self.at(tip, height)).collect()
    }

    fn headers(&self, tip: &BlockHash) -> Vec<Header> {
        self.path(tip)[1..].iter().map(|hash| self.blocks[hash].1.header.clone()).collect()
    }

    /// The answer to a question for filter headers, told by somebody with these filters.
    fn filter_headers(
        &self,
        first: Height,
        stop: BlockHash,
        filter: impl Fn(&BlockHash) -> BlockFilter,
    ) -> CFHeaders {
        let hashes: Vec<Hash256> = self.path(&stop).iter().map(|hash| filter(hash).hash()).collect();
        let (before, told) = hashes.split_at(first as usize);
        let previous = before.iter().fold(Hash256::ZERO, |header, hash| filter_header(hash, &header));
        CFHeaders { filter_type: BASIC_FILTER, stop, previous, filter_hashes: told.to_vec() }
    }

    fn filter(&self, block: BlockHash) -> CFilter {
        CFilter { filter_type: BASIC_FILTER, block, filter: filter(&block).as_bytes().to_vec() }
    }

    fn block(&self, hash: &BlockHash) -> Arc<Block> {
        Arc::new(self.blocks[hash].1.clone())
    }
}

/// An engine on a store of its own.
struct Bench {
    _dir: tempfile::TempDir,
    engine: Engine,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let store = Arc::new(RwLock::new(Store::open(coin, dir.path()).unwrap()));
        Self { _dir: dir, engine: Engine::new(store, PATIENCE), now: 1_000 * SECOND }
    }

    /// As a peer's headers do.
    fn follow(&mut self, tree: &Tree, tip: &BlockHash) {
        self.engine.write().accept(&tree.headers(tip), u32::MAX).unwrap().unwrap();
        self.tick();
    }

    fn tick(&mut self) {
        self.engine.tick(self.now).unwrap();
    }

    /// Lets time pass as it does while nothing happens.
    fn wait(&mut self, time: Time) {
        let until = self.now + time;
        while self.now < until {
            self.now += SECOND / 10;
            self.tick();
        }
    }

    fn connect(&mut self, peer: u64) -> PeerId {
        self.engine.connected(PeerId(peer), true, self.now);
        self.engine.up_to_date(PeerId(peer), self.now).unwrap();
        PeerId(peer)
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    fn scan(&mut self, scripts: Vec<ScriptBuf>, to: Height) -> Receiver<Result<Vec<Place>, LightError>> {
        let (reply, found) = channel();
        self.engine.scan(scripts, 0, to, reply, self.now).unwrap();
        found
    }

    /// A peer that has told its filter headers.
    fn synced_with(tree: &Tree) -> (Self, PeerId) {
        let mut bench = Self::new();
        let tip = tree.tip();
        bench.follow(tree, &tip);
        let peer = bench.connect(1);
        assert_eq!(bench.actions(), [ask_headers(peer, 0, tip)]);
        bench.engine.on_filter_headers(peer, tree.filter_headers(0, tip, filter), bench.now).unwrap();
        assert!(bench.engine.is_synced());
        assert_eq!(bench.actions(), []);
        (bench, peer)
    }
}

const fn ask_headers(peer: PeerId, first: Height, stop: BlockHash) -> Action {
    Action::Ask(peer, Question::FilterHeaders { first, stop })
}

#[test]
fn blocks_asked_for_before_a_reorganisation_may_come_after_it() {
    let mut tree = Tree::new(10);
    let (old, fork) = (tree.tip(), tree.at(&tree.tip(), 8));
    let new = tree.branch(fork, 3, 1);
    let again = tree.branch(old, 2, 2);
    let mut tree_of_old = Tree::new(10);
    assert_eq!(tree_of_old.tip(), old, "the same blocks each time");
    tree_of_old.branch(fork, 0, 0);
    let (mut bench, peer) = Bench::synced_with(&tree_of_old);
    let (reply, answer) = channel();
    bench.engine.block(old, reply, bench.now).unwrap();
    assert_eq!(bench.actions(), [Action::Ask(peer, Question::Block(old))]);
    // It leaves the chain: who waits is told, and nobody owes it.
    bench.follow(&tree, &new);
    assert!(matches!(answer.recv().unwrap(), Err(LightError::Gone(10))));
    bench.actions();
    // It comes all the same, once while it is lost ...
    bench.engine.on_block(peer, tree.block(&old), bench.now).unwrap();
    assert_eq!(bench.actions(), []);
    // ... or after the chain has turned back to it, asked for again meanwhile: two answers.
    bench.follow(&tree, &again);
    let ask = |bench: &mut Bench| {
        let (reply, answer) = channel();
        bench.engine.block(old, reply, bench.now).unwrap();
        assert!(bench.actions().contains(&Action::Ask(peer, Question::Block(old))));
        answer
    };
    let first = ask(&mut bench);
    let newer = tree.branch(new, 3, 3);
    bench.follow(&tree, &newer);
    assert!(first.recv().unwrap().is_err());
    let newest = tree.branch(again, 4, 4);
    bench.follow(&tree, &newest);
    let second = ask(&mut bench);
    bench.actions();
    for _ in 0..2 {
        bench.engine.on_block(peer, tree.block(&old), bench.now).unwrap();
    }
    assert_eq!(second.recv().unwrap().unwrap().hash(), old);
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Punish(..))));
    // What was never asked for is another matter.
    bench.engine.on_block(peer, tree.block(&old), bench.now).unwrap();
    assert!(matches!(bench.actions()[..], [Action::Punish(..)]));
}

#[test]
fn answers_about_a_branch_that_lost_are_passed_over() {
    let mut tree = Tree::new(30);
    let (mut bench, peer) = Bench::synced_with(&tree);
    let old = tree.tip();
    let longer = tree.branch(old, 1, 0);
    let scripts = vec![script(&old)];
    bench.follow(&tree, &longer);
    assert_eq!(bench.actions(), [ask_headers(peer, 31, longer)]);
    let found = bench.scan(scripts.clone(), 30);
    assert_eq!(bench.actions(), [Action::Ask(peer, Question::Filters { first: 0, stop: old })]);
    let fork = tree.at(&old, 25);
    let new = tree.branch(fork, 8, 1);
    bench.follow(&tree, &new);
    assert!(matches!(found.recv().unwrap(), Err(LightError::Gone(30))));
    assert_eq!(bench.actions(), [ask_headers(peer, 26, new)]);
    // All that it owed comes late.
    bench.engine.on_filter_headers(peer, tree.filter_headers(31, longer, filter), bench.now).unwrap();
    for hash in tree.path(&old) {
        bench.engine.on_filter(peer, tree.filter(hash), bench.now).unwrap();
    }
    bench.engine.on_filter_headers(peer, tree.filter_headers(26, new, filter), bench.now).unwrap();
    assert!(bench.engine.is_synced());
    assert_eq!(bench.actions(), []);
}

#[test]
fn nobody_is_blamed_for_the_time_that_we_stood_still() {
    let tree = Tree::new(5);
    let mut bench = Bench::new();
    bench.follow(&tree, &tree.tip());
    let peer = bench.connect(1);
    assert_eq!(bench.actions(), [ask_headers(peer, 0, tree.tip())]);
    // The machine sleeps; or the disk takes minutes for a write.
    bench.now += 600 * SECOND;
    bench.tick();
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Leave(..) | Action::Punish(..))));
    bench.engine.on_filter_headers(peer, tree.filter_headers(0, tree.tip(), filter), bench.now).unwrap();
    assert!(bench.engine.is_synced());
    // Neither are jobs given up that had nobody to do them.
    bench.engine.disconnected(peer, bench.now).unwrap();
    let found = bench.scan(vec![script(&tree.tip())], 5);
    bench.tick();
    bench.now += 600 * SECOND;
    bench.tick();
    assert!(found.try_recv().is_err());
    bench.wait(3 * PATIENCE + SECOND);
    assert!(matches!(found.try_recv().unwrap(), Err(LightError::NoPeers)));
}

#[test]
fn a_late_filter_is_asked_for_again_ever_more_patiently_and_silence_is_no_lie() {
    let tree = Tree::new(5);
    let mut bench = Bench::new();
    bench.follow(&tree, &tree.tip());
    let peer = bench.connect(1);
    bench.wait(PATIENCE - SECOND);
    let asked = bench.actions();
    assert!((4..=6).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|action| *action == ask_headers(peer, 0, tree.tip())), "{asked:?}");
    // Now it has made them, and answers every question.
    for _ in &asked {
        bench.engine.on_filter_headers(peer, tree.filter_headers(0, tree.tip(), filter), bench.now).unwrap();
    }
    assert!(bench.engine.is_synced());
    bench.wait(2 * PATIENCE);
    assert_eq!(bench.actions(), [], "who owes nothing may be silent");
    // Who says nothing at all is left, but not called a liar.
    let found = bench.scan(vec![script(&tree.tip())], 5);
    bench.wait(PATIENCE + SECOND);
    let left = bench.actions().into_iter().filter(|action| !matches!(action, Action::Ask(..)));
    let [Action::Leave(who, why)] = &left.collect::<Vec<_>>()[..] else { panic!("one is left") };
    assert!(*who == peer && why.contains("owes filters and sends nothing for 20 s"), "{why}");
    assert!(found.try_recv().is_err(), "the scan waits for somebody else");
}

/// A liar was alone and its filter headers were taken. Who is honest and comes later is not measured by them.
#[test]
fn an_honest_newcomer_is_compared_before_its_filters_are_judged() {
    let tree = Tree::new(40);
    let (tip, hidden) = (tree.tip(), tree.at(&tree.tip(), 33));
    let lie = |hash: &BlockHash| match *hash == hidden {
        true => BlockFilter::of_scripts(hash, [&b"nothing"[..]]),
        false => filter(hash),
    };
    let mut bench = Bench::new();
    bench.follow(&tree, &tip);
    let liar = bench.connect(1);
    bench.engine.on_filter_headers(liar, tree.filter_headers(0, tip, lie), bench.now).unwrap();
    bench.actions();
    let found = bench.scan(vec![script(&hidden)], 40);
    assert_eq!(bench.actions(), [Action::Ask(liar, Question::Filters { first: 0, stop: tip })]);
    bench.engine.disconnected(liar, bench.now).unwrap();
    // The scan waits for somebody, and here he is; but first things first.
    let honest = bench.connect(2);
    assert_eq!(bench.actions(), [ask_headers(honest, 0, tip)]);
    bench.engine.on_filter_headers(honest, tree.filter_headers(0, tip, filter), bench.now).unwrap();
    assert_eq!(bench.actions(), [ask_headers(honest, 0, tip)], "all are fetched again");
    bench.engine.on_filter_headers(honest, tree.filter_headers(0, tip, filter), bench.now).unwrap();
    assert_eq!(bench.engine.doubts(), (1, 0));
    assert_eq!(bench.actions(), [Action::Ask(honest, Question::Filters { first: 0, stop: tip })]);
    for hash in tree.path(&tip) {
        bench.engine.on_filter(honest, tree.filter(hash), bench.now).unwrap();
    }
    assert_eq!(found.recv().unwrap().unwrap(), [Place { height: 33, hash: hidden }]);
    assert_eq!(bench.actions(), []);
}

/// Filters that come twice, because a peer went away amid its stretch, do not stand for others.
#[test]
fn a_scan_ends_when_every_block_was_looked_through() {
    let tree = Tree::new(450);
    let (mut bench, first) = Bench::synced_with(&tree);
    let tip = tree.tip();
    let wanted = tree.at(&tip, 420);
    let found = bench.scan(vec![script(&wanted)], 450);
    // It gives all but the first and the last of its stretch, and goes.
    for hash in &tree.path(&tip)[1..199] {
        bench.engine.on_filter(first, tree.filter(*hash), bench.now).unwrap();
    }
    bench.engine.disconnected(first, bench.now).unwrap();
    let second = bench.connect(2);
    bench.actions();
    bench.engine.on_filter_headers(second, tree.filter_headers(0, tip, filter), bench.now).unwrap();
    for _ in 0..10 {
        let asked = bench.actions();
        let Some(Action::Ask(_, Question::Filters { first, stop })) = asked.last() else { break };
        for hash in &tree.path(stop)[*first as usize..] {
            bench.engine.on_filter(second, tree.filter(*hash), bench.now).unwrap();
        }
    }
    assert_eq!(found.recv().unwrap().unwrap(), [Place { height: 420, hash: wanted }]);
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn millis(&mut self, end: u64) -> Time {
        Duration::from_millis(self.below(end))
    }
}

/// An honest node that learns of the tips in order, makes filters a little later, and answers when it gets round to it.
struct Honest {
    id: PeerId,
    tip: usize,
    filters_from: Time,
    /// Questions under way, and when it has read them.
    questions: VecDeque<(Time, Question)>,
    busy_until: Time,
}

/// Three honest peers, a chain that turns again and again, disks that are slow on both sides, a clock that jumps.
#[test]
fn honest_peers_are_never_accused() {
    let mut tree = Tree::new(30);
    let mut tips = vec![tree.tip()];
    let mut dice = Dice(7);
    for tag in 1..40 {
        let tip = *tips.last().unwrap();
        let back = dice.below(6) as Height;
        let parent = tree.at(&tip, tree.height(&tip) - back);
        tips.push(tree.branch(parent, back + 1 + dice.below(3) as Height, tag));
    }
    for seed in 0..lode_testkit::rounds(30, 1_000) as u64 {
        one_run(&tree, &tips, seed);
    }
}

fn one_run(tree: &Tree, tips: &[BlockHash], seed: u64) {
    let mut dice = Dice(seed);
    let mut bench = Bench::new();
    let begin = bench.now;
    let mut peers: Vec<Honest> = (0..3)
        .map(|id| Honest {
            id: PeerId(id),
            tip: 0,
            filters_from: begin,
            questions: VecDeque::new(),
            busy_until: begin,
        })
        .collect();
    for peer in &peers {
        bench.engine.connected(peer.id, true, begin);
    }
    bench.follow(tree, &tips[0]);
    for peer in &peers {
        bench.engine.up_to_date(peer.id, begin).unwrap();
    }
    let (mut scan, mut next_id, mut gone) = (None, 3, 0);
    let (mut found, mut blocks) = (0, 0);
    let mut fetched: Option<Receiver<Result<Arc<Block>, LightError>>> = None;
    while found < 3 || peers[0].tip + 1 < tips.len() || !bench.engine.is_synced() {
        assert!(bench.now < begin + 5_000 * SECOND, "seed {seed}: no end: {found} scans, {:?}", bench.engine);
        bench.now += match dice.below(400) {
            0 => dice.millis(60_000), // we stand still
            _ => SECOND / 10,
        };
        bench.tick();
        // Peers learn of new tips, and tell us.
        for peer in &mut peers {
            if peer.tip + 1 < tips.len() && dice.below(40) == 0 {
                peer.tip += 1;
                peer.filters_from = bench.now + dice.millis(4_000);
                bench.engine.write().accept(&tree.headers(&tips[peer.tip]), u32::MAX).unwrap().unwrap();
                bench.engine.tick(bench.now).unwrap();
            }
        }
        // What a user wants.
        let height = bench.engine.read().chain().height();
        let tip = bench.engine.read().chain().tip().hash();
        let (wanted, running) = scan.take().unwrap_or_else(|| {
            let wanted = tree.at(&tip, dice.below(u64::from(height)) as Height);
            (wanted, bench.scan(vec![script(&wanted)], height))
        });
        match running.try_recv() {
            Ok(Ok(places)) => {
                assert_eq!(
                    places.iter().map(|place| place.hash).collect::<Vec<_>>(),
                    [wanted],
                    "seed {seed}"
                );
                found += 1;
            }
            Ok(Err(error)) => assert!(matches!(error, LightError::Gone(_)), "seed {seed}: {error}"),
            Err(_) => scan = Some((wanted, running)),
        }
        fetched = match fetched.map(|block| (block.try_recv(), block)) {
            Some((Err(_), block)) => Some(block),
            Some((Ok(answer), _)) => {
                blocks += u32::from(answer.is_ok());
                None
            }
            None => {
                let (reply, block) = channel();
                bench.engine.block(tip, reply, bench.now).unwrap();
                Some(block)
            }
        };
        // Questions go out; each peer is asked only what it is known to have.
        for action in bench.actions() {
            match action {
                Action::Ask(id, question) => {
                    let Some(peer) = peers.iter_mut().find(|peer| peer.id == id) else { continue };
                    if tree.is_ancestor(&question.block(), &tips[peer.tip]) {
                        let arrives = bench.now + dice.millis(300);
                        peer.questions.push_back((arrives, question));
                    } else {
                        bench.engine.on_not_asked(id, question, bench.now).unwrap();
                    }
                }
                Action::Punish(_, why) => panic!("seed {seed}: an honest peer is accused: {why}"),
                Action::Leave(id, _) => {
                    // It was too slow; it may come again.
                    gone += 1;
                    let peer = peers.iter_mut().find(|peer| peer.id == id).unwrap();
                    (peer.id, next_id) = (PeerId(next_id), next_id + 1);
                    peer.questions.clear();
                    bench.engine.connected(peer.id, true, bench.now);
                    bench.engine.up_to_date(peer.id, bench.now).unwrap();
                }
            }
        }
        // Answers come in.
        for peer in &mut peers {
            while peer.busy_until <= bench.now
                && peer.questions.front().is_some_and(|(arrives, _)| *arrives <= bench.now)
            {
                let (_, question) = peer.questions.pop_front().unwrap();
                let slow = if dice.below(50) == 0 { 12_000 } else { 200 };
                peer.busy_until = bench.now + dice.millis(slow);
                answer(tree, &mut bench, peer, &tips[peer.tip], question, &mut dice);
            }
        }
    }
    assert!(blocks > 0 && gone < 30, "seed {seed}: {blocks} blocks, {gone} times left");
}

/// What a node with the best block `tip` answers.
fn answer(
    tree: &Tree,
    bench: &mut Bench,
    peer: &Honest,
    tip: &BlockHash,
    question: Question,
    dice: &mut Dice,
) {
    let (stop, now) = (question.block(), bench.now);
    let lost = !tree.is_ancestor(&stop, tip);
    // Blocks that lost meanwhile are given by some nodes, and not by others.
    if lost && dice.below(2) == 0 {
        return;
    }
    let has_filters = peer.filters_from <= now;
    match question {
        Question::FilterHeaders { first, stop } if has_filters => {
            bench.engine.on_filter_headers(peer.id, tree.filter_headers(first, stop, filter), now).unwrap();
        }
        Question::Filters { first, stop } if has_filters => {
            for hash in &tree.path(&stop)[first as usize..] {
                bench.engine.on_filter(peer.id, tree.filter(*hash), now).unwrap();
            }
        }
        Question::Block(hash) => bench.engine.on_block(peer.id, tree.block(&hash), now).unwrap(),
        _ => {}
    }
}
