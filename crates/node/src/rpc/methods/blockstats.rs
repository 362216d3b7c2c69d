//! `getblockstats`: fees, sizes and outputs of one block.

use std::sync::Arc;

use lode_primitives::{Block, Transaction, TxOut};
use lode_script::is_unspendable;
use serde_json::{Map, Value, json};

use super::blockchain::{block_not_found, read_failed};
use crate::node::Node;
use crate::rpc::error::RpcError;
use crate::rpc::params::{Params, expect_height, expect_text, parse_block_hash};

/// Bytes an unspent output takes beside itself, as the reference client counts: outpoint, height, coinbase flag.
const OUTPUT_OVERHEAD: i64 = 32 + 4 + 4 + 1;

pub(crate) fn block_stats(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let state = node.read();
    let chain = &state.chain;
    let entry = match params.value(0) {
        height @ Value::Number(_) => {
            let height = expect_height(height)?;
            let tip = chain.height();
            if height < 0 {
                return Err(RpcError::parameter(format!("Target block height {height} is negative")));
            }
            u32::try_from(height).ok().and_then(|height| chain.entry_at(height)).ok_or_else(|| {
                RpcError::parameter(format!("Target block height {height} after current tip {tip}"))
            })?
        }
        given => chain.entry(&parse_block_hash(given, "hash_or_height")?).ok_or_else(block_not_found)?,
    };
    let hash = entry.hash();
    let block = chain
        .block(&hash)
        .map_err(|error| read_failed(&error))?
        .ok_or_else(|| RpcError::misc("Block not available (not fully downloaded)"))?;
    let spent = chain.spent_outputs(&hash).map_err(|error| read_failed(&error))?.unwrap_or_default();
    let mut stats = figures(&block, &spent);
    let mut put = |key: &str, value: Value| {
        stats.insert(key.into(), value);
    };
    put("blockhash", hash.to_string().into());
    put("height", entry.height().into());
    put("mediantime", chain.median_time_past(&hash).into());
    put("time", entry.time().into());
    put("subsidy", node.coin.subsidy(entry.height(), entry.bits()).to_sat().into());
    if let Some(wanted) = params.array(1).filter(|wanted| !wanted.is_empty()) {
        let mut only = Map::new();
        for name in wanted {
            let name = expect_text(name)?;
            let value = stats
                .get(name)
                .ok_or_else(|| RpcError::parameter(format!("Invalid selected statistic '{name}'")))?;
            only.insert(name.into(), value.clone());
        }
        return Ok(only.into());
    }
    Ok(stats.into())
}

/// The middle of the values; of two middles, their mean.
fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    match values.len() {
        0 => 0,
        n if n % 2 == 1 => values[n / 2],
        n => i64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// Bytes of an output on the wire.
fn output_bytes(output: &TxOut) -> i64 {
    let script = output.script_pubkey.len();
    (8 + lode_primitives::compact_size_len(script as u64) + script) as i64
}

/// The feerates below which 10, 25, 50, 75 and 90 percent of the weight pay.
fn percentiles(mut rates: Vec<(i64, i64)>, weight: i64) -> [i64; 5] {
    rates.sort_unstable();
    let mut out = [0; 5];
    let shares = [0.1, 0.25, 0.5, 0.75, 0.9].map(|share| weight as f64 * share);
    let (mut next, mut sum) = (0, 0);
    for (rate, weight) in &rates {
        sum += weight;
        while next < shares.len() && sum as f64 >= shares[next] {
            out[next] = *rate;
            next += 1;
        }
    }
    if let Some((last, _)) = rates.last() {
        out[next..].fill(*last);
    }
    out
}

fn figures(block: &Block, spent: &[Vec<lode_chain::Utxo>]) -> Map<String, Value> {
    let (mut ins, mut outs, mut kept, mut total_out, mut total_fee) = (0i64, 0i64, 0i64, 0i64, 0i64);
    let (mut total_size, mut total_weight) = (0i64, 0i64);
    let (mut witness_size, mut witness_weight, mut witness_count) = (0i64, 0i64, 0i64);
    let (mut utxo_size, mut utxo_size_kept) = (0i64, 0i64);
    let (mut fees, mut sizes, mut rates, mut rate_weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, tx) in block.transactions.iter().enumerate() {
        outs += tx.outputs.len() as i64;
        for output in &tx.outputs {
            let bytes = output_bytes(output) + OUTPUT_OVERHEAD;
            utxo_size += bytes;
            // The first block's outputs can never be spent.
            if block.header.prev != lode_primitives::BlockHash::ZERO && !is_unspendable(&output.script_pubkey)
            {
                kept += 1;
                utxo_size_kept += bytes;
            }
        }
        if i == 0 {
            continue;
        }
        let paid: i64 = tx.outputs.iter().map(|output| output.value.to_sat()).sum();
        let (size, weight) = (tx.total_size() as i64, tx.weight() as i64);
        ins += tx.inputs.len() as i64;
        total_out += paid;
        sizes.push(size);
        total_size += size;
        total_weight += weight;
        if Transaction::has_witness(tx) {
            witness_count += 1;
            witness_size += size;
            witness_weight += weight;
        }
        let mut had = 0;
        for utxo in spent.get(i - 1).into_iter().flatten() {
            had += utxo.output.value.to_sat();
            let bytes = output_bytes(&utxo.output) + OUTPUT_OVERHEAD;
            utxo_size -= bytes;
            utxo_size_kept -= bytes;
        }
        let fee = (had - paid).max(0);
        total_fee += fee;
        fees.push(fee);
        let rate = fee * 4 / weight.max(1);
        rates.push(rate);
        rate_weights.push((rate, weight));
    }
    let count = block.transactions.len() as i64;
    let least = |list: &[i64]| list.iter().copied().min().unwrap_or(0);
    let most = |list: &[i64]| list.iter().copied().max().unwrap_or(0);
    let others = (count - 1).max(1);
    let stats = json!({
        "avgfee": if count > 1 { total_fee / others } else { 0 },
        "avgfeerate": if total_weight > 0 { total_fee * 4 / total_weight } else { 0 },
        "avgtxsize": if count > 1 { total_size / others } else { 0 },
        "feerate_percentiles": percentiles(rate_weights, total_weight),
        "ins": ins,
        "maxfee": most(&fees),
        "maxfeerate": most(&rates),
        "maxtxsize": most(&sizes),
        "medianfee": median(&mut fees.clone()),
        "mediantxsize": median(&mut sizes.clone()),
        "minfee": least(&fees),
        "minfeerate": least(&rates),
        "mintxsize": least(&sizes),
        "outs": outs,
        "swtotal_size": witness_size,
        "swtotal_weight": witness_weight,
        "swtxs": witness_count,
        "total_out": total_out,
        "total_size": total_size,
        "total_weight": total_weight,
        "totalfee": total_fee,
        "txs": count,
        "utxo_increase": outs - ins,
        "utxo_size_inc": utxo_size,
        "utxo_increase_actual": kept - ins,
        "utxo_size_inc_actual": utxo_size_kept,
    });
    match stats {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
