//! The light client on coins with prime chains, whose headers carry a multiplier: a recorded chain synced amid kills,
//! its payments found, proved and checked offline; chains with little work refused.

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{FakePeer, Lie, PATIENCE, World, block, client_of, matching, until};
use lode_chain::{Chain, ChainOptions};
use lode_coins::Coin;
use lode_light::proof::{Proof, ProofError};
use lode_light::{LightClient, LightOptions, read_headers};
use lode_primitives::{Block, Decode, Encode};

fn testnet() -> &'static Coin {
    lode_coins::find("primecoin", "testnet").unwrap()
}

/// The first 3,500 blocks of Primecoin's test network (`crates/chain/tests/data/README.md`).
fn recorded() -> Arc<World> {
    let packed = include_bytes!("../../chain/tests/data/primecoin-testnet-0-3499.hex.xz");
    let mut hex = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut hex).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut chain = Chain::open(ChainOptions::new(testnet(), dir.path())).unwrap();
    for line in String::from_utf8(hex).unwrap().lines().skip(1) {
        let block = Block::from_bytes(&hex::decode(line).unwrap(), testnet().form).unwrap();
        chain.accept_block(block, u32::MAX).unwrap();
    }
    World::of(&chain)
}

/// Tells the child where its data lies and whom to call: `DIR|HOST:PORT`.
const CHILD: &str = "LODE_TEST_KILLED_PRIME_LIGHT";

/// Not a test of its own: the light client that the next one kills. It says how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn killed_light_client() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, peer) = told.split_once('|').unwrap();
    let mut options = LightOptions::new(testnet(), dir);
    options.connect = vec![peer.to_owned()];
    let client = LightClient::start(options).await.unwrap();
    let mut changes = client.subscribe();
    loop {
        println!("at {}", changes.borrow_and_update().tip.height);
        changes.changed().await.unwrap();
    }
}

/// Runs the child until it has said so many words of progress, and kills it; how far it was.
fn killed_after(words: usize, dir: &Path, peer: &FakePeer) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed_light_client", "--exact", "--nocapture"])
        .env(CHILD, format!("{}|{}", dir.display(), peer.address))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut heights = lines.filter_map(|line| Some(line.strip_prefix("at ")?.parse().unwrap()));
    let at = heights.by_ref().take(words).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_chain_is_synced_amid_kills_and_its_payments_proved() {
    let world = recorded();
    let peer = FakePeer::start(&world, Lie::None).await;
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for words in [1, 2, 3, 2, 3] {
        let at = tokio::task::block_in_place(|| killed_after(words, dir.path(), &peer));
        assert!(at >= last, "began again at {at} after {last}");
        let kept = read_headers(testnet(), dir.path()).unwrap().height();
        assert!(kept >= at, "{kept} headers are left of {at}");
        last = at;
    }
    let client = client_of(testnet(), dir.path(), peer.address).await;
    until(&client, "synced", |status| status.synced && status.tip.height == 3_499).await;
    // 80 bytes each and the multiplier, and 12 bytes for each batch.
    let headers: usize = world.blocks[1..].iter().map(|block| block.header.to_bytes().len()).sum();
    let kept = std::fs::metadata(dir.path().join("headers.dat")).unwrap().len() as usize;
    assert!(headers > 3_499 * 81 && kept > headers && kept < headers + 200, "{kept} bytes for {headers}");
    // Everything that was ever paid to or from a script, for some hundred of them.
    let mut scripts = world.scripts();
    scripts.sort();
    scripts.truncate(200);
    assert_eq!(matching(&client, scripts.clone(), 3_499).await, world.places(&scripts));
    for script in scripts.iter().step_by(40) {
        let one = vec![script.clone()];
        assert_eq!(matching(&client, one.clone(), 3_499).await, world.places(&one));
    }
    // Proofs, checked with the files alone.
    let places = world.places(&scripts);
    let mut proofs = Vec::new();
    for place in places.iter().step_by(places.len() / 20) {
        let block = block(&client, place.hash).await;
        let index = block.transactions.len() - 1;
        proofs.push((*place, Proof::new(testnet(), &block, place.height, index).unwrap()));
    }
    client.shutdown().await.unwrap();
    let headers = read_headers(testnet(), dir.path()).unwrap();
    for (place, proof) in &proofs {
        let read = Proof::read(proof.to_json().as_bytes()).unwrap();
        let verified = read.verify(&headers).unwrap();
        assert_eq!((verified.block, verified.confirmations), (place.hash, 3_500 - place.height));
        // Another multiplier is another block, and no work.
        let mut forged = proof.clone();
        let last = forged.header.pop().unwrap();
        forged.header.push(if last == '1' { '2' } else { '1' });
        assert!(forged.verify(&headers).is_err());
    }
    assert!(proofs.len() >= 20);
}

/// A better chain is followed, a lying peer found out, and a flood of headers without much work refused.
#[tokio::test(flavor = "multi_thread")]
async fn less_work_is_refused_and_lies_are_found_out() {
    for name in ["primecoin", "datacoin"] {
        let coin = lode_coins::find(name, "regtest").unwrap();
        let world = World::short(coin, 150, 1);
        let honest = FakePeer::start(&world, Lie::None).await;
        let dir = tempfile::tempdir().unwrap();
        let client = client_of(coin, dir.path(), honest.address).await;
        until(&client, "synced", |status| status.synced && status.tip.height == 150).await;
        let coinbase = block(&client, world.blocks[140].hash()).await;
        let proof = Proof::new(coin, &coinbase, 140, 0).unwrap();
        client.with_headers(|headers| proof.verify(headers)).unwrap();
        let named = async |liar: &FakePeer, why: &str| {
            let mut said = String::new();
            let named = async {
                while !said.contains(why) {
                    let left = client.left();
                    let of_liar = left.iter().filter(|left| left.address == liar.address);
                    said = of_liar.map(|left| left.reason.clone()).collect();
                    tokio::task::yield_now().await;
                }
            };
            let named = tokio::time::timeout(PATIENCE, named).await;
            assert!(named.is_ok(), "{coin}: the peer is left because of {why:?}: {:?}", client.left());
        };
        for (lie, why) in [
            (Lie::Header, "invalid header"),
            (Lie::FilterHash(120), "is not the one"),
            (Lie::OldHeaders, "headers without multipliers"),
        ] {
            let liar = FakePeer::start(&world, lie).await;
            client.connect(liar.address.to_string());
            named(&liar, why).await;
        }
        let flood = FakePeer::start(&World::short(coin, 3, 2), Lie::None).await;
        client.connect(flood.address.to_string());
        named(&flood, "too little work").await;
        let stored = client.with_headers(lode_chain::HeaderChain::count);
        assert_eq!(stored, 151, "{coin}: nothing of it is stored");
        let better = World::short(coin, 155, 3);
        let winner = FakePeer::start(&better, Lie::None).await;
        client.connect(winner.address.to_string());
        until(&client, "the better chain", |status| status.synced && status.tip.height == 155).await;
        let undone = client.with_headers(|headers| proof.verify(headers)).unwrap_err();
        assert!(matches!(undone, ProofError::Replaced { fork: 0, .. }), "{undone}");
        assert!(!client.left().iter().any(|left| [honest.address, winner.address].contains(&left.address)));
        client.shutdown().await.unwrap();
    }
}
