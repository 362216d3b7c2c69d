//! A node that no one here wrote, as a child process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::free_address;

/// How long a daemon may take until it answers.
const START_SECONDS_MAX: u64 = 60;
/// How long one call may take.
const CALL_SECONDS_MAX: u64 = 120;

/// How often a call is made again that the daemon was too busy for.
const BUSY_TRIES_MAX: u32 = 50;

/// The error that a daemon answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// JSON-RPC error code.
    pub code: i64,
    /// Its message.
    pub message: String,
}

/// A running `bitcoind` or `litecoind`. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    arguments: Vec<String>,
    directory: TempDir,
    network_directory: PathBuf,
    child: Option<Child>,
    /// Where it takes peers.
    pub p2p: SocketAddr,
    /// Where it takes JSON-RPC.
    pub rpc: SocketAddr,
}

impl Daemon {
    /// Starts `program` (`bitcoind` or `litecoind`) on `network` (`regtest`, or `signet` with a challenge among the
    /// `more` arguments) and waits until it answers. A template from litecoind needs a second node connected to it.
    ///
    /// # Panics
    /// Where it does not start: a test cannot go on then.
    pub fn start(program: &Path, network: &str, more: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("peer").tempdir().expect("a temporary directory");
        let (p2p, rpc) = (free_address(), free_address());
        let mut arguments: Vec<String> = [
            format!("-{network}"),
            format!("-datadir={}", directory.path().display()),
            format!("-bind={p2p}"),
            format!("-port={}", p2p.port()),
            format!("-rpcport={}", rpc.port()),
            "-rpcbind=127.0.0.1".to_owned(),
            "-rpcallowip=127.0.0.1".to_owned(),
            "-server".to_owned(),
            "-listen".to_owned(),
            "-listenonion=0".to_owned(),
            "-dnsseed=0".to_owned(),
            "-fallbackfee=0.0001".to_owned(),
            "-txindex".to_owned(),
            "-printtoconsole=0".to_owned(),
        ]
        .into();
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let network_directory = directory.path().join(network);
        let mut daemon = Self {
            program: program.to_owned(),
            arguments,
            directory,
            network_directory,
            child: None,
            p2p,
            rpc,
        };
        daemon.restart();
        daemon
    }

    /// Starts it again after [`Daemon::kill`] or [`Daemon::stop`], on the same ports and directory.
    ///
    /// # Panics
    /// Where it does not answer in time.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.program.display()));
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        loop {
            match self.try_rpc("getblockcount", json!([])) {
                Ok(_) => return,
                Err(error) if Instant::now() > deadline => {
                    panic!(
                        "{} does not answer: {error:?}; its log is in {}",
                        self.program.display(),
                        self.network_directory.display()
                    )
                }
                // Nothing to await: a daemon tells nobody when it listens.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Kills it (-9) and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as its operator would and waits for its end.
    pub fn stop(&mut self) {
        let _ = self.try_rpc("stop", json!([]));
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// The directory of its network, where `.cookie` and `debug.log` are.
    pub fn network_directory(&self) -> &Path {
        &self.network_directory
    }

    /// The data directory it was given.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// User and password of its cookie.
    pub fn cookie(&self) -> Option<(String, String)> {
        let cookie = std::fs::read_to_string(self.network_directory.join(".cookie")).ok()?;
        let (user, password) = cookie.trim().split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// The result of a call.
    ///
    /// # Panics
    /// Where the daemon answers with an error.
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        self.try_rpc(method, params.clone()).unwrap_or_else(|error| panic!("{method} {params}: {error:?}"))
    }

    /// The result of a call, or the daemon's error; code 0 where there was no answer at all.
    pub fn try_rpc(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.call(&format!("http://{}/", self.rpc), method, params)
    }

    /// A call to the loaded wallet `name`.
    ///
    /// # Panics
    /// Where the daemon answers with an error.
    pub fn wallet_rpc(&self, name: &str, method: &str, params: Value) -> Value {
        self.call(&format!("http://{}/wallet/{name}", self.rpc), method, params.clone())
            .unwrap_or_else(|error| panic!("{method} {params}: {error:?}"))
    }

    fn call(&self, url: &str, method: &str, params: Value) -> Result<Value, RpcError> {
        self.call_again(url, method, params, BUSY_TRIES_MAX)
    }

    fn call_again(&self, url: &str, method: &str, params: Value, tries: u32) -> Result<Value, RpcError> {
        let no_answer = |message: String| RpcError { code: 0, message };
        let (user, password) = self.cookie().ok_or_else(|| no_answer("no cookie yet".to_owned()))?;
        let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params});
        let answer = minreq::post(url)
            .with_header("authorization", format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
            .with_timeout(CALL_SECONDS_MAX)
            .with_json(&body)
            .and_then(minreq::Request::send)
            .map_err(|error| no_answer(error.to_string()))?;
        let answer: Value = match answer.json() {
            Ok(answer) => answer,
            // Its work queue is full: it says so in plain text, and means it for the moment only.
            Err(_) if tries > 0 => {
                std::thread::sleep(Duration::from_millis(100));
                return self.call_again(url, method, params, tries - 1);
            }
            Err(error) => return Err(no_answer(error.to_string())),
        };
        match answer.get("error") {
            Some(Value::Object(error)) => Err(RpcError {
                code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
                message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            }),
            _ => Ok(answer.get("result").cloned().unwrap_or(Value::Null)),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
