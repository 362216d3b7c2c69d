//! Embedded node: sync, relay, JSON-RPC, block templates.
