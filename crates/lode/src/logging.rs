//! Logs: short lines for a person's terminal, JSON for a service.

use std::io::{IsTerminal, Write};
use std::sync::LazyLock;

use anyhow::Context;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

/// Bars at the foot of the terminal; log lines go above them.
pub(crate) static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Standard error, with bars moved out of the way of what is written.
struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Flags that every command takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is logged: error, warn, info, debug, trace, or by module (`lode_pool=debug,info`) [default: info; warn
    /// for commands that talk themselves]
    #[arg(long, global = true, env = "LODE_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look: `text`, `json`, or `auto` (text on a terminal, else JSON)
    #[arg(long, global = true, default_value = "auto", value_name = "FORM")]
    log_format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Auto,
    Text,
    Json,
}

/// Starts logging to standard error. `level` is what the command logs unless told otherwise; the database's own
/// chatter is left out of it.
pub(crate) fn start(args: &Args, level: &str) -> anyhow::Result<()> {
    let default = format!("{level},fjall=warn,lsm_tree=warn");
    let filter = args.log.as_deref().unwrap_or(&default);
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?} is no filter"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| AboveBars);
    let terminal = std::io::stderr().is_terminal();
    match args.log_format {
        Format::Json => logs.json().init(),
        Format::Auto if !terminal => logs.json().init(),
        Format::Auto | Format::Text => logs.compact().with_target(false).with_ansi(terminal).init(),
    }
    Ok(())
}
