//! What goes wrong with files and directories, and what is said about it.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::path::Path;

use lode_chain::testing::{block_with, grow, spend};
use lode_chain::{BlockError, Chain, ChainOptions, OpenError, SetHash, StoreError};
use lode_primitives::{OutPoint, TxOut};

fn options(dir: &Path) -> ChainOptions {
    ChainOptions::new(lode_coins::find("bitcoin", "regtest").unwrap(), dir)
}

fn open(dir: &Path) -> Chain {
    Chain::open(options(dir)).unwrap()
}

fn set_hash(chain: &mut Chain) -> String {
    chain.output_set().unwrap().info(SetHash::Serialized).unwrap().set_hash.unwrap().to_string()
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let error = Chain::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(chain);
    open(dir.path());
}

#[test]
fn a_directory_of_another_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for coin in
        [lode_coins::find("bitcoin", "local").unwrap(), lode_coins::find("litecoin", "regtest").unwrap()]
    {
        let error = Chain::open(ChainOptions::new(coin, dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::OtherNetwork { .. }));
        assert!(error.to_string().contains("belongs to bitcoin regtest"), "{error}");
    }
    let signet = tempfile::tempdir().unwrap();
    drop(Chain::open(ChainOptions::new(lode_coins::custom_signet(&[0x51]), signet.path())).unwrap());
    let other = Chain::open(ChainOptions::new(lode_coins::custom_signet(&[0x52]), signet.path()));
    assert!(matches!(other, Err(OpenError::OtherNetwork { .. })), "signets differ by their magic");
}

#[test]
fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("chain.format");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen('1', "2", 1)).unwrap();
    assert!(matches!(Chain::open(options(dir.path())), Err(OpenError::Format { .. })));
}

#[test]
fn a_damaged_block_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    grow(&mut chain, 3, 0);
    chain.flush().unwrap();
    let path = dir.path().join("blocks/blk00000.dat");
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff], length - 1).unwrap();
    let error = chain.block(&chain.tip().hash()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("blk00000.dat") && text.contains("wrong checksum") && text.contains("put back a copy"),
        "{text}"
    );
    assert!(chain.block(&chain.entry_at(2).unwrap().hash()).is_ok());
}

#[test]
fn a_missing_database_file_is_an_error_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    grow(&mut chain, 3, 0);
    drop(chain);
    for entry in std::fs::read_dir(dir.path().join("outputs")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let length = std::fs::metadata(&path).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
        }
    }
    // Some cuts are mended by replaying the block files; the others are said.
    if let Err(error) = Chain::open(options(dir.path())) {
        assert!(error.to_string().contains("outputs"), "{error}");
    }
}

#[test]
fn a_full_disk_stops_cleanly_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    let coins = grow(&mut chain, 105, 0);
    let tip = chain.tip().hash();
    let block = block_with(&chain, &tip, 0, vec![spend(&coins[..2], &[1])]);
    let now = block.header.time;
    let before = set_hash(&mut chain);
    // No room for the block, then none for its undo data; nothing changes either way.
    for (blocks, undo) in [(Some(0), None), (Some(100), None), (None, Some(0)), (None, Some(10))] {
        chain.limit_writes(blocks, undo);
        let error = chain.accept_block(block.clone(), now).err();
        if blocks.is_some() || undo == Some(0) {
            let error = error.unwrap();
            assert!(matches!(error, BlockError::Store(StoreError::DiskFull { .. })), "{error}");
            assert!(error.to_string().contains("disk full"), "{error}");
        }
        assert_eq!((chain.tip().hash(), set_hash(&mut chain)), (tip, before.clone()));
    }
    // A start with room again goes on where it stopped, with the block that was stored already.
    drop(chain);
    let mut chain = open(dir.path());
    let _ = chain.accept_block(block.clone(), now).unwrap();
    assert_eq!(chain.tip().hash(), block.hash());
    let _ = set_hash(&mut chain);
}

#[test]
fn pruning_keeps_to_its_size_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = {
        let mut options = options(dir.path());
        options.block_file_bytes = 100_000;
        options.prune_mib = Some(3);
        Chain::open(options).unwrap()
    };
    for tag in 0..700 {
        let tip = chain.tip().hash();
        let mut block = lode_chain::testing::block_on(&chain, &tip, tag);
        let filler = TxOut { value: lode_primitives::Amount::ZERO, script_pubkey: vec![0x6a; 9_000] };
        block.transactions[0].outputs.push(filler);
        let height = chain.height() + 1;
        lode_chain::testing::seal(chain.coin(), &mut block, height);
        let now = block.header.time;
        chain.accept_block(block, now).unwrap();
        chain.tick(now).unwrap();
    }
    let lowest = chain.prune_height();
    assert!((300..=700 - 288).contains(&lowest), "{lowest}");
    let size = |dir: &Path| -> u64 {
        std::fs::read_dir(dir.join("blocks"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    };
    assert!(size(dir.path()) < (3 << 20) + 300_000, "{}", size(dir.path()));
    let gone = chain.entry_at(lowest - 1).unwrap().hash();
    assert!(matches!(chain.block(&gone), Err(StoreError::Pruned(hash)) if hash == gone));
    assert!(chain.block(&chain.entry_at(lowest).unwrap().hash()).unwrap().is_some());
    let hash = set_hash(&mut chain);
    drop(chain);
    let mut chain = {
        let mut options = options(dir.path());
        options.block_file_bytes = 100_000;
        options.prune_mib = Some(3);
        Chain::open(options).unwrap()
    };
    assert_eq!((chain.height(), chain.prune_height(), set_hash(&mut chain)), (700, lowest, hash));
    // A reorganisation within what is kept.
    let fork = chain.entry_at(500).unwrap().hash();
    let mut parent = fork;
    for tag in 0..201 {
        let block = block_with(&chain, &parent, 5_000 + tag, vec![]);
        parent = block.hash();
        let now = block.header.time;
        chain.accept_block(block, now).unwrap();
    }
    while chain.advance(u32::MAX).unwrap().more {}
    assert_eq!((chain.height(), chain.tip().hash()), (701, parent));
    // One from below it cannot be followed: the chain stays where it is, and goes on from there. Its blocks have so
    // little work that they are only kept once their headers lead to more.
    let mut other = chain.entry_at(chain.prune_height() - 2).unwrap().hash();
    let mut branch = Vec::new();
    while chain.entry(&other).unwrap().height() <= 702 {
        let block = block_with(&chain, &other, 9_000, vec![]);
        other = block.hash();
        let now = block.header.time;
        if branch.is_empty() {
            let refused = chain.accept_block(block.clone(), now).unwrap_err();
            assert_eq!(refused.reject_reason(), "too-little-chainwork");
        }
        chain.accept_header(&block.header, now).unwrap();
        branch.push(block);
    }
    for block in branch {
        let now = block.header.time;
        assert!(chain.accept_block(block, now).unwrap().is_empty());
    }
    assert_eq!(chain.tip().hash(), parent);
    grow(&mut chain, 1, 9_001);
    let missing = OutPoint { txid: lode_primitives::Txid([9; 32]), vout: 0 };
    assert!(!chain.has_utxo(&missing).unwrap());
}

#[test]
fn pruning_by_hand_deletes_what_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.block_file_bytes = 10_000;
    options.prune_mib = Some(lode_chain::limits::PRUNE_BY_HAND);
    let mut chain = Chain::open(options).unwrap();
    grow(&mut chain, 600, 0);
    chain.tick(u32::MAX).unwrap();
    assert_eq!(chain.prune_height(), 0, "nothing goes by itself");
    let first = chain.prune_to(100).unwrap().unwrap();
    assert!((50..=100).contains(&first), "{first}");
    assert_eq!(chain.prune_height(), first + 1);
    let all = chain.prune_to(10_000).unwrap().unwrap();
    assert!((250..600 - 288).contains(&all), "{all}");
    assert!(chain.block(&chain.entry_at(all + 1).unwrap().hash()).unwrap().is_some());
    assert_eq!(chain.prune_to(5).unwrap(), Some(all));
}

#[test]
fn too_small_a_size_to_prune_to_is_refused_where_money_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ChainOptions::new(lode_coins::find("bitcoin", "main").unwrap(), dir.path());
    options.prune_mib = Some(549);
    assert!(matches!(Chain::open(options), Err(OpenError::PruneTooSmall { mib: 549, least: 550 })));
}

/// A disk that really is full, in whichever file it happens: `LODE_SMALL_DISK` names a directory on a file system of 90
/// MB or so (`mount -t tmpfs -o size=90m tmpfs DIR`).
#[test]
fn a_really_full_disk_loses_nothing() {
    let Some(small) = std::env::var_os("LODE_SMALL_DISK") else {
        eprintln!("SKIPPED: needs LODE_SMALL_DISK, a directory on a small file system");
        return;
    };
    for (round, cache_bytes) in [100_000, 3_000_000, 1 << 30].into_iter().enumerate() {
        let dir = tempfile::tempdir_in(&small).unwrap();
        // Room that is given back afterwards.
        let ballast = dir.path().join("ballast");
        std::fs::write(&ballast, vec![1; 55 << 20]).unwrap();
        let small_cache = || {
            let mut options = options(&dir.path().join("chain"));
            options.cache_bytes = cache_bytes;
            options
        };
        let mut chain = Chain::open(small_cache()).unwrap();
        let mut reported = chain.tip().hash();
        let mut told = Vec::new();
        let error = loop {
            let mut block = lode_chain::testing::block_on(&chain, &reported, 7);
            let filler = TxOut { value: lode_primitives::Amount::ZERO, script_pubkey: vec![0x52; 100] };
            block.transactions[0].outputs.extend(vec![filler; 3_000]);
            let height = chain.height() + 1;
            lode_chain::testing::seal(chain.coin(), &mut block, height);
            let (now, hash) = (block.header.time, block.hash());
            match chain.accept_block(block.clone(), now) {
                Ok(report) => {
                    assert_eq!(report.connected.len(), 1);
                    reported = hash;
                    told.push(block);
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, BlockError::Store(StoreError::DiskFull { .. })), "{error}");
        println!("round {round}: {} blocks, then: {error}", told.len());
        drop(chain);
        std::fs::remove_file(&ballast).unwrap();
        let mut chain = Chain::open(small_cache()).unwrap();
        assert!(chain.tip().hash() == reported || chain.tip().prev() == reported);
        while chain.tip().hash() != reported {
            let above = chain.tip().hash();
            chain.invalidate_block(&above).unwrap();
        }
        let straight = tempfile::tempdir().unwrap();
        let mut other = open(straight.path());
        for block in told {
            let now = block.header.time;
            other.accept_block(block, now).unwrap();
        }
        assert_eq!(set_hash(&mut chain), set_hash(&mut other));
    }
}
