//! `lode node`: a full node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use lode_coins::Coin;
use lode_node::NodeOptions;
use lode_node::rpc::Credentials;

use crate::{runtime, sync};

/// What `lode node` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which coin
    #[arg(long, default_value = "bitcoin")]
    coin: String,
    /// Which of its networks: main, testnet4, signet, regtest, local
    #[arg(long, default_value = "main")]
    network: String,
    /// A signet of one's own: the script, in hex, that its blocks must satisfy (with --network signet)
    #[arg(long, value_name = "HEX")]
    signetchallenge: Option<String>,
    /// Where the data lies, in DIR/COIN/NETWORK/ [default: ~/.lode]
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Listen for peers here [default: all interfaces, the coin's port; this machine alone on regtest and local]
    #[arg(long, value_name = "HOST:PORT")]
    p2p_bind: Vec<SocketAddr>,
    /// Do not listen for peers
    #[arg(long, conflicts_with = "p2p_bind")]
    no_listen: bool,
    /// Call only these peers
    #[arg(long, value_name = "HOST[:PORT]")]
    connect: Vec<String>,
    /// Keep a connection to these peers, beside others
    #[arg(long, value_name = "HOST[:PORT]")]
    addnode: Vec<String>,
    /// Listen for JSON-RPC here [default: this machine alone, the coin's port]
    #[arg(long, value_name = "HOST:PORT")]
    rpc_bind: Option<SocketAddr>,
    /// A user who may call JSON-RPC beside the cookie; the password comes from LODE_RPC_PASSWORD or --rpc-password-file
    #[arg(long, value_name = "USER")]
    rpc_user: Option<String>,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE", requires = "rpc_user")]
    rpc_password_file: Option<PathBuf>,
    /// Delete old blocks so that block files take about so many MiB
    #[arg(long, value_name = "MIB")]
    prune: Option<u64>,
    /// Make compact filters of all blocks (BIP158), for light clients to ask for (BIP157); not with --prune
    #[arg(long, conflicts_with = "prune")]
    filters: bool,
    /// Where blocks made of `getwork`'s work pay to, on coins with prime chains
    #[arg(long, value_name = "ADDRESS")]
    mine_to: Option<String>,
    /// Memory for unspent outputs, in MiB [default: 450]
    #[arg(long, value_name = "MIB")]
    cache: Option<usize>,
}

/// Runs the node until it is told to stop: by Ctrl-C, SIGTERM or the RPC method `stop`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = options(args)?;
    let runtime = runtime::start()?;
    let ended = runtime.block_on(serve(options));
    // What still runs was told to end, or is a chain being opened, which a kill does no harm.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(options: NodeOptions) -> anyhow::Result<ExitCode> {
    let stop = runtime::asked_to_stop();
    tokio::pin!(stop);
    let began = Instant::now();
    tracing::info!(coin = %options.coin, directory = %options.directory().display(), "opening the chain");
    let node = tokio::select! {
        node = lode_node::start(options) => node?,
        () = &mut stop => {
            tracing::info!("stopped while the chain was being opened; the next start goes on");
            return Ok(ExitCode::SUCCESS);
        }
    };
    tracing::info!(
        height = node.tip().height,
        seconds = began.elapsed().as_secs_f64(),
        rpc = node.rpc_address().map(tracing::field::display),
        peers = ?node.p2p_addresses(),
        "node is up"
    );
    let stopped = tokio::select! {
        stopped = node.stopped() => stopped,
        () = stop => Ok(()),
        () = sync::show(&node) => Ok(()),
    };
    tracing::info!(height = node.tip().height, "stopping; asked once more it ends at once");
    node.shutdown().await;
    stopped?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// From the command line to what the node takes.
fn options(args: Args) -> anyhow::Result<NodeOptions> {
    let mut coin = lode_coins::find(&args.coin, &args.network)?;
    if let Some(hex) = &args.signetchallenge {
        anyhow::ensure!(coin.signet_challenge.is_some(), "--signetchallenge goes with --network signet only");
        let challenge = hex::decode(hex)
            .with_context(|| format!("--signetchallenge must be a script in hex, not {hex:?}"))?;
        coin = lode_coins::custom_signet(&challenge);
    }
    let data_dir = args.data_dir.map_or_else(default_data_dir, Ok)?;
    let mut options = NodeOptions::new(coin, data_dir);
    options.p2p_bind = match (args.no_listen, args.p2p_bind.is_empty()) {
        (true, _) => Vec::new(),
        (false, false) => args.p2p_bind,
        (false, true) => vec![SocketAddr::new(listen_host(coin), coin.p2p_port)],
    };
    options.connect = args.connect;
    options.add_nodes = args.addnode;
    options.rpc_bind =
        Some(args.rpc_bind.unwrap_or_else(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), coin.rpc_port)));
    options.rpc_user = match args.rpc_user {
        None => None,
        Some(user) => {
            anyhow::ensure!(!user.contains(':'), "an RPC user's name may not contain ':'");
            let password = read_password(args.rpc_password_file.as_deref())?
                .context("--rpc-user needs a password: set LODE_RPC_PASSWORD or give --rpc-password-file")?;
            Some(Credentials { user, password })
        }
    };
    options.prune_mib = args.prune;
    options.filters = args.filters;
    if let Some(address) = &args.mine_to {
        anyhow::ensure!(coin.form.multiplier, "--mine-to goes with coins with prime chains only, not {coin}");
        let script = coin.address_to_script(address).with_context(|| format!("--mine-to {address}"))?;
        options.mine_to = Some(script);
    }
    options.cache_bytes = args.cache.map(|mib| mib << 20);
    Ok(options)
}

/// Everybody may call a public network's node; a private one's is for this machine.
fn listen_host(coin: &Coin) -> IpAddr {
    if coin.network.is_private() { Ipv4Addr::LOCALHOST.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// Where all of Lode's data lies unless told otherwise: `~/.lode`.
pub(crate) fn default_data_dir() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().context("there is no home directory; say where with --data-dir DIR")?;
    Ok(home.join(".lode"))
}

/// The RPC password: the first line of `file`, else `LODE_RPC_PASSWORD`. It is never a flag, which every user of the
/// machine could read.
pub(crate) fn read_password(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(std::env::var("LODE_RPC_PASSWORD").ok()) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the RPC password file {}", file.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Some(line.to_owned())),
        _ => anyhow::bail!("the first line of the RPC password file {} is empty", file.display()),
    }
}
