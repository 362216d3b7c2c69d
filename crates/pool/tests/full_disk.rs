//! A block is found while the disk is full: it is not lost.

#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lode_ledger::{Ledger, LedgerOptions, Limits, Payees, TemplateRef};
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_pool::journal::{FoundBlock, Journal};
use lode_pool::template::{Node, RpcNode, Sources};
use lode_pool::watch::Watch;
use lode_primitives::{Amount, BlockHash, Txid};
use rustix::process::{Resource, getrlimit, setrlimit};

const NOW: u64 = 1_700_000_000_000;
const CHILD: &str = "LODE_TEST_FULL_DISK";

fn found(ledger: &Mutex<Ledger>) -> FoundBlock {
    let mut ledger = ledger.lock().unwrap();
    let account = ledger.account("miner", &[&[0u8, 20][..], &[1; 20]].concat()).unwrap();
    let reference = TemplateRef::new(1, BlockHash::ZERO, 1.0);
    let split = ledger.split(&reference, Amount::from_coins(50), &Payees::Account(account), NOW).unwrap();
    FoundBlock {
        hash: BlockHash([7; 32]),
        height: 1,
        prev: BlockHash::ZERO,
        found_ms: NOW,
        job: "1f".into(),
        finder: ("miner".into(), "rig".into()),
        snapshot: split.snapshot(Limits::NONE),
        // More than a file may have.
        block: Bytes::from(vec![1; 64 * 1024]),
        coinbase_txid: Txid([8; 32]),
        network_units: 1,
        units_ever: 1,
    }
}

/// The pool's part, in a process of its own that may write files of 16 KiB at most.
#[tokio::test(flavor = "multi_thread")]
async fn child_on_a_full_disk() {
    let Some(dir) = std::env::var_os(CHILD).map(std::path::PathBuf::from) else { return };
    let mut options = LedgerOptions::new(dir.join("ledger"), "test");
    options.log.sync_every = None;
    let ledger = Arc::new(Mutex::new(Ledger::open(options, NOW).unwrap().0));
    // No node answers either.
    let client = RpcClient::new("http://127.0.0.1:1", RpcAuth::Cookie(dir.join("cookie"))).unwrap();
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let sources = Sources::start(vec![Node::Rpc(RpcNode::new(client, coin))]);
    let watch = Watch::start(&dir.join("journal"), sources, Arc::clone(&ledger)).unwrap();
    let block = found(&ledger);
    let hash = block.hash;
    let finder = watch.clone();
    let taken = tokio::task::spawn_blocking(move || finder.found(&block)).await.unwrap();
    let error = taken.unwrap_err().to_string();
    assert!(error.contains("journal"), "{error}");
    assert!(watch.block(&hash).is_none());
    assert_eq!(ledger.lock().unwrap().open_blocks().count(), 1, "the books have it all the same");
    // There is room again.
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    let since = Instant::now();
    while watch.block(&hash).is_none() {
        assert!(since.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn what_the_journal_could_not_take_it_takes_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    // A write beyond the limit is an error, not a signal.
    let status = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 32; exec \"$0\" child_on_a_full_disk --exact"])
        .arg(&program)
        .env(CHILD, dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status} {:?}", status.signal());
    let journal = Journal::open(&dir.path().join("journal")).unwrap();
    assert_eq!(journal.open_blocks().len(), 1);
}
