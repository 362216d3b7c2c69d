//! Logs: short lines for a person's terminal, JSON for a service.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Flags that every command takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is logged: error, warn, info, debug, trace, or by module (`lode_pool=debug,info`)
    #[arg(long, global = true, env = "LODE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
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

/// Starts logging to standard error. A filter that cannot be read is said and `info` taken for it.
pub(crate) fn start(args: &Args) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|error| {
        eprintln!("lode: --log {:?} is no filter ({error}); logging at info", args.log);
        EnvFilter::new("info")
    });
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    match args.log_format {
        Format::Json => logs.json().init(),
        Format::Auto if !terminal => logs.json().init(),
        Format::Auto | Format::Text => logs.compact().with_target(false).with_ansi(terminal).init(),
    }
}
