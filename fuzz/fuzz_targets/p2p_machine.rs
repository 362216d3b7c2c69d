//! The state machine under any sequence of messages, connections, verdicts and waits: no panic, and no output to a
//! peer that is gone.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lode_p2p::message::COMMANDS;
use lode_p2p::{
    ConnectionKind, Event, HeaderInfo, Message, Options, Output, PeerId, Peers, TxRef, TxVerdict, Verdict,
    View,
};
use lode_primitives::{BlockHash, Header, Height, Target, Transaction, Wtxid};

/// A node that has genesis and nothing else, and takes any work for proven.
struct Genesis(HeaderInfo, Header);

impl View for Genesis {
    fn tip(&self) -> HeaderInfo {
        self.0
    }
    fn best_header(&self) -> HeaderInfo {
        self.0
    }
    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        (*hash == self.0.hash).then_some(self.0)
    }
    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        if *of == self.0.hash && first == 0 && count > 0 { vec![*of] } else { Vec::new() }
    }
    fn fork_height(&self, _: &BlockHash) -> Height {
        0
    }
    fn headers_after(&self, _: &[BlockHash], _: &BlockHash, _: usize) -> Vec<Header> {
        vec![self.1.clone()]
    }
    fn block_bytes(&self, _: &BlockHash) -> Option<Vec<u8>> {
        None
    }
    fn check_pow(&self, _: &Header) -> bool {
        true
    }
    fn initial_sync(&self) -> bool {
        false
    }
    fn transaction(&self, _: &TxRef) -> Option<Arc<Transaction>> {
        None
    }
    fn mempool_wtxids(&self) -> Vec<Wtxid> {
        Vec::new()
    }
    fn min_fee_rate(&self) -> u64 {
        0
    }
}

fuzz_target!(|bytes: &[u8]| {
    let coin = lode_coins::find("bitcoin", "regtest").expect("in the table");
    let header = coin.genesis_block().header;
    let work = Target::from_compact(header.bits).expect("a target").work();
    let (hash, prev, time) = (header.hash(), header.prev, header.time);
    let view =
        Genesis(HeaderInfo { hash, prev, height: 0, work, time, have_block: true, valid: true }, header);
    let mut now = Duration::from_secs(1_800_000_000);
    let mut peers = Peers::new(Options::new(coin), [7; 32], now);
    let mut alive = BTreeSet::new();
    let mut rest = bytes;
    while let Some((&[action, peer, len], more)) = rest.split_first_chunk::<3>() {
        let (payload, more) = more.split_at(usize::from(len).min(more.len()));
        rest = more;
        let id = PeerId(u64::from(peer % 8) + 1);
        match action {
            0..=3 => {
                let kind = [
                    ConnectionKind::Inbound,
                    ConnectionKind::Outbound,
                    ConnectionKind::Manual,
                    ConnectionKind::BlockRelay,
                ][usize::from(action)];
                let address = ([20, peer, 1, 1], 8333).into();
                alive.extend(peers.connected(address, None, kind, None, now, &view));
            }
            4 => {
                peers.disconnected(id, "gone", now, &view);
                alive.remove(&id);
            }
            5..=20 => {
                now += Duration::from_millis(u64::from(len) * u64::from(action - 4).pow(3));
                peers.tick(now, &view);
            }
            _ => {
                let command = COMMANDS.get(usize::from(action) - 21).copied().unwrap_or("nonsense");
                if let Ok(message) = Message::decode(command, payload, coin.form) {
                    peers.received(id, message, 1, now, &view);
                }
            }
        }
        while let Some(output) = peers.poll() {
            match output {
                Output::Send(id, message) => {
                    assert!(alive.contains(&id), "sent to one who is gone");
                    message.encode_payload(&mut Vec::new());
                }
                Output::SendBlock { peer, .. } | Output::SendFilters { peer, .. } => {
                    assert!(alive.contains(&peer));
                }
                Output::Forget(_) => {}
                Output::Disconnect { peer, .. } => assert!(alive.remove(&peer)),
                // Verdicts of all kinds, as the bytes will have it.
                Output::Event(Event::Headers { peer: id, .. }) => {
                    peers.headers_verdict(id, verdict(peer), now, &view);
                }
                Output::Event(Event::Block { hash, .. }) => {
                    peers.block_verdict(hash, verdict(peer), now, &view)
                }
                Output::Event(Event::Transaction { wtxid, transaction, .. }) => {
                    let parents = transaction.inputs.iter().map(|input| input.prevout.txid).collect();
                    let verdict = match peer % 4 {
                        0 => TxVerdict::Accepted { fee_rate: 1 },
                        1 => TxVerdict::Known,
                        2 => TxVerdict::MissingInputs { parents },
                        _ => TxVerdict::Rejected { reason: "no".into(), invalid: peer > 200 },
                    };
                    peers.transaction_verdict(wtxid, verdict, now, &view);
                }
                Output::Event(_) | Output::Established(_) | Output::Dial { .. } => {}
            }
        }
    }
});

fn verdict(byte: u8) -> Verdict {
    match byte / 8 % 4 {
        0 => Verdict::Accepted,
        1 => Verdict::Invalid("bad".into()),
        2 => Verdict::Mutated("changed".into()),
        _ => Verdict::Unjudged("later".into()),
    }
}
