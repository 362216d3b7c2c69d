//! The `lode` program: command line, config, wiring, progress and exit. Each command is a module of its own with an
//! `Args` struct and a `run`; this file only says which there are.

mod cli;
mod config;
mod load;
mod log;
mod logging;
mod mine;
mod node;
mod runtime;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Proof-of-work electronic cash in one program: a node, a wallet, a miner, and a mining pool that never holds its
/// miners' money.
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
    /// Run a full node
    Node(node::Args),
    /// Mine on the CPU for any Stratum pool
    Mine(lode_miner::MineArgs),
    /// Ask a node by JSON-RPC
    Cli(cli::Args),
    /// Put load on a Stratum V1 pool of your own and measure it
    Load(load::Args),
    /// Read the share log
    Log(log::Args),
    /// Print every setting with its meaning
    Config(config::Args),
}

fn main() -> ExitCode {
    let lode = Lode::parse();
    logging::start(&lode.logging);
    let done = match lode.command {
        Command::Node(args) => node::run(args),
        Command::Mine(args) => mine::run(args),
        Command::Load(args) => load::run(args),
        Command::Log(args) => log::run(args),
        Command::Cli(args) => cli::run(args),
        Command::Config(args) => config::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lode: {error:#}");
            ExitCode::FAILURE
        }
    }
}
