//! `lode light`: the light client. Headers only, payments to watched addresses found by compact filters, payment proofs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use lode_coins::Coin;
use lode_light::proof::{FILE_BYTES_MAX, Proof};
use lode_light::watch::{Found, WatchList};
use lode_light::{LightClient, LightError, LightOptions, Place, Status, read_headers, risk};
use lode_primitives::{Amount, BlockHash, Height, ScriptBuf, Txid};

use crate::node::default_data_dir;
use crate::risk::likelihood;
use crate::runtime;

/// Without any progress for so long, `--once` gives up.
const ONCE_PATIENCE: Duration = Duration::from_secs(90);

/// What `lode light` takes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the payments found so far; asks nobody
    Payments(At),
    /// Write a proof that a payment is in the chain
    Prove(ProveArgs),
    /// Check a payment proof against the headers here; asks nobody
    Verify(VerifyArgs),
}

/// Which chain, and where its headers lie.
#[derive(clap::Args)]
struct At {
    /// Which coin
    #[arg(long, default_value = "bitcoin")]
    coin: String,
    /// Which of its networks: main, testnet4, signet, regtest, local
    #[arg(long, default_value = "main")]
    network: String,
    /// Where the data lies, in DIR/COIN/NETWORK/light/ [default: ~/.lode]
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl At {
    fn coin(&self) -> anyhow::Result<&'static Coin> {
        Ok(lode_coins::find(&self.coin, &self.network)?)
    }

    /// The flags that lead another command to the same chain.
    fn flags(&self) -> String {
        let mut flags = format!("--coin {} --network {}", self.coin, self.network);
        if let Some(dir) = &self.data_dir {
            flags += &format!(" --data-dir {}", dir.display());
        }
        flags
    }

    fn directory(&self) -> anyhow::Result<PathBuf> {
        let data_dir = self.data_dir.clone().map_or_else(default_data_dir, Ok)?;
        Ok(light_directory(self.coin()?, &data_dir))
    }
}

#[derive(clap::Args)]
struct RunArgs {
    #[command(flatten)]
    at: At,
    /// Call only these peers; they should serve compact filters
    #[arg(long, value_name = "HOST[:PORT]")]
    connect: Vec<String>,
    /// Watch an address, addr(ADDRESS) or raw(HEX of a script); kept for the next time
    #[arg(long, value_name = "ADDRESS")]
    watch: Vec<String>,
    /// Look for what is newly watched from this height on
    #[arg(long, default_value_t = 0, value_name = "HEIGHT")]
    from: Height,
    /// End once everything is up to date
    #[arg(long)]
    once: bool,
}

#[derive(clap::Args)]
struct ProveArgs {
    #[command(flatten)]
    at: At,
    /// The transaction's id
    txid: Txid,
    /// The block it is in, by id or height, for a payment that is not among those found here; fetched from a peer
    #[arg(long, value_name = "BLOCK")]
    block: Option<String>,
    /// Call only these peers for that
    #[arg(long, value_name = "HOST[:PORT]")]
    connect: Vec<String>,
    /// Where to write it, `-` for the terminal [default: TXID.proof.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    at: At,
    /// The proof
    file: PathBuf,
}

/// Where a light client keeps what it has of `coin`.
pub(crate) fn light_directory(coin: &Coin, data_dir: &Path) -> PathBuf {
    data_dir.join(coin.directory()).join("light")
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Payments(at)) => payments(&at),
        Some(Command::Prove(args)) => prove(&args),
        Some(Command::Verify(args)) => verify(&args),
        None => follow(args.run),
    }
}

/// An address, `addr(ADDRESS)` or `raw(HEX)`, the latter two with or without their checksum.
fn script_of(coin: &Coin, text: &str) -> anyhow::Result<ScriptBuf> {
    let body = text.split_once('#').map_or(text, |(body, _)| body);
    let inner = |name: &str| body.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(hex) = inner("raw") {
        return hex::decode(hex)
            .with_context(|| format!("cannot watch {text:?}: raw(...) takes the hex of a script"));
    }
    let address = inner("addr").unwrap_or(body);
    coin.address_to_script(address).with_context(|| {
        format!(
            "cannot watch {text:?}: --watch takes an address of {coin}, addr(ADDRESS) or raw(HEX of a script)"
        )
    })
}

/// Syncs, watches and follows the chain, until told to stop or, with `--once`, until all is done.
fn follow(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (coin, directory) = (args.at.coin()?, args.at.directory()?);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut list = WatchList::open(coin, &directory)?;
    for text in &args.watch {
        list.watch(script_of(coin, text)?, text, args.from)?;
    }
    let mut options = LightOptions::new(coin, &directory);
    options.connect = args.connect;
    runtime::start()?.block_on(async {
        let stop = runtime::asked_to_stop();
        let client = LightClient::start(options).await?;
        list.save()?;
        let began = client.status();
        println!(
            "{coin}: headers up to block {}, {} watched, in {}",
            began.tip.height,
            count(list.len(), "script"),
            directory.display()
        );
        let ended = tokio::select! {
            ended = follow_chain(&client, &mut list, args.once) => ended,
            () = stop => Ok(ExitCode::SUCCESS),
        };
        client.shutdown().await?;
        ended
    })
}

async fn follow_chain(client: &LightClient, list: &mut WatchList, once: bool) -> anyhow::Result<ExitCode> {
    let mut changes = client.subscribe();
    let mut shown = Shown::default();
    let mut doubts = client.status().doubts;
    loop {
        let status = *changes.borrow_and_update();
        shown.show(client, &status);
        if status.doubts != doubts {
            doubts = status.doubts;
            list.rewind(doubts.1);
        }
        client.with_headers(|headers| list.follow(headers));
        let complete = status.synced && scan(client, list, status.tip.height).await?;
        list.save()?;
        if complete {
            shown.complete(client, list, &status);
            if once {
                return Ok(ExitCode::SUCCESS);
            }
        }
        let changed = tokio::time::timeout(ONCE_PATIENCE, changes.changed()).await;
        match changed {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(LightError::Stopped.into()),
            Err(_) if once => bail!(
                "not done: {} connected, {} of them with compact filters, and nothing new for {} s",
                count(status.peers, "peer"),
                status.filter_peers,
                ONCE_PATIENCE.as_secs()
            ),
            Err(_) => {}
        }
    }
}

/// Looks through what is left to look through; false where the chain turned away meanwhile.
async fn scan(client: &LightClient, list: &mut WatchList, tip: Height) -> anyhow::Result<bool> {
    while let Some(stretch) = list.next(tip) {
        let (asking, wanted) = (client.clone(), stretch.clone());
        let read = tokio::task::spawn_blocking(move || {
            let places = asking.matching(wanted.scripts, wanted.from, wanted.to)?;
            let end = asking.block_hash(wanted.to).ok_or(LightError::Gone(wanted.to))?;
            let blocks = places.into_iter().map(|place| Ok((place, asking.block(place.hash)?)));
            Ok((blocks.collect::<Result<Vec<_>, LightError>>()?, Place { height: wanted.to, hash: end }))
        });
        let (blocks, end) = match read.await? {
            Ok(read) => read,
            Err(LightError::Gone(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for (place, block) in blocks {
            for txid in list.take(&block, place) {
                if let Some(found) = list.get(&txid) {
                    println!("{}", line(client.coin(), &txid.to_string(), found, tip));
                }
            }
        }
        list.done(&stretch, end);
        list.save()?;
    }
    Ok(true)
}

/// What was said last, so that only news is said.
#[derive(Default)]
struct Shown {
    left: Vec<(SocketAddr, String)>,
    height: Option<Height>,
    peers: usize,
}

impl Shown {
    fn show(&mut self, client: &LightClient, status: &Status) {
        for left in client.left() {
            let left = (left.address, left.reason);
            if !self.left.contains(&left) {
                println!("left peer {}: {}", left.0, left.1);
                self.left.push(left);
            }
        }
        if status.peers != self.peers {
            self.peers = status.peers;
            println!(
                "{} connected, {} with compact filters",
                count(status.peers, "peer"),
                status.filter_peers
            );
        }
    }

    fn complete(&mut self, client: &LightClient, list: &WatchList, status: &Status) {
        if self.height.replace(status.tip.height) == Some(status.tip.height) {
            return;
        }
        let balance = Amount::from_sat(list.balance());
        let found = count(list.found().count(), "payment");
        println!(
            "up to date at block {} {}: {found}, balance {balance} {}",
            status.tip.height,
            status.tip.hash,
            client.coin().ticker
        );
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One payment in one line.
fn line(coin: &Coin, txid: &str, found: &Found, tip: Height) -> String {
    let change = found.received - found.spent;
    let sign = if change < 0 { '-' } else { '+' };
    let amount = Amount::from_sat(change.abs());
    let confirmations = tip.saturating_sub(found.proof.height) + 1;
    format!(
        "block {:>7}  {confirmations:>6} deep  {sign}{amount} {}  {txid}  {}",
        found.proof.height,
        coin.ticker,
        found.names.join(" ")
    )
}

fn payments(at: &At) -> anyhow::Result<ExitCode> {
    let (coin, directory) = (at.coin()?, at.directory()?);
    let list = WatchList::open(coin, &directory)?;
    if list.is_empty() {
        println!("nothing is watched here; begin with: lode light {} --watch ADDRESS", at.flags());
        return Ok(ExitCode::SUCCESS);
    }
    let tip = read_headers(coin, &directory)?.height();
    let mut all: Vec<_> = list.found().collect();
    all.sort_by_key(|(_, found)| (found.proof.height, found.proof.index));
    for (txid, found) in all {
        println!("{}", line(coin, txid, found, tip));
    }
    println!("balance {} {} at block {tip}", Amount::from_sat(list.balance()), coin.ticker);
    Ok(ExitCode::SUCCESS)
}

fn prove(args: &ProveArgs) -> anyhow::Result<ExitCode> {
    let (coin, directory) = (args.at.coin()?, args.at.directory()?);
    let found = match &args.block {
        Some(block) => fetch_proof(coin, &directory, args, block)?,
        None => {
            let list = WatchList::open(coin, &directory)?;
            let found = list.get(&args.txid).map(|found| found.proof.clone());
            found.with_context(|| {
                format!(
                    "{} is not among the payments found here; say which block it is in with --block",
                    args.txid
                )
            })?
        }
    };
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.proof.json", args.txid)));
    if path.as_os_str() == "-" {
        print!("{}", found.to_json());
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::write(&path, found.to_json()).with_context(|| format!("cannot write {}", path.display()))?;
    println!(
        "{}: transaction {} in block {} at height {}",
        path.display(),
        found.txid,
        found.block,
        found.height
    );
    println!(
        "Whoever has the headers checks it with: lode light verify --coin {} --network {} {}",
        coin.name,
        coin.network,
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Fetches the block and proves from it.
fn fetch_proof(
    coin: &'static Coin,
    directory: &Path,
    args: &ProveArgs,
    block: &str,
) -> anyhow::Result<Proof> {
    let mut options = LightOptions::new(coin, directory);
    options.connect.clone_from(&args.connect);
    runtime::start()?.block_on(async {
        let client = LightClient::start(options).await?;
        let fetched = async {
            client.synced(ONCE_PATIENCE).await.ok_or(LightError::NoPeers)?;
            let hash: BlockHash = match block.parse::<Height>() {
                Ok(height) => client.block_hash(height).ok_or(LightError::Gone(height))?,
                Err(_) => block.parse().with_context(|| format!("{block:?} is no block's id or height"))?,
            };
            let height = client.with_headers(|headers| headers.height_of(&hash));
            let height = height.with_context(|| format!("block {hash} is not in the best chain"))?;
            let asking = client.clone();
            let block = tokio::task::spawn_blocking(move || asking.block(hash)).await??;
            let index = block.transactions.iter().position(|transaction| transaction.txid() == args.txid);
            let index = index.with_context(|| format!("block {hash} has no transaction {}", args.txid))?;
            Proof::new(coin, &block, height, index).context("the transaction is in the block")
        };
        let fetched = fetched.await;
        client.shutdown().await?;
        fetched
    })
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let (coin, directory) = (args.at.coin()?, args.at.directory()?);
    let size =
        std::fs::metadata(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?.len();
    if size > FILE_BYTES_MAX as u64 {
        bail!("{} has {size} bytes: no proof is that long", args.file.display());
    }
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let proof = Proof::read(&bytes)?;
    let headers = read_headers(coin, &directory).with_context(|| {
        format!(
            "there are no headers to check it against; fetch them with `lode light {} --once`",
            args.at.flags()
        )
    })?;
    let shown = proof.verify(&headers)?;
    println!("The proof holds: transaction {} is in block {}.", shown.txid, shown.block);
    for (vout, output) in shown.transaction.outputs.iter().enumerate() {
        let to = coin.script_to_address(&output.script_pubkey);
        let to = to.unwrap_or_else(|| format!("script {}", hex::encode(&output.script_pubkey)));
        println!("  output {vout}: {} {} to {to}", output.value, coin.ticker);
    }
    let tip = headers.height();
    println!(
        "The block is at height {}, {} deep (tip {tip}).",
        shown.height,
        count(shown.confirmations as usize, "block")
    );
    let advice = risk::advice(shown.confirmations);
    println!("To undo it, an attacker who began with the payment succeeds");
    println!("  with a tenth of all hash power  {}", likelihood(advice.tenth));
    println!("  with a third of all hash power  {}", likelihood(advice.third));
    println!("{}", advice.sentence());
    Ok(ExitCode::SUCCESS)
}
