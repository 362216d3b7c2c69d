//! Reading the chain: restoring from words, past gaps; reorganisations; another chain.

use lode_primitives::ScriptBuf;
use lode_wallet::{AddressKind, CoinState, Wallet, WalletError};

use crate::chain::{TestChain, WORDS, script, sync, wallet_of};

fn coin() -> &'static lode_coins::Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

/// The first `count` receiving scripts of `kind`.
fn scripts(kind: AddressKind, count: usize, directory: &std::path::Path) -> Vec<ScriptBuf> {
    let mut wallet = wallet_of(WORDS, directory, "scripts", coin(), 20);
    let scripts = (0..count).map(|_| script(coin(), &wallet.new_address(Some(kind)).unwrap())).collect();
    std::fs::remove_file(directory.join("scripts")).unwrap();
    scripts
}

#[test]
fn the_words_alone_find_everything_again_in_whatever_order_it_was_paid() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = TestChain::new(coin());
    let mut expected = 0;
    for kind in [AddressKind::Segwit, AddressKind::Taproot, AddressKind::Nested, AddressKind::Legacy] {
        let scripts = scripts(kind, 60, directory.path());
        // Later addresses are paid before earlier ones: those come into view only once these are seen.
        for (nth, index) in [55, 38, 19, 0, 36].into_iter().enumerate() {
            chain.mine(&[(scripts[index].clone(), 1_000 + nth as i64)]);
            expected += 1_000 + nth as i64;
        }
    }
    chain.mine_empty(120);
    let mut wallet = wallet_of(WORDS, directory.path(), "again", coin(), 20);
    sync(&mut wallet, &mut chain);
    assert_eq!(wallet.balance().spendable.to_sat(), expected);
    // The next address is one after all that were paid.
    let next = wallet.new_address(None).unwrap();
    let after = scripts(AddressKind::Segwit, 57, directory.path()).pop().unwrap();
    assert_eq!(script(coin(), &next), after);
    // Closed and opened again, it is the same.
    wallet.save().unwrap();
    let history = wallet.history();
    drop(wallet);
    let wallet = Wallet::open(&directory.path().join("again"), "pass", coin()).unwrap();
    assert_eq!(wallet.history(), history);
    assert_eq!(wallet.balance().spendable.to_sat(), expected);
}

#[test]
fn what_lies_past_the_gap_is_found_with_a_wider_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = TestChain::new(coin());
    chain.mine(&[(scripts(AddressKind::Segwit, 200, directory.path())[150].clone(), 5_000)]);
    let mut wallet = wallet_of(WORDS, directory.path(), "narrow", coin(), 20);
    sync(&mut wallet, &mut chain);
    assert!(wallet.history().is_empty());
    wallet.set_gap(200).unwrap();
    sync(&mut wallet, &mut chain);
    assert_eq!(wallet.balance().immature.to_sat(), 5_000);
    assert!(matches!(wallet.set_gap(10_001), Err(WalletError::Gap(10_001))));
    let mut wide = wallet_of(WORDS, directory.path(), "wide", coin(), 200);
    sync(&mut wide, &mut chain);
    assert_eq!(wide.balance(), wallet.balance());
    // A wallet that gave so many addresses out itself watches them whatever its gap.
    let mut own = wallet_of(WORDS, directory.path(), "own", coin(), 20);
    for _ in 0..151 {
        own.new_address(None).unwrap();
    }
    assert_eq!(own.unpaid_addresses(None), 151);
    sync(&mut own, &mut chain);
    assert_eq!(own.balance(), wallet.balance());
}

#[test]
fn a_reorganisation_takes_back_what_it_took_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = TestChain::new(coin());
    let mut wallet = wallet_of(WORDS, directory.path(), "w", coin(), 20);
    let to = script(coin(), &wallet.new_address(None).unwrap());
    chain.mine(&[(to.clone(), 10_000)]);
    chain.mine_empty(3);
    sync(&mut wallet, &mut chain);
    let mut fork = chain.fork(3);
    chain.mine(&[(to.clone(), 20_000)]);
    sync(&mut wallet, &mut chain);
    assert_eq!(wallet.balance().immature.to_sat(), 30_000);
    // The other branch has no second coinbase; it is shorter or longer than what was read, and so deep that the
    // checkpoints near the tip are gone with it.
    fork.mine(&[(to.clone(), 300)]);
    fork.mine_empty(30);
    sync(&mut wallet, &mut fork);
    assert_eq!(wallet.balance().immature.to_sat(), 10_300);
    sync(&mut wallet, &mut chain);
    assert_eq!(wallet.balance().immature.to_sat(), 30_000);
    assert!(wallet.coins().iter().all(|coin| matches!(coin.state, CoinState::Immature { .. })));
}

#[test]
fn another_chain_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut wallet = wallet_of(WORDS, directory.path(), "w", coin(), 20);
    let mut other = TestChain::new(lode_coins::find("bitcoin", "signet").unwrap());
    let error = wallet.sync(&mut other, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("follows another chain than bitcoin regtest"), "{error}");
    wallet.save().unwrap();
    drop(wallet);
    let error = Wallet::open(&directory.path().join("w"), "pass", other.coin).unwrap_err();
    assert_eq!(error.to_string(), "this wallet holds bitcoin regtest, not bitcoin signet");
}
