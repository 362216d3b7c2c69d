//! Mining: templates, submitted blocks, blocks made here.

use std::sync::Arc;
use std::time::Duration;

use lode_chain::BlockError;
use lode_chain::template::BlockTemplate;
use lode_primitives::{Block, BlockHash, Decode, Height, Target, Transaction, Txid};
use serde_json::{Map, Value, json};

use super::blockchain::{difficulty, retarget_interval, target_hex};
use crate::node::{Node, Submitted, now};
use crate::rpc::descriptor;
use crate::rpc::error::{RpcError, code};
use crate::rpc::json;
use crate::rpc::params::{Kind, Params, expect_text, opt, parse_block_hash, req};
use crate::rpc::table::{Method, Run};
use crate::template::{self, solve};

/// Nonces tried for one block unless told otherwise.
const MAX_TRIES: i64 = 1_000_000;
/// Blocks made by one call at most: more would keep the caller waiting for hours.
const GENERATE_MAX: i64 = 100_000;
/// A long poll looks at the mempool after this time, and then at the second interval, as bitcoind does.
const LONG_POLL_FIRST: Duration = Duration::from_secs(60);
const LONG_POLL_NEXT: Duration = Duration::from_secs(10);

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "generateblock",
        args: &[
            req("output", Kind::Text, "The address or descriptor that the coinbase pays to."),
            req(
                "transactions",
                Kind::Array,
                "The block's transactions, in order: hex, or ids of the mempool's.",
            ),
            opt("submit", Kind::Bool, "false: give its hex and do not connect it. Default true."),
        ],
        about: "Makes one block of these transactions. Their fees are not collected.",
        run: Run::Work(generate_block),
    },
    Method {
        name: "generatetoaddress",
        args: &[
            req("nblocks", Kind::Number, "How many."),
            req("address", Kind::Text, "The address that the coinbases pay to."),
            opt("maxtries", Kind::Number, "Nonces to try in all. Default 1000000."),
        ],
        about: "Makes blocks of the mempool's transactions and gives their ids.",
        run: Run::Work(|node, params| {
            let address = params.required_text(1)?;
            let script = node
                .coin
                .address_to_script(address)
                .map_err(|_| RpcError::not_found("Error: Invalid address"))?;
            generate(node, &script, params)
        }),
    },
    Method {
        name: "generatetodescriptor",
        args: &[
            req("num_blocks", Kind::Number, "How many."),
            req("descriptor", Kind::Text, "addr(ADDRESS) or raw(HEX): where the coinbases pay to."),
            opt("maxtries", Kind::Number, "Nonces to try in all. Default 1000000."),
        ],
        about: "Makes blocks of the mempool's transactions and gives their ids.",
        run: Run::Work(|node, params| {
            let script = descriptor::to_script(node.coin, params.required_text(1)?).ok_or_else(|| {
                RpcError::not_found("only addr(ADDRESS) and raw(HEX) descriptors are known")
            })?;
            generate(node, &script, params)
        }),
    },
    Method {
        name: "getblocktemplate",
        args: &[opt(
            "template_request",
            Kind::Object,
            "{\"rules\": [\"segwit\"], \"longpollid\": id} or {\"mode\": \"proposal\", \"data\": hex} (BIP22, 23, 9, 145).",
        )],
        about: "What the next block may be made of; or whether a proposed block would be valid but for its work.",
        run: Run::Wait(|node, params| Box::pin(get_block_template(node, params))),
    },
    Method {
        name: "getmininginfo",
        args: &[],
        about: "Difficulty, hash rate and the next block's target.",
        run: Run::Work(|node, _| mining_info(node)),
    },
    Method {
        name: "getnetworkhashps",
        args: &[
            opt(
                "nblocks",
                Kind::Number,
                "Over so many blocks; -1 for those since the last retarget. Default 120.",
            ),
            opt("height", Kind::Number, "Up to this height; -1 for the tip. Default -1."),
        ],
        about: "The network's hash rate by the time its last blocks took.",
        run: Run::Work(|node, params| {
            network_hashes(node, params.int(0)?.unwrap_or(120), params.int(1)?.unwrap_or(-1)).map(Value::from)
        }),
    },
    Method {
        name: "prioritisetransaction",
        args: &[
            req("txid", Kind::Text, "The transaction's id."),
            opt("dummy", Kind::Number, "Must be 0 or null."),
            req("fee_delta", Kind::Number, "Satoshi to add (or take, if negative) when fees are compared."),
        ],
        about: "Makes a transaction count for more, or less, than it pays when blocks are made.",
        run: Run::Work(|node, params| {
            let txid = params.txid(0, "txid")?;
            let delta = params.int(2)?.unwrap_or(0);
            if params.value(1).as_f64().is_some_and(|dummy| dummy != 0.0) {
                return Err(RpcError::parameter(
                    "Priority is no longer supported, dummy argument to prioritisetransaction must be 0.",
                ));
            }
            node.write().mempool.prioritise(txid, delta);
            Ok(true.into())
        }),
    },
    Method {
        name: "submitblock",
        args: &[
            req("hexdata", Kind::Text, "The block's hex."),
            opt("dummy", Kind::Text, "Not used (BIP22)."),
        ],
        about: "Hands in a block. Answers null when it is taken, else why not (BIP22).",
        run: Run::Work(submit_block),
    },
    Method {
        name: "submitheader",
        args: &[req("hexdata", Kind::Text, "The header's hex.")],
        about: "Hands in a header.",
        run: Run::Work(submit_header),
    },
];

fn generate(node: &Arc<Node>, script: &[u8], params: &Params) -> Result<Value, RpcError> {
    let count = params.int(0)?.unwrap_or(0);
    if count > GENERATE_MAX {
        return Err(RpcError::parameter(format!("at most {GENERATE_MAX} blocks at one time")));
    }
    let mut tries = u64::try_from(params.int(2)?.unwrap_or(MAX_TRIES)).unwrap_or(0);
    let mut hashes: Vec<Value> = Vec::new();
    while (hashes.len() as i64) < count && !*node.stop.borrow() {
        let template = node.template();
        let transactions: Vec<_> = template.transactions.iter().map(|tx| tx.tx.clone()).collect();
        let pay = (template.coinbase_value, script);
        let mut block = template::block(node.coin, &template, &transactions, pay, None);
        if !solve(node.coin, &mut block.header, tries, &node.stopping) {
            break;
        }
        tries = tries.saturating_sub(u64::from(block.header.nonce) + 1);
        let hash = block.hash();
        match node.submit(Arc::new(block)) {
            // Another block came first: ours is on a side chain, and the next one tries again.
            Submitted::BestChain | Submitted::SideChain | Submitted::Duplicate => {
                hashes.push(hash.to_string().into());
            }
            Submitted::Rejected { detail, .. } => {
                return Err(RpcError::internal(format!("ProcessNewBlock, block not accepted: {detail}")));
            }
        }
    }
    Ok(hashes.into())
}

fn generate_block(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let script = descriptor::to_script(node.coin, params.required_text(0)?)
        .ok_or_else(|| RpcError::not_found("Error: Invalid address or descriptor"))?;
    let mut transactions: Vec<Arc<Transaction>> = Vec::new();
    for entry in params.array(1).unwrap_or_default() {
        let text = expect_text(entry)?;
        transactions.push(match text.parse::<Txid>() {
            Ok(txid) => node
                .mempool_transaction(&txid)
                .ok_or_else(|| RpcError::not_found(format!("Transaction {text} not in mempool.")))?,
            Err(_) => Arc::new(json::parse_transaction(node.coin, text).map_err(|_| {
                RpcError::decode(format!(
                    "Transaction decode failed for {text}. Make sure the tx has at least one input."
                ))
            })?),
        });
    }
    let template = node.empty_template();
    let pay = (template.coinbase_value, script.as_slice());
    let mut block = template::block(node.coin, &template, &transactions, pay, None);
    let tested = node.write().chain.test_block_validity(block.clone(), now());
    if let Err(error) = tested {
        return Err(RpcError::new(
            code::VERIFY_ERROR,
            format!("TestBlockValidity failed: {}, {error}", error.reject_reason()),
        ));
    }
    if !solve(node.coin, &mut block.header, MAX_TRIES as u64, &node.stopping) {
        return Err(RpcError::misc("Failed to make block."));
    }
    let hash = block.hash().to_string();
    if !params.bool(2).unwrap_or(true) {
        return Ok(json!({"hash": hash, "hex": json::hex_of(&block)}));
    }
    match node.submit(Arc::new(block)) {
        Submitted::Rejected { detail, .. } => {
            Err(RpcError::internal(format!("ProcessNewBlock, block not accepted: {detail}")))
        }
        _ => Ok(json!({"hash": hash})),
    }
}

/// The network's hashes a second over the last `count` blocks up to `height`.
fn network_hashes(node: &Arc<Node>, count: i64, height: i64) -> Result<f64, RpcError> {
    if count < -1 || count == 0 {
        return Err(RpcError::parameter("Invalid nblocks. Must be a positive number or -1."));
    }
    let state = node.read();
    let chain = &state.chain;
    let last = match height {
        -1 => Some(chain.tip()),
        _ => Height::try_from(height).ok().and_then(|height| chain.entry_at(height)),
    };
    let last = last.ok_or_else(|| RpcError::parameter("Block does not exist at specified height"))?;
    if last.height() == 0 {
        return Ok(0.0);
    }
    let count = match Height::try_from(count) {
        Ok(count) => count.min(last.height()),
        Err(_) => (last.height() % retarget_interval(&node.coin.retarget) + 1).min(last.height()),
    };
    let first = last.height() - count;
    let entries = || (first..=last.height()).filter_map(|height| chain.entry_at(height));
    let least = entries().map(lode_chain::BlockEntry::time).min().unwrap_or(0);
    let most = entries().map(lode_chain::BlockEntry::time).max().unwrap_or(0);
    let Some(start) = chain.entry_at(first) else { return Ok(0.0) };
    if least == most {
        return Ok(0.0);
    }
    Ok((last.work() - start.work()).to_f64() / f64::from(most - least))
}

fn mining_info(node: &Arc<Node>) -> Result<Value, RpcError> {
    let rate = network_hashes(node, 120, -1)?;
    let template = node.empty_template();
    let state = node.read();
    let tip = state.chain.tip();
    let mut out = json!({
        "blocks": tip.height(),
        "bits": format!("{:08x}", tip.bits()),
        "difficulty": difficulty(node.coin, tip.bits()),
        "target": target_hex(tip.bits()),
        "networkhashps": rate,
        "pooledtx": state.mempool.len(),
        "blockmintxfee": json::feerate(1),
        "chain": node.coin.chain_name,
        "next": {
            "height": template.height,
            "bits": format!("{:08x}", template.bits),
            "difficulty": difficulty(node.coin, template.bits),
            "target": target_hex(template.bits),
        },
        "warnings": node.warnings(),
    });
    if let Some(challenge) = node.coin.signet_challenge {
        out["signet_challenge"] = hex::encode(challenge).into();
    }
    Ok(out)
}

/// Says why a block was not taken, in BIP22's words.
fn bip22(error: &BlockError) -> Result<Value, RpcError> {
    match error {
        BlockError::Store(error) => Err(RpcError::new(code::VERIFY_ERROR, error.to_string())),
        other => Ok(other.reject_reason().into()),
    }
}

fn submit_block(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let mut block = json::parse_block(node.coin, params.required_text(0)?)?;
    complete_witness(node, &mut block);
    let hash = block.hash();
    let known_invalid = node.read().chain.entry(&hash).is_some_and(lode_chain::BlockEntry::is_invalid);
    if known_invalid {
        return Ok("duplicate-invalid".into());
    }
    match node.accept_block(Arc::new(block)) {
        Ok(Submitted::BestChain) => Ok(Value::Null),
        Ok(Submitted::Duplicate) => Ok("duplicate".into()),
        Ok(_) => Ok("inconclusive".into()),
        Err(error) => bip22(&error),
    }
}

/// A coinbase without its witness gets the one that goes without saying (32 zero bytes), where the block commits to
/// witnesses: miners may leave it out (BIP145), as the reference client allows.
fn complete_witness(node: &Node, block: &mut Block) {
    let Some(coinbase) = block.transactions.first_mut() else { return };
    let commits = coinbase.outputs.iter().any(|output| {
        output.script_pubkey.len() >= 38
            && output.script_pubkey.starts_with(&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed])
    });
    if node.coin.form.witness
        && commits
        && coinbase.is_coinbase()
        && let Some(input) = coinbase.inputs.first_mut()
        && input.witness.is_empty()
    {
        input.witness.0.push(vec![0; 32]);
    }
}

fn submit_header(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let failed = || RpcError::decode("Block header decode failed");
    let bytes = hex::decode(params.required_text(0)?).map_err(|_| failed())?;
    let header = lode_primitives::Header::from_bytes(&bytes, node.coin.form).map_err(|_| failed())?;
    if node.read().chain.entry(&header.prev).is_none() {
        return Err(RpcError::new(
            code::VERIFY_ERROR,
            format!("Must submit previous header ({}) first", header.prev),
        ));
    }
    match node.accept_headers(&[header]) {
        Ok(_) => Ok(Value::Null),
        Err((_, error)) => Err(RpcError::new(code::VERIFY_ERROR, error.reject_reason())),
    }
}

async fn get_block_template(node: Arc<Node>, params: Params) -> Result<Value, RpcError> {
    let mode = match params.member(0, "mode") {
        Value::Null => "template",
        Value::String(mode) => mode.as_str(),
        _ => return Err(RpcError::parameter("Invalid mode")),
    };
    match mode {
        "proposal" => {
            let data = params
                .member(0, "data")
                .as_str()
                .ok_or_else(|| RpcError::new(code::TYPE_ERROR, "Missing data String key for proposal"))?;
            let block = json::parse_block(node.coin, data)?;
            let judged = tokio::task::spawn_blocking(move || proposal(&node, block)).await;
            return judged.unwrap_or_else(|error| Err(RpcError::internal(error.to_string())));
        }
        "template" => {}
        _ => return Err(RpcError::parameter("Invalid mode")),
    }
    let rules: Vec<&str> =
        params.member(0, "rules").as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    refuse_unready(&node).await?;
    match params.member(0, "longpollid") {
        Value::Null => {}
        Value::String(id) => {
            let (hash, changes) = id.split_at_checked(64).unwrap_or((id, ""));
            let hash = parse_block_hash(&Value::from(hash), "longpollid")?;
            long_poll(&node, hash, changes.parse().unwrap_or(0)).await?;
        }
        _ => {
            let tip = node.tip.borrow().hash;
            let changes = node.mempool_changes();
            long_poll(&node, tip, changes).await?;
        }
    }
    if node.coin.signet_challenge.is_some() && !rules.contains(&"signet") {
        return Err(RpcError::parameter(
            "getblocktemplate must be called with the signet rule set (call with {\"rules\": [\"segwit\", \"signet\"]})",
        ));
    }
    if node.coin.form.witness && !rules.contains(&"segwit") {
        return Err(RpcError::parameter(
            "getblocktemplate must be called with the segwit rule set (call with {\"rules\": [\"segwit\"]})",
        ));
    }
    let made = tokio::task::spawn_blocking(move || template_json(&node, &node.template()));
    made.await.map_err(|error| RpcError::internal(error.to_string()))
}

/// On a main network no template is given without peers, or before the chain is there.
pub(super) async fn refuse_unready(node: &Node) -> Result<(), RpcError> {
    if node.coin.network == lode_coins::Network::Main {
        if node.peers().await.is_empty() {
            return Err(RpcError::new(code::CLIENT_NOT_CONNECTED, "Lode is not connected!"));
        }
        if node.is_syncing() {
            return Err(RpcError::new(
                code::CLIENT_IN_INITIAL_DOWNLOAD,
                "Lode is in initial sync and waiting for blocks...",
            ));
        }
    }
    Ok(())
}

fn proposal(node: &Node, block: Block) -> Result<Value, RpcError> {
    let mut state = node.write();
    if let Some(entry) = state.chain.entry(&block.hash()) {
        let verdict = match (entry.is_invalid(), entry.is_checked()) {
            (true, _) => "duplicate-invalid",
            (false, true) => "duplicate",
            (false, false) => "duplicate-inconclusive",
        };
        return Ok(verdict.into());
    }
    match state.chain.test_block_validity(block, now()) {
        Ok(()) => Ok(Value::Null),
        Err(error) => bip22(&error),
    }
}

/// Waits until the tip is not `known` any more, or the mempool has changed, or the node stops (an error).
async fn long_poll(node: &Arc<Node>, known: BlockHash, changes: u64) -> Result<(), RpcError> {
    let mut tips = node.tip.subscribe();
    let mut stop = node.stop.subscribe();
    let mut wait = LONG_POLL_FIRST;
    loop {
        tokio::select! {
            _ = tips.wait_for(|tip| tip.hash != known) => return Ok(()),
            _ = stop.wait_for(|stop| *stop) => {
                return Err(RpcError::new(code::CLIENT_NOT_CONNECTED, "Shutting down"));
            }
            () = tokio::time::sleep(wait) => {}
        }
        if node.mempool_changes() != changes {
            return Ok(());
        }
        wait = LONG_POLL_NEXT;
    }
}

fn template_json(node: &Node, template: &BlockTemplate) -> Value {
    let coin = node.coin;
    let segwit = template.witness_commitment.is_some();
    let transactions: Vec<Value> = template
        .transactions
        .iter()
        .map(|tx| {
            json!({
                "data": json::hex_of(&*tx.tx),
                "txid": tx.txid.to_string(),
                "hash": tx.wtxid.to_string(),
                "depends": tx.depends,
                "fee": tx.fee.to_sat(),
                "sigops": if segwit { tx.sigops } else { tx.sigops / 4 },
                "weight": tx.weight,
            })
        })
        .collect();
    let mut rules = template.rules.clone();
    if coin.signet_challenge.is_some() {
        rules.push("!signet");
    }
    let scale = if segwit { 1 } else { 4 };
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.into(), value);
    };
    put("capabilities", json!(["proposal"]));
    put("version", template.version.into());
    put("rules", rules.into());
    put("vbavailable", json!({}));
    put("vbrequired", 0.into());
    put("previousblockhash", template.prev.to_string().into());
    put("transactions", transactions.into());
    put("coinbaseaux", json!({}));
    put("coinbasevalue", template.coinbase_value.to_sat().into());
    put("longpollid", format!("{}{}", template.prev, template.mempool_changes).into());
    put(
        "target",
        Target::from_compact(template.bits).map_or_else(|_| String::new(), Target::to_be_hex).into(),
    );
    put("mintime", template.min_time.into());
    put("mutable", json!(["time", "transactions", "prevblock"]));
    put("noncerange", "00000000ffffffff".into());
    put("sigoplimit", (template.sigop_limit / scale).into());
    put("sizelimit", (template.weight_limit / scale).into());
    if segwit {
        put("weightlimit", template.weight_limit.into());
    }
    put("curtime", template.time.into());
    put("bits", format!("{:08x}", template.bits).into());
    put("height", template.height.into());
    if let Some(challenge) = coin.signet_challenge {
        put("signet_challenge", hex::encode(challenge).into());
    }
    if let Some(commitment) = &template.witness_commitment {
        put("default_witness_commitment", hex::encode(commitment).into());
    }
    out.into()
}
