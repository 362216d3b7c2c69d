//! Peers that lie, each in its own way: named and left, while the honest ones carry on and nothing is missed.

mod common;

use common::{FakePeer, Lie, PATIENCE, World, block, client, matching, until};
use lode_light::proof::{Proof, ProofError};

/// Makes what the other tests share: a chain, an honest peer.
async fn world() -> (std::sync::Arc<World>, FakePeer) {
    let world = World::new(12, 0);
    let honest = FakePeer::start(&world, Lie::None).await;
    (world, honest)
}

/// Begins with the liar alone, then lets an honest peer come, and sees the liar named and everything found.
async fn found_out(lie: Lie, said: &str) {
    let (world, honest) = world().await;
    let liar = FakePeer::start(&world, lie).await;
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path(), liar.address).await;
    let alone = |status: &lode_light::Status| status.synced || status.peers > 0;
    match lie {
        Lie::Header | Lie::Silent => {}
        _ => drop(until(&client, "the liar is there", alone).await),
    }
    client.connect(honest.address.to_string());
    check(&client, &world, &liar, said).await;
    assert!(client.left().iter().all(|left| left.address != honest.address), "{:?}", client.left());
    client.shutdown().await.unwrap();
    liar.stop().await;
    honest.stop().await;
}

/// The liar is named in the end, all is found all the same, and blocks come.
async fn check(client: &lode_light::LightClient, world: &World, liar: &FakePeer, said: &str) {
    let height = world.height();
    until(client, "the chain", |status| status.tip.height == height && status.filter_peers > 0).await;
    let scripts = world.scripts();
    let wanted = world.places(&scripts);
    let scan = async {
        loop {
            let status = until(client, "filter headers", |status| status.synced).await;
            let found = matching(client, scripts.clone(), height).await;
            // What was found while a liar was alone is looked for again, as every user of the client does.
            if client.status().doubts == status.doubts && found == wanted {
                return block(client, wanted[0].hash).await;
            }
        }
    };
    let first = tokio::time::timeout(PATIENCE, scan).await.expect("everything is found");
    assert_eq!(first.hash(), wanted[0].hash);
    let named = async {
        while !client.left().iter().any(|left| left.address == liar.address && left.reason.contains(said)) {
            // Blocks and scans are what finds out those that lie about them.
            block(client, wanted[1].hash).await;
            matching(client, scripts.clone(), height).await;
            tokio::task::yield_now().await;
        }
    };
    let named = tokio::time::timeout(PATIENCE, named).await;
    assert!(named.is_ok(), "the liar is named for {said:?}: {:?}", client.left());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_hides_a_payment() {
    found_out(Lie::Filter(110), "lacks the output script").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_its_header_does_not_commit_to() {
    found_out(Lie::OtherFilter(110), "is not the one that the filter headers commit to").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_no_filter() {
    found_out(Lie::FilterHash(109), "is not the one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_work() {
    found_out(Lie::Header, "invalid header").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_withheld() {
    found_out(Lie::Withhold, "does not give block").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_with_other_transactions() {
    found_out(Lie::Mutate, "does not commit to").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_keeps_silent() {
    found_out(Lie::Silent, "sends nothing for 2 s").await;
}

/// A node announces a block before it has made its filter, and says nothing to whoever asks meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn one_whose_filters_come_late_is_not_accused() {
    let world = World::new(12, 0);
    let late = FakePeer::start(&world, Lie::Late).await;
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path(), late.address).await;
    until(&client, "synced", |status| status.synced && status.tip.height == world.height()).await;
    let scripts = world.scripts();
    assert_eq!(matching(&client, scripts.clone(), world.height()).await, world.places(&scripts));
    assert_eq!(client.left(), []);
    client.shutdown().await.unwrap();
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_who_comes_last() {
    let (world, honest) = world().await;
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path(), honest.address).await;
    until(&client, "synced", |status| status.synced).await;
    let liar = FakePeer::start(&world, Lie::Filter(112)).await;
    client.connect(liar.address.to_string());
    let named = async {
        while !client.left().iter().any(|left| left.address == liar.address) {
            until(&client, "a change", |_| true).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, named).await.expect("the liar is named");
    check(&client, &world, &liar, "lacks the output script").await;
    client.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_with_less_work_and_a_proof_from_it() {
    let (world, honest) = world().await;
    // So far behind that it is not worth storing.
    let long = World::short(common::regtest(), 260, 998);
    let (winner, loser) = (
        FakePeer::start(&long, Lie::None).await,
        FakePeer::start(&World::short(common::regtest(), 3, 997), Lie::None).await,
    );
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path(), honest.address).await;
    until(&client, "synced", |status| status.synced && status.tip.height == world.height()).await;
    let place = world.places(&world.scripts())[5];
    let block = block(&client, place.hash).await;
    let proof = Proof::new(common::regtest(), &block, place.height, 1).unwrap();
    let verified = client.with_headers(|headers| proof.verify(headers)).unwrap();
    assert_eq!(verified.transaction, block.transactions[1]);
    assert_eq!(verified.confirmations, world.height() - place.height + 1);

    // A better chain: followed, and the payment is undone.
    client.connect(winner.address.to_string());
    until(&client, "the better chain", |status| status.synced && status.tip.height == 260).await;
    let undone = client.with_headers(|headers| proof.verify(headers)).unwrap_err();
    assert!(matches!(undone, ProofError::Replaced { fork: 0, .. }), "{undone}");
    let found = matching(&client, world.scripts(), 260).await;
    assert_eq!(found, []);
    // And a chain not worth a look.
    client.connect(loser.address.to_string());
    let named = async {
        while !client.left().iter().any(|left| left.address == loser.address) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, named).await.expect("the peer with little work is left");
    let left = client.left();
    let left = left.iter().find(|left| left.address == loser.address).unwrap();
    assert!(left.reason.contains("too little work"), "{left:?}");
    client.shutdown().await.unwrap();
}
