//! Memory and processor time of another process, from `/proc` (Linux, `proc(5)`).

use std::fs;
use std::io;

use super::LoadError;

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Processor time in user and system mode, seconds.
    pub cpu_seconds: f64,
}

/// Clock ticks a second in `/proc` files: 100 on all Linux systems that programs see (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Reads a process' usage.
pub fn usage(pid: u32) -> Result<Usage, LoadError> {
    let error = |source| LoadError::Process { pid, source };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(error)?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(error)?;
    let missing = || error(io::Error::other("a field is missing"));
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .ok_or_else(missing)?;
    // Fields are counted behind the name, which may hold spaces: utime and stime are the 14th and 15th of all.
    let behind = stat.rsplit_once(')').ok_or_else(missing)?.1;
    let mut times = behind.split_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (times.next(), times.next()) else { return Err(missing()) };
    Ok(Usage { resident: resident * 1024, cpu_seconds: (user + system) as f64 / TICKS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let now = usage(std::process::id()).unwrap();
        assert!(now.resident > 100_000 && now.cpu_seconds >= 0.0);
        assert!(usage(u32::MAX).is_err());
    }
}
