//! The pool with all that belongs to it, wired together: nodes, books, found blocks, front, dashboard. `lode pool` and
//! `lode up` start the same.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_ledger::{Fee, HOUR_MS, Ledger, LedgerOptions, Rules, WindowKind};
use lode_node::rpc::Credentials;
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_node::{NodeHandle, NodeOptions};
use lode_pool::template::{EmbeddedNode, Node, RpcNode, Sources};
use lode_pool::watch::Watch;
use lode_pool::{Nodes, Pool, PoolHandle, PoolParts};
use lode_primitives::Amount;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::dashboard::Dashboard;
use crate::settings::{ExternalNode, Settings, WindowName};

/// Time for open pages and connections to be closed at the end.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(5);

/// The running whole.
pub(crate) struct Stack {
    pub(crate) coin: &'static Coin,
    /// The embedded node, where no other is used.
    pub(crate) node: Option<NodeHandle>,
    pub(crate) pool: PoolHandle,
    /// Where the dashboard listens.
    pub(crate) web: SocketAddr,
    stop_web: oneshot::Sender<()>,
    web_task: JoinHandle<std::io::Result<()>>,
}

impl Stack {
    /// Starts everything. What cannot be had (a port, the disk, a node's answer to who it is) is an error before
    /// any miner is let in.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let coin = settings.coin()?;
        let directory = settings.pool_directory()?;
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        // Miners who come back after a crash are let in while the books are read.
        let listeners = Pool::listen(coin, &settings.pool)?;
        let (ledger, recovery) = Ledger::open(ledger_options(settings, coin)?, unix_ms())?;
        tracing::info!(shares = recovery.shares, segments = recovery.segments, "the share log is read");
        if let Some((path, bytes)) = &recovery.cut {
            tracing::warn!(
                "{bytes} bytes torn off at the end of {} were cut: never acknowledged",
                path.display()
            );
        }
        let ledger = Arc::new(Mutex::new(ledger));
        let node = match settings.node.external.is_empty() {
            true => Some(lode_node::start(node_options(settings, coin)).await?),
            false => None,
        };
        let sources = Sources::start(nodes(settings, coin, node.as_ref())?);
        let watch = Watch::start(&directory.join("found.journal"), sources.clone(), Arc::clone(&ledger))?;
        let parts = PoolParts {
            coin,
            config: settings.pool.clone(),
            ledger,
            solo: settings.payout.window == WindowName::Solo,
            upstream: Nodes { sources: sources.clone(), watch: watch.clone() },
            directory: Some(directory.clone()),
        };
        let pool = Pool::start_on(listeners, parts)?;
        if let Err(error) = crate::admin::serve(&directory, pool.clone()) {
            tracing::warn!("`lode admin` will not reach this pool: {error:#}");
        }
        let dashboard = Dashboard::new(settings, &pool, &sources, &watch);
        let server = lode_web::Server::bind(settings.web.bind, Arc::new(dashboard), metrics()).await?;
        let web = server.address()?;
        let (stop_web, stopped) = oneshot::channel();
        let web_task = tokio::spawn(server.serve(async {
            // An error means that the stack is gone, which is to stop as well.
            let _ = stopped.await;
        }));
        Ok(Self { coin, node, pool, web, stop_web, web_task })
    }

    /// Stops everything, miners first, the node last, each with what it holds on disk.
    pub(crate) async fn stop(self) {
        let pool = self.pool.clone();
        // Joins the front's threads, which takes milliseconds.
        let _ = tokio::task::spawn_blocking(move || pool.stop()).await;
        let _ = self.stop_web.send(());
        let _ = tokio::time::timeout(STOP_SECONDS_MAX, self.web_task).await;
        if let Some(node) = self.node {
            node.shutdown().await;
        }
    }
}

/// Metrics are collected once for the process; a second stack in it (a test's) shows none.
fn metrics() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}

pub(crate) fn ledger_options(settings: &Settings, coin: &'static Coin) -> anyhow::Result<LedgerOptions> {
    let payout = &settings.payout;
    let fee = match (&payout.fee_address, payout.fee_basis_points) {
        (_, 0) => None,
        (_, points) if points > 10_000 => bail!("payout.fee_basis_points is {points}; the whole is 10000"),
        (None, points) => bail!("payout.fee_basis_points is {points}, but payout.fee_address is not set"),
        (Some(address), basis_points) => {
            let script = coin.address_to_script(address).context("payout.fee_address")?;
            Some(Fee { script, basis_points })
        }
    };
    let window = match payout.window {
        WindowName::Time if payout.window_seconds == 0 => bail!("payout.window_seconds must be at least 1"),
        WindowName::Work if payout.window_blocks == 0 => bail!("payout.window_blocks must be at least 1"),
        WindowName::Time => WindowKind::Time { ms: u64::from(payout.window_seconds) * 1000 },
        WindowName::Work => WindowKind::Work { factor: payout.window_blocks },
        WindowName::Solo => WindowKind::Solo,
    };
    let mut options = LedgerOptions::new(settings.pool_directory()?, coin.to_string());
    options.window = window;
    let blocks = u64::from(payout.forget_days) * 86_400 / u64::from(coin.spacing()).max(1);
    let forget_after = u32::try_from(blocks).unwrap_or(u32::MAX);
    let payout_min = Amount::from_sat(payout.minimum_sat);
    options.rules = Rules { fee, payout_min, output_min: coin.min_output, forget_after };
    match settings.log.segment_mib {
        mib @ 1..=2047 => options.log.segment_bytes = mib << 20,
        mib => bail!("log.segment_mib is {mib}; it must be 1 to 2047"),
    }
    options.drop_after_ms = match settings.log.keep_hours {
        0 => None,
        hours => Some(hours.saturating_mul(HOUR_MS)),
    };
    Ok(options)
}

pub(crate) fn node_options(settings: &Settings, coin: &'static Coin) -> NodeOptions {
    let node = &settings.node;
    let mut options = NodeOptions::new(coin, &settings.data_dir);
    let host = if coin.network.is_private() { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
    options.p2p_bind = vec![node.p2p_bind.unwrap_or_else(|| SocketAddr::from((host, coin.p2p_port)))];
    options.rpc_bind =
        Some(node.rpc_bind.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], coin.rpc_port))));
    options.connect = node.connect.iter().map(ToString::to_string).collect();
    options.prune_mib = (node.prune_mib > 0).then_some(node.prune_mib);
    options.filters = node.filters;
    options
}

/// The nodes to mine on: those of the settings, else the embedded one.
fn nodes(
    settings: &Settings,
    coin: &'static Coin,
    embedded: Option<&NodeHandle>,
) -> anyhow::Result<Vec<Node>> {
    if let Some(node) = embedded {
        return Ok(vec![Node::Embedded(EmbeddedNode::new(node.clone()))]);
    }
    settings.node.external.iter().map(|node| Ok(Node::Rpc(rpc_node(node, coin)?))).collect()
}

/// An external node as a source of templates.
pub(crate) fn rpc_node(node: &ExternalNode, coin: &'static Coin) -> anyhow::Result<RpcNode> {
    let rpc = RpcNode::new(client(node)?, coin);
    match &node.zmq {
        Some(address) => {
            let endpoint = address.parse().with_context(|| format!("node.external.zmq of {}", node.url))?;
            Ok(rpc.with_zmq(endpoint))
        }
        None => Ok(rpc),
    }
}

/// A client for an external node, by its cookie or by user and password.
fn client(node: &ExternalNode) -> anyhow::Result<RpcClient> {
    let auth = match (&node.cookie_file, &node.user) {
        (Some(cookie), None) => RpcAuth::Cookie(cookie.clone()),
        (None, Some(user)) => {
            let password = match &node.password_file {
                Some(file) => {
                    let text = std::fs::read_to_string(file)
                        .with_context(|| format!("cannot read {}", file.display()))?;
                    text.lines().next().unwrap_or_default().to_owned()
                }
                None => std::env::var("LODE_NODE_PASSWORD").map_err(|_| {
                    anyhow::anyhow!(
                        "the node {} has a user but no password: set password_file or LODE_NODE_PASSWORD",
                        node.url
                    )
                })?,
            };
            RpcAuth::User(Credentials { user: user.clone(), password })
        }
        (Some(_), Some(_)) => bail!("the node {} has both a cookie_file and a user: keep one", node.url),
        (None, None) => bail!("the node {} needs a cookie_file, or a user and a password_file", node.url),
    };
    RpcClient::new(&node.url, auth).with_context(|| format!("the node {}", node.url))
}

/// Unix time in milliseconds; 0 for a clock before 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_a_matter_of_time_not_of_blocks() {
        for (coin, blocks) in [("bitcoin", 4_320), ("litecoin", 17_280)] {
            let settings = Settings { coin: coin.into(), ..Settings::default() };
            let options = ledger_options(&settings, settings.coin().unwrap()).unwrap();
            assert_eq!(options.rules.forget_after, blocks, "{coin}");
            assert_eq!((options.log.segment_bytes, options.drop_after_ms), (64 << 20, None));
        }
        let mut settings = Settings::default();
        (settings.log.segment_mib, settings.log.keep_hours) = (8, 24);
        let options = ledger_options(&settings, settings.coin().unwrap()).unwrap();
        assert_eq!((options.log.segment_bytes, options.drop_after_ms), (8 << 20, Some(24 * HOUR_MS)));
        settings.log.segment_mib = 4096;
        let error = ledger_options(&settings, settings.coin().unwrap()).unwrap_err().to_string();
        assert!(error.contains("log.segment_mib"), "{error}");
    }
}
