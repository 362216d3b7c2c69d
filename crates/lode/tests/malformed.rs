//! Random and malformed lines against the running pool: it neither ends nor panics nor holds anything of them.
//! `LODE_FULL=1` sends a million.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// Ends a child with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A stream of numbers that is the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn value(&mut self, address: &str, depth: u32) -> Value {
        match self.below(if depth == 0 { 9 } else { 11 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(u64::MAX)),
            3 => json!(-1e300 * self.below(9) as f64),
            4 => json!(format!("{:x}", self.below(u64::MAX))),
            5 => json!("\u{0}\u{7f}ÿ\"\\".repeat(self.below(20) as usize)),
            6 => json!(format!("{address}.rig")),
            7 => json!("f".repeat(self.below(300) as usize)),
            8 => json!("version-rolling"),
            9 => (0..self.below(7)).map(|_| self.value(address, depth - 1)).collect(),
            _ => {
                json!({"version-rolling.mask": self.value(address, depth - 1), "x": self.value(address, depth - 1)})
            }
        }
    }

    /// A request that is nearly one.
    fn request(&mut self, address: &str) -> String {
        const METHODS: [&str; 14] = [
            "mining.submit",
            "mining.submit",
            "mining.submit",
            "mining.subscribe",
            "mining.configure",
            "mining.suggest_difficulty",
            "mining.suggest_target",
            "mining.extranonce.subscribe",
            "mining.get_transactions",
            "mining.multi_version",
            "mining.ping",
            "client.get_version",
            "mining.authorize",
            "\u{0}",
        ];
        let method = METHODS[self.below(METHODS.len() as u64) as usize];
        let params: Vec<Value> = (0..self.below(8)).map(|_| self.value(address, 3)).collect();
        json!({"id": self.value(address, 1), "method": method, "params": params}).to_string()
    }

    /// Bytes that are none, or one with some bytes changed.
    fn nonsense(&mut self, address: &str) -> Vec<u8> {
        let mut line = match self.below(4) {
            0 => (0..self.below(200)).map(|_| self.below(256) as u8).collect(),
            1 => vec![b"[{\"-0"[self.below(5) as usize]; self.below(4_000) as usize],
            _ => self.request(address).into_bytes(),
        };
        for _ in 0..self.below(4) {
            let place = self.below(line.len().max(1) as u64) as usize;
            if let Some(byte) = line.get_mut(place) {
                *byte = self.below(256) as u8;
            }
        }
        line.retain(|byte| *byte != b'\n');
        line
    }
}

/// Sends `bytes` and reads what comes until the pool closes.
fn talk(pool: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(pool).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut sink = [0; 65_536];
        while reading.read(&mut sink).is_ok_and(|read| read > 0) {}
    });
    // The pool may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    reader.join().unwrap();
}

fn resident_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_million_lines_of_nonsense_leave_no_trace() {
    let lines = lode_testkit::rounds(60_000, 1_000_000);
    let data_dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(["up", "--threads", "0", "--json", "--data-dir"]).arg(data_dir.path());
    for port in ["--stratum-bind", "--web-bind", "--p2p-bind", "--rpc-bind"] {
        command.args([port, "127.0.0.1:0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut up = Ended(command.spawn().unwrap());
    let mut told = BufReader::new(up.0.stdout.take().unwrap()).lines();
    let started: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    let pool: SocketAddr =
        started["stratum"].as_str().unwrap().trim_start_matches("stratum+tcp://").parse().unwrap();
    let address = started["miners"][0]["address"].as_str().unwrap().to_owned();
    let mut stderr = up.0.stderr.take().unwrap();
    let complaints = std::thread::spawn(move || {
        let mut all = String::new();
        let _ = stderr.read_to_string(&mut all);
        all
    });

    let mut random = Random(7);
    let (mut sent, mut settled) = (0, 0);
    while sent < lines {
        // Whoever is logged in may say much that is nearly right before it is closed; a stranger little.
        let mut text = Vec::new();
        let known = random.below(5) > 0;
        if known {
            text.extend_from_slice(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n");
            text.extend_from_slice(
                format!(
                    "{{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{address}.rig\",\"x\"]}}\n"
                )
                .as_bytes(),
            );
        }
        for _ in 0..if known { 4_000 } else { 40 } {
            text.extend_from_slice(random.request(&address).as_bytes());
            text.push(b'\n');
            sent += 1;
        }
        for _ in 0..12 {
            text.extend_from_slice(&random.nonsense(&address));
            text.push(b'\n');
            sent += 1;
        }
        talk(pool, &text);
        if settled == 0 && sent > lines / 4 {
            settled = resident_kib(&up.0);
        }
    }
    let grown = resident_kib(&up.0).saturating_sub(settled);
    eprintln!(
        "{sent} lines sent; resident {settled} KiB after a quarter of them, {grown} KiB more at the end"
    );
    assert!(grown < 8_192, "{grown} KiB more than after the first quarter");
    assert!(up.0.try_wait().unwrap().is_none(), "the pool has ended");

    // It goes on serving.
    let mut stream = TcpStream::connect(pool).unwrap();
    stream.write_all(b"{\"id\":9,\"method\":\"mining.ping\"}\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("pong"), "{answer}");
    drop(up);
    let complaints = complaints.join().unwrap();
    assert!(!complaints.contains("panicked"), "{complaints}");
}
