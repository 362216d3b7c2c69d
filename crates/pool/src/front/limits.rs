//! How many connections there can be, and how near the process is to what it can have: files, memory, processors.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::guard::Refusal;

/// Files kept back for everything but miners: logs, databases, the node's peers, the dashboard.
const FILES_RESERVED: u64 = 256;
/// From this part of a limit on it is said aloud.
pub(crate) const NEAR: f64 = 0.9;
/// From this part of memory or processors on strangers are turned away.
pub(crate) const SHORT: f64 = 0.97;

/// Something that is used up to a part of what there is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// `connections`, `files`, `memory` or `processors`.
    pub what: &'static str,
    /// The part in use, 1 for all.
    pub part: f64,
    /// In words: how much of how much, and what to do.
    pub words: String,
}

impl Limit {
    /// True where people should know.
    pub fn is_near(&self) -> bool {
        self.part >= NEAR
    }
}

/// Why strangers are turned away before the proven.
pub(crate) struct Pressure;

impl Pressure {
    /// As a number for an atomic; 0 for none.
    pub(crate) fn number(refusal: Option<Refusal>) -> u8 {
        match refusal {
            Some(Refusal::Full) => 1,
            Some(Refusal::Memory) => 2,
            Some(Refusal::Busy) => 3,
            _ => 0,
        }
    }

    /// What the number says.
    pub(crate) fn of(number: u8) -> Option<Refusal> {
        [None, Some(Refusal::Full), Some(Refusal::Memory), Some(Refusal::Busy)][usize::from(number & 3)]
    }
}

/// The open-file limit, raised to what the system lets this process have.
pub(crate) fn files_possible() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let mut wanted = limit;
        wanted.current = limit.maximum;
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            limit = wanted;
        }
    }
    limit.current.unwrap_or(1 << 20)
}

/// How many connections the open-file limit allows.
pub(crate) fn connections_possible() -> usize {
    let files = files_possible();
    usize::try_from(files.saturating_sub(FILES_RESERVED).max(files / 2)).unwrap_or(usize::MAX)
}

/// Files this process has open, where `/proc` tells.
pub(crate) fn files_open() -> Option<u64> {
    // Linux 6.2 and later give the count as the directory's size.
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        count => Some(count),
    }
}

/// Bytes in use, and bytes there can be: `max_mib` where it is set, else the control group's limit or the machine's memory.
pub(crate) fn memory(max_mib: u64) -> Option<(u64, u64)> {
    let resident = crate::load::usage(std::process::id()).ok()?.resident;
    if max_mib > 0 {
        return Some((resident, max_mib << 20));
    }
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    // On a machine others use as well, what they take is not there to be had.
    let machine = (total - available.min(total), total);
    let group = group_limit().map(|limit| (resident, limit));
    let part = |(used, all): (u64, u64)| used as f64 / all.max(1) as f64;
    Some(group.filter(|group| part(*group) > part(machine)).unwrap_or(machine))
}

/// The limit of this process' control group (version 2).
fn group_limit() -> Option<u64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_within_its_limits() {
        let (used, all) = memory(0).unwrap();
        assert!(used > 0 && used < all);
        assert_eq!(memory(7).unwrap().1, 7 << 20);
        assert!(files_open().unwrap() > 2 && files_open().unwrap() < files_possible());
        for refusal in [None, Some(Refusal::Full), Some(Refusal::Memory), Some(Refusal::Busy)] {
            assert_eq!(Pressure::of(Pressure::number(refusal)), refusal);
        }
    }
}
