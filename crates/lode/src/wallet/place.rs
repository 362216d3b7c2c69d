//! Where the wallet is, what opens it, and how it reaches the chain: the flags that all wallet commands share.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use lode_coins::Coin;
use lode_node::rpc::client::RpcClient;
use lode_wallet::{Source, Synced, Wallet};
use zeroize::Zeroizing;

use super::embedded::EmbeddedNode;
use super::light::LightSource;
use super::source::RpcSource;
use crate::cli::Login;
use crate::node::default_data_dir;

/// The environment variable that a passphrase may come from.
const PASSPHRASE_VARIABLE: &str = "LODE_WALLET_PASSPHRASE";
/// How the wallet reaches the chain.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Via {
    /// A running node, asked by JSON-RPC
    Node,
    /// A node inside this command, on the data directory (no other may run there)
    Embedded,
    /// The light client, inside this command: headers and filters from several peers
    Light,
}

/// The flags of all wallet commands.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Which coin
    #[arg(long, default_value = "bitcoin", global = true)]
    coin: String,
    /// Which of its networks: main, testnet4, signet, regtest, local
    #[arg(long, default_value = "main", global = true)]
    network: String,
    /// Where the data lies; wallets are DIR/COIN/NETWORK/wallets/NAME.wallet [default: ~/.lode]
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Which wallet
    #[arg(long, short, default_value = "default", value_name = "NAME", global = true)]
    wallet: String,
    /// A file with the wallet's passphrase in its first line [else LODE_WALLET_PASSPHRASE, else it is asked for]
    #[arg(long, value_name = "FILE", global = true)]
    passphrase_file: Option<PathBuf>,
    /// How to reach the chain
    #[arg(long, value_enum, default_value = "node", global = true)]
    via: Via,
    /// With --via light: call only these peers; they should serve compact filters
    #[arg(long, value_name = "HOST[:PORT]", global = true)]
    peer: Vec<String>,
    /// Where the node's RPC listens [default: this machine, the coin's port]
    #[arg(long, value_name = "HOST:PORT", global = true)]
    rpc: Option<String>,
    /// A cookie file elsewhere (a bitcoind's, say)
    #[arg(long, value_name = "FILE", conflicts_with = "rpc_user", global = true)]
    rpc_cookie: Option<PathBuf>,
    /// Log in as this user; the password comes from LODE_RPC_PASSWORD or --rpc-password-file
    #[arg(long, value_name = "USER", global = true)]
    rpc_user: Option<String>,
    /// A file with that user's password in its first line
    #[arg(long, value_name = "FILE", global = true)]
    rpc_password_file: Option<PathBuf>,
    /// Ask no node: what was known at the last look
    #[arg(long, global = true)]
    offline: bool,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// An open wallet with its way to the chain.
pub(super) struct Opened {
    pub(super) wallet: Wallet,
    pub(super) source: Option<Box<dyn Source>>,
}

impl Opened {
    /// The way to the chain, for what cannot be done without.
    pub(super) fn source(&mut self) -> anyhow::Result<(&mut Wallet, &mut dyn Source)> {
        match &mut self.source {
            Some(source) => Ok((&mut self.wallet, source.as_mut())),
            None => bail!("this needs a node; leave --offline out"),
        }
    }
}

impl Place {
    /// The coin and network.
    pub(super) fn coin(&self) -> anyhow::Result<&'static Coin> {
        Ok(lode_coins::find(&self.coin, &self.network)?)
    }

    /// The flags that lead another command to the same wallet, as far as they differ from what is usual; each with a
    /// space before it.
    pub(super) fn flags(&self) -> String {
        let data_dir = self.data_dir.as_ref().map(|dir| dir.display().to_string());
        [
            ("--coin", (self.coin != "bitcoin").then_some(self.coin.as_str())),
            ("--network", (self.network != "main").then_some(self.network.as_str())),
            ("--wallet", (self.wallet != "default").then_some(self.wallet.as_str())),
            ("--data-dir", data_dir.as_deref()),
        ]
        .into_iter()
        .filter_map(|(flag, value)| value.map(|value| format!(" {flag} {value}")))
        .collect()
    }

    /// Where all data lies.
    pub(super) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        self.data_dir.clone().map_or_else(default_data_dir, Ok)
    }

    /// The wallet's name.
    pub(super) fn name(&self) -> &str {
        &self.wallet
    }

    /// The wallet's file.
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.wallet.is_empty() || self.wallet.starts_with('.') || !self.wallet.chars().all(fine) {
            bail!("{:?} is no name for a wallet: letters, digits, '-', '_' and '.' are", self.wallet);
        }
        Ok(wallet_path(&self.data_dir()?, self.coin()?, &self.wallet))
    }

    /// The passphrase of a wallet that is there.
    pub(super) fn passphrase(&self) -> anyhow::Result<Zeroizing<String>> {
        passphrase(self.passphrase_file.as_deref(), &self.wallet)
    }

    /// A passphrase for a new wallet: asked for twice.
    pub(super) fn new_passphrase(&self) -> anyhow::Result<Zeroizing<String>> {
        let passphrase = match given_passphrase(self.passphrase_file.as_deref())? {
            Some(given) => given,
            None => {
                let first = ask_secret(&format!("New passphrase for wallet {}: ", self.wallet))?;
                if *first != *ask_secret("The same again: ")? {
                    bail!("the two differ; nothing was made");
                }
                first
            }
        };
        if passphrase.is_empty() {
            bail!("an empty passphrase protects nothing; choose some words");
        }
        Ok(passphrase)
    }

    /// Opens the wallet, without a look at the chain.
    pub(super) fn open(&self) -> anyhow::Result<Wallet> {
        let (path, coin) = (self.path()?, self.coin()?);
        if !path.exists() {
            bail!(
                "there is no wallet at {}; make one with `lode wallet{} create`, or see `lode wallet list`",
                path.display(),
                self.flags()
            );
        }
        lode_wallet::file::read_header(&path)?;
        Ok(Wallet::open(&path, &self.passphrase()?, coin)?)
    }

    /// Opens the wallet and brings it up to date, to show what is there: without a node it says so and shows what was
    /// known.
    pub(super) fn open_to_look(&self) -> anyhow::Result<Opened> {
        let wallet = self.open()?;
        if self.offline {
            return Ok(Opened { wallet, source: None });
        }
        let mut opened = Opened { wallet, source: None };
        match self.connect().and_then(|mut source| {
            sync(&mut opened.wallet, source.as_mut())?;
            Ok(source)
        }) {
            Ok(source) => opened.source = Some(source),
            Err(error) if error.downcast_ref::<lode_wallet::WalletError>().is_some_and(is_other_chain) => {
                return Err(error);
            }
            Err(error) => {
                let known = opened.wallet.synced_to().map(|block| format!("block {}", block.height));
                let known = known.unwrap_or_else(|| "nothing: it never saw the chain".to_owned());
                eprintln!(
                    "The chain could not be read: {error:#}.\nShown is what was known, up to {known}.\n"
                );
            }
        }
        Ok(opened)
    }

    /// Opens the wallet and brings it up to date, to act on what is there.
    pub(super) fn open_to_act(&self) -> anyhow::Result<Opened> {
        let mut wallet = self.open()?;
        if self.offline {
            return Ok(Opened { wallet, source: None });
        }
        let mut source = self.connect()?;
        sync(&mut wallet, source.as_mut())?;
        Ok(Opened { wallet, source: Some(source) })
    }

    /// The way to the chain.
    pub(super) fn connect(&self) -> anyhow::Result<Box<dyn Source>> {
        let coin = self.coin()?;
        match self.via {
            Via::Node => Ok(Box::new(RpcSource::new(self.client(coin)?, coin)?)),
            Via::Embedded => Ok(Box::new(EmbeddedNode::start(coin, self.data_dir()?)?.source()?)),
            Via::Light => Ok(Box::new(LightSource::start(coin, &self.data_dir()?, &self.peer)?)),
        }
    }

    /// True where no node is to be asked.
    pub(super) const fn offline(&self) -> bool {
        self.offline
    }

    fn client(&self, coin: &Coin) -> anyhow::Result<RpcClient> {
        // A flag that all commands share cannot name another as its condition.
        if self.rpc_password_file.is_some() && self.rpc_user.is_none() {
            bail!("--rpc-password-file without --rpc-user: whose password is it?");
        }
        let login = Login {
            user: self.rpc_user.as_deref(),
            password_file: self.rpc_password_file.as_deref(),
            cookie: self.rpc_cookie.as_deref(),
        };
        login.client(coin, self.rpc.as_deref(), || self.data_dir())
    }
}

/// The passphrase of the wallet `name`: the first line of `file`, else the environment's, else it is asked for.
pub(crate) fn passphrase(file: Option<&Path>, name: &str) -> anyhow::Result<Zeroizing<String>> {
    match given_passphrase(file)? {
        Some(given) => Ok(given),
        None => ask_secret(&format!("Passphrase of wallet {name}: ")),
    }
}

fn given_passphrase(file: Option<&Path>) -> anyhow::Result<Option<Zeroizing<String>>> {
    let Some(file) = file else {
        return Ok(std::env::var(PASSPHRASE_VARIABLE).ok().map(Zeroizing::new));
    };
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read the passphrase file {}", file.display()))?;
    Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
}

fn is_other_chain(error: &lode_wallet::WalletError) -> bool {
    matches!(error, lode_wallet::WalletError::OtherChain { .. })
}

/// Where a coin's wallets are.
pub(super) fn wallets_directory(data_dir: &Path, coin: &Coin) -> PathBuf {
    data_dir.join(coin.directory()).join("wallets")
}

/// The file of the wallet `name`.
pub(crate) fn wallet_path(data_dir: &Path, coin: &Coin, name: &str) -> PathBuf {
    wallets_directory(data_dir, coin).join(format!("{name}.wallet"))
}

/// Brings the wallet up to date and saves it; shows how far it is while that takes long on a terminal. What was read
/// before a failure is kept.
pub(crate) fn sync(wallet: &mut Wallet, source: &mut dyn Source) -> anyhow::Result<Synced> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:30} reading block {pos} of {len} ({percent} %)");
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    });
    let synced = wallet.sync(source, &mut |at| {
        if let Some(bar) = &bar {
            bar.set_length(at.tip.into());
            bar.set_position(at.height.into());
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    wallet.save()?;
    Ok(synced?)
}

/// Asks on the terminal, without showing what is typed.
pub(super) fn ask_secret(question: &str) -> anyhow::Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask for the passphrase: set {PASSPHRASE_VARIABLE} or give --passphrase-file");
    }
    Ok(Zeroizing::new(rpassword::prompt_password(question)?))
}

/// Asks for a yes on the terminal.
pub(super) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("no terminal to ask on; nothing was done. Give --yes to go on without being asked");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
