//! Blockchain: unspent outputs, proofs that a block has a transaction, pruning.

use std::collections::HashSet;
use std::sync::Arc;

use lode_chain::SetHash;
use lode_primitives::merkle::PartialTree;
use lode_primitives::{Decode, Encode, Header, OutPoint, Reader, Txid};
use serde_json::{Value, json};

use super::blockchain::{block_not_found, read_failed};
use crate::node::Node;
use crate::rpc::error::RpcError;
use crate::rpc::json;
use crate::rpc::params::{Kind, Params, opt, parse_block_hash, parse_txid, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "gettxout",
        args: &[
            req("txid", Kind::Text, "The transaction's id."),
            req("n", Kind::Number, "The output's index."),
            opt("include_mempool", Kind::Bool, "Count the mempool's transactions in. Default true."),
        ],
        about: "An output, if it is unspent.",
        run: Run::Work(tx_out),
    },
    Method {
        name: "gettxoutproof",
        args: &[
            req("txids", Kind::Array, "The transactions' ids."),
            opt(
                "blockhash",
                Kind::Text,
                "The block they are in. Needed unless one of them has an unspent output.",
            ),
        ],
        about: "A proof, in hex, that a block has these transactions.",
        run: Run::Work(tx_out_proof),
    },
    Method {
        name: "gettxoutsetinfo",
        args: &[
            opt("hash_type", Kind::Text, "hash_serialized_3, muhash or none. Default hash_serialized_3."),
            opt("hash_or_height", Kind::Any, "Not supported: only the tip's outputs are known."),
            opt("use_index", Kind::Bool, "Not used: there is no index."),
        ],
        about: "Figures about all unspent outputs, and a hash over them. Reads them all.",
        run: Run::Work(set_info),
    },
    Method {
        name: "pruneblockchain",
        args: &[req("height", Kind::Number, "Up to this height, or the last block before this Unix time.")],
        about: "Deletes old blocks, whole files of them, but never the last 288. Gives the height of the last that is gone.",
        run: Run::Work(prune),
    },
    Method {
        name: "verifytxoutproof",
        args: &[req("proof", Kind::Text, "What gettxoutproof gave.")],
        about: "Checks a proof, and gives the ids of the transactions it is for; none where its block is not in the best chain.",
        run: Run::Work(verify_proof),
    },
];

/// A height this great is a Unix time, as for bitcoind.
const TIME_FROM: i64 = 1_000_000_000;
/// A block's time may be so many seconds after it came (reference client: `TIMESTAMP_WINDOW`).
const TIME_SLACK: i64 = 2 * 60 * 60;

fn prune(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let asked = params.int(0)?.unwrap_or(0);
    let mut state = node.write();
    let chain = &mut state.chain;
    if !chain.is_pruned() {
        return Err(RpcError::misc("Cannot prune blocks because node is not in prune mode."));
    }
    let mut height = asked;
    if asked < 0 {
        return Err(RpcError::parameter("Negative block height."));
    }
    if asked > TIME_FROM {
        let since = u32::try_from(asked - TIME_SLACK).unwrap_or(u32::MAX);
        let first = chain.first_since(since).ok_or_else(|| {
            RpcError::parameter("Could not find block with at least the specified timestamp.")
        })?;
        height = first.into();
    }
    let tip = chain.height();
    let height = u32::try_from(height)
        .ok()
        .filter(|height| *height <= tip)
        .ok_or_else(|| RpcError::parameter("Blockchain is shorter than the attempted prune height."))?;
    let gone = chain.prune_to(height).map_err(|error| read_failed(&error))?;
    Ok(gone.map_or(-1, i64::from).into())
}

fn tx_out(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let txid = params.txid(0, "txid")?;
    let Some(vout) = params.int(1)?.and_then(|n| u32::try_from(n).ok()) else { return Ok(Value::Null) };
    let outpoint = OutPoint { txid, vout };
    let include_mempool = params.bool(2).unwrap_or(true);
    let state = node.read();
    let tip = state.chain.tip();
    if include_mempool {
        if state.mempool.spender(&outpoint).is_some() {
            return Ok(Value::Null);
        }
        if let Some(entry) = state.mempool.get(&txid) {
            let Some(output) = entry.tx.outputs.get(vout as usize) else { return Ok(Value::Null) };
            return Ok(json!({
                "bestblock": tip.hash().to_string(),
                "confirmations": 0,
                "value": json::amount(output.value),
                "scriptPubKey": json::script(node.coin, &output.script_pubkey, true, true),
                "coinbase": false,
            }));
        }
    }
    let Some(utxo) = state.chain.utxo(&outpoint).map_err(|error| read_failed(&error))? else {
        return Ok(Value::Null);
    };
    Ok(json!({
        "bestblock": tip.hash().to_string(),
        "confirmations": tip.height() + 1 - utxo.height,
        "value": json::amount(utxo.output.value),
        "scriptPubKey": json::script(node.coin, &utxo.output.script_pubkey, true, true),
        "coinbase": utxo.coinbase,
    }))
}

fn set_info(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let (kind, key) = match params.text(0).unwrap_or("hash_serialized_3") {
        "hash_serialized_3" => (SetHash::Serialized, "hash_serialized_3"),
        "muhash" => (SetHash::MuHash, "muhash"),
        "none" => (SetHash::None, ""),
        other => return Err(RpcError::parameter(format!("'{other}' is not a valid hash_type"))),
    };
    if !params.value(1).is_null() {
        return Err(RpcError::parameter("Querying specific block heights requires coinstatsindex"));
    }
    // The snapshot is read without the lock: blocks go on being connected meanwhile.
    let set = node.write().chain.output_set().map_err(|error| read_failed(&error))?;
    let info = set.info(kind).map_err(|error| read_failed(&error))?;
    let mut out = json!({
        "height": info.height,
        "bestblock": info.hash.to_string(),
        "txouts": info.outputs,
        "bogosize": info.bogo_bytes,
        "total_amount": json::amount(info.total),
        "transactions": info.transactions,
        "disk_size": info.disk_bytes,
    });
    if let Some(hash) = info.set_hash {
        out[key] = hash.to_string().into();
    }
    Ok(out)
}

fn tx_out_proof(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let mut wanted = HashSet::new();
    for entry in params.array(0).unwrap_or_default() {
        let txid = parse_txid(entry, "txid")?;
        if !wanted.insert(txid) {
            return Err(RpcError::parameter(format!("Invalid parameter, duplicated txid: {txid}")));
        }
    }
    if wanted.is_empty() {
        return Err(RpcError::parameter("Parameter 'txids' cannot be empty"));
    }
    let state = node.read();
    let hash = match params.value(1) {
        Value::Null => unspent_block(&state.chain, &wanted)?,
        given => {
            let hash = parse_block_hash(given, "blockhash")?;
            state.chain.entry(&hash).ok_or_else(block_not_found)?;
            hash
        }
    };
    let block = state
        .chain
        .block(&hash)
        .map_err(|error| read_failed(&error))?
        .ok_or_else(|| RpcError::misc("Block not available (not fully downloaded)"))?;
    drop(state);
    let txids: Vec<Txid> = block.transactions.iter().map(lode_primitives::Transaction::txid).collect();
    let matches: Vec<bool> = txids.iter().map(|txid| wanted.contains(txid)).collect();
    if matches.iter().filter(|found| **found).count() != wanted.len() {
        return Err(RpcError::not_found("Not all transactions found in specified or retrieved block"));
    }
    let mut bytes = Vec::new();
    block.header.encode(&mut bytes);
    PartialTree::new(&txids, &matches).encode(&mut bytes);
    Ok(hex::encode(bytes).into())
}

/// The block of the first of these transactions that has an unspent output.
fn unspent_block(
    chain: &lode_chain::Chain,
    wanted: &HashSet<Txid>,
) -> Result<lode_primitives::BlockHash, RpcError> {
    /// Outputs tried per transaction: more than any but a made-up one has.
    const OUTPUTS_MAX: u32 = 1_000;
    for txid in wanted {
        for vout in 0..OUTPUTS_MAX {
            let found = chain.utxo(&OutPoint { txid: *txid, vout }).map_err(|error| read_failed(&error))?;
            if let Some(utxo) = found
                && let Some(entry) = chain.entry_at(utxo.height)
            {
                return Ok(entry.hash());
            }
        }
    }
    Err(RpcError::not_found("Transaction not yet in block"))
}

fn verify_proof(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let malformed =
        |error: lode_primitives::DecodeError| RpcError::misc(format!("proof cannot be read: {error}"));
    let bytes = hex::decode(params.required_text(0)?)
        .map_err(|error| RpcError::parameter(format!("proof must be hexadecimal string: {error}")))?;
    let mut reader = Reader::new(&bytes);
    let header = Header::decode(&mut reader, node.coin.form).map_err(malformed)?;
    let tree = PartialTree::decode(&mut reader, node.coin.form).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    let none = Value::Array(Vec::new());
    let Ok((root, matches)) = tree.extract() else { return Ok(none) };
    if root != header.merkle_root {
        return Ok(none);
    }
    let state = node.read();
    let hash = header.hash();
    let entry = state
        .chain
        .entry(&hash)
        .filter(|entry| entry.tx_count() > 0 && state.chain.is_in_best_chain(&hash))
        .ok_or_else(|| RpcError::not_found("Block not found in chain"))?;
    if entry.tx_count() != tree.total() {
        return Ok(none);
    }
    Ok(matches.into_iter().map(|(_, txid)| Value::from(txid.to_string())).collect())
}
