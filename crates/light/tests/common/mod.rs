//! Peers that serve a chain made here, honestly or not, over real sockets; and what a light client should find on it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lode_chain::testing::{block_with, payments};
use lode_chain::{Chain, ChainOptions, HeaderChain};
use lode_coins::Coin;
use lode_light::{LightClient, LightOptions, Place, Status};
use lode_p2p::{HeaderInfo, Options, P2p, TxRef, View};
use lode_primitives::{
    Block, BlockFilter, BlockHash, Encode, Hash256, Header, Height, Multiplier, ScriptBuf, Transaction, Wtxid,
};

/// How long anything may take until it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn regtest() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

/// A chain with payments between outputs of every kind, and its filters.
pub struct World {
    pub coin: &'static Coin,
    pub blocks: Vec<Block>,
    pub headers: HeaderChain,
    pub filters: Vec<BlockFilter>,
    /// For each script the heights of the blocks that pay to it or spend from it.
    pub heights: HashMap<ScriptBuf, Vec<Height>>,
}

impl World {
    /// `rounds` blocks with payments on top of what makes outputs for them.
    pub fn new(rounds: u32, tag: u32) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::open(ChainOptions::new(regtest(), dir.path())).unwrap();
        let mut owned = payments::fan_out(&mut chain, 120);
        for round in 0..rounds {
            let transactions = payments::payments(&mut owned, 4);
            let parent = chain.tip().hash();
            let block = block_with(&chain, &parent, tag + round, transactions);
            let now = block.header.time;
            chain.accept_block(block, now).unwrap();
        }
        Self::of(&chain)
    }

    /// A short chain of its own without payments.
    pub fn short(coin: &'static Coin, count: u32, tag: u32) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
        lode_chain::testing::grow(&mut chain, count, tag);
        Self::of(&chain)
    }

    /// The blocks of `chain`.
    pub fn of(chain: &Chain) -> Arc<Self> {
        let mut world = Self {
            coin: chain.coin(),
            blocks: Vec::new(),
            headers: HeaderChain::new(chain.coin()),
            filters: Vec::new(),
            heights: HashMap::new(),
        };
        for height in 0..=chain.height() {
            let hash = chain.entry_at(height).unwrap().hash();
            let block = chain.block(&hash).unwrap().unwrap();
            world.headers.accept(&block.header, u32::MAX).unwrap();
            world.filters.push(chain.block_filter(&hash).unwrap().unwrap());
            let spent = chain.spent_outputs(&hash).unwrap().unwrap_or_default();
            let made = lode_primitives::filter::made(&block).map(<[u8]>::to_vec);
            let scripts = made.chain(spent.into_iter().flatten().map(|utxo| utxo.output.script_pubkey));
            for script in scripts {
                let heights = world.heights.entry(script).or_default();
                if heights.last() != Some(&height) {
                    heights.push(height);
                }
            }
            world.blocks.push(block);
        }
        Arc::new(world)
    }

    pub fn height(&self) -> Height {
        self.headers.height()
    }

    /// Every script but those of coinbases: the one everybody can spend, and the first block's, which nobody can.
    pub fn scripts(&self) -> Vec<ScriptBuf> {
        let first = &self.blocks[0].transactions[0].outputs[0].script_pubkey;
        let own = |script: &&ScriptBuf| **script != lode_chain::testing::anyone() && *script != first;
        self.heights.keys().filter(own).cloned().collect()
    }

    /// What a scan for `scripts` has to find.
    pub fn places(&self, scripts: &[ScriptBuf]) -> Vec<Place> {
        let heights: std::collections::BTreeSet<Height> =
            scripts.iter().filter_map(|script| self.heights.get(script)).flatten().copied().collect();
        let place = |height: Height| Place { height, hash: self.blocks[height as usize].hash() };
        heights.into_iter().map(place).collect()
    }
}

/// How a peer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Not at all.
    None,
    /// Its filter of this block lacks an output, and its filter headers commit to that.
    Filter(Height),
    /// Its filter of this block is not the one its filter headers commit to.
    OtherFilter(Height),
    /// It tells a wrong hash of this block's filter, but has the right one.
    FilterHash(Height),
    /// Its last header has no proof of work.
    Header,
    /// No lie: it is an old node, whose headers have no multipliers.
    OldHeaders,
    /// It has no blocks, though it says so.
    Withhold,
    /// Its blocks come with other transactions.
    Mutate,
    /// It answers no question about filters.
    Silent,
    /// No lie: it passes over the first questions about filters, as nodes do that have not made them yet.
    Late,
}

struct FakeChain {
    world: Arc<World>,
    lie: Lie,
    wrong: BTreeMap<Height, BlockFilter>,
    filter_headers: Vec<(Hash256, Hash256)>,
    /// Questions about filters that a late peer passes over, of each kind.
    passed_over: [AtomicUsize; 2],
}

/// A peer.
pub struct FakePeer {
    pub address: SocketAddr,
    p2p: P2p,
}

impl FakePeer {
    /// Serves `world`.
    pub async fn start(world: &Arc<World>, lie: Lie) -> Self {
        let mut wrong = BTreeMap::new();
        if let Lie::Filter(height) | Lie::OtherFilter(height) = lie {
            let block = &world.blocks[height as usize];
            let lacking = lode_primitives::filter::made(block).skip(1).filter(|script| script.len() > 1);
            let hash = block.hash();
            let lacking: Vec<&[u8]> = lacking.collect();
            assert!(lacking.len() > 1, "a block with payments");
            wrong.insert(height, BlockFilter::of_scripts(&hash, lacking[1..].iter().copied()));
        }
        let mut filter_headers = Vec::new();
        let mut header = Hash256::ZERO;
        for (height, filter) in (0..).zip(&world.filters) {
            let hash = match lie {
                Lie::Filter(at) if at == height => wrong[&height].hash(),
                Lie::FilterHash(at) if at == height => Hash256([7; 32]),
                _ => filter.hash(),
            };
            header = lode_primitives::filter::filter_header(&hash, &header);
            filter_headers.push((hash, header));
        }
        let view = FakeChain {
            world: Arc::clone(world),
            lie,
            wrong,
            filter_headers,
            passed_over: Default::default(),
        };
        let mut options = Options::new(world.coin);
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let (p2p, mut events) = lode_p2p::start(options, Arc::new(view)).await.unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        Self { address: p2p.listening()[0], p2p }
    }

    pub async fn stop(&self) {
        self.p2p.stop().await;
    }
}

impl FakeChain {
    /// The last block's filter is not there yet.
    fn is_late(&self, height: Height, kind: usize) -> bool {
        self.lie == Lie::Late
            && height == self.world.height()
            && self.passed_over[kind].fetch_add(1, Ordering::Relaxed) < 1
    }

    fn info(&self, entry: &lode_chain::BlockEntry) -> HeaderInfo {
        HeaderInfo {
            hash: entry.hash(),
            prev: entry.prev(),
            height: entry.height(),
            work: entry.work(),
            time: entry.time(),
            have_block: true,
            valid: true,
        }
    }
}

impl View for FakeChain {
    fn tip(&self) -> HeaderInfo {
        self.info(self.world.headers.tip())
    }

    fn best_header(&self) -> HeaderInfo {
        self.tip()
    }

    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        // Filters are answered up to blocks that are known.
        self.world.headers.entry(hash).filter(|_| self.lie != Lie::Silent).map(|entry| self.info(entry))
    }

    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        let headers = &self.world.headers;
        let Some(end) = headers.height_of(of) else { return Vec::new() };
        (first..=end)
            .take(count)
            .filter_map(|height| headers.entry_at(height))
            .map(|entry| entry.hash())
            .collect()
    }

    fn fork_height(&self, of: &BlockHash) -> Height {
        self.world.headers.fork_height(of).unwrap_or(0)
    }

    fn headers_after(&self, locator: &[BlockHash], _: &BlockHash, max: usize) -> Vec<Header> {
        let headers = &self.world.headers;
        let from = locator.iter().find_map(|hash| headers.height_of(hash)).unwrap_or(0);
        let mut found: Vec<Header> =
            self.world.blocks.iter().skip(from as usize + 1).take(max).map(|b| b.header.clone()).collect();
        if self.lie == Lie::OldHeaders {
            found.iter_mut().for_each(|header| header.multiplier = Some(Multiplier::default()));
        }
        if self.lie == Lie::Header
            && let Some(last) = found.last_mut()
        {
            while HeaderChain::check_pow(self.world.coin, last) {
                last.nonce += 1;
            }
        }
        found
    }

    fn block_bytes(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        let height = self.world.headers.height_of(hash)?;
        let mut block = self.world.blocks[height as usize].clone();
        match self.lie {
            Lie::Withhold => return None,
            Lie::Mutate => block.transactions[0].lock_time += 1,
            _ => {}
        }
        Some(block.to_bytes())
    }

    fn check_pow(&self, header: &Header) -> bool {
        HeaderChain::check_pow(self.world.coin, header)
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
        1_000
    }

    fn offers_filters(&self) -> bool {
        true
    }

    fn filter(&self, height: Height, _: &BlockHash) -> Option<Vec<u8>> {
        if self.is_late(height, 0) {
            return None;
        }
        let filter = self.wrong.get(&height).or_else(|| self.world.filters.get(height as usize))?;
        Some(filter.as_bytes().to_vec())
    }

    fn filter_header(&self, height: Height, _: &BlockHash) -> Option<(Hash256, Hash256)> {
        if self.is_late(height, 1) {
            return None;
        }
        self.filter_headers.get(height as usize).copied()
    }
}

/// A light client that talks to `peer` alone at first.
pub async fn client(directory: &Path, peer: SocketAddr) -> LightClient {
    client_of(regtest(), directory, peer).await
}

/// A light client of `coin` that talks to `peer` alone at first.
pub async fn client_of(coin: &'static Coin, directory: &Path, peer: SocketAddr) -> LightClient {
    let mut options = LightOptions::new(coin, directory);
    options.connect = vec![peer.to_string()];
    options.patience = Duration::from_secs(2);
    LightClient::start(options).await.unwrap()
}

/// Waits until the client's status is as wanted.
pub async fn until(client: &LightClient, what: &str, wanted: impl FnMut(&Status) -> bool) -> Status {
    let mut status = client.subscribe();
    let reached = tokio::time::timeout(PATIENCE, status.wait_for(wanted)).await;
    let reached = reached.map(|status| status.map(|status| *status));
    match reached {
        Ok(Ok(status)) => status,
        _ => panic!("{what}: still {:?}; left: {:?}", client.status(), client.left()),
    }
}

/// Looks for scripts in the whole chain.
pub async fn matching(client: &LightClient, scripts: Vec<ScriptBuf>, to: Height) -> Vec<Place> {
    let asking = client.clone();
    let found = tokio::task::spawn_blocking(move || asking.matching(scripts, 0, to));
    let found = tokio::time::timeout(PATIENCE, found).await.expect("a scan comes to an end").unwrap();
    found.unwrap_or_else(|error| panic!("{error}; left: {:?}", client.left()))
}

/// Fetches a block.
pub async fn block(client: &LightClient, hash: BlockHash) -> Arc<Block> {
    let asking = client.clone();
    let found = tokio::task::spawn_blocking(move || asking.block(hash));
    tokio::time::timeout(PATIENCE, found).await.expect("a block comes").unwrap().unwrap()
}
