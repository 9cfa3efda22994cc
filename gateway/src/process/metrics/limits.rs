//! The limits of a node, each a gauge beside what it limits, and what the process uses of the machine.

use metrics::gauge;

use super::{Kind, Row};
use crate::config::Changeable;

/// Limits that settings decide, limits that are fixed, traces, and the process.
pub const LIMITS: &[Row] = &[
    ("draftwire_connections_max", Kind::Gauge, "", "CONNECTIONS_MAX, the bound of `draftwire_connections`"),
    ("draftwire_connections_per_user_max", Kind::Gauge, "", "CONNECTIONS_PER_USER"),
    (
        "draftwire_streams_followed_max",
        Kind::Gauge,
        "",
        "STREAMS_MAX, the bound of `draftwire_streams_followed`",
    ),
    (
        "draftwire_recent_bytes_max",
        Kind::Gauge,
        "",
        "RECENT_BYTES_MAX, the bound of `draftwire_recent_bytes`",
    ),
    (
        "draftwire_write_queue_depth_max",
        Kind::Gauge,
        "",
        "WRITE_QUEUE_MAX, the bound of `draftwire_write_queue_depth` of each shard",
    ),
    ("draftwire_write_queue_bytes_max", Kind::Gauge, "", "The bound of `draftwire_write_queue_bytes`"),
    ("draftwire_reads_waiting_max", Kind::Gauge, "", "The bound of `draftwire_reads_waiting`"),
    (
        "draftwire_trace_spans_sent_total",
        Kind::Counter,
        "",
        "Spans that the receiver of OTEL_EXPORTER_OTLP_ENDPOINT took",
    ),
    (
        "draftwire_trace_spans_dropped_total",
        Kind::Counter,
        "reason",
        "Spans that were dropped, by `reason`: `queue_full`, `not_taken`",
    ),
    ("draftwire_trace_queue_max", Kind::Gauge, "", "Spans that may wait to be sent, where traces are on"),
    ("draftwire_log_waiters_max", Kind::Gauge, "", "The bound of `draftwire_log_waiters` of each kind"),
    ("process_cpu_seconds_total", Kind::Counter, "", "Time on processors, user and system; Linux only"),
    ("process_resident_memory_bytes", Kind::Gauge, "", "Memory in use; Linux only"),
    (
        "process_max_memory_bytes",
        Kind::Gauge,
        "",
        "Memory that the process may use, the bound of `process_resident_memory_bytes`: the limit of its control group (`memory.max`) or what the machine has, whichever is less; Linux only",
    ),
    ("process_max_fds", Kind::Gauge, "", "Open files that are allowed, the bound of `process_open_fds`"),
    ("process_open_fds", Kind::Gauge, "", "Open files, sockets included; Linux only"),
    (
        "process_start_time_seconds",
        Kind::Gauge,
        "",
        "When the process began, seconds since the Unix epoch; Linux only",
    ),
    ("process_threads", Kind::Gauge, "", "Threads; Linux only"),
    (
        "process_max_threads",
        Kind::Gauge,
        "",
        "Threads that are allowed to the process's control group (`pids.max`) or to its user, whichever are fewer; absent where there is no limit",
    ),
];

/// Records the limits that settings decide.
#[allow(clippy::cast_precision_loss)]
pub(in crate::process) fn record(settings: &Changeable) {
    gauge!("draftwire_connections_max").set(settings.websocket.connections_max as f64);
    gauge!("draftwire_connections_per_user_max").set(settings.websocket.connections_per_user as f64);
    gauge!("draftwire_streams_followed_max").set(settings.fanout.streams_max as f64);
    gauge!("draftwire_recent_bytes_max").set(settings.fanout.recent_bytes_max as f64);
    gauge!("draftwire_write_queue_depth_max").set(settings.writes.queue_max as f64);
}
