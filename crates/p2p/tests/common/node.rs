//! A node on real sockets: the network, and a thread that judges by [`TestChain`].

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lode_p2p::{Event, Options, P2p, PeerInfo, TxVerdict, View, start};
use lode_primitives::Transaction;

use super::TestChain;

/// `LODE_LOG=trace` shows what goes on.
fn log() {
    let level = std::env::var("LODE_LOG").unwrap_or_else(|_| "off".into());
    let _ = tracing_subscriber::fmt()
        .with_max_level(level.parse::<tracing_subscriber::filter::LevelFilter>().unwrap())
        .try_init();
}

/// A node: the network and a thread that judges.
pub struct Node {
    pub p2p: P2p,
    pub chain: Arc<TestChain>,
}

pub async fn node(chain: &Arc<TestChain>, change: impl FnOnce(&mut Options)) -> Node {
    log();
    let mut options = Options::new(chain.coin);
    options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    change(&mut options);
    let (p2p, mut events) = start(options, Arc::clone(chain) as Arc<dyn View>).await.unwrap();
    let node = Node { p2p: p2p.clone(), chain: Arc::clone(chain) };
    let chain = Arc::clone(chain);
    std::thread::spawn(move || {
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Headers { peer, headers } => p2p.headers_verdict(peer, chain.accept_headers(&headers)),
                Event::Block { hash, block, .. } => {
                    let before = chain.tip().hash;
                    p2p.block_verdict(hash, chain.accept_block(&block));
                    if chain.tip().hash != before {
                        p2p.tip_changed(Some(block));
                    }
                }
                Event::Transaction { wtxid, transaction, .. } => {
                    chain.add_transaction(Transaction::clone(&transaction));
                    p2p.transaction_verdict(wtxid, TxVerdict::Accepted { fee_rate: 10_000 });
                }
                Event::Connected { .. }
                | Event::Disconnected { .. }
                | Event::Blamed { .. }
                | Event::Answer { .. }
                | Event::NotAsked { .. }
                | Event::UpToDate { .. } => {}
            }
        }
    });
    node
}

impl Node {
    pub fn address(&self) -> SocketAddr {
        self.p2p.listening()[0]
    }

    pub async fn only_peer(&self) -> PeerInfo {
        until("a peer with its handshake done", async || {
            self.p2p.peers().await.into_iter().find(|peer| peer.established)
        })
        .await
    }

    pub async fn reaches(&self, height: u64) {
        until(&format!("height {height}"), async || {
            (u64::from(self.chain.tip().height) == height).then_some(())
        })
        .await;
    }
}

pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("waited for {what}"))
}
