//! Blockchain: compact filters and how far the index of them is.

use serde_json::{Value, json};

use super::blockchain::{block_not_found, read_failed};
use crate::node::Node;
use crate::rpc::error::RpcError;
use crate::rpc::params::{Kind, Params, opt, req};
use crate::rpc::table::{Method, Run};

/// The index's name, as bitcoind has it.
const INDEX: &str = "basic block filter index";

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "getblockfilter",
        args: &[
            req("blockhash", Kind::Text, "The block's id."),
            opt("filtertype", Kind::Text, "The kind of filter. Default basic, the only one."),
        ],
        about: "A block's compact filter (BIP158) and its filter header (BIP157). The node runs with --filters.",
        run: Run::Work(|node, params| block_filter(node, params)),
    },
    Method {
        name: "getindexinfo",
        args: &[opt("index_name", Kind::Text, "Only the index of this name.")],
        about: "How far each index is that the node keeps.",
        run: Run::Work(|node, params| {
            let wanted = params.text(0).unwrap_or_default();
            let mut out = json!({});
            if let Some(filters) = &node.filters
                && (wanted.is_empty() || wanted == INDEX)
            {
                let height = filters.height();
                let synced = height.is_some_and(|height| height >= node.tip.borrow().height);
                out[INDEX] = json!({ "synced": synced, "best_block_height": height.unwrap_or(0) });
            }
            Ok(out)
        }),
    },
];

fn block_filter(node: &Node, params: &Params) -> Result<Value, RpcError> {
    let hash = params.block_hash(0, "blockhash")?;
    if params.text(1).is_some_and(|kind| kind != "basic") {
        return Err(RpcError::not_found("Unknown filtertype"));
    }
    let Some(filters) = &node.filters else {
        return Err(RpcError::misc("Index is not enabled for filtertype basic"));
    };
    let (height, connected) = {
        let state = node.read();
        let entry = state.chain.entry(&hash).ok_or_else(block_not_found)?;
        (entry.height(), entry.is_checked())
    };
    let found = |error| read_failed(&error);
    let (filter, header) = (
        filters.index.filter(height, &hash).map_err(found)?,
        filters.index.header(height, &hash).map_err(found)?,
    );
    match (filter, header) {
        (Some(filter), Some(header)) => Ok(json!({
            "filter": hex::encode(filter.as_bytes()),
            "header": header.header.to_string(),
        })),
        _ if !connected => {
            Err(RpcError::not_found("Filter not found. Block was not connected to active chain."))
        }
        _ => {
            Err(RpcError::misc("Filter not found. Block filters are still in the process of being indexed."))
        }
    }
}
