//! TLS on the same port as plain Stratum, and a certificate that changes while the pool runs.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{ADDRESS, Miner, TestPool, config};
use lode_pool::config::{PoolConfig, TlsConfig};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Writes a fresh certificate for this name, and says what to trust.
fn certify(directory: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    std::fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()
}

type TlsMiner = BufReader<StreamOwned<ClientConnection, TcpStream>>;

fn connect(pool: &TestPool, trust: &CertificateDer<'static>, name: &'static str) -> TlsMiner {
    let mut roots = RootCertStore::empty();
    roots.add(trust.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let stream = TcpStream::connect(pool.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    BufReader::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream))
}

/// Logs in and reads up to the first job; an error where the connection or its certificate is not as it should be.
fn login(miner: &mut TlsMiner) -> std::io::Result<String> {
    let line = format!(
        "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
         {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{ADDRESS}.tls\",\"x\"]}}\n"
    );
    miner.get_mut().write_all(line.as_bytes())?;
    let mut line = String::new();
    while !line.contains("mining.notify\"") || line.contains("\"id\":1") {
        line.clear();
        if miner.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(line)
}

fn tls(directory: &Path) -> TlsConfig {
    TlsConfig { certificate: Some(directory.join("cert.pem")), key: Some(directory.join("key.pem")) }
}

#[test]
fn encrypted_and_plain_miners_share_a_port() {
    let directory = tempfile::tempdir().unwrap();
    let trust = certify(directory.path(), "pool.example");
    let pool = TestPool::start(PoolConfig { tls: tls(directory.path()), ..config() });
    let mut plain = Miner::connect(pool.address());
    plain.login("plain");
    let mut encrypted = connect(&pool, &trust, "pool.example");
    let job: serde_json::Value = serde_json::from_str(&login(&mut encrypted).unwrap()).unwrap();
    let share = format!(
        "{{\"id\":7,\"method\":\"mining.submit\",\"params\":[\"{ADDRESS}.tls\",{},\"0000000000000000\",{},\"00000001\"]}}\n",
        job["params"][0], job["params"][7]
    );
    encrypted.get_mut().write_all(share.as_bytes()).unwrap();
    let mut answer = String::new();
    encrypted.read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"id\":7,\"result\":true,\"error\":null}\n");
    assert_eq!(pool.recorded(), 1);
    // Neither nonsense that looks like TLS nor an end in the midst of a handshake harms anyone.
    let mut bad = Miner::connect(pool.address());
    bad.send("\u{16}nonsense\n");
    assert_eq!(std::io::Read::read_to_end(&mut bad.stream, &mut Vec::new()).map(|_| ()).ok(), Some(()));
    plain.send(&plain.share(8, "plain", 1));
    assert_eq!(plain.answer(8)["result"], true);
}

#[test]
fn a_new_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let old = certify(directory.path(), "old.example");
    let pool = TestPool::start(PoolConfig { tls: tls(directory.path()), ..config() });
    let mut stays = connect(&pool, &old, "old.example");
    login(&mut stays).unwrap();
    let new = certify(directory.path(), "new.example");
    let deadline = Instant::now() + Duration::from_secs(60);
    while login(&mut connect(&pool, &new, "new.example")).is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(login(&mut connect(&pool, &old, "old.example")).is_err());
    // The connection made before goes on.
    stays.get_mut().write_all(b"{\"id\":9,\"method\":\"mining.ping\",\"params\":[]}\n").unwrap();
    let mut line = String::new();
    while !line.contains("pong") {
        line.clear();
        assert!(stays.read_line(&mut line).unwrap() > 0);
    }
}

#[test]
fn a_half_or_unreadable_certificate_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("cert.pem"), "no certificate").unwrap();
    for (tls, said) in [
        (TlsConfig { key: None, ..tls(directory.path()) }, "set both files"),
        (tls(directory.path()), "key.pem"),
    ] {
        let refused = common::try_start(PoolConfig { tls, ..config() }).err().expect("it started");
        assert!(refused.to_string().contains(said), "{refused}");
    }
}
