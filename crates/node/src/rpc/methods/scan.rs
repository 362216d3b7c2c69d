//! `scantxoutset`: which unspent outputs some scripts have. Reads them all; there is no index by script.

use std::collections::HashMap;
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Amount, ScriptBuf};
use serde_json::{Value, json};

use super::blockchain::read_failed;
use crate::node::Node;
use crate::rpc::descriptor;
use crate::rpc::error::RpcError;
use crate::rpc::json;
use crate::rpc::params::{Kind, Params, expect_text, opt, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[Method {
    name: "scantxoutset",
    args: &[
        req(
            "action",
            Kind::Text,
            "\"start\"; a scan answers when it is done, so \"status\" and \"abort\" find none.",
        ),
        opt(
            "scanobjects",
            Kind::Array,
            "[\"addr(ADDRESS)\" or \"raw(HEX)\", or {\"desc\": one of them}, ...]",
        ),
    ],
    about: "The unspent outputs of some addresses or scripts, in the chain (not the mempool).",
    run: Run::Work(scan),
}];

/// The scripts that `objects` name, each with the words it was given in.
pub(super) fn scanned_scripts(
    coin: &Coin,
    objects: &[Value],
) -> Result<HashMap<ScriptBuf, String>, RpcError> {
    let script = |object: &Value| {
        let text = expect_text(object.get("desc").unwrap_or(object))?;
        let script = descriptor::to_script(coin, text).ok_or_else(|| {
            RpcError::not_found(format!("{text}: only addr(ADDRESS) and raw(HEX) descriptors are known"))
        })?;
        Ok((script, text.to_owned()))
    };
    objects.iter().map(script).collect()
}

fn scan(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    match params.required_text(0)? {
        "start" => {}
        "status" => return Ok(Value::Null),
        "abort" => return Ok(false.into()),
        other => return Err(RpcError::parameter(format!("Invalid action '{other}'"))),
    }
    let objects = params
        .array(1)
        .ok_or_else(|| RpcError::misc("scanobjects argument is required for the start action"))?;
    let scripts = scanned_scripts(node.coin, objects)?;
    // The snapshot is read without the lock: blocks go on being connected meanwhile.
    let (set, tip, height) = {
        let mut state = node.write();
        let (tip, height) = (state.chain.tip().hash(), state.chain.height());
        (state.chain.output_set().map_err(|error| read_failed(&error))?, tip, height)
    };
    let (mut unspents, mut total, mut count) = (Vec::new(), Amount::ZERO, 0u64);
    for row in set.iter() {
        let (outpoint, utxo) = row.map_err(|error| read_failed(&error))?;
        count += 1;
        let Some(descriptor) = scripts.get(&utxo.output.script_pubkey) else { continue };
        total = total.checked_add(utxo.output.value).unwrap_or(total);
        unspents.push(json!({
            "txid": outpoint.txid.to_string(),
            "vout": outpoint.vout,
            "scriptPubKey": hex::encode(&utxo.output.script_pubkey),
            "desc": descriptor,
            "amount": json::amount(utxo.output.value),
            "coinbase": utxo.coinbase,
            "height": utxo.height,
            "confirmations": height + 1 - utxo.height,
        }));
    }
    Ok(json!({
        "success": true,
        "txouts": count,
        "height": height,
        "bestblock": tip.to_string(),
        "unspents": unspents,
        "total_amount": json::amount(total),
    }))
}
