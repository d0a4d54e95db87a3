//! What the operating system knows about this process, from `/proc/self`.

use std::fs;
use std::path::Path;

/// Kernel ticks of process times in a second: 100 on every Linux architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and memory of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// User and system CPU time, seconds.
    pub(super) cpu_seconds: f64,
    /// Resident memory, bytes.
    pub(super) resident_bytes: u64,
    /// Open file descriptors.
    pub(super) open_files: u64,
    /// How many there may be; `None` when there is no bound.
    pub(super) open_files_max: Option<u64>,
}

/// The current usage; `None` where there is no `/proc`.
pub(super) fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    Some(Usage {
        cpu_seconds: cpu_seconds(&stat)?,
        resident_bytes: resident_bytes(&status)?,
        open_files,
        open_files_max: open_files_max(&limits),
    })
}

/// Bytes that an unprivileged process may still write to the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

/// The soft limit.
fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `stat`; the second field, the program's name in parentheses, may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_with_spaces_and_parentheses() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024     1048576   files\n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert!(free_bytes(Path::new("/")).is_some() && free_bytes(Path::new("/nowhere")).is_none());
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
    }
}
