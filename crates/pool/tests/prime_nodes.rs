//! The pool on external nodes of coins with prime chains: one that speaks as later series do (Lode's own, over JSON-RPC), and one of the
//! 0.8 series. Coinbase payouts, blocks found, an orphan, refusals, a node that goes and comes back.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::old_node::OldNode;
use common::prime::PrimeMiner;
use common::prime_pool::{PATIENCE, address, check_payouts, client, coin, lode_node, state};
use common::real::{Running, start_on};
use lode_pool::PoolEvent;
use lode_pool::journal::{BlockState, FoundBlock};
use lode_pool::template::{Node, RpcNode, SubmitReply};
use lode_primitives::BlockHash;
use serde_json::{Value, json};
use tokio::sync::broadcast;

async fn log_in(running: &Running, user: String) -> PrimeMiner {
    let pool = running.pool.addresses()[0];
    tokio::task::spawn_blocking(move || PrimeMiner::login(pool, &user)).await.unwrap()
}

/// The miner's next block on `parent`, as the pool tells of it.
async fn mine(
    mut miner: PrimeMiner,
    events: &mut broadcast::Receiver<PoolEvent>,
    parent: BlockHash,
) -> (PrimeMiner, Arc<FoundBlock>) {
    let miner = tokio::task::spawn_blocking(move || {
        miner.work_on(&parent.to_string());
        miner.block();
        miner
    });
    let miner = miner.await.unwrap();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("the pool tells of the block");
        if let Ok(PoolEvent::Block(block)) = event {
            assert_eq!(block.prev, parent);
            return (miner, block);
        }
    }
}

/// What nodes say of a block handed in again, and of one that is broken.
async fn answers(running: &Running, found: &FoundBlock) -> [SubmitReply; 2] {
    let mut broken = found.block.to_vec();
    // In the Merkle root: another block, whose work is no work.
    broken[40] ^= 1;
    let mut replies = Vec::new();
    for block in [found.block.clone(), broken.into()] {
        replies.push(running.sources.submit(&block).recv().await.unwrap().1);
    }
    replies.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_over_json_rpc_keeps_the_blocks_of_both_coins() {
    for name in ["primecoin", "datacoin"] {
        let coin = coin(name);
        let dir = tempfile::tempdir().unwrap();
        let (node, _) = lode_node(coin, dir.path()).await;
        let rpc = RpcNode::new(client(node.rpc_address().unwrap()), coin);
        assert_eq!(rpc.check().await.unwrap().1, "by long poll");
        let running = start_on(coin, vec![Node::Rpc(rpc)], 1024.0);
        let mut events = running.pool.events();
        let mut miner = log_in(&running, format!("{}.rig", address(coin, 1))).await;
        let mut parent = node.tip().hash;
        for _ in 0..3 {
            let (still, found) = mine(miner, &mut events, parent).await;
            state(&running, found.hash, |state| *state == BlockState::Accepted).await;
            check_payouts(&node, &found).await;
            (miner, parent) = (still, found.hash);
        }
        // Another miner's work is in the window now too: the next block pays both.
        let other = log_in(&running, format!("{}.rig", address(coin, 2))).await;
        let (_, found) = mine(other, &mut events, parent).await;
        let (_, found) = mine(miner, &mut events, found.hash).await;
        state(&running, found.hash, |state| *state == BlockState::Accepted).await;
        check_payouts(&node, &found).await;
        assert_eq!(found.snapshot.outputs().len(), 2);
        let [again, broken] = answers(&running, &found).await;
        assert_eq!(again, SubmitReply::Duplicate);
        assert!(matches!(&broken, SubmitReply::Refused(why) if why != "rejected"), "{broken}");
        tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_0_8_series_is_mined_on_with_what_it_knows() {
    for name in ["primecoin", "datacoin"] {
        let coin = coin(name);
        let dir = tempfile::tempdir().unwrap();
        let (node, direct) = lode_node(coin, dir.path()).await;
        let old = OldNode::start(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::clone(&direct)).await;
        let at = old.address;
        let rpc = RpcNode::new(client(at), coin);
        let (template, way) = rpc.check().await.unwrap();
        assert_eq!((template.height, way), (1, "a node of the 0.8 series: asked twice a second"));
        let running = start_on(coin, vec![Node::Rpc(rpc)], 1024.0);
        let mut events = running.pool.events();
        let miner = log_in(&running, format!("{}.rig", address(coin, 1))).await;

        // Blocks are taken and followed.
        let (miner, first) = mine(miner, &mut events, node.tip().hash).await;
        state(&running, first.hash, |state| *state == BlockState::Accepted).await;
        let (miner, second) = mine(miner, &mut events, first.hash).await;
        state(&running, first.hash, |state| matches!(state, BlockState::Confirmed { depth: 1.. })).await;
        check_payouts(&node, &second).await;
        // One word for all that is wrong, and the pool knows which it is.
        assert_eq!(
            answers(&running, &second).await,
            [SubmitReply::Duplicate, SubmitReply::Refused("rejected".into())]
        );
        // Only the first look-up asks for what it does not know.
        let calls = old.calls.lock().unwrap().clone();
        let count = |method: &str| calls.iter().filter(|call| *call == method).count();
        assert!(count("getblockheader") <= 2 && count("getblock") >= 3, "{calls:?}");

        // It goes; work goes on, and what is found meanwhile is handed in when it is back.
        let mut jobs = running.pool.job();
        let next = jobs.wait_for(|job| job.as_ref().is_some_and(|job| job.template.prev == second.hash));
        drop(tokio::time::timeout(PATIENCE, next).await.expect("a job on the second block").unwrap());
        old.stop().await;
        let (miner, missed) = mine(miner, &mut events, second.hash).await;
        assert_eq!(running.watch.block(&missed.hash).unwrap().state, BlockState::Found);
        assert_eq!(node.tip().hash, second.hash);
        let _old = OldNode::start(at, Arc::clone(&direct)).await;
        state(&running, missed.hash, |state| *state == BlockState::Accepted).await;
        check_payouts(&node, &missed).await;

        // Others' branch grows longer: an orphan. And on from there.
        let invalid: Value = direct.call("invalidateblock", json!([missed.hash.to_string()])).await.unwrap();
        assert!(invalid.is_null());
        direct.call("generatetoaddress", json!([2, address(coin, 9)])).await.unwrap();
        state(&running, missed.hash, |state| *state == BlockState::Orphaned).await;
        let (_, last) = mine(miner, &mut events, node.tip().hash).await;
        state(&running, last.hash, |state| *state == BlockState::Accepted).await;
        assert_eq!(
            last.snapshot.split.base, second.hash,
            "the orphan's payouts are not settled on this branch"
        );
        tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
        node.shutdown().await;
    }
}
