//! `getwork`, which old miners of prime chains speak: a header to work on, then the same header with another time, nonce and
//! the multiplier. Blobs are read and written by `lode_stratum::getwork`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use lode_chain::check_pow;
use lode_primitives::{Block, Decode, Form, Header, MerkleNode, ScriptBuf, Target, Transaction};
use lode_stratum::getwork::{Solution, write_work};
use serde_json::{Value, json};

use super::mining::refuse_unready;
use crate::node::{Node, Submitted};
use crate::rpc::error::RpcError;
use crate::rpc::params::{Kind, Params, opt};
use crate::rpc::table::{Method, Run};
use crate::template;

/// Headers given out on one tip that may still come back with a solution; then the oldest is forgotten. Miners ask every few seconds,
/// and their transactions are shared, so this is minutes of a room full of miners in little memory.
const WORKS_MAX: usize = 1_024;

pub(crate) const METHODS: &[Method] = &[Method {
    name: "getwork",
    args: &[opt("data", Kind::Text, "A solution: the blob that was given, with time, nonce and multiplier.")],
    about: "For miners of prime chains: without data a header to work on, with data whether it is a block. The node must know \
            whom to pay (lode node --mine-to ADDRESS).",
    run: Run::Wait(|node, params| Box::pin(get_work(node, params))),
}];

/// Whom blocks made by `getwork` pay, and the blocks given out.
#[derive(Debug)]
pub(crate) struct Works {
    to: Option<ScriptBuf>,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    /// Counts the coinbases, so that no two are alike.
    count: u64,
    /// The newest last; all on one tip.
    works: VecDeque<Arc<Work>>,
}

/// A block without its solution.
#[derive(Debug)]
struct Work {
    header: Header,
    /// Blocks made here keep to the median time, whether or not the coin's rules ask for it.
    min_time: u32,
    coinbase: Transaction,
    transactions: Vec<Arc<Transaction>>,
}

impl Works {
    /// None given out yet; their coinbases are to pay to this script.
    pub(crate) fn paying(to: Option<ScriptBuf>) -> Self {
        Self { to, given: Mutex::default() }
    }

    /// Another coinbase's own number.
    fn count(&self) -> u64 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.count += 1;
        given.count
    }

    fn keep(&self, work: Work) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.works.retain(|older| older.header.prev == work.header.prev);
        if given.works.len() == WORKS_MAX {
            given.works.pop_front();
        }
        given.works.push_back(Arc::new(work));
    }

    fn find(&self, root: &MerkleNode) -> Option<Arc<Work>> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.works.iter().find(|work| work.header.merkle_root == *root).cloned()
    }
}

async fn get_work(node: Arc<Node>, params: Params) -> Result<Value, RpcError> {
    if !node.coin.form.multiplier {
        return Err(RpcError::misc(format!(
            "getwork is for coins with prime chains; {} has getblocktemplate",
            node.coin.name
        )));
    }
    let solution = match params.text(0) {
        None => {
            refuse_unready(&node).await?;
            None
        }
        Some(text) => Some(Solution::parse(text).ok_or_else(|| {
            RpcError::parameter(
                "data must be a blob of 128 to 512 bytes in hex, a whole number of 4-byte words",
            )
        })?),
    };
    let done = tokio::task::spawn_blocking(move || match solution {
        None => give(&node),
        Some(solution) => Ok(take(&node, &solution).into()),
    });
    done.await.map_err(|error| RpcError::internal(error.to_string()))?
}

fn give(node: &Node) -> Result<Value, RpcError> {
    let Some(to) = &node.works.to else {
        return Err(RpcError::misc(
            "whom shall the block pay? This node keeps no keys: start it with --mine-to ADDRESS",
        ));
    };
    let template = node.template();
    let transactions: Vec<Arc<Transaction>> = template.transactions.iter().map(|tx| tx.tx.clone()).collect();
    let pay = (template.coinbase_value, to.as_slice());
    let extra = node.works.count().to_le_bytes();
    let mut block = template::block(node.coin, &template, &transactions, pay, Some(extra));
    let (header, coinbase) = (block.header, block.transactions.swap_remove(0));
    // `target` says nothing about a chain's length; miners want it there.
    let target = Target::from_compact(header.bits).map_or([0; 32], Target::to_le_bytes);
    let answer = json!({"data": write_work(&header.pow_bytes()), "target": hex::encode(target)});
    node.works.keep(Work { header, min_time: template.min_time, coinbase, transactions });
    Ok(answer)
}

/// Whether it is a block, and on the best chain. The log says why not: miners of this kind know true and false.
fn take(node: &Node, solution: &Solution) -> bool {
    let Ok(given) = Header::from_bytes(&solution.header, Form::default()) else { return false };
    let Some(work) = node.works.find(&given.merkle_root) else {
        tracing::info!("getwork: a solution of work that was not given, or on an older tip");
        return false;
    };
    if given.time < work.min_time {
        tracing::info!(time = given.time, least = work.min_time, "getwork: the time is too early");
        return false;
    }
    let header = |multiplier| Header {
        time: given.time,
        nonce: given.nonce,
        multiplier: Some(multiplier),
        ..work.header.clone()
    };
    // Of a blob that can be read in two ways at most one gives a chain.
    let mut refused = None;
    let found = solution.multipliers().map(header).find(|header| {
        check_pow(node.coin, header, &header.hash()).map_err(|error| refused.get_or_insert(error)).is_ok()
    });
    let Some(header) = found else {
        let why = refused.map_or_else(|| "there is no multiplier".to_owned(), |error| error.to_string());
        tracing::info!(why, "getwork: no block");
        return false;
    };
    let hash = header.hash();
    let all = std::iter::once(&work.coinbase).chain(work.transactions.iter().map(AsRef::as_ref));
    match node.submit(Arc::new(Block { header, transactions: all.cloned().collect() })) {
        Submitted::BestChain | Submitted::Duplicate => true,
        Submitted::SideChain => {
            tracing::info!(%hash, "getwork: another block came first");
            false
        }
        Submitted::Rejected { detail, .. } => {
            tracing::info!(%hash, detail, "getwork: refused");
            false
        }
    }
}
