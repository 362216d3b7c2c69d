//! The wallet on the light client (`--via light`): headers from several peers, blocks by compact filters, no node of
//! one's own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_light::{LightClient, LightError, LightOptions, fees};
use lode_primitives::{BlockHash, Height, ScriptBuf, Transaction, Txid};
use lode_wallet::{BlockRef, ChainBlock, FeeHint, FeeRate, Source, SourceError};
use tokio::runtime::Runtime;

use super::send::PATIENT_BLOCKS;
use crate::light::light_directory;

/// Without any progress of the headers for so long, the command gives up.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long it stays up after a payment, so that its peers fetch it.
const RELAY_TIME: Duration = Duration::from_secs(3);

/// A running light client; stops when dropped.
pub(super) struct LightSource {
    client: LightClient,
    runtime: Runtime,
    sent: bool,
}

impl LightSource {
    /// Starts it and waits until its peers have no further headers. `peers` are the only ones called, where any are
    /// given.
    pub(super) fn start(coin: &'static Coin, data_dir: &Path, peers: &[String]) -> anyhow::Result<Self> {
        let directory = light_directory(coin, data_dir);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut options = LightOptions::new(coin, directory);
        options.connect = peers.to_vec();
        let client = runtime.block_on(LightClient::start(options))?;
        let light = Self { client, runtime, sent: false };
        if light.runtime.block_on(light.client.synced(PATIENCE)).is_none() {
            let status = light.client.status();
            bail!(
                "the headers made no progress for {} s ({} peers, {} of them with filters); name some with --peer",
                PATIENCE.as_secs(),
                status.peers,
                status.filter_peers
            );
        }
        Ok(light)
    }
}

impl Drop for LightSource {
    fn drop(&mut self) {
        if self.sent {
            std::thread::sleep(RELAY_TIME);
        }
        if let Err(error) = self.runtime.block_on(self.client.shutdown()) {
            tracing::warn!(%error, "the light client did not end well");
        }
    }
}

fn failed(error: LightError) -> SourceError {
    SourceError::Failed(error.to_string())
}

impl Source for LightSource {
    fn tip(&mut self) -> Result<BlockRef, SourceError> {
        let tip = self.client.status().tip;
        Ok(BlockRef { height: tip.height, hash: tip.hash })
    }

    fn block_hash(&mut self, height: Height) -> Result<Option<BlockHash>, SourceError> {
        Ok(self.client.block_hash(height))
    }

    fn matching(
        &mut self,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
    ) -> Result<Vec<BlockRef>, SourceError> {
        let places = self.client.matching(scripts.to_vec(), from, to).map_err(|error| match error {
            LightError::Gone(height) => SourceError::Gone(BlockRef { height, hash: BlockHash::ZERO }),
            error => failed(error),
        })?;
        Ok(places.into_iter().map(|place| BlockRef { height: place.height, hash: place.hash }).collect())
    }

    fn block(&mut self, at: BlockRef) -> Result<ChainBlock, SourceError> {
        let block = self.client.block(at.hash).map_err(failed)?;
        Ok(ChainBlock { at, time: block.header.time, transactions: block.transactions.clone() })
    }

    /// Peers tell a light client of no transactions but its own.
    fn waiting(&mut self, _known: &dyn Fn(&Txid) -> bool) -> Result<Vec<Transaction>, SourceError> {
        Ok(Vec::new())
    }

    fn broadcast(&mut self, transaction: &Transaction) -> Result<(), SourceError> {
        self.client.broadcast(transaction).map_err(failed)?;
        self.sent = true;
        Ok(())
    }

    /// What the last blocks tell ([`fees`]), for want of a mempool.
    fn fee_hint(&mut self, blocks: u16) -> Result<FeeHint, SourceError> {
        let least = self.client.coin().min_relay_fee.to_sat().unsigned_abs();
        let floor = self.runtime.block_on(self.client.fee_floor()).map_or(least, |told| told.max(least));
        let tip = self.client.status().tip.height;
        let mut recent = Vec::new();
        for height in (tip + 1).saturating_sub(fees::BLOCKS)..=tip {
            let hash = self.client.block_hash(height).ok_or_else(|| failed(LightError::Gone(height)))?;
            // One that cannot be read, an extension block say, tells nothing.
            recent.extend(self.client.block(hash).ok().map(|block| (height, block)));
        }
        let recent = recent.iter().map(|(height, block)| (*height, block.as_ref()));
        let estimate = fees::estimate(self.client.coin(), recent, floor, blocks >= PATIENT_BLOCKS);
        let rate = FeeRate::from_sat_per_kvb;
        Ok(FeeHint { estimate: estimate.map(rate), floor: rate(floor) })
    }
}
