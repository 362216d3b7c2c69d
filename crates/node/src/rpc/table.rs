//! The table of methods: names, parameters, help, and what runs them.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::watch;

use super::error::{RpcError, code};
use super::methods;
use super::params::{Arg, Params};
use super::server::Dispatch;
use crate::node::Node;

/// A method's answer, once it is there.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Value, RpcError>> + Send>>;

/// How a method runs.
pub(crate) enum Run {
    /// On a thread where reading disks and taking locks does no harm.
    Work(fn(&Arc<Node>, &Params) -> Result<Value, RpcError>),
    /// As a task that waits for something, for up to minutes.
    Wait(fn(Arc<Node>, Params) -> Answer),
}

/// One method.
pub(crate) struct Method {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) args: &'static [Arg],
    /// What it does, for `help`.
    pub(crate) about: &'static str,
    /// What it runs.
    pub(crate) run: Run,
}

/// Methods by group, in the order `help` lists them.
pub(crate) const GROUPS: &[(&str, &[Method])] = &[
    ("Blockchain", methods::blockchain::METHODS),
    ("Blockchain", methods::utxo::METHODS),
    ("Blockchain", methods::filters::METHODS),
    ("Blockchain", methods::scan::METHODS),
    ("Blockchain", methods::scan_blocks::METHODS),
    ("Control", methods::control::METHODS),
    ("Blockchain", methods::mempool::METHODS),
    ("Mining", methods::getwork::METHODS),
    ("Mining", methods::mining::METHODS),
    ("Network", methods::network::METHODS),
    ("Rawtransactions", methods::package::METHODS),
    ("Rawtransactions", methods::raw::METHODS),
    ("Rawtransactions", methods::prime::METHODS),
    ("Util", methods::util::METHODS),
];

fn find(name: &str) -> Option<&'static Method> {
    GROUPS.iter().flat_map(|(_, methods)| methods.iter()).find(|method| method.name == name)
}

/// The parameters of a method, if there is one of that name.
pub fn method_args(name: &str) -> Option<&'static [Arg]> {
    find(name).map(|method| method.args)
}

/// `name arg1 arg2 ( opt1 )`
fn signature(method: &Method) -> String {
    let mut line = method.name.to_string();
    let mut optional = false;
    for arg in method.args {
        if !arg.required && !optional {
            line += " (";
            optional = true;
        }
        line.push(' ');
        match arg.kind {
            super::params::Kind::Text => line += &format!("\"{}\"", arg.name()),
            _ => line += arg.name(),
        }
    }
    if optional {
        line += " )";
    }
    line
}

/// The full help of one method.
fn describe(method: &Method) -> String {
    let mut text = format!("{}\n\n{}\n", signature(method), method.about);
    if !method.args.is_empty() {
        text += "\nArguments:\n";
        for (position, arg) in method.args.iter().enumerate() {
            let need = if arg.required { "required" } else { "optional" };
            text +=
                &format!("{}. {} ({}, {need}) {}\n", position + 1, arg.name(), arg.kind.name(), arg.about);
        }
    }
    text
}

/// `help`: one method, or a list of all.
pub(crate) fn help(name: Option<&str>) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => find(name).map_or_else(|| format!("help: unknown command: {name}\n"), describe),
        None => {
            let mut groups: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
            for (group, methods) in GROUPS {
                groups.entry(group).or_default().extend(methods.iter().map(signature));
            }
            let section = |(group, mut lines): (&str, Vec<String>)| {
                lines.sort_unstable();
                format!("== {group} ==\n{}", lines.join("\n"))
            };
            groups.into_iter().map(section).collect::<Vec<_>>().join("\n\n")
        }
    }
}

/// What callers meet from the first moment: until the chain is open, that it is being opened; then the node.
pub(crate) struct Door {
    opening: watch::Receiver<String>,
    node: OnceLock<Arc<Node>>,
}

impl Door {
    /// A closed one; `opening` says what is being done.
    pub(crate) const fn new(opening: watch::Receiver<String>) -> Self {
        Self { opening, node: OnceLock::new() }
    }

    /// Lets callers in.
    pub(crate) fn open(&self, node: Arc<Node>) {
        // Opened once, when the node starts.
        let _ = self.node.set(node);
    }
}

impl Dispatch for Arc<Door> {
    async fn call(&self, name: String, params: Value) -> Result<Value, RpcError> {
        let Some(node) = self.node.get() else {
            let what = format!("starting: {}", *self.opening.borrow());
            return Err(RpcError::new(code::IN_WARMUP, what));
        };
        node.call(name, params).await
    }
}

impl Dispatch for Arc<Node> {
    async fn call(&self, name: String, params: Value) -> Result<Value, RpcError> {
        let method = find(&name).ok_or_else(|| RpcError::new(code::METHOD_NOT_FOUND, "Method not found"))?;
        let params = Params::read(method.args, params, || describe(method))?;
        let _under_way = self.calls.begin(method.name);
        match method.run {
            Run::Wait(run) => run(self.clone(), params).await,
            Run::Work(run) => {
                let node = self.clone();
                tokio::task::spawn_blocking(move || run(&node, &params)).await.unwrap_or_else(|error| {
                    tracing::error!(method = name, %error, "RPC method failed");
                    Err(RpcError::internal(format!("internal error in {name}")))
                })
            }
        }
    }
}
