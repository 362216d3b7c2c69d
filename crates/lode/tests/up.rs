//! `lode up` as a user runs it: blocks found, paid and checked, told as JSON; a second start; wrong use.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

fn lode_up(data_dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.arg("up").arg("--json").arg("--data-dir").arg(data_dir);
    for port in ["--stratum-bind", "--web-bind", "--p2p-bind", "--rpc-bind"] {
        if !more.contains(&port) {
            command.args([port, "127.0.0.1:0"]);
        }
    }
    command.args(more).stdin(Stdio::null());
    command
}

/// Runs to the end; the lines it told.
fn run(data_dir: &Path, more: &[&str]) -> Vec<Value> {
    let output = lode_up(data_dir, more).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{told}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(told: &'a [Value], event: &'a str) -> impl Iterator<Item = &'a Value> {
    told.iter().filter(move |line| line["event"] == event)
}

#[test]
fn three_blocks_are_paid_to_the_last_satoshi_and_the_next_start_goes_on() {
    let data_dir = tempfile::tempdir().unwrap();
    let first = run(data_dir.path(), &["--blocks", "3"]);
    let mut paid = 0;
    for block in of(&first, "block") {
        let payouts: i64 = block["payouts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|payout| payout["amount_sat"].as_i64().unwrap())
            .sum();
        assert_eq!(payouts, block["reward_sat"].as_i64().unwrap());
        paid += payouts;
    }
    assert_eq!(of(&first, "block").count(), 3);
    let ended = of(&first, "ended").next().unwrap();
    assert_eq!((ended["blocks"].as_i64(), ended["paid_sat"].as_i64()), (Some(3), Some(paid)));
    assert_eq!(ended["rewards_sat"], ended["paid_sat"]);

    let height = of(&first, "block").map(|block| block["height"].as_u64().unwrap()).max();
    let second = run(data_dir.path(), &["--blocks", "1"]);
    let started = of(&second, "started").next().unwrap();
    assert!(started["height"].as_u64() >= height, "{started} after height {height:?}");
    assert_eq!(started["miners"], of(&first, "started").next().unwrap()["miners"]);

    // The share log is there to be read.
    let output = Command::new(env!("CARGO_BIN_EXE_lode"))
        .args(["log", "--json", "--network", "local", "--data-dir"])
        .arg(data_dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shares = String::from_utf8(output.stdout).unwrap();
    assert!(shares.lines().count() > 3);
    let share: Value = serde_json::from_str(shares.lines().next().unwrap()).unwrap();
    assert_eq!(share["sequence"], 0);
}

#[test]
fn litecoins_rules_with_scrypt() {
    let data_dir = tempfile::tempdir().unwrap();
    let told = run(data_dir.path(), &["--coin", "litecoin", "--blocks", "1"]);
    assert_eq!(of(&told, "ended").next().unwrap()["rewards_sat"], 5_000_000_000u64);
}

#[test]
fn an_interrupt_ends_it_cleanly_and_the_pages_were_there() {
    let data_dir = tempfile::tempdir().unwrap();
    let mut child = lode_up(data_dir.path(), &["--threads", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let page = minreq::get(started["dashboard"].as_str().unwrap()).with_timeout(20).send().unwrap();
    assert_eq!(page.status_code, 200);
    let metrics = format!("{}/metrics", started["dashboard"].as_str().unwrap());
    assert_eq!(minreq::get(metrics).with_timeout(20).send().unwrap().status_code, 200);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(rest.last().unwrap()["event"], "ended");
}

#[test]
fn a_taken_port_and_a_directory_in_use_are_told_with_the_way_out() {
    let data_dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, said) in
        [("--stratum-bind", "cannot listen on"), ("--web-bind", "--web-bind"), ("--rpc-bind", "listen")]
    {
        let output = lode_up(data_dir.path(), &[flag, &address]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(error.contains(&address) && error.contains(said), "{flag}: {error}");
    }
    let mut running = lode_up(data_dir.path(), &["--threads", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let output = lode_up(data_dir.path(), &[]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{output:?}");
    running.kill().unwrap();
    running.wait().unwrap();
}

/// Prime chains through node, pool, miners and books. Two cores find a block within seconds; the reward is 999 / length^2.
fn primes(coin: &str) {
    let data_dir = tempfile::tempdir().unwrap();
    let told = run(data_dir.path(), &["--coin", coin, "--blocks", "3"]);
    assert_eq!(of(&told, "block").count(), 3);
    for block in of(&told, "block") {
        let payouts: Vec<i64> =
            block["payouts"].as_array().unwrap().iter().map(|p| p["amount_sat"].as_i64().unwrap()).collect();
        assert_eq!(payouts.iter().sum::<i64>(), block["reward_sat"].as_i64().unwrap());
        // No output below what the coin allows.
        assert!(payouts.iter().all(|sat| *sat >= 1_000_000), "{payouts:?}");
    }
    let ended = of(&told, "ended").next().unwrap();
    assert_eq!((ended["blocks"].as_i64(), &ended["rewards_sat"]), (Some(3), &ended["paid_sat"]));
}

#[test]
fn primecoins_rules_with_prime_chains() {
    primes("primecoin");
}

#[test]
fn datacoins_rules_with_prime_chains_and_data() {
    primes("datacoin");
}
