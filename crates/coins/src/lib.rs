//! The table of coins and their networks.
//!
//! A coin is a value, not a type: one [`Coin`] of constants per coin and network. No coin's name is tested for
//! anywhere else; code asks the coin what it needs to know (`coin.pow`, `coin.form.witness`, ...). Adding a coin that
//! differs only in parameters is adding one entry to a table here.
//!
//! Every crate above is handed a `&'static Coin` and passes it on.

mod address;
mod bitcoin;
mod coin;
mod datacoin;
mod genesis;
mod litecoin;
mod local;
mod primecoin;
mod rules;

pub use address::{AddressError, AddressFormat, WifError};
pub use coin::{Coin, Network, UnknownCoin, custom_signet, find};
pub use genesis::Genesis;
pub use rules::{Deployments, Retarget, ScriptException, Subsidy};

/// Every coin on every network.
pub static COINS: &[&Coin] = &[
    &bitcoin::MAIN,
    &bitcoin::TESTNET4,
    &bitcoin::SIGNET,
    &bitcoin::REGTEST,
    &local::BITCOIN,
    &litecoin::MAIN,
    &litecoin::TESTNET,
    &litecoin::REGTEST,
    &local::LITECOIN,
    &primecoin::MAIN,
    &primecoin::TESTNET,
    &primecoin::REGTEST,
    &local::PRIMECOIN,
    &datacoin::MAIN,
    &datacoin::TESTNET,
    &datacoin::REGTEST,
    &local::DATACOIN,
];
