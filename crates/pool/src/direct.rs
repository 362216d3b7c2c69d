//! Found blocks straight into the books and to the nodes, without a journal: for tests and until the pool's journal takes
//! them.

use std::sync::{Arc, Mutex, PoisonError};

use lode_ledger::Ledger;
use tokio::runtime::Handle;

use crate::service::{Blocks, FoundBlock};
use crate::template::Sources;

/// Settles a block in the books, which is on disk then, and hands it to every node.
pub struct DirectBlocks {
    ledger: Arc<Mutex<Ledger>>,
    sources: Sources,
    runtime: Handle,
}

impl DirectBlocks {
    /// To be called within a tokio runtime.
    pub fn new(ledger: Arc<Mutex<Ledger>>, sources: Sources) -> Self {
        Self { ledger, sources, runtime: Handle::current() }
    }
}

impl Blocks for DirectBlocks {
    fn found(&mut self, block: &Arc<FoundBlock>) {
        let settled = {
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.found(block.hash, &block.payouts)
        };
        if let Err(error) = settled {
            tracing::error!(%error, block = %block.hash, "a found block could not be settled in the books");
        }
        let _runtime = self.runtime.enter();
        let mut replies = self.sources.submit(&block.bytes);
        let hash = block.hash;
        self.runtime.spawn(async move {
            while let Some((node, reply)) = replies.recv().await {
                if reply.has_it() {
                    tracing::info!("{node} has block {hash}: {reply:?}");
                } else {
                    tracing::error!("{node} does not take block {hash}: {reply:?}");
                }
            }
        });
    }
}
