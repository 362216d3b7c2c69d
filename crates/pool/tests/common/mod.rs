//! A front on loopback with books in a temporary directory, and a miner to talk to it.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod old_node;
pub(crate) mod prime;
pub(crate) mod prime_pool;
pub(crate) mod real;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lode_coins::Coin;
use lode_ledger::{ChainShare, Credit, Ledger, LedgerOptions, LogError, Payees, Share, TemplateRef, Worker};
use lode_pool::config::{PoolConfig, PortConfig};
use lode_pool::front::{Books, Front, FrontError, Handed, Listeners};
use lode_pool::job::{Job, JobParts, Pays};
use lode_pool::session::{Accounts, Extranonces, SessionSettings, write_farewell};
use lode_pool::template::Template;
use lode_primitives::{Amount, BlockHash};
use lode_stratum::{Login, Reject};
use serde_json::Value;

pub(crate) const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// Least share difficulty: all hashes but one in 65,536 are shares.
pub(crate) const LEAST: f64 = 1.0 / 4_294_967_296.0;

pub(crate) fn coin() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

/// A ledger behind a lock, whose log can be made to fail or to be slow.
pub(crate) struct TestBooks {
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) broken: AtomicBool,
    /// Milliseconds that recording takes at least.
    pub(crate) slow_ms: AtomicU64,
    /// Batches begun, and how many may be: the next one waits.
    pub(crate) batches: AtomicU64,
    pub(crate) batches_max: AtomicU64,
    pub(crate) dir: tempfile::TempDir,
}

impl Accounts for TestBooks {
    fn worker(&self, login: &Login) -> Result<Arc<Worker>, Reject> {
        let script = coin().address_to_script(&login.address).map_err(|_| Reject::Unauthorized)?;
        let mut ledger = self.ledger.lock().unwrap();
        ledger.worker(&login.address, &script, &login.worker).map_err(|_| Reject::Unavailable)
    }

    fn credit_chain(&self, worker: &Worker, share: &ChainShare) -> Credit {
        self.ledger.lock().unwrap().credit_chain(worker.account(), share)
    }
}

impl Books for TestBooks {
    fn record(&self, shares: &[Share]) -> Result<(), LogError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(LogError::Failed("the disk is full".into()));
        }
        let batch = self.batches.fetch_add(1, Ordering::SeqCst) + 1;
        while batch > self.batches_max.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst)));
        self.ledger.lock().unwrap().record(shares)
    }
}

pub(crate) struct TestPool {
    pub(crate) front: Front,
    pub(crate) books: Arc<TestBooks>,
    pub(crate) found: Receiver<Handed>,
    seq: u32,
}

pub(crate) fn config() -> PoolConfig {
    let port = PortConfig {
        bind: "127.0.0.1:0".parse().unwrap(),
        start_difficulty: LEAST,
        min_difficulty: LEAST,
        vardiff: false,
        ..PortConfig::default()
    };
    PoolConfig { ports: vec![port], threads: 2, ..PoolConfig::default() }
}

pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub(crate) fn try_start(config: PoolConfig) -> Result<TestPool, FrontError> {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(LedgerOptions::new(dir.path(), "bitcoin/regtest"), now_ms()).unwrap();
    let script = coin().address_to_script(ADDRESS).unwrap();
    let worker = ledger.worker(ADDRESS, &script, "first").unwrap();
    let first = Share {
        worker,
        template: TemplateRef::new(1, BlockHash([0; 32]), 1.0),
        credit: Credit::from_difficulty(1.0).unwrap(),
        time_ms: now_ms(),
    };
    ledger.record(&[first]).unwrap();
    let books = Arc::new(TestBooks {
        ledger: Mutex::new(ledger),
        broken: AtomicBool::new(false),
        slow_ms: AtomicU64::new(0),
        batches: AtomicU64::new(0),
        batches_max: AtomicU64::new(u64::MAX),
        dir,
    });
    let settings = SessionSettings {
        version_mask: config.version_mask,
        vardiff: config.vardiff.clone(),
        pow: coin().pow,
        ports: config.ports.clone(),
        farewell: write_farewell(config.moved_to()),
        // One hash in 65,536 is no share even at the least difficulty: not by chance, then.
        extranonces: Extranonces::starting_at(1),
    };
    let (sender, found) = sync_channel(1024);
    let as_books: Arc<dyn Books> = books.clone();
    let bans = Some(books.dir.path().join("bans.jsonl"));
    let front = Front::start(&config, Listeners::bind(&config)?, settings, as_books, sender, bans)?;
    let mut pool = TestPool { front, books, found, seq: 0 };
    pool.job(BlockHash([1; 32]));
    Ok(pool)
}

impl TestPool {
    pub(crate) fn start(config: PoolConfig) -> Self {
        try_start(config).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.front.addresses()[0]
    }

    /// Sends a job on `prev`, at a difficulty that no share meets by chance.
    pub(crate) fn job(&mut self, prev: BlockHash) {
        self.seq += 1;
        let template = Template {
            height: 1000,
            prev,
            version: 0x2000_0000,
            bits: 0x1700_ffff,
            time: 1_700_000_000 + self.seq,
            min_time: 0,
            coinbase_value: Amount::from_sat(5_000_000_000),
            transactions: vec![],
            witness_commitment: Some([&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[5; 32]].concat()),
            mweb: None,
            coinbase_weight_max: 100_000,
            coinbase_sigops_max: 10_000,
            heard_us: 0,
        };
        let reference = TemplateRef::new(template.height, prev, 1.0);
        let mut ledger = self.books.ledger.lock().unwrap();
        let split = ledger.split(&reference, template.coinbase_value, &Payees::Window, now_ms()).unwrap();
        drop(ledger);
        let job = Job::new(JobParts {
            coin: coin(),
            reference,
            seq: self.seq,
            time: template.time,
            clean: true,
            tag: "/lode/".into(),
            pays: Pays::Window(split),
            template: Arc::new(template),
        })
        .unwrap();
        self.front.send_job(&Arc::new(job));
    }

    /// Shares in the log, without the first one of the books' own.
    pub(crate) fn recorded(&self) -> u64 {
        self.books.ledger.lock().unwrap().sequence() - 1
    }
}

/// A miner's end of a connection.
pub(crate) struct Miner {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
    pub(crate) job: Value,
}

impl Miner {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Connects from a loopback address of the test's choice.
    pub(crate) fn connect_from(source: &str, address: SocketAddr) -> std::io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into())?;
        socket.connect(&address.into())?;
        Ok(Self::over(socket.into()))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader, job: Value::Null }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// The next line, or `None` at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads up to the next line for which `wanted` holds.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.read().expect("the pool closed the connection");
            if wanted(&line) {
                return line;
            }
        }
    }

    pub(crate) fn answer(&mut self, id: u64) -> Value {
        self.until(|line| line["id"] == id)
    }

    /// The answer to a request; jobs that come meanwhile are taken over.
    pub(crate) fn answer_or_job(&mut self, id: u64) -> Value {
        loop {
            let line = self.read().expect("the pool closed the connection");
            if line["method"] == "mining.notify" {
                self.job = line;
            } else if line["id"] == id {
                return line;
            }
        }
    }

    /// Takes over a job that comes within a time.
    pub(crate) fn job_within(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        self.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if read.is_ok_and(|read| read > 0) {
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["method"] == "mining.notify" {
                self.job = line;
            }
        }
    }

    pub(crate) fn next_job(&mut self) {
        self.job = self.until(|line| line["method"] == "mining.notify");
    }

    /// Subscribes, authorises, and waits for the first job.
    pub(crate) fn login(&mut self, worker: &str) {
        self.login_as(ADDRESS, worker);
    }

    pub(crate) fn login_as(&mut self, address: &str, worker: &str) {
        self.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"cpuminer\"]}\n");
        self.send(&format!(
            "{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{address}.{worker}\",\"x\"]}}\n"
        ));
        assert_eq!(self.answer(2)["result"], true);
        self.next_job();
    }

    /// The line of a share with this nonce on the last job.
    pub(crate) fn share(&self, id: u64, worker: &str, nonce: u32) -> String {
        self.share_of(id, ADDRESS, worker, nonce)
    }

    pub(crate) fn share_of(&self, id: u64, address: &str, worker: &str, nonce: u32) -> String {
        let params = &self.job["params"];
        format!(
            "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[\"{address}.{worker}\",{},\"0000000000000000\",{},\"{nonce:08x}\"]}}\n",
            params[0], params[7]
        )
    }
}
