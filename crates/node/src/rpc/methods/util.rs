//! Util: `validateaddress`, `estimatesmartfee`.

use lode_script::{ScriptKind, classify, witness_program};
use serde_json::{Value, json};

use crate::rpc::params::{Kind, req};
use crate::rpc::table::{Method, Run};

pub(crate) const METHODS: &[Method] = &[Method {
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
            ScriptKind::ScriptHash(_) | ScriptKind::WitnessV0ScriptHash(_) | ScriptKind::WitnessV1Taproot(_)
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
}];

fn remove(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}
