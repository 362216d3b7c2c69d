//! The `lode` program: command line, config, wiring, progress and exit. Each command is a module of its own with an
//! `Args` struct and a `run`; this file only says which there are.

mod admin;
mod cli;
mod config;
mod dashboard;
mod data;
mod light;
mod load;
mod log;
mod logging;
mod mine;
mod node;
mod pool;
mod risk;
mod runtime;
mod settings;
mod stack;
mod sync;
mod up;
mod wallet;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Proof-of-work electronic cash in one program: a node, a wallet, a miner, and a mining pool that never holds its miners'
/// money.
#[derive(Parser)]
#[command(name = "lode", version, propagate_version = true, arg_required_else_help = true)]
struct Lode {
    #[command(flatten)]
    logging: logging::Args,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play the whole story on this machine: a node, a pool, two miners, a dashboard
    Up(up::Args),
    /// Run a pool, on the embedded node or on nodes of your own
    Pool(pool::Args),
    /// Run a full node
    Node(node::Args),
    /// Run a light client: headers, own payments, payment proofs
    Light(light::Args),
    /// Say what an attacker could do to a payment
    Risk(risk::Args),
    /// Mine on the CPU for any Stratum pool
    Mine(lode_miner::MineArgs),
    /// Ask a node by JSON-RPC
    Cli(cli::Args),
    /// Ask a running pool who is connected, ban, unban, set difficulties
    Admin(admin::Args),
    /// Put a file into the chain of a coin that carries data, or get it back
    Data(data::Args),
    /// Put load on a Stratum V1 pool of your own and measure it
    Load(load::Args),
    /// Keep keys, be paid, pay
    Wallet(wallet::Args),
    /// Read the share log
    Log(log::Args),
    /// Print every setting with its meaning
    Config(config::Args),
}

impl Command {
    /// What is logged by default: commands that tell their own story say the rest only where something is wrong.
    const fn log_level(&self) -> &'static str {
        match self {
            Self::Node(_) | Self::Pool(_) => "info",
            _ => "warn",
        }
    }

    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Up(args) => up::run(args),
            Self::Pool(args) => pool::run(args),
            Self::Node(args) => node::run(args),
            Self::Light(args) => light::run(args),
            Self::Risk(args) => risk::run(&args),
            Self::Mine(args) => mine::run(args),
            Self::Admin(args) => admin::run(args),
            Self::Load(args) => load::run(args),
            Self::Wallet(args) => wallet::run(args),
            Self::Log(args) => log::run(args),
            Self::Cli(args) => cli::run(args),
            Self::Data(args) => data::run(args),
            Self::Config(args) => config::run(&args),
        }
    }
}

/// The exit code of who writes to a reader that has gone, as shells show it (128 and SIGPIPE).
const READER_GONE: i32 = 141;

/// A reader that has had enough (`lode wallet history | head`) ends a command quietly, as it ends others.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match panic.payload_as_str() {
        Some(said) if said.starts_with("failed printing to std") && said.contains("Broken pipe") => {
            std::process::exit(READER_GONE)
        }
        _ => usual(panic),
    }));
}

fn main() -> ExitCode {
    end_with_the_reader();
    let Lode { logging, command } = Lode::parse();
    match logging::start(&logging, command.log_level()).and_then(|()| command.run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lode: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// What went wrong and why, each cause once: some errors name theirs themselves.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| match cause.to_string() {
        cause if said.is_empty() => cause,
        cause if said.contains(&cause) => said,
        cause => format!("{said}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = anyhow::Error::new(full).context("cannot write: no storage space").context("in the pool");
        assert_eq!(in_words(&error), "in the pool: cannot write: no storage space");
    }
}
