//! The word of a new block as bitcoind and litecoind publish it over ZeroMQ (`-zmqpubhashblock`, `-zmqpubrawblock`).
//!
//! A pool needs one thing of ZeroMQ: to hear "there is a block" from one publisher. That is a greeting, a `READY`, two
//! subscriptions and then frames whose bodies hardly matter, so it is spoken here (ZMTP 3.0, RFC 23, mechanism NULL) and no
//! messaging library is drawn in. What is heard is only a reason to ask for a template at once: nothing that arrives here is
//! believed, and where nothing arrives long poll still tells.

use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Signature, version 3.0, mechanism NULL, not a server, filler (RFC 23).
const GREETING: [u8; 64] = {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    (greeting[12], greeting[13], greeting[14], greeting[15]) = (b'N', b'U', b'L', b'L');
    greeting
};
/// The command `READY` of a subscriber.
const READY: &[u8] = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB";
/// Topics: each says that there is a block; which one, the template tells.
const TOPICS: [&[u8]; 2] = [b"hashblock", b"rawblock"];
/// Frame flags.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
/// Longest frame passed over: a block of four million weight units, with room.
const FRAME_MAX: u64 = 32 << 20;
/// Time to connect and greet.
const GREET_TIMEOUT: Duration = Duration::from_secs(10);
/// Between attempts to connect.
const RETRY: Duration = Duration::from_secs(2);

/// Where a node publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZmqEndpoint {
    host: String,
    port: u16,
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no ZMQ address of the form tcp://HOST:PORT")]
pub struct ZmqEndpointError(String);

impl FromStr for ZmqEndpoint {
    type Err = ZmqEndpointError;

    fn from_str(text: &str) -> Result<Self, ZmqEndpointError> {
        let bad = || ZmqEndpointError(text.chars().take(80).collect());
        let (host, port) = text.strip_prefix("tcp://").and_then(|at| at.rsplit_once(':')).ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        if host.is_empty() { Err(bad()) } else { Ok(Self { host: host.to_owned(), port }) }
    }
}

impl std::fmt::Display for ZmqEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tcp://{}:{}", self.host, self.port)
    }
}

impl ZmqEndpoint {
    /// The endpoint as a node at `host` names it: one that it binds to everywhere is at the node's own address.
    pub(super) fn seen_from(mut self, host: &str) -> Self {
        if ["*", "0.0.0.0", "[::]"].contains(&self.host.as_str()) {
            host.clone_into(&mut self.host);
        }
        self
    }
}

/// Listens for ever, connecting again where the connection ends; each word of a block wakes `heard`.
pub(super) async fn listen(endpoint: &ZmqEndpoint, heard: &Notify) {
    let mut said = false;
    loop {
        let error = match listen_once(endpoint, heard, &mut said).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if !std::mem::replace(&mut said, true) {
            tracing::warn!("no word of blocks from {endpoint} ({error}): long poll tells of them meanwhile");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn listen_once(
    endpoint: &ZmqEndpoint,
    heard: &Notify,
    said: &mut bool,
) -> std::io::Result<std::convert::Infallible> {
    let timed_out = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let mut stream = tokio::time::timeout(GREET_TIMEOUT, greet(endpoint)).await.map_err(timed_out)??;
    *said = false;
    tracing::info!("{endpoint} tells of new blocks over ZMQ");
    // A block that came while nobody listened.
    heard.notify_one();
    let mut first = true;
    let mut topic = Vec::with_capacity(16);
    loop {
        let flags = stream.read_u8().await?;
        let length =
            if flags & LONG == 0 { u64::from(stream.read_u8().await?) } else { stream.read_u64().await? };
        if length > FRAME_MAX {
            return Err(std::io::Error::other(format!("a frame of {length} bytes")));
        }
        topic.clear();
        // Only the beginning can matter; the rest is passed over without being kept.
        let kept = length.min(16);
        (&mut stream).take(kept).read_to_end(&mut topic).await?;
        let passed = tokio::io::copy(&mut (&mut stream).take(length - kept), &mut tokio::io::sink()).await?;
        if topic.len() as u64 + passed < length {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if flags & COMMAND != 0 {
            continue;
        }
        if std::mem::replace(&mut first, flags & MORE == 0) && TOPICS.contains(&topic.as_slice()) {
            heard.notify_one();
        }
    }
}

/// Connects, shakes hands and subscribes.
async fn greet(endpoint: &ZmqEndpoint) -> std::io::Result<BufReader<TcpStream>> {
    let host = endpoint.host.trim_matches(['[', ']']);
    let mut stream = BufReader::new(TcpStream::connect((host, endpoint.port)).await?);
    stream.write_all(&GREETING).await?;
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs).await?;
    if (theirs[0], theirs[9]) != (0xff, 0x7f) || theirs[10] < 3 || theirs[12..17] != *b"NULL\0" {
        return Err(std::io::Error::other("it does not speak ZMTP 3 without a password"));
    }
    let mut out = frame(COMMAND, READY);
    for topic in TOPICS {
        // A message that begins with one subscribes to what follows.
        out.extend(frame(0, &[&[1], topic].concat()));
    }
    stream.write_all(&out).await?;
    Ok(stream)
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![flags, body.len() as u8];
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::net::TcpListener;

    #[test]
    fn endpoints_are_read_and_wildcards_are_the_nodes_own_host() {
        let endpoint: ZmqEndpoint = "tcp://0.0.0.0:28332".parse().unwrap();
        assert_eq!(endpoint.seen_from("10.0.0.7").to_string(), "tcp://10.0.0.7:28332");
        assert_eq!("tcp://[::1]:1".parse::<ZmqEndpoint>().unwrap().to_string(), "tcp://[::1]:1");
        for bad in ["ipc:///zmq", "tcp://:1", "tcp://a", "tcp://a:99999", ""] {
            assert!(bad.parse::<ZmqEndpoint>().is_err(), "{bad}");
        }
    }

    /// A publisher as the RFC has it: it sends what it likes, ends, and is found again.
    #[tokio::test]
    async fn a_block_is_heard_whatever_else_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: ZmqEndpoint = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let heard = Arc::new(Notify::new());
        let listening = {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move { listen(&endpoint, &heard).await })
        };
        for _ in 0..2 {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(&GREETING).await.unwrap();
            let mut all = [0; 64 + 27 + 12 + 11];
            peer.read_exact(&mut all).await.unwrap();
            assert_eq!(&all[64..68], b"\x04\x19\x05R");
            assert!(all.ends_with(b"\x00\x09\x01rawblock"));
            peer.write_all(&frame(COMMAND, b"\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB")).await.unwrap();
            // Connecting is a reason to look by itself.
            heard.notified().await;
            let quiet = [frame(MORE, b"hashtx"), frame(MORE, b"hashblock"), frame(0, b"1")].concat();
            peer.write_all(&quiet).await.unwrap();
            let mut long = vec![MORE | LONG];
            long.extend_from_slice(&9u64.to_be_bytes());
            long.extend_from_slice(b"hashblock");
            long.extend(frame(MORE, &[7; 32]));
            long.extend(frame(0, &[0; 4]));
            peer.write_all(&long).await.unwrap();
            tokio::time::timeout(GREET_TIMEOUT, heard.notified()).await.expect("a block is heard");
        }
        listening.abort();
    }

    /// The real library as publisher.
    #[tokio::test]
    async fn libzmq_is_understood() {
        use std::io::{BufRead as _, Write as _};
        let Some(python) = lode_testkit::peer(lode_testkit::Peer::Zmq) else { return };
        let publisher = "import sys, zmq\n\
            socket = zmq.Context().socket(zmq.XPUB)\n\
            port = socket.bind_to_random_port('tcp://127.0.0.1')\n\
            print(port, flush=True)\n\
            print(sorted([socket.recv(), socket.recv()]), flush=True)\n\
            for line in sys.stdin:\n\
            \x20   socket.send_multipart([b'hashtx', bytes(32), bytes(4)])\n\
            \x20   socket.send_multipart([line.strip().encode(), bytes(300), bytes(4)])\n";
        let mut child = std::process::Command::new(python)
            .args(["-c", publisher])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let endpoint: ZmqEndpoint =
            format!("tcp://127.0.0.1:{}", lines.next().unwrap().unwrap()).parse().unwrap();
        let heard = Arc::new(Notify::new());
        let listening = {
            let heard = Arc::clone(&heard);
            tokio::spawn(async move { listen(&endpoint, &heard).await })
        };
        heard.notified().await;
        let subscribed = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap()).await.unwrap();
        assert_eq!(subscribed, r"[b'\x01hashblock', b'\x01rawblock']");
        let mut words = child.stdin.take().unwrap();
        for topic in ["hashblock", "rawblock", "hashblock"] {
            writeln!(words, "{topic}").unwrap();
            tokio::time::timeout(GREET_TIMEOUT, heard.notified()).await.expect("a block is heard");
        }
        listening.abort();
        drop(words);
        child.wait().unwrap();
    }
}
