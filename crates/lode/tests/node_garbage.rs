//! Strangers at the ports of the real binary: random bytes, promises of gigabytes, connections that say nothing, too many
//! of them, JSON meant to hurt. Nobody else notices: no panic, memory bounded, each dropped, the reason in the log.

mod running;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use running::{ADDRESS, Node, PATIENCE, assert_no_panic};
use serde_json::{Value, json};

/// Of regtest.
const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// What strangers may make the process grow by, KiB.
const GROWTH_KIB: u64 = 96 << 10;
/// What one caller with the password may, for the largest body that is read: text that becomes many small values.
const CALLER_GROWTH_KIB: u64 = 1 << 20;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends as much as is taken, then waits for the other side to close; what it said.
fn until_dropped(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // It may be closed before all is written: that is what is wanted.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("not dropped: {:?}", &bytes[..16])
        }
        _ => said,
    }
}

/// Bytes that a seed makes.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(len)
    .collect()
}

/// A plain frame's head.
fn frame(command: &[u8], len: u32) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(command);
    out.resize(16, 0);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

#[test]
fn garbage_on_the_peers_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &["--log", "lode_p2p=debug,info"]);
    node.call("generatetoaddress", json!([110, ADDRESS]));
    let address = node.p2p.unwrap();
    // Connections that say nothing, or stop in the middle of a word; closed at the end of the test.
    let mut silent: Vec<TcpStream> = (0..40).map(|_| connect(address)).collect();
    for (i, stream) in silent.iter_mut().enumerate() {
        stream.write_all(&frame(b"version", 100)[..i % 24]).unwrap();
    }
    let before = node.rss_kib();
    for seed in 0..60 {
        // Longer than any garbage that the encrypted transport's handshake allows.
        until_dropped(address, &noise(seed, 6_000 + 100 * seed as usize));
    }
    for len in [u32::MAX, 4_000_001, 3_900_000, 70_000] {
        for command in [&b"version"[..], b"block", b"nonsense"] {
            until_dropped(address, &[frame(command, len), noise(1, 200_000)].concat());
        }
    }
    until_dropped(address, &[frame(b"version", 86), vec![0; 86]].concat());
    until_dropped(address, &[&[1, 2, 3, 4], &frame(b"version", 86)[4..], &[0; 86]].concat());
    until_dropped(address, &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200));
    // More at once than there is room for.
    let crowd: Vec<TcpStream> = (0..400).map(|_| connect(address)).collect();
    node.wait_for("too many are at the door");
    drop(crowd);
    let grown = node.rss_kib().saturating_sub(before);
    eprintln!("peers' port: {before} KiB, {grown} KiB more after it all");
    assert!(grown < GROWTH_KIB, "{before} KiB and {grown} more");

    // A node that means well finds room and the chain.
    let other = tempfile::tempdir().unwrap();
    let friend = Node::start(other.path(), &["--connect", &address.to_string()]);
    friend.wait_for_tip(&node.call("getbestblockhash", json!([])));
    friend.stop();
    drop(silent);
    let said = node.stop();
    for reason in ["bytes of garbage", "which is not this network", "does not speak the encrypted transport"]
    {
        assert!(said.contains(reason), "no {reason:?} in {said}");
    }
}

/// A call as bytes on the line.
fn request(login: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {login}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn status(said: &[u8]) -> String {
    String::from_utf8_lossy(said).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn garbage_on_the_rpc_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &["--log", "lode_node=debug,info"]);
    let address = node.rpc;
    let cookie = std::fs::read(dir.path().join("bitcoin/regtest/.cookie")).unwrap();
    let login = base64::prelude::BASE64_STANDARD.encode(cookie);
    let before = node.rss_kib();
    let mut slow: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    for stream in &mut slow {
        stream.write_all(b"POST / HTTP/1.1\r\nHo").unwrap();
    }
    for seed in 0..40 {
        let mut bytes = noise(seed, 2_000);
        bytes.extend_from_slice(b"\r\n\r\n");
        until_dropped(address, &bytes);
    }
    // A header without end, and bodies without a password, however long they are said to be.
    until_dropped(address, &[b"POST / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 1 << 20]].concat());
    let said = until_dropped(address, &request("bm86bm8=", "", b"{}"));
    assert!(status(&said).contains("401"), "{}", status(&said));
    let huge =
        b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bm86bm8=\r\nContent-Length: 99999999999\r\n\r\n";
    assert!(status(&until_dropped(address, &[&huge[..], &[b' '; 1 << 20]].concat())).contains("401"));
    node.wait_for("wrong password");
    let grown = node.rss_kib().saturating_sub(before);
    eprintln!("RPC port, strangers: {before} KiB, {grown} KiB more after it all");
    assert!(grown < GROWTH_KIB, "{before} KiB and {grown} more");

    // With the password: nonsense of every shape is an answer.
    let code = |body: &[u8]| {
        let said = until_dropped(address, &request(&login, "", body));
        let body = said.windows(4).position(|end| end == b"\r\n\r\n").map_or(&[][..], |at| &said[at + 4..]);
        serde_json::from_slice::<Value>(body)
            .map_or_else(|_| json!(status(&said)), |answer| answer["error"]["code"].clone())
    };
    for nesting in [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        format!("{}{}", "[".repeat(9_000), "]".repeat(9_000)),
    ] {
        assert_eq!(code(nesting.as_bytes()), -32700);
    }
    assert_eq!(code(&noise(3, 100_000)), -32700);
    assert_eq!(code(br#"{"method":"getblockhash","params":[1e400]}"#), -1);
    assert_eq!(code(br#"{"method":"getblockhash","params":[18446744073709551616]}"#), -1);
    let many = format!(r#"{{"method":"getblockcount","params":[{}1]}}"#, "[],".repeat(10_000_000));
    assert_eq!(code(many.as_bytes()), -1, "too many parameters");
    assert_eq!(code(&vec![b' '; 33 << 20]), "HTTP/1.1 413 Payload Too Large");
    let peak = std::fs::read_to_string(node.proc_file("status")).unwrap();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
    let grown = node.rss_kib().saturating_sub(before);
    eprintln!("RPC port, with the password: {grown} KiB more than {before} KiB; {peak}");
    assert!(grown < CALLER_GROWTH_KIB, "{before} KiB and {grown} more");

    // More at once than there is room for; afterwards there is room again.
    let crowd: Vec<TcpStream> = (0..300).map(|_| connect(address)).collect();
    node.wait_for("too many are open");
    drop((crowd, slow));
    let began = std::time::Instant::now();
    while node.try_call("getblockcount", json!([])).is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_no_panic(&node.said());
    node.stop();
}
