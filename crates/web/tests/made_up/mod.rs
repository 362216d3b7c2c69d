//! A pool that does not exist, for looking at pages and testing them.

use std::pin::Pin;
use std::sync::Arc;

use lode_primitives::Amount;
use lode_web::view::*;
use tokio::sync::watch;

/// Views of a small pool; `changes` fires when `sender` is told so.
pub(crate) struct MadeUp {
    /// Tells listeners that something changed.
    pub(crate) sender: watch::Sender<u64>,
    /// Blocks are chains of primes and carry data.
    pub(crate) prime: bool,
}

pub(crate) const MINER: &str = "lobt1qw508d6qejxtdg4y5r3zarvary0c5xw7k3l0p7n";
/// What strangers put into blocks.
pub(crate) const PAGE: &str = "<script>alert(document.cookie)</script>\nHello, world.";
pub(crate) const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n<svg onload=alert(1)>";
pub(crate) const HASH: &str = "00000000a3c1d9e1f3b9d3c1b24cfa7d9d0f5f5a2a9d4ad8a1a6b0cc8e4b1f07";
const NOW: u64 = 1_790_000_000;

impl MadeUp {
    pub(crate) fn new() -> Self {
        Self { sender: watch::Sender::new(0), prime: false }
    }

    pub(crate) fn of_primes() -> Self {
        Self { prime: true, ..Self::new() }
    }
}

fn history() -> Vec<(u64, f64)> {
    (0..60u32)
        .map(|i| (NOW - 3600 + u64::from(i) * 60, 2.1e7 * (1.0 + 0.3 * f64::from(i * 7 % 11) / 11.0)))
        .collect()
}

fn payouts(height: u32) -> PayoutsView {
    let line = |address: &str, sat: i64, work: f64, is_fee| PayoutView {
        address: address.to_owned(),
        amount: Amount::from_sat(sat),
        work,
        earned: Amount::from_sat(sat + if is_fee { 0 } else { 12 }),
        owed_after: Amount::from_sat(if is_fee { 0 } else { 12 }),
        is_fee,
    };
    PayoutsView {
        height,
        reward: Amount::from_coins(50),
        outputs: vec![
            line(MINER, 3_111_111_111, 4.1e9, false),
            line("lobt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0g", 1_838_888_889, 2.4e9, false),
            line("lobt1q0xcqpzrky6eff2g52qdye53xkk9jxkvr6ysfzm", 50_000_000, 0.0, true),
        ],
    }
}

fn found(height: u32, state: BlockState) -> BlockView {
    BlockView {
        hash: HASH.replace("a3c1", &format!("{height:04x}")),
        time: NOW - 700 + u64::from(height),
        finder: MINER.to_owned(),
        worker: "<script>alert(1)</script>".to_owned(),
        state,
        coinbase_txid: HASH.to_owned(),
        effort: 0.83,
        payouts: payouts(height),
    }
}

impl Source for MadeUp {
    fn pool(&self) -> PoolView {
        PoolView {
            coin: if self.prime { "datacoin" } else { "bitcoin" }.into(),
            ticker: if self.prime { "DTC" } else { "BTC" }.into(),
            network: "local".into(),
            stratum_url: "stratum+tcp://127.0.0.1:3333".into(),
            now: NOW,
            started: NOW - 86_400,
            tip_height: 204,
            tip_hash: HASH.into(),
            difficulty: 0.0731,
            chain_length: self.prime.then_some(10.4142),
            algorithm: if self.prime { "prime" } else { "sha256d" }.into(),
            work_unit: if self.prime { WorkUnit::Chains } else { WorkUnit::Hashes },
            work_per_block: 3.1e8,
            hash_rate: 2.7e7,
            hash_rate_history: history(),
            connections: 3,
            miners: 2,
            shares_accepted: 80_412,
            shares_refused: vec![("stale".into(), 12), ("low difficulty".into(), 3)],
            window: "shares of the last hour".into(),
            window_work: 6.5e9,
            fee_basis_points: 100,
            blocks_found: 41,
            luck: Some(1.07),
            effort: 0.42,
            next_block: payouts(205),
            notices: vec!["Near the limit of open files: 18,400 of 20,000 connections.".into()],
        }
    }

    fn blocks(&self, limit: usize) -> Vec<BlockView> {
        let states = [
            BlockState::Found,
            BlockState::Confirmed { depth: 1 },
            BlockState::Orphaned,
            BlockState::Rejected { reason: "bad-cb-amount".into() },
            BlockState::Confirmed { depth: 144 },
        ];
        states
            .into_iter()
            .zip((0..205u32).rev())
            .map(|(state, height)| found(height, state))
            .take(limit)
            .collect()
    }

    fn block(&self, hash: &str) -> Option<BlockView> {
        self.blocks(500).into_iter().find(|block| block.hash == hash)
    }

    fn content(&self, hash: &str) -> Pin<Box<dyn Future<Output = Option<Arc<BlockContent>>> + Send + '_>> {
        let there = self.prime && self.block(hash).is_some();
        let content = there.then(|| {
            Arc::new(BlockContent {
                chain: Some(ChainView {
                    kind: "2CC".into(),
                    kind_in_words: "Cunningham chain of the second kind",
                    length: 10.4301,
                    origin:
                        "61592551716229060392971860549140211602858978086524024531871935735163762961673908480"
                            .into(),
                    multiplier: "3486784401".into(),
                }),
                data: [(1, PAGE.as_bytes()), (2, PICTURE)]
                    .map(|(txid, bytes)| DataView {
                        txid: format!("{txid:064x}"),
                        size: bytes.len(),
                        bytes: bytes.to_vec(),
                    })
                    .into(),
            })
        });
        Box::pin(std::future::ready(content))
    }

    fn miner(&self, address: &str) -> Option<MinerView> {
        (address == MINER).then(|| MinerView {
            address: MINER.into(),
            hash_rate: 1.7e7,
            hash_rate_history: history(),
            work: 4.1e9,
            part: 0.63,
            paid: Amount::from_coins(1312),
            owed: Amount::from_sat(-1234),
            next_block: Amount::from_sat(3_111_111_111),
            workers: vec![WorkerView {
                name: "<b>attic</b>".into(),
                hash_rate: 1.7e7,
                difficulty: 0.001,
                accepted: 40_211,
                refused: 3,
                last_share: NOW - 2,
                connected: false,
            }],
            payments: vec![PaymentView {
                height: 203,
                hash: HASH.into(),
                time: NOW - 90,
                amount: Amount::from_sat(3_111_111_111),
                state: BlockState::Confirmed { depth: 2 },
            }],
            luck: self.prime.then_some(LuckView { blocks: 3, expected: 9.42, others: 1.04, odds: 0.0127 }),
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.sender.subscribe()
    }
}
