//! Shapes that many methods share: amounts, scripts, transactions, hex in and out.

use lode_coins::Coin;
use lode_primitives::{Amount, Block, Decode, Encode, Form, Height, Transaction, TxOut};
use lode_script::{ScriptKind, asm, asm_with_sighash_types, classify};
use serde_json::{Map, Number, Value, json};

use super::descriptor;
use super::error::RpcError;
use super::methods::prime;

/// An amount in coins, with eight decimals.
pub(crate) fn amount(amount: Amount) -> Value {
    let number: Number = amount.to_string().parse().expect("an amount prints as a decimal number");
    Value::Number(number)
}

/// A feerate in coins per 1,000 virtual bytes, from satoshi per 1,000 virtual bytes.
pub(crate) fn feerate(sat_per_kvb: u64) -> Value {
    amount(Amount::from_sat(i64::try_from(sat_per_kvb).unwrap_or(i64::MAX)))
}

/// Hex of anything's wire form.
pub(crate) fn hex_of(value: &impl Encode) -> String {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    hex::encode(bytes)
}

/// An output script. Without `address` only `asm` and `type`, as for scripts that are no output.
pub(crate) fn script(coin: &Coin, script: &[u8], with_hex: bool, with_address: bool) -> Map<String, Value> {
    let kind = classify(script);
    let mut out = Map::new();
    out.insert("asm".into(), asm(script).into());
    if with_address {
        out.insert("desc".into(), descriptor::infer(coin, script).into());
    }
    if with_hex {
        out.insert("hex".into(), hex::encode(script).into());
    }
    if with_address
        && !matches!(kind, ScriptKind::PubKey(_))
        && let Some(address) = coin.script_to_address(script)
    {
        out.insert("address".into(), address.into());
    }
    out.insert("type".into(), kind.name().into());
    out
}

/// An output that a transaction spent, with where it came from.
pub(crate) struct Spent {
    /// The output.
    pub(crate) output: TxOut,
    /// Height of its block.
    pub(crate) height: Height,
    /// It is a coinbase's.
    pub(crate) coinbase: bool,
}

impl From<lode_chain::Utxo> for Spent {
    fn from(utxo: lode_chain::Utxo) -> Self {
        Self { output: utxo.output, height: utxo.height, coinbase: utxo.coinbase }
    }
}

/// A transaction; `spent` (one per input, if known) adds the fee, and `show_spent` the outputs themselves.
pub(crate) fn transaction(
    coin: &Coin,
    tx: &Transaction,
    spent: Option<&[Spent]>,
    show_spent: bool,
    with_hex: bool,
) -> Map<String, Value> {
    let mut out = Map::new();
    let weight = tx.weight();
    out.insert("txid".into(), tx.txid().to_string().into());
    out.insert("hash".into(), tx.wtxid().to_string().into());
    // Shown as the unsigned number the rules compare.
    out.insert("version".into(), tx.version.cast_unsigned().into());
    out.insert("size".into(), tx.total_size().into());
    out.insert("vsize".into(), weight.div_ceil(4).into());
    out.insert("weight".into(), weight.into());
    out.insert("locktime".into(), tx.lock_time.into());
    if let Some(data) = &tx.data {
        out.insert("data".into(), prime::encode(data).into());
    }
    let spent = spent.filter(|spent| spent.len() == tx.inputs.len());
    let mut inputs = Vec::with_capacity(tx.inputs.len());
    for (i, input) in tx.inputs.iter().enumerate() {
        let mut entry = Map::new();
        if tx.is_coinbase() {
            entry.insert("coinbase".into(), hex::encode(&input.script_sig).into());
        } else {
            entry.insert("txid".into(), input.prevout.txid.to_string().into());
            entry.insert("vout".into(), input.prevout.vout.into());
            entry.insert(
                "scriptSig".into(),
                json!({"asm": asm_with_sighash_types(&input.script_sig), "hex": hex::encode(&input.script_sig)}),
            );
        }
        if !input.witness.is_empty() {
            let items: Vec<String> = input.witness.0.iter().map(hex::encode).collect();
            entry.insert("txinwitness".into(), items.into());
        }
        if show_spent && let Some(spent) = spent.and_then(|spent| spent.get(i)) {
            entry.insert(
                "prevout".into(),
                json!({
                    "generated": spent.coinbase,
                    "height": spent.height,
                    "value": amount(spent.output.value),
                    "scriptPubKey": script(coin, &spent.output.script_pubkey, true, true),
                }),
            );
        }
        entry.insert("sequence".into(), input.sequence.into());
        inputs.push(Value::Object(entry));
    }
    out.insert("vin".into(), inputs.into());
    let outputs: Vec<Value> = tx
        .outputs
        .iter()
        .enumerate()
        .map(|(n, output)| {
            json!({
                "value": amount(output.value),
                "n": n,
                "scriptPubKey": script(coin, &output.script_pubkey, true, true),
            })
        })
        .collect();
    out.insert("vout".into(), outputs.into());
    if let Some(spent) = spent {
        let paid_in = Amount::checked_sum(spent.iter().map(|spent| spent.output.value));
        let paid_out = Amount::checked_sum(tx.outputs.iter().map(|output| output.value));
        if let (Some(paid_in), Some(paid_out)) = (paid_in, paid_out)
            && let Some(fee) = paid_in.checked_sub(paid_out)
        {
            out.insert("fee".into(), amount(fee));
        }
    }
    if with_hex {
        out.insert("hex".into(), hex_of(tx).into());
    }
    out
}

/// A transaction from hex. A transaction without inputs reads as one without witnesses, where the first reading fails.
pub(crate) fn parse_transaction(coin: &Coin, text: &str) -> Result<Transaction, RpcError> {
    let failed = || RpcError::decode("TX decode failed. Make sure the tx has at least one input.");
    let bytes = hex::decode(text).map_err(|_| failed())?;
    Transaction::from_bytes(&bytes, coin.form)
        .or_else(|_| Transaction::from_bytes(&bytes, Form { witness: false, ..coin.form }))
        .map_err(|_| failed())
}

/// A block from hex.
pub(crate) fn parse_block(coin: &Coin, text: &str) -> Result<Block, RpcError> {
    let failed = || RpcError::decode("Block decode failed");
    let bytes = hex::decode(text).map_err(|_| failed())?;
    Block::from_bytes(&bytes, coin.form).map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_eight_decimals() {
        for (sat, text) in [(0, "0.00000000"), (1, "0.00000001"), (-150_000_000, "-1.50000000")] {
            assert_eq!(amount(Amount::from_sat(sat)).to_string(), text);
        }
    }
}
