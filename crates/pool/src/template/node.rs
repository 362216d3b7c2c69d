//! A node over JSON-RPC: its templates by long poll, blocks handed in, blocks looked up.
//!
//! Nodes of the 0.8 series (primecoind, datacoind) know less: no `getblockheader`, no long poll, and one word, `rejected`, for all that is
//! wrong with a block, even that they have it already. The first look-up finds that out; blocks are then looked up with `getblock`, templates
//! asked for every half second, and what became of a block handed in is looked up too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lode_coins::Coin;
use lode_ledger::LinkRef;
use lode_node::rpc::client::{RpcClient, RpcClientError};
use lode_node::rpc::{RpcError, code};
use lode_primitives::{BlockHash, Decode as _, Header, Height, Reader};
use serde::Deserialize;
use serde_json::json;

use super::gbt::{Reply, TemplateError, rules};
use super::zmq::ZmqEndpoint;
use super::{BlockPlace, SubmitReply, Template};
use crate::front::unix_us;

/// Time for a template or a look-up: a busy node may take seconds, one that takes longer is of no use to a pool.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a long poll: nodes answer by themselves once the mempool has changed, mostly within a minute or two.
const LONG_POLL_TIMEOUT: Duration = Duration::from_secs(150);
/// Time for a block to be handed in: the node checks and stores it before it answers.
const SUBMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The one word of the 0.8 series.
const REJECTED: &str = "rejected";

/// What went wrong with a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The call.
    #[error(transparent)]
    Call(#[from] RpcClientError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It follows another chain.
    #[error("the node at {address} is not on {coin}: its first block is {found}, expected {expected}")]
    OtherChain {
        /// Where.
        address: String,
        /// What the pool mines.
        coin: String,
        /// The node's first block.
        found: String,
        /// The coin's.
        expected: BlockHash,
    },
    /// The embedded node is catching up.
    #[error("the node is catching up: block {height} of {headers}")]
    Syncing {
        /// Height of its chain.
        height: Height,
        /// Height of the best header it knows.
        headers: Height,
    },
    /// The embedded node has stopped.
    #[error("the embedded node has stopped")]
    Stopped,
    /// The chain was reorganised while it was asked about; the next template is on its way.
    #[error("the node has moved on to another chain meanwhile")]
    MovedOn,
    /// There are no nodes.
    #[error("the pool has no node")]
    None,
    /// An answer that makes no sense.
    #[error("the node at {address} answered {method} without {what}")]
    Answer {
        /// Where.
        address: String,
        /// The call.
        method: &'static str,
        /// What was missing.
        what: &'static str,
    },
}

/// A node that is asked over JSON-RPC.
#[derive(Debug)]
pub struct RpcNode {
    client: RpcClient,
    coin: &'static Coin,
    /// Where it tells of blocks, as set.
    zmq: Option<ZmqEndpoint>,
    /// It is of the 0.8 series.
    is_old: AtomicBool,
}

/// What a node publishes over ZMQ.
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

/// Of a header or a block: the nodes of the 0.8 series say 0 of a block that is not in the best chain, later ones -1.
#[derive(Deserialize)]
struct HeaderReply {
    confirmations: i64,
}

impl RpcNode {
    /// A node of `coin` behind `client`.
    pub fn new(client: RpcClient, coin: &'static Coin) -> Self {
        Self { client, coin, zmq: None, is_old: AtomicBool::new(false) }
    }

    /// Where it tells of blocks over ZMQ; without this the node is asked.
    #[must_use]
    pub fn with_zmq(mut self, endpoint: ZmqEndpoint) -> Self {
        self.zmq = Some(endpoint);
        self
    }

    /// Where it tells of blocks over ZMQ: as set, else as the node says; `None` where it does not.
    pub(super) async fn zmq(&self) -> Option<ZmqEndpoint> {
        if self.zmq.is_some() {
            return self.zmq.clone();
        }
        let reply = self.client.call_as::<Vec<Notification>>("getzmqnotifications", json!([]), CALL_TIMEOUT);
        let host = self.name().rsplit_once(':').map_or(self.name(), |(host, _)| host);
        let published = reply.await.ok().flatten().unwrap_or_default();
        published
            .into_iter()
            .filter(|published| ["pubhashblock", "pubrawblock"].contains(&published.kind.as_str()))
            .find_map(|published| Some(published.address.parse::<ZmqEndpoint>().ok()?.seen_from(host)))
    }

    /// Host and port.
    pub fn name(&self) -> &str {
        self.client.address()
    }

    /// Whether it answers, follows the pool's chain and gives work, and in which way it is asked; for `lode pool --check`.
    pub async fn check(&self) -> Result<(Template, &'static str), NodeError> {
        self.check_chain().await?;
        let (template, long_poll) = self.template(None).await?;
        Ok((template, self.way(long_poll.is_some())))
    }

    /// How it is asked, in words.
    fn way(&self, long_poll: bool) -> &'static str {
        match (self.is_old(), long_poll) {
            (true, _) => "a node of the 0.8 series: asked twice a second",
            (false, true) => "by long poll",
            (false, false) => "without long poll: asked twice a second",
        }
    }

    fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    /// Makes sure that the node follows the pool's chain.
    pub(super) async fn check_chain(&self) -> Result<(), NodeError> {
        let expected = self.coin.genesis_block().hash();
        let found: Option<String> = self.client.call_as("getblockhash", json!([0]), CALL_TIMEOUT).await?;
        let found = found.unwrap_or_default();
        if found.parse() == Ok(expected) {
            // Which series it is of, as it may be another by now.
            self.is_old.store(false, Ordering::Relaxed);
            return self.place(&expected).await.map(drop);
        }
        let (address, coin) = (self.name().into(), self.coin.to_string());
        Err(NodeError::OtherChain { address, coin, found, expected })
    }

    /// The node's template and its id for the next long poll. With an id this waits until there is news.
    pub(super) async fn template(
        &self,
        long_poll: Option<&str>,
    ) -> Result<(Template, Option<String>), NodeError> {
        let (request, timeout) = match long_poll {
            Some(id) => (json!([{"rules": rules(self.coin), "longpollid": id}]), LONG_POLL_TIMEOUT),
            None => (json!([{"rules": rules(self.coin)}]), CALL_TIMEOUT),
        };
        let reply: Option<Reply> = self.client.call_as("getblocktemplate", request, timeout).await?;
        let mut reply = reply.ok_or_else(|| self.answer("getblocktemplate", "a template"))?;
        let id = reply.longpollid.take();
        Ok((reply.into_template(self.coin, unix_us())?, id))
    }

    /// Hands in a block, as its bytes on the wire.
    pub(super) async fn submit(&self, block: &[u8]) -> SubmitReply {
        let params = json!([hex::encode(block)]);
        let reply = match self.client.call_as::<String>("submitblock", params, SUBMIT_TIMEOUT).await {
            Ok(None) => SubmitReply::Accepted,
            Ok(Some(reason)) => SubmitReply::from_reason(&reason),
            // Primecoin's nodes since 0.1.5 say it as an error.
            Err(RpcClientError::Rpc(error)) if error.message == REJECTED => {
                SubmitReply::Refused(error.message)
            }
            Err(RpcClientError::Rpc(error)) if is_passing(error.code) => {
                SubmitReply::Unreachable(error.to_string())
            }
            Err(RpcClientError::Rpc(error)) => SubmitReply::Refused(error.message),
            Err(error) => SubmitReply::Unreachable(error.to_string()),
        };
        self.looked_up(block, reply).await
    }

    /// What a node of the 0.8 series meant: it takes blocks whose parent it does not have, and blocks beside its chain, without a word,
    /// and of those it has it says that they are rejected.
    async fn looked_up(&self, block: &[u8], reply: SubmitReply) -> SubmitReply {
        let unclear = match &reply {
            SubmitReply::Accepted => self.is_old(),
            SubmitReply::Refused(reason) => reason == REJECTED,
            _ => false,
        };
        let Some(header) = Header::decode(&mut Reader::new(block), self.coin.form).ok().filter(|_| unclear)
        else {
            return reply;
        };
        let hash = header.hash();
        match (self.place(&hash).await, &reply) {
            (Ok(BlockPlace::Chain { .. }), SubmitReply::Accepted) => SubmitReply::Accepted,
            (Ok(BlockPlace::Chain { .. }), _) => SubmitReply::Duplicate,
            (Ok(BlockPlace::Side), _) => SubmitReply::Side,
            (Ok(BlockPlace::Unknown), SubmitReply::Accepted) => SubmitReply::Behind,
            _ => reply,
        }
    }

    /// A block's bytes, where the node has it.
    pub(super) async fn block(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        // Every node takes a boolean there but those of the 0.8 series, which give no block's bytes.
        let params = json!([hash.to_string(), false]);
        let reply = self.client.call_as::<String>("getblock", params, CALL_TIMEOUT).await;
        hex::decode(reply.ok()??).ok()
    }

    /// Where a block is in this node's view.
    pub(super) async fn place(&self, hash: &BlockHash) -> Result<BlockPlace, NodeError> {
        let look = async |method| {
            self.client.call_as::<HeaderReply>(method, json!([hash.to_string()]), CALL_TIMEOUT).await
        };
        let mut reply = if self.is_old() { look("getblock").await } else { look("getblockheader").await };
        if matches!(&reply, Err(RpcClientError::Rpc(error)) if error.code == code::METHOD_NOT_FOUND) {
            self.is_old.store(true, Ordering::Relaxed);
            tracing::info!("{} is {}", self.name(), self.way(false));
            reply = look("getblock").await;
        }
        match reply {
            Ok(Some(HeaderReply { confirmations })) if confirmations > 0 => {
                Ok(BlockPlace::Chain { depth: (confirmations - 1).try_into().unwrap_or(u32::MAX) })
            }
            Ok(Some(_)) => Ok(BlockPlace::Side),
            Ok(None) => Err(self.answer("getblock", "a header")),
            Err(RpcClientError::Rpc(error)) if error.code == code::INVALID_ADDRESS_OR_KEY => {
                Ok(BlockPlace::Unknown)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The block at `height` of the node's best chain, `None` above its tip.
    pub(super) async fn hash_at(&self, height: Height) -> Result<Option<BlockHash>, NodeError> {
        match self.client.call_as::<String>("getblockhash", json!([height]), CALL_TIMEOUT).await {
            Ok(hash) => {
                let hash = hash.and_then(|hash| hash.parse().ok());
                hash.map(Some).ok_or_else(|| self.answer("getblockhash", "a hash"))
            }
            Err(RpcClientError::Rpc(error)) if is_above_tip(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The first of `candidates` (highest first) that is in the chain at or below `tip`.
    ///
    /// Blocks are looked up by height in the node's best chain, so `tip` must be in it; where it is not any more, the
    /// next template is on its way and the answer is an error.
    pub(super) async fn first_below(
        &self,
        tip: &BlockHash,
        height: Height,
        candidates: &[LinkRef],
    ) -> Result<Option<BlockHash>, NodeError> {
        if self.hash_at(height).await? != Some(*tip) {
            return Err(NodeError::MovedOn);
        }
        for candidate in candidates {
            if self.hash_at(candidate.height).await? == Some(candidate.hash) {
                return Ok(Some(candidate.hash));
            }
        }
        Ok(None)
    }

    fn answer(&self, method: &'static str, what: &'static str) -> NodeError {
        NodeError::Answer { address: self.name().into(), method, what }
    }
}

/// No block at such a height; the nodes of the 0.8 series have no code for it.
fn is_above_tip(error: &RpcError) -> bool {
    error.code == code::INVALID_PARAMETER
        || error.code == code::MISC_ERROR && error.message.contains("out of range")
}

/// Errors that say nothing of the block: the node is starting, catching up, or short of something.
fn is_passing(error: i32) -> bool {
    matches!(
        error,
        code::IN_WARMUP
            | code::CLIENT_IN_INITIAL_DOWNLOAD
            | code::CLIENT_NOT_CONNECTED
            | code::INTERNAL_ERROR
            | code::DATABASE_ERROR
            | code::MISC_ERROR
    )
}
