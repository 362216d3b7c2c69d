//! Paying: every kind of address, refusals before anything is signed, gathering, replacing, signing elsewhere.

use std::path::Path;

use lode_primitives::{Amount, OutPoint, ScriptBuf};
use lode_wallet::{
    AddressKind, CoinState, FeeRate, Keys, NewWallet, Pay, Source as _, SourceError, Wallet, WalletError,
    read_psbt, watch_descriptors,
};

use crate::chain::{TestChain, WORDS, script, sync, wallet_of};

const OTHER_WORDS: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

fn rate(sat_per_vb: u64) -> FeeRate {
    FeeRate::from_sat_per_kvb(sat_per_vb * 1_000)
}

fn pay(address: &str, sat: i64) -> Pay {
    Pay::Amounts(vec![(address.to_owned(), Amount::from_sat(sat))])
}

/// Two wallets on a chain where the first was paid `sat` once for each kind of address it has, and all is mature.
fn two(coin: &'static lode_coins::Coin, directory: &Path, sat: i64) -> (TestChain, Wallet, Wallet) {
    let mut chain = TestChain::new(coin);
    let mut anna = wallet_of(WORDS, directory, "anna", coin, 20);
    let bert = wallet_of(OTHER_WORDS, directory, "bert", coin, 20);
    for &kind in AddressKind::of(coin) {
        let to = script(coin, &anna.new_address(Some(kind)).unwrap());
        chain.mine(&[(to, sat)]);
    }
    chain.mine_empty(coin.coinbase_maturity);
    sync(&mut anna, &mut chain);
    (chain, anna, bert)
}

#[test]
fn every_coin_and_every_kind_of_address_both_ways() {
    for name in ["bitcoin", "litecoin", "primecoin", "datacoin"] {
        let coin = lode_coins::find(name, "regtest").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let each = 50 * lode_primitives::COIN;
        let (mut chain, mut anna, mut bert) = two(coin, directory.path(), each);
        let kinds = AddressKind::of(coin).len() as i64;
        assert_eq!(anna.balance().spendable.to_sat(), kinds * each, "{coin}");
        let fee_rate = FeeRate::from_sat_per_kvb(2 * coin.min_relay_fee.to_sat() as u64);
        let mut sent = 0;
        for &kind in AddressKind::of(coin) {
            let to = bert.new_address(Some(kind)).unwrap();
            let plan = anna.plan_send(&pay(&to, each / 3), fee_rate, &[]).unwrap();
            let tx = anna.sign(&plan).unwrap();
            assert!(
                tx.weight() <= plan.weight && tx.weight() + 16 * tx.inputs.len() >= plan.weight,
                "{coin}: the size was foreseen"
            );
            assert_eq!(tx.data.is_some(), coin.form.data);
            // Change looks like what is paid.
            let change = plan.payments.iter().find(|payment| payment.own.is_some()).unwrap();
            let paid = script(coin, &to);
            assert_eq!(
                lode_script::classify(&change.output.script_pubkey).name(),
                lode_script::classify(&paid).name()
            );
            anna.send(&tx, &mut chain).unwrap();
            sent += each / 3;
            // Change that waits may be spent on, as the next round does; others' payments not before a block.
            sync(&mut bert, &mut chain);
        }
        assert_eq!(bert.balance().unconfirmed.to_sat(), sent);
        chain.mine_empty(1);
        sync(&mut anna, &mut chain);
        sync(&mut bert, &mut chain);
        assert_eq!(bert.balance().spendable.to_sat(), sent);
        // And all of it back.
        let to = anna.new_address(None).unwrap();
        let plan = bert.plan_send(&Pay::All(to), fee_rate, &[]).unwrap();
        assert_eq!((plan.change(), plan.sent().to_sat() + plan.fee.to_sat()), (Amount::ZERO, sent));
        let tx = bert.sign(&plan).unwrap();
        bert.send(&tx, &mut chain).unwrap();
        chain.mine_empty(1);
        sync(&mut bert, &mut chain);
        sync(&mut anna, &mut chain);
        assert_eq!(bert.balance().total(), Amount::ZERO);
        let fees: i64 = anna
            .history()
            .iter()
            .chain(&bert.history())
            .filter_map(|entry| entry.fee)
            .map(Amount::to_sat)
            .sum();
        assert_eq!(anna.balance().total().to_sat(), kinds * each - fees);
        let change: i64 = anna.history().iter().map(|entry| entry.change.to_sat()).sum();
        assert_eq!(change, anna.balance().total().to_sat(), "the history adds up to the balance");
    }
}

#[test]
fn data_is_paid_for_and_something_always_comes_back() {
    let coin = lode_coins::find("datacoin", "regtest").unwrap();
    let cent = lode_primitives::COIN / 100;
    // A transaction of 3,000 bytes of data costs 0.20; 0.05 is the least an output may hold.
    for (held, comes_back) in [(50 * cent, 30 * cent), (25 * cent, 5 * cent)] {
        let directory = tempfile::tempdir().unwrap();
        let (mut chain, mut anna, _) = two(coin, directory.path(), held);
        let plan = anna.plan_data(vec![7; 3_000]).unwrap();
        assert_eq!((plan.fee.to_sat(), plan.change().to_sat()), (20 * cent, comes_back));
        let tx = anna.sign(&plan).unwrap();
        anna.send(&tx, &mut chain).unwrap();
        chain.mine_empty(1);
        sync(&mut anna, &mut chain);
        assert_eq!(anna.balance().spendable.to_sat(), comes_back);
    }
    // Enough for the fee, too little for an output behind it.
    for held in [20 * cent, 24 * cent] {
        let directory = tempfile::tempdir().unwrap();
        let (_, anna, _) = two(coin, directory.path(), held);
        let error = anna.plan_data(vec![7; 3_000]).unwrap_err();
        assert!(matches!(error, WalletError::TooLittle { .. }), "{error}");
        assert!(error.to_string().contains("0.25"), "{error}");
    }
}

#[test]
fn each_refusal_is_plain_and_comes_before_signing() {
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut chain, mut anna, mut bert) = two(coin, directory.path(), 100_000);
    let to = bert.new_address(None).unwrap();
    let immature = script(coin, &anna.new_address(None).unwrap());
    chain.mine(&[(immature, 7_000_000)]);
    chain.mine_empty(62);
    sync(&mut anna, &mut chain);
    let refused = |wallet: &Wallet, pay: &Pay, only: &[OutPoint]| {
        wallet.plan_send(pay, rate(10), only).unwrap_err().to_string()
    };
    for (address, says) in [
        (
            "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
            "is an address of bitcoin main, not of bitcoin regtest",
        ),
        ("rltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kwx7utq", "is not an address"),
        ("LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "is an address of litecoin main, not of bitcoin regtest"),
        ("bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "is not an address"),
    ] {
        let said = refused(&anna, &pay(address, 1_000), &[]);
        assert!(said.contains(says), "{said}");
    }
    let said = refused(&anna, &pay(&to, 293), &[]);
    assert!(said.contains("0.00000293 is dust") && said.contains("at least 0.00000294"), "{said}");
    let said = refused(&anna, &pay(&to, 500_000), &[]);
    assert!(
        said.contains("0.00400000 spendable") && said.contains("0.07000000 are coinbases not mature yet"),
        "{said}"
    );
    // All of it is too much too: the fee comes on top.
    assert!(refused(&anna, &pay(&to, 400_000), &[]).contains("needed (fee"));
    let young = anna.coins().into_iter().find(|coin| coin.state != CoinState::Spendable).unwrap();
    assert_eq!(young.state, CoinState::Immature { blocks: 37 });
    let said = refused(&anna, &pay(&to, 1_000), &[young.outpoint]);
    assert!(said.ends_with("it is from a coinbase, spendable in 37 blocks"), "{said}");
    let said = refused(&anna, &pay(&to, 1_000), &[OutPoint::default()]);
    assert!(said.contains("no such unspent coin"), "{said}");
    for (sat_per_kvb, says) in [(99, "less than 0.1 is not relayed"), (10_000_001, "surely not meant")] {
        let said = anna.plan_send(&pay(&to, 1_000), FeeRate::from_sat_per_kvb(sat_per_kvb), &[]);
        assert!(said.unwrap_err().to_string().contains(says));
    }
    // At its very block, and not one before, the coinbase can be spent.
    chain.mine_empty(36);
    sync(&mut anna, &mut chain);
    assert_eq!(anna.balance().next_mature, Some(1));
    chain.mine_empty(1);
    sync(&mut anna, &mut chain);
    assert_eq!(anna.balance().spendable.to_sat(), 7_400_000);
    // A payment that the network refuses leaves no trace.
    let plan = anna.plan_send(&pay(&to, 1_000), rate(10), &[]).unwrap();
    let mut broken = anna.sign(&plan).unwrap();
    broken.outputs[0].value = Amount::from_sat(5_000);
    let before = anna.history();
    assert!(matches!(anna.send(&broken, &mut chain), Err(WalletError::Source(SourceError::Refused(_)))));
    assert_eq!(anna.history(), before);
    // One that no one could be told of stays, and goes out with the next sync.
    let tx = anna.sign(&plan).unwrap();
    chain.down = true;
    assert!(matches!(anna.send(&tx, &mut chain), Err(WalletError::Source(SourceError::Failed(_)))));
    chain.down = false;
    sync(&mut anna, &mut chain);
    assert_eq!(chain.waiting, [tx]);
}

#[test]
fn a_thousand_small_coinbase_coins_in_as_few_transactions_as_fit() {
    let directory = tempfile::tempdir().unwrap();
    for (name, kind, count, transactions) in [
        ("bitcoin", AddressKind::Segwit, 1_000, 1),
        // 148 bytes each, four weight units to the byte: 675 to a transaction.
        ("bitcoin", AddressKind::Legacy, 1_000, 2),
        ("primecoin", AddressKind::Legacy, 1_000, 2),
    ] {
        let coin = lode_coins::find(name, "regtest").unwrap();
        let file = format!("{name} {kind}");
        let mut wallet = wallet_of(WORDS, directory.path(), &file, coin, 20);
        let to = script(coin, &wallet.new_address(Some(kind)).unwrap());
        let mut chain = TestChain::new(coin);
        let small = 10_000.max(3 * coin.min_output.to_sat());
        for _ in 0..count {
            chain.mine(&[(to.clone(), small)]);
        }
        chain.mine_empty(coin.coinbase_maturity);
        sync(&mut wallet, &mut chain);
        assert_eq!(wallet.balance().spendable.to_sat(), count * small);
        let least = FeeRate::from_sat_per_kvb(1_000.max(coin.min_relay_fee.to_sat() as u64));
        let plans = wallet.plan_consolidate(least, None, None).unwrap();
        assert_eq!(plans.len(), transactions, "{file}");
        assert_eq!(plans.iter().map(|plan| plan.spent.len()).sum::<usize>() as i64, count);
        let mut seen: Vec<ScriptBuf> = Vec::new();
        for plan in &plans {
            assert!(plan.weight <= coin.max_standard_weight);
            let tx = wallet.sign(plan).unwrap();
            wallet.send(&tx, &mut chain).unwrap();
            seen.push(plan.payments[0].output.script_pubkey.clone());
        }
        seen.dedup();
        assert_eq!(seen.len(), transactions, "a key of its own for each");
        chain.mine_empty(1);
        sync(&mut wallet, &mut chain);
        assert_eq!(wallet.coins().len(), transactions);
        let fees: i64 = plans.iter().map(|plan| plan.fee.to_sat()).sum();
        assert_eq!(wallet.balance().spendable.to_sat(), count * small - fees);
        assert!(matches!(
            wallet.plan_consolidate(least, Some(Amount::from_sat(small)), None),
            Err(WalletError::Nothing(_))
        ));
    }
}

#[test]
fn a_payment_that_waits_is_replaced_by_one_that_pays_more() {
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mut chain, mut anna, mut bert) = two(coin, directory.path(), 1_000_000);
    let to = bert.new_address(None).unwrap();
    let plan = anna.plan_send(&pay(&to, 300_000), rate(2), &[]).unwrap();
    let first = anna.sign(&plan).unwrap();
    let txid = anna.send(&first, &mut chain).unwrap();
    assert!(anna.history()[0].replaceable);
    sync(&mut bert, &mut chain);
    assert_eq!(bert.balance().unconfirmed.to_sat(), 300_000);
    assert!(anna.plan_bump(&txid, rate(2)).unwrap_err().to_string().contains("sat/vB already"));
    assert!(anna.plan_bump(&bert.coins()[0].outpoint.txid, rate(2)).is_err());
    let bump = anna.plan_bump(&txid, rate(20)).unwrap();
    assert_eq!(bump.sent(), plan.sent());
    assert!(bump.fee.to_sat() >= plan.fee.to_sat() + bump.vsize() as i64 / 10);
    let second = anna.sign(&bump).unwrap();
    anna.send(&second, &mut chain).unwrap();
    assert_eq!(chain.waiting, std::slice::from_ref(&second));
    assert!(anna.history().iter().all(|entry| entry.txid != txid));
    sync(&mut bert, &mut chain);
    assert_eq!(bert.balance().unconfirmed.to_sat(), 300_000, "paid once, not twice");
    chain.mine_empty(1);
    sync(&mut anna, &mut chain);
    let said = anna.plan_bump(&second.txid(), rate(50)).unwrap_err().to_string();
    assert!(said.ends_with("it is in a block"), "{said}");
    // Where there is no change to take from, another coin comes in; without one, it is refused.
    let all: Vec<OutPoint> = anna.coins().iter().map(|coin| coin.outpoint).collect();
    let target = anna.coins()[0].value.to_sat() - 800;
    let plan = anna.plan_send(&pay(&to, target), rate(5), &all[..1]).unwrap();
    assert_eq!(plan.change(), Amount::ZERO);
    let txid = anna.send(&anna.sign(&plan).unwrap(), &mut chain).unwrap();
    let bump = anna.plan_bump(&txid, rate(30)).unwrap();
    assert!(bump.spent.len() > 1 && bump.change() > Amount::ZERO);
    let everything = Pay::All(to);
    chain.mine_empty(1);
    sync(&mut anna, &mut chain);
    let txid = anna
        .send(&anna.sign(&anna.plan_send(&everything, rate(2), &[]).unwrap()).unwrap(), &mut chain)
        .unwrap();
    assert!(matches!(anna.plan_bump(&txid, rate(30)), Err(WalletError::TooLittle { .. })));
}

#[test]
fn a_watching_wallet_plans_and_the_one_with_the_keys_signs() {
    for name in ["bitcoin", "litecoin"] {
        let coin = lode_coins::find(name, "regtest").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (mut chain, anna, mut bert) = two(coin, directory.path(), 100_000);
        let new = NewWallet { coin, keys: Keys::Watch(anna.descriptors()), account: 0, birthday: 0, gap: 20 };
        let mut watch = Wallet::create(&directory.path().join("watch"), "other", new).unwrap();
        sync(&mut watch, &mut chain);
        assert_eq!(watch.balance(), anna.balance());
        let to = bert.new_address(None).unwrap();
        let plan = watch.plan_send(&pay(&to, 250_000), rate(10), &[]).unwrap();
        assert!(plan.spent.len() >= 3);
        assert!(matches!(watch.sign(&plan), Err(WalletError::WatchOnly)));
        let psbt = watch.to_psbt(&plan).unwrap();
        let mut psbt = read_psbt(&psbt.serialize()).unwrap();
        assert!(matches!(watch.sign_psbt(&mut psbt), Err(WalletError::WatchOnly)));
        assert_eq!(watch.finish_psbt(&mut psbt).unwrap(), None);
        // A stranger signs nothing; the owner all.
        assert_eq!(bert.sign_psbt(&mut psbt.clone()).unwrap(), 0);
        // Even offline, where it never saw the coins.
        let offline = wallet_of(WORDS, directory.path(), "offline", coin, 20);
        let view = offline.view_psbt(&psbt).unwrap();
        assert!(view.inputs.iter().all(|input| input.own && !input.complete));
        assert_eq!(view.fee, Some(plan.fee));
        assert_eq!(offline.sign_psbt(&mut psbt).unwrap(), plan.spent.len());
        let tx = watch.finish_psbt(&mut psbt).unwrap().unwrap();
        chain.broadcast(&tx).unwrap();
        sync(&mut bert, &mut chain);
        assert_eq!(bert.balance().unconfirmed.to_sat(), 250_000);
        // A PSBT that lies about an amount is found out where the coin is known.
        let mut lying = watch.to_psbt(&plan).unwrap();
        for input in &mut lying.inputs {
            input.non_witness_utxo = None;
            if let Some(output) = &mut input.witness_utxo {
                output.value = bitcoin::Amount::from_sat(output.value.to_sat() + 1);
            }
        }
        assert!(matches!(anna.sign_psbt(&mut lying), Err(WalletError::Psbt(_))));
    }
}

#[test]
fn descriptors_are_read_with_care() {
    let xpub = "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V";
    let both = watch_descriptors(&[format!("wpkh({xpub}/<0;1>/*)")]).unwrap();
    assert_eq!(both.iter().map(|(_, change)| *change).collect::<Vec<_>>(), [false, true]);
    assert_eq!(watch_descriptors(&[format!("tr({xpub}/*)")]).unwrap().len(), 1);
    let refused = |text: &str| watch_descriptors(&[text.to_owned()]).unwrap_err().to_string();
    assert!(refused("wpkh(nonsense)").contains("is not a descriptor"));
    let xprv = "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi";
    let said = refused(&format!("wpkh({xprv}/*)"));
    assert!(said.contains("private keys") && !said.contains("xprv9"), "{said}");
    let coin = lode_coins::find("primecoin", "regtest").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::Watch(both);
    let new = NewWallet { coin, keys, account: 0, birthday: 0, gap: 20 };
    let error = Wallet::create(&directory.path().join("w"), "p", new).unwrap_err();
    assert!(error.to_string().contains("primecoin regtest knows no such addresses"), "{error}");
}
