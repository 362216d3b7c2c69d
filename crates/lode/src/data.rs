//! `lode data`: puts a file into a transaction of a coin that carries data, and gets it back. A node is asked by
//! JSON-RPC; keys and signing stay here.

mod key;
mod wallet;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use lode_coins::Coin;
use lode_node::rpc::client::RpcClientError;
use lode_node::rpc::code;
use lode_primitives::{Amount, Decode, Transaction, Txid, sha256};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::key::KeyPurse;
use self::wallet::WalletPurse;
use crate::cli::NodeArgs;
use crate::wallet::wallet_path;

/// What `lode data` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Put a file into the chain, for good and for all to see
    Put(Put),
    /// Get a file back by its transaction's id
    Get(Get),
}

#[derive(clap::Args)]
struct Put {
    /// The file
    file: PathBuf,
    /// Who pays: a wallet's name or file, or a file with a private key (WIF) in its first line [default: the key in LODE_KEY]
    #[arg(long, value_name = "WALLET|KEYFILE")]
    from: Option<String>,
    /// A file with the wallet's passphrase in its first line [else LODE_WALLET_PASSPHRASE, else it is asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Pay the fee without being asked
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(clap::Args)]
struct Get {
    /// The transaction's id
    txid: String,
    /// Where to write the data; an existing file is left alone [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Put(put) => self::put(&put),
        Command::Get(get) => runtime()?.block_on(self::get(&get)),
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The coin asked for, where its transactions carry data.
fn data_coin(node: &NodeArgs) -> anyhow::Result<&'static Coin> {
    let coin = node.coin()?;
    let carrying = || {
        let names: Vec<&str> =
            lode_coins::COINS.iter().filter(|coin| coin.form.data).map(|coin| coin.name).collect();
        names.first().copied().unwrap_or("none").to_owned()
    };
    ensure!(coin.form.data, "transactions of {coin} carry no data: give --coin {}", carrying());
    Ok(coin)
}

/// Who pays.
trait Purse {
    /// Chooses what is spent; nothing is signed yet.
    fn plan(&mut self, data: Vec<u8>) -> anyhow::Result<Offer>;

    /// Signs what was planned and sends it.
    fn pay(&mut self) -> anyhow::Result<Txid>;
}

/// What carrying a file costs.
struct Offer {
    /// Who pays, for people.
    from: String,
    fee: Amount,
    change: Amount,
    /// Of the signed transaction at most, bytes.
    size: usize,
}

fn put(args: &Put) -> anyhow::Result<ExitCode> {
    let coin = data_coin(&args.node)?;
    // Its size is looked at before anything else: nothing is asked, chosen or signed for a file that cannot go in.
    let data = read_data(&args.file, coin.max_data)?;
    let mut purse = purse(args, coin)?;
    let (size, checksum) = (data.len(), hex::encode(sha256(&data)));
    let offer = purse.plan(data)?;
    eprintln!("{}: {size} bytes, sha256 {checksum}", args.file.display());
    eprintln!(
        "fee {} {} for a transaction of {} bytes, from {}; {} {} come back as change",
        offer.fee, coin.ticker, offer.size, offer.from, offer.change, coin.ticker
    );
    eprintln!("What is put into the chain stays there for good, and everybody can read it.");
    if !args.yes && !confirmed()? {
        eprintln!("Nothing was signed or sent.");
        return Ok(ExitCode::FAILURE);
    }
    let txid = purse.pay()?;
    eprintln!("Sent, sha256 {checksum}; in the chain with the next block. To get it back:");
    eprintln!("  lode data get {txid} {}", args.node.flags(coin));
    println!("{txid}");
    Ok(ExitCode::SUCCESS)
}

/// The wallet or the key that `--from` names; the key in `LODE_KEY` where it names none.
fn purse(args: &Put, coin: &'static Coin) -> anyhow::Result<Box<dyn Purse>> {
    let Some(from) = &args.from else {
        let text = std::env::var("LODE_KEY").ok().context(
            "who pays? Give --from WALLET, or --from KEYFILE with a private key (WIF) in its first line, or set LODE_KEY",
        )?;
        return Ok(Box::new(KeyPurse::new(coin, &text, "LODE_KEY", args.node.client()?)?));
    };
    let file = Path::new(from);
    let named = from.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    let wallet = wallet_path(&args.node.data_dir()?, coin, from);
    let wallet = match named && wallet.exists() {
        true if file.exists() => bail!("{from} is a wallet and a file here: say ./{from} for the file"),
        true => wallet,
        // A wallet's own file may be named too.
        false if lode_wallet::file::read_header(file).is_ok() => file.to_owned(),
        false => {
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("there is no wallet {from} of {coin}, and the key file {from} cannot be read")
            })?;
            return Ok(Box::new(KeyPurse::new(coin, &text, from, args.node.client()?)?));
        }
    };
    Ok(Box::new(WalletPurse::open(coin, &wallet, args.passphrase_file.as_deref(), args.node.client()?)?))
}

/// The file, where it is not longer than a transaction carries; its size is known before it is read.
fn read_data(file: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("cannot read {}", file.display());
    let size = std::fs::metadata(file).with_context(unreadable)?.len();
    ensure!(
        size <= max as u64,
        "{} has {size} bytes; a transaction carries at most {max}: nothing was signed",
        file.display()
    );
    ensure!(size > 0, "{} is empty", file.display());
    let data = std::fs::read(file).with_context(unreadable)?;
    ensure!(data.len() <= max, "{} grew while it was read, to {} bytes", file.display(), data.len());
    Ok(data)
}

/// Asks at the terminal. Where there is none the answer is no.
fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        eprintln!("Not asked, as there is no terminal: give --yes to pay.");
        return Ok(false);
    }
    eprint!("Pay and send? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn get(args: &Get) -> anyhow::Result<ExitCode> {
    let coin = data_coin(&args.node)?;
    let txid: Txid = args.txid.parse().with_context(|| format!("{:?} is no transaction id", args.txid))?;
    if let Some(out) = args.out.as_ref().filter(|out| out.exists()) {
        bail!("{} is there already and is left alone: give another --out", out.display());
    }
    let client = args.node.client()?;
    let answer = match client.call("getrawtransaction", json!([args.txid, 0])).await {
        Err(RpcClientError::Rpc(error)) if error.code == code::INVALID_ADDRESS_OR_KEY => {
            bail!("the node finds no transaction {txid} with data, neither waiting nor in its chain")
        }
        answer => answer?,
    };
    let Value::String(text) = &answer else { bail!("the node's answer is no hex") };
    let tx = Transaction::from_bytes(&hex::decode(text)?, coin.form)
        .context("the node's answer is no transaction")?;
    // The id is a hash over the data too: what the node gave is what was put in.
    ensure!(tx.txid() == txid, "the node gave another transaction than {txid}");
    let data = tx.data.unwrap_or_default();
    ensure!(!data.is_empty(), "{txid} carries no data");
    match &args.out {
        Some(file) => {
            let mut out =
                std::fs::File::create_new(file).with_context(|| format!("cannot make {}", file.display()))?;
            out.write_all(&data)?;
            out.sync_all()?;
        }
        // Strangers wrote it: what would steer a terminal is not text.
        None if std::io::stdout().is_terminal() && !is_text(&data) => {
            bail!("{} bytes that are no text: give --out FILE", data.len());
        }
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(&data)?;
            if out.is_terminal() && !data.ends_with(b"\n") {
                writeln!(out)?;
            }
            out.flush()?;
        }
    }
    eprintln!("{} bytes, sha256 {}", data.len(), hex::encode(sha256(&data)));
    Ok(ExitCode::SUCCESS)
}

/// UTF-8 without control characters other than those that part lines and words.
fn is_text(data: &[u8]) -> bool {
    let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    std::str::from_utf8(data).is_ok_and(|text| text.chars().all(plain))
}
