//! Control: `help`, `stop`, `uptime`, `getrpcinfo`, `getmemoryinfo`, `logging`.

use serde_json::{Value, json};

use crate::rpc::error::RpcError;
use crate::rpc::params::{Kind, opt};
use crate::rpc::table::{self, Method, Run};

pub(crate) const METHODS: &[Method] = &[
    Method {
        name: "getmemoryinfo",
        args: &[opt("mode", Kind::Text, "Only \"stats\".")],
        about: "Tells how much memory the process uses, in bytes. Nothing is locked: keys are not kept here.",
        run: Run::Work(|_, params| {
            match params.text(0) {
                None | Some("stats") => {}
                Some(mode) => return Err(RpcError::parameter(format!("unknown mode {mode}"))),
            }
            let used = resident_bytes();
            Ok(json!({"locked": {
                "used": used, "free": 0, "total": used, "locked": 0, "chunks_used": 1, "chunks_free": 0,
            }}))
        }),
    },
    Method {
        name: "getrpcinfo",
        args: &[],
        about: "Tells which calls are under way, and for how long (microseconds).",
        run: Run::Work(|node, _| {
            let calls: Vec<Value> = node
                .calls
                .under_way()
                .into_iter()
                .map(|(method, microseconds)| json!({"method": method, "duration": microseconds}))
                .collect();
            Ok(json!({"active_commands": calls, "logpath": ""}))
        }),
    },
    Method {
        name: "help",
        args: &[opt("command", Kind::Text, "The method to tell about.")],
        about: "Lists all methods, or tells what one takes.",
        run: Run::Work(|_, params| Ok(table::help(params.text(0)).into())),
    },
    Method {
        name: "logging",
        args: &[opt("include", Kind::Array, "Not used."), opt("exclude", Kind::Array, "Not used.")],
        about: "Answers an empty object: what is logged is set with --log when the node starts.",
        run: Run::Work(|_, _| Ok(json!({}))),
    },
    Method {
        name: "stop",
        args: &[],
        about: "Stops the node.",
        run: Run::Work(|node, _| {
            node.request_stop();
            Ok("Lode stopping".into())
        }),
    },
    Method {
        name: "uptime",
        args: &[],
        about: "Seconds since the node started.",
        run: Run::Work(|node, _| Ok(node.started.elapsed().as_secs().into())),
    },
];

/// Memory the process holds, in bytes; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else { return 0 };
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * 4096
}
