//! A person's money: keys from a mnemonic, addresses, coins and history, payments, and the encrypted file that keeps
//! them.
//!
//! Floor 4 of the house. The crate knows the chain only through [`Source`], which the `lode` program implements over a
//! node's JSON-RPC and over the light client; files are the only IO of its own. The parts, in the order in which money goes through them:
//!
//! - `keys`, `keychain`: mnemonic, paths, descriptors (through `miniscript`), the scripts to look for;
//! - `file`, `wallet`: the sealed file, and the wallet in memory;
//! - `source`, `sync`, `book`: reading the chain; coins, balance, history;
//! - `select`, `plan`: coin choice, and payments before they are signed;
//! - `sign`, `psbt`, `psbt_form`: signing them, here or elsewhere.
//!
//! One way serves all coins: transactions are Lode's own type and signed by `lode-script`, since the types of the
//! Bitcoin libraries cannot express every coin here (Datacoin's data field). Those libraries come in where they fit:
//! descriptors, which are about keys and scripts alone, and PSBTs.

mod amount;
mod book;
mod error;
pub mod file;
mod keychain;
mod keys;
mod plan;
mod psbt;
mod psbt_form;
mod select;
mod sign;
mod source;
mod sync;
mod wallet;

pub use amount::{AmountError, parse_amount, show_amount};
pub use bitcoin::psbt::Psbt;
pub use book::{Balance, Coin, CoinState, Entry};
pub use error::WalletError;
pub use keychain::{DescriptorError, KeyRef, watch_descriptors, xpub_descriptors};
pub use keys::{ACCOUNT_MAX, AddressKind, KeyError, Seed};
pub use lode_chain::policy::FeeRate;
pub use plan::{CONSOLIDATIONS_MAX, Pay, Payment, Plan};
pub use psbt::{PsbtInput, PsbtView, read_psbt};
pub use source::{BlockRef, ChainBlock, FeeHint, Source, SourceError};
pub use sync::{Progress, Synced};
pub use wallet::{GAP, GAP_MAX, Keys, LABEL_BYTES_MAX, NewWallet, Wallet, WalletTx};
