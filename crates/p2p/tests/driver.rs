//! The driver over real sockets on loopback: nodes among themselves, and strangers who mean no good.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::TestChain;
use common::node::{Node, node, until, within};
use lode_p2p::frame::{HEADER_LEN, encode_v1, encode_v1_raw};
use lode_p2p::message::{AddrEntry, Endpoint, InvItem, InvKind, Locator, NetAddr, Services, Version};
use lode_p2p::{Message, Options, StartError, View, start};
use lode_primitives::BlockHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A stranger's first message.
fn version() -> Message {
    Message::Version(Version {
        version: 70_016,
        services: Services(9),
        time: 1_700_000_000,
        receiver: (Services(0), Endpoint::UNSPECIFIED),
        sender: (Services(0), Endpoint::UNSPECIFIED),
        nonce: 4,
        user_agent: "/stranger/".into(),
        start_height: 0,
        relay: true,
    })
}

/// Somebody who speaks by hand.
struct Stranger(TcpStream);

impl Stranger {
    async fn call(node: &Node) -> Self {
        Self(TcpStream::connect(node.address()).await.unwrap())
    }

    /// Calls from another address of this machine.
    async fn call_from(host: [u8; 4], node: &Node) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((host, 0))).unwrap();
        Self(socket.connect(node.address()).await.unwrap())
    }

    /// Calls and does the handshake.
    async fn greet(node: &Node) -> Self {
        Self::call(node).await.greets().await
    }

    async fn greets(mut self) -> Self {
        self.send(&version()).await;
        self.send(&Message::SendAddrV2).await;
        self.send(&Message::Verack).await;
        self.receive("verack").await;
        self
    }

    async fn send(&mut self, message: &Message) {
        self.0.write_all(&encode_v1(message, MAGIC)).await.unwrap();
    }

    /// Reads messages until one of that name comes.
    async fn receive(&mut self, wanted: &str) -> Vec<u8> {
        within(wanted, async {
            loop {
                let mut header = [0; HEADER_LEN];
                self.0.read_exact(&mut header).await.unwrap();
                let len = u32::from_le_bytes(header[16..20].try_into().unwrap()) as usize;
                let mut payload = vec![0; len];
                self.0.read_exact(&mut payload).await.unwrap();
                if header[4..16].starts_with(wanted.as_bytes()) {
                    return payload;
                }
            }
        })
        .await
    }

    /// The other side closes the connection.
    async fn loses_its_connection(mut self) {
        within("the connection to be closed", async {
            let mut sink = [0; 4_096];
            while let Ok(1..) = self.0.read(&mut sink).await {}
        })
        .await;
    }
}

async fn one(change: impl FnOnce(&mut Options)) -> Node {
    node(&TestChain::new(common::regtest()), change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_sync_encrypted_or_plain_as_the_weaker_can() {
    for (ours, theirs) in [(true, true), (true, false), (false, true), (false, false)] {
        let chain = TestChain::new(common::regtest());
        chain.mine(None, 500, b"");
        let full = node(&chain, |options| options.encrypted = theirs).await;
        let empty = one(|options| {
            options.encrypted = ours;
            options.connect = vec![full.address().to_string()];
        })
        .await;
        empty.reaches(500).await;
        assert_eq!(empty.only_peer().await.encrypted, ours && theirs, "{ours} {theirs}");
        assert_eq!(full.only_peer().await.session_id, empty.only_peer().await.session_id);
        empty.p2p.stop().await;
        full.p2p.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wanted_connection_is_made_again() {
    let full = one(|_| {}).await;
    let other = one(|options| options.connect = vec![full.address().to_string()]).await;
    let first = other.only_peer().await.id;
    let seen = full.only_peer().await.id;
    full.p2p.disconnect(seen);
    until("a second connection", async || {
        other.p2p.peers().await.into_iter().find(|peer| peer.established && peer.id != first)
    })
    .await;
    other.p2p.stop().await;
    full.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said_plainly() {
    let first = one(|_| {}).await;
    let mut options = Options::new(common::regtest());
    options.listen = vec![first.address()];
    let chain = TestChain::new(common::regtest());
    let error = start(options, chain as Arc<dyn View>).await.err().unwrap();
    assert!(matches!(error, StartError::Listen { address, .. } if address == first.address()));
    assert!(error.to_string().contains("another node"), "{error}");
    first.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_and_nothing_else() {
    let node = one(|_| {}).await;
    let bad_checksum = {
        let mut frame = encode_v1(&Message::Ping(1), MAGIC);
        frame[20] ^= 1;
        frame
    };
    let huge = {
        let mut frame = encode_v1_raw("block", &[], MAGIC);
        frame[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        frame
    };
    let early = {
        let mut frame = encode_v1_raw("block", &[], MAGIC);
        frame[16..20].copy_from_slice(&3_900_000u32.to_le_bytes());
        frame
    };
    let version_of_another_network = encode_v1_raw("version", &[0; 100], [1, 2, 3, 4]);
    let cut_version = encode_v1_raw("version", &[0; 30], MAGIC);
    for bytes in [bad_checksum, huge.clone(), early, version_of_another_network, cut_version] {
        // The plain transport is chosen by the first bytes; what has others is taken for encrypted.
        let mut stranger = Stranger::call(&node).await;
        stranger.0.write_all(&bytes).await.unwrap();
        stranger.0.write_all(&[7; 8_000]).await.ok();
        stranger.loses_its_connection().await;
    }
    for bytes in [huge, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(300)] {
        let mut stranger = Stranger::greet(&node).await;
        stranger.0.write_all(&bytes).await.unwrap();
        stranger.loses_its_connection().await;
    }
    // Others are served as before.
    let mut stranger = Stranger::greet(&node).await;
    stranger.send(&Message::Ping(77)).await;
    assert_eq!(stranger.receive("pong").await, 77u64.to_le_bytes());
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_is_not_listened_to() {
    let chain = TestChain::new(common::regtest());
    chain.mine(None, 2_000, b"");
    let node = node(&chain, |_| {}).await;
    let mut stranger = Stranger::greet(&node).await;
    // Each question is 69 bytes, each answer 162,000.
    let genesis = chain.ancestor(&chain.tip().hash, 0).unwrap();
    let question = Message::GetHeaders(Locator { version: 1, hashes: vec![genesis], stop: BlockHash::ZERO });
    let questions = encode_v1(&question, MAGIC).repeat(1_000);
    let mut written = 0;
    // Until the pipes are full.
    while let Ok(Ok(count)) =
        tokio::time::timeout(Duration::from_millis(500), stranger.0.write(&questions)).await
    {
        written += count;
        assert!(written < 200 << 20, "all of it is taken");
    }
    let sent = node.p2p.totals().await.sent;
    assert!(sent < 64 << 20, "{sent}");
    // Somebody else does not suffer.
    let mut other = Stranger::greet(&node).await;
    other.send(&Message::Ping(5)).await;
    other.receive("pong").await;
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_getdata_is_served_block_by_block() {
    let chain = TestChain::new(common::regtest());
    let hash = chain.mine(None, 50, b"").last().unwrap().hash();
    let node = node(&chain, |_| {}).await;
    let mut stranger = Stranger::greet(&node).await;
    let items = vec![InvItem::block(InvKind::WitnessBlock, hash); 5_000];
    stranger.send(&Message::GetData(items)).await;
    for _ in 0..5_000 {
        assert_eq!(stranger.receive("block").await, chain.block_bytes(&hash).unwrap());
    }
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_beyond_the_slots_are_turned_away() {
    let node = one(|options| options.max_inbound = 3).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stranger = Stranger::greet(&node).await;
        // Its answer comes behind the end of the handshake on the node's side.
        stranger.send(&Message::Ping(1)).await;
        stranger.receive("pong").await;
        kept.push(stranger);
    }
    // All from one host: none deserves its place less than another, so the newcomer goes.
    let mut late = Stranger::call(&node).await;
    late.0.write_all(&encode_v1_raw("version", &[0; 100], MAGIC)).await.unwrap();
    late.loses_its_connection().await;
    assert_eq!(node.p2p.peers().await.iter().filter(|peer| peer.established).count(), 3);
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_remembered_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let book = directory.path().join("peers.dat");
    let first = one(|options| options.address_book = Some(book.clone())).await;
    let mut stranger = Stranger::greet(&first).await;
    // An address nobody here can call.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let entry =
        AddrEntry { time: now as u32, services: Services(9), address: NetAddr::TorV3([7; 32]), port: 8_333 };
    stranger.send(&Message::AddrV2(vec![entry.clone()])).await;
    stranger.send(&Message::Ping(1)).await;
    stranger.receive("pong").await;
    assert_eq!(first.p2p.addresses(10).await.len(), 1);
    first.p2p.stop().await;
    let second = one(|options| options.address_book = Some(book.clone())).await;
    let known = second.p2p.addresses(10).await;
    assert_eq!(known[0].address, entry.address);
    second.p2p.stop().await;
    // A damaged book is no reason not to start.
    std::fs::write(&book, b"lodeadr1 and then nonsense").unwrap();
    let third = one(|options| options.address_book = Some(book.clone())).await;
    assert!(third.p2p.addresses(10).await.is_empty());
    third.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_does_not_keep_others_at_the_door() {
    let node = one(|_| {}).await;
    // As many as one host may have there, who never say how they speak.
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(Stranger::call(&node).await);
    }
    Stranger::call(&node).await.loses_its_connection().await;
    Stranger::call_from([127, 0, 0, 2], &node).await.greets().await;
    // Their place is free again once they are gone.
    drop(silent);
    until("room", async || {
        let mut stranger = Stranger::call(&node).await;
        stranger.0.write_all(&encode_v1(&version(), MAGIC)).await.ok()?;
        (stranger.0.read(&mut [0]).await.ok()? == 1).then_some(())
    })
    .await;
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_on_a_branch_called_invalid_stay() {
    let chain = TestChain::new(common::regtest());
    chain.mine(None, 2, b"both");
    let bad = chain.make_block(chain.tip().hash, b"invalid", Vec::new());
    chain.accept_block(&bad);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = node(&chain, |options| {
        options.connect = vec![address];
        options.encrypted = false;
    })
    .await;
    let mut caller = Stranger::greet(&node).await;
    caller.send(&Message::Headers(vec![bad.header.clone()])).await;
    caller.send(&Message::Ping(1)).await;
    caller.receive("pong").await;
    // One that we called is of no use so.
    let mut called = Stranger(listener.accept().await.unwrap().0).greets().await;
    called.send(&Message::Headers(vec![bad.header.clone()])).await;
    called.loses_its_connection().await;
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_is_off_and_on_again() {
    let full = one(|_| {}).await;
    let other = one(|options| options.connect = vec![full.address().to_string()]).await;
    other.only_peer().await;
    full.p2p.set_active(false);
    until("nobody", async || full.p2p.peers().await.is_empty().then_some(())).await;
    full.p2p.set_active(true);
    full.only_peer().await;
    other.p2p.stop().await;
    full.p2p.stop().await;
}

#[tokio::test]
async fn the_network_stops_when_the_node_lets_go_of_it() {
    let mut options = Options::new(common::regtest());
    options.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    let chain = TestChain::new(common::regtest());
    let (p2p, mut events) = start(options, chain as Arc<dyn View>).await.unwrap();
    drop(p2p);
    assert!(within("the end of events", events.recv()).await.is_none());
}
