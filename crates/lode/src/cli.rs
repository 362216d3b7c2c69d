//! `lode cli`: one JSON-RPC call to a node, this program's or any other that speaks bitcoind's JSON-RPC.

use std::path::PathBuf;
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
        let auth = match &self.rpc_user {
            Some(user) => {
                let password = read_password(self.rpc_password_file.as_deref())?.context(
                    "--rpc-user needs a password: set LODE_RPC_PASSWORD or give --rpc-password-file",
                )?;
                RpcAuth::User(Credentials { user: user.clone(), password })
            }
            None => RpcAuth::Cookie(match &self.rpc_cookie {
                Some(file) => file.clone(),
                None => {
                    let dir = self.data_dir.clone().map_or_else(default_data_dir, Ok)?;
                    dir.join(coin.directory()).join(".cookie")
                }
            }),
        };
        let address = self.rpc.clone().unwrap_or_else(|| format!("127.0.0.1:{}", coin.rpc_port));
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
