//! The figures of the front: memory per connection, processor time per share, shares a second, spread of a new job, log-ins,
//! the time until a killed pool listens again, and memory after a churn. Minutes long; the tables of `docs/front.md` are its
//! output.
//!
//! Starts a pool in a process of its own (the real front, sessions and share log, on a template that no node stands behind:
//! every hash is a share, none is a block) and puts `lode load`'s load on it.
//!
//! ```text
//! cargo bench -p lode-pool --bench front                    # at 1,000 and 18,000 connections, churn of a million
//! cargo bench -p lode-pool --bench front -- 5000 churn=1000
//! cargo bench -p lode-pool --bench front -- serve 127.0.0.1:3333 DIRECTORY [THREADS]
//! ```
//!
//! Lines on the standard input of the serving one: `job` sends a job of a new block to all, `quit` ends.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lode_ledger::{Ledger, LedgerOptions};
use lode_pool::config::{PoolConfig, PortConfig};
use lode_pool::journal::FoundBlock;
use lode_pool::load::{LoadOptions, ShareKind, churn, run};
use lode_pool::{Pool, PoolParts, Template, TemplateTx, Upstream};
use lode_primitives::{Amount, BlockHash, Txid, sha256d};
use tokio::sync::watch;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // cargo says `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if args.first().is_some_and(|arg| arg == "serve") {
        return tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?
            .block_on(serve(&args[1..]));
    }
    let (mut sizes, mut churned) = (Vec::new(), 1_000_000);
    for arg in &args {
        match arg.strip_prefix("churn=") {
            Some(count) => churned = count.parse()?,
            None => sizes.push(arg.parse::<usize>()?),
        }
    }
    if sizes.is_empty() {
        sizes = vec![1_000, 18_000];
    }
    println!("on {}", machine());
    let mut columns = Vec::new();
    for &connections in &sizes {
        columns.push(measure(connections)?);
    }
    print_table(&sizes, &columns);
    if churned > 0 {
        measure_churn(churned)?;
    }
    Ok(())
}

/// What was measured at one size, in the order of the table.
#[derive(Default)]
struct Column(Vec<(String, String)>);

impl Column {
    fn row(&mut self, what: impl Into<String>, value: String) {
        let what = what.into();
        println!("  {what}: {value}");
        self.0.push((what, value));
    }
}

/// The table of `docs/front.md`.
fn print_table(sizes: &[usize], columns: &[Column]) {
    let heads: Vec<String> = sizes.iter().map(|size| format!("{size} connections")).collect();
    println!("\n| what | {} |\n|---{}|", heads.join(" | "), "|---".repeat(sizes.len()));
    for (number, (what, _)) in columns.first().map_or(&[][..], |column| &column.0).iter().enumerate() {
        let values: Vec<&str> = columns.iter().filter_map(|c| Some(c.0.get(number)?.1.as_str())).collect();
        println!("| {what} | {} |", values.join(" | "));
    }
}

/// What the first miner says that comes back after a crash.
const LOGIN: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\
    {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080.w\",\"x\"]}\n";

/// The machine, as its kernel describes it.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |m| m.1);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!("{count} x {model}, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}

/// A pool in a process of its own.
struct Server {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    orders: ChildStdin,
    pid: u32,
    address: SocketAddr,
}

impl Server {
    fn start(bind: &str, directory: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", bind, &directory.display().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let orders = child.stdin.take().ok_or("no input")?;
        let first = said.next().ok_or("the pool did not start")??;
        let mut words = first.split(' ');
        let pid = words.next().ok_or("no pid")?.parse()?;
        let address = words.next().ok_or("no address")?.parse()?;
        Ok(Self { child, said, orders, pid, address })
    }

    fn options(&self, connections: usize) -> LoadOptions {
        LoadOptions {
            address: self.address,
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
            pid: Some(self.pid),
        }
    }

    fn quit(mut self) -> Result<(), Failure> {
        writeln!(self.orders, "quit")?;
        self.child.wait()?;
        Ok(())
    }
}

/// One size: a fresh pool for each.
fn measure(connections: usize) -> Result<Column, Failure> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start("127.0.0.1:0", dir.path())?;
    let options = server.options(connections);
    // What a pool holds once it has served a miner is not the cost of the next.
    let fresh = run(&LoadOptions { shares_for: Duration::from_millis(100), ..server.options(1) }, |_| {})?;
    let idle = run(&options, |_| {})?;
    println!("\n{connections} connections, {} lost", idle.lost);
    let mut column = Column::default();
    let mib = |bytes: Option<u64>| bytes.unwrap_or(0) as f64 / f64::from(1 << 20);
    column.row(
        "memory of the empty pool; once it has served a miner",
        format!("{:.1}; {:.1} MiB", mib(fresh.memory_before), mib(idle.memory_before)),
    );
    column.row(
        "memory per idle connection, over a pool that has served one",
        format!("{:.0} B", idle.bytes_per_connection.unwrap_or(0.0)),
    );
    for (what, shares) in [("accepted", ShareKind::Fresh), ("refused", ShareKind::Same)] {
        for (how, pipeline, seconds) in [("20 at a time", 20, 6), ("one at a time", 1, 4)] {
            let shares_for = Duration::from_secs(seconds);
            let options =
                LoadOptions { shares, shares_for, pipeline, idle: Duration::ZERO, ..options.clone() };
            let report = run(&options, |_| {})?;
            column.row(
                format!("{what} shares, {how}: processor time each; a second; unanswered"),
                format!(
                    "{:.1} us; {:.0}; {}",
                    report.cpu_us_per_share.unwrap_or(0.0),
                    report.shares_per_second,
                    report.unanswered + report.cut_off,
                ),
            );
        }
    }
    let jobs = LoadOptions { jobs_for: Duration::from_secs(6), ..options.clone() };
    let load = std::thread::spawn(move || run(&jobs, |_| {}));
    // Until all are connected and a second idle.
    std::thread::sleep(Duration::from_secs(3) + Duration::from_micros(100) * connections as u32);
    let mut sent = Vec::new();
    for _ in 0..3 {
        writeln!(server.orders, "job")?;
        sent.push(server.said.next().ok_or("the pool ended")??);
    }
    let seen = load.join().map_err(|_| "the load panicked")??;
    let seen: Vec<String> =
        seen.jobs.iter().map(|job| format!("{:.1}", job.spread_us as f64 / 1e3)).collect();
    column.row("new job to all, first to last, as the load saw it", format!("{} ms", seen.join(", ")));
    column.row("the same, as the pool sent it", format!("{} us", sent.join(", ")));
    column.row("log-ins a second", format!("{:.0}", idle.logins_per_second));
    let address = server.address;
    server.child.kill()?;
    server.child.wait()?;
    let log: u64 = files(dir.path()).iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let began = Instant::now();
    let dir_path = dir.path().to_owned();
    let again =
        std::thread::spawn(move || Server::start(&address.to_string(), &dir_path).map_err(|e| e.to_string()));
    let mut miner = loop {
        match TcpStream::connect(address) {
            Ok(miner) => break miner,
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    let listening = began.elapsed().as_millis();
    miner.write_all(LOGIN)?;
    let mut answers = BufReader::new(miner).lines();
    while !answers.next().ok_or("the pool closed")??.contains("\"id\":2") {}
    column.row(
        "after kill -9: listening again; a miner logged in; log",
        format!("{listening} ms; {} ms; {} MiB", began.elapsed().as_millis(), log >> 20),
    );
    again.join().map_err(|_| "the restart panicked")??.quit()?;
    Ok(column)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn measure_churn(count: u64) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let server = Server::start("127.0.0.1:0", dir.path())?;
    let options = LoadOptions {
        sources: 1_000,
        connecting: 256,
        user: format!("{}%", server.options(0).user),
        ..server.options(0)
    };
    let report = churn(&options, count)?;
    let [before, warm, after] = report.memory.unwrap_or_default().map(|bytes| bytes / 1024);
    println!("\n{count} connections logged in and gone, {} lost", report.lost);
    println!("  log-ins a second            {:>10.0}", report.logins_per_second);
    println!("  processor time for each     {:>10.1} us", report.cpu_us_per_login.unwrap_or(0.0));
    println!("  memory before, after a tenth, at the end: {before}, {warm}, {after} KiB");
    server.quit()
}

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

async fn serve(args: &[String]) -> Result<(), Failure> {
    let mut args = args.iter().cloned();
    let bind = args.next().unwrap_or_else(|| "127.0.0.1:3333".into()).parse()?;
    let dir = args.next().unwrap_or_else(|| "front-bench".into());
    let threads = args.next().and_then(|threads| threads.parse().ok()).unwrap_or(0);
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let (send, templates) = watch::channel(Some(template(0)));
    let least = 1.0 / 4_294_967_296.0;
    let port = PortConfig {
        bind,
        start_difficulty: least,
        min_difficulty: least,
        vardiff: false,
        class: Some(lode_pool::class::CoinbaseClass::Plain),
    };
    let config =
        PoolConfig { ports: vec![port], threads, job_interval_seconds: 600, ..PoolConfig::default() };
    let coin = lode_coins::find("bitcoin", "regtest")?;
    let listeners = Pool::listen(coin, &config)?;
    let (ledger, _) = Ledger::open(LedgerOptions::new(dir, "bitcoin/regtest"), now_ms)?;
    let parts = PoolParts {
        coin,
        config,
        ledger: Arc::new(Mutex::new(ledger)),
        solo: false,
        upstream: NoNode(templates),
        directory: None,
    };
    let pool = Pool::start_on(listeners, parts)?;
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
