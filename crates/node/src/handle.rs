//! Starting and stopping a node, and the handle by which the rest of the program uses it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lode_chain::mempool::MempoolError;
use lode_chain::template::BlockTemplate;
use lode_chain::{Chain, ChainOptions, FilterIndex, OpenError};
use lode_coins::Coin;
use lode_p2p::View;
use lode_primitives::{Block, BlockHash, Transaction, Txid};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::filters::{self, Filters};
use crate::node::{BlockStatus, FEES_FILE, Node, Submitted, Tip};
use crate::options::{NodeError, NodeOptions};
use crate::rpc::{Auth, Cookie, Door, serve};
use crate::{judge, mempool_file, user_agent};

/// How long RPC calls under way may take to finish when the node stops.
const RPC_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at what is done now and then.
const TICK: Duration = Duration::from_secs(1);
/// How long the network may take to say goodbye.
const NETWORK_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What runs beside the callers.
struct Tasks {
    rpc: Option<JoinHandle<()>>,
    ticks: JoinHandle<()>,
    judge: Option<std::thread::JoinHandle<()>>,
    filters: Option<std::thread::JoinHandle<()>>,
}

/// A running node. Clones are handles to the same one; the node stops with [`NodeHandle::shutdown`].
#[derive(Clone)]
pub struct NodeHandle {
    node: Arc<Node>,
    rpc_address: Option<SocketAddr>,
    tasks: Arc<Mutex<Option<Tasks>>>,
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle").field("directory", &self.node.directory).finish_non_exhaustive()
    }
}

/// Starts a node: JSON-RPC first, which answers that the node is starting while the chain is opened (after a kill that
/// brings it up to date), then the network. To be called within a tokio runtime of several threads.
///
/// # Errors
/// Says what is in the way: the directory in use or another network's, files damaged, ports taken.
pub async fn start(options: NodeOptions) -> Result<NodeHandle, NodeError> {
    for name in options.connect.iter().chain(&options.add_nodes) {
        lode_p2p::parse_name(name)?;
    }
    if options.filters && options.prune_mib.is_some() {
        return Err(NodeError::FiltersPruned);
    }
    let directory = options.directory();
    std::fs::create_dir_all(&directory)
        .map_err(|error| NodeError::Directory { path: directory.clone(), error })?;
    let listener = match options.rpc_bind {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|error| NodeError::RpcBind { address, error })?)
        }
        None => None,
    };
    let rpc_address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let mut chain_options = ChainOptions::new(options.coin, &directory);
    chain_options.prune_mib = options.prune_mib;
    if let Some(bytes) = options.cache_bytes {
        chain_options.cache_bytes = bytes;
    }
    if let Some(bytes) = options.block_file_bytes {
        chain_options.block_file_bytes = bytes;
    }
    let (tell, mut told) = watch::channel(String::new());
    let opening = tokio::task::spawn_blocking(move || {
        Chain::open_telling(chain_options, |what| {
            tracing::info!("{what}");
            tell.send_replace(what.to_owned());
        })
    });
    let stop = watch::Sender::new(false);
    let door = Arc::new(Door::new(told.clone()));
    let mut rpc = None;
    // From the first word on the directory is ours, and so is the cookie in it.
    if let (true, Some(listener)) = (told.changed().await.is_ok(), listener) {
        let path = directory.join(".cookie");
        let cookie = Cookie::create(path.clone()).map_err(|error| NodeError::Cookie { path, error })?;
        let auth = Auth { cookie: Some(cookie), user: options.rpc_user.clone() };
        rpc = Some(tokio::spawn(serve(listener, auth, door.clone(), stop.subscribe())));
    }
    let chain = match opening.await {
        Ok(opened) => opened.map_err(NodeError::Open),
        Err(error) => Err(NodeError::Failed(format!("opening the chain: {error}"))),
    };
    let chain = chain.inspect_err(|_| rpc.iter().for_each(JoinHandle::abort))?;
    let filters = match options.filters {
        true => {
            let opened = FilterIndex::open(&directory.join("filters")).map_err(OpenError::from);
            Some(Filters::new(opened.inspect_err(|_| rpc.iter().for_each(JoinHandle::abort))?))
        }
        false => None,
    };
    let node = Arc::new(Node::new(chain, &options, filters, stop));
    door.open(node.clone());
    let ticks = tokio::spawn(tick(node.clone()));
    let mut tasks = Tasks { rpc, ticks, judge: None, filters: None };
    if node.filters.is_some() {
        let (making, runtime) = (node.clone(), tokio::runtime::Handle::current());
        let thread = std::thread::Builder::new().name("lode-filters".into()).spawn(move || {
            if let Some(filters) = &making.filters {
                filters::run(&making, filters, &runtime);
            }
        });
        tasks.filters = Some(thread.map_err(NodeError::Thread)?);
    }

    if options.network {
        let view: Arc<dyn View> = node.clone();
        let (p2p, events) = lode_p2p::start(network_options(&options, &directory), view)
            .await
            .map_err(|error| NodeError::Network(error.to_string()))?;
        node.set_p2p(p2p.clone());
        let judging = node.clone();
        let thread = std::thread::Builder::new().name("lode-chain".into());
        let judge = thread.spawn(move || judge::run(&judging, &p2p, events)).map_err(NodeError::Thread)?;
        tasks.judge = Some(judge);
    }
    Ok(NodeHandle { node, rpc_address, tasks: Arc::new(Mutex::new(Some(tasks))) })
}

/// Takes the saved mempool back, then does every second what is done now and then.
async fn tick(node: Arc<Node>) {
    let loading = node.clone();
    let _ = tokio::task::spawn_blocking(move || mempool_file::load(&loading)).await;
    let mut stop = node.stop.subscribe();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let node = node.clone();
        let _ = tokio::task::spawn_blocking(move || node.tick()).await;
    }
}

fn network_options(options: &NodeOptions, directory: &Path) -> lode_p2p::Options {
    let mut network = lode_p2p::Options::new(options.coin);
    network.listen.clone_from(&options.p2p_bind);
    network.connect.clone_from(&options.connect);
    network.add_nodes.clone_from(&options.add_nodes);
    network.seeds = options.coin.dns_seeds.iter().map(|seed| (*seed).to_string()).collect();
    network.address_book = Some(directory.join("peers"));
    network.pruned = options.prune_mib.is_some();
    network.user_agent = user_agent();
    network.min_chain_work = options.coin.min_chain_work();
    network
}

impl NodeHandle {
    /// The coin and network.
    pub fn coin(&self) -> &'static Coin {
        self.node.coin
    }

    /// What is behind the handle.
    #[cfg(feature = "testing")]
    pub(crate) const fn inner(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where JSON-RPC listens, if it does.
    pub const fn rpc_address(&self) -> Option<SocketAddr> {
        self.rpc_address
    }

    /// Where peers can call us.
    pub fn p2p_addresses(&self) -> Vec<SocketAddr> {
        self.node.p2p().map(|p2p| p2p.listening().to_vec()).unwrap_or_default()
    }

    /// The node's own directory.
    pub fn directory(&self) -> &Path {
        &self.node.directory
    }

    /// The last block of the best chain.
    pub fn tip(&self) -> Tip {
        *self.node.tip.borrow()
    }

    /// The tip as it changes. During a sync not every block is seen, the last one always is.
    pub fn subscribe(&self) -> watch::Receiver<Tip> {
        self.node.tip.subscribe()
    }

    /// True until the chain has once been close to the present.
    pub fn is_syncing(&self) -> bool {
        self.node.is_syncing()
    }

    /// Height of the header with the most work: where a sync is heading.
    pub fn best_header_height(&self) -> lode_primitives::Height {
        self.node.glance().best_header.height
    }

    /// Time of that header, Unix seconds.
    pub fn best_header_time(&self) -> u32 {
        self.node.glance().best_header.time
    }

    /// Where a block is.
    pub fn block_status(&self, hash: &BlockHash) -> BlockStatus {
        self.node.block_status(hash)
    }

    /// A block as the bytes of its encoding; `None` where the node has not got it, or no longer.
    pub async fn block_bytes(&self, hash: BlockHash) -> Option<Vec<u8>> {
        let node = self.node.clone();
        tokio::task::spawn_blocking(move || View::block_bytes(&*node, &hash)).await.ok().flatten()
    }

    /// The next block but for its coinbase and its proof of work: of the mempool's best paying transactions.
    pub async fn template(&self) -> BlockTemplate {
        let node = self.node.clone();
        let made = tokio::task::spawn_blocking(move || node.template()).await;
        // The runtime takes no more work while the program ends: then it is made here.
        made.unwrap_or_else(|_| self.node.template())
    }

    /// Hands in a block that was found. When this returns [`Submitted::BestChain`] the block is on disk, in the best
    /// chain, and on its way to the peers.
    pub async fn submit_block(&self, block: impl Into<Arc<Block>>) -> Submitted {
        let (node, block) = (self.node.clone(), block.into());
        let judged = tokio::task::spawn_blocking(move || node.submit(block)).await;
        judged.unwrap_or_else(|error| Submitted::Rejected {
            reason: "error".into(),
            detail: format!("the check of the block failed: {error}"),
            unjudged: true,
        })
    }

    /// Takes a transaction into the mempool and tells the peers.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn send_transaction(&self, transaction: Transaction) -> Result<Txid, MempoolError> {
        let (node, copy) = (self.node.clone(), transaction.clone());
        let sent = tokio::task::spawn_blocking(move || node.send_transaction(copy)).await;
        // The runtime takes no more work while the program ends: then it is judged here.
        let accepted = sent.unwrap_or_else(|_| self.node.send_transaction(transaction))?;
        Ok(accepted.txid)
    }

    /// Waits until the node is asked to stop: by RPC, or by itself because its files fail. An error says why.
    ///
    /// # Errors
    /// [`NodeError::Failed`].
    pub async fn stopped(&self) -> Result<(), NodeError> {
        let mut stop = self.node.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
        let failure = self.node.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(Ok(()), |reason| Err(NodeError::Failed(reason)))
    }

    /// Stops everything, writes all to disk, and returns when that is done. Further calls return at once.
    pub async fn shutdown(&self) {
        let Some(tasks) = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.node.request_stop();
        if let Some(p2p) = self.node.p2p()
            && tokio::time::timeout(NETWORK_STOP_TIMEOUT, p2p.stop()).await.is_err()
        {
            tracing::warn!("the network did not stop in time");
        }
        if let Some(mut rpc) = tasks.rpc
            && tokio::time::timeout(RPC_STOP_TIMEOUT, &mut rpc).await.is_err()
        {
            tracing::warn!("RPC calls were still under way; they are cut off");
            rpc.abort();
            let _ = rpc.await;
        }
        let _ = tasks.ticks.await;
        let node = self.node.clone();
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(judge) = tasks.judge
                && judge.join().is_err()
            {
                tracing::error!("the thread that judges blocks had panicked");
            }
            if let Some(filters) = tasks.filters
                && filters.join().is_err()
            {
                tracing::error!("the thread that makes filters had panicked");
            }
            if node.mempool_loaded.load(Ordering::Relaxed)
                && let Err(error) = mempool_file::save(&node)
            {
                tracing::warn!(%error, "mempool not saved");
            }
            if let Err(error) = node.write().chain.flush() {
                tracing::error!(%error, "the last flush failed; the next start makes up for it");
            }
            let fees = node.fees.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = fees.save(&node.directory.join(FEES_FILE)) {
                tracing::warn!(%error, "fee estimates not saved");
            }
        });
        let _ = closed.await;
    }
}

impl Node {
    /// Takes a block that was found here and says what became of it.
    pub(crate) fn submit(&self, block: Arc<Block>) -> Submitted {
        match self.accept_block(block) {
            Ok(submitted) => submitted,
            Err(error) => {
                use lode_chain::Blame;
                let unjudged = matches!(
                    error.blame(),
                    Blame::MissingParent | Blame::Early | Blame::Inconclusive | Blame::OwnFault
                );
                Submitted::Rejected { reason: error.reject_reason(), detail: error.to_string(), unjudged }
            }
        }
    }
}
