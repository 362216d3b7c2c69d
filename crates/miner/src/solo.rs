//! Mining alone, straight from a node: `getblocktemplate` with long polling, `submitblock`. [`crate::miner`] runs it in
//! place of connections to a pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lode_coins::{COINS, Coin};
use lode_pow::PowAlgorithm;
use lode_primitives::encode_bytes;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connection::Station;
use crate::rpc::{RpcError, call};
use crate::template::{Draft, EXTRANONCE_SIZE, Template};
use crate::work::{Share, Work};
use crate::{Event, MinerError, NodeUrl};

/// Longest wait for an ordinary answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest long poll: nodes answer after a minute or so even where nothing changed.
const LONG_POLL_MAX: Duration = Duration::from_secs(300);
/// Between two templates of a node without long polling, and the pause before it is asked again after a failed long poll.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Between two marks for the hash rate.
const TICK: Duration = Duration::from_secs(1);

/// What mining alone needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Solo {
    pub(crate) node: NodeUrl,
    pub(crate) address: String,
    pub(crate) algorithm: PowAlgorithm,
}

/// Why it ended.
#[derive(Debug)]
pub(crate) enum SoloEnd {
    /// The node is away, or not ready: try again.
    Lost(String),
    /// Trying again is of no use.
    Fatal(MinerError),
}

impl From<RpcError> for SoloEnd {
    fn from(error: RpcError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Solo {
    fn request(&self, longpollid: Option<&str>) -> Value {
        // Litecoin's nodes give a template only to those who know its extension blocks; coins with prime chains have no witnesses,
        // though some of their nodes would commit to them.
        let rules: &[&str] = match self.algorithm {
            PowAlgorithm::Scrypt => &["segwit", "mweb"],
            PowAlgorithm::PrimeChain => &[],
            _ => &["segwit"],
        };
        match longpollid {
            Some(id) => json!([{ "rules": rules, "longpollid": id }]),
            None => json!([{ "rules": rules }]),
        }
    }

    async fn template(&self, longpollid: Option<&str>) -> Result<Template, SoloEnd> {
        let wait = if longpollid.is_some() { LONG_POLL_MAX } else { ANSWER_WAIT_MAX };
        let template = call(&self.node, "getblocktemplate", self.request(longpollid), wait).await?;
        serde_json::from_value(template)
            .map_err(|error| SoloEnd::Lost(format!("{}: its block template is odd: {error}", self.node)))
    }

    /// The next template: by long poll where the node has it, else after a while.
    async fn next_template(&self, longpollid: Option<&str>) -> Result<Template, SoloEnd> {
        if longpollid.is_some()
            && let Ok(template) = self.template(longpollid).await
        {
            return Ok(template);
        }
        sleep(POLL_EVERY).await;
        self.template(None).await
    }

    /// The coin and the script to be paid, for the chain that the node is on: told by its first block, which all nodes can
    /// be asked for.
    async fn script(&self) -> Result<(&'static Coin, Vec<u8>), SoloEnd> {
        let first = call(&self.node, "getblockhash", json!([0]), ANSWER_WAIT_MAX).await?;
        let first = first.as_str().unwrap_or_default();
        let is_its = |coin: &&&'static Coin| {
            coin.pow == self.algorithm && coin.genesis_block().hash().to_string() == first
        };
        let mut reason = format!("no coin mined with {} begins with block {first:?}", self.algorithm);
        for coin in COINS.iter().filter(is_its) {
            match coin.address_to_script(&self.address) {
                Ok(script) => return Ok((coin, script)),
                Err(error) => reason = error.to_string(),
            }
        }
        let address = self.address.clone();
        Err(SoloEnd::Fatal(MinerError::Address { address, reason }))
    }

    /// Mines until something breaks. `sequence` counts the work on, over all tries.
    pub(crate) async fn mine(&self, station: &mut Station<'_>, sequence: &mut u64) -> SoloEnd {
        match self.try_mine(station, sequence).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_mine(
        &self,
        station: &mut Station<'_>,
        sequence: &mut u64,
    ) -> Result<std::convert::Infallible, SoloEnd> {
        let (coin, script) = self.script().await?;
        let mut template = self.template(None).await?;
        station.stats.set_connected(true);
        station.tell(Event::Connected { pool: self.node.to_string() });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let draft = template.draft(coin, &script).map_err(|error| SoloEnd::Lost(error.to_string()))?;
            let work = self.work(&draft, *sequence);
            *sequence += 1;
            let difficulty = work.difficulty.get();
            station.stats.set_difficulty(difficulty);
            station.crew.post(Some(work.clone()));
            let length = work.goal.length().map(lode_pow::ChainLength::to_f64);
            station.tell(Event::Job { job: draft.job.job_id.clone(), difficulty, length, clean: true });

            let longpollid = template.longpollid.take();
            let found = {
                let next = self.next_template(longpollid.as_deref());
                tokio::pin!(next);
                loop {
                    tokio::select! {
                        next = &mut next => {
                            template = next?;
                            break None;
                        }
                        // Further solutions of a block already handed in are nothing lost.
                        Some(share) = station.shares.recv() => if share.work.sequence == work.sequence {
                            break Some(share);
                        },
                        _ = tick.tick() => station.stats.mark(Instant::now()),
                    }
                }
            };
            // The long poll has been given up here, so that a node that serves one call at a time can take the block.
            if let Some(share) = found {
                // One block of this work is enough, whatever the node says of it.
                station.crew.post(None);
                self.submit(&draft, &share, station).await?;
                template = self.template(None).await?;
            }
        }
    }

    fn work(&self, draft: &Draft, sequence: u64) -> Arc<Work> {
        let difficulty = (draft.goal.difficulty(self.algorithm), draft.goal);
        Arc::new(Work::new(sequence, draft.job.clone(), (Vec::new(), EXTRANONCE_SIZE), 0, difficulty))
    }

    /// Hands a block in and tells what became of it.
    async fn submit(&self, draft: &Draft, share: &Share, station: &Station<'_>) -> Result<(), SoloEnd> {
        station.stats.offer_best(share.achieved);
        let mut header = share.unit.header.to_vec();
        header[76..].copy_from_slice(&share.nonce.to_le_bytes());
        if let Some(multiplier) = &share.multiplier {
            encode_bytes(multiplier.as_bytes(), &mut header);
        }
        let block = hex::encode(draft.block(&header, &share.unit.extranonce2));
        let start = Instant::now();
        let answer = call(&self.node, "submitblock", json!([block]), ANSWER_WAIT_MAX).await;
        let answer_ms = start.elapsed().as_millis() as u64;
        let refused = match answer {
            Ok(Value::Null) => None,
            Ok(reason) => Some((0, reason.as_str().map_or_else(|| reason.to_string(), str::to_owned))),
            Err(RpcError::Node { code, message, .. }) => Some((code, message)),
            Err(error) => {
                station.stats.add_lost(1);
                return Err(error.into());
            }
        };
        match refused {
            None => {
                let difficulty = share.work.difficulty.get();
                station.stats.add_accepted(difficulty);
                station.tell(Event::Accepted { difficulty, answer_ms });
            }
            Some((code, reason)) => {
                station.stats.add_refused(false);
                station.tell(Event::Refused { code, reason, answer_ms });
            }
        }
        Ok(())
    }
}
