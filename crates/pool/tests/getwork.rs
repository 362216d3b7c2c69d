//! Miners that know only `getwork`, at the pool's HTTP port: a share and a block by it, in each form that is about, and all that is
//! refused.

mod common;

use std::sync::Arc;

use common::prime::solve;
use common::prime_pool::{PATIENCE, address, check_payouts, coin, lode_node, state};
use common::real::{Running, start_on};
use lode_node::rpc::Credentials;
use lode_node::rpc::client::{RpcAuth, RpcClient, RpcClientError};
use lode_pool::PoolEvent;
use lode_pool::journal::{BlockState, FoundBlock};
use lode_pool::template::{EmbeddedNode, Node};
use lode_pow::ChainLength;
use lode_primitives::Multiplier;
use lode_stratum::getwork::{Solution, write_work_solution};
use serde_json::{Value, json};

/// No chain is longer.
const ANY: ChainLength = ChainLength(u32::MAX);

fn miner(running: &Running, user: &str, password: &str) -> RpcClient {
    let credentials = Credentials { user: user.into(), password: password.into() };
    let address = running.pool.getwork_address().unwrap().to_string();
    RpcClient::new(&address, RpcAuth::User(credentials)).unwrap()
}

/// A work: its header, and the least length to hand in as the miners of that time read it out of `serverData`.
async fn work(miner: &RpcClient) -> ([u8; 80], ChainLength) {
    let answer = miner.call("getwork", json!([])).await.unwrap();
    let data = answer["data"].as_str().unwrap();
    assert_eq!(data.len(), 256);
    let server_data = hex::decode(answer["serverData"].as_str().unwrap()).unwrap();
    let least = u32::from_le_bytes(server_data[4..8].try_into().unwrap());
    (Solution::parse(data).unwrap().header, ChainLength(least))
}

async fn submit(miner: &RpcClient, blob: &str) -> Value {
    miner.call("getwork", json!([blob])).await.unwrap()
}

/// A blob with the multiplier in 32 bytes, as Primecoin's nodes have it since 2020.
fn raw(header: &[u8; 80], multiplier: &Multiplier) -> String {
    let mut blob = header.to_vec();
    blob.extend_from_slice(multiplier.as_bytes());
    blob.resize(128, 0);
    blob.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    hex::encode(blob)
}

async fn next_block(events: &mut tokio::sync::broadcast::Receiver<PoolEvent>) -> Arc<FoundBlock> {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("the pool tells of the block");
        if let Ok(PoolEvent::Block(block)) = event {
            return block;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_and_blocks_are_mined_by_getwork() {
    for name in ["primecoin", "datacoin"] {
        let coin = coin(name);
        let dir = tempfile::tempdir().unwrap();
        let (node, _) = lode_node(coin, dir.path()).await;
        let running = start_on(coin, vec![Node::Embedded(EmbeddedNode::new(node.clone()))], 1024.0);
        let mut events = running.pool.events();
        let mut jobs = running.pool.job();
        jobs.wait_for(Option::is_some).await.unwrap();
        let payee = address(coin, 1);
        let miner = miner(&running, &format!("{payee}.old"), "x");
        // The port hears of the job a moment after this test may.
        while miner.call("getwork", json!([])).await.is_err() {}
        assert_eq!(miner.call("getblockcount", json!([])).await.unwrap(), 0);
        let network = ChainLength(jobs.borrow().as_ref().unwrap().template.bits);

        let accepted = || running.pool.stats().accepted.load(std::sync::atomic::Ordering::Relaxed);
        if name == "primecoin" {
            // Shares that are no blocks, in each form; the work's time may be changed.
            let (header, least) = work(&miner).await;
            assert_eq!(least, network.one_less());
            for form in 0u8..4 {
                let mut header = header;
                header[68] = header[68].wrapping_add(form);
                if header[68] < form {
                    header[69] += 1;
                }
                let multiplier = solve(&mut header, least, network);
                let short = write_work_solution(&header, &multiplier);
                let blob = match form {
                    0 => short,
                    1 => raw(&header, &multiplier),
                    size => format!("{short}{}", "0".repeat([256, 768][usize::from(size) - 2])),
                };
                let before = accepted();
                assert_eq!(submit(&miner, &blob).await, true, "form {form}");
                assert_eq!(accepted(), before + 1);
                assert_eq!(submit(&miner, &blob).await, false, "form {form} again");
            }
            assert!(running.watch.blocks(9).is_empty(), "none of them is a block");
        }

        // Two works are never the same, and each can make a block.
        let (first, _) = work(&miner).await;
        let (mut header, _) = work(&miner).await;
        assert_ne!(first[36..68], header[36..68]);
        let multiplier = solve(&mut header, network, ANY);
        assert_eq!(submit(&miner, &write_work_solution(&header, &multiplier)).await, true);
        let found = next_block(&mut events).await;
        assert_eq!(found.finder, (payee.clone(), "old".to_owned()));
        state(&running, found.hash, |state| *state == BlockState::Accepted).await;
        check_payouts(&node, &found).await;

        // What is left of the old block's work is stale; the next is on the new block.
        let next = async { while work(&miner).await.0[4..36] != *found.hash.as_bytes() {} };
        tokio::time::timeout(PATIENCE, next).await.expect("work on the new block");
        let mut stale = first;
        let multiplier = solve(&mut stale, network, ANY);
        assert_eq!(submit(&miner, &write_work_solution(&stale, &multiplier)).await, false);

        // A password asks for longer chains.
        let strict = self::miner(&running, &payee, &format!("d={}", network.to_f64()));
        assert_eq!(work(&strict).await.1, network);

        // A user has 64 works at once: the oldest goes first.
        let (mut oldest, _) = work(&miner).await;
        for _ in 0..64 {
            work(&miner).await;
        }
        let multiplier = solve(&mut oldest, network, ANY);
        assert_eq!(submit(&miner, &write_work_solution(&oldest, &multiplier)).await, false);

        // What makes no sense.
        let (mut header, _) = work(&miner).await;
        let multiplier = solve(&mut header, network, ANY);
        let good = write_work_solution(&header, &multiplier);
        let mut other = header;
        other[0] ^= 1;
        for bad in ["", "zz", &good[..200], &write_work_solution(&other, &multiplier), &"0".repeat(256)] {
            assert_eq!(submit(&miner, bad).await, false, "{bad}");
        }
        let error = miner.call("getblocktemplate", json!([])).await.unwrap_err();
        assert!(matches!(&error, RpcClientError::Rpc(error) if error.code == -32601), "{error}");
        let stranger = self::miner(&running, "nobody", "x").call("getwork", json!([])).await.unwrap_err();
        assert!(matches!(stranger, RpcClientError::Unauthorized(_)), "{stranger}");
        assert_eq!(submit(&miner, &good).await, true, "and the work is good still");
        tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
        node.shutdown().await;
    }
}
