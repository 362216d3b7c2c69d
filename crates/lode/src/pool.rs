//! `lode pool`: the pool, on the embedded node or on nodes of one's own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lode_coins::Coin;

use crate::runtime;
use crate::settings::{ExternalNode, Overrides, Settings};
use crate::stack::{self, Stack};

/// What `lode pool` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The settings file; `lode config` prints one with every setting's meaning
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Try settings, addresses, ports, directory and nodes, say what would fail, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    overrides: Overrides,
}

/// Serves miners until told to stop.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), &args.overrides)?;
    let runtime = runtime::start()?;
    if args.check {
        return Ok(runtime.block_on(check(&settings)));
    }
    runtime.block_on(serve(&settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<ExitCode> {
    let stop = runtime::asked_to_stop();
    let mut reload = runtime::asked_to_reload();
    let stack = Stack::start(settings).await?;
    for address in stack.pool.addresses() {
        tracing::info!(coin = %stack.coin, "miners connect to stratum+tcp://{address}");
    }
    if let Some(address) = stack.pool.getwork_address() {
        tracing::info!("miners that know only getwork connect to http://{address}");
    }
    tracing::info!("the dashboard is at http://{}", stack.web);
    tokio::pin!(stop);
    let ended = loop {
        tokio::select! {
            () = &mut stop => break Ok(()),
            ended = node_ended(&stack) => break ended,
            () = reload.next() => {
                if stack.pool.reload_certificate().is_none() {
                    tracing::info!("asked to reload: only certificates are, and pool.tls names none");
                }
            }
        }
    };
    tracing::info!("stopping");
    stack.stop().await;
    ended?;
    tracing::info!("stopped: every acknowledged share and every found block is on disk");
    Ok(ExitCode::SUCCESS)
}

/// Waits for the embedded node to end by itself; for ever where there is none.
async fn node_ended(stack: &Stack) -> anyhow::Result<()> {
    match &stack.node {
        Some(node) => node.stopped().await.context("the embedded node ended"),
        None => std::future::pending().await,
    }
}

/// Tries everything and says how it went, a line each. Fails where anything does.
async fn check(settings: &Settings) -> ExitCode {
    let mut report = Report { failed: 0 };
    let coin = report.say("coin and network", settings.coin().map(|coin| (coin.to_string(), coin)));
    if let Some(coin) = coin {
        report.say("payout", stack::ledger_options(settings, coin).map(|_| (fee_in_words(settings), ())));
        report.say(
            "pool settings",
            settings.pool.check_for(coin).map(|()| ("as they should be".to_owned(), ())).map_err(Into::into),
        );
    }
    report.say("directory", writable(settings));
    let ports = settings.pool.ports.iter().map(|port| ("stratum port", port.bind));
    let getwork = settings.pool.getwork.map(|address| ("getwork port", address));
    for (what, address) in ports.chain(getwork).chain([("dashboard port", settings.web.bind)]) {
        report.say(what, free(address));
    }
    if let Some(coin) = coin {
        if settings.node.external.is_empty() {
            let options = stack::node_options(settings, coin);
            for address in options.p2p_bind.into_iter().chain(options.rpc_bind) {
                report.say("embedded node's port", free(address));
            }
        }
        for node in &settings.node.external {
            report.say("node", ask(node, coin).await.map(|said| (said, ())));
        }
    }
    match report.failed {
        0 => {
            println!("all is well: `lode pool` would start");
            ExitCode::SUCCESS
        }
        1 => {
            println!("1 thing would fail");
            ExitCode::FAILURE
        }
        failed => {
            println!("{failed} things would fail");
            ExitCode::FAILURE
        }
    }
}

struct Report {
    failed: usize,
}

impl Report {
    fn say<T>(&mut self, what: &str, result: anyhow::Result<(String, T)>) -> Option<T> {
        match result {
            Ok((said, value)) => {
                println!("ok    {what}: {said}");
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL  {what}: {error:#}");
                None
            }
        }
    }
}

fn fee_in_words(settings: &Settings) -> String {
    match (settings.payout.fee_basis_points, &settings.payout.fee_address) {
        (points, Some(address)) if points > 0 => {
            format!("fee of {}.{:02} % to {address}", points / 100, points % 100)
        }
        _ => "no fee".to_owned(),
    }
}

/// Makes the pool's directory and writes to it.
fn writable(settings: &Settings) -> anyhow::Result<(String, ())> {
    let directory = settings.pool_directory()?;
    let shown = directory.display();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {shown}"))?;
    let probe = directory.join("check");
    std::fs::write(&probe, [0; 4096]).with_context(|| format!("cannot write in {shown}"))?;
    std::fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))?;
    Ok((shown.to_string(), ()))
}

fn free(address: SocketAddr) -> anyhow::Result<(String, ())> {
    TcpListener::bind(address).with_context(|| format!("{address} cannot be listened on"))?;
    Ok((address.to_string(), ()))
}

/// Whether a node answers, follows the coin's chain and gives work.
async fn ask(node: &ExternalNode, coin: &'static Coin) -> anyhow::Result<String> {
    let (template, way) = stack::rpc_node(node, coin)?.check().await?;
    Ok(format!("{} gives work for block {} ({way})", node.url, template.height))
}
