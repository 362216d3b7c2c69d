//! `lode log`: reads the share log, also while the pool writes it.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use lode_ledger::log::{ShareRecord, Tail, read, salvage};
use serde_json::json;

use crate::settings::{Overrides, Settings};

/// What `lode log` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory; without it, that of the pool the settings describe
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The pool's settings file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only the shares of this address
    #[arg(long, value_name = "ADDRESS")]
    miner: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Rewrite a damaged segment with every share that can still be read, and keep the original beside it; while no
    /// pool is running
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "miner"])]
    salvage: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Prints every share, oldest first, and how the log ends.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.salvage {
        let done = salvage(file)?;
        let original = done.original.display();
        eprintln!(
            "{} shares kept, {} known to be lost; the damaged file is now {original}",
            done.kept, done.lost
        );
        return Ok(ExitCode::SUCCESS);
    }
    let directory = match args.directory {
        Some(directory) => directory,
        None => Settings::load(args.config.as_deref(), &args.overrides)?.pool_directory()?,
    };
    if !directory.is_dir() {
        bail!("there is no share log in {}: it begins with a pool's first start", directory.display());
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = None;
    let mut count = 0u64;
    let tail = read(&directory, |share| {
        if failed.is_none() && args.miner.as_deref().is_none_or(|miner| miner == share.account.name) {
            count += 1;
            failed = print(&mut out, &share, args.json).err();
        }
    })?;
    match failed.or_else(|| out.flush().err()) {
        // A reader such as `head` that has seen enough is no failure.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Some(error) => return Err(error).context("cannot print the log"),
        None => {}
    }
    drop(out);
    say_tail(&directory, count, &tail);
    Ok(ExitCode::SUCCESS)
}

fn print(out: &mut impl Write, share: &ShareRecord<'_>, as_json: bool) -> io::Result<()> {
    if as_json {
        let line = json!({
            "sequence": share.sequence,
            "time_ms": share.time_ms,
            "address": share.account.name,
            "worker": share.worker,
            "work": share.credit.to_string(),
            "height": share.template.height,
            "prev": share.template.prev.to_string(),
        });
        writeln!(out, "{line}")
    } else {
        let ShareRecord { sequence, time_ms, account, worker, credit, template } = share;
        let (seconds, ms) = (time_ms / 1000, time_ms % 1000);
        writeln!(
            out,
            "{sequence:>10}  {seconds}.{ms:03}  {credit}  height {}  {}.{worker}",
            template.height, account.name
        )
    }
}

fn say_tail(directory: &Path, count: u64, tail: &Tail) {
    let place = directory.display();
    match tail {
        Tail::Clean => eprintln!("{count} shares in {place}; the log ends cleanly"),
        Tail::Torn { at, lost } => eprintln!(
            "{count} shares in {place}; the last segment is intact up to byte {at}, {lost} bytes after it are being written or \
             torn off by a crash (never acknowledged; the pool cuts them at its next start)"
        ),
        Tail::Damaged { at, .. } => {
            eprintln!("{count} shares in {place}; the last segment is damaged from byte {at}");
        }
    }
}
