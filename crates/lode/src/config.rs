//! `lode config`: the settings in force, each with its meaning.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::settings::{Overrides, Settings};

/// What `lode config` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The settings file; without one, the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Prints a `lode.toml` that says the same.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(args.config.as_deref(), &args.overrides)?;
    print!("{}", settings.to_commented_toml());
    Ok(ExitCode::SUCCESS)
}
