//! All nodes of a pool: follows each, publishes the template that is mined on, hands found blocks to every one.
//!
//! Each node has a task of its own that polls and never gives up; one more task owns the [`Choice`] and publishes. What
//! a node's trouble is, is said once when it begins and once when it ends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lode_ledger::LinkRef;
use lode_primitives::{BlockHash, Height};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use super::choice::{Choice, Disagreement, Health};
use super::node::NodeError;
use super::{BlockPlace, Cursor, Node, NodeView, SubmitReply, Template};

/// Pauses between attempts on a failing node, the last one repeated.
const RETRY_MS: [u64; 5] = [100, 250, 500, 1_000, 2_000];
/// A node that offers no long poll is asked this often.
const POLL: Duration = Duration::from_millis(500);
/// How often the choice is reconsidered without news.
const TICK: Duration = Duration::from_secs(5);

/// The nodes of a pool. Clones are handles to the same ones; the tasks end with the last handle.
#[derive(Clone, Debug)]
pub struct Sources {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nodes: Vec<Arc<Node>>,
    templates: watch::Receiver<Option<Arc<Template>>>,
    choice: Arc<Mutex<Choice>>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

struct News {
    node: usize,
    health: Health,
}

impl Sources {
    /// Follows these nodes, the preferred first. To be called within a tokio runtime.
    pub fn start(nodes: Vec<Node>) -> Self {
        let nodes: Vec<Arc<Node>> = nodes.into_iter().map(Arc::new).collect();
        let choice = Arc::new(Mutex::new(Choice::new(nodes.len())));
        let (publish, templates) = watch::channel(None);
        let (sender, receiver) = mpsc::channel(nodes.len().max(1) * 2);
        let mut tasks = JoinSet::new();
        for (index, node) in nodes.iter().enumerate() {
            tasks.spawn(follow(index, Arc::clone(node), sender.clone()));
        }
        tasks.spawn(choose(nodes.clone(), Arc::clone(&choice), receiver, publish));
        Self { inner: Arc::new(Inner { nodes, templates, choice, _tasks: tasks }) }
    }

    /// The template to mine on: `None` while no node has one.
    pub fn templates(&self) -> watch::Receiver<Option<Arc<Template>>> {
        self.inner.templates.clone()
    }

    /// Every node with its state, and which is in use and why.
    pub fn view(&self) -> Vec<NodeView> {
        let choice = lock(&self.inner.choice);
        let (used, reason) = choice.used();
        let nodes = self.inner.nodes.iter().enumerate();
        nodes
            .map(|(index, node)| {
                let (height, trouble) = match choice.health(index) {
                    Health::Starting => (None, Some("no answer yet".to_owned())),
                    Health::Ready(template) => (Some(template.height), None),
                    Health::Failing(why) => (None, Some(why.clone())),
                };
                let used = (used == Some(index)).then(|| reason.to_string());
                NodeView { name: node.name().to_owned(), template_height: height, trouble, used }
            })
            .collect()
    }

    /// What nodes at one height disagree about, while they do.
    pub fn disagreement(&self) -> Option<String> {
        let choice = lock(&self.inner.choice);
        choice.disagreement().map(|said| disagreement_in_words(&self.inner.nodes, said))
    }

    /// Hands a block to every node at once; what each says is sent as it comes. The channel ends after the last.
    pub fn submit(&self, block: &Bytes) -> mpsc::Receiver<(String, SubmitReply)> {
        let (sender, receiver) = mpsc::channel(self.inner.nodes.len().max(1));
        for node in &self.inner.nodes {
            let (node, block, sender) = (Arc::clone(node), block.clone(), sender.clone());
            tokio::spawn(async move {
                let reply = node.submit(&block).await;
                let _ = sender.send((node.name().to_owned(), reply)).await;
            });
        }
        receiver
    }

    /// Where a block is: in the view of the node in use, or if that cannot be asked, of the first that can.
    pub async fn place(&self, hash: &BlockHash) -> Result<BlockPlace, NodeError> {
        let mut last = None;
        for node in self.in_order() {
            match node.place(hash).await {
                Ok(place) => return Ok(place),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(NodeError::None))
    }

    /// A block's bytes, from the first node that has it.
    pub async fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        for node in self.in_order() {
            if let Some(bytes) = node.block(hash).await {
                return Some(bytes);
            }
        }
        None
    }

    /// The first of `candidates` (highest first) that is in the chain at or below `tip`, whose height is `height`.
    /// For [`lode_ledger::Ledger::unplaced`].
    pub async fn first_below(
        &self,
        tip: &BlockHash,
        height: Height,
        candidates: &[LinkRef],
    ) -> Result<Option<BlockHash>, NodeError> {
        let mut last = None;
        for node in self.in_order() {
            match node.first_below(tip, height, candidates).await {
                Ok(found) => return Ok(found),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(NodeError::None))
    }

    /// The node in use first, then the others as listed.
    fn in_order(&self) -> impl Iterator<Item = &Arc<Node>> {
        let used = lock(&self.inner.choice).used().0;
        let nodes = &self.inner.nodes;
        let others =
            nodes.iter().enumerate().filter(move |(index, _)| Some(*index) != used).map(|(_, node)| node);
        used.and_then(|used| nodes.get(used)).into_iter().chain(others)
    }
}

fn lock(choice: &Mutex<Choice>) -> std::sync::MutexGuard<'_, Choice> {
    // The choice is whole between its calls, and none of them panics half-way.
    choice.lock().unwrap_or_else(PoisonError::into_inner)
}

fn disagreement_in_words(nodes: &[Arc<Node>], said: &Disagreement) -> String {
    format!(
        "the nodes disagree about block {}: {} has {}, {} has {}; mining on the first until one branch is longer",
        said.height.saturating_sub(1),
        nodes[said.used.0].name(),
        said.used.1,
        nodes[said.other.0].name(),
        said.other.1
    )
}

/// Follows one node for ever.
async fn follow(index: usize, node: Arc<Node>, news: mpsc::Sender<News>) {
    let mut failures = 0usize;
    loop {
        let error = match follow_well(index, &node, &news, &mut failures).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if failures == 0 {
            tracing::warn!("{error}");
        }
        if news.send(News { node: index, health: Health::Failing(error.to_string()) }).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(RETRY_MS[failures.min(RETRY_MS.len() - 1)])).await;
        failures += 1;
    }
}

/// Follows a node until it fails; `Ok` when nobody listens any more.
async fn follow_well(
    index: usize,
    node: &Node,
    news: &mpsc::Sender<News>,
    failures: &mut usize,
) -> Result<(), NodeError> {
    node.check_chain().await?;
    let heard = Notify::new();
    tokio::select! {
        result = follow_templates(index, node, news, failures, &heard) => result,
        never = async {
            node.listen(&heard).await;
            std::future::pending::<Infallible>().await
        } => match never {},
    }
}

async fn follow_templates(
    index: usize,
    node: &Node,
    news: &mpsc::Sender<News>,
    failures: &mut usize,
    heard: &Notify,
) -> Result<(), NodeError> {
    let mut cursor = Cursor::default();
    loop {
        let asked = Instant::now();
        let (template, waits) = node.next_template(&mut cursor, heard).await?;
        if *failures > 0 {
            tracing::info!("the node at {} is well again", node.name());
            *failures = 0;
        }
        metrics::histogram!("lode_template_fetch_seconds").record(asked.elapsed().as_secs_f64());
        if news.send(News { node: index, health: Health::Ready(template) }).await.is_err() {
            return Ok(());
        }
        if !waits {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Takes the nodes' news and publishes what is mined on.
async fn choose(
    nodes: Vec<Arc<Node>>,
    choice: Arc<Mutex<Choice>>,
    mut news: mpsc::Receiver<News>,
    publish: watch::Sender<Option<Arc<Template>>>,
) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    loop {
        let news = tokio::select! {
            news = news.recv() => match news {
                Some(news) => Some(news),
                None => return,
            },
            _ = tick.tick() => None,
        };
        let now_ms = started.elapsed().as_millis() as u64;
        let (change, used, reason) = {
            let mut choice = lock(&choice);
            let change = match news {
                Some(News { node, health }) => choice.update(node, health, now_ms),
                None => choice.tick(now_ms),
            };
            let (used, reason) = choice.used();
            (change, used, reason.clone())
        };
        if change.moved {
            match used {
                Some(used) => tracing::info!("mining on the templates of {}: {reason}", nodes[used].name()),
                None => tracing::error!(
                    "no node has a template: miners keep the last job, its blocks may be stale"
                ),
            }
        }
        if let Some(said) = change.disagreement {
            tracing::warn!("{}", disagreement_in_words(&nodes, &said));
        }
        // Where there is none any more the last one stays: a block on it may still be good, and miners need work.
        if let Some(Some(new)) = change.template {
            // Nodes answer polls without news; the same work again is none.
            publish.send_if_modified(|old| {
                let changed = old.as_ref().is_none_or(|old| !old.same_work(&new));
                *old = Some(new);
                changed
            });
        }
    }
}
