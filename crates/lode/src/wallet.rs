//! `lode wallet`: keys, addresses, payments. The commands are in `wallet/`; what they stand on is the crate
//! `lode-wallet`.

mod embedded;
mod light;
mod place;
mod receive;
mod send;
mod show;
mod sign;
mod source;
mod start;

use std::process::ExitCode;

use place::Place;
pub(crate) use place::{passphrase, sync, wallet_path};
pub(crate) use source::RpcSource;

/// What `lode wallet` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a wallet with keys of its own, and show its words
    Create(start::Create),
    /// Have a wallet again from its words or a backup; or watch one by its xpub or descriptors
    Restore(start::Restore),
    /// Get a new address to be paid at; or list all
    Address(receive::Address),
    /// What there is, what can be spent, what matures when
    Balance,
    /// What came and went
    History(receive::History),
    /// The single coins
    Coins,
    /// Pay
    Send(send::Send),
    /// Gather many small coins into one, while fees are low
    Consolidate(send::Consolidate),
    /// Pay more for a payment that waits, so that it is mined sooner
    Bump(send::Bump),
    /// Plan a payment as a PSBT, to be signed elsewhere
    Psbt(sign::Make),
    /// Sign a PSBT; once complete it can be sent
    Sign(sign::Sign),
    /// Copy the wallet's file, or show its words or descriptors
    Backup(start::Backup),
    /// Every wallet there is
    List,
    /// Label an address, transaction or coin; without text the label goes
    Label(receive::Label),
    /// Read the chain again, with a wider gap between addresses if told
    Rescan(receive::Rescan),
}

/// Does what is asked; a refusal is an error, and so the exit code.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { place, command } = args;
    match command {
        Command::Create(args) => start::create(&place, &args),
        Command::Restore(args) => start::restore(&place, &args),
        Command::Backup(args) => start::backup(&place, &args),
        Command::List => start::list(&place),
        Command::Address(args) => receive::address(&place, &args),
        Command::Balance => receive::balance(&place),
        Command::History(args) => receive::history(&place, &args),
        Command::Coins => receive::coins(&place),
        Command::Label(args) => receive::label(&place, &args),
        Command::Rescan(args) => receive::rescan(&place, &args),
        Command::Send(args) => send::send(&place, &args),
        Command::Consolidate(args) => send::consolidate(&place, &args),
        Command::Bump(args) => send::bump(&place, &args),
        Command::Psbt(args) => sign::make(&place, &args),
        Command::Sign(args) => sign::sign(&place, &args),
    }?;
    Ok(ExitCode::SUCCESS)
}
