//! The async runtime, and being asked to stop.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

/// The one runtime of the process.
pub(crate) fn start() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().context("cannot start the runtime's threads")
}

/// Waits for Ctrl-C or a service manager's SIGTERM. A second one ends the process at once: whoever insists is obeyed,
/// and nothing that was said to be safe depends on a clean end.
pub(crate) async fn asked_to_stop() {
    next_signal().await;
    tokio::spawn(async {
        next_signal().await;
        eprintln!("lode: stopped at once, as asked twice");
        std::process::exit(130);
    });
}

async fn next_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the system ends the process on these signals, as it does by default.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
