//! What coins with prime chains and data fields have beside others: what a chain of primes looks like, and what a
//! transaction carries. Named and shaped as the reference implementations' answers.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lode_coins::Coin;
use lode_pow::Origin;
use lode_primitives::{Hash256, Header, decimal, sha256d};
use serde_json::{Map, Value};

use super::blockchain::read_failed;
use crate::node::Node;
use crate::rpc::error::{RpcError, code};
use crate::rpc::params::{Kind, Params, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "getdata",
        args: &[req("txid", Kind::Text, "The transaction's id.")],
        about: "What a transaction of the mempool or of the best chain carries in its data field, base64.",
        run: Run::Work(get_data),
    },
    Method {
        name: "senddata",
        args: &[req("data", Kind::Text, "The data, base64.")],
        about: "Not done by the node, which keeps no keys to pay with: lode data put FILE --from WALLET does it.",
        run: Run::Work(send_data),
    },
];

/// The reference pays for it from its own wallet.
fn send_data(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let coin = node.coin;
    if !coin.form.data {
        return Err(RpcError::misc(format!("transactions of {coin} carry no data")));
    }
    decode(coin, params.value(0))?;
    Err(RpcError::new(
        code::WALLET_NOT_FOUND,
        format!(
            "this node keeps no keys to pay with. Put the data into a file and run: lode data put FILE --from WALLET \
             --coin {} --network {}",
            coin.name, coin.network
        ),
    ))
}

fn get_data(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let txid = params.txid(0, "txid")?;
    if !node.coin.form.data {
        return Err(RpcError::misc(format!("transactions of {} carry no data", node.coin.name)));
    }
    let state = node.read();
    let waiting = state.mempool.get(&txid).and_then(|entry| entry.tx.data.clone());
    let data = match waiting {
        Some(data) => Some(data),
        None => {
            let found = state.chain.data_transaction(&txid).map_err(|error| read_failed(&error))?;
            found.and_then(|(tx, _)| tx.data)
        }
    };
    data.map(|data| encode(&data).into()).ok_or_else(|| {
        RpcError::not_found(format!("no transaction {txid} with data in the mempool or the chain"))
    })
}

/// Data as the reference implementation shows it.
pub(crate) fn encode(data: &[u8]) -> String {
    BASE64.encode(data)
}

/// The data that a parameter gives; none where it is left out. Refused where the coin's transactions cannot carry it.
pub(crate) fn decode(coin: &Coin, given: &Value) -> Result<Option<Vec<u8>>, RpcError> {
    let text = match given {
        Value::Null => return Ok(coin.form.data.then(Vec::new)),
        Value::String(text) => text,
        _ => return Err(RpcError::parameter("data must be a base64 string")),
    };
    let data =
        BASE64.decode(text).map_err(|error| RpcError::parameter(format!("data is not base64: {error}")))?;
    if data.len() > coin.max_data {
        let (size, max) = (data.len(), coin.max_data);
        return Err(RpcError::parameter(format!(
            "{size} bytes of data; a transaction of {coin} carries at most {max}"
        )));
    }
    Ok(coin.form.data.then_some(data))
}

/// Adds what a header with a multiplier shows: its hash, the chain of primes, its origin and the multiplier.
pub(crate) fn put_chain(header: &Header, out: &mut Map<String, Value>) {
    let Some(multiplier) = &header.multiplier else { return };
    let bytes = header.pow_bytes();
    out.insert("headerhash".into(), Hash256(sha256d(&bytes)).to_string().into());
    if let Ok(origin) = Origin::new(&bytes, multiplier) {
        out.insert("primechain".into(), origin.lengths().longest().to_string().into());
        out.insert("primeorigin".into(), decimal(&origin.to_le_bytes()).into());
    }
    out.insert("primechainmultiplier".into(), multiplier.to_decimal().into());
}
