//! The tokio driver: sockets, timers and DNS around the state machine, and the handle by which a node steers it.
//!
//! One thread of its own runs the state machine ([`crate::Peers`]); each connection has a reading and a writing task.
//! Reading tasks decode (and decrypt) their peer's bytes, so that this work spreads over the processors, and stop
//! reading while the machine or their peer's own answers lag behind.

mod connection;
mod dial;
mod run;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use lode_primitives::{Block, BlockHash, Transaction, Txid, Wtxid};
use tokio::sync::{mpsc, oneshot};

pub use dial::{NameError, parse_name};

use crate::message::AddrEntry;
use crate::{Event, Options, PeerId, PeerInfo, Question, TxVerdict, Verdict, View};

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening address could not be had.
    #[error(
        "cannot listen for peers on {address}: {source}; is another node running there? choose another with --p2p-bind"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The network's thread could not be made.
    #[error("cannot start the network's thread: {0}")]
    Thread(std::io::Error),
}

/// Sums over all connections, for `getnettotals`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetTotals {
    /// Bytes received on the wire.
    pub received: u64,
    /// Bytes sent on the wire.
    pub sent: u64,
}

/// What the handle asks of the network's thread.
pub(crate) enum Command {
    HeadersVerdict(PeerId, Verdict),
    BlockVerdict(BlockHash, Verdict),
    TransactionVerdict(Wtxid, TxVerdict),
    TipChanged(Option<Arc<Block>>),
    Relay { wtxid: Wtxid, txid: Txid, fee_rate: u64 },
    Connect(String),
    TryOnce(String),
    Disconnect(PeerId),
    Ask(PeerId, Question),
    Punish(PeerId, String),
    Push(Arc<Transaction>),
    Forget(String),
    Discourage(std::net::IpAddr),
    SetActive(bool),
    PingAll,
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Totals(oneshot::Sender<NetTotals>),
    Addresses(usize, oneshot::Sender<Vec<AddrEntry>>),
    Stop(oneshot::Sender<()>),
}

/// The running network. Clones are handles to the same one. Calls may come from any thread and do not wait, except
/// those that answer, which are `async`.
#[derive(Clone, Debug)]
pub struct P2p {
    commands: mpsc::UnboundedSender<Command>,
    listening: Arc<[SocketAddr]>,
}

/// Starts the network: listens, connects, and goes on until [`P2p::stop`] or until every handle is dropped. To be
/// called within a tokio runtime. Events come out of the receiver; where that is dropped the network stops.
pub async fn start(
    options: Options,
    view: Arc<dyn View>,
) -> Result<(P2p, mpsc::UnboundedReceiver<Event>), StartError> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (events, outbox) = mpsc::unbounded_channel();
    let listening = run::spawn(options, view, inbox, events).await?;
    Ok((P2p { commands, listening: listening.into() }, outbox))
}

impl P2p {
    fn send(&self, command: Command) {
        // The network has stopped: nobody is left to care.
        let _ = self.commands.send(command);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.send(command(sender));
        answer.await.ok()
    }

    /// The addresses listened on, with the ports the system chose.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The verdict on a [`Event::Headers`], after the view knows the headers.
    pub fn headers_verdict(&self, peer: PeerId, verdict: Verdict) {
        self.send(Command::HeadersVerdict(peer, verdict));
    }

    /// The verdict on an [`Event::Block`], after the view knows the block.
    pub fn block_verdict(&self, hash: BlockHash, verdict: Verdict) {
        self.send(Command::BlockVerdict(hash, verdict));
    }

    /// The verdict on an [`Event::Transaction`], after the view has it.
    pub fn transaction_verdict(&self, wtxid: Wtxid, verdict: TxVerdict) {
        self.send(Command::TransactionVerdict(wtxid, verdict));
    }

    /// The active chain has another tip (the view shows it already); announced to peers as each likes it best. The
    /// tip's block, where it is at hand, lets compact blocks be served without a disk. After a reorganisation one
    /// call for the last tip is enough.
    pub fn tip_changed(&self, block: Option<Arc<Block>>) {
        self.send(Command::TipChanged(block));
    }

    /// Announces a mempool transaction that did not come from a peer (RPC, wallet, reorganisation). Those from peers
    /// are announced by their verdict. `fee_rate` in satoshi per 1,000 virtual bytes.
    pub fn relay_transaction(&self, wtxid: Wtxid, txid: Txid, fee_rate: u64) {
        self.send(Command::Relay { wtxid, txid, fee_rate });
    }

    /// Keeps a connection to `host:port` (or `host`) up from now on (`addnode`).
    pub fn connect(&self, address: String) {
        self.send(Command::Connect(address));
    }

    /// Calls `host:port` (or `host`) once, now (`addnode ... onetry`).
    pub fn try_once(&self, address: String) {
        self.send(Command::TryOnce(address));
    }

    /// Stops keeping up a connection given to [`P2p::connect`] or in the options; leaves it standing if it stands.
    pub fn forget(&self, address: String) {
        self.send(Command::Forget(address));
    }

    /// Ends a connection.
    pub fn disconnect(&self, peer: PeerId) {
        self.send(Command::Disconnect(peer));
    }

    /// Asks a peer, as a light client ([`Options::light`]). The answers are [`Event::Answer`]s.
    pub fn ask_peer(&self, peer: PeerId, question: Question) {
        self.send(Command::Ask(peer, question));
    }

    /// Sends a transaction to every peer, as a light client does that has no mempool.
    pub fn push_transaction(&self, transaction: Arc<Transaction>) {
        self.send(Command::Push(transaction));
    }

    /// Ends the connection of a peer that was caught at a lie or that keeps us waiting; a light client does not call it
    /// again. `reason` is for people.
    pub fn punish(&self, peer: PeerId, reason: String) {
        self.send(Command::Punish(peer, reason));
    }

    /// Ends connections with this host and takes none for a day.
    pub fn discourage(&self, host: std::net::IpAddr) {
        self.send(Command::Discourage(host));
    }

    /// Off: ends all connections and makes and takes none until on again (`setnetworkactive`).
    pub fn set_active(&self, active: bool) {
        self.send(Command::SetActive(active));
    }

    /// Pings every peer now.
    pub fn ping_all(&self) {
        self.send(Command::PingAll);
    }

    /// Every connection. Empty where the network has stopped.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(Command::Peers).await.unwrap_or_default()
    }

    /// Bytes sent and received since the start.
    pub async fn totals(&self) -> NetTotals {
        self.ask(Command::Totals).await.unwrap_or_default()
    }

    /// Up to `max` addresses of the book, picked at random (`getnodeaddresses`).
    pub async fn addresses(&self, max: usize) -> Vec<AddrEntry> {
        self.ask(|sender| Command::Addresses(max, sender)).await.unwrap_or_default()
    }

    /// Ends every connection, writes the address book and waits until that is done.
    pub async fn stop(&self) {
        self.ask(Command::Stop).await;
    }
}
