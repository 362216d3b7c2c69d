//! What the network is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use lode_coins::Coin;
use lode_primitives::Work;

/// How to take part in a coin's network.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coin and network: magic, default port, wire form.
    pub coin: &'static Coin,
    /// Where to listen; port 0 lets the system choose. Empty: nobody can call us.
    pub listen: Vec<SocketAddr>,
    /// `host:port` or `host` (the coin's port): where any are given, only these are called, no seed is asked and
    /// no address book used.
    pub connect: Vec<String>,
    /// Further `host:port` to keep a connection to, beside those chosen.
    pub add_nodes: Vec<String>,
    /// DNS names asked for first addresses when the book is empty. Without any (private networks), and with
    /// `connect`, none is asked.
    pub seeds: Vec<String>,
    /// The address book's file. `None`: kept in memory only.
    pub address_book: Option<PathBuf>,
    /// How many may call us.
    pub max_inbound: usize,
    /// How many full connections we make to addresses of the book.
    pub max_outbound: usize,
    /// How many block-relay-only connections we make beside.
    pub max_block_relay: usize,
    /// Offer and use the encrypted transport (BIP324).
    pub encrypted: bool,
    /// Old blocks may be missing here (pruning): serve the last 288 only.
    pub pruned: bool,
    /// Announce and ask for transactions at all.
    pub relay_transactions: bool,
    /// We keep headers only, and ask for filters and single blocks ([`crate::Question`]): nothing is offered, no block is
    /// downloaded unasked, and who is caught at a lie is not called again even if the user named it.
    pub light: bool,
    /// What we call ourselves, as `/Lode:0.1.0/`.
    pub user_agent: String,
    /// Header chains with less work in all than this are not stored: the coin's known minimum.
    pub min_chain_work: Work,
}

impl Options {
    /// A full node's usual settings, listening nowhere.
    pub fn new(coin: &'static Coin) -> Self {
        Self {
            coin,
            listen: Vec::new(),
            connect: Vec::new(),
            add_nodes: Vec::new(),
            seeds: coin.dns_seeds.iter().map(|&seed| seed.to_owned()).collect(),
            address_book: None,
            max_inbound: 114,
            max_outbound: 8,
            max_block_relay: 2,
            encrypted: true,
            pruned: false,
            relay_transactions: true,
            light: false,
            user_agent: concat!("/Lode:", env!("CARGO_PKG_VERSION"), "/").into(),
            min_chain_work: coin.min_chain_work(),
        }
    }
}
