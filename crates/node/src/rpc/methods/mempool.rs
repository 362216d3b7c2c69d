//! Mempool: what waits for a block, and whether a transaction would be taken.

use std::sync::Arc;

use lode_chain::mempool::{EntryInfo, Mempool, MempoolError};
use lode_coins::Coin;
use lode_primitives::{Amount, OutPoint, Transaction, Txid};
use serde_json::{Map, Value, json};

use crate::node::{Node, now};
use crate::rpc::error::{RpcError, code};
use crate::rpc::json;
use crate::rpc::params::{Arg, Kind, Params, expect_amount, opt, parse_txid, req};
use crate::rpc::table::{Method, Run};

/// Fee rate in satoshi per 1,000 virtual bytes above which a transaction is taken for a mistake.
pub(crate) const MAX_FEE_RATE: i64 = 10_000_000;

pub(super) const FEE_RATE_ARG: Arg =
    opt("maxfeerate", Kind::Any, "Refuse a higher fee rate, in coins per kvB; 0 allows any. Default 0.10.");
pub(super) const BURN_ARG: Arg =
    opt("maxburnamount", Kind::Any, "Refuse to burn more, in coins, in outputs nobody can spend. Default 0.");

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "getmempoolancestors",
        args: &[
            req("txid", Kind::Text, "The transaction's id."),
            opt("verbose", Kind::Bool, "With what is known of each. Default false."),
        ],
        about: "The transactions in the mempool that one descends from.",
        run: Run::Work(|node, params| kin(node, params, Mempool::ancestors)),
    },
    Method {
        name: "getmempoolcluster",
        args: &[req("txid", Kind::Text, "The transaction's id.")],
        about: "The transactions in the mempool that hang together with one, in the chunks they would be mined in.",
        run: Run::Work(cluster),
    },
    Method {
        name: "getmempooldescendants",
        args: &[
            req("txid", Kind::Text, "The transaction's id."),
            opt("verbose", Kind::Bool, "With what is known of each. Default false."),
        ],
        about: "The transactions in the mempool that descend from one.",
        run: Run::Work(|node, params| kin(node, params, Mempool::descendants)),
    },
    Method {
        name: "getmempoolentry",
        args: &[req("txid", Kind::Text, "The transaction's id.")],
        about: "What is known of a transaction in the mempool.",
        run: Run::Work(|node, params| {
            let txid = params.txid(0, "txid")?;
            let state = node.read();
            state.mempool.entry_info(&txid).map(|info| entry_json(&info)).ok_or_else(not_in_mempool)
        }),
    },
    Method {
        name: "getmempoolinfo",
        args: &[],
        about: "The mempool in figures.",
        run: Run::Work(|node, _| Ok(info(node))),
    },
    Method {
        name: "getprioritisedtransactions",
        args: &[],
        about: "All fee deltas made with prioritisetransaction.",
        run: Run::Work(|node, _| {
            let state = node.read();
            let deltas: Map<String, Value> = state
                .mempool
                .deltas()
                .map(|(txid, delta)| {
                    let entry = state.mempool.get(txid);
                    let mut member = json!({"fee_delta": delta, "in_mempool": entry.is_some()});
                    if let Some(entry) = entry {
                        member["modified_fee"] = entry.modified_fee().into();
                    }
                    (txid.to_string(), member)
                })
                .collect();
            Ok(deltas.into())
        }),
    },
    Method {
        name: "getrawmempool",
        args: &[
            opt("verbose", Kind::Bool, "With what is known of each. Default false."),
            opt("mempool_sequence", Kind::Bool, "With the count of changes. Default false."),
        ],
        about: "The ids of all transactions in the mempool.",
        run: Run::Work(raw_mempool),
    },
    Method {
        name: "gettxspendingprevout",
        args: &[req("outputs", Kind::Array, "[{\"txid\": hex, \"vout\": n}, ...]")],
        about: "Which transactions in the mempool spend these outputs.",
        run: Run::Work(spenders),
    },
    Method {
        name: "savemempool",
        args: &[],
        about: "Writes the mempool to disk.",
        run: Run::Work(|node, _| match crate::mempool_file::save(node) {
            Ok(path) => Ok(json!({"filename": path.display().to_string()})),
            Err(error) => Err(RpcError::misc(format!("Unable to dump mempool to disk: {error}"))),
        }),
    },
    Method {
        name: "sendrawtransaction",
        args: &[req("hexstring", Kind::Text, "The transaction's hex."), FEE_RATE_ARG, BURN_ARG],
        about: "Takes a transaction into the mempool and tells the peers.",
        run: Run::Work(send),
    },
];

fn not_in_mempool() -> RpcError {
    RpcError::not_found("Transaction not in mempool")
}

pub(super) fn sat(amount: i64) -> Value {
    json::amount(Amount::from_sat(amount))
}

fn entry_json(info: &EntryInfo) -> Value {
    let ids = |list: &[Txid]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
    json!({
        "vsize": info.vsize,
        "weight": info.weight,
        "time": info.time,
        "height": info.height,
        "descendantcount": info.descendant_count,
        "descendantsize": info.descendant_vsize,
        "ancestorcount": info.ancestor_count,
        "ancestorsize": info.ancestor_vsize,
        "wtxid": info.wtxid.to_string(),
        "chunkweight": info.chunk.weight,
        "fees": {
            "base": json::amount(info.fee),
            "modified": sat(info.modified_fee),
            "ancestor": sat(info.ancestor_fees),
            "descendant": sat(info.descendant_fees),
            "chunk": sat(info.chunk.fee),
        },
        "depends": ids(&info.depends),
        "spentby": ids(&info.spent_by),
        "bip125-replaceable": info.bip125_replaceable,
        "unbroadcast": false,
    })
}

fn list(mempool: &Mempool, txids: Vec<Txid>, verbose: bool) -> Value {
    if verbose {
        let entries: Map<String, Value> = txids
            .iter()
            .filter_map(|txid| Some((txid.to_string(), entry_json(&mempool.entry_info(txid)?))))
            .collect();
        return entries.into();
    }
    txids.iter().map(|txid| Value::from(txid.to_string())).collect()
}

fn kin(
    node: &Arc<Node>,
    params: &Params,
    find: impl Fn(&Mempool, &Txid) -> Option<Vec<Txid>>,
) -> Result<Value, RpcError> {
    let txid = params.txid(0, "txid")?;
    let state = node.read();
    let found = find(&state.mempool, &txid).ok_or_else(not_in_mempool)?;
    Ok(list(&state.mempool, found, params.bool(1).unwrap_or(false)))
}

fn cluster(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let txid = params.txid(0, "txid")?;
    let state = node.read();
    let chunks = state.mempool.cluster(&txid).ok_or_else(not_in_mempool)?;
    let weight: u64 = chunks.iter().map(|(rate, _)| rate.weight).sum();
    let count: usize = chunks.iter().map(|(_, txids)| txids.len()).sum();
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|(rate, txids)| {
            let txids: Vec<String> = txids.iter().map(ToString::to_string).collect();
            json!({"chunkfee": sat(rate.fee), "chunkweight": rate.weight, "txs": txids})
        })
        .collect();
    Ok(json!({"clusterweight": weight, "txcount": count, "chunks": chunks}))
}

fn info(node: &Node) -> Value {
    use lode_chain::mempool::MAX_CLUSTER_COUNT;
    let state = node.read();
    let info = state.mempool.info(now());
    let standard = &state.mempool.options().standard;
    json!({
        "loaded": node.mempool_loaded.load(std::sync::atomic::Ordering::Relaxed),
        "size": info.count,
        "bytes": info.vsize,
        "usage": info.bytes,
        "total_fee": json::amount(info.total_fee),
        "maxmempool": info.max_bytes,
        "mempoolminfee": json::feerate(info.min_fee.to_sat_per_kvb()),
        "minrelaytxfee": json::feerate(info.min_relay.to_sat_per_kvb()),
        "incrementalrelayfee": json::feerate(info.incremental.to_sat_per_kvb()),
        "unbroadcastcount": 0,
        "fullrbf": true,
        "permitbaremultisig": standard.bare_multisig,
        "maxdatacarriersize": standard.max_data_carrier.unwrap_or(0),
        "limitclustercount": MAX_CLUSTER_COUNT,
        "limitclustersize": state.mempool.options().max_cluster_vsize(),
        "optimal": true,
    })
}

fn raw_mempool(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let verbose = params.bool(0).unwrap_or(false);
    let with_sequence = params.bool(1).unwrap_or(false);
    if verbose && with_sequence {
        return Err(RpcError::parameter("Verbose results cannot contain mempool sequence values."));
    }
    let state = node.read();
    let txids: Vec<Txid> = state.mempool.iter().map(|entry| entry.txid).collect();
    let all = list(&state.mempool, txids, verbose);
    if with_sequence {
        return Ok(json!({"txids": all, "mempool_sequence": state.mempool.changes()}));
    }
    Ok(all)
}

fn spenders(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let outputs = params.array(0).unwrap_or_default();
    if outputs.is_empty() {
        return Err(RpcError::parameter("Invalid parameter, outputs are missing"));
    }
    let state = node.read();
    let mut found = Vec::new();
    for output in outputs {
        let txid = parse_txid(output.get("txid").unwrap_or(&Value::Null), "txid")?;
        let vout = output.get("vout").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let vout = vout.ok_or_else(|| RpcError::parameter("Invalid parameter, vout cannot be negative"))?;
        let mut member = json!({"txid": txid.to_string(), "vout": vout});
        if let Some(spender) = state.mempool.spender(&OutPoint { txid, vout }) {
            member["spendingtxid"] = spender.txid.to_string().into();
        }
        found.push(member);
    }
    Ok(found.into())
}

/// A limit on the fee rate in satoshi per 1,000 virtual bytes; 0 for none.
pub(super) fn max_fee_rate(value: &Value) -> Result<i64, RpcError> {
    if value.is_null() {
        return Ok(MAX_FEE_RATE);
    }
    let rate = expect_amount(value)?;
    if rate.to_sat() >= lode_primitives::COIN {
        return Err(RpcError::parameter("Fee rates larger than or equal to 1BTC/kvB are not accepted"));
    }
    Ok(rate.to_sat())
}

/// The fee of so many virtual bytes at a rate, satoshi, rounded up; what the coin asks of every transaction is not too high.
pub(super) fn highest_fee(coin: &Coin, rate: i64, vsize: usize) -> i64 {
    let product = i128::from(rate) * vsize as i128;
    let at_rate = i64::try_from((product + 999) / 1_000).unwrap_or(i64::MAX);
    at_rate.max(coin.least_fee(vsize).to_sat())
}

fn send(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    // In bitcoind's order, as the first thing that is wrong names the error.
    let burn = match params.value(2) {
        Value::Null => Amount::ZERO,
        given => expect_amount(given)?,
    };
    let tx = json::parse_transaction(node.coin, params.required_text(0)?)?;
    check_burn(&tx, burn)?;
    let limit = max_fee_rate(params.value(1))?;
    let txid = tx.txid();
    {
        let state = node.read();
        for vout in 0..tx.outputs.len() as u32 {
            if state.chain.has_utxo(&OutPoint { txid, vout }).unwrap_or(false) {
                return Err(RpcError::new(
                    code::VERIFY_ALREADY_IN_UTXO_SET,
                    "Transaction outputs already in utxo set",
                ));
            }
        }
        if let Some(entry) = state.mempool.get(&txid) {
            // It is told again, as its sender seems to miss it.
            let rate = entry.fee.to_sat().unsigned_abs() * 1_000 / (entry.vsize() as u64).max(1);
            if let Some(p2p) = node.p2p() {
                p2p.relay_transaction(entry.wtxid, txid, rate);
            }
            return Ok(txid.to_string().into());
        }
        let tested = state.mempool.test(&tx, &state.chain, now()).map_err(|error| refused(&error))?;
        if limit > 0 && tested.fee.to_sat() > highest_fee(node.coin, limit, tested.vsize) {
            return Err(RpcError::new(
                code::VERIFY_ERROR,
                "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
            ));
        }
    }
    node.send_transaction(tx).map_err(|error| refused(&error))?;
    Ok(txid.to_string().into())
}

/// That no output that nobody can spend has more than `most`.
pub(super) fn check_burn(tx: &Transaction, most: Amount) -> Result<(), RpcError> {
    let burnt = |script: &[u8]| lode_script::is_unspendable(script) || !lode_script::has_valid_ops(script);
    if tx.outputs.iter().any(|output| output.value > most && burnt(&output.script_pubkey)) {
        return Err(RpcError::new(
            code::VERIFY_ERROR,
            "Unspendable output exceeds maximum configured by user (maxburnamount)",
        ));
    }
    Ok(())
}

/// The error for a transaction that was not taken.
fn refused(error: &MempoolError) -> RpcError {
    match error {
        MempoolError::MissingInputs(_) => RpcError::new(code::VERIFY_ERROR, error.reject_reason()),
        MempoolError::Store(error) => RpcError::internal(error.to_string()),
        other => RpcError::new(code::VERIFY_REJECTED, format!("{}, {other}", other.reject_reason())),
    }
}
