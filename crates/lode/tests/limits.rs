//! `lode pool` as its operator sees it when something runs short, and when the certificate changes: with the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long anything may take until it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

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
    web: String,
    lines: Receiver<String>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pool {
    /// `more`: lines for the table `[pool]`.
    fn start(directory: &Path, more: &str) -> Self {
        let config = directory.join("lode.toml");
        let text = format!(
            "network = \"regtest\"\ndata_dir = {:?}\n\
             [node]\np2p_bind = \"127.0.0.1:0\"\nrpc_bind = \"127.0.0.1:0\"\n\
             [web]\nbind = \"127.0.0.1:0\"\n\
             [pool]\nports = [{{ bind = \"127.0.0.1:0\" }}]\nguard = {{ allow = [] }}\n{more}\n",
            directory.display().to_string()
        );
        std::fs::write(&config, text).unwrap();
        let config = config.display().to_string();
        let mut child = lode(&["pool", "--config", &config, "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut pool = Self { child, config, stratum: String::new(), web: String::new(), lines };
        let behind =
            |line: String, mark: &str| line.split_once(mark).unwrap().1.split('"').next().unwrap().to_owned();
        pool.stratum = behind(pool.wait_for("stratum+tcp://"), "stratum+tcp://");
        pool.web = behind(pool.wait_for("the dashboard is at"), "http://");
        pool
    }

    /// The next line of its log with this text.
    fn wait_for(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {text:?} in the log"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn page(&self, path: &str) -> String {
        minreq::get(format!("http://{}{path}", self.web))
            .with_timeout(PATIENCE.as_secs())
            .send()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn hang_up(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    }
}

#[test]
fn memory_that_runs_short_is_said_in_log_pages_and_metrics() {
    let directory = tempfile::tempdir().unwrap();
    // No pool lives in one MiB.
    let pool = Pool::start(directory.path(), "memory_max_mib = 1");
    let line = pool.wait_for("of 1 MiB of memory are in use");
    assert!(line.contains("WARN") && line.contains("new connections are turned away first"), "{line}");
    let mut stranger = TcpStream::connect(&pool.stratum).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    let read = stranger.read(&mut [0; 100]);
    assert!(matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    assert!(pool.page("/").contains("of 1 MiB of memory are in use"));
    let metrics = pool.page("/metrics");
    let part =
        metrics.lines().find_map(|line| line.strip_prefix("lode_limit_part{what=\"memory\"} ")).unwrap();
    assert!(part.parse::<f64>().unwrap() > 1.0, "{part}");
    assert!(metrics.contains("lode_connections_refused_total{reason=\"memory\"} 1"), "{metrics}");
    let why = lode(&["admin", "--config", &pool.config, "why", "127.0.0.1"]).output().unwrap();
    let why = String::from_utf8_lossy(&why.stdout);
    assert!(why.contains("memory is running out"), "{why}");
}

/// Writes a fresh certificate for this name, and says what to trust.
fn certify(directory: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

/// Asks the pool something over TLS; an error where its certificate is another.
fn ask(pool: &Pool, trust: &CertificateDer<'static>, name: &'static str) -> std::io::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(trust.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let stream = TcpStream::connect(&pool.stratum).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut miner = BufReader::new(StreamOwned::new(connection, stream));
    miner.get_mut().write_all(b"{\"id\":9,\"method\":\"mining.ping\",\"params\":[]}\n")?;
    let mut line = String::new();
    miner.read_line(&mut line)?;
    assert!(line.contains("pong"), "{line}");
    Ok(())
}

#[test]
fn a_hang_up_signal_reads_the_certificate_again_and_a_bad_pair_leaves_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let old = certify(directory.path(), "old.example");
    let files = ["cert.pem", "key.pem"].map(|name| directory.path().join(name).display().to_string());
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", files[0], files[1]);
    let pool = Pool::start(directory.path(), &tls);
    ask(&pool, &old, "old.example").unwrap();
    // A certificate with the key of another.
    let key = std::fs::read(&files[1]).unwrap();
    let new = certify(directory.path(), "new.example");
    let new_key = std::fs::read(&files[1]).unwrap();
    std::fs::write(&files[1], key).unwrap();
    pool.hang_up();
    let line = pool.wait_for("stays in force");
    assert!(line.contains("ERROR") && line.contains("cert.pem"), "{line}");
    ask(&pool, &old, "old.example").unwrap();
    std::fs::write(&files[1], new_key).unwrap();
    pool.hang_up();
    pool.wait_for("new connections get it");
    ask(&pool, &new, "new.example").unwrap();
    assert!(ask(&pool, &old, "old.example").is_err());
}
