//! A JSON-RPC error: bitcoind's codes, and a message that says what to do.

use serde::{Deserialize, Serialize};

/// Error codes of the JSON-RPC interface, as bitcoind's `rpc/protocol.h` numbers them.
pub mod code {
    /// The request is not a request object.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No method of this name.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// An error inside the node, such as a block that cannot be read back.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// The request is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// Everything without a code of its own.
    pub const MISC_ERROR: i32 = -1;
    /// A parameter of the wrong JSON type.
    pub const TYPE_ERROR: i32 = -3;
    /// An address, key, transaction or block that is malformed or unknown.
    pub const INVALID_ADDRESS_OR_KEY: i32 = -5;
    /// A parameter out of its range, missing or twice.
    pub const INVALID_PARAMETER: i32 = -8;
    /// The node has no peers, or is shutting down.
    pub const CLIENT_NOT_CONNECTED: i32 = -9;
    /// The node is still catching up.
    pub const CLIENT_IN_INITIAL_DOWNLOAD: i32 = -10;
    /// No wallet is there.
    pub const WALLET_NOT_FOUND: i32 = -18;
    /// The database failed.
    pub const DATABASE_ERROR: i32 = -20;
    /// Hex that does not decode to what was expected.
    pub const DESERIALIZATION_ERROR: i32 = -22;
    /// `addnode add` of a peer that is on the list.
    pub const CLIENT_NODE_ALREADY_ADDED: i32 = -23;
    /// `addnode remove` of a peer that is not on the list.
    pub const CLIENT_NODE_NOT_ADDED: i32 = -24;
    /// A transaction or block could not be checked.
    pub const VERIFY_ERROR: i32 = -25;
    /// A transaction or block broke a rule.
    pub const VERIFY_REJECTED: i32 = -26;
    /// The transaction's outputs are in the UTXO set.
    pub const VERIFY_ALREADY_IN_UTXO_SET: i32 = -27;
    /// The node is starting.
    pub const IN_WARMUP: i32 = -28;
    /// `disconnectnode` of a peer that is not connected.
    pub const CLIENT_NODE_NOT_CONNECTED: i32 = -29;
    /// An IP address or subnet that does not parse.
    pub const CLIENT_INVALID_IP_OR_SUBNET: i32 = -30;
}

/// What a failed call answers in its `error` field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// One of [`code`].
    pub code: i32,
    /// What was wrong, with which value.
    pub message: String,
}

impl RpcError {
    /// An error of `code` with `message`.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`code::MISC_ERROR`].
    pub fn misc(message: impl Into<String>) -> Self {
        Self::new(code::MISC_ERROR, message)
    }

    /// [`code::INVALID_PARAMETER`].
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMETER, message)
    }

    /// [`code::INVALID_ADDRESS_OR_KEY`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_ADDRESS_OR_KEY, message)
    }

    /// [`code::DESERIALIZATION_ERROR`].
    pub fn decode(message: impl Into<String>) -> Self {
        Self::new(code::DESERIALIZATION_ERROR, message)
    }

    /// [`code::INTERNAL_ERROR`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL_ERROR, message)
    }
}
