//! What the dashboard shows. The JSON API serves these structs as they stand here: amounts are whole satoshi in
//! fields that end in `_sat`, times Unix seconds, work and rates in the pool's [`WorkUnit`].

use std::pin::Pin;
use std::sync::Arc;

use lode_primitives::Amount;
use serde::{Serialize, Serializer};
use tokio::sync::watch;

/// Where views come from. Each call answers from memory, at once.
pub trait Source: Send + Sync + 'static {
    /// The pool as a whole, now.
    fn pool(&self) -> PoolView;
    /// Found blocks, newest first, at most `limit`.
    fn blocks(&self, limit: usize) -> Vec<BlockView>;
    /// One found block by its id.
    fn block(&self, hash: &str) -> Option<BlockView>;
    /// What one found block carries beside money, by its id. It may take a look into a node, so it is awaited; `None` where
    /// the coin's blocks carry nothing of the kind, or the block cannot be had any more.
    fn content(&self, hash: &str) -> Pin<Box<dyn Future<Output = Option<Arc<BlockContent>>> + Send + '_>>;
    /// One miner by the address it is paid to.
    fn miner(&self, address: &str) -> Option<MinerView>;
    /// Marked changed whenever there is something new worth showing (a block, a new tip; shares a few times a second
    /// at most).
    fn changes(&self) -> watch::Receiver<u64>;
}

fn sat<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(amount.to_sat())
}

/// What work is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum WorkUnit {
    /// Hashes.
    #[default]
    #[serde(rename = "hashes")]
    Hashes,
    /// Chains of six primes: what longer and shorter ones are worth in them.
    #[serde(rename = "chains_of_6")]
    Chains,
}

/// The pool as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct PoolView {
    /// Coin, as in `bitcoin`.
    pub coin: String,
    /// The coin's ticker, as in `BTC`.
    pub ticker: String,
    /// Network, as in `main`.
    pub network: String,
    /// Where miners connect, as `stratum+tcp://HOST:PORT`.
    pub stratum_url: String,
    /// Unix seconds of this view.
    pub now: u64,
    /// Unix seconds at which the pool started.
    pub started: u64,
    /// Height of the best block.
    pub tip_height: u32,
    /// Id of the best block.
    pub tip_hash: String,
    /// The network's difficulty.
    pub difficulty: f64,
    /// Prime chains: the least length of a block's chain, in primes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_length: Option<f64>,
    /// What work is proven with, as `lode mine -a` takes it.
    pub algorithm: String,
    /// What all work is counted in.
    pub work_unit: WorkUnit,
    /// Work a block takes on average.
    pub work_per_block: f64,
    /// Work a second, from the credit of accepted shares over the last minutes.
    pub hash_rate: f64,
    /// `(Unix seconds, work a second)`, oldest first.
    pub hash_rate_history: Vec<(u64, f64)>,
    /// Open connections.
    pub connections: u64,
    /// Accounts with work in the window.
    pub miners: u64,
    /// Shares accepted since the start.
    pub shares_accepted: u64,
    /// Shares refused since the start, by reason.
    pub shares_refused: Vec<(String, u64)>,
    /// Which work is paid by, in words: "shares of the last hour".
    pub window: String,
    /// Work in the window.
    pub window_work: f64,
    /// The pool's fee in basis points (hundredths of a percent).
    pub fee_basis_points: u32,
    /// Blocks found that stand or may yet.
    pub blocks_found: u64,
    /// Work that blocks should have taken over the work they took; above 1 is lucky. `None` without a block.
    pub luck: Option<f64>,
    /// Work since the last found block over the work a block takes.
    pub effort: f64,
    /// What the block being worked on would pay.
    pub next_block: PayoutsView,
    /// What an operator should know now: limits near, a node down.
    pub notices: Vec<String>,
}

/// How one block's reward is split.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PayoutsView {
    /// The block's height.
    pub height: u32,
    /// Subsidy and fees.
    #[serde(rename = "reward_sat", serialize_with = "sat")]
    pub reward: Amount,
    /// The coinbase's outputs in order, the pool's fee among them.
    pub outputs: Vec<PayoutView>,
}

/// One payee of a block.
#[derive(Clone, Debug, Serialize)]
pub struct PayoutView {
    /// Whom.
    pub address: String,
    /// What the coinbase pays.
    #[serde(rename = "amount_sat", serialize_with = "sat")]
    pub amount: Amount,
    /// Its work in the window; none for the pool's fee.
    pub work: f64,
    /// What it has earned by that work before anything carried.
    #[serde(rename = "earned_sat", serialize_with = "sat")]
    pub earned: Amount,
    /// What remains owed to it afterwards; below zero where it has been paid ahead.
    #[serde(rename = "owed_after_sat", serialize_with = "sat")]
    pub owed_after: Amount,
    /// True for the pool's own fee.
    pub is_fee: bool,
}

/// What became of a found block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum BlockState {
    /// On disk, given to the nodes, no answer yet.
    Found,
    /// In the best chain, with so many blocks on it, itself counted.
    Confirmed {
        /// Confirmations.
        depth: u32,
    },
    /// Another block took its place.
    Orphaned,
    /// Every node refused it.
    Rejected {
        /// The node's reason.
        reason: String,
    },
}

/// A block that the pool found.
#[derive(Clone, Debug, Serialize)]
pub struct BlockView {
    /// Its id.
    pub hash: String,
    /// Unix seconds at which it was found.
    pub time: u64,
    /// The address of the miner who found it.
    pub finder: String,
    /// That miner's worker.
    pub worker: String,
    /// What became of it.
    #[serde(flatten)]
    pub state: BlockState,
    /// Id of its first transaction.
    pub coinbase_txid: String,
    /// Work it took over the work a block takes; below 1 is lucky.
    pub effort: f64,
    /// Who was paid what.
    pub payouts: PayoutsView,
}

/// What a block carries beside money.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BlockContent {
    /// Its proof of work, where that is a chain of primes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainView>,
    /// The data of its transactions, in order.
    pub data: Vec<DataView>,
}

/// A chain of primes.
#[derive(Clone, Debug, Serialize)]
pub struct ChainView {
    /// Its kind in short, as the coin's node writes it: `1CC`, `2CC`, `TWN`.
    pub kind: String,
    /// Its kind in words.
    pub kind_in_words: &'static str,
    /// Its length in primes, the fraction of the first number that is none included.
    pub length: f64,
    /// The number it grows around, decimal: the header's hash times the multiplier.
    pub origin: String,
    /// The multiplier, decimal.
    pub multiplier: String,
}

/// Data that a transaction carries.
#[derive(Clone, Serialize)]
pub struct DataView {
    /// The transaction.
    pub txid: String,
    /// How many bytes.
    pub size: usize,
    /// The bytes. Strangers wrote them.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl DataView {
    /// The data as text, where it is one: UTF-8 without control characters other than those that part lines and words.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        text.chars().all(plain).then_some(text)
    }
}

impl std::fmt::Debug for DataView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataView({}, {} bytes)", self.txid, self.size)
    }
}

/// A miner: all that is known of one address.
#[derive(Clone, Debug, Serialize)]
pub struct MinerView {
    /// Where it is paid.
    pub address: String,
    /// Work a second, over the last minutes.
    pub hash_rate: f64,
    /// `(Unix seconds, work a second)`, oldest first.
    pub hash_rate_history: Vec<(u64, f64)>,
    /// Work in the window.
    pub work: f64,
    /// Its part of all work in the window, 0 to 1.
    pub part: f64,
    /// Paid by coinbases that stand in the best chain.
    #[serde(rename = "paid_sat", serialize_with = "sat")]
    pub paid: Amount,
    /// Owed beside that; below zero where it has been paid ahead.
    #[serde(rename = "owed_sat", serialize_with = "sat")]
    pub owed: Amount,
    /// What the block being worked on would pay it.
    #[serde(rename = "next_block_sat", serialize_with = "sat")]
    pub next_block: Amount,
    /// Its machines, those with a share in the window or a connection.
    pub workers: Vec<WorkerView>,
    /// Blocks that paid it, newest first.
    pub payments: Vec<PaymentView>,
    /// Prime chains: its blocks against its shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub luck: Option<LuckView>,
}

/// The blocks a miner found against those that its shares are worth: a search tuned for short chains brings shares without the blocks
/// that belong to them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LuckView {
    /// Blocks it found.
    pub blocks: u32,
    /// Blocks that its shares are worth by the pool's measure.
    pub expected: f64,
    /// Blocks that the pool's other miners found for each that their shares are worth.
    pub others: f64,
    /// The probability that luck alone brings one who searches like the others so few blocks; or so many, where there are more than
    /// expected. 0 to 1.
    pub odds: f64,
}

/// One of a miner's machines.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// Its name; empty where it gave none.
    pub name: String,
    /// Work a second, over the last minutes.
    pub hash_rate: f64,
    /// Share difficulty given to it now.
    pub difficulty: f64,
    /// Shares accepted.
    pub accepted: u64,
    /// Shares refused.
    pub refused: u64,
    /// Unix seconds of its last share, 0 without one.
    pub last_share: u64,
    /// True while it has a connection.
    pub connected: bool,
}

/// One payment to a miner.
#[derive(Clone, Debug, Serialize)]
pub struct PaymentView {
    /// The block's height.
    pub height: u32,
    /// The block's id.
    pub hash: String,
    /// Unix seconds at which the block was found.
    pub time: u64,
    /// How much.
    #[serde(rename = "amount_sat", serialize_with = "sat")]
    pub amount: Amount,
    /// What became of the block.
    #[serde(flatten)]
    pub state: BlockState,
}
