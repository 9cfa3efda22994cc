//! How much memory the process may use.

use std::fs;

use super::control_group::{Controller, limit as limit_of_group};

const MEMORY: Controller =
    Controller { name: "memory", file: "memory.max", file_of_version_1: "memory.limit_in_bytes" };

/// The limit of the control group or the machine's memory, whichever is less, in bytes; `None` where there is no
/// `/proc`.
pub(super) fn limit() -> Option<u64> {
    limit_of_group(&MEMORY).into_iter().chain(machine()).min()
}

/// `MemTotal` of `/proc/meminfo`, which is in KiB.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
