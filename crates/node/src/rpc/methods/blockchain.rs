//! Blockchain: heights, hashes, headers, blocks, tips, and waiting for new ones.

use std::sync::Arc;
use std::time::Duration;

use lode_chain::{BlockEntry, Chain, StoreError};
use lode_coins::{Deployments, Retarget};
use lode_pow::ChainLength;
use lode_primitives::{Block, BlockHash, Target};
use serde_json::{Map, Value, json};

use super::prime;
use crate::node::{Node, Tip, now};
use crate::rpc::error::{RpcError, code};
use crate::rpc::json::{self, Spent};
use crate::rpc::params::{Kind, Params, opt, parse_block_hash, req};
use crate::rpc::table::{Method, Run};

/// Longest that a `waitfor...` call waits where it was not told how long: clients come back after that.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "getbestblockhash",
        args: &[],
        about: "The id of the best chain's last block.",
        run: Run::Work(|node, _| Ok(node.tip.borrow().hash.to_string().into())),
    },
    Method {
        name: "getblock",
        args: &[
            req("blockhash", Kind::Text, "The block's id."),
            opt(
                "verbosity|verbose",
                Kind::Any,
                "0: hex; 1: JSON; 2: with transactions; 3: and the outputs they spend. Default 1.",
            ),
        ],
        about: "A block, as hex or as JSON.",
        run: Run::Work(get_block),
    },
    Method {
        name: "getblockchaininfo",
        args: &[],
        about: "The state of the chain: height, tip, difficulty, progress, pruning.",
        run: Run::Work(|node, _| chain_info(node)),
    },
    Method {
        name: "getblockcount",
        args: &[],
        about: "The height of the best chain.",
        run: Run::Work(|node, _| Ok(node.tip.borrow().height.into())),
    },
    Method {
        name: "getblockhash",
        args: &[req("height", Kind::Number, "The height.")],
        about: "The id of the best chain's block at a height.",
        run: Run::Work(|node, params| {
            let height = params.height(0)?.unwrap_or(-1);
            let state = node.read();
            let entry = u32::try_from(height).ok().and_then(|height| state.chain.entry_at(height));
            match entry {
                Some(entry) => Ok(entry.hash().to_string().into()),
                None => Err(RpcError::parameter("Block height out of range")),
            }
        }),
    },
    Method {
        name: "getblockheader",
        args: &[
            req("blockhash", Kind::Text, "The block's id."),
            opt("verbose", Kind::Bool, "false for hex. Default true."),
        ],
        about: "A block's header.",
        run: Run::Work(|node, params| {
            let hash = params.block_hash(0, "hash")?;
            let state = node.read();
            let entry = state.chain.entry(&hash).ok_or_else(block_not_found)?;
            if params.bool(1).unwrap_or(true) {
                Ok(header_json(&state.chain, entry).into())
            } else {
                Ok(json::hex_of(&entry.header()).into())
            }
        }),
    },
    Method {
        name: "getblockstats",
        args: &[
            req("hash_or_height", Kind::Any, "The block's id or height."),
            opt("stats", Kind::Array, "Only these figures."),
        ],
        about: "Figures about a block: fees, sizes, outputs (satoshi, bytes).",
        run: Run::Work(super::blockstats::block_stats),
    },
    Method {
        name: "getchaintips",
        args: &[],
        about: "The ends of all branches known, and what they are.",
        run: Run::Work(|node, _| Ok(chain_tips(node))),
    },
    Method {
        name: "getchaintxstats",
        args: &[
            opt("nblocks", Kind::Number, "Over so many blocks. Default: a month's worth."),
            opt("blockhash", Kind::Text, "Up to this block. Default: the tip."),
        ],
        about: "How many transactions there are in the chain, and how many came a second.",
        run: Run::Work(chain_tx_stats),
    },
    Method {
        name: "getdeploymentinfo",
        args: &[opt("blockhash", Kind::Text, "As of this block. Default: the tip.")],
        about: "Which soft forks are in force.",
        run: Run::Work(deployment_info),
    },
    Method {
        name: "getdifficulty",
        args: &[],
        about: "How much harder than difficulty 1 the tip's target is.",
        run: Run::Work(|node, _| Ok(difficulty(node.coin, node.tip.borrow().bits).into())),
    },
    Method {
        name: "invalidateblock",
        args: &[req("blockhash", Kind::Text, "The block's id.")],
        about: "Marks a block invalid by hand, with all that stand on it, until reconsiderblock.",
        run: Run::Work(|node, params| {
            let hash = params.block_hash(0, "blockhash")?;
            change(node, |chain| chain.invalidate_block(&hash))
        }),
    },
    Method {
        name: "reconsiderblock",
        args: &[req("blockhash", Kind::Text, "The block's id.")],
        about: "Takes the mark of invalidblock back from a block and all that stand on it.",
        run: Run::Work(|node, params| {
            let hash = params.block_hash(0, "blockhash")?;
            change(node, |chain| chain.reconsider_block(&hash))
        }),
    },
    Method {
        name: "preciousblock",
        args: &[req("blockhash", Kind::Text, "The block's id.")],
        about: "Not supported: the branch that came first stays the best among equals.",
        run: Run::Work(|_, _| Err(RpcError::misc("preciousblock is not supported by this node"))),
    },
    Method {
        name: "waitforblock",
        args: &[
            req("blockhash", Kind::Text, "The block's id."),
            opt("timeout", Kind::Number, "Milliseconds to wait; 0 for as long as it takes. Default 0."),
        ],
        about: "Waits until a block is the tip. Answers the tip when it is, or when time is up.",
        run: Run::Wait(|node, params| {
            Box::pin(async move {
                let hash = params.block_hash(0, "blockhash")?;
                wait_for(&node, timeout(&params, 1)?, move |tip| tip.hash == hash).await
            })
        }),
    },
    Method {
        name: "waitforblockheight",
        args: &[
            req("height", Kind::Number, "The height."),
            opt("timeout", Kind::Number, "Milliseconds to wait; 0 for as long as it takes. Default 0."),
        ],
        about: "Waits until the chain is so high. Answers the tip when it is, or when time is up.",
        run: Run::Wait(|node, params| {
            Box::pin(async move {
                let height = params.height(0)?.unwrap_or(0);
                wait_for(&node, timeout(&params, 1)?, move |tip| i64::from(tip.height) >= height).await
            })
        }),
    },
    Method {
        name: "waitfornewblock",
        args: &[
            opt("timeout", Kind::Number, "Milliseconds to wait; 0 for as long as it takes. Default 0."),
            opt(
                "current_tip",
                Kind::Text,
                "Wait until the tip is another than this. Default: than it is now.",
            ),
        ],
        about: "Waits until the tip changes. Answers the tip when it does, or when time is up.",
        run: Run::Wait(|node, params| {
            Box::pin(async move {
                let known = match params.value(1) {
                    Value::Null => node.tip.borrow().hash,
                    given => parse_block_hash(given, "current_tip")?,
                };
                wait_for(&node, timeout(&params, 0)?, move |tip| tip.hash != known).await
            })
        }),
    },
];

/// No header of this id.
pub(crate) fn block_not_found() -> RpcError {
    RpcError::not_found("Block not found")
}

/// A block that cannot be read.
pub(crate) fn read_failed(error: &StoreError) -> RpcError {
    match error {
        StoreError::Pruned(_) => RpcError::misc("Block not available (pruned data)"),
        other => RpcError::internal(other.to_string()),
    }
}

/// How much harder than difficulty 1 the target in `bits` is, as the reference client shows it.
pub(crate) fn difficulty(coin: &lode_coins::Coin, bits: u32) -> f64 {
    match (coin.pow.block_difficulty_one_target(), Target::from_compact(bits)) {
        (Some(one), Ok(target)) => target.difficulty(one),
        (Some(_), Err(_)) => 0.0,
        // A prime chain's difficulty is its length.
        (None, _) => ChainLength(bits).to_f64(),
    }
}

/// A compact target as hex.
pub(crate) fn target_hex(bits: u32) -> String {
    Target::from_compact(bits).map_or_else(|_| "0".repeat(64), Target::to_be_hex)
}

/// Blocks from this one to the tip; -1 outside the best chain.
fn confirmations(chain: &Chain, hash: &BlockHash) -> i64 {
    chain.confirmations(hash).map_or(-1, i64::from)
}

/// A header's members.
pub(crate) fn header_json(chain: &Chain, entry: &BlockEntry) -> Map<String, Value> {
    let header = entry.header();
    let hash = entry.hash();
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.into(), value);
    };
    put("hash", hash.to_string().into());
    put("confirmations", confirmations(chain, &hash).into());
    put("height", entry.height().into());
    put("version", header.version.into());
    put("versionHex", format!("{:08x}", header.version).into());
    put("merkleroot", header.merkle_root.to_string().into());
    put("time", header.time.into());
    put("mediantime", chain.median_time_past(&hash).unwrap_or(header.time).into());
    put("nonce", header.nonce.into());
    put("bits", format!("{:08x}", header.bits).into());
    put("target", target_hex(header.bits).into());
    put("difficulty", difficulty(chain.coin(), header.bits).into());
    put("chainwork", entry.work().to_string().into());
    put("nTx", entry.tx_count().into());
    if entry.height() > 0 {
        put("previousblockhash", entry.prev().to_string().into());
    }
    if let Some(next) = chain.next(&hash) {
        put("nextblockhash", next.hash().to_string().into());
    }
    prime::put_chain(&header, &mut out);
    out
}

fn get_block(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let hash = params.block_hash(0, "blockhash")?;
    let verbosity = match params.value(1) {
        Value::Null => 1,
        Value::Bool(verbose) => i64::from(*verbose),
        other => crate::rpc::params::expect_int(other)?,
    };
    let state = node.read();
    let chain = &state.chain;
    let entry = chain.entry(&hash).ok_or_else(block_not_found)?;
    let missing = || RpcError::misc("Block not available (not fully downloaded)");
    if verbosity <= 0 {
        let bytes = chain.block_bytes(&hash).map_err(|error| read_failed(&error))?.ok_or_else(missing)?;
        return Ok(hex::encode(bytes).into());
    }
    let block = chain.block(&hash).map_err(|error| read_failed(&error))?.ok_or_else(missing)?;
    let mut out = header_json(chain, entry);
    let spent = match verbosity {
        1 => None,
        _ => chain.spent_outputs(&hash).unwrap_or(None),
    };
    drop(state);
    block_json(node, &block, spent, verbosity, &mut out);
    Ok(out.into())
}

/// Adds a block's members to its header's.
fn block_json(
    node: &Node,
    block: &Block,
    spent: Option<Vec<Vec<lode_chain::Utxo>>>,
    verbosity: i64,
    out: &mut Map<String, Value>,
) {
    out.insert("strippedsize".into(), block.base_size().into());
    out.insert("size".into(), block.total_size().into());
    out.insert("weight".into(), block.weight().into());
    if let Some(coinbase) = block.transactions.first()
        && let Some(input) = coinbase.inputs.first()
    {
        let mut member = json!({
            "version": coinbase.version.cast_unsigned(),
            "locktime": coinbase.lock_time,
            "sequence": input.sequence,
            "coinbase": hex::encode(&input.script_sig),
        });
        if let Some(item) = input.witness.0.first() {
            member["witness"] = hex::encode(item).into();
        }
        out.insert("coinbase_tx".into(), member);
    }
    let transactions: Vec<Value> = if verbosity == 1 {
        block.transactions.iter().map(|tx| tx.txid().to_string().into()).collect()
    } else {
        let mut spent = spent.map(Vec::into_iter);
        block
            .transactions
            .iter()
            .map(|tx| {
                let spent: Option<Vec<Spent>> = if tx.is_coinbase() {
                    None
                } else {
                    spent
                        .as_mut()
                        .and_then(Iterator::next)
                        .map(|spent| spent.into_iter().map(Spent::from).collect())
                };
                json::transaction(node.coin, tx, spent.as_deref(), verbosity > 2, true).into()
            })
            .collect()
    };
    out.insert("tx".into(), transactions.into());
}

/// The soft forks of a chain by name, with the height each holds from.
fn deployments(rules: &Deployments) -> [(&'static str, Option<u32>); 6] {
    [
        ("bip34", rules.bip34),
        ("bip66", rules.bip66),
        ("bip65", rules.bip65),
        ("csv", rules.csv),
        ("segwit", rules.segwit),
        ("taproot", rules.taproot),
    ]
}

fn deployment_info(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let state = node.read();
    let entry = match params.value(0) {
        Value::Null => state.chain.tip(),
        given => state.chain.entry(&parse_block_hash(given, "blockhash")?).ok_or_else(block_not_found)?,
    };
    let height = entry.height();
    let mut list = Map::new();
    for (name, since) in deployments(&node.coin.deployments) {
        if let Some(since) = since {
            let active = Deployments::holds(Some(since), height + 1);
            list.insert(name.into(), json!({"type": "buried", "active": active, "height": since}));
        }
    }
    Ok(json!({
        "hash": entry.hash().to_string(),
        "height": height,
        "deployments": list,
    }))
}

/// Share of the chain's transactions that is connected: by the clock, where no count of the whole is known.
fn progress(node: &Node, chain: &Chain) -> f64 {
    let tip = chain.tip();
    let best = chain.best_header();
    if !node.is_syncing() && tip.hash() == best.hash() {
        return 1.0;
    }
    // The last blocks that are missing weigh as their share of the time since the first block.
    let first = chain.entry_at(0).map_or(0, BlockEntry::time);
    let span = f64::from(now().max(tip.time()).saturating_sub(first)).max(1.0);
    (f64::from(tip.time().saturating_sub(first)) / span).clamp(0.0, 1.0)
}

fn chain_info(node: &Arc<Node>) -> Result<Value, RpcError> {
    let state = node.read();
    let chain = &state.chain;
    let tip = chain.tip();
    let mut out = json!({
        "chain": node.coin.chain_name,
        "blocks": tip.height(),
        "headers": chain.best_header().height(),
        "bestblockhash": tip.hash().to_string(),
        "bits": format!("{:08x}", tip.bits()),
        "target": target_hex(tip.bits()),
        "difficulty": difficulty(node.coin, tip.bits()),
        "time": tip.time(),
        "mediantime": chain.median_time_past(&tip.hash()),
        "verificationprogress": progress(node, chain),
        "initialblockdownload": node.is_syncing(),
        "chainwork": tip.work().to_string(),
        "size_on_disk": chain.disk_bytes().map_err(|error| read_failed(&error))?,
        "pruned": chain.is_pruned(),
        "warnings": node.warnings(),
    });
    if chain.is_pruned() {
        out["pruneheight"] = chain.prune_height().into();
        let size = node.prune_mib.filter(|mib| *mib != lode_chain::limits::PRUNE_BY_HAND);
        out["automatic_pruning"] = size.is_some().into();
        if let Some(mib) = size {
            out["prune_target_size"] = (mib << 20).into();
        }
    }
    if let Some(challenge) = node.coin.signet_challenge {
        out["signet_challenge"] = hex::encode(challenge).into();
    }
    Ok(out)
}

fn chain_tips(node: &Arc<Node>) -> Value {
    let state = node.read();
    let chain = &state.chain;
    let mut tips = chain.leaves();
    let active = chain.tip();
    if !tips.iter().any(|tip| tip.hash() == active.hash()) {
        tips.push(active);
    }
    tips.sort_by_key(|tip| std::cmp::Reverse(tip.height()));
    tips.into_iter()
        .map(|tip| {
            let fork = chain.fork_with(&tip.hash()).map_or(0, BlockEntry::height);
            let status = if chain.is_in_best_chain(&tip.hash()) {
                "active"
            } else if tip.is_invalid() {
                "invalid"
            } else if !tip.is_connectable() {
                "headers-only"
            } else if tip.is_checked() {
                "valid-fork"
            } else {
                "valid-headers"
            };
            json!({
                "height": tip.height(),
                "hash": tip.hash().to_string(),
                "branchlen": tip.height() - fork,
                "status": status,
            })
        })
        .collect()
}

fn chain_tx_stats(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let state = node.read();
    let chain = &state.chain;
    let last = match params.value(1) {
        Value::Null => chain.tip(),
        given => {
            let hash = parse_block_hash(given, "blockhash")?;
            let entry = chain.entry(&hash).ok_or_else(block_not_found)?;
            if !chain.is_in_best_chain(&hash) {
                return Err(RpcError::parameter("Block is not in main chain"));
            }
            entry
        }
    };
    let month = 30 * 24 * 60 * 60 / node.coin.spacing();
    let count = match params.height(0)? {
        None => month.min(last.height().saturating_sub(1)),
        Some(count) => {
            u32::try_from(count).ok().filter(|count| *count == 0 || *count < last.height()).ok_or_else(
                || RpcError::parameter("Invalid block count: should be between 0 and the block's height - 1"),
            )?
        }
    };
    let first = chain.entry_at(last.height() - count).ok_or_else(block_not_found)?;
    let time_of = |entry: &BlockEntry| chain.median_time_past(&entry.hash()).unwrap_or(entry.time());
    let mut out = json!({
        "time": last.time(),
        "window_final_block_hash": last.hash().to_string(),
        "window_final_block_height": last.height(),
        "window_block_count": count,
    });
    if last.chain_tx_count() > 0 {
        out["txcount"] = last.chain_tx_count().into();
    }
    if count > 0 {
        let interval = i64::from(time_of(last)) - i64::from(time_of(first));
        out["window_interval"] = interval.into();
        if last.chain_tx_count() > 0 && first.chain_tx_count() > 0 {
            let transactions = last.chain_tx_count() - first.chain_tx_count();
            out["window_tx_count"] = transactions.into();
            if interval > 0 {
                out["txrate"] = (transactions as f64 / interval as f64).into();
            }
        }
    }
    Ok(out)
}

/// A change of the chain by hand.
fn change(
    node: &Arc<Node>,
    change: impl FnOnce(&mut Chain) -> Result<Option<lode_chain::Connected>, StoreError>,
) -> Result<Value, RpcError> {
    match node.change_by_hand(change) {
        Ok(true) => Ok(Value::Null),
        Ok(false) => Err(block_not_found()),
        Err(error) => Err(RpcError::new(code::DATABASE_ERROR, error.to_string())),
    }
}

/// Milliseconds at `i`; 0 and nothing mean as long as allowed.
fn timeout(params: &Params, i: usize) -> Result<Duration, RpcError> {
    let milliseconds = params.int(i)?.unwrap_or(0);
    let milliseconds = u64::try_from(milliseconds).map_err(|_| RpcError::misc("Negative timeout"))?;
    Ok(if milliseconds == 0 { WAIT_MAX } else { Duration::from_millis(milliseconds).min(WAIT_MAX) })
}

/// Waits until `enough` of the tip, time is up, or the node stops; answers the tip.
async fn wait_for(
    node: &Arc<Node>,
    timeout: Duration,
    mut enough: impl FnMut(&Tip) -> bool + Send,
) -> Result<Value, RpcError> {
    let mut tips = node.tip.subscribe();
    let mut stop = node.stop.subscribe();
    tokio::select! {
        _ = tips.wait_for(|tip| enough(tip)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(timeout) => {}
    }
    let tip = *node.tip.borrow();
    Ok(json!({"hash": tip.hash.to_string(), "height": tip.height}))
}

/// Blocks between retargets, as `getnetworkhashps -1` counts.
pub(crate) fn retarget_interval(retarget: &Retarget) -> u32 {
    match *retarget {
        Retarget::Interval { timespan, spacing, .. } => (timespan / spacing).max(1),
        Retarget::EachBlock { window, .. } | Retarget::ChainLength { window, .. } => window.max(1),
    }
}
