//! `lode node` as a child process: its log, its JSON-RPC, its end.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

/// An address whose key anybody can have: coinbases go there.
pub(crate) const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
/// How long anything may take until it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `lode node` on regtest, with ports that the system chooses unless told otherwise.
pub(crate) fn lode_node(data_dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(["node", "--log-format", "json", "--data-dir"]).arg(data_dir);
    for (flag, value) in
        [("--network", "regtest"), ("--rpc-bind", "127.0.0.1:0"), ("--p2p-bind", "127.0.0.1:0")]
    {
        if !more.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command.args(more).stdin(Stdio::null());
    command
}

/// Runs a command that must end by itself, with a sentence and without success; what it said.
pub(crate) fn refused(mut command: Command) -> String {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        said
    });
    let status = ended(&mut child);
    let said = reader.join().unwrap();
    assert!(!status.success(), "{command:?} ended well: {said}");
    let last = said.lines().find(|line| line.starts_with("lode: ") || line.starts_with("error: "));
    assert!(last.is_some(), "no sentence: {said}");
    assert_no_panic(&said);
    said
}

/// Waits for a child's end.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the node does not end");
        }
        // A child's end cannot be awaited with a limit otherwise.
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn assert_no_panic(said: &str) {
    for word in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!said.contains(word), "{said}");
    }
}

/// A running node. Killed (-9) when dropped.
pub(crate) struct Node {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    cookie: PathBuf,
    /// Where its JSON-RPC listens.
    pub(crate) rpc: SocketAddr,
    /// Where it takes peers.
    pub(crate) p2p: Option<SocketAddr>,
}

impl Node {
    /// Starts it and waits until it is up.
    pub(crate) fn start(data_dir: &Path, more: &[&str]) -> Self {
        let mut node = Self::spawn(data_dir, more);
        node.wait_until_up();
        node
    }

    /// Starts it.
    pub(crate) fn spawn(data_dir: &Path, more: &[&str]) -> Self {
        let mut child =
            lode_node(data_dir, more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let flag = |name: &str, default: &str| {
            let given = more.iter().position(|flag| *flag == name).and_then(|at| more.get(at + 1));
            given.map_or(default, |value| *value).to_owned()
        };
        let cookie =
            data_dir.join(flag("--coin", "bitcoin")).join(flag("--network", "regtest")).join(".cookie");
        Self { child, lines, log: Vec::new(), cookie, rpc: ([127, 0, 0, 1], 0).into(), p2p: None }
    }

    /// Waits until it says that it is up, and learns its addresses.
    pub(crate) fn wait_until_up(&mut self) {
        let line: Value = serde_json::from_str(&self.wait_for("node is up")).unwrap();
        let text = |name: &str| line["fields"][name].as_str().unwrap().to_owned();
        self.rpc = text("rpc").parse().unwrap();
        self.p2p = text("peers").trim_matches(['[', ']']).parse().ok();
    }

    /// The next line of its log that has `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} in {:#?}", self.log),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {text:?}: {:#?}", self.log),
            }
        }
    }

    /// All that it has said so far.
    pub(crate) fn said(&mut self) -> String {
        self.log.extend(self.lines.try_iter());
        self.log.join("\n")
    }

    /// The result of a call, or its error's code and message; code 0 where there was no answer.
    pub(crate) fn try_call(&self, method: &str, params: Value) -> Result<Value, (i64, String)> {
        let cookie = std::fs::read_to_string(&self.cookie).map_err(|error| (0, error.to_string()))?;
        let login = base64::prelude::BASE64_STANDARD.encode(cookie);
        let answer = minreq::post(format!("http://{}/", self.rpc))
            .with_header("authorization", format!("Basic {login}"))
            .with_timeout(PATIENCE.as_secs())
            .with_body(json!({"id": 1, "method": method, "params": params}).to_string())
            .send()
            .map_err(|error| (0, error.to_string()))?;
        let answer: Value =
            serde_json::from_slice(answer.as_bytes()).map_err(|error| (0, error.to_string()))?;
        match &answer["error"] {
            Value::Null => Ok(answer["result"].clone()),
            error => Err((
                error["code"].as_i64().unwrap_or_default(),
                error["message"].as_str().unwrap_or_default().to_owned(),
            )),
        }
    }

    /// The result of a call that must succeed.
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params.clone()).unwrap_or_else(|error| panic!("{method} {params}: {error:?}"))
    }

    /// Waits until its tip is `hash`.
    pub(crate) fn wait_for_tip(&self, hash: &Value) {
        let began = Instant::now();
        while self.call("getbestblockhash", json!([])) != *hash {
            assert!(began.elapsed() < PATIENCE, "at {}", self.call("getblockchaininfo", json!([])));
            self.call("waitfornewblock", json!([500]));
        }
    }

    /// What the system tells of the process.
    pub(crate) fn proc_file(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Memory in use, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc_file("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// True while it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it (-9).
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with Ctrl-C, which must succeed; its log.
    pub(crate) fn stop(self) -> String {
        self.signal("-INT");
        let (status, said) = self.wait();
        assert!(status.success(), "{said}");
        said
    }

    /// Waits for its end; how it ended, and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = ended(&mut self.child);
        self.log.extend(self.lines.iter());
        let said = self.said();
        assert_no_panic(&said);
        (status, said)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
