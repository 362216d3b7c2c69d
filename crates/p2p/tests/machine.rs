//! The state machine under any sequence of connections, messages, verdicts and waits: no panic, nothing sent to a
//! peer that is gone, and never more out than came in can justify.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{TestChain, regtest, transaction};
use lode_p2p::message::*;
use lode_p2p::{ConnectionKind, Event, Message, Options, Output, PeerId, Peers, TxVerdict, Verdict, View};
use lode_primitives::{Block, BlockHash, Hash256, Header, Transaction, Txid};
use proptest::collection::vec;
use proptest::prelude::*;

/// Things to talk about: blocks we have, blocks we may get, blocks nobody has.
struct World {
    ours: Arc<TestChain>,
    known: Vec<Arc<Block>>,
    fork: Vec<Arc<Block>>,
    next: Vec<Arc<Block>>,
    transactions: Vec<Transaction>,
}

impl World {
    fn new() -> Self {
        let ours = TestChain::new(regtest());
        let known = ours.mine(None, 12, b"ours");
        let other = TestChain::new(regtest());
        let fork = other.mine(None, 15, b"fork");
        let more = TestChain::new(regtest());
        for block in &known {
            more.accept_block(block);
        }
        let mut next = more.mine(None, 10, b"next");
        let last = more.make_block(more.tip().hash, b"invalid", Vec::new());
        next.push(last);
        let mut transactions: Vec<Transaction> = (0..6).map(|seed| transaction(seed, &[])).collect();
        let child = transaction(9, &[transactions[0].txid(), transactions[1].txid()]);
        transactions.push(child);
        ours.add_transaction(transactions[5].clone());
        Self { ours, known, fork, next, transactions }
    }

    fn block(&self, pick: u8) -> Arc<Block> {
        let all: Vec<_> = self.known.iter().chain(&self.fork).chain(&self.next).collect();
        Arc::clone(all[usize::from(pick) % all.len()])
    }

    fn headers(&self, pick: u8, len: u8) -> Vec<Header> {
        let list = [&self.known, &self.fork, &self.next][usize::from(pick) % 3];
        let from = usize::from(pick / 3) % list.len();
        list[from..].iter().take(usize::from(len)).map(|block| block.header.clone()).collect()
    }

    fn hash(&self, pick: u8) -> BlockHash {
        if pick > 220 { BlockHash([pick; 32]) } else { self.block(pick).hash() }
    }

    fn transaction(&self, pick: u8) -> &Transaction {
        &self.transactions[usize::from(pick) % self.transactions.len()]
    }

    fn items(&self, pick: u8, len: u8) -> Vec<InvItem> {
        (0..len)
            .map(|i| {
                let pick = pick.wrapping_add(i);
                let tx = self.transaction(pick);
                match pick % 9 {
                    0 => InvItem::block(InvKind::Block, self.hash(pick)),
                    1 => InvItem::block(InvKind::WitnessBlock, self.hash(pick)),
                    2 => InvItem::block(InvKind::CompactBlock, self.hash(pick)),
                    3 => InvItem::block(InvKind::FilteredBlock, self.hash(pick)),
                    4 => InvItem::tx(InvKind::Tx, tx.txid()),
                    5 => InvItem::tx(InvKind::WitnessTx, tx.txid()),
                    6 => InvItem::tx(InvKind::Wtx, Txid([pick; 32])),
                    7 => InvItem { kind: InvKind::Unknown(77), hash: Hash256([pick; 32]) },
                    _ => InvItem::wtx(tx.wtxid()),
                }
            })
            .collect()
    }

    fn message(&self, kind: u8, pick: u8, len: u8) -> Message {
        let locator =
            Locator { version: 1, hashes: vec![self.hash(pick), self.hash(len)], stop: BlockHash::ZERO };
        let mut compact = CompactBlock::new(&self.block(pick), u64::from(len));
        match kind % 30 {
            0 => Message::Version(version(pick, len)),
            1 => Message::Verack,
            2 => Message::WtxidRelay,
            3 => Message::SendAddrV2,
            4 => Message::SendHeaders,
            5 => Message::SendCmpct { high_bandwidth: len.is_multiple_of(2), version: u64::from(pick % 3) },
            6 => Message::FeeFilter(i64::from(pick) * 100 - 1_000),
            7 => Message::Ping(u64::from(pick)),
            8 => Message::Pong(u64::from(pick)),
            9 => Message::GetAddr,
            10 => Message::AddrV2(vec![
                AddrEntry {
                    time: 1_800_000_000,
                    services: Services(9),
                    address: NetAddr::TorV3([pick; 32]),
                    port: 1
                };
                usize::from(len)
            ]),
            11 | 12 => Message::Inv(self.items(pick, len)),
            13 | 14 => Message::GetData(self.items(pick, len)),
            15 => Message::NotFound(self.items(pick, len)),
            16 => Message::GetHeaders(locator),
            17 => Message::GetBlocks(locator),
            18..=20 => Message::Headers(self.headers(pick, len)),
            21 | 22 => Message::Block(self.block(pick)),
            23 => Message::Block(Arc::new({
                let mut block = Block::clone(&self.block(pick));
                block.transactions[0].lock_time = u32::from(len);
                block
            })),
            24 => Message::Tx(Arc::new(self.transaction(pick).clone())),
            25 => Message::CmpctBlock(Arc::new(compact)),
            26 => {
                // With gaps nobody can fill.
                compact.short_ids = (0..u64::from(len)).map(|i| i * u64::from(pick)).collect();
                Message::CmpctBlock(Arc::new(compact))
            }
            27 => Message::GetBlockTxn(GetBlockTxn {
                block: self.hash(pick),
                indexes: (0..usize::from(len)).collect(),
            }),
            28 => Message::BlockTxn(BlockTxn {
                block: self.hash(pick),
                transactions: vec![self.transaction(pick).clone(); usize::from(len)],
            }),
            _ => Message::Unknown("whatever".into()),
        }
    }
}

fn version(pick: u8, len: u8) -> Version {
    Version {
        version: [70_016, 70_016, 70_016, 70_015, 31_800, 1][usize::from(pick) % 6],
        services: Services([9, 9, 9, 1_033, 0][usize::from(len) % 5]),
        time: 1_800_000_000,
        receiver: (Services(0), Endpoint::UNSPECIFIED),
        sender: (Services(0), Endpoint::UNSPECIFIED),
        nonce: u64::from(pick),
        user_agent: "/any/".into(),
        start_height: i32::from(len),
        relay: !pick.is_multiple_of(4),
    }
}

fn run(actions: &[(u8, u8, u8, u8)]) {
    let world = World::new();
    let view = Arc::clone(&world.ours);
    let mut options = Options::new(regtest());
    options.max_inbound = 3;
    let mut now = Duration::from_secs(1_800_000_000);
    let mut peers = Peers::new(options, [3; 32], now);
    let mut alive: BTreeMap<PeerId, usize> = BTreeMap::new();
    for &(action, peer, pick, len) in actions {
        let id = PeerId(u64::from(peer % 6) + 1);
        match action {
            0..=30 => {
                use ConnectionKind::*;
                let kind = [Inbound, Inbound, Outbound, Manual, BlockRelay, Feeler][usize::from(action) % 6];
                let address = ([20, peer, pick % 4, 1], 8_333).into();
                if let Some(id) = peers.connected(address, None, kind, None, now, &*view) {
                    alive.insert(id, 0);
                    if action < 26 {
                        // The usual beginning, so that not everything ends before it starts.
                        for message in [Message::Version(version(0, 0)), Message::WtxidRelay, Message::Verack]
                        {
                            peers.received(id, message, 100, now, &*view);
                        }
                    }
                }
            }
            31..=34 => {
                if alive.remove(&id).is_some() {
                    peers.disconnected(id, "gone", now, &*view);
                }
            }
            35..=60 => {
                now += Duration::from_millis(u64::from(pick) * u64::from(len) * u64::from(action - 34));
                peers.tick(now, &*view);
            }
            61 => peers.tip_changed(Some(world.block(pick)), now, &*view),
            62 => peers.ping_all(now),
            63 => peers.discourage(([20, peer, pick % 4, 1]).into(), now, &*view),
            64 => peers.set_active(pick > 40, now, &*view),
            65 => peers.relay_transaction(
                world.transaction(pick).wtxid(),
                world.transaction(pick).txid(),
                u64::from(len),
            ),
            _ => peers.received(id, world.message(action, pick, len), 100, now, &*view),
        }
        let mut count = 0;
        while let Some(output) = peers.poll() {
            count += 1;
            assert!(count < 2_000, "an avalanche");
            match output {
                Output::Send(id, message) => {
                    *alive.get_mut(&id).expect("sent to one who is gone") += 1;
                    message.encode_payload(&mut Vec::new());
                }
                Output::SendBlock { peer, .. } | Output::SendFilters { peer, .. } => {
                    assert!(alive.contains_key(&peer));
                }
                Output::Forget(_) => panic!("only a light client forgets"),
                Output::Disconnect { peer, .. } => {
                    alive.remove(&peer).expect("disconnected once");
                }
                Output::Established(peer) => assert!(alive.contains_key(&peer)),
                Output::Dial { .. } => {}
                Output::Event(event) => judge(&mut peers, &world, event, pick, now),
            }
        }
    }
    assert_eq!(peers.infos(now, &*view).len(), alive.len());
}

/// Mostly the truth; sometimes none, or late ones for what was never asked.
fn judge(peers: &mut Peers, world: &World, event: Event, pick: u8, now: Duration) {
    let view = &*world.ours;
    let unjudged = || Verdict::Unjudged("not now".into());
    match event {
        Event::Headers { peer, headers } => {
            let verdict = if pick.is_multiple_of(7) { unjudged() } else { view.accept_headers(&headers) };
            peers.headers_verdict(peer, verdict, now, view);
        }
        Event::Block { hash, block, .. } => {
            let verdict = if pick.is_multiple_of(5) { unjudged() } else { view.accept_block(&block) };
            peers.block_verdict(hash, verdict, now, view);
            peers.block_verdict(hash, Verdict::Accepted, now, view);
            peers.tip_changed(Some(block), now, view);
        }
        Event::Transaction { wtxid, transaction, .. } => {
            let parents: Vec<Txid> = transaction.inputs.iter().map(|input| input.prevout.txid).collect();
            let verdict = match pick % 4 {
                0 => TxVerdict::Accepted { fee_rate: 500 },
                1 => TxVerdict::Known,
                2 => TxVerdict::MissingInputs { parents },
                _ => TxVerdict::Rejected { reason: "no".into(), invalid: pick > 200 },
            };
            if verdict == (TxVerdict::Accepted { fee_rate: 500 }) {
                view.add_transaction(Transaction::clone(&transaction));
            }
            peers.transaction_verdict(wtxid, verdict, now, view);
        }
        Event::Connected { .. }
        | Event::Disconnected { .. }
        | Event::Blamed { .. }
        | Event::Answer { .. }
        | Event::NotAsked { .. }
        | Event::UpToDate { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(lode_testkit::rounds(400, 20_000) as u32))]

    #[test]
    fn any_sequence_is_survived(actions in vec(any::<(u8, u8, u8, u8)>(), 1..200)) {
        run(&actions);
    }
}
