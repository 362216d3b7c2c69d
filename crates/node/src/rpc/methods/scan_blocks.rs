//! `scanblocks`: which blocks may pay to some scripts or spend from them, by their compact filters. A wallet then reads
//! those blocks and no others.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lode_primitives::filter::made;
use lode_primitives::{BlockHash, Height, ScriptBuf};
use serde_json::{Value, json};

use super::blockchain::{block_not_found, read_failed};
use super::scan::scanned_scripts;
use crate::filters::Filters;
use crate::node::Node;
use crate::rpc::error::RpcError;
use crate::rpc::params::{Kind, Params, opt, req, wrong_type};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[Method {
    name: "scanblocks",
    args: &[
        req(
            "action",
            Kind::Text,
            "\"start\", which answers when it is done; \"status\" of the scan under way, or \"abort\" it.",
        ),
        opt(
            "scanobjects",
            Kind::Array,
            "[\"addr(ADDRESS)\" or \"raw(HEX)\", or {\"desc\": one of them}, ...]",
        ),
        opt("start_height", Kind::Number, "The first block. Default 0."),
        opt("stop_height", Kind::Number, "The last block. Default the tip."),
        opt("filtertype", Kind::Text, "The kind of filter. Default basic, the only one."),
        opt(
            "options",
            Kind::Object,
            "{\"filter_false_positives\": true} reads each block found, and leaves those out that only seemed to match.",
        ),
    ],
    about: "The blocks that have to do with some addresses or scripts. The node runs with --filters.",
    run: Run::Work(scan),
}];

/// Blocks whose ids are read under one lock.
const CHUNK: Height = 1_000;
/// How long a scan waits for the filters of the newest blocks, which are made a moment after them.
const PATIENCE: Duration = Duration::from_secs(10);

/// The scan under way; there is one at a time.
#[derive(Debug, Default)]
pub(crate) struct ScanState {
    running: AtomicBool,
    abort: AtomicBool,
    /// Blocks looked through, in percent.
    percent: AtomicU32,
    height: AtomicU32,
}

/// The right to scan, given back when dropped.
struct Reserved<'a>(&'a ScanState);

impl ScanState {
    fn reserve(&self) -> Option<Reserved<'_>> {
        let free = !self.running.swap(true, Ordering::AcqRel);
        free.then(|| {
            self.abort.store(false, Ordering::Relaxed);
            Reserved(self)
        })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

fn scan(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let state = &node.block_scan;
    let running = state.running.load(Ordering::Acquire);
    match params.required_text(0)? {
        "status" if !running => Ok(Value::Null),
        "status" => Ok(json!({
            "progress": state.percent.load(Ordering::Relaxed),
            "current_height": state.height.load(Ordering::Relaxed),
        })),
        "abort" => {
            state.abort.store(true, Ordering::Relaxed);
            Ok(running.into())
        }
        "start" => {
            let reserved = state.reserve().ok_or_else(|| {
                RpcError::parameter("Scan already in progress, use action \"abort\" or \"status\"")
            })?;
            start(node, params, &reserved)
        }
        other => Err(RpcError::parameter(format!("Invalid action '{other}'"))),
    }
}

fn start(node: &Node, params: &Params, reserved: &Reserved<'_>) -> Result<Value, RpcError> {
    if params.text(4).is_some_and(|kind| kind != "basic") {
        return Err(RpcError::not_found("Unknown filtertype"));
    }
    let sure = match params.member(5, "filter_false_positives") {
        Value::Null => false,
        Value::Bool(sure) => *sure,
        other => return Err(wrong_type(other, "bool")),
    };
    let filters =
        node.filters.as_ref().ok_or_else(|| RpcError::misc("Index is not enabled for filtertype basic"))?;
    let (first, last, stop) = stretch(node, params)?;
    let objects = params.array(1).ok_or_else(|| wrong_type(params.value(1), "array"))?;
    let scripts: HashSet<ScriptBuf> = scanned_scripts(node.coin, objects)?.into_keys().collect();
    if !filters.wait_for(last, PATIENCE) {
        return Err(not_indexed());
    }
    let state = reserved.0;
    let mut found = Vec::new();
    let (mut next, mut completed) = (first, true);
    while next <= last && completed {
        let end = last.min(next.saturating_add(CHUNK - 1));
        let hashes: Vec<BlockHash> = {
            let state = node.read();
            let hash = |height| state.chain.ancestor(&stop, height).map(|entry| entry.hash());
            (next..=end).map(hash).collect::<Option<_>>().ok_or_else(block_not_found)?
        };
        for (height, hash) in (next..=end).zip(hashes) {
            completed = !state.abort.load(Ordering::Relaxed) && !node.stopping.load(Ordering::Relaxed);
            if !completed {
                break;
            }
            if matches(filters, height, &hash, &scripts)? && (!sure || concerns(node, &hash, &scripts)?) {
                found.push(hash.to_string());
            }
            let done = u64::from(height - first + 1) * 100 / u64::from(last - first + 1);
            state.percent.store(done as u32, Ordering::Relaxed);
            state.height.store(height, Ordering::Relaxed);
            next = height + 1;
        }
    }
    Ok(json!({
        "from_height": first,
        "to_height": if completed { last } else { next.saturating_sub(1).max(first) },
        "relevant_blocks": found,
        "completed": completed,
    }))
}

/// The first and the last height, and the last block.
fn stretch(node: &Node, params: &Params) -> Result<(Height, Height, BlockHash), RpcError> {
    let state = node.read();
    let given = |i: usize, default: Height, wrong: &'static str| match params.height(i)? {
        None => Ok(default),
        Some(height) => {
            let height = Height::try_from(height).ok().filter(|height| *height <= state.chain.height());
            height.ok_or_else(|| RpcError::misc(wrong))
        }
    };
    let first = given(2, 0, "Invalid start_height")?;
    let last = given(3, state.chain.height(), "Invalid stop_height")?;
    let stop = state.chain.entry_at(last).filter(|_| last >= first);
    let stop = stop.ok_or_else(|| RpcError::misc("Invalid stop_height"))?;
    Ok((first, last, stop.hash()))
}

fn matches(
    filters: &Filters,
    height: Height,
    hash: &BlockHash,
    scripts: &HashSet<ScriptBuf>,
) -> Result<bool, RpcError> {
    let filter = filters.index.filter(height, hash).map_err(|error| read_failed(&error))?;
    let filter = filter.ok_or_else(not_indexed)?;
    filter
        .matches_any(hash, scripts.iter().map(Vec::as_slice))
        .map_err(|error| RpcError::internal(format!("the filter of block {hash} is damaged: {error}")))
}

/// The block itself pays to one of the scripts, or spends from one.
fn concerns(node: &Node, hash: &BlockHash, scripts: &HashSet<ScriptBuf>) -> Result<bool, RpcError> {
    let state = node.read();
    let block = state.chain.block(hash).map_err(|error| read_failed(&error))?.ok_or_else(block_not_found)?;
    if made(&block).any(|script| scripts.contains(script)) {
        return Ok(true);
    }
    let spent = state.chain.spent_outputs(hash).map_err(|error| read_failed(&error))?.unwrap_or_default();
    Ok(spent.iter().flatten().any(|utxo| scripts.contains(&utxo.output.script_pubkey)))
}

/// A part of the answer would be missing.
fn not_indexed() -> RpcError {
    RpcError::misc("Block filters are still in the process of being indexed.")
}
