//! The dashboard of a running `lode up`, as a browser shows it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use lode_testkit::{Browser, Peer, peer};
use serde_json::Value;

/// Ends a child with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Satoshi of the amounts that a selector finds, as text on the page has them.
fn satoshi(browser: &mut Browser, selector: &str) -> Vec<i64> {
    let shown = browser.value(&format!(
        "[...document.querySelectorAll({selector:?})].map(cell => Number(cell.textContent.replace('.', '')))"
    ));
    shown.as_array().unwrap().iter().map(|amount| amount.as_i64().unwrap()).collect()
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let shown = browser.value(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
    shown.as_str().unwrap().to_owned()
}

/// A picture at the width of a desk's screen and of a phone's, and nothing that makes the page wider than the phone.
fn seen(browser: &mut Browser, name: &str) {
    browser.show_at(390, name);
    let width = browser.value("document.documentElement.scrollWidth");
    assert!(width.as_i64() <= Some(390), "{name} is {width} wide on a phone");
    browser.show_at(1280, name);
}

#[test]
fn what_a_miner_sees_while_the_pool_runs() {
    let Some(chromium) = peer(Peer::Chromium) else { return };
    let data_dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(["up", "--json", "--data-dir"]).arg(data_dir.path());
    for port in ["--stratum-bind", "--web-bind", "--p2p-bind", "--rpc-bind"] {
        command.args([port, "127.0.0.1:0"]);
    }
    let mut up = Ended(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(up.0.stdout.take().unwrap()).lines();
    let started: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    // What it tells goes on being read, so that it never waits.
    std::thread::spawn(move || lines.count());
    let home = started["dashboard"].as_str().unwrap();
    let addresses: Vec<&str> = started["miners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|miner| miner["address"].as_str().unwrap())
        .collect();

    let mut browser = Browser::start(&chromium);
    browser.open(home);
    browser.wait_for("document.querySelector('#live').textContent === 'live'");
    // Two blocks come in, and the page was never loaded again.
    browser.value("window.sameLoad = true");
    browser.wait_for("document.querySelectorAll('main .blocks tbody tr').length >= 1");
    let before = browser.value("Number(document.querySelector('main .blocks tbody td').textContent)");
    browser.wait_for(&format!(
        "Number(document.querySelector('main .blocks tbody td').textContent) > {before} && window.sameLoad"
    ));
    browser.wait_for("document.querySelectorAll('main .payouts tbody tr').length >= 2");
    assert!(text(&mut browser, "main").contains("H/s"));
    assert!(text(&mut browser, "pre").contains("lode mine -o stratum+tcp://127.0.0.1:"));
    seen(&mut browser, "pool");

    browser.follow("nav a[href='/blocks']");
    assert_eq!(text(&mut browser, "h1"), "Blocks found");
    assert!(browser.value("document.querySelectorAll('.blocks tbody tr').length").as_i64() >= Some(2));
    seen(&mut browser, "blocks");

    // The block's payouts sum to its reward, to the satoshi.
    browser.follow(".blocks a[href^='/block/']");
    let paid = satoshi(&mut browser, ".payouts tbody td.paid");
    let reward = satoshi(&mut browser, ".reward .amount");
    assert!(!paid.is_empty() && paid.iter().sum::<i64>() == reward[0], "{paid:?} of {reward:?}");
    assert_eq!(satoshi(&mut browser, ".payouts tfoot td.paid"), reward);
    seen(&mut browser, "block");

    browser.follow(".payouts a[href^='/miner/']");
    let shown = text(&mut browser, "p.id");
    assert!(addresses.contains(&shown.trim()), "{shown}");
    for figure in ["Hash rate", "Work in the window", "Next block would pay", "Paid", "Owed"] {
        assert!(text(&mut browser, "dl.figures").contains(figure), "{figure}");
    }
    assert!(satoshi(&mut browser, ".payments tbody .amount").iter().all(|amount| *amount > 0));
    browser.wait_for("Number(document.querySelector('.workers tbody td.accepted').textContent) > 0");
    seen(&mut browser, "miner");
    assert_eq!(browser.errors(), Vec::<String>::new());

    // An address nobody here mines for, by the search field.
    browser.open(home);
    browser.value("document.querySelector('nav input').value = 'lobt1qnobody'");
    browser.follow("nav form button");
    assert_eq!(text(&mut browser, "h1"), "Not found");
    assert!(text(&mut browser, "main").contains("first accepted share"));
    seen(&mut browser, "unknown");
    let complaints = browser.errors();
    assert!(complaints.iter().all(|error| error.contains("404")), "{complaints:?}");
}
