//! How many connections there can be.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files kept back for everything but miners: logs, databases, the node's peers, the dashboard.
const FILES_RESERVED: u64 = 256;

/// Raises the open-file limit to what the system lets this process have, and says how many connections that allows.
pub(crate) fn connections_possible() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let mut wanted = limit;
        wanted.current = limit.maximum;
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            limit = wanted;
        }
    }
    let files = limit.current.unwrap_or(1 << 20);
    usize::try_from(files.saturating_sub(FILES_RESERVED).max(files / 2)).unwrap_or(usize::MAX)
}
