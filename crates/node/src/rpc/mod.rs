//! JSON-RPC with bitcoind's method names, parameters, shapes and codes: server, client and methods.

mod auth;
pub mod client;
mod descriptor;
mod error;
mod json;
mod methods;
mod params;
mod server;
mod table;

pub use auth::Credentials;
pub(crate) use auth::{Auth, Cookie};
pub use error::{RpcError, code};
pub(crate) use methods::getwork::Works;
pub(crate) use methods::scan_blocks::ScanState;
pub use params::{Arg, Kind, from_words};
pub(crate) use server::serve;
pub(crate) use table::Door;
pub use table::method_args;

/// What [`crate::testing`] reaches for.
#[cfg(feature = "testing")]
pub(crate) mod testing {
    pub(crate) use super::descriptor::to_script;
    pub(crate) use super::server::execute;
    pub(crate) use super::table::GROUPS;
}
