//! One open connection: a task that reads and a task that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lode_primitives::{Block, BlockHash, Decode, Encode, Form, Header};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::transport::{Opened, Reading, TransportError, Writing};
use crate::message::{InvItem, InvKind};
use crate::{FilterKind, FilterRequest, Message, PeerId, View};

/// A peer that takes no bytes for this long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes written at once; each such piece has [`WRITE_TIMEOUT`].
const WRITE_CHUNK: usize = 64 * 1024;
/// While answers of so many bytes wait to be sent, a peer's further questions are not read.
const PAUSE_BYTES: usize = 4 << 20;
/// Nor while so many messages wait (asked-for blocks count as one each, and are read from disk in their turn).
const PAUSE_ITEMS: usize = 2_000;
/// A peer for which so many bytes wait is dropped.
const DROP_BYTES: usize = 32 << 20;
/// A peer for which so many messages wait is dropped: one `getdata` may ask for 50,000 things.
const DROP_ITEMS: usize = 60_000;

/// What connections tell the network's thread.
pub(super) enum FromPeer {
    /// A message; the permit gives its bytes back to the common budget when it is dropped.
    Message { peer: PeerId, message: Message, wire_bytes: u64, _permit: OwnedSemaphorePermit },
    /// No more comes.
    Ended { peer: PeerId, reason: String, malformed: bool },
}

enum Item {
    Message(Message),
    Block { hash: BlockHash, witness: bool },
    Filters(FilterRequest),
}

impl Item {
    /// How many messages it counts for.
    const fn weight(&self) -> usize {
        match self {
            Self::Filters(request) => request.weight(),
            _ => 1,
        }
    }
}

/// What waits to be sent, shared by the two tasks and the network's thread.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    items: AtomicUsize,
    sent: AtomicU64,
    lower: Notify,
}

impl Queue {
    fn is_high(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > PAUSE_BYTES || self.items.load(Ordering::Relaxed) > PAUSE_ITEMS
    }
}

/// The network thread's end of a connection. Dropping it ends the connection.
pub(super) struct Connection {
    items: mpsc::UnboundedSender<Item>,
    queue: Arc<Queue>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) view: Arc<dyn View>,
    pub(super) form: Form,
    pub(super) inbox: mpsc::Sender<FromPeer>,
    /// Bytes of messages read and not yet handled, over all peers.
    pub(super) budget: Arc<Semaphore>,
}

impl Connection {
    pub(super) fn start(peer: PeerId, opened: Opened, common: &Common, tasks: &Handle) -> Self {
        let (items, waiting) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue::default());
        let reader = tasks.spawn(read(peer, opened.reading, Arc::clone(&queue), common.clone()));
        let writer = tasks.spawn(write(peer, opened.writing, waiting, Arc::clone(&queue), common.clone()));
        Self { items, queue, reader, writer }
    }

    /// Queues a message. False: too much waits already, the peer does not read.
    pub(super) fn send(&self, message: Message) -> bool {
        self.queue.bytes.fetch_add(weight(&message), Ordering::Relaxed);
        self.push(Item::Message(message))
    }

    /// Queues a block to be read from the store in its turn.
    pub(super) fn send_block(&self, hash: BlockHash, witness: bool) -> bool {
        self.push(Item::Block { hash, witness })
    }

    /// Queues compact filters to be read from the store in their turn.
    pub(super) fn send_filters(&self, request: FilterRequest) -> bool {
        self.push(Item::Filters(request))
    }

    fn push(&self, item: Item) -> bool {
        let items = self.queue.items.fetch_add(item.weight(), Ordering::Relaxed);
        // A writer that has ended tells so itself.
        let _ = self.items.send(item);
        items < DROP_ITEMS && self.queue.bytes.load(Ordering::Relaxed) < DROP_BYTES
    }

    /// Bytes sent since this was last asked.
    pub(super) fn take_sent(&self) -> u64 {
        self.queue.sent.swap(0, Ordering::Relaxed)
    }
}

async fn read(peer: PeerId, mut reading: Reading, queue: Arc<Queue>, common: Common) {
    // Strangers get little memory until they have said who they are.
    let (mut version, mut verack) = (false, false);
    let error = loop {
        loop {
            let lower = queue.lower.notified();
            if !queue.is_high() {
                break;
            }
            lower.await;
        }
        let (message, wire_bytes) = match reading.next(!(version && verack)).await {
            Ok(read) => read,
            Err(error) => break error,
        };
        version |= matches!(message, Message::Version(_));
        verack |= matches!(message, Message::Verack);
        let permits = u32::try_from(wire_bytes).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&common.budget).acquire_many_owned(permits).await else { return };
        let input = FromPeer::Message { peer, message, wire_bytes, _permit: permit };
        if common.inbox.send(input).await.is_err() {
            return;
        }
    };
    end(peer, &error, &common).await;
}

async fn end(peer: PeerId, error: &TransportError, common: &Common) {
    let ended = FromPeer::Ended { peer, reason: error.to_string(), malformed: error.is_malformed() };
    // The network's thread is gone: so is everything else.
    let _ = common.inbox.send(ended).await;
}

async fn write(
    peer: PeerId,
    mut writing: Writing,
    mut waiting: mpsc::UnboundedReceiver<Item>,
    queue: Arc<Queue>,
    common: Common,
) {
    while let Some(item) = waiting.recv().await {
        let items = item.weight();
        let (sent, bytes) = match item {
            Item::Message(message) => {
                let bytes = writing.wrap(&message);
                (send(&mut writing, &bytes, &queue).await, weight(&message))
            }
            Item::Block { hash, witness } => {
                let bytes = block(&mut writing, hash, witness, &common).await;
                (send(&mut writing, &bytes, &queue).await, 0)
            }
            Item::Filters(request) => (filters(&mut writing, request, &queue, &common).await, 0),
        };
        if let Err(error) = sent {
            return end(peer, &error, &common).await;
        }
        queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
        queue.items.fetch_sub(items, Ordering::Relaxed);
        if !queue.is_high() {
            queue.lower.notify_waiters();
        }
    }
}

/// Writes wrapped messages in pieces that each have their time.
async fn send(writing: &mut Writing, bytes: &[u8], queue: &Queue) -> Result<(), TransportError> {
    for chunk in bytes.chunks(WRITE_CHUNK) {
        match tokio::time::timeout(WRITE_TIMEOUT, writing.half.write_all(chunk)).await {
            Ok(written) => written?,
            Err(_) => return Err(TransportError::Timeout),
        }
        queue.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// What is read from the store, where that does no harm.
type Read = Box<dyn FnOnce(&dyn View) -> Vec<Message> + Send>;

/// Reads and writes what a peer wants of the filters, a few at a time. What is not there is left out: who asked will
/// ask another.
async fn filters(
    writing: &mut Writing,
    request: FilterRequest,
    queue: &Queue,
    common: &Common,
) -> Result<(), TransportError> {
    let read = async |read: Read| {
        let view = Arc::clone(&common.view);
        tokio::task::spawn_blocking(move || read(&*view)).await.unwrap_or_default()
    };
    if request.kind != FilterKind::Filters {
        for message in read(Box::new(move |view| request.headers(view).into_iter().collect())).await {
            let bytes = writing.wrap(&message);
            send(writing, &bytes, queue).await?;
        }
        return Ok(());
    }
    let view = Arc::clone(&common.view);
    let blocks = tokio::task::spawn_blocking(move || request.blocks(&*view)).await.unwrap_or_default();
    for piece in blocks.chunks(FilterRequest::piece()).map(<[_]>::to_vec) {
        let wanted = piece.len();
        let messages = read(Box::new(move |view| FilterRequest::filters(view, &piece))).await;
        for message in &messages {
            let bytes = writing.wrap(message);
            send(writing, &bytes, queue).await?;
        }
        if messages.len() < wanted {
            break;
        }
    }
    Ok(())
}

/// A stored block, wrapped to be sent; `notfound` where it is gone.
async fn block(writing: &mut Writing, hash: BlockHash, witness: bool, common: &Common) -> Vec<u8> {
    let (view, form) = (Arc::clone(&common.view), common.form);
    let read = tokio::task::spawn_blocking(move || {
        let bytes = view.block_bytes(&hash)?;
        if witness { Some(bytes) } else { without_witnesses(&bytes, form) }
    });
    match read.await {
        Ok(Some(bytes)) => writing.wrap_raw("block", &bytes),
        _ => {
            let kind = if witness { InvKind::WitnessBlock } else { InvKind::Block };
            writing.wrap(&Message::NotFound(vec![InvItem::block(kind, hash)]))
        }
    }
}

fn without_witnesses(bytes: &[u8], form: Form) -> Option<Vec<u8>> {
    let block = Block::from_bytes(bytes, form).ok()?;
    let mut out = Vec::with_capacity(block.base_size());
    block.header.encode(&mut out);
    lode_primitives::encode_compact_size(block.transactions.len() as u64, &mut out);
    for transaction in &block.transactions {
        transaction.encode_without_witness(&mut out);
    }
    Some(out)
}

/// About how many bytes a message holds, for the bounds above.
fn weight(message: &Message) -> usize {
    64 + match message {
        Message::Headers(headers) => headers.len() * size_of::<Header>(),
        Message::Inv(items) | Message::GetData(items) | Message::NotFound(items) => items.len() * 36,
        Message::Tx(transaction) => transaction.total_size(),
        Message::CmpctBlock(compact) => {
            compact.short_ids.len() * 8
                + compact.prefilled.iter().map(|tx| tx.transaction.total_size()).sum::<usize>()
        }
        Message::BlockTxn(answer) => {
            answer.transactions.iter().map(lode_primitives::Transaction::total_size).sum()
        }
        Message::Block(block) => block.total_size(),
        Message::Addr(entries) | Message::AddrV2(entries) => entries.len() * 64,
        _ => 64,
    }
}
