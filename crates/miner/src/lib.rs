//! CPU miner: work from a pool or a node, search, submit.
//!
//! A share's way: `client` turns a pool's lines into `work`, `crew` searches it with `lode-pow` on threads of
//! its own, `connection` carries the shares back, `miner` makes connections one after the other and is what others
//! hold. `solo` takes the pool's place where one mines alone with a node. `cli` is `lode mine`.
//!
//! While there is no connection the search rests: a pool gives each connection an extranonce of its own, so shares
//! found in between would be void. The first try to connect again comes after one second.

mod benchmark;
mod cli;
mod client;
mod connection;
mod crew;
mod event;
mod miner;
mod rpc;
mod solo;
mod stats;
mod template;
mod tls;
mod url;
mod work;

pub use cli::{MineArgs, MineError, run};
pub use event::Event;
pub use miner::{Miner, MinerConfig, MinerError};
pub use stats::{Counted, Snapshot};
pub use url::{NodeUrl, PoolUrl, PoolUrlError, WorkUrl};
