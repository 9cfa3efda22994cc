//! Clocks of the load generator's own machine.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Microseconds on a clock that only goes forward and that all processes of the machine share: helper
/// processes receive what this one has sent.
pub(crate) fn now_us() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    whole(time.tv_sec) * 1_000_000 + whole(time.tv_nsec) / 1_000
}

/// How long this process has been on processors, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
