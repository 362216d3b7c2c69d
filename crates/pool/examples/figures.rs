//! The figures of the front, measured: memory per connection, processor time per share, shares a second, spread of a new job.
//!
//! Starts a pool in a process of its own (the real front, sessions and share log, on a template that no node stands behind:
//! every hash is a share, none is a block) and puts `lode load`'s load on it.
//!
//! ```text
//! cargo run --release -p lode-pool --example figures [CONNECTIONS...]     # 1000 10000 where none are given
//! cargo run --release -p lode-pool --example figures serve 127.0.0.1:3333 DIRECTORY [THREADS]
//! ```
//!
//! Lines on the standard input of the serving one: `job` sends a job of a new block to all, `quit` ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lode_ledger::{Ledger, LedgerOptions};
use lode_pool::config::{PoolConfig, PortConfig};
use lode_pool::journal::FoundBlock;
use lode_pool::load::{LoadOptions, ShareKind, run};
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
        heard_us: 0,
    })
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "serve") {
        return tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?
            .block_on(serve(&args[1..]));
    }
    let sizes: Vec<usize> = args.iter().map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    for connections in if sizes.is_empty() { vec![1_000, 10_000] } else { sizes } {
        measure(connections)?;
    }
    Ok(())
}

/// One line of the table: a fresh pool for each.
fn measure(connections: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let mut server = Command::new(std::env::current_exe()?)
        .args(["serve", "127.0.0.1:0", &dir.path().display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(server.stdout.take().ok_or("no output")?).lines();
    let mut orders = server.stdin.take().ok_or("no input")?;
    let first = said.next().ok_or("the pool did not start")??;
    let mut words = first.split(' ');
    let pid = words.next().ok_or("no pid")?.parse()?;
    let address = words.next().ok_or("no address")?.parse()?;
    let options = LoadOptions {
        address,
        user: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.w%".into(),
        password: "x".into(),
        connections,
        sources: 100,
        connecting: 512,
        idle: Duration::from_secs(2),
        shares_for: Duration::ZERO,
        rate: 0.0,
        pipeline: 20,
        sending: 500,
        shares: ShareKind::Fresh,
        jobs_for: Duration::ZERO,
        nonsense: 0,
        pid: Some(pid),
    };
    let idle = run(&options, |_| {})?;
    println!("{connections} connections, {} lost", idle.lost);
    println!("  log-ins a second            {:>10.0}", idle.logins_per_second);
    println!("  memory of the empty pool    {:>10} KiB", idle.memory_before.unwrap_or(0) / 1024);
    println!("  memory per idle connection  {:>10.0} B", idle.bytes_per_connection.unwrap_or(0.0));
    let jobs = LoadOptions { jobs_for: Duration::from_secs(6), ..options.clone() };
    let load = std::thread::spawn(move || run(&jobs, |_| {}));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(2));
        writeln!(orders, "job")?;
        println!("  sent to all within          {:>10} us", said.next().ok_or("the pool ended")??);
    }
    let seen = load.join().map_err(|_| "the load panicked")??;
    for job in seen.jobs {
        println!("  seen by {:>6} within        {:>10} us", job.connections, job.spread_us);
    }
    for (what, shares) in [("accepted", ShareKind::Fresh), ("refused", ShareKind::Same)] {
        for (how, pipeline) in [("pipelined", 20), ("one by one", 1)] {
            let shares_for = Duration::from_secs(5);
            let report = run(&LoadOptions { shares, shares_for, pipeline, ..options.clone() }, |_| {})?;
            println!(
                "  {what} {how}: {:.0} a second, {:.2} us of processor each, answered in {:?} us, {} unanswered",
                report.shares_per_second,
                report.cpu_us_per_share.unwrap_or(0.0),
                report.latency_us.unwrap_or_default(),
                report.unanswered,
            );
        }
    }
    writeln!(orders, "quit")?;
    server.wait()?;
    Ok(())
}

async fn serve(args: &[String]) -> Result<(), Failure> {
    let mut args = args.iter().cloned();
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
                    std::thread::sleep(Duration::from_millis(1_000));
                    let first = pool.stats().fanout_first_us.load(Ordering::Relaxed);
                    let last = pool.stats().fanout_last_us.load(Ordering::Relaxed);
                    println!("{}", last.saturating_sub(first));
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
