//! Peer protocol as a state machine without IO, and a tokio driver.
//!
//! How a node uses it:
//! - it implements [`View`]: what the network may know of chain and mempool;
//! - it calls [`start`] and gets a handle, [`P2p`], and a channel of [`Event`]s: headers, blocks and transactions to
//!   judge, in an order in which they can be judged one after the other;
//! - it judges them on a thread of its own, while the network goes on, and gives each its verdict back
//!   ([`P2p::headers_verdict`], [`P2p::block_verdict`], [`P2p::transaction_verdict`]);
//! - it says when the best chain has another tip ([`P2p::tip_changed`]).
//!
//! The parts: [`message`] is the wire form of every message, [`frame`] what goes around it on a plain connection;
//! [`Peers`] is the state machine, made of small managers (handshake, addresses, headers, downloads, compact blocks,
//! transactions, filters, slots); `driver` has the sockets. The machine gets time, randomness and messages as arguments and
//! gives messages and events out, so a test can join many of them and let hours pass in milliseconds.

mod addrbook;
mod addresses;
mod announce;
mod blocks_first;
mod compact;
mod download;
mod driver;
mod event;
mod filters;
pub mod frame;
mod handshake;
mod headers;
mod light;
mod limits;
pub mod message;
mod options;
mod orphans;
mod peer;
mod peers;
mod relay;
mod requests;
mod rolling;
mod serve;
mod slots;
mod view;

pub use addrbook::{AddrBook, BookError};
pub use driver::{NameError, NetTotals, P2p, StartError, parse_name, start};
pub use event::{ConnectionKind, Event, PeerId, PeerInfo, Time, TxVerdict, Verdict};
pub use filters::{FilterKind, FilterRequest};
pub use light::Question;
pub use message::Message;
pub use options::Options;
pub use peers::{Output, Peers};
pub use view::{HeaderInfo, TxRef, View};
