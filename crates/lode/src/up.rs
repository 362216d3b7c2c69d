//! `lode up`: the whole story on one machine, on the network `local`: a node, a pool, two miners, a dashboard.

mod miners;
mod purses;
mod story;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lode_pool::PoolEvent;
use lode_primitives::Target;
use tokio::sync::broadcast::error::RecvError;

use crate::node::default_data_dir;
use crate::runtime;
use crate::settings::{Overrides, Settings};
use crate::stack::Stack;
use miners::Miners;
use story::Story;

/// Between two lines about shares.
const STATUS: std::time::Duration = std::time::Duration::from_secs(5);

/// What `lode up` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which coin's rules to play by: bitcoin, litecoin, primecoin or datacoin
    #[arg(long, default_value = "bitcoin")]
    coin: String,
    /// Where everything is kept [default: ~/.lode]
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where miners connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3333")]
    stratum_bind: SocketAddr,
    /// Where the dashboard is
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    web_bind: SocketAddr,
    /// Where the node takes peers [default: this machine, the coin's local port]
    #[arg(long, value_name = "ADDR")]
    p2p_bind: Option<SocketAddr>,
    /// Where the node takes JSON-RPC [default: this machine, the coin's local port]
    #[arg(long, value_name = "ADDR")]
    rpc_bind: Option<SocketAddr>,
    /// Mining threads, shared out between the two miners; 0 for no miner [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// End after so many blocks were found, paid and checked
    #[arg(long, value_name = "N")]
    blocks: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs until told to stop, or until enough blocks were found.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    runtime::start()?.block_on(play(args))
}

async fn play(args: Args) -> anyhow::Result<ExitCode> {
    let stop = runtime::asked_to_stop();
    let settings = settings(&args)?;
    let coin = settings.coin()?;
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let stack = Stack::start(&settings).await?;
    let miners = Miners::start(&settings, &stack, threads)?;
    let mut story = Story::new(coin, args.json);
    story.started(&stack, &miners)?;
    let done = tell(&args, &stack, &miners, &mut story, stop).await;
    miners.stop().await;
    stack.stop().await;
    done?;
    story.ended()?;
    Ok(ExitCode::SUCCESS)
}

/// Tells what happens, until enough has.
async fn tell(
    args: &Args,
    stack: &Stack,
    miners: &Miners,
    story: &mut Story,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut events = stack.pool.events();
    let mut status = tokio::time::interval(STATUS);
    status.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            event = events.recv() => match event {
                Ok(PoolEvent::Block(found)) => {
                    let counted = story.block(stack, miners, &found).await?;
                    story.wallets(&miners.purses).await?;
                    if counted && args.blocks.is_some_and(|n| story.blocks() >= n) {
                        return Ok(());
                    }
                }
                Ok(PoolEvent::Job { .. }) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => anyhow::bail!("the pool has ended by itself; its log says why"),
            },
            _ = status.tick() => story.status(stack, miners)?,
        }
    }
}

/// The settings of a pool that CPUs mine at.
fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut set = Overrides::default();
    set.set("coin", format!("{:?}", args.coin));
    set.set("network", "\"local\"");
    let data_dir = args.data_dir.clone().map_or_else(default_data_dir, Ok)?;
    let data_dir =
        std::path::absolute(&data_dir).with_context(|| format!("--data-dir {}", data_dir.display()))?;
    set.set("data_dir", toml::Value::String(data_dir.display().to_string()));
    set.set("web.bind", format!("\"{}\"", args.web_bind));
    for (key, address) in [("node.p2p_bind", args.p2p_bind), ("node.rpc_bind", args.rpc_bind)] {
        if let Some(address) = address {
            set.set(key, format!("\"{address}\""));
        }
    }
    let mut settings = Settings::load(None, &set)?;
    let coin = settings.coin()?;
    let port = settings.pool.ports.first_mut().context("a pool has a port by default")?;
    port.bind = args.stratum_bind;
    if let Some(one) = coin.pow.hashes_per_difficulty() {
        // Easy enough for one core from the first second on; the miners' own speed does the rest. Prime chains need no
        // telling: their shares are bound to the block's length.
        let first_block = Target::from_compact(coin.genesis_block().header.bits)?.work().to_f64();
        port.start_difficulty = (first_block / 32.0 / one).log2().floor().exp2();
        port.min_difficulty = port.start_difficulty / 1024.0;
    }
    settings.pool.vardiff.shares_per_minute = 60.0;
    Ok(settings)
}
