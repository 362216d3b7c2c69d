//! `lode cli`: one JSON-RPC call to a node, this program's or any other that speaks bitcoind's JSON-RPC.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use lode_coins::Coin;
use lode_node::rpc::client::{RpcAuth, RpcClient, RpcClientError};
use lode_node::rpc::{Credentials, from_words, method_args};
use serde_json::Value;

use crate::node::{default_data_dir, read_password};

/// Which node to ask, and how to log in.
#[derive(clap::Args)]
pub(crate) struct NodeArgs {
    /// Which coin's node
    #[arg(long, default_value = "bitcoin")]
    coin: String,
    /// Which of its networks: main, testnet4, signet, regtest, local
    #[arg(long, default_value = "main")]
    network: String,
    /// The node's data directory; its cookie is DIR/COIN/NETWORK/.cookie
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the node's RPC listens [default: this machine, the coin's port]
    #[arg(long, value_name = "HOST:PORT")]
    rpc: Option<String>,
    /// A cookie file elsewhere (a bitcoind's, say)
    #[arg(long, value_name = "FILE", conflicts_with = "rpc_user")]
    rpc_cookie: Option<PathBuf>,
    /// Log in as this user; the password comes from LODE_RPC_PASSWORD or --rpc-password-file
    #[arg(long, value_name = "USER")]
    rpc_user: Option<String>,
    /// A file with the password in its first line
    #[arg(long, value_name = "FILE", requires = "rpc_user")]
    rpc_password_file: Option<PathBuf>,
}

impl NodeArgs {
    /// The coin and network.
    pub(crate) fn coin(&self) -> anyhow::Result<&'static Coin> {
        Ok(lode_coins::find(&self.coin, &self.network)?)
    }

    /// Where all data lies.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        self.data_dir.clone().map_or_else(default_data_dir, Ok)
    }

    /// The flags that lead another command to the same node, but for who asks.
    pub(crate) fn flags(&self, coin: &Coin) -> String {
        let mut flags = format!("--coin {} --network {}", coin.name, coin.network);
        if let Some(dir) = &self.data_dir {
            flags += &format!(" --data-dir {}", dir.display());
        }
        if let Some(rpc) = &self.rpc {
            flags += &format!(" --rpc {rpc}");
        }
        flags
    }

    /// A client for the node.
    pub(crate) fn client(&self) -> anyhow::Result<RpcClient> {
        let coin = self.coin()?;
        let login = Login {
            user: self.rpc_user.as_deref(),
            password_file: self.rpc_password_file.as_deref(),
            cookie: self.rpc_cookie.as_deref(),
        };
        login.client(coin, self.rpc.as_deref(), || self.data_dir())
    }
}

/// Who asks a node, from the flags.
pub(crate) struct Login<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) cookie: Option<&'a Path>,
}

impl Login<'_> {
    /// A client for the node at `rpc`; without an address that is this machine and the coin's port. Without a user it logs in
    /// with the cookie, by default the one under `data_dir`.
    pub(crate) fn client(
        &self,
        coin: &Coin,
        rpc: Option<&str>,
        data_dir: impl FnOnce() -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<RpcClient> {
        let auth = match self.user {
            Some(user) => {
                let password = read_password(self.password_file)?.context(
                    "--rpc-user needs a password: set LODE_RPC_PASSWORD or give --rpc-password-file",
                )?;
                RpcAuth::User(Credentials { user: user.to_owned(), password })
            }
            None => RpcAuth::Cookie(match self.cookie {
                Some(file) => file.to_owned(),
                None => data_dir()?.join(coin.directory()).join(".cookie"),
            }),
        };
        let address = rpc.map_or_else(|| format!("127.0.0.1:{}", coin.rpc_port), str::to_owned);
        Ok(RpcClient::new(&address, auth)?)
    }
}

/// What `lode cli` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// Parameters are NAME=VALUE
    #[arg(long)]
    named: bool,
    /// Seconds to wait for the answer
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    timeout: u64,
    /// The method; `help` lists them all
    #[arg(default_value = "help")]
    method: String,
    /// Its parameters: text as it is, all else as JSON
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    params: Vec<String>,
}

/// Makes the call and prints its answer. The exit code of a refused call is its error code without the sign.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.node.client()?;
    let params =
        from_words(method_args(&args.method), &args.params, args.named).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let called =
        runtime.block_on(client.call_within(&args.method, params, Duration::from_secs(args.timeout)));
    match called {
        Ok(Value::Null) => Ok(ExitCode::SUCCESS),
        Ok(Value::String(text)) => {
            println!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(value) => {
            println!("{}", serde_json::to_string_pretty(&value)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(RpcClientError::Rpc(error)) => {
            eprintln!("error code: {}\nerror message:\n{}", error.code, error.message);
            Ok(ExitCode::from(u8::try_from(error.code.unsigned_abs()).unwrap_or(1)))
        }
        Err(error) => Err(error.into()),
    }
}
