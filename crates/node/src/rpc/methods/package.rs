//! Transactions that depend on each other, judged together (`testmempoolaccept`) or taken together (`submitpackage`).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use lode_chain::mempool::{
    MAX_PACKAGE_COUNT, MempoolError, PackageError, PackageReport, PackageVerdict, Removal, Tested,
};
use lode_chain::policy::FeeRate;
use lode_primitives::{Amount, Transaction, Txid, Wtxid};
use serde_json::{Map, Value, json};

use super::mempool::{BURN_ARG, FEE_RATE_ARG, check_burn, highest_fee, max_fee_rate, sat};
use crate::node::{Node, now};
use crate::rpc::error::{RpcError, code};
use crate::rpc::json;
use crate::rpc::params::{Kind, Params, expect_amount, expect_text, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "submitpackage",
        args: &[
            req(
                "package",
                Kind::Array,
                "[hex, ...]: parents that do not depend on each other, and last their child.",
            ),
            FEE_RATE_ARG,
            BURN_ARG,
        ],
        about: "Takes parents and a child that pays for them into the mempool, and tells the peers.",
        run: Run::Work(submit),
    },
    Method {
        name: "testmempoolaccept",
        args: &[
            req("rawtxs", Kind::Array, "[hex, ...]: the transactions, parents before children."),
            FEE_RATE_ARG,
        ],
        about: "Says whether transactions would be taken, one after the other, without taking them.",
        run: Run::Work(test_accept),
    },
];

fn transactions(node: &Node, params: &Params) -> Result<Vec<Transaction>, RpcError> {
    let given = params.array(0).unwrap_or_default();
    if given.is_empty() || given.len() > MAX_PACKAGE_COUNT {
        return Err(RpcError::parameter(format!(
            "Array must contain between 1 and {MAX_PACKAGE_COUNT} transactions."
        )));
    }
    let parse = |entry: &Value| {
        let text = expect_text(entry)?;
        json::parse_transaction(node.coin, text).map_err(|_| {
            RpcError::decode(format!("TX decode failed: {text} Make sure the tx has at least one input."))
        })
    };
    given.iter().map(parse).collect()
}

/// What is said of a transaction that was taken, or would be.
fn fees(tested: &Tested, rate: i64, includes: &[Wtxid]) -> Value {
    let includes: Vec<String> = includes.iter().map(ToString::to_string).collect();
    json!({"base": json::amount(tested.fee), "effective-feerate": sat(rate), "effective-includes": includes})
}

/// Satoshi per 1,000 virtual bytes, rounded down.
fn rate(fee: i64, vsize: usize) -> i64 {
    let rate = (i128::from(fee) * 1_000).div_euclid((vsize as i128).max(1));
    i64::try_from(rate).unwrap_or(i64::MAX)
}

fn test_accept(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let transactions = transactions(node, params)?;
    let limit = max_fee_rate(params.value(1))?;
    let report = test(node, &transactions);
    let mut verdicts = Vec::new();
    let mut stopped = false;
    for (tx, verdict) in transactions.iter().zip(&report.verdicts) {
        let mut out = json!({"txid": tx.txid().to_string(), "wtxid": tx.wtxid().to_string()});
        if let Some(error) = report.error.filter(PackageError::is_of_package) {
            out["package-error"] = said_of_package(error).into();
        }
        match verdict {
            _ if stopped => {}
            None | Some(PackageVerdict::Here(_) | PackageVerdict::OtherWitness(_)) => {}
            Some(PackageVerdict::Taken { tested, .. })
                if limit > 0 && tested.fee.to_sat() > highest_fee(node.coin, limit, tested.vsize) =>
            {
                out["allowed"] = false.into();
                out["reject-reason"] = "max-fee-exceeded".into();
                stopped = true;
            }
            Some(PackageVerdict::Taken { tested, fee, vsize, includes }) => {
                out["allowed"] = true.into();
                out["vsize"] = tested.vsize.into();
                out["fees"] = fees(tested, rate(*fee, *vsize), includes);
            }
            Some(PackageVerdict::Refused(MempoolError::MissingInputs(_))) => {
                out["allowed"] = false.into();
                out["reject-reason"] = "missing-inputs".into();
            }
            Some(PackageVerdict::Refused(MempoolError::Store(error))) => {
                return Err(RpcError::internal(error.to_string()));
            }
            Some(PackageVerdict::Refused(error)) => {
                out["allowed"] = false.into();
                out["reject-reason"] = error.reject_reason().into();
                out["reject-details"] = said(&error.reject_reason(), error).into();
            }
        }
        verdicts.push(out);
    }
    Ok(verdicts.into())
}

/// One transaction may replace others; of several, none may.
fn test(node: &Node, transactions: &[Transaction]) -> PackageReport {
    if let [tx] = transactions {
        let state = node.read();
        let verdict = match state.mempool.test(tx, &state.chain, now()) {
            Ok(tested) => {
                let delta = state.mempool.delta(&tested.txid);
                PackageVerdict::Taken {
                    tested,
                    fee: tested.fee.to_sat().saturating_add(delta),
                    vsize: tested.vsize,
                    includes: [tested.wtxid].into(),
                }
            }
            Err(error) => PackageVerdict::Refused(error),
        };
        return PackageReport { verdicts: vec![Some(verdict)], ..PackageReport::default() };
    }
    let mut state = node.write();
    let crate::node::State { chain, mempool } = &mut *state;
    mempool.test_package(transactions, chain, now())
}

/// The short name of a rule, and the rule in words.
fn said(reason: &str, error: &dyn std::fmt::Display) -> String {
    format!("{reason}, {error}")
}

/// Bitcoind has no more to say than the short name, but for which of the rules of version 3 it was.
fn said_of_package(error: PackageError) -> String {
    let reason = error.reject_reason();
    if matches!(error, PackageError::Truc(_)) { said(&reason, &error) } else { reason }
}

/// The last is the child of all others, and they do not depend on each other.
fn is_tree(transactions: &[Transaction]) -> bool {
    let Some((child, parents)) = transactions.split_last() else { return false };
    let ids: HashSet<Txid> = parents.iter().map(Transaction::txid).collect();
    let spent: HashSet<Txid> = child.inputs.iter().map(|input| input.prevout.txid).collect();
    ids.is_subset(&spent)
        && !parents.iter().flat_map(|tx| &tx.inputs).any(|input| ids.contains(&input.prevout.txid))
}

fn submit(node: &Arc<Node>, params: &Params) -> Result<Value, RpcError> {
    let limit = max_fee_rate(params.value(1))?;
    let burn = match params.value(2) {
        Value::Null => Amount::ZERO,
        given => expect_amount(given)?,
    };
    let transactions = transactions(node, params)?;
    transactions.iter().try_for_each(|tx| check_burn(tx, burn))?;
    if transactions.len() > 1 && !is_tree(&transactions) {
        return Err(RpcError::new(
            code::VERIFY_ERROR,
            "package topology disallowed. not child-with-parents or parents depend on each other.",
        ));
    }
    let max_rate = u64::try_from(limit).ok().filter(|limit| *limit > 0).map(FeeRate::from_sat_per_kvb);
    let report = node.send_package(&transactions, max_rate);
    let mut results = Map::new();
    for (tx, verdict) in transactions.iter().zip(&report.verdicts) {
        let mut out = json!({"txid": tx.txid().to_string()});
        match verdict {
            None => out["error"] = "package-not-validated".into(),
            Some(PackageVerdict::Refused(MempoolError::Store(error))) => {
                return Err(RpcError::internal(error.to_string()));
            }
            Some(PackageVerdict::Refused(error)) => {
                out["error"] = said(&error.reject_reason(), error).into();
            }
            Some(PackageVerdict::OtherWitness(wtxid)) => out["other-wtxid"] = wtxid.to_string().into(),
            Some(PackageVerdict::Here(tested)) => {
                out["vsize"] = tested.vsize.into();
                out["fees"] = json!({"base": json::amount(tested.fee)});
            }
            Some(PackageVerdict::Taken { tested, fee, vsize, includes }) => {
                out["vsize"] = tested.vsize.into();
                out["fees"] = fees(tested, rate(*fee, *vsize), includes);
            }
        }
        results.insert(tx.wtxid().to_string(), out);
    }
    let replaced: BTreeSet<String> = report
        .removed
        .iter()
        .filter(|(_, why)| *why == Removal::Replaced)
        .map(|(tx, _)| tx.txid().to_string())
        .collect();
    let message = report.error.map_or_else(|| "success".to_owned(), said_of_package);
    Ok(json!({"package_msg": message, "tx-results": results, "replaced-transactions": replaced}))
}
