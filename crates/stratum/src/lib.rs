//! Stratum V1, spoken from both ends: the pool's sessions read [`Request`]s and write answers, the miner writes
//! requests and reads [`ServerMessage`]s. Nothing here does IO or knows the time.
//!
//! One message is one line of JSON. [`LineSplitter`] cuts a stream into lines and bounds them; [`parse_request`]
//! reads `mining.submit`, of which a busy pool sees a hundred thousand a second, without allocating, and anything
//! odd through `serde_json`. What a server must put up with from real miners is listed in the tests of `pool`'s
//! `session`; what is only a matter of form is handled here: ids of any JSON type, missing and null parameters,
//! numbers written as strings.
//!
//! Prime chains have a dialect of their own (`prime`), in as little as they differ.
//!
//! Hex on the wire is big-endian for integers (`version`, `nbits`, `ntime`, nonces); the previous block's hash is in
//! internal byte order with each group of four bytes reversed, a quirk of the first server that all miners know.

mod client;
mod difficulty;
pub mod getwork;
mod goal;
mod hex_field;
mod line;
mod login;
mod notify;
mod prime;
mod reject;
mod request;
mod response;
mod scan;

pub use client::{
    ServerMessage, ServerMessageError, write_authorize, write_configure, write_submit, write_subscribe,
    write_suggest_difficulty,
};
pub use difficulty::{Difficulty, difficulty_one};
pub use goal::{Goal, written_difficulty};
pub use hex_field::{decode_hex, parse_hex_u32, push_hex, push_hex_u32};
pub use line::{LineSplitter, LineTooLong, MAX_CLIENT_LINE, MAX_SERVER_LINE};
pub use login::{Login, MAX_ADDRESS, MAX_WORKER, password_difficulty};
pub use notify::Notify;
pub use prime::{write_prime_submit, write_prime_subscribe_reply, write_set_target, write_suggest_target};
pub use reject::Reject;
pub use request::{Call, Configure, Request, RequestError, Submit, parse_request};
pub use response::{
    write_accepted, write_configure_reply, write_error, write_last_word, write_reconnect, write_result,
    write_set_difficulty, write_set_extranonce, write_set_version_mask, write_show_message,
    write_subscribe_reply,
};
