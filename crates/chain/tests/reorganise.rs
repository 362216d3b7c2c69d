//! Blocks come and go, and the outputs follow.

#![allow(clippy::unwrap_used)]

use lode_chain::testing::{block_with, grow, spend};
use lode_chain::{Chain, ChainOptions, SetHash};
use lode_coins::Coin;

fn coin() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

fn open(dir: &std::path::Path) -> Chain {
    Chain::open(ChainOptions::new(coin(), dir)).unwrap()
}

fn set_hash(chain: &mut Chain) -> String {
    chain.output_set().unwrap().info(SetHash::Serialized).unwrap().set_hash.unwrap().to_string()
}

#[test]
fn a_chain_grows_and_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    assert_eq!(chain.height(), 0);
    let coins = grow(&mut chain, 105, 0);
    let tip = chain.tip().hash();
    let spender = spend(&coins[..3], &[1_000, 2_000]);
    let block = block_with(&chain, &tip, 0, vec![spender.clone()]);
    let report = chain.accept_block(block.clone(), block.header.time).unwrap();
    assert_eq!(report.connected.len(), 1);
    assert!(!chain.has_utxo(&coins[0]).unwrap());
    let hash = set_hash(&mut chain);
    drop(chain);
    let mut chain = open(dir.path());
    assert_eq!((chain.height(), chain.tip().hash()), (106, block.hash()));
    assert_eq!(set_hash(&mut chain), hash);
    assert_eq!(chain.block(&block.hash()).unwrap().unwrap(), block);
}

/// The files as kill -9 leaves them: as they are while the chain is open.
fn killed(dir: &std::path::Path) -> tempfile::TempDir {
    fn copy(from: &std::path::Path, to: &std::path::Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let copied = tempfile::tempdir().unwrap();
    copy(dir, copied.path());
    copied
}

#[test]
fn a_header_on_a_block_that_was_not_flushed_yet_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    grow(&mut chain, 3, 0);
    let next = block_with(&chain, &chain.tip().hash(), 0, Vec::new());
    chain.accept_headers(std::slice::from_ref(&next.header), next.header.time).unwrap();
    let left = killed(dir.path());
    let mut chain = open(left.path());
    assert_eq!(chain.height(), 3);
    chain.accept_block(next.clone(), next.header.time).unwrap();
    assert_eq!(chain.tip().hash(), next.hash());
}

#[test]
fn a_reorganisation_sixty_deep_ends_like_a_straight_sync() {
    let (dir, straight) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut chain = open(dir.path());
    let coins = grow(&mut chain, 120, 0);
    let fork = chain.tip().hash();
    // Sixty blocks, each with a spend, then sixty-one others that spend the same coins otherwise.
    let mut sides = Vec::new();
    for (side, length) in [(1u32, 60u32), (2, 61)] {
        let scratch_dir = tempfile::tempdir().unwrap();
        let mut scratch = open(scratch_dir.path());
        for height in 1..=120 {
            let block = chain.block(&chain.entry_at(height).unwrap().hash()).unwrap().unwrap();
            let now = block.header.time;
            scratch.accept_block(block, now).unwrap();
        }
        assert_eq!(scratch.tip().hash(), fork);
        let blocks: Vec<_> = (0..length)
            .map(|i| {
                let spends = match coins.get(i as usize) {
                    Some(coin) if i < 20 => vec![spend(&[*coin], &[i64::from(1_000 * side + i), 7])],
                    _ => vec![],
                };
                let block = block_with(&scratch, &scratch.tip().hash(), side, spends);
                scratch.accept_block(block.clone(), block.header.time).unwrap();
                block
            })
            .collect();
        sides.push(blocks);
    }
    for block in &sides[0] {
        chain.accept_block(block.clone(), block.header.time).unwrap();
    }
    let old_tip = chain.tip().hash();
    for block in &sides[1][..60] {
        let report = chain.accept_block(block.clone(), block.header.time).unwrap();
        assert!(report.is_empty() && chain.tip().hash() == old_tip, "the first seen of equals stays");
    }
    let last = &sides[1][60];
    let report = chain.accept_block(last.clone(), last.header.time).unwrap();
    assert_eq!((report.disconnected.len(), report.connected.len(), report.more), (60, 61, false));
    assert_eq!(report.disconnected[0].hash, old_tip);
    assert_eq!(chain.tip().hash(), last.hash());

    let mut other = open(straight.path());
    for height in 1..=chain.height() {
        let block = chain.block(&chain.entry_at(height).unwrap().hash()).unwrap().unwrap();
        let now = block.header.time;
        other.accept_block(block, now).unwrap();
    }
    assert_eq!(set_hash(&mut chain), set_hash(&mut other));
    // And back again: the whole way is undone by hand.
    let hash = set_hash(&mut chain);
    let report = chain.invalidate_block(&sides[1][0].hash()).unwrap().unwrap();
    assert_eq!((report.disconnected.len(), report.connected.len()), (61, 60));
    assert_eq!(chain.tip().hash(), old_tip);
    let report = chain.reconsider_block(&sides[1][0].hash()).unwrap().unwrap();
    assert_eq!((report.disconnected.len(), report.connected.len()), (60, 61));
    assert_eq!(set_hash(&mut chain), hash);
}
