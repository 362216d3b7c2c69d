//! Util: `validateaddress`, `estimatesmartfee`.

use lode_script::{ScriptKind, classify, witness_program};
use serde_json::{Value, json};

use crate::fees::{Confidence, TARGET_MAX};
use crate::rpc::error::RpcError;
use crate::rpc::json;
use crate::rpc::params::{Kind, opt, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[
    ESTIMATE,
    Method {
        name: "validateaddress",
        args: &[req("address", Kind::Text, "The address to look at.")],
        about: "Says whether an address is one of this network's, and which output script it stands for.",
        run: Run::Work(|node, params| {
            let text = params.required_text(0)?;
            let script = match node.coin.address_to_script(text) {
                Ok(script) => script,
                Err(error) => {
                    return Ok(json!({"isvalid": false, "error_locations": [], "error": error.to_string()}));
                }
            };
            let witness = witness_program(&script);
            let is_script = matches!(
                classify(&script),
                ScriptKind::ScriptHash(_)
                    | ScriptKind::WitnessV0ScriptHash(_)
                    | ScriptKind::WitnessV1Taproot(_)
            );
            let mut out = json!({
                "isvalid": true,
                "address": node.coin.script_to_address(&script),
                "scriptPubKey": hex::encode(&script),
                "isscript": is_script,
                "iswitness": witness.is_some(),
            });
            if matches!(classify(&script), ScriptKind::WitnessUnknown { .. }) {
                remove(&mut out, "isscript");
            }
            if let Some((version, program)) = witness {
                out["witness_version"] = version.into();
                out["witness_program"] = hex::encode(program).into();
            }
            Ok(out)
        }),
    },
];

const ESTIMATE: Method = Method {
    name: "estimatesmartfee",
    args: &[
        req("conf_target", Kind::Number, "Within so many blocks, 1 to 1008."),
        opt("estimate_mode", Kind::Text, "\"economical\" or \"conservative\". Default economical."),
    ],
    about: "What to pay, in coins per kvB, to be mined within so many blocks: learnt from what the mempool's transactions waited (see the module `fees`). A target of more than a day is answered for a day.",
    run: Run::Work(|node, params| {
        let target = params.int(0)?.unwrap_or(0);
        if !(1..=1008).contains(&target) {
            return Err(RpcError::parameter("Invalid conf_target, must be between 1 and 1008"));
        }
        let confidence = match params.text(1).unwrap_or("economical").to_lowercase().as_str() {
            "unset" | "economical" => Confidence::Economical,
            "conservative" => Confidence::Conservative,
            _ => {
                return Err(RpcError::parameter(
                    "Invalid estimate_mode parameter, must be one of: \"unset\", \"economical\", \"conservative\"",
                ));
            }
        };
        // Like the reference client: nothing can be said of the very next block.
        let target = usize::try_from(target).unwrap_or(TARGET_MAX).clamp(2, TARGET_MAX);
        let least = node.glance().min_fee_rate;
        let fees = node.fees.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(match fees.estimate(target, confidence) {
            Some(rate) => json!({"feerate": json::feerate(rate.max(least)), "blocks": target}),
            None => json!({"errors": ["Insufficient data or no feerate found"], "blocks": target}),
        })
    }),
};

fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}
