//! `lode light` and `lode risk` as a user runs them: against Lode's own node, and against another.

mod running;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use lode_testkit::{Daemon, Peer, peer};
use running::{ADDRESS, Node, refused};
use serde_json::{Value, json};

/// `lode light MORE...` on Bitcoin's regtest.
fn light(data_dir: &Path, more: &[&str]) -> Command {
    light_of("bitcoin", data_dir, more)
}

/// `lode light MORE...` on a coin's regtest.
fn light_of(coin: &str, data_dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    let (subcommand, more) = match more.split_first() {
        Some((first, rest)) if !first.starts_with("--") => (Some(first), rest),
        _ => (None, more),
    };
    command.arg("light").args(subcommand);
    command.args(["--coin", coin, "--network", "regtest", "--data-dir"]).arg(data_dir);
    command.args(more).env_remove("LODE_DATA_DIR").stdin(Stdio::null());
    command
}

/// Runs a command that must end well; what it said.
fn told(mut command: Command) -> String {
    let output = command.output().unwrap();
    let (told, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{command:?}: {}\n{told}\n{said}", output.status);
    running::assert_no_panic(&said);
    told
}

/// A peer that serves filters and has mined 110 blocks to [`ADDRESS`]: sync, payments, proofs, on each.
fn a_user_watches_and_proves(p2p: SocketAddr, call: &dyn Fn(&str, Value) -> Value) {
    let dir = tempfile::tempdir().unwrap();
    let p2p = p2p.to_string();
    let nothing = told(light(dir.path(), &["payments"]));
    assert!(nothing.contains("nothing is watched here") && nothing.contains("--watch ADDRESS"), "{nothing}");
    let sync = ["--connect", &p2p, "--once", "--watch", ADDRESS];
    let synced = told(light(dir.path(), &sync));
    assert!(synced.contains("up to date at block 110 "), "{synced}");
    assert!(synced.contains("110 payments, balance 5500.00000000 BTC"), "{synced}");

    // What arrives later is found the next time, and asked from nobody after that.
    let last = call("generatetoaddress", json!([1, ADDRESS]))[0].as_str().unwrap().to_owned();
    let txid = call("getblock", json!([last]))["tx"][0].as_str().unwrap().to_owned();
    let synced = told(light(dir.path(), &["--connect", &p2p, "--once"]));
    assert!(synced.contains("111 payments, balance 5550.00000000 BTC"), "{synced}");
    let listed = told(light(dir.path(), &["payments"]));
    let line = listed.lines().find(|line| line.contains(&txid)).expect("the newest payment is listed");
    assert!(line.contains("+50.00000000 BTC") && line.contains("1 deep"), "{line}");
    assert!(listed.ends_with("balance 5550.00000000 BTC at block 111\n"), "{listed}");

    // The proof, by one who watched and by one who knows only the block.
    let (file, other) = (dir.path().join("proof.json"), dir.path().join("other.json"));
    let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());
    told(light(dir.path(), &["prove", &txid, "--out", file]));
    told(light(dir.path(), &["prove", &txid, "--block", "111", "--connect", &p2p, "--out", other]));
    assert_eq!(std::fs::read(file).unwrap(), std::fs::read(other).unwrap());
    let shown = told(light(dir.path(), &["verify", file]));
    assert!(shown.contains(&format!("The proof holds: transaction {txid} is in block {last}.")), "{shown}");
    assert!(shown.contains(&format!("50.00000000 BTC to {ADDRESS}")), "{shown}");
    assert!(shown.contains("1 block deep") && shown.contains("wait for"), "{shown}");

    // Whatever is changed in it is refused, each with its own reason.
    let good: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let text = good["transaction"].as_str().unwrap();
    let (start, end) = text.split_at(text.len() - 1);
    let another = if end == "0" { "1" } else { "0" };
    for (field, value, why) in [
        ("transaction", json!(format!("{start}{another}")), "transaction's id is"),
        ("txid", json!("00".repeat(32)), "transaction's id is"),
        ("branch", json!(["00".repeat(32)]), "branch does not lead"),
        ("index", json!(1), "no tree has place 1"),
        ("block", json!("00".repeat(32)), "the header is block"),
        ("height", json!(7), "is at height 111, not 7"),
        ("network", json!("main"), "choose with --coin and --network"),
        ("version", json!(9), "version 9"),
    ] {
        let mut changed = good.clone();
        changed[field] = value;
        std::fs::write(other, changed.to_string()).unwrap();
        let said = refused(light(dir.path(), &["verify", other]));
        assert!(said.contains(why), "{field}: {said}");
    }
    let empty = tempfile::tempdir().unwrap();
    let said = refused(light(empty.path(), &["verify", file]));
    assert!(said.contains("fetch them with `lode light --coin bitcoin --network regtest"), "{said}");
    let said = refused(light(dir.path(), &["--watch", "nonsense"]));
    assert!(said.contains("--watch takes an address of bitcoin regtest, addr(ADDRESS) or raw(HEX"), "{said}");
    let said = refused(light(dir.path(), &["prove", &"11".repeat(32)]));
    assert!(said.contains("--block"), "{said}");
}

#[test]
fn payments_found_and_proved_by_lodes_own_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &["--filters"]);
    node.call("generatetoaddress", json!([110, ADDRESS]));
    a_user_watches_and_proves(node.p2p.unwrap(), &|method, params| node.call(method, params));
}

/// On the coins with prime chains too, from Lode's node: sync, payments both ways, proofs, and after a restart only what
/// is new.
#[test]
fn prime_coins_payments_are_found_and_proved() {
    for coin in ["primecoin", "datacoin"] {
        let table = lode_coins::find(coin, "regtest").unwrap();
        let to = table.script_to_address(&lode_script::build::p2pkh(&[7; 20])).unwrap();
        let (dir, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let node = Node::start(dir.path(), &["--coin", coin, "--filters"]);
        let made = node.call("generatetoaddress", json!([30, to]));
        let reward = |hash: &Value| {
            let block = node.call("getblock", json!([hash, 2]));
            let coinbase = &block["tx"][0];
            (coinbase["txid"].as_str().unwrap().to_owned(), coinbase["vout"][0]["value"].to_string())
        };
        let p2p = node.p2p.unwrap().to_string();
        let synced = told(light_of(coin, here.path(), &["--connect", &p2p, "--once", "--watch", &to]));
        assert!(synced.contains("up to date at block 30 ") && synced.contains("30 payments"), "{synced}");
        let (txid, value) = reward(&made[29]);
        let file = here.path().join("proof.json");
        let file = file.to_str().unwrap();
        let wrote = told(light_of(coin, here.path(), &["prove", &txid, "--out", file]));
        assert!(
            wrote.contains(&format!("lode light verify --coin {coin} --network regtest {file}")),
            "{wrote}"
        );
        let shown = told(light_of(coin, here.path(), &["verify", file]));
        assert!(
            shown.contains(&format!("transaction {txid} is in block {}", made[29].as_str().unwrap())),
            "{shown}"
        );
        assert!(shown.contains(&format!("{value} {} to {to}", table.ticker)), "{shown}: {value}");
        // The next time only what is new is fetched; the wallet reads the chain through the same headers.
        let more = node.call("generatetoaddress", json!([1, to]));
        let synced = told(light_of(coin, here.path(), &["--connect", &p2p, "--once"]));
        assert!(synced.contains("headers up to block 30") && synced.contains("31 payments"), "{synced}");
        assert!(synced.contains(&reward(&more[0]).0), "{synced}");
        // With headers of another coin it is no proof.
        let said = refused(light(here.path(), &["verify", file]));
        assert!(said.contains("choose with --coin and --network") || said.contains("no headers"), "{said}");
    }
}

#[test]
fn payments_found_and_proved_by_bitcoind() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let node = Daemon::start(&path, "regtest", &["-blockfilterindex", "-peerblockfilters"]);
    node.rpc("generatetoaddress", json!([110, ADDRESS]));
    a_user_watches_and_proves(node.p2p, &|method, params| node.rpc(method, params));
}

#[test]
fn the_risk_of_a_payment() {
    let risk = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
        command.arg("risk").args(more).stdin(Stdio::null());
        command
    };
    // As in the Bitcoin paper, section 11.
    let table = told(risk(&[]));
    assert!(table.contains("An attacker with 10 % of all hash power"), "{table}");
    for (blocks, percent) in [(1, "20.4587"), (2, "5.0978"), (3, "1.3172"), (5, "0.0914"), (6, "0.0243")] {
        let line = table.lines().find(|line| line.contains(&format!(" {blocks} block")));
        assert!(line.is_some_and(|line| line.contains(&format!("{percent} %"))), "{blocks}: {table}");
    }
    assert!(table.contains("Below 0.1 % from 5 blocks on."), "{table}");
    assert!(told(risk(&["--attacker", "0.3"])).contains("from 24 blocks on"));
    assert!(told(risk(&["--attacker", "0.5"])).contains("however long you wait"));
    assert_eq!(told(risk(&["--confirmations", "6"])).matches("blocks ").count(), 2);
    assert!(refused(risk(&["--attacker", "2"])).contains("from 0 to 1"));
    // A reader that has had enough is no fault.
    let mut cut = risk(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(cut.stdout.take());
    let ended = cut.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(141) && said.is_empty(), "{}: {said}", ended.status);
}
