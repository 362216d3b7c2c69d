//! `lode admin` against a running `lode pool`, with the real binary on both ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn lode(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A pool on an embedded node of a network of its own.
struct Pool {
    child: Child,
    config: String,
    stratum: String,
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pool {
    fn start(directory: &Path) -> Self {
        let config = directory.join("lode.toml");
        let text = format!(
            "network = \"regtest\"\ndata_dir = {:?}\n\
             [node]\np2p_bind = \"127.0.0.1:0\"\nrpc_bind = \"127.0.0.1:0\"\n\
             [web]\nbind = \"127.0.0.1:0\"\n[pool]\nports = [{{ bind = \"127.0.0.1:0\" }}]\n\
             [pool.guard]\nallow = []\n",
            directory.display().to_string()
        );
        std::fs::write(&config, text).unwrap();
        let config = config.display().to_string();
        let mut child = lode(&["pool", "--config", &config, "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stratum = lines
            .by_ref()
            .find_map(|line| {
                Some(line.unwrap().split_once("stratum+tcp://")?.1.split('"').next()?.to_owned())
            })
            .expect("the pool says where miners connect");
        std::thread::spawn(move || lines.count());
        Self { child, config, stratum }
    }

    fn admin(&self, order: &[&str]) -> Output {
        lode(&[&["admin", "--config", &self.config], order].concat()).output().unwrap()
    }

    fn says(&self, order: &[&str]) -> String {
        let output = self.admin(order);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{order:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    fn json(&self, order: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[order, &["--json"]].concat())).unwrap()
    }

    /// A miner that has logged in.
    fn miner(&self, worker: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.stratum).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
             {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{ADDRESS}.{worker}\",\"x\"]}}\n"
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains("\"id\":2") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the pool closed the connection");
        }
        assert!(line.contains("true"), "{line}");
        reader
    }
}

/// Reads to the end: true where the pool closed.
fn is_closed(miner: &mut BufReader<TcpStream>) -> bool {
    let mut line = String::new();
    loop {
        line.clear();
        match miner.read_line(&mut line) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn an_operator_sees_bans_and_drains() {
    let directory = tempfile::tempdir().unwrap();
    let pool = Pool::start(directory.path());
    let socket = directory.path().join("bitcoin/regtest/pool/admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);

    let mut attic = pool.miner("attic");
    let mut cellar = pool.miner("cellar");
    let who = pool.json(&["who"]);
    assert_eq!(who["count"], 2);
    assert_eq!(pool.json(&["who", &format!("{ADDRESS}.attic")])["sessions"][0]["worker"], "attic");
    let table = pool.says(&["who"]);
    assert!(table.contains(&format!("{ADDRESS}.cellar")) && table.contains("2 of 2 connections"), "{table}");
    assert!(pool.says(&["status"]).contains("connections      2 of"));
    assert!(pool.says(&["top"]).contains("127.0.0.1/32"));
    assert!(pool.says(&["why", "127.0.0.1"]).contains("would be let in"));

    let share = format!(
        "{{\"id\":3,\"method\":\"mining.submit\",\"params\":[\"{ADDRESS}.attic\",\"0\",\"00\",\"00\",\"00\"]}}\n"
    );
    attic.get_mut().write_all(share.as_bytes()).unwrap();
    let mut line = String::new();
    while !line.contains("\"id\":3") {
        line.clear();
        assert!(attic.read_line(&mut line).unwrap() > 0);
    }
    let why = pool.says(&["why", &format!("{ADDRESS}.attic")]);
    assert!(why.contains("Job not found (stale)"), "{why}");

    assert!(pool.says(&["difficulty", ADDRESS, "16"]).contains("2 connections work at difficulty 16"));
    let nobody = pool.admin(&["difficulty", "nobody", "16"]);
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody is not connected"));

    assert!(pool.says(&["drain"]).contains("draining"));
    let mut late = BufReader::new(TcpStream::connect(&pool.stratum).unwrap());
    assert!(is_closed(&mut late));
    assert!(pool.says(&["why", "127.0.0.1"]).contains("draining"));
    assert!(!pool.says(&["drain", "--off"]).contains("draining"));

    let banned = pool.says(&["ban", "127.0.0.0/8", "--minutes", "5"]);
    assert!(banned.contains("2 connections closed"), "{banned}");
    assert!(is_closed(&mut attic) && is_closed(&mut cellar));
    assert!(is_closed(&mut BufReader::new(TcpStream::connect(&pool.stratum).unwrap())));
    assert!(pool.says(&["why", "127.0.0.1"]).contains("turned away (banned)"));
    assert!(!pool.admin(&["ban", "127.0.0.1/99"]).status.success());

    // Bans outlast a restart, even one by kill -9: they are on disk within a second or so.
    let file = directory.path().join("bitcoin/regtest/pool/bans.jsonl");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&file).is_ok_and(|bans| bans.contains("127.0.0.0/8")) {
        assert!(std::time::Instant::now() < deadline, "the ban is not written");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(pool);
    let gone = lode(&["admin", "status", "--socket", socket.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no pool answers at"));
    let pool = Pool::start(directory.path());
    assert_eq!(pool.json(&["bans"])["bans"][0]["network"], "127.0.0.0/8");
    assert!(is_closed(&mut BufReader::new(TcpStream::connect(&pool.stratum).unwrap())));
    assert!(pool.says(&["unban", "127.0.0.0/8"]).starts_with("1 bans"));
    pool.miner("attic");
}
