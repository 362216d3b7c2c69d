//! `lode wallet` as a user runs it, on nodes that no one here wrote, on Lode's own, and beside another wallet.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lode_testkit::{Daemon, Peer, free_address, peer};
use serde_json::{Value, json};

const COIN: i64 = 100_000_000;
const KINDS: [&str; 4] = ["segwit", "taproot", "nested", "legacy"];

/// One user's way to type: a coin, a node, a directory.
struct User<'a> {
    coin: &'a str,
    network: &'a str,
    data_dir: &'a Path,
    node: Vec<String>,
}

impl<'a> User<'a> {
    fn of(daemon: &Daemon, coin: &'a str, data_dir: &'a Path) -> Self {
        let cookie = daemon.network_directory().join(".cookie").display().to_string();
        Self {
            coin,
            network: "regtest",
            data_dir,
            node: vec!["--rpc".into(), daemon.rpc.to_string(), "--rpc-cookie".into(), cookie],
        }
    }

    fn command(&self, wallet: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command
            .args(["wallet", "--network", self.network, "--coin", self.coin, "--wallet", wallet])
            .arg("--data-dir")
            .arg(self.data_dir)
            .args(&self.node)
            .args(arguments)
            .env("LODE_WALLET_PASSPHRASE", "a passphrase for tests")
            .env_remove("LODE_WALLET_WORDS")
            .stdin(Stdio::null());
        command
    }

    fn json(&self, wallet: &str, arguments: &[&str]) -> Value {
        let output = self.command(wallet, arguments).arg("--json").output().unwrap();
        let (told, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{told}\n{said}", output.status);
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{told}"))
    }

    fn create(&self, wallet: &str) -> String {
        let made = self.json(wallet, &["create"]);
        made["words"].as_str().unwrap().to_owned()
    }

    fn address(&self, wallet: &str, kind: &str) -> String {
        self.json(wallet, &["address", "--kind", kind])["address"].as_str().unwrap().to_owned()
    }

    fn balance(&self, wallet: &str, what: &str) -> i64 {
        self.json(wallet, &["balance"])[what].as_i64().unwrap()
    }

    /// The refusal, which must come with a failing exit code and leave nothing in anybody's mempool.
    fn refused(&self, wallet: &str, arguments: &[&str]) -> String {
        let output = self.command(wallet, arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} was not refused: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a filter: what comes out when `input` goes in.
fn piped(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn litecoinds_wallet_and_ours_pay_each_other_at_every_kind_of_address() {
    let Some(path) = peer(Peer::Litecoind) else { return };
    let litecoind = Daemon::start(&path, "regtest", &[]);
    litecoind.rpc("createwallet", json!(["theirs"]));
    let mine = |count: u32| {
        let to = litecoind.wallet_rpc("theirs", "getnewaddress", json!([]));
        litecoind.rpc("generatetoaddress", json!([count, to]))
    };
    mine(110);
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&litecoind, "litecoin", directory.path());
    user.create("ours");
    // Taproot is not in force on this chain yet (block 432), and coins there would be anybody's.
    let kinds = ["segwit", "nested", "legacy"];
    for kind in kinds {
        let address = user.address("ours", kind);
        litecoind.wallet_rpc("theirs", "sendtoaddress", json!([address, 2.5]));
    }
    assert_eq!(user.balance("ours", "unconfirmed_sat"), 3 * COIN * 5 / 2);
    mine(1);
    assert_eq!(user.balance("ours", "spendable_sat"), 3 * COIN * 5 / 2);
    let mut paid = 0;
    for kind in ["bech32", "p2sh-segwit", "legacy"] {
        let to = litecoind.wallet_rpc("theirs", "getnewaddress", json!(["", kind]));
        let to = to.as_str().unwrap();
        let sent = user.json("ours", &["send", to, "2.2ltc", "--rate", "2", "--yes"]);
        paid += 22 * COIN / 10 + sent[0]["plan"]["fee_sat"].as_i64().unwrap();
        mine(1);
        let got = litecoind.wallet_rpc("theirs", "getreceivedbyaddress", json!([to]));
        assert_eq!(got.to_string().parse::<f64>().unwrap(), 2.2);
    }
    assert_eq!(user.balance("ours", "total_sat"), 3 * COIN * 5 / 2 - paid);
    // What litecoind calls dust is refused before it is asked.
    let to = litecoind.wallet_rpc("theirs", "getnewaddress", json!(["", "bech32"]));
    let said = user.refused("ours", &["send", to.as_str().unwrap(), "2939sat", "--yes"]);
    assert!(said.contains("is dust") && said.contains("0.00002940"), "{said}");
    user.json("ours", &["send", to.as_str().unwrap(), "2940sat", "--rate", "2", "--yes"]);
    assert_eq!(litecoind.rpc("getrawmempool", json!([])).as_array().unwrap().len(), 1);
}

/// Past block 432 blocks carry an extension and a transaction of another form, which must not blind the wallet.
#[test]
fn litecoin_blocks_with_extensions_are_read() {
    let Some(path) = peer(Peer::Litecoind) else { return };
    let litecoind = Daemon::start(&path, "regtest", &[]);
    litecoind.rpc("createwallet", json!(["theirs"]));
    let to = litecoind.wallet_rpc("theirs", "getnewaddress", json!([]));
    litecoind.rpc("generatetoaddress", json!([431, to]));
    let hidden = litecoind.wallet_rpc("theirs", "getnewaddress", json!(["", "mweb"]));
    litecoind.wallet_rpc("theirs", "sendtoaddress", json!([hidden, 1]));
    litecoind.rpc("generatetoaddress", json!([1, to]));
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&litecoind, "litecoin", directory.path());
    user.create("ours");
    for kind in KINDS {
        litecoind.wallet_rpc("theirs", "sendtoaddress", json!([user.address("ours", kind), 1.5]));
    }
    litecoind.rpc("generatetoaddress", json!([1, to]));
    assert_eq!(user.balance("ours", "spendable_sat"), 6 * COIN);
    let back = litecoind.wallet_rpc("theirs", "getnewaddress", json!(["", "bech32"]));
    user.json("ours", &["send", back.as_str().unwrap(), "max", "--rate", "2", "--yes"]);
    litecoind.rpc("generatetoaddress", json!([1, to]));
    assert_eq!(user.balance("ours", "total_sat"), 0);
}

#[test]
fn every_kind_of_address_through_bitcoind_and_the_words_find_it_again() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let bitcoind = Daemon::start(&path, "regtest", &["-blockfilterindex", "-peerblockfilters"]);
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&bitcoind, "bitcoin", directory.path());
    let words = user.create("anna");
    user.create("bert");
    for kind in KINDS {
        bitcoind.rpc("generatetoaddress", json!([1, user.address("anna", kind)]));
    }
    let nobody = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    bitcoind.rpc("generatetoaddress", json!([62, nobody]));
    let output = user.command("anna", &["balance"]).output().unwrap();
    assert!(
        text(&output.stdout).contains("4 coinbases; the next is spendable in 34 blocks"),
        "{}",
        text(&output.stdout)
    );
    bitcoind.rpc("generatetoaddress", json!([40, nobody]));
    let each = 50 * COIN;
    assert_eq!(user.balance("anna", "spendable_sat"), 4 * each);

    let mut fees = 0;
    for (nth, kind) in KINDS.into_iter().enumerate() {
        let to = user.address("bert", kind);
        let amount = format!("{}sat", 45 * COIN + nth as i64);
        let sent = user.json("anna", &["send", &to, &amount, "--rate", "5", "--label", kind, "--yes"]);
        fees += sent[0]["plan"]["fee_sat"].as_i64().unwrap();
    }
    bitcoind.rpc("generatetoaddress", json!([1, nobody]));
    assert_eq!(user.balance("bert", "spendable_sat"), 180 * COIN + 6);
    assert_eq!(user.balance("anna", "total_sat"), 20 * COIN - 6 - fees);

    // A waiting payment is replaced by one that pays more.
    let to = user.address("anna", "taproot");
    let sent = user.json("bert", &["send", &to, "1btc", "--rate", "2", "--yes"]);
    let bumped = user.json("bert", &["bump", sent[0]["txid"].as_str().unwrap(), "--rate", "15.5", "--yes"]);
    let waiting = bitcoind.rpc("getrawmempool", json!([]));
    assert_eq!(waiting, json!([bumped[0]["txid"]]));
    bitcoind.rpc("generatetoaddress", json!([1, nobody]));

    // The light client finds what the full node shows, and pays.
    let nothing = tempfile::tempdir().unwrap();
    let light = User {
        node: vec!["--via".into(), "light".into(), "--peer".into(), bitcoind.p2p.to_string()],
        ..User::of(&bitcoind, "bitcoin", nothing.path())
    };
    let restored = light.command("light", &["restore"]).env("LODE_WALLET_WORDS", &words).output().unwrap();
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(light.json("light", &["balance"]), user.json("anna", &["balance"]));
    let txids = |history: Value| -> Vec<String> {
        let mut ids: Vec<String> = history
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["txid"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(txids(light.json("light", &["history"])), txids(user.json("anna", &["history"])));

    // On an empty machine, from the words alone.
    let empty = tempfile::tempdir().unwrap();
    let other = User::of(&bitcoind, "bitcoin", empty.path());
    let restored = other.command("again", &["restore"]).env("LODE_WALLET_WORDS", &words).output().unwrap();
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(text(&restored.stdout).contains("9 transactions"), "{}", text(&restored.stdout));
    assert_eq!(other.json("again", &["balance"]), user.json("anna", &["balance"]));
    let strip = |mut history: Value| {
        history.as_array_mut().unwrap().iter_mut().for_each(|entry| entry["label"] = Value::Null);
        history
    };
    assert_eq!(strip(other.json("again", &["history"])), strip(user.json("anna", &["history"])));
    // The words' file is copied away whole, and opens where it is put.
    let copy = empty.path().join("anna.backup");
    assert!(user.command("anna", &["backup", copy.to_str().unwrap()]).status().unwrap().success());
    assert!(
        other.command("copy", &["restore", "--backup", copy.to_str().unwrap()]).status().unwrap().success()
    );
    assert_eq!(other.json("copy", &["history"]), user.json("anna", &["history"]), "labels too");
}

#[test]
fn a_thousand_coinbases_are_gathered_in_one_transaction_that_bitcoind_takes() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let bitcoind = Daemon::start(&path, "regtest", &["-blockfilterindex"]);
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&bitcoind, "bitcoin", directory.path());
    user.create("miner");
    let address = user.address("miner", "segwit");
    for _ in 0..10 {
        bitcoind.rpc("generatetoaddress", json!([100, address]));
    }
    let nobody = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    bitcoind.rpc("generatetoaddress", json!([100, nobody]));
    let before = user.balance("miner", "spendable_sat");
    let done = user.json("miner", &["consolidate", "--rate", "1", "--yes"]);
    assert_eq!(done.as_array().unwrap().len(), 1);
    assert_eq!(done[0]["plan"]["inputs"].as_array().unwrap().len(), 1_000);
    let entry = bitcoind.rpc("getmempoolentry", json!([done[0]["txid"]]));
    assert!(entry["weight"].as_u64().unwrap() <= 400_000, "{entry}");
    bitcoind.rpc("generatetoaddress", json!([1, nobody]));
    let coins = user.json("miner", &["coins"]);
    assert_eq!(coins.as_array().unwrap().len(), 1);
    assert_eq!(coins[0]["sat"].as_i64().unwrap() + done[0]["plan"]["fee_sat"].as_i64().unwrap(), before);
}

#[test]
fn a_wallet_that_no_one_here_wrote_signs_ours_and_we_sign_its() {
    let (Some(path), Some(embit)) = (peer(Peer::Bitcoind), peer(Peer::Embit)) else { return };
    let bitcoind = Daemon::start(&path, "regtest", &["-blockfilterindex"]);
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&bitcoind, "bitcoin", directory.path());
    let words = user.create("keys");
    let embit = |arguments: &[&str], input: &str| {
        let mut command = Command::new(&embit);
        command.args(arguments);
        let output = piped(command, input);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    // The wallet here only watches; the keys are with embit.
    let shown = user.json("keys", &["backup", "--descriptors"]);
    for pair in shown["descriptors"].as_array().unwrap().chunks(2) {
        let one = |at: usize| pair[at]["descriptor"].as_str().unwrap();
        let name = one(0).split('(').next().unwrap();
        let made = user
            .command(name, &["restore", "--descriptor", one(0), "--descriptor", one(1)])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    let nobody = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    for kind in KINDS {
        bitcoind.rpc("generatetoaddress", json!([3, user.address("keys", kind)]));
    }
    bitcoind.rpc("generatetoaddress", json!([100, nobody]));
    let said = user.refused("wpkh", &["send", nobody, "60btc", "--rate", "3", "--yes"]);
    assert!(said.contains("only watches"), "{said}");
    for (name, kind, purpose) in
        [("wpkh", "segwit", 84), ("tr", "taproot", 86), ("sh", "nested", 49), ("pkh", "legacy", 44)]
    {
        let made = user.json(name, &["psbt", nobody, "60btc", "--rate", "3"]);
        let signed = embit(&["sign", &words], made["psbt"].as_str().unwrap());
        let finished = piped(user.command(name, &["sign", "-", "--send", "--json"]), &signed);
        let told: Value = serde_json::from_slice(&finished.stdout)
            .unwrap_or_else(|error| panic!("{kind}: {error}: {}", text(&finished.stderr)));
        assert_eq!((&told["complete"], &told["sent"]), (&json!(true), &json!(true)), "{kind}");
        bitcoind.rpc("generatetoaddress", json!([1, nobody]));

        // The reverse: embit plans, in the form of BIP174 and of BIP370; this wallet signs.
        let (coins, list) =
            (user.json(name, &["coins"]), user.json(name, &["--offline", "address", "--all"]));
        for (form, coin) in [0, 2].into_iter().zip(coins.as_array().unwrap()) {
            let (txid, vout) = coin["coin"].as_str().unwrap().split_once(':').unwrap();
            let mut addresses = list.as_array().unwrap().iter();
            let entry = addresses.find(|entry| entry["address"] == coin["address"]).unwrap();
            let branch = u8::from(entry["change"].as_bool().unwrap());
            let order = json!({
                "version": form,
                "inputs": [{
                    "tx": bitcoind.rpc("getrawtransaction", json!([txid])),
                    "vout": vout.parse::<u32>().unwrap(),
                    "path": format!("m/{purpose}h/1h/0h/{branch}/{}", entry["index"]),
                }],
                "outputs": [{
                    "script": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
                    "sat": coin["sat"].as_i64().unwrap() - 1_000,
                }],
            });
            let psbt = embit(&["make", &words], &order.to_string());
            let signed = piped(user.command("keys", &["sign", "-", "--send", "--yes", "--json"]), &psbt);
            let told: Value = serde_json::from_slice(&signed.stdout)
                .unwrap_or_else(|error| panic!("{kind} {form}: {error}: {}", text(&signed.stderr)));
            assert_eq!(told["signed_inputs"], 1, "{kind}, form {form}");
            let waiting = bitcoind.rpc("getrawmempool", json!([]));
            assert!(waiting.as_array().unwrap().contains(&told["txid"]), "{kind}, form {form}");
        }
        bitcoind.rpc("generatetoaddress", json!([1, nobody]));
    }
}

#[test]
fn refusals_are_plain_and_fail() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let bitcoind = Daemon::start(&path, "regtest", &[]);
    let directory = tempfile::tempdir().unwrap();
    let user = User::of(&bitcoind, "bitcoin", directory.path());
    user.create("w");
    bitcoind.rpc("generatetoaddress", json!([100, user.address("w", "segwit")]));
    let to = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    for (arguments, says) in [
        (&["send", to, "0.5"][..], "of what? Write 0.5btc"),
        (&["send", to, "0.5ltc"], "not a unit of this wallet"),
        (&["send", to, "100sat", "--yes"], "is dust"),
        (&["send", to, "50btc", "--yes"], "coinbases not mature yet"),
        (&["send", to, "21000000btc", "--yes"], "50.00000000 spendable"),
        (&["send", to, "1btc", "--rate", "0.01", "--yes"], "is not relayed"),
        (&["send", to], "2 values required"),
        (
            &["send", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "1btc", "--yes"],
            "is an address of bitcoin main",
        ),
        (&["send", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "1btc", "--yes"], "is an address of litecoin main"),
        (&["send", to, "1btc"], "no terminal to ask on; nothing was done"),
        (&["bump", &"00".repeat(32)], "the wallet does not know it"),
        (&["create"], "is there already; nothing was overwritten"),
        (&["restore", "--xpub", "xpub"], "there already"),
        (&["address", "--kind", "odd"], "no kind of address"),
    ] {
        let said = user.refused("w", arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert_eq!(bitcoind.rpc("getrawmempool", json!([])), json!([]));
    assert!(user.refused("none", &["balance"]).contains("there is no wallet"));
    assert!(user.refused("../w", &["balance"]).contains("no name for a wallet"));

    let file = directory.path().join("bitcoin/regtest/wallets/w.wallet");
    let wrong = user.command("w", &["balance"]).env("LODE_WALLET_PASSPHRASE", "another").output().unwrap();
    assert!(
        !wrong.status.success() && text(&wrong.stderr).contains("wrong passphrase"),
        "{}",
        text(&wrong.stderr)
    );
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 7]).unwrap();
    assert!(user.refused("w", &["balance"]).contains("is cut off"));
    std::fs::write(&file, &whole).unwrap();
    // A wallet of one network put where another's are.
    let moved = directory.path().join("bitcoin/main/wallets/w.wallet");
    std::fs::create_dir_all(moved.parent().unwrap()).unwrap();
    std::fs::copy(&file, &moved).unwrap();
    let main = User { network: "main", ..User::of(&bitcoind, "bitcoin", directory.path()) };
    let said = main.refused("w", &["--offline", "balance"]);
    assert!(said.contains("this wallet holds bitcoin regtest, not bitcoin main"), "{said}");
    // No node: what was known is shown, but nothing is sent.
    let mut gone = bitcoind;
    gone.stop();
    let looked = user.command("w", &["balance"]).output().unwrap();
    assert!(looked.status.success() && text(&looked.stderr).contains("Shown is what was known"));
    assert!(user.refused("w", &["send", to, "1btc", "--yes"]).contains("is the node running"));
}

/// A running `lode node`, ended with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn on_lodes_own_node_and_on_the_one_inside() {
    let directory = tempfile::tempdir().unwrap();
    let rpc = free_address().to_string();
    let program = env!("CARGO_BIN_EXE_lode");
    let node = Command::new(program)
        .args(["node", "--network", "regtest", "--no-listen", "--filters", "--rpc-bind", &rpc, "--data-dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let node = Node(node);
    let cli = |arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["cli", "--network", "regtest", "--rpc", &rpc, "--data-dir"]).arg(directory.path());
        command.args(arguments).output().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cli(&["getblockcount"]).status.success() {
        assert!(Instant::now() < deadline, "the node does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let user = User {
        coin: "bitcoin",
        network: "regtest",
        data_dir: directory.path(),
        node: vec!["--rpc".into(), rpc.clone()],
    };
    user.create("anna");
    user.create("bert");
    for kind in KINDS {
        assert!(cli(&["generatetoaddress", "1", &user.address("anna", kind)]).status.success());
    }
    let nobody = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    assert!(cli(&["generatetoaddress", "100", nobody]).status.success());
    let to = user.address("bert", "taproot");
    user.json("anna", &["send", &to, "120btc", "--yes"]);
    assert_eq!(user.balance("bert", "unconfirmed_sat"), 120 * COIN);
    assert!(cli(&["generatetoaddress", "1", nobody]).status.success());
    assert_eq!(user.balance("bert", "spendable_sat"), 120 * COIN);
    assert!(cli(&["stop"]).status.success());
    drop(node);
    // The same directory, now with the node inside the command.
    let inside = User {
        coin: "bitcoin",
        network: "regtest",
        data_dir: directory.path(),
        node: vec!["--via".into(), "embedded".into()],
    };
    let back = inside.address("anna", "segwit");
    inside.json("bert", &["send", &back, "max", "--yes"]);
    assert_eq!(inside.balance("bert", "total_sat"), 0);
    let history = inside.json("anna", &["history"]);
    assert_eq!(history[0]["confirmations"], 0, "the waiting payment was kept and is seen: {history}");
}
