//! kill -9 at any moment of writing loses neither a key nor a label.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lode_testkit::rounds;
use lode_wallet::{Keys, NewWallet, Seed, Wallet};

/// Set for the child: where its wallet is.
const CHILD: &str = "LODE_WALLET_KILL_TEST";

fn coin() -> &'static lode_coins::Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

/// The child: labels and hands out addresses for ever, and says so after each is saved.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut wallet = Wallet::open(Path::new(&path), "pass", coin()).unwrap();
    for number in wallet.addresses().len().. {
        let address = wallet.new_address(None).unwrap();
        wallet.set_label(&address, &format!("payer {number}")).unwrap();
        wallet.save().unwrap();
        println!("SAVED {number} {address}");
    }
}

#[test]
fn nothing_that_was_saved_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.wallet");
    let seed = Seed::generate(12).unwrap();
    let words = seed.words();
    let new = NewWallet { coin: coin(), keys: Keys::Own(seed), account: 0, birthday: 0, gap: 20 };
    drop(Wallet::create(&path, "pass", new).unwrap());
    let mut told = Vec::new();
    for round in 0..rounds(6, 100) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child_that_is_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let saved = |line: &String| line.split_once("SAVED ").map(|(_, saved)| saved.to_owned());
        // After some saves, at a moment that differs from round to round.
        let seen = lines.by_ref().map_while(Result::ok).filter_map(|line| saved(&line)).take(3 + round % 5);
        told.extend(seen.collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(137 * (round as u64 % 29)));
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(lines.map_while(Result::ok).filter_map(|line| saved(&line)));
        let wallet = Wallet::open(&path, "pass", coin()).unwrap();
        assert_eq!(wallet.seed().unwrap().words(), words);
        for line in &told {
            let (number, address) = line.split_once(' ').unwrap();
            assert_eq!(wallet.label(address), Some(format!("payer {number}").as_str()));
        }
        assert!(wallet.addresses().len() >= told.len());
    }
    assert!(told.len() >= rounds(6, 100) * 3);
}
