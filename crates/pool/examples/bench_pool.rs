//! A pool to put load on: the real front, sessions and share log, on a template that no node stands behind. Every hash is a
//! share, none is a block. Lines on standard input: `job` sends a job of a new block to all, `quit` ends.
//!
//! ```text
//! cargo run --release -p lode-pool --example bench_pool -- 127.0.0.1:3333 /var/tmp/bench
//! ```

use std::io::BufRead as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use lode_ledger::{Ledger, LedgerOptions};
use lode_pool::config::{PoolConfig, PortConfig};
use lode_pool::journal::FoundBlock;
use lode_pool::{Pool, PoolParts, Template, TemplateTx, Upstream};
use lode_primitives::{Amount, BlockHash, Txid, sha256d};
use tokio::sync::watch;

#[derive(Clone)]
struct NoNode(watch::Receiver<Option<Arc<Template>>>);

impl Upstream for NoNode {
    fn templates(&self) -> watch::Receiver<Option<Arc<Template>>> {
        self.0.clone()
    }

    async fn place_tip(&self, _: &Template) -> Result<(), String> {
        Ok(())
    }

    fn found(&self, _: &FoundBlock) -> Result<(), String> {
        Ok(())
    }
}

fn template(number: u32) -> Arc<Template> {
    let tx = |n: u32| TemplateTx { bytes: bytes::Bytes::new(), txid: Txid(sha256d(&n.to_le_bytes())) };
    Arc::new(Template {
        height: 900_000 + number,
        prev: BlockHash(sha256d(&number.to_be_bytes())),
        version: 0x2000_0000,
        bits: 0x1700_ffff,
        time: std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as u32),
        min_time: 0,
        coinbase_value: Amount::from_sat(312_500_000),
        // As many as a full block has: a branch of twelve.
        transactions: (0..4_000).map(tx).collect(),
        witness_commitment: Some([&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[5; 32]].concat()),
        mweb: None,
        coinbase_weight_max: 100_000,
        coinbase_sigops_max: 10_000,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let bind = args.next().unwrap_or_else(|| "127.0.0.1:3333".into()).parse()?;
    let dir = args.next().unwrap_or_else(|| "bench-pool".into());
    let threads = args.next().and_then(|threads| threads.parse().ok()).unwrap_or(0);
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let (ledger, _) = Ledger::open(LedgerOptions::new(dir, "bitcoin/regtest"), now_ms)?;
    let (send, templates) = watch::channel(Some(template(0)));
    let least = 1.0 / 4_294_967_296.0;
    let port = PortConfig {
        bind,
        start_difficulty: least,
        min_difficulty: least,
        vardiff: false,
        class: Some(lode_pool::class::CoinbaseClass::Plain),
    };
    let pool = Pool::start(PoolParts {
        coin: lode_coins::find("bitcoin", "regtest")?,
        config: PoolConfig { ports: vec![port], threads, job_interval_seconds: 600, ..PoolConfig::default() },
        ledger: Arc::new(Mutex::new(ledger)),
        solo: false,
        upstream: NoNode(templates),
    })?;
    println!("{} {} {}", std::process::id(), pool.addresses()[0], pool.connections_max());
    let commands = std::thread::spawn(move || {
        for (number, line) in std::io::stdin().lock().lines().map_while(Result::ok).enumerate() {
            match line.trim() {
                "job" => {
                    let _ = send.send(Some(template(number as u32 + 1)));
                    std::thread::sleep(std::time::Duration::from_millis(1_500));
                    let first = pool.stats().fanout_first_us.load(Ordering::Relaxed);
                    let last = pool.stats().fanout_last_us.load(Ordering::Relaxed);
                    println!("fan-out {} us", last.saturating_sub(first));
                }
                "stats" => println!("{:?}", pool.stats()),
                "quit" => break,
                _ => {}
            }
        }
        pool.stop();
    });
    tokio::task::spawn_blocking(move || commands.join()).await?.map_err(|_| "the command thread panicked")?;
    Ok(())
}
