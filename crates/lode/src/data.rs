//! `lode data`: puts a file into a transaction of a coin that carries data, and gets it back. A node is asked by
//! JSON-RPC; the key and the signing stay here.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use lode_coins::Coin;
use lode_node::rpc::client::{RpcClient, RpcClientError};
use lode_node::rpc::code;
use lode_primitives::{
    Amount, Decode, Encode, OutPoint, SEQUENCE_FINAL, Transaction, TxIn, TxOut, Txid, Witness, hash160,
    sha256,
};
use lode_script::{SighashType, TxSighashes, build, sign};
use secp256k1::{SECP256K1, SecretKey};
use serde_json::{Value, json};

use crate::cli::NodeArgs;

/// Bytes of a signed input's script at most: a signature of 72 with its type, a key of 33, a length before each.
const SCRIPT_SIG_BYTES: usize = 107;
/// Inputs of one transaction at most: each adds 148 bytes, and a standard transaction has an end.
const MAX_INPUTS: usize = 500;

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
    /// A file with the paying private key (WIF) in its first line [default: the key in LODE_KEY]
    #[arg(long, value_name = "KEYFILE")]
    from: Option<PathBuf>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.command {
        Command::Put(put) => runtime.block_on(self::put(&put)),
        Command::Get(get) => runtime.block_on(self::get(&get)),
    }
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

async fn put(args: &Put) -> anyhow::Result<ExitCode> {
    let coin = data_coin(&args.node)?;
    // Its size is looked at before anything else: nothing is asked, chosen or signed for a file that cannot go in.
    let data = read_data(&args.file, coin.max_data)?;
    let key = read_key(coin, args.from.as_deref())?;
    let client = args.node.client()?;
    let script = build::p2pkh(&hash160(&key.public_key(SECP256K1).serialize()));
    let address = coin.script_to_address(&script).context("a key has an address")?;
    let checksum = hex::encode(sha256(&data));
    let size = data.len();

    let coins = spendable(&client, coin, &address).await?;
    let plan =
        Plan::choose(coin, &script, data, coins).with_context(|| format!("cannot pay from {address}"))?;
    eprintln!("{}: {size} bytes, sha256 {checksum}", args.file.display());
    eprintln!(
        "fee {} {} for a transaction of {} bytes, from {address}; {} {} come back as change",
        plan.fee, coin.ticker, plan.size, plan.change, coin.ticker
    );
    eprintln!("What is put into the chain stays there for good, and everybody can read it.");
    if !args.yes && !confirmed()? {
        eprintln!("Nothing was signed or sent.");
        return Ok(ExitCode::FAILURE);
    }
    let tx = plan.sign(&key)?;
    let txid = tx.txid();
    let sent = client.call("sendrawtransaction", json!([hex::encode(tx.to_bytes())])).await?;
    ensure!(
        sent.as_str() == Some(&txid.to_string()),
        "the node took the transaction as {sent}, not as {txid}"
    );
    eprintln!("Sent, sha256 {checksum}; in the chain with the next block. To get it back:");
    eprintln!("  lode data get {txid} {}", args.node.flags(coin));
    println!("{txid}");
    Ok(ExitCode::SUCCESS)
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

/// The paying key: the first line of `file`, else `LODE_KEY`. It is never a flag, which every user of the machine could read.
fn read_key(coin: &Coin, file: Option<&Path>) -> anyhow::Result<SecretKey> {
    let text = match file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read the key file {}", file.display()))?
        }
        None => std::env::var("LODE_KEY")
            .ok()
            .context("who pays? Give --from KEYFILE, a file with a private key (WIF) in its first line, or set LODE_KEY")?,
    };
    let from = file.map_or("LODE_KEY".to_owned(), |file| file.display().to_string());
    let key = coin
        .decode_wif(text.lines().next().unwrap_or_default().trim())
        .with_context(|| format!("{from} does not begin with a private key of {coin}"))?;
    Ok(SecretKey::from_slice(&key)?)
}

/// An output of the paying key.
struct Spendable {
    outpoint: OutPoint,
    value: Amount,
}

/// What the address can spend now, the largest first: mature, and not spent in the mempool.
async fn spendable(client: &RpcClient, coin: &Coin, address: &str) -> anyhow::Result<Vec<Spendable>> {
    let found = client.call("scantxoutset", json!(["start", [format!("addr({address})")]])).await?;
    let tip = found["height"].as_u64().context("the node's scan gives no height")?;
    let mut coins = Vec::new();
    for entry in found["unspents"].as_array().into_iter().flatten() {
        let (txid, vout) = (entry["txid"].as_str(), entry["vout"].as_u64());
        let (Some(txid), Some(vout)) = (txid, vout) else {
            bail!("the node's scan gives an output without a place")
        };
        // 0.16's answers do not say what a coinbase is; `gettxout` does, and knows the mempool.
        let output = client.call("gettxout", json!([txid, vout, true])).await?;
        let Some(value) = output.get("value") else { continue };
        let depth = entry["height"].as_u64().map_or(0, |height| tip + 1 - height);
        if output["coinbase"] == true && depth < u64::from(coin.coinbase_maturity) {
            continue;
        }
        let outpoint = OutPoint { txid: txid.parse()?, vout: u32::try_from(vout)? };
        coins.push(Spendable { outpoint, value: value.to_string().parse()? });
    }
    coins.sort_by_key(|coin| std::cmp::Reverse(coin.value.to_sat()));
    Ok(coins)
}

/// A transaction that only wants signatures.
struct Plan {
    tx: Transaction,
    spent: Vec<TxOut>,
    fee: Amount,
    change: Amount,
    size: usize,
}

impl Plan {
    /// As few of `coins` as pay for the data, with change to `script`.
    fn choose(coin: &Coin, script: &[u8], data: Vec<u8>, coins: Vec<Spendable>) -> anyhow::Result<Self> {
        let mut tx = Transaction {
            version: 1,
            inputs: Vec::new(),
            outputs: vec![TxOut { value: Amount::ZERO, script_pubkey: script.to_vec() }],
            lock_time: 0,
            data: Some(data),
        };
        let (mut spent, mut total, mut least) = (Vec::new(), Amount::ZERO, Amount::ZERO);
        let available = coins.len();
        ensure!(
            available > 0,
            "it has nothing to spend now; what it mined can be spent {} blocks later, change once it is mined",
            coin.coinbase_maturity
        );
        for from in coins.into_iter().take(MAX_INPUTS) {
            tx.inputs.push(TxIn {
                prevout: from.outpoint,
                script_sig: vec![0; SCRIPT_SIG_BYTES],
                sequence: SEQUENCE_FINAL,
                witness: Witness::default(),
            });
            total = total.checked_add(from.value).context("more than there can be")?;
            spent.push(TxOut { value: from.value, script_pubkey: script.to_vec() });
            let size = tx.total_size();
            least = coin.least_fee(size);
            let Some(change) = total.checked_sub(least).filter(|change| *change >= coin.min_output) else {
                continue;
            };
            tx.outputs[0].value = change;
            return Ok(Self { tx, spent, fee: least, change, size });
        }
        bail!(
            "it has {total} {ticker} to spend in {available} outputs; the fee alone is {least} {ticker}, and change must be {} at least",
            coin.min_output,
            ticker = coin.ticker
        )
    }

    fn sign(mut self, key: &SecretKey) -> anyhow::Result<Transaction> {
        let unsigned = self.tx.clone();
        let sighashes = TxSighashes::new(&unsigned, &self.spent);
        for (index, input) in self.tx.inputs.iter_mut().enumerate() {
            (input.script_sig, input.witness) = sign::input(&sighashes, index, key, SighashType::ALL)?;
        }
        Ok(self.tx)
    }
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
