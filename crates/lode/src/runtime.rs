//! The async runtime, and being asked to stop.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The one runtime of the process.
pub(crate) fn start() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().context("cannot start the runtime's threads")
}

/// Ends with Ctrl-C or a service manager's SIGTERM; counted from the call, which belongs at a command's start, so that
/// neither ends the process half-way through it. A second one ends the process at once: whoever insists is obeyed, and
/// nothing that was said to be safe depends on a clean end. To be called within the runtime.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> + Send + 'static {
    let signals =
        signal(SignalKind::interrupt()).and_then(|first| Ok((first, signal(SignalKind::terminate())?)));
    async move {
        let Ok((mut interrupt, mut terminate)) = signals else {
            // Without handlers the system ends the process on these signals, as it does by default.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            eprintln!("lode: stopped at once, as asked twice");
            std::process::exit(130);
        });
    }
}

/// Being asked to read files again: SIGHUP, which `systemctl reload` sends. Counted from the call; without it that signal would
/// end the process. To be called within the runtime.
pub(crate) fn asked_to_reload() -> Reload {
    Reload(signal(SignalKind::hangup()).ok())
}

/// See [`asked_to_reload`].
pub(crate) struct Reload(Option<Signal>);

impl Reload {
    /// Waits for the next time.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}
