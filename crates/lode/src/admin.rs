//! `lode admin`: what an operator asks of a running pool, over a unix socket in its directory that only its own user may open.
//!
//! One line of JSON goes each way: an [`Order`], and its answer or `{"error": ...}`. `lode admin` prints answers as plain
//! tables, or as they are with `--json`.

mod serve;
mod show;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings::{Overrides, Settings};

pub(crate) use serve::serve;

/// The socket's name in the pool's directory.
const SOCKET: &str = "admin.sock";
/// Longest order and longest answer, in bytes: twenty thousand connections are some 6 MB.
const ORDER_MAX: u64 = 16 * 1024;
const ANSWER_MAX: u64 = 64 * 1024 * 1024;
/// A busy pool answers in milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What `lode admin` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The settings file of the pool that is meant
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print the answer as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// The pool's socket, where it is not that of the settings
    #[arg(long, value_name = "FILE", global = true)]
    socket: Option<PathBuf>,
    /// The pool's coin, where no settings file says so
    #[arg(long, global = true)]
    coin: Option<String>,
    /// Its network
    #[arg(long, global = true)]
    network: Option<String>,
    /// Its data directory
    #[arg(long, env = "LODE_DATA_DIR", value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    #[command(subcommand)]
    order: Order,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// How it stands: connections, shares, limits
    Status,
    /// Who is connected
    Who {
        /// Only this account (ADDRESS) or worker (ADDRESS.WORKER)
        who: Option<String>,
        /// Connections to print at most, those that sent most first
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Which address blocks sent most in the last ten minutes
    Top {
        /// Blocks to print at most
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Which bans are in force
    Bans,
    /// Ban a network, and close its connections
    Ban {
        /// ADDRESS or NETWORK/BITS
        #[arg(value_name = "NETWORK")]
        block: String,
        /// For so long
        #[arg(long, default_value_t = 1440)]
        minutes: u64,
    },
    /// End the bans of a network and of all addresses in it
    Unban {
        /// ADDRESS or NETWORK/BITS
        #[arg(value_name = "NETWORK")]
        block: String,
    },
    /// Why an address is turned away, or a miner's requests are refused
    Why {
        /// An IP address, an account (ADDRESS) or a worker (ADDRESS.WORKER)
        who: String,
    },
    /// Set a miner's difficulty from its next job on
    Difficulty {
        /// An account (ADDRESS) or a worker (ADDRESS.WORKER)
        who: String,
        /// The difficulty; without one it is adjusted again
        difficulty: Option<f64>,
    },
    /// Take no new connections, before a restart; those that are there stay
    Drain {
        /// Take new connections again
        #[arg(long)]
        off: bool,
    },
}

/// Asks, and prints the answer.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        None => {
            let mut overrides = Overrides::default();
            for (key, value) in [("coin", &args.coin), ("network", &args.network)] {
                if let Some(value) = value {
                    overrides.set(key, toml::Value::String(value.clone()));
                }
            }
            if let Some(directory) = &args.data_dir {
                overrides.set("data_dir", toml::Value::String(directory.display().to_string()));
            }
            Settings::load(args.config.as_deref(), &overrides)?.pool_directory()?.join(SOCKET)
        }
    };
    let answer = ask(&socket, &args.order)?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    if args.json {
        println!("{answer}");
    } else {
        print!("{}", show::show(&args.order, &answer));
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(socket: &std::path::Path, order: &Order) -> anyhow::Result<Value> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("no pool answers at {shown}: is it running, and is this its --config?"))?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    let mut reader = BufReader::new(std::io::Read::take(stream, ANSWER_MAX));
    reader.read_line(&mut answer).with_context(|| format!("the pool at {shown} does not answer"))?;
    serde_json::from_str(&answer).with_context(|| format!("the pool at {shown} gave no answer"))
}
