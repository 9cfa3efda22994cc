//! Every metric of the node, described in one place.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in seconds where the name says so.
    Histogram,
}

/// Name, kind, labels, meaning: the table of docs/metrics.md.
pub const METRICS: &[(&str, Kind, &str, &str)] = &[
    ("draftwire_build_info", Kind::Gauge, "version", "1; the version is the label"),
    (
        "draftwire_operation_seconds",
        Kind::Histogram,
        "operation,outcome",
        "How long operations took, by `outcome` (`ok`, `error`): those on the way of a change, `statement:` of the store, and `http:` routes; operations.md says what each is",
    ),
    (
        "draftwire_task_panics_total",
        Kind::Counter,
        "task",
        "Panics of tasks that the node cannot live without; each began anew. Any is a defect: the log says which",
    ),
    ("draftwire_connections", Kind::Gauge, "", "Connections: WebSockets and event streams"),
    (
        "draftwire_places_taken_over_total",
        Kind::Counter,
        "",
        "Connections closed because their device came back while a bound on connections was reached",
    ),
    ("draftwire_event_streams", Kind::Gauge, "", "Those of them that are event streams"),
    ("draftwire_users", Kind::Gauge, "", "Users with at least one connection"),
    ("draftwire_resumes_total", Kind::Counter, "", "Streams that connections followed on from a cursor"),
    ("draftwire_snapshots_total", Kind::Counter, "", "Snapshots sent because missed events could not be had"),
    (
        "draftwire_gaps_reported_total",
        Kind::Counter,
        "",
        "Followers of topics and of all that were told that missed events are gone",
    ),
    (
        "draftwire_round_trip_seconds",
        Kind::Histogram,
        "",
        "From a ping to its answer; a client that does not read answers late",
    ),
    (
        "draftwire_closes_total",
        Kind::Counter,
        "code",
        "Connections ended, by close code; `gone` when the client left",
    ),
    ("draftwire_tokens_refused_total", Kind::Counter, "why", "Tokens refused"),
    (
        "draftwire_backend_answers_total",
        Kind::Counter,
        "answer",
        "Answers of the application's backend about rights: `allowed`, `denied`; `unavailable` where it gave none, `overloaded` where too many questions waited",
    ),
    (
        "draftwire_backend_cache_hits_total",
        Kind::Counter,
        "",
        "Questions about rights that were answered from memory",
    ),
    (
        "draftwire_backend_cache_misses_total",
        Kind::Counter,
        "",
        "Questions about rights that the application's backend had to be asked",
    ),
    (
        "draftwire_backend_seconds",
        Kind::Histogram,
        "",
        "How long the application's backend took to answer a question about rights",
    ),
    (
        "draftwire_state_cache_hits_total",
        Kind::Counter,
        "",
        "Changes of drafts that were decided without a query, because this node had made the one before",
    ),
    (
        "draftwire_state_cache_misses_total",
        Kind::Counter,
        "",
        "Changes of drafts for which the draft had to be read",
    ),
    (
        "draftwire_state_cache_bytes",
        Kind::Gauge,
        "",
        "Memory for the drafts of users who have changed one lately, about",
    ),
    ("draftwire_state_cache_bytes_max", Kind::Gauge, "", "Its bound"),
    (
        "draftwire_token_cache_hits_total",
        Kind::Counter,
        "",
        "Tokens accepted without checking the signature, because it was checked less than five minutes ago; bound of the cache: 32768",
    ),
    (
        "draftwire_token_cache_misses_total",
        Kind::Counter,
        "",
        "Tokens that the cache did not have, so that the signature had to be checked",
    ),
    ("draftwire_commands_total", Kind::Counter, "type", "Commands taken over the socket"),
    (
        "draftwire_commands_held_back_total",
        Kind::Counter,
        "",
        "Commands answered unavailable because one before them was, and had not come again",
    ),
    (
        "draftwire_rate_pauses_total",
        Kind::Counter,
        "",
        "Times that a connection was not read for a while because it had sent more than COMMANDS_PER_SECOND",
    ),
    ("draftwire_errors_total", Kind::Counter, "code", "Errors answered, over the socket and HTTP"),
    (
        "draftwire_write_queue_depth",
        Kind::Gauge,
        "shard",
        "Writes waiting for their commit; bound: WRITE_QUEUE_MAX",
    ),
    (
        "draftwire_write_queue_bytes",
        Kind::Gauge,
        "",
        "Bytes of the writes that wait or are being committed, over all shards; bound: 128 MiB",
    ),
    (
        "draftwire_writes_refused_total",
        Kind::Counter,
        "why",
        "Writes answered unavailable without being committed: `full`, `late` (WRITE_WAIT_MAX), `locked`, `down`, `behind` another one of their connection",
    ),
    (
        "draftwire_writes_set_aside",
        Kind::Gauge,
        "",
        "Writes that wait for what another transaction of the database holds; bound: WRITE_QUEUE_MAX per shard, a quarter of it per stream",
    ),
    (
        "draftwire_writes_set_aside_total",
        Kind::Counter,
        "why",
        "Writes set aside, because the row of their `stream` or their `key` is locked",
    ),
    (
        "draftwire_lanes_set_aside",
        Kind::Gauge,
        "",
        "Streams, or devices of a stream, that are locked or were a second ago; two of them per shard are tried at a time",
    ),
    (
        "draftwire_bodies_discarded_total",
        Kind::Counter,
        "",
        "Bodies of requests that were refused before they were read; up to 2 MiB of each is read and discarded",
    ),
    (
        "draftwire_bodies_refused_total",
        Kind::Counter,
        "",
        "Requests answered unavailable because too much was being sent; bound: 128 times MAX_MESSAGE_BYTES",
    ),
    (
        "draftwire_reads_waiting",
        Kind::Gauge,
        "",
        "Reads of drafts and of history that wait or are under way; bound: 1024",
    ),
    ("draftwire_write_batch_size", Kind::Histogram, "", "Writes per commit; bound: WRITE_BATCH_MAX"),
    ("draftwire_commit_seconds", Kind::Histogram, "", "Duration of a commit"),
    ("draftwire_commit_failures_total", Kind::Counter, "why", "Commits that failed"),
    ("draftwire_events_published_total", Kind::Counter, "", "Events committed by this node"),
    (
        "draftwire_store_pool_max",
        Kind::Gauge,
        "",
        "Connections to Postgres that there may be: DATABASE_POOL_MAX",
    ),
    (
        "draftwire_store_pool_open",
        Kind::Gauge,
        "",
        "Connections to Postgres that are open, idle ones included",
    ),
    (
        "draftwire_store_pool_busy",
        Kind::Gauge,
        "",
        "Connections to Postgres that a call uses; bound: DATABASE_POOL_MAX",
    ),
    ("draftwire_store_pool_waiting", Kind::Gauge, "", "Calls that wait for a connection to Postgres"),
    (
        "draftwire_retention_events_removed_total",
        Kind::Counter,
        "stream",
        "Events that retention removed, by kind of stream: `all`, `control`, `topic`, `user`",
    ),
    ("draftwire_commands_forgotten_total", Kind::Counter, "", "Commands no longer remembered"),
    (
        "draftwire_retention_round_seconds",
        Kind::Histogram,
        "",
        "Duration of a round of retention, pauses included",
    ),
    (
        "draftwire_retention_age_seconds",
        Kind::Gauge,
        "",
        "Since the last complete round, or since this node took retention over; 0 while another has it",
    ),
    (
        "draftwire_retention_holder",
        Kind::Gauge,
        "",
        "1 on the node that does the retention; one in a cluster",
    ),
    (
        "draftwire_retention_skipped_total",
        Kind::Counter,
        "",
        "Streams left for the next round because somebody kept them locked",
    ),
    (
        "draftwire_control_events_total",
        Kind::Counter,
        "outcome",
        "Events of the control stream: `applied`, `unknown` (of a kind that only newer nodes know), `malformed`, `missed` (once for each gap)",
    ),
    (
        "draftwire_notices_total",
        Kind::Counter,
        "",
        "Streams that notices named: applications had added events to them with SQL",
    ),
    ("draftwire_notices_seconds", Kind::Histogram, "", "One look for notices"),
    (
        "draftwire_notices_incomplete_total",
        Kind::Counter,
        "",
        "Looks that could not show all notices, so that every followed stream was compared with the log: the first of a connection, one after a pause of 10 seconds, and those that found 10000 or more",
    ),
    (
        "draftwire_notices_failures_total",
        Kind::Counter,
        "",
        "Looks for notices that failed; until one succeeds, SWEEP_INTERVAL is how late events published with SQL are",
    ),
    ("draftwire_webhooks_held", Kind::Gauge, "", "Webhooks that this node delivers for"),
    ("draftwire_webhook_deliveries_total", Kind::Counter, "outcome", "Attempts: taken, failed, gone"),
    ("draftwire_webhook_delivery_seconds", Kind::Histogram, "", "One attempt, up to the answer"),
    ("draftwire_webhook_events_total", Kind::Counter, "", "Events in batches that receivers have taken"),
    (
        "draftwire_webhook_lag_events",
        Kind::Gauge,
        "webhook",
        "Undelivered events that the last whole look of this node has found; zero where it does not deliver",
    ),
    ("draftwire_webhook_look_seconds", Kind::Histogram, "", "One page of streams, compared with cursors"),
    (
        "draftwire_occupancy_topics",
        Kind::Gauge,
        "",
        "Topics that webhooks ask about and somebody attends here",
    ),
    ("draftwire_webhook_store_failures_total", Kind::Counter, "", "Steps that waited for the store"),
    ("draftwire_retention_failures_total", Kind::Counter, "", "Rounds given up because the store failed"),
    (
        "draftwire_events_sequenced_total",
        Kind::Counter,
        "source",
        "Events put in order, by how they reached the node",
    ),
    (
        "draftwire_events_delivered_total",
        Kind::Counter,
        "source",
        "Events sent to followers, by how they came",
    ),
    (
        "draftwire_commit_to_delivery_seconds",
        Kind::Histogram,
        "",
        "From the commit of a live event to its hand-over to a socket, between nodes by their clocks",
    ),
    (
        "draftwire_follower_fallbacks_total",
        Kind::Counter,
        "",
        "Live followers too slow for memory, sent to the log",
    ),
    (
        "draftwire_signals_dropped_total",
        Kind::Counter,
        "",
        "Signals that a follower missed, because it was behind or read too late",
    ),
    (
        "draftwire_streams_followed",
        Kind::Gauge,
        "",
        "Streams with a follower on this node now or within LINGER; bound: STREAMS_MAX",
    ),
    ("draftwire_streams_refused_total", Kind::Counter, "", "Requests to follow a stream beyond STREAMS_MAX"),
    (
        "draftwire_recent_bytes",
        Kind::Gauge,
        "",
        "Memory of the newest events and signals; bound: RECENT_BYTES_MAX",
    ),
    (
        "draftwire_presence_members",
        Kind::Gauge,
        "",
        "Devices that are present through this node, counted per topic",
    ),
    (
        "draftwire_presence_announcements_total",
        Kind::Counter,
        "direction",
        "Presence announcements, `sent` and `received`",
    ),
    (
        "draftwire_presence_expired_total",
        Kind::Counter,
        "",
        "Leases of other nodes that ended: nothing was received from them for PRESENCE_LEASE",
    ),
    (
        "draftwire_gap_fills_total",
        Kind::Counter,
        "source",
        "Reads of the log that fill a gap, by what found it",
    ),
    (
        "draftwire_log_waiters",
        Kind::Gauge,
        "kind",
        "Reads of `heads` or `pages` that wait for a place in a query; bound: 4096",
    ),
    ("draftwire_log_head_queries_total", Kind::Counter, "", "Queries for heads, each for many streams"),
    ("draftwire_log_read_queries_total", Kind::Counter, "", "Queries for events, each for many streams"),
    (
        "draftwire_sweep_interval_seconds",
        Kind::Gauge,
        "",
        "Upper bound on the delay of an event whose message was lost",
    ),
    ("draftwire_sweep_seconds", Kind::Histogram, "", "Duration of a sweep"),
    ("draftwire_sweep_failures_total", Kind::Counter, "", "Sweeps that the store did not answer"),
    ("draftwire_epoch_changes_total", Kind::Counter, "", "Changes of the store's history"),
    (
        "draftwire_history_losses_total",
        Kind::Counter,
        "reason",
        "Signs that the store lacks acknowledged events: a `head` that went back, other `contents`, a client's `cursor`",
    ),
    (
        "draftwire_bus_unsure_total",
        Kind::Counter,
        "reason",
        "Times that messages of the bus may have been lost",
    ),
    (
        "draftwire_bus_messages_rejected_total",
        Kind::Counter,
        "reason",
        "Messages that this node could not use; `stranger`: of another cluster on the same channels, or for a moment after a failover",
    ),
    ("draftwire_bus_trusted", Kind::Gauge, "", "1 while canaries return"),
    ("process_cpu_seconds_total", Kind::Counter, "", "Time on processors, user and system; Linux only"),
    ("process_resident_memory_bytes", Kind::Gauge, "", "Memory in use; Linux only"),
    ("process_max_fds", Kind::Gauge, "", "Open files that are allowed"),
    ("process_open_fds", Kind::Gauge, "", "Open files, sockets included; Linux only"),
];

/// Buckets of everything in seconds: from a local hand-over to a sweep.
pub(super) const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Buckets of batch sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

/// Installs the recorder of this process.
///
/// # Errors
/// When one is installed already.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let failed = |error: &dyn std::fmt::Display| MetricsError(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES))
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))?;
    for (name, kind, _, meaning) in METRICS {
        describe(name, *kind, meaning);
    }
    for (name, kind, meaning) in fanout::bus::metrics::METRICS {
        let kind = match *kind {
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            _ => Kind::Counter,
        };
        describe(name, kind, meaning);
    }
    gauge!("draftwire_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn describe(name: &'static str, kind: Kind, meaning: &'static str) {
    match kind {
        Kind::Counter => describe_counter!(name, meaning),
        Kind::Gauge => describe_gauge!(name, meaning),
        Kind::Histogram if name.ends_with("_seconds") => describe_histogram!(name, Unit::Seconds, meaning),
        Kind::Histogram => describe_histogram!(name, meaning),
    }
}
