//! Rawtransactions: make, decode, look up and send transactions.

use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Amount, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut, Witness, hash160};
use lode_script::{Instructions, ScriptKind, build, classify, has_valid_ops, is_unspendable, opcode};
use serde_json::Value;

use super::blockchain::{block_not_found, read_failed};
use super::prime;
use crate::node::Node;
use crate::rpc::error::{RpcError, code};
use crate::rpc::json::{self, Spent};
use crate::rpc::params::{
    Kind, Params, expect_amount, expect_int, expect_text, opt, parse_block_hash, parse_txid, req,
};
use crate::rpc::table::{Method, Run};

/// Sequence number that allows replacement (BIP125) and lock times.
const SEQUENCE_REPLACEABLE: u32 = 0xffff_fffd;
/// Sequence number that allows lock times, but asks for no replacement.
const SEQUENCE_NOT_FINAL: u32 = 0xffff_fffe;

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "createrawtransaction",
        args: &[
            req(
                "inputs",
                Kind::Array,
                "[{\"txid\": hex, \"vout\": n, \"sequence\": n}, ...]: the outputs to spend.",
            ),
            req("outputs", Kind::Any, "[{address: amount}, ..., {\"data\": hex}], or one object of them."),
            opt("locktime", Kind::Number, "Lock time. Default 0."),
            opt("replaceable", Kind::Bool, "Sequence numbers allow replacement (BIP125). Default true."),
            opt("version", Kind::Number, "Version, 1 to 3. Default 2."),
            opt("txdata", Kind::Text, "What it carries in its data field, base64. Coins that have one only."),
        ],
        about: "Makes an unsigned transaction and gives its hex. Nothing is stored or sent.",
        run: Run::Work(|node, params| Ok(json::hex_of(&create(node.coin, params)?).into())),
    },
    Method {
        name: "decoderawtransaction",
        args: &[
            req("hexstring", Kind::Text, "The transaction's hex."),
            opt(
                "iswitness",
                Kind::Bool,
                "Read it with (true) or without (false) witnesses; both are tried else.",
            ),
        ],
        about: "Shows what a transaction's hex says.",
        run: Run::Work(|node, params| {
            let tx = json::parse_transaction(node.coin, params.required_text(0)?)?;
            Ok(json::transaction(node.coin, &tx, None, false, false).into())
        }),
    },
    Method {
        name: "decodescript",
        args: &[req("hexstring", Kind::Text, "The script's hex.")],
        about: "Shows what a script says, and the addresses that would stand for it.",
        run: Run::Work(|node, params| {
            let text = params.required_text(0)?;
            let script = hex::decode(text).map_err(|_| {
                RpcError::parameter(format!("argument must be hexadecimal string (not '{text}')"))
            })?;
            Ok(decode_script(node.coin, &script))
        }),
    },
    Method {
        name: "getrawtransaction",
        args: &[
            req("txid", Kind::Text, "The transaction's id."),
            opt("verbosity|verbose", Kind::Any, "0: hex; 1: JSON; 2: with the outputs it spends. Default 0."),
            opt(
                "blockhash",
                Kind::Text,
                "The block to look in. Default: the mempool, and what carries data.",
            ),
        ],
        about: "A transaction of the mempool, or of the block that is named. Those that carry data are found without.",
        run: Run::Work(get_raw_transaction),
    },
    Method {
        name: "combinerawtransaction",
        args: &[req("txs", Kind::Array, "[hex, ...]: the same transaction, signed by different hands.")],
        about: "Joins the signatures of several copies of a transaction into one: of each input, the longest found.",
        run: Run::Work(|node, params| combine(node.coin, params)),
    },
];

fn get_raw_transaction(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let txid = params.txid(0, "parameter 1")?;
    let verbosity = match params.value(1) {
        Value::Null => 0,
        Value::Bool(verbose) => i64::from(*verbose),
        other => expect_int(other)?,
    };
    let state = node.read();
    let chain = &state.chain;
    let first = chain.block(&chain.entry_at(0).ok_or_else(block_not_found)?.hash()).ok().flatten();
    if first.is_some_and(|block| block.transactions.iter().any(|tx| tx.txid() == txid)) {
        return Err(RpcError::not_found(
            "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved",
        ));
    }
    let hash = match params.value(2) {
        Value::Null => None,
        given => {
            let hash = parse_block_hash(given, "parameter 3")?;
            chain.entry(&hash).ok_or_else(|| RpcError::not_found("Block hash not found"))?;
            Some(hash)
        }
    };
    let carried = || {
        let found = chain.data_transaction(&txid).unwrap_or(None);
        found.and_then(|(_, height)| Some(chain.entry_at(height)?.hash()))
    };
    let hash = hash.or_else(|| if state.mempool.get(&txid).is_none() { carried() } else { None });
    let (tx, spent) = match &hash {
        None => {
            let entry = state.mempool.get(&txid).ok_or_else(|| {
                RpcError::not_found(
                    "No such mempool transaction. Provide a block hash to look for one in the chain.",
                )
            })?;
            (entry.tx.clone(), None)
        }
        Some(hash) => {
            let block = chain
                .block(hash)
                .map_err(|error| read_failed(&error))?
                .ok_or_else(|| RpcError::misc("Block not available"))?;
            let position = block
                .transactions
                .iter()
                .position(|tx| tx.txid() == txid)
                .ok_or_else(|| RpcError::not_found("No such transaction found in the provided block."))?;
            let spent = match (verbosity, position.checked_sub(1)) {
                (2.., Some(i)) => {
                    chain.spent_outputs(hash).unwrap_or(None).and_then(|all| all.into_iter().nth(i))
                }
                _ => None,
            };
            (Arc::new(block.transactions[position].clone()), spent)
        }
    };
    if verbosity <= 0 {
        return Ok(json::hex_of(&*tx).into());
    }
    let spent: Option<Vec<Spent>> = spent.map(|spent| spent.into_iter().map(Spent::from).collect());
    let mut out = json::transaction(node.coin, &tx, spent.as_deref(), verbosity > 1, true);
    if let Some(hash) = hash {
        out.insert("in_active_chain".into(), chain.is_in_best_chain(&hash).into());
        out.insert("blockhash".into(), hash.to_string().into());
        out.insert("confirmations".into(), chain.confirmations(&hash).unwrap_or(0).into());
        if let Some(entry) = chain.entry(&hash).filter(|_| chain.is_in_best_chain(&hash)) {
            out.insert("time".into(), entry.time().into());
            out.insert("blocktime".into(), entry.time().into());
        }
    }
    Ok(out.into())
}

fn create(coin: &Coin, params: &Params) -> Result<Transaction, RpcError> {
    let lock_time = match params.int(2)? {
        None => 0,
        Some(value) => u32::try_from(value)
            .map_err(|_| RpcError::parameter("Invalid parameter, locktime out of range"))?,
    };
    let replaceable = params.bool(3).unwrap_or(true);
    let version = match params.int(4)? {
        None => 2,
        Some(value @ 1..=3) => value as i32,
        Some(_) => return Err(RpcError::parameter("Invalid parameter, version out of range(1~3)")),
    };
    let mut inputs = Vec::new();
    for entry in params.array(0).unwrap_or_default() {
        let txid = parse_txid(entry.get("txid").unwrap_or(&Value::Null), "txid")?;
        let vout = entry
            .get("vout")
            .filter(|vout| vout.is_number())
            .ok_or_else(|| RpcError::parameter("Invalid parameter, missing vout key"))?;
        let vout = u32::try_from(expect_int(vout)?)
            .map_err(|_| RpcError::parameter("Invalid parameter, vout cannot be negative"))?;
        let sequence = match entry.get("sequence") {
            Some(number @ Value::Number(_)) => u32::try_from(expect_int(number)?)
                .map_err(|_| RpcError::parameter("Invalid parameter, sequence number is out of range"))?,
            _ if replaceable => SEQUENCE_REPLACEABLE,
            _ if lock_time != 0 => SEQUENCE_NOT_FINAL,
            _ => SEQUENCE_FINAL,
        };
        inputs.push(TxIn { sequence, ..TxIn::spending(OutPoint { txid, vout }) });
    }
    if params.bool(3) == Some(true)
        && !inputs.is_empty()
        && inputs.iter().all(|input| input.sequence > SEQUENCE_REPLACEABLE)
    {
        return Err(RpcError::parameter(
            "Invalid parameter combination: Sequence number(s) contradict replaceable option",
        ));
    }
    let outputs = create_outputs(coin, params.value(1))?;
    let data = prime::decode(coin, params.value(5))?;
    Ok(Transaction { version, inputs, outputs, lock_time, data })
}

fn create_outputs(coin: &Coin, given: &Value) -> Result<Vec<TxOut>, RpcError> {
    let pairs: Vec<(&String, &Value)> = match given {
        Value::Object(map) => map.iter().collect(),
        Value::Array(list) => {
            let mut pairs = Vec::new();
            for entry in list {
                let map = entry.as_object().filter(|map| map.len() == 1).ok_or_else(|| {
                    RpcError::parameter("Invalid parameter, key-value pair must contain exactly one key")
                })?;
                pairs.extend(map);
            }
            pairs
        }
        _ => return Err(RpcError::parameter("Invalid parameter, output argument must be non-null")),
    };
    let mut outputs: Vec<TxOut> = Vec::new();
    let mut has_data = false;
    for (key, value) in pairs {
        if key == "data" {
            if std::mem::replace(&mut has_data, true) {
                return Err(RpcError::parameter("Invalid parameter, duplicate key: data"));
            }
            let text = expect_text(value)?;
            let data = hex::decode(text).map_err(|_| {
                RpcError::parameter(format!("Data must be hexadecimal string (not '{text}')"))
            })?;
            outputs.push(TxOut { value: Amount::ZERO, script_pubkey: build::op_return(&[&data]) });
            continue;
        }
        let script_pubkey = coin
            .address_to_script(key)
            .map_err(|_| RpcError::not_found(format!("Invalid {} address: {key}", coin.name)))?;
        if outputs.iter().any(|output| output.script_pubkey == script_pubkey) {
            return Err(RpcError::parameter(format!("Invalid parameter, duplicated address: {key}")));
        }
        outputs.push(TxOut { value: expect_amount(value)?, script_pubkey });
    }
    Ok(outputs)
}

/// `decodescript`: the script, and where it can be one the addresses of its P2SH and P2WSH.
fn decode_script(coin: &Coin, script: &[u8]) -> Value {
    let mut out = json::script(coin, script, false, true);
    let kind = classify(script);
    let wrappable = matches!(
        kind,
        ScriptKind::Multisig { .. }
            | ScriptKind::NonStandard
            | ScriptKind::PubKey(_)
            | ScriptKind::PubKeyHash(_)
            | ScriptKind::WitnessV0KeyHash(_)
            | ScriptKind::WitnessV0ScriptHash(_)
    ) && has_valid_ops(script)
        && !is_unspendable(script)
        && Instructions::new(script).all(|op| {
            op.is_ok_and(|op| op.opcode != opcode::OP_CHECKSIGADD && !opcode::is_op_success(op.opcode))
        });
    if !wrappable {
        return out.into();
    }
    let p2sh = |inner: &[u8]| coin.script_to_address(&build::p2sh_of(inner));
    out.insert("p2sh".into(), p2sh(script).into());
    let compressed = |key: &[u8]| key.len() == 33;
    let segwit = match &kind {
        ScriptKind::PubKey(key) if compressed(key) => Some(build::p2wpkh(&hash160(key))),
        ScriptKind::PubKeyHash(hash) => Some(build::p2wpkh(hash)),
        ScriptKind::Multisig { keys, .. } if keys.iter().all(|key| compressed(key)) => {
            Some(build::p2wsh_of(script))
        }
        ScriptKind::NonStandard => Some(build::p2wsh_of(script)),
        _ => None,
    };
    if coin.form.witness
        && let Some(segwit) = segwit
    {
        let mut inner = json::script(coin, &segwit, true, true);
        inner.insert("p2sh-segwit".into(), p2sh(&segwit).into());
        out.insert("segwit".into(), inner.into());
    }
    out.into()
}

fn combine(coin: &Coin, params: &Params) -> Result<Value, RpcError> {
    let mut all = Vec::new();
    for (position, entry) in params.array(0).unwrap_or_default().iter().enumerate() {
        let tx = json::parse_transaction(coin, expect_text(entry)?).map_err(|_| {
            RpcError::decode(format!(
                "TX decode failed for tx {position}. Make sure the tx has at least one input."
            ))
        })?;
        all.push(tx);
    }
    let Some((mut merged, others)) = all.split_first().map(|(first, rest)| (first.clone(), rest)) else {
        return Err(RpcError::decode("Missing transactions. At least two transactions required."));
    };
    if others.is_empty() {
        return Err(RpcError::decode("Missing transactions. At least two transactions required."));
    }
    let bare = |tx: &Transaction| {
        let mut tx = tx.clone();
        for input in &mut tx.inputs {
            input.script_sig.clear();
            input.witness = Witness::default();
        }
        tx.txid()
    };
    for (position, other) in others.iter().enumerate() {
        if bare(other) != bare(&merged) {
            return Err(RpcError::new(
                code::INVALID_PARAMETER,
                format!("Transaction number {} not compatible with first transaction", position + 2),
            ));
        }
        for (input, candidate) in merged.inputs.iter_mut().zip(&other.inputs) {
            if candidate.script_sig.len() > input.script_sig.len() {
                input.script_sig.clone_from(&candidate.script_sig);
            }
            let size = |witness: &Witness| witness.0.iter().map(Vec::len).sum::<usize>();
            if size(&candidate.witness) > size(&input.witness) {
                input.witness = candidate.witness.clone();
            }
        }
    }
    Ok(json::hex_of(&merged).into())
}
