//! What this process uses of its machine.

use std::fs;

/// User and system time so far, in seconds. `/proc/self/stat` counts in ticks of 10 ms; schedstat would be without the
/// threads that have ended. The clock has both. `None` where there is no such clock.
#[cfg(target_os = "linux")]
pub(crate) fn cpu_seconds() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu_seconds() -> Option<f64> {
    None
}

/// Memory in use, in bytes: the second number of `/proc/self/statm`, which is in pages. `None` where there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
