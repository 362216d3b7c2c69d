//! `lode mine`: its flags and what it shows. The binary flattens [`MineArgs`] in and calls [`run`].

use std::future::Future;
use std::io::Write as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use lode_pow::PowAlgorithm;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use crate::event::HashRate;
use crate::{Event, Miner, MinerConfig, MinerError, PoolUrl, Snapshot, WorkUrl, benchmark};

/// Between two status lines.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// What `lode mine` takes. The short flags are those of other CPU miners.
#[derive(Clone, Debug, clap::Args)]
pub struct MineArgs {
    /// The pool: stratum+tcp://HOST:PORT, or stratum+ssl:// where it is to be encrypted; or a node to mine alone with: http://USER:PASSWORD@HOST:PORT
    #[arg(short = 'o', long, value_name = "URL", required_unless_present = "benchmark")]
    pub url: Option<WorkUrl>,
    /// User name; at Lode's pool the address to be paid, a dot, and a name for this machine
    #[arg(short = 'u', long, value_name = "ADDRESS.WORKER")]
    pub user: Option<String>,
    /// Mining alone: the address that blocks pay
    #[arg(long, value_name = "ADDRESS")]
    pub coinbase_addr: Option<String>,
    /// Mining alone: the node's cookie file, in place of user and password in the URL
    #[arg(long, value_name = "FILE")]
    pub rpc_cookie: Option<PathBuf>,
    /// Password; Lode's pool reads a start difficulty from it (`d=0.01`) and else ignores it
    #[arg(short = 'p', long, alias = "pass", value_name = "TEXT", default_value = "x")]
    pub password: String,
    /// What to search with: sha256d, scrypt or prime
    #[arg(short = 'a', long, value_name = "ALGORITHM", default_value = "sha256d")]
    pub algo: PowAlgorithm,
    /// Search threads [default: as many as there are cores]
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Option<NonZero<usize>>,
    /// Percent of a core that each thread may use
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub cpu: u8,
    /// Share difficulty to ask the pool for; on prime chains a length in primes, such as 6.5
    #[arg(long, value_name = "DIFFICULTY", value_parser = parse_difficulty)]
    pub suggest_difficulty: Option<f64>,
    /// Connections to try in a row before giving up [default: never give up]
    #[arg(short = 'r', long, value_name = "N")]
    pub retries: Option<u32>,
    /// Longest pause between two tries, in seconds; the first is one second, each further one twice as long
    #[arg(short = 'R', long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_pause: u64,
    /// Show only the status lines and what went wrong
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Print one JSON object per line instead of text
    #[arg(long)]
    pub json: bool,
    /// Measure every kernel this processor can run, without a pool, and exit
    #[arg(long)]
    pub benchmark: bool,
}

/// Why `lode mine` ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum MineError {
    /// No pool, or no user for it.
    #[error("a pool (-o) and a user name (-u) are needed to mine")]
    NoUser,
    /// No address to be paid.
    #[error("mining alone needs an address to be paid: --coinbase-addr")]
    NoAddress,
    /// The cookie file cannot be read.
    #[error("the node's cookie {path}: {error}")]
    Cookie {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The miner did not start or gave up.
    #[error(transparent)]
    Miner(#[from] MinerError),
}

fn parse_difficulty(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(difficulty) if difficulty.is_finite() && difficulty > 0.0 => Ok(difficulty),
        _ => Err("a difficulty is a number above 0".into()),
    }
}

impl MineArgs {
    /// What these flags ask for of any miner, with this pool and user.
    fn config(&self, url: PoolUrl, user: &str) -> MinerConfig {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut config = MinerConfig::new(url, user, self.algo);
        config.password.clone_from(&self.password);
        config.threads = self.threads.map_or_else(cores, NonZero::get);
        config.cpu_percent = self.cpu;
        config.suggest_difficulty = self.suggest_difficulty;
        config.retries = self.retries;
        config.retry_pause_max = Duration::from_secs(self.retry_pause.max(1));
        config
    }

    /// Starts the miner these flags ask for.
    fn start(&self) -> Result<Miner, MineError> {
        match &self.url {
            None => Err(MineError::NoUser),
            Some(WorkUrl::Pool(pool)) => {
                let user = self.user.as_deref().ok_or(MineError::NoUser)?;
                Ok(Miner::start(self.config(pool.clone(), user))?)
            }
            Some(WorkUrl::Node(node)) => {
                let address = self.coinbase_addr.clone().ok_or(MineError::NoAddress)?;
                let mut node = node.clone();
                if let Some(path) = &self.rpc_cookie {
                    let cookie = std::fs::read_to_string(path)
                        .map_err(|error| MineError::Cookie { path: path.clone(), error })?;
                    node = node.with_credentials(cookie.trim());
                }
                let unused = PoolUrl::new(node.host(), node.port());
                Ok(Miner::start_solo(self.config(unused, ""), node, address)?)
            }
        }
    }
}

/// Mines until `shutdown` is ready (Ctrl-C) or the miner gives up, printing to standard output; ends with a summary.
pub async fn run(args: MineArgs, shutdown: impl Future<Output = ()>) -> Result<(), MineError> {
    let mut shutdown = pin!(shutdown);
    let printer = Printer { json: args.json, quiet: args.quiet };
    if args.benchmark {
        let threads = args.threads.map_or(1, NonZero::get);
        tokio::select! {
            () = benchmark::run(args.algo, threads, args.json) => {}
            () = &mut shutdown => {}
        }
        return Ok(());
    }
    let start = Instant::now();
    let mut miner = args.start()?;
    let mut events = miner.events();
    let mut status = interval(STATUS_EVERY);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, before there is anything to show.
    status.tick().await;
    let result = loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => printer.print(&event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break miner.ended().await,
            },
            ended = miner.ended() => break ended,
            _ = status.tick() => printer.print(&Event::Status(miner.snapshot())),
            () = &mut shutdown => break Ok(()),
        }
    };
    let last = miner.stop().await;
    printer.summary(&last, start.elapsed());
    Ok(result?)
}

struct Printer {
    json: bool,
    quiet: bool,
}

impl Printer {
    fn print(&self, event: &Event) {
        let minor = matches!(event, Event::Job { .. } | Event::Accepted { .. } | Event::Connected { .. });
        if self.quiet && minor {
            return;
        }
        if self.json {
            line(&serde_json::to_string(event).unwrap_or_default());
        } else {
            line(&event.to_string());
        }
    }

    fn summary(&self, last: &Snapshot, ran: Duration) {
        let seconds = ran.as_secs_f64().max(f64::EPSILON);
        if self.json {
            let summary = serde_json::json!({ "event": "summary", "seconds": seconds, "counters": last });
            line(&summary.to_string());
            return;
        }
        line(&format!(
            "mined for {seconds:.0} s at {} on average: {} shares accepted (difficulty {:.3} in all), {} refused, {} lost",
            HashRate(last.hashes as f64 / seconds, last.counted),
            last.accepted,
            last.credited_difficulty,
            last.refused,
            last.lost,
        ));
    }
}

/// One line on standard output. A reader that went away is no reason to stop mining.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        mine: MineArgs,
    }

    fn parse(flags: &str) -> Result<MineArgs, clap::Error> {
        Program::try_parse_from(std::iter::once("mine").chain(flags.split(' '))).map(|program| program.mine)
    }

    #[test]
    fn other_miners_flags() {
        let args =
            parse("-o stratum+tcp://pool:3333 -u addr.rig -p x -t 3 -a scrypt -r 5 -R 7 -q --json").unwrap();
        assert_eq!(args.url, Some(WorkUrl::Pool(PoolUrl::new("pool", 3333))));
        let config = args.config(PoolUrl::new("pool", 3333), "addr.rig");
        assert_eq!((config.threads, config.algorithm, config.retries), (3, PowAlgorithm::Scrypt, Some(5)));
        assert_eq!(config.retry_pause_max, Duration::from_secs(7));
        assert!(args.quiet && args.json);
        assert!(parse("--url tcp://pool:1 --user a --pass y --algo sha256d --threads 1").is_ok());
        assert!(parse("--benchmark").is_ok());
        let alone = parse("-o http://me:secret@node:8332 --coinbase-addr bc1q").unwrap();
        assert!(matches!(alone.url, Some(WorkUrl::Node(_))));
        let missing = parse("-o http://node:8332").unwrap().start();
        assert!(matches!(missing, Err(MineError::NoAddress)));
        assert!(matches!(parse("-o pool:1").unwrap().start(), Err(MineError::NoUser)));
    }

    #[test]
    fn wrong_flags_are_said() {
        for flags in [
            "-u a",
            "-o pool -u a",
            "-o pool:1 -u a -t 0",
            "-o pool:1 -u a -a x11",
            "-o pool:1 -u a --cpu 0",
            "-o pool:1 -u a --suggest-difficulty -1",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
    }
}
