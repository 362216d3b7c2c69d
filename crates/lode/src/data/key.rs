//! A single private key as the purse that pays for a file.

use anyhow::{Context, bail, ensure};
use lode_coins::Coin;
use lode_node::rpc::client::RpcClient;
use lode_primitives::{Amount, Encode, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid, hash160};
use lode_script::{SighashType, TxSighashes, build, sign};
use secp256k1::{SECP256K1, SecretKey};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Offer, Purse, runtime};

/// Bytes of a signed input's script at most: a signature of 72 with its type, a key of 33, a length before each.
const SCRIPT_SIG_BYTES: usize = 107;
/// Inputs of one transaction at most: each adds 148 bytes, and a standard transaction has an end.
const MAX_INPUTS: usize = 500;

/// The outputs of one key, found by the node's `scantxoutset`.
pub(super) struct KeyPurse {
    coin: &'static Coin,
    key: SecretKey,
    client: RpcClient,
    runtime: Runtime,
    plan: Option<Plan>,
}

impl KeyPurse {
    /// With the key in the first line of `text`, which came `from` there. A key is never a flag, which every user of the
    /// machine could read.
    pub(super) fn new(
        coin: &'static Coin,
        text: &str,
        from: &str,
        client: RpcClient,
    ) -> anyhow::Result<Self> {
        let key = coin
            .decode_wif(text.lines().next().unwrap_or_default().trim())
            .with_context(|| format!("{from} does not begin with a private key of {coin}"))?;
        let key = SecretKey::from_slice(&key)?;
        Ok(Self { coin, key, client, runtime: runtime()?, plan: None })
    }

    fn script(&self) -> ScriptBuf {
        build::p2pkh(&hash160(&self.key.public_key(SECP256K1).serialize()))
    }
}

impl Purse for KeyPurse {
    fn plan(&mut self, data: Vec<u8>) -> anyhow::Result<Offer> {
        let script = self.script();
        let address = self.coin.script_to_address(&script).context("a key has an address")?;
        let coins = self.runtime.block_on(spendable(&self.client, self.coin, &address))?;
        let plan = Plan::choose(self.coin, &script, data, coins)
            .with_context(|| format!("cannot pay from {address}"))?;
        let offer = Offer { from: address, fee: plan.fee, change: plan.change, size: plan.size };
        self.plan = Some(plan);
        Ok(offer)
    }

    fn pay(&mut self) -> anyhow::Result<Txid> {
        let tx = self.plan.take().context("nothing was planned")?.sign(&self.key)?;
        let txid = tx.txid();
        let hex = hex::encode(tx.to_bytes());
        let sent = self.runtime.block_on(self.client.call("sendrawtransaction", json!([hex])))?;
        ensure!(
            sent.as_str() == Some(&txid.to_string()),
            "the node took the transaction as {sent}, not as {txid}"
        );
        Ok(txid)
    }
}

/// An output of the paying key.
struct Spendable {
    outpoint: OutPoint,
    value: Amount,
}

/// What the address can spend now, the largest first: mature, and not spent in the mempool.
async fn spendable(client: &RpcClient, coin: &Coin, address: &str) -> anyhow::Result<Vec<Spendable>> {
    let found = client.call("scantxoutset", json!(["start", [format!("addr({address})")]])).await?;
    let tip = found["height"].as_u64().context("the node's scan gives no height")?;
    let mut coins = Vec::new();
    for entry in found["unspents"].as_array().into_iter().flatten() {
        let (txid, vout) = (entry["txid"].as_str(), entry["vout"].as_u64());
        let (Some(txid), Some(vout)) = (txid, vout) else {
            bail!("the node's scan gives an output without a place")
        };
        // 0.16's answers do not say what a coinbase is; `gettxout` does, and knows the mempool.
        let output = client.call("gettxout", json!([txid, vout, true])).await?;
        let Some(value) = output.get("value") else { continue };
        let depth = entry["height"].as_u64().map_or(0, |height| tip + 1 - height);
        if output["coinbase"] == true && depth < u64::from(coin.coinbase_maturity) {
            continue;
        }
        let outpoint = OutPoint { txid: txid.parse()?, vout: u32::try_from(vout)? };
        coins.push(Spendable { outpoint, value: value.to_string().parse()? });
    }
    coins.sort_by_key(|coin| std::cmp::Reverse(coin.value.to_sat()));
    Ok(coins)
}

/// A transaction that only wants signatures.
struct Plan {
    tx: Transaction,
    spent: Vec<TxOut>,
    fee: Amount,
    change: Amount,
    size: usize,
}

impl Plan {
    /// As few of `coins` as pay for the data, with change to `script`.
    fn choose(coin: &Coin, script: &[u8], data: Vec<u8>, coins: Vec<Spendable>) -> anyhow::Result<Self> {
        let mut tx = Transaction {
            version: 1,
            inputs: Vec::new(),
            outputs: vec![TxOut { value: Amount::ZERO, script_pubkey: script.to_vec() }],
            lock_time: 0,
            data: Some(data),
        };
        let (mut spent, mut total, mut least) = (Vec::new(), Amount::ZERO, Amount::ZERO);
        let available = coins.len();
        ensure!(
            available > 0,
            "it has nothing to spend now; what it mined can be spent {} blocks later, change once it is mined",
            coin.coinbase_maturity
        );
        for from in coins.into_iter().take(MAX_INPUTS) {
            let script_sig = vec![0; SCRIPT_SIG_BYTES];
            tx.inputs.push(TxIn { script_sig, ..TxIn::spending(from.outpoint) });
            total = total.checked_add(from.value).context("more than there can be")?;
            spent.push(TxOut { value: from.value, script_pubkey: script.to_vec() });
            let size = tx.total_size();
            least = coin.least_fee(size);
            let Some(change) = total.checked_sub(least).filter(|change| *change >= coin.min_output) else {
                continue;
            };
            tx.outputs[0].value = change;
            return Ok(Self { tx, spent, fee: least, change, size });
        }
        bail!(
            "it has {total} {ticker} to spend in {available} outputs; the fee alone is {least} {ticker}, and change must be {} at least",
            coin.min_output,
            ticker = coin.ticker
        )
    }

    fn sign(mut self, key: &SecretKey) -> anyhow::Result<Transaction> {
        let unsigned = self.tx.clone();
        let sighashes = TxSighashes::new(&unsigned, &self.spent);
        for (index, input) in self.tx.inputs.iter_mut().enumerate() {
            (input.script_sig, input.witness) = sign::input(&sighashes, index, key, SighashType::ALL)?;
        }
        Ok(self.tx)
    }
}
