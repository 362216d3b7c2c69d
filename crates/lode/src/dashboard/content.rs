//! What found blocks carry beside money, for their pages: chains of primes, and data. Read from the pool's journal, and once it has
//! let go of a block's bytes from the nodes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lode_coins::Coin;
use lode_pool::template::Sources;
use lode_pool::watch::Watch;
use lode_pow::{ChainKind, Origin};
use lode_primitives::{Block, BlockHash, Decode as _, Header, Transaction, decimal};
use lode_web::view::{BlockContent, ChainView, DataView};
use tokio::sync::Mutex;

/// Blocks kept in memory, those asked for last: a page and its downloads are one reading. At most about 1 MB each.
const KEPT: usize = 4;
/// A page is shown without them where the nodes take longer.
const TIME: Duration = Duration::from_secs(5);

/// Reads contents, one block at a time, so that many visitors are no load on a node.
pub(super) struct Contents {
    coin: &'static Coin,
    sources: Sources,
    watch: Watch,
    kept: Mutex<VecDeque<(BlockHash, Arc<BlockContent>)>>,
}

impl Contents {
    pub(super) fn new(coin: &'static Coin, sources: Sources, watch: Watch) -> Self {
        Self { coin, sources, watch, kept: Mutex::default() }
    }

    /// `None` where the coin's blocks carry nothing of the kind, or no node has the block.
    pub(super) async fn of(&self, hash: BlockHash) -> Option<Arc<BlockContent>> {
        if !self.coin.form.data && !self.coin.form.multiplier {
            return None;
        }
        tokio::time::timeout(TIME, self.read(hash)).await.ok()?
    }

    async fn read(&self, hash: BlockHash) -> Option<Arc<BlockContent>> {
        let mut kept = self.kept.lock().await;
        if let Some((_, content)) = kept.iter().find(|(of, _)| *of == hash) {
            return Some(content.clone());
        }
        let bytes = match self.watch.bytes(&hash) {
            Some(bytes) => bytes.to_vec(),
            None => self.sources.block(&hash).await?,
        };
        let block = Block::from_bytes(&bytes, self.coin.form).ok().filter(|block| block.hash() == hash)?;
        let content = Arc::new(content(block));
        kept.truncate(KEPT - 1);
        kept.push_front((hash, content.clone()));
        Some(content)
    }
}

fn content(block: Block) -> BlockContent {
    let data = |mut tx: Transaction| {
        let txid = tx.txid().to_string();
        let bytes = tx.data.take().filter(|data| !data.is_empty())?;
        Some(DataView { txid, size: bytes.len(), bytes })
    };
    BlockContent {
        chain: chain(&block.header),
        data: block.transactions.into_iter().filter_map(data).collect(),
    }
}

fn chain(header: &Header) -> Option<ChainView> {
    let multiplier = header.multiplier.as_ref()?;
    let origin = Origin::new(&header.pow_bytes(), multiplier).ok()?;
    let longest = origin.lengths().longest();
    Some(ChainView {
        kind: longest.kind.to_string(),
        kind_in_words: match longest.kind {
            ChainKind::Cunningham1 => "Cunningham chain of the first kind",
            ChainKind::Cunningham2 => "Cunningham chain of the second kind",
            ChainKind::BiTwin => "bi-twin chain",
        },
        length: longest.length.to_f64(),
        origin: decimal(&origin.to_le_bytes()),
        multiplier: multiplier.to_decimal(),
    })
}
