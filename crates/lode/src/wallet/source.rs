//! The wallet's way to the chain over a node's JSON-RPC: this program's node, bitcoind, litecoind or their kin, with or
//! without an index of compact filters.

use std::time::{Duration, Instant};

use lode_coins::Coin;
use lode_node::rpc::client::{CALL_TIMEOUT, RpcClient, RpcClientError};
use lode_primitives::{
    Amount, Block, BlockHash, Decode as _, Encode as _, Height, OutPoint, ScriptBuf, Transaction, TxIn,
    TxOut, Txid, Witness,
};
use lode_wallet::{BlockRef, ChainBlock, FeeHint, FeeRate, Source, SourceError};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::embedded::EmbeddedNode;

/// A search of the filter index may take long: a whole chain of filters is read.
const SCAN_TIMEOUT: Duration = Duration::from_secs(600);
/// The index of compact filters, as nodes call it.
const FILTER_INDEX: &str = "basic block filter index";
/// An index that lacks more blocks than this is still being made, and not waited for.
const INDEX_LAG: u64 = 100;
/// How long the newest blocks' filters are waited for.
const INDEX_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at how far the index is: nodes tell nobody.
const INDEX_LOOK: Duration = Duration::from_millis(20);
/// Waiting transactions not seen before that are looked at one by one; with more, those of others show once mined.
const WAITING_MAX: usize = 2_000;

/// A node asked by JSON-RPC. It has a small runtime of its own, so that the wallet need not know of one.
pub(crate) struct RpcSource {
    client: RpcClient,
    /// There until it is dropped.
    runtime: Option<Runtime>,
    coin: &'static Coin,
    /// Whether the node can search compact filters, as far as it was tried.
    filters: bool,
    /// The node itself, where it lives in this process.
    node: Option<EmbeddedNode>,
}

impl RpcSource {
    /// Asks through `client`. Connects at the first call.
    pub(crate) fn new(client: RpcClient, coin: &'static Coin) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime: Some(runtime), coin, filters: true, node: None })
    }

    /// The coin and network.
    pub(crate) const fn coin(&self) -> &'static Coin {
        self.coin
    }

    /// Keeps the node that is asked alive.
    pub(super) fn keeping(mut self, node: EmbeddedNode) -> Self {
        self.node = Some(node);
        self
    }

    fn try_call(&self, method: &str, params: Value, timeout: Duration) -> Result<Value, RpcClientError> {
        let runtime = self.runtime.as_ref().expect("the runtime is taken in drop alone");
        runtime.block_on(self.client.call_within(method, params, timeout))
    }

    fn call(&self, method: &str, params: Value) -> Result<Value, SourceError> {
        self.try_call(method, params, CALL_TIMEOUT).map_err(|error| SourceError::Failed(error.to_string()))
    }

    fn senseless(&self, method: &str) -> SourceError {
        SourceError::Failed(format!("the node at {} answered {method} without sense", self.client.address()))
    }

    fn hash(&self, method: &str, value: &Value) -> Result<BlockHash, SourceError> {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| self.senseless(method))
    }

    /// The node's filters reach up to this height: bitcoind passes over blocks in silence whose filters it has not made
    /// yet. The newest block's are waited for.
    fn is_indexed(&self, height: Height) -> Result<bool, SourceError> {
        let began = Instant::now();
        loop {
            let info = match self.try_call("getindexinfo", json!([FILTER_INDEX]), CALL_TIMEOUT) {
                Ok(info) => info,
                Err(RpcClientError::Rpc(_)) => return Ok(false), // an old node
                Err(error) => return Err(SourceError::Failed(error.to_string())),
            };
            let Some(made) = info[FILTER_INDEX]["best_block_height"].as_u64() else { return Ok(false) };
            if made >= u64::from(height) {
                return Ok(true);
            }
            if u64::from(height) - made > INDEX_LAG || began.elapsed() > INDEX_PATIENCE {
                return Ok(false);
            }
            std::thread::sleep(INDEX_LOOK);
        }
    }

    /// The blocks that the filter index names, or `None` where there is no index.
    fn scan(
        &self,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
    ) -> Result<Option<Vec<BlockRef>>, SourceError> {
        if !self.is_indexed(to)? {
            return Ok(None);
        }
        let objects: Vec<String> =
            scripts.iter().map(|script| format!("raw({})", hex::encode(script))).collect();
        let answer = match self.try_call("scanblocks", json!(["start", objects, from, to]), SCAN_TIMEOUT) {
            Ok(answer) => answer,
            // No such method, no index, or one that is still being built: the blocks themselves tell.
            Err(RpcClientError::Rpc(error)) => {
                tracing::debug!(error = error.message, "no search by filters");
                return Ok(None);
            }
            Err(error) => return Err(SourceError::Failed(error.to_string())),
        };
        let (Some(hashes), Some(true)) =
            (answer["relevant_blocks"].as_array(), answer["completed"].as_bool())
        else {
            return Ok(None);
        };
        let mut blocks = Vec::new();
        for hash in hashes {
            let hash = self.hash("scanblocks", hash)?;
            let header = self.call("getblockheader", json!([hash.to_string()]))?;
            let height = header["height"].as_u64().and_then(|height| Height::try_from(height).ok());
            blocks.push(BlockRef { height: height.ok_or_else(|| self.senseless("getblockheader"))?, hash });
        }
        blocks.sort_by_key(|block| block.height);
        Ok(Some(blocks))
    }

    /// The block's transactions from the node's own reading of it, where there is more in it than we can decode
    /// (Litecoin's extension blocks).
    fn transactions_as_json(&self, at: BlockRef) -> Result<Vec<Transaction>, SourceError> {
        let block = self.call("getblock", json!([at.hash.to_string(), 2]))?;
        let list = block["tx"].as_array().ok_or_else(|| self.senseless("getblock"))?;
        list.iter().map(|tx| self.transaction_of_json(tx).ok_or_else(|| self.senseless("getblock"))).collect()
    }

    /// Inputs without their scripts and witnesses do: the wallet looks at what is spent and paid.
    fn transaction_of_json(&self, tx: &Value) -> Option<Transaction> {
        if let Some(tx) = tx["hex"].as_str().and_then(|hex| self.decode(hex)) {
            return Some(tx);
        }
        let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let inputs = tx["vin"].as_array()?.iter().map(|input| {
            let prevout = match (&input["txid"], &input["vout"]) {
                (Value::String(txid), vout) => OutPoint { txid: txid.parse().ok()?, vout: number(vout)? },
                _ => OutPoint::NULL,
            };
            let sequence = number(&input["sequence"]).unwrap_or(u32::MAX);
            Some(TxIn { prevout, script_sig: Vec::new(), sequence, witness: Witness::default() })
        });
        let outputs = tx["vout"].as_array()?.iter().map(|output| {
            let script_pubkey = hex::decode(output["scriptPubKey"]["hex"].as_str()?).ok()?;
            Some(TxOut { value: coins(&output["value"])?, script_pubkey })
        });
        Some(Transaction {
            version: i32::try_from(tx["version"].as_i64()?).ok()?,
            inputs: inputs.collect::<Option<_>>()?,
            // Outputs of another kind (MWEB's) have no script and are nobody's here.
            outputs: outputs
                .map(|output| output.unwrap_or(TxOut { value: Amount::ZERO, script_pubkey: vec![] }))
                .collect(),
            lock_time: number(&tx["locktime"])?,
            data: None,
        })
    }

    fn decode(&self, hex: &str) -> Option<Transaction> {
        Transaction::from_bytes(&hex::decode(hex).ok()?, self.coin.form).ok()
    }
}

impl Drop for RpcSource {
    /// Within another runtime none may be waited for; there is nothing to wait for either.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Source for RpcSource {
    fn tip(&mut self) -> Result<BlockRef, SourceError> {
        let info = self.call("getblockchaininfo", json!([]))?;
        let height = info["blocks"].as_u64().and_then(|height| Height::try_from(height).ok());
        let hash = self.hash("getblockchaininfo", &info["bestblockhash"])?;
        Ok(BlockRef { height: height.ok_or_else(|| self.senseless("getblockchaininfo"))?, hash })
    }

    fn block_hash(&mut self, height: Height) -> Result<Option<BlockHash>, SourceError> {
        match self.try_call("getblockhash", json!([height]), CALL_TIMEOUT) {
            Ok(value) => self.hash("getblockhash", &value).map(Some),
            Err(RpcClientError::Rpc(_)) => Ok(None), // above the tip
            Err(error) => Err(SourceError::Failed(error.to_string())),
        }
    }

    fn matching(
        &mut self,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
    ) -> Result<Vec<BlockRef>, SourceError> {
        if self.filters {
            match self.scan(scripts, from, to)? {
                Some(blocks) => return Ok(blocks),
                None => self.filters = false,
            }
        }
        let mut blocks = Vec::new();
        for height in from..=to {
            let Some(hash) = self.block_hash(height)? else { break };
            blocks.push(BlockRef { height, hash });
        }
        Ok(blocks)
    }

    fn block(&mut self, at: BlockRef) -> Result<ChainBlock, SourceError> {
        let answer = match self.try_call("getblock", json!([at.hash.to_string(), 0]), CALL_TIMEOUT) {
            Ok(answer) => answer,
            Err(RpcClientError::Rpc(error)) if error.message.contains("pruned") => {
                return Err(SourceError::Failed(format!(
                    "the node has deleted block {} (it prunes); ask one that keeps all blocks",
                    at.height
                )));
            }
            Err(RpcClientError::Rpc(_)) => return Err(SourceError::Gone(at)),
            Err(error) => return Err(SourceError::Failed(error.to_string())),
        };
        let bytes = answer.as_str().and_then(|text| hex::decode(text).ok());
        let bytes = bytes.ok_or_else(|| self.senseless("getblock"))?;
        if let Ok(block) = Block::from_bytes(&bytes, self.coin.form) {
            return Ok(ChainBlock { at, time: block.header.time, transactions: block.transactions });
        }
        let time = bytes.get(68..).and_then(<[u8]>::first_chunk::<4>).map(|time| u32::from_le_bytes(*time));
        let time = time.ok_or_else(|| self.senseless("getblock"))?;
        Ok(ChainBlock { at, time, transactions: self.transactions_as_json(at)? })
    }

    fn waiting(&mut self, known: &dyn Fn(&Txid) -> bool) -> Result<Vec<Transaction>, SourceError> {
        let list = self.call("getrawmempool", json!([]))?;
        let ids = list.as_array().ok_or_else(|| self.senseless("getrawmempool"))?;
        let unknown: Vec<&str> = ids
            .iter()
            .filter_map(Value::as_str)
            .filter(|id| id.parse().is_ok_and(|txid| !known(&txid)))
            .collect();
        if unknown.len() > WAITING_MAX {
            tracing::debug!(waiting = unknown.len(), "too many waiting transactions to look at each");
            return Ok(Vec::new());
        }
        let mut waiting = Vec::new();
        for id in unknown {
            // It may be mined or replaced meanwhile, or of a form of its own.
            if let Ok(Value::String(hex)) = self.try_call("getrawtransaction", json!([id]), CALL_TIMEOUT) {
                waiting.extend(self.decode(&hex));
            }
        }
        Ok(waiting)
    }

    fn broadcast(&mut self, transaction: &Transaction) -> Result<(), SourceError> {
        /// In the chain already.
        const ALREADY_IN_CHAIN: i32 = -27;
        let hex = hex::encode(transaction.to_bytes());
        match self.try_call("sendrawtransaction", json!([hex]), CALL_TIMEOUT) {
            Ok(_) => {
                if let Some(node) = &mut self.node {
                    node.sent = true;
                }
                Ok(())
            }
            Err(RpcClientError::Rpc(error))
                if error.code == ALREADY_IN_CHAIN || error.message.contains("already") =>
            {
                Ok(())
            }
            Err(RpcClientError::Rpc(error)) => Err(SourceError::Refused(error.message)),
            Err(error) => Err(SourceError::Failed(error.to_string())),
        }
    }

    fn fee_hint(&mut self, blocks: u16) -> Result<FeeHint, SourceError> {
        let rate =
            |value: &Value| Some(FeeRate::from_sat_per_kvb(u64::try_from(coins(value)?.to_sat()).ok()?));
        let least = FeeRate::from_sat_per_kvb(self.coin.min_relay_fee.to_sat().unsigned_abs());
        // Old nodes know neither call; then there is no estimate.
        let asked = |method: &str, params: Value| match self.try_call(method, params, CALL_TIMEOUT) {
            Ok(answer) => Ok(answer),
            Err(RpcClientError::Rpc(_)) => Ok(Value::Null),
            Err(error) => Err(SourceError::Failed(error.to_string())),
        };
        let floor = rate(&asked("getmempoolinfo", json!([]))?["mempoolminfee"]).unwrap_or(least).max(least);
        let estimate = rate(&asked("estimatesmartfee", json!([blocks]))?["feerate"]);
        Ok(FeeHint { estimate: estimate.map(|rate| rate.max(floor)), floor })
    }
}

/// An amount of JSON-RPC: coins as a decimal number.
fn coins(value: &Value) -> Option<Amount> {
    value.as_number()?.to_string().parse().ok()
}
