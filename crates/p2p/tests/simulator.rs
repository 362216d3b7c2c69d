//! Networks of state machines under virtual time: they must converge whatever the lines and the liars do, and the
//! liars must be gone in the end.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::sim::{Sim, copy};
use common::{TestChain, regtest, transaction};
use lode_p2p::message::{InvItem, InvKind};
use lode_p2p::{Message, TxRef, View};
use lode_primitives::{Block, BlockHash, Header};
use proptest::prelude::*;
use rand::Rng;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// A chain of `count` blocks, and copies of it for as many nodes as wanted.
fn blocks(count: usize, tag: &[u8]) -> Vec<Arc<Block>> {
    TestChain::new(regtest()).mine(None, count, tag)
}

fn chain_of(blocks: &[Arc<Block>]) -> Arc<TestChain> {
    let chain = TestChain::new(regtest());
    for block in blocks {
        assert_eq!(chain.accept_block(block), lode_p2p::Verdict::Accepted);
    }
    chain
}

fn tip(sim: &Sim, node: usize) -> BlockHash {
    sim.nodes[node].chain.tip().hash
}

#[test]
fn blocks_come_from_several_peers_at_once() {
    let chain = blocks(3_000, b"");
    let mut sim = Sim::new(1);
    let us = sim.add_empty();
    for latency in [20, 40, 60, 80] {
        let peer = sim.add(chain_of(&chain));
        assert!(sim.connect(us, peer, ms(latency)));
    }
    let began = sim.now;
    assert!(sim.run_until(minutes(5), |sim| sim.nodes[us].chain.tip().height == 3_000));
    println!("3,000 blocks in {:?} of virtual time, {:?}", sim.now - began, sim.nodes[us].blocks_from);
    assert!((1..=4).all(|peer| sim.nodes[us].blocks_from[&peer] > 100), "{:?}", sim.nodes[us].blocks_from);
    // Every block once.
    assert_eq!(sim.nodes[us].blocks_from.values().sum::<usize>(), 3_000);
    assert!(sim.nodes[us].ended.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let chain = blocks(200, b"");
        let mut sim = Sim::new(seed);
        let us = sim.add_empty();
        for _ in 0..3 {
            let peer = sim.add(chain_of(&chain));
            let latency = ms(sim.rng.random_range(5..200));
            sim.connect(us, peer, latency);
        }
        sim.run_for(minutes(1));
        (sim.delivered, sim.nodes[us].blocks_from.clone(), tip(&sim, us))
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// One peer with a fault among two good ones: the sync gets done, and the faulty one is gone.
fn sync_beside(fault: impl FnMut(Message) -> Vec<(Duration, Message)> + 'static, limit: Duration) -> Sim {
    let chain = blocks(2_500, b"");
    let mut sim = Sim::new(2);
    let us = sim.add_empty();
    // The faulty one is asked first.
    let bad = sim.add(chain_of(&chain));
    sim.nodes[bad].tamper = Some(Box::new(fault));
    assert!(sim.connect(us, bad, ms(10)));
    for _ in 0..2 {
        let good = sim.add(chain_of(&chain));
        assert!(sim.connect(us, good, ms(50)));
    }
    assert!(
        sim.run_until(limit, |sim| sim.nodes[us].chain.tip().height == 2_500),
        "height {}",
        sim.nodes[us].chain.tip().height
    );
    sim
}

fn as_is(message: Message) -> Vec<(Duration, Message)> {
    vec![(Duration::ZERO, message)]
}

#[test]
fn a_peer_that_sends_no_blocks_is_dropped() {
    let sim = sync_beside(
        |message| match message {
            Message::Block(_) | Message::CmpctBlock(_) => Vec::new(),
            other => as_is(other),
        },
        minutes(1),
    );
    assert!(sim.nodes[0].ended.iter().any(|reason| reason.contains("stalls")), "{:?}", sim.nodes[0].ended);
    assert!(!sim.is_connected(0, 1));
}

#[test]
fn a_slow_peer_does_not_hold_up_the_others() {
    // Each block five seconds late: 16 blocks in five seconds at most.
    let sim = sync_beside(
        |message| match message {
            block @ Message::Block(_) => vec![(Duration::from_secs(5), block)],
            other => as_is(other),
        },
        minutes(2),
    );
    assert!(sim.nodes[0].blocks_from[&2] + sim.nodes[0].blocks_from[&3] > 2_300);
}

#[test]
fn a_peer_that_denies_blocks_it_announced_is_dropped() {
    let sim = sync_beside(
        |message| match message {
            Message::Block(block) => {
                as_is(Message::NotFound(vec![InvItem::block(InvKind::WitnessBlock, block.hash())]))
            }
            other => as_is(other),
        },
        minutes(1),
    );
    assert!(sim.nodes[0].ended.iter().any(|reason| reason.contains("does not have")));
    assert!(!sim.is_connected(0, 1));
}

#[test]
fn blocks_with_other_transactions_than_committed_to_cost_the_liar_its_place() {
    let sim = sync_beside(
        |message| match message {
            Message::Block(block) => {
                let mut block = copy(&block);
                block.transactions[0].lock_time ^= 1;
                as_is(Message::Block(Arc::new(block)))
            }
            other => as_is(other),
        },
        minutes(1),
    );
    assert!(sim.nodes[0].ended.iter().any(|reason| reason.contains("mutated")), "{:?}", sim.nodes[0].ended);
    assert!(!sim.is_connected(0, 1));
}

#[test]
fn another_block_than_asked_for_counts_as_none() {
    let other = blocks(1, b"other").remove(0);
    let sim = sync_beside(
        move |message| match message {
            Message::Block(_) => as_is(Message::Block(Arc::clone(&other))),
            other => as_is(other),
        },
        minutes(1),
    );
    assert!(!sim.is_connected(0, 1));
}

#[test]
fn silence_instead_of_headers_is_noticed() {
    let sim = sync_beside(
        |message| match message {
            Message::Headers(_) => Vec::new(),
            other => as_is(other),
        },
        minutes(3),
    );
    assert!(sim.nodes[0].ended.iter().any(|reason| reason.contains("getheaders")));
}

#[test]
fn headers_without_work_are_refused() {
    let sim = sync_beside(
        |message| match message {
            Message::Headers(mut headers) => {
                // A chain in a row, of headers that nobody worked on.
                let mut prev = None;
                for header in &mut headers {
                    header.prev = prev.unwrap_or(header.prev);
                    header.time += 1;
                    while regtest_work(header) {
                        header.nonce += 1;
                    }
                    prev = Some(header.hash());
                }
                as_is(Message::Headers(headers))
            }
            other => as_is(other),
        },
        minutes(3),
    );
    assert!(sim.nodes[0].ended.iter().any(|reason| reason.contains("high-hash")), "{:?}", sim.nodes[0].ended);
}

fn regtest_work(header: &Header) -> bool {
    TestChain::new(regtest()).check_pow(header)
}

#[test]
fn a_longer_chain_with_an_invalid_block_is_left_again() {
    let common = blocks(50, b"");
    let liar_chain = chain_of(&common);
    // Mined on a chain that does not mind, then told to one that does.
    let mut bad = Vec::new();
    let mut prev = liar_chain.tip().hash;
    for i in 0..100 {
        let tag: &[u8] = if i == 5 { b"invalid" } else { b"liar" };
        let block = liar_chain.make_block(prev, tag, Vec::new());
        liar_chain.accept_headers(std::slice::from_ref(&block.header));
        prev = block.hash();
        bad.push(block);
    }
    let mut sim = Sim::new(3);
    let us = sim.add_empty();
    let liar = sim.add(chain_of(&common));
    let honest = sim.add(chain_of(&blocks_on(&common, 20)));
    let goal = tip(&sim, honest);
    let served = bad.clone();
    sim.nodes[liar].tamper = Some(Box::new(move |message| match message {
        Message::Headers(headers) if headers.len() >= 50 => {
            let more = served.iter().map(|block| block.header.clone());
            as_is(Message::Headers(headers.into_iter().chain(more).collect()))
        }
        other => as_is(other),
    }));
    assert!(sim.connect(us, liar, ms(10)));
    sim.run_for(ms(100));
    // The liar does have the blocks.
    for block in &bad[..20] {
        sim.inject(liar, us, Message::Block(Arc::clone(block)));
    }
    assert!(sim.connect(us, honest, ms(10)));
    assert!(sim.run_until(minutes(5), |sim| tip(sim, us) == goal), "{:?}", sim.nodes[us].ended);
    assert!(sim.run_until(minutes(5), |sim| !sim.is_connected(us, liar)));
    // And it cannot come back.
    assert!(!sim.connect(liar, us, ms(10)));
}

fn blocks_on(base: &[Arc<Block>], count: usize) -> Vec<Arc<Block>> {
    let chain = chain_of(base);
    let mut all = base.to_vec();
    all.extend(chain.mine(None, count, b"more"));
    all
}

#[test]
fn a_flood_of_headers_with_little_work_is_not_stored() {
    let mut sim = Sim::new(4);
    let us = sim.add(chain_of(&blocks(6_000, b"")));
    let flood = sim.add(chain_of(&blocks(5_000, b"flood")));
    assert!(sim.connect(us, flood, ms(10)));
    sim.run_for(minutes(2));
    assert_eq!(sim.nodes[us].headers_seen, 0, "no header was worth storing");
    // Nor is a short fork from far below, told unasked.
    let headers: Vec<Header> = blocks(100, b"low").iter().map(|block| block.header.clone()).collect();
    sim.inject(flood, us, Message::Headers(headers));
    sim.run_for(minutes(1));
    assert_eq!(sim.nodes[us].headers_seen, 0);
}

#[test]
fn a_long_chain_that_proves_its_work_is_stored_and_followed() {
    let mut sim = Sim::new(5);
    let us = sim.add(chain_of(&blocks(6_000, b"")));
    let better = sim.add(chain_of(&blocks(7_000, b"better")));
    assert!(sim.connect(us, better, ms(10)));
    assert!(sim.run_until(minutes(5), |sim| tip(sim, us) == tip(sim, better)), "{:?}", sim.nodes[us].ended);
    assert_eq!(sim.nodes[us].headers_seen, 7_000);
}

#[test]
fn a_peer_of_our_choice_that_stays_behind_makes_room() {
    let mut sim = Sim::new(14);
    let us = sim.add(chain_of(&blocks(50, b"")));
    let behind = sim.add(chain_of(&blocks(20, b"")));
    let level = sim.add(chain_of(&blocks(50, b"")));
    // It never asks us for what it lacks, nor does it tell of anything.
    sim.nodes[behind].tamper = Some(Box::new(|message| match message {
        Message::GetHeaders(_) => Vec::new(),
        other => as_is(other),
    }));
    assert!(sim.connect(us, behind, ms(10)));
    assert!(sim.connect(us, level, ms(10)));
    sim.run_for(minutes(25));
    assert!(!sim.is_connected(us, behind) && sim.is_connected(us, level), "{:?}", sim.nodes[us].ended);
}

#[test]
fn a_node_that_cannot_judge_for_a_while_goes_on_when_it_can() {
    let chain = blocks(400, b"");
    // From the first headers on, or in the midst of the blocks.
    for able in [Duration::ZERO, ms(400)] {
        let mut sim = Sim::new(15);
        let us = sim.add_empty();
        for _ in 0..3 {
            let peer = sim.add(chain_of(&chain));
            assert!(sim.connect(us, peer, ms(50)));
        }
        sim.run_for(able);
        assert!(sim.nodes[us].chain.tip().height < 400);
        sim.nodes[us].unable_until = sim.now + minutes(3);
        sim.run_for(minutes(3));
        assert!(sim.nodes[us].chain.tip().height < 400);
        assert!(sim.nodes[us].ended.is_empty(), "nobody is to blame: {:?}", sim.nodes[us].ended);
        assert!(sim.run_until(minutes(1), |sim| sim.nodes[us].chain.tip().height == 400));
    }
}

#[test]
fn two_halves_that_meet_agree_on_the_most_work() {
    let mut sim = Sim::new(6);
    let left = sim.add(chain_of(&blocks(60, b"left")));
    let right = sim.add(chain_of(&blocks(61, b"right")));
    let others: Vec<usize> = (0..4).map(|_| sim.add_empty()).collect();
    for (i, &other) in others.iter().enumerate() {
        assert!(sim.connect(other, if i < 2 { left } else { right }, ms(30)));
    }
    sim.run_for(minutes(1));
    assert_eq!(sim.nodes[others[0]].chain.tip().height, 60);
    assert!(sim.connect(others[0], others[3], ms(100)));
    assert!(
        sim.run_until(minutes(2), |sim| {
            (0..sim.nodes.len()).all(|node| tip(sim, node) == tip(sim, right))
        })
    );
}

#[test]
fn a_new_block_travels_as_a_compact_block() {
    let chain = blocks(120, b"");
    let mut sim = Sim::new(7);
    let line: Vec<usize> = (0..5).map(|_| sim.add(chain_of(&chain))).collect();
    for pair in line.windows(2) {
        assert!(sim.connect(pair[0], pair[1], ms(50)));
    }
    sim.run_for(Duration::from_secs(5));
    for seed in 0..50 {
        sim.send_transaction(line[seed as usize % 5], transaction(seed, &[]));
    }
    let everywhere = |sim: &Sim| line.iter().all(|&node| sim.nodes[node].chain.mempool().len() == 50);
    assert!(sim.run_until(minutes(1), everywhere));
    // After two blocks everybody has asked its neighbour for compact blocks at once.
    for height in 121..=124 {
        let transactions = if height == 124 { sim.nodes[line[0]].chain.mempool() } else { Vec::new() };
        let chain = Arc::clone(&sim.nodes[line[0]].chain);
        let block = chain.make_block(chain.tip().hash, b"mined", transactions);
        let began = sim.now;
        sim.submit(line[0], &block);
        assert!(sim.run_until(minutes(1), |sim| {
            line.iter().all(|&node| sim.nodes[node].chain.tip().height == height)
        }));
        if height == 124 {
            // Four hops of 50 ms and nothing more: no round trip for anything.
            assert!(sim.now - began < ms(4 * 50 + 20), "{:?}", sim.now - began);
        }
    }
    assert_eq!(sim.nodes[line[4]].chain.block(&tip(&sim, line[4])).unwrap().transactions.len(), 51);
}

#[test]
fn a_compact_block_with_unknown_transactions_is_filled_in() {
    let chain = blocks(120, b"");
    let mut sim = Sim::new(8);
    let (us, miner) = (sim.add(chain_of(&chain)), sim.add(chain_of(&chain)));
    assert!(sim.connect(us, miner, ms(50)));
    sim.run_for(Duration::from_secs(5));
    for height in 121..=124 {
        let chain = Arc::clone(&sim.nodes[miner].chain);
        let transactions = (0..20).map(|i| transaction(height * 100 + i, &[])).collect();
        let block = chain.make_block(chain.tip().hash, b"mined", transactions);
        sim.submit(miner, &block);
        assert!(sim.run_until(minutes(1), |sim| tip(sim, us) == block.hash()));
    }
    assert!(sim.nodes[us].sent["getblocktxn"] > 0);
    assert!(sim.nodes[miner].sent["blocktxn"] > 0);
    assert!(sim.nodes[us].ended.is_empty());
}

#[test]
fn a_compact_block_filled_in_wrongly_is_fetched_whole() {
    let chain = blocks(120, b"");
    let mut sim = Sim::new(9);
    let (us, miner) = (sim.add(chain_of(&chain)), sim.add(chain_of(&chain)));
    sim.nodes[miner].tamper = Some(Box::new(|message| match message {
        Message::BlockTxn(mut answer) => {
            for transaction in &mut answer.transactions {
                transaction.lock_time ^= 1;
            }
            as_is(Message::BlockTxn(answer))
        }
        other => as_is(other),
    }));
    assert!(sim.connect(us, miner, ms(50)));
    sim.run_for(Duration::from_secs(5));
    for height in 121..=124 {
        let chain = Arc::clone(&sim.nodes[miner].chain);
        let block = chain.make_block(chain.tip().hash, b"mined", vec![transaction(height, &[])]);
        sim.submit(miner, &block);
        assert!(sim.run_until(minutes(1), |sim| tip(sim, us) == block.hash()));
    }
}

#[test]
fn a_transaction_reaches_everybody_and_crosses_each_node_once() {
    let chain = blocks(10, b"");
    let mut sim = Sim::new(10);
    let nodes: Vec<usize> = (0..12).map(|_| sim.add(chain_of(&chain))).collect();
    for i in 0..12 {
        for step in [1, 3, 4] {
            let latency = ms(sim.rng.random_range(10..200));
            sim.connect(nodes[i], nodes[(i + step) % 12], latency);
        }
    }
    sim.run_for(Duration::from_secs(5));
    for seed in 0..100 {
        sim.send_transaction(nodes[seed as usize % 12], transaction(seed, &[]));
    }
    assert!(sim.run_until(minutes(2), |sim| {
        nodes.iter().all(|&node| sim.nodes[node].chain.mempool().len() == 100)
    }));
    let transfers: usize = nodes.iter().map(|&node| sim.nodes[node].sent["tx"]).sum();
    assert_eq!(transfers, 100 * 11, "each transaction is sent to each other node exactly once");
}

#[test]
fn a_child_that_comes_before_its_parents_waits_for_them() {
    let chain = blocks(10, b"");
    let mut sim = Sim::new(11);
    let (us, peer) = (sim.add(chain_of(&chain)), sim.add(chain_of(&chain)));
    assert!(sim.connect(us, peer, ms(20)));
    sim.run_for(Duration::from_secs(5));
    let grandparent = transaction(1, &[]);
    let parent = transaction(2, &[grandparent.txid()]);
    let child = transaction(3, &[parent.txid()]);
    // The peer has all three, and tells of the last only.
    sim.nodes[peer].chain.add_transaction(grandparent);
    sim.nodes[peer].chain.add_transaction(parent);
    let wtxid = child.wtxid();
    sim.send_transaction(peer, child);
    assert!(sim.run_until(minutes(1), |sim| { sim.nodes[us].chain.has_transaction(&TxRef::Wtxid(wtxid)) }));
    assert_eq!(sim.nodes[us].chain.mempool().len(), 3);
}

#[test]
fn a_transaction_that_is_promised_and_not_sent_comes_from_another() {
    let chain = blocks(10, b"");
    let mut sim = Sim::new(12);
    let us = sim.add(chain_of(&chain));
    let mute = sim.add(chain_of(&chain));
    let good = sim.add(chain_of(&chain));
    sim.nodes[mute].tamper = Some(Box::new(|message| match message {
        Message::Tx(_) => Vec::new(),
        other => as_is(other),
    }));
    assert!(sim.connect(us, mute, ms(10)));
    assert!(sim.connect(us, good, ms(10)));
    sim.run_for(Duration::from_secs(5));
    let tx = transaction(5, &[]);
    let wtxid = tx.wtxid();
    sim.send_transaction(mute, tx.clone());
    sim.run_for(ms(500));
    sim.send_transaction(good, tx);
    assert!(sim.run_until(minutes(2), |sim| sim.nodes[us].chain.has_transaction(&TxRef::Wtxid(wtxid))));
}

#[test]
fn garbage_after_the_handshake_does_not_hurt() {
    let chain = blocks(300, b"");
    let mut sim = Sim::new(13);
    let us = sim.add(chain_of(&chain));
    let bad = sim.add(chain_of(&chain));
    assert!(sim.connect(bad, us, ms(10)));
    sim.run_for(Duration::from_secs(2));
    let unknown = BlockHash([9; 32]);
    for round in 0..200u8 {
        let hash = BlockHash([round; 32]);
        let messages = vec![
            Message::Inv(vec![InvItem::block(InvKind::Block, hash); 50]),
            Message::GetData(vec![InvItem::block(InvKind::WitnessBlock, unknown); 50]),
            Message::NotFound(vec![InvItem::block(InvKind::Block, hash)]),
            Message::Pong(7),
            Message::GetBlockTxn(lode_p2p::message::GetBlockTxn { block: hash, indexes: vec![1, 2] }),
            Message::BlockTxn(lode_p2p::message::BlockTxn { block: hash, transactions: Vec::new() }),
            Message::FeeFilter(-1),
            Message::SendCmpct { high_bandwidth: true, version: 9 },
            Message::Tx(Arc::new(transaction(u32::from(round), &[lode_primitives::Txid([round; 32])]))),
            Message::Block(Arc::clone(&chain[usize::from(round)])),
        ];
        for message in messages {
            sim.inject(bad, us, message);
        }
        sim.run_for(ms(50));
    }
    assert_eq!(sim.nodes[us].chain.tip().height, 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(lode_testkit::rounds(12, 200) as u32))]

    /// Any small network whose lines break now and then, with a miner on each of two nodes and one node that loses
    /// half of what it should send, ends on one chain once the mining stops.
    #[test]
    fn whatever_happens_everybody_agrees_in_the_end(seed: u64, size in 4usize..9, mined in 5usize..40) {
        let start = blocks(30, b"");
        let mut sim = Sim::new(seed);
        sim.reconnect = true;
        let nodes: Vec<usize> = (0..size).map(|i| {
            if i % 3 == 0 { sim.add(chain_of(&start)) } else { sim.add_empty() }
        }).collect();
        let lossy = nodes[size - 1];
        let mut count = 0u32;
        sim.nodes[lossy].tamper = Some(Box::new(move |message| {
            count += 1;
            let data = matches!(message, Message::Block(_) | Message::CmpctBlock(_) | Message::Tx(_));
            if data && count.is_multiple_of(2) { Vec::new() } else { as_is(message) }
        }));
        // A ring without the lossy one, which hangs on two of them.
        let ring = size - 1;
        for i in 0..ring {
            let latency = ms(sim.rng.random_range(1..400));
            sim.connect(nodes[i], nodes[(i + 1) % ring], latency);
        }
        sim.connect(lossy, nodes[0], ms(20));
        sim.connect(nodes[1], lossy, ms(20));
        for i in 0..mined {
            let wait = ms(sim.rng.random_range(10..8_000));
            sim.run_for(wait);
            sim.mine(nodes[i % 2], &[i as u8, (i % 2) as u8]);
            sim.send_transaction(nodes[i % ring], transaction(i as u32, &[]));
            let victim = nodes[sim.rng.random_range(0..ring)];
            let links = sim.links(victim);
            if !links.is_empty() && sim.rng.random_bool(0.3) {
                let link = links[sim.rng.random_range(0..links.len())];
                sim.cut(victim, link);
            }
        }
        // One more decides between equals.
        sim.run_for(minutes(1));
        sim.mine(nodes[0], b"last");
        let agreed = sim.run_until(minutes(30), |sim| {
            nodes[..ring].iter().all(|&node| tip(sim, node) == tip(sim, nodes[0]))
        });
        prop_assert!(agreed, "{:?}", nodes.iter().map(|&n| sim.nodes[n].chain.tip().height).collect::<Vec<_>>());
    }
}
