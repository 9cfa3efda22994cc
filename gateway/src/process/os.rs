//! What the operating system says of this process, under the names that Prometheus clients have agreed on.
//!
//! Written beside the recorder's text, because the recorder counts in whole numbers only.

use std::fmt::Write as _;

use super::{memory_limit, open_files, threads};
use crate::cluster::usage::{cpu_seconds, resident_bytes};

/// The text of `process_*` metrics, as of now. Empty where there is no `/proc`, and a metric that
/// cannot be read is left out.
pub(crate) fn render() -> String {
    let mut text = String::new();
    let mut say = |name: &str, kind: &str, value: Option<String>| {
        if let Some(value) = value {
            // A String takes everything.
            let _ = write!(text, "# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    };
    say("process_cpu_seconds_total", "counter", cpu_seconds().map(|seconds| format!("{seconds:.6}")));
    say("process_resident_memory_bytes", "gauge", resident_bytes().map(|bytes| bytes.to_string()));
    say("process_max_memory_bytes", "gauge", memory_limit::limit().map(|bytes| bytes.to_string()));
    say("process_start_time_seconds", "gauge", start_time().map(|seconds| format!("{seconds:.2}")));
    say("process_threads", "gauge", status("Threads:").map(|threads| threads.to_string()));
    say("process_max_threads", "gauge", threads::limit().map(|threads| threads.to_string()));
    say("process_open_fds", "gauge", open_files().map(|files| files.to_string()));
    say("process_max_fds", "gauge", open_files::limit().map(|files| files.to_string()));
    text
}

/// The number of a line of `/proc/self/status` (proc(5)).
fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// When the process began, seconds since the Unix epoch: ticks after the start of the machine, field 22 of
/// `/proc/self/stat`, whose second field may hold blanks and parentheses.
fn start_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let machine = std::fs::read_to_string("/proc/stat").ok()?;
    let began: u64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(began as f64 + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn open_files() -> Option<usize> {
    // One of the entries is the folder that is being read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }

    #[test]
    fn what_the_process_uses_is_said() {
        let before = render();
        assert!(value(&before, "process_resident_memory_bytes") > 1e6, "{before}");
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null")).collect();
        let busy = std::time::Instant::now();
        while busy.elapsed() < std::time::Duration::from_millis(20) {}
        let after = render();
        assert!(value(&after, "process_cpu_seconds_total") > value(&before, "process_cpu_seconds_total"));
        let now = common::time::unix_ms() as f64 / 1000.0;
        let age = now - value(&after, "process_start_time_seconds");
        assert!((-1.0..24.0 * 3600.0).contains(&age), "{age}");
        let (memory, limit) = ("process_resident_memory_bytes", "process_max_memory_bytes");
        assert!(value(&after, limit) > value(&after, memory), "{after}");
        assert!(value(&after, "process_threads") >= 1.0, "{after}");
        assert!(value(&after, "process_open_fds") >= files.len() as f64, "{after}");
    }
}
