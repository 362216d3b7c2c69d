//! Embedded node: sync, relay, JSON-RPC, block templates.

#[cfg_attr(not(test), expect(dead_code, reason = "gettxoutsetinfo follows"))]
mod muhash;
mod node;
pub mod rpc;
