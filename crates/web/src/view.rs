//! What the dashboard shows. The JSON API serves these structs as they stand here: amounts are whole satoshi in
//! fields that end in `_sat`, times Unix seconds, work and hash rates in hashes.

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
    /// One miner by the address it is paid to.
    fn miner(&self, address: &str) -> Option<MinerView>;
    /// Marked changed whenever there is something new worth showing (a block, a new tip; shares a few times a second
    /// at most).
    fn changes(&self) -> watch::Receiver<u64>;
}

fn sat<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(amount.to_sat())
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
    /// Hashes a block takes on average.
    pub work_per_block: f64,
    /// Hashes a second, from the credit of accepted shares over the last minutes.
    pub hash_rate: f64,
    /// `(Unix seconds, hashes a second)`, oldest first.
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
    /// Work in the window, in hashes.
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
    /// Its work in the window, in hashes; none for the pool's fee.
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

/// A miner: all that is known of one address.
#[derive(Clone, Debug, Serialize)]
pub struct MinerView {
    /// Where it is paid.
    pub address: String,
    /// Hashes a second, over the last minutes.
    pub hash_rate: f64,
    /// `(Unix seconds, hashes a second)`, oldest first.
    pub hash_rate_history: Vec<(u64, f64)>,
    /// Work in the window, in hashes.
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
}

/// One of a miner's machines.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    /// Its name; empty where it gave none.
    pub name: String,
    /// Hashes a second, over the last minutes.
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
