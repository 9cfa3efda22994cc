//! The metrics of the bus and its canary, by name.

/// Messages that Redis accepted.
pub(crate) const MESSAGES_PUBLISHED: &str = "draftwire_bus_messages_published_total";
/// Messages that were not published.
pub(crate) const MESSAGES_DROPPED: &str = "draftwire_bus_messages_dropped_total";
/// Messages received.
pub(crate) const MESSAGES_RECEIVED: &str = "draftwire_bus_messages_received_total";
/// Connections established again.
pub(crate) const RECONNECTS: &str = "draftwire_bus_reconnects_total";
/// Messages waiting to be published.
pub(crate) const PUBLISH_QUEUE_DEPTH: &str = "draftwire_bus_publish_queue_depth";
/// How many of them there may be.
pub(crate) const PUBLISH_QUEUE_DEPTH_MAX: &str = "draftwire_bus_publish_queue_depth_max";
/// Channels that this node subscribes to.
pub(crate) const SUBSCRIPTIONS: &str = "draftwire_bus_subscriptions";
/// Subscriptions that Redis refused.
pub(crate) const SUBSCRIBE_FAILURES: &str = "draftwire_bus_subscribe_failures_total";
/// Messages lost because they arrived faster than the node processed them.
pub(crate) const MESSAGES_LAGGED: &str = "draftwire_bus_messages_lagged_total";
/// Whether a connection is up.
pub(crate) const CONNECTED: &str = "draftwire_bus_connected";
/// Time since the last canary returned.
pub(crate) const CANARY_AGE: &str = "draftwire_bus_canary_age_seconds";
/// Canaries that did not return in time.
pub(crate) const CANARY_TIMEOUTS: &str = "draftwire_bus_canary_timeouts_total";
/// Events whose hop is not measured, because clocks differ too much.
pub(crate) const HOPS_NOT_MEASURED: &str = "draftwire_hops_not_measured_total";

/// Every metric of this module: name, kind, meaning with its labels. The documentation is tested
/// against it.
pub const METRICS: &[(&str, &str, &str)] = &[
    (MESSAGES_PUBLISHED, "counter", "Messages that Redis accepted"),
    (
        MESSAGES_DROPPED,
        "counter",
        "Messages that were not published, by `reason`: `disconnected`, `queue_full`, `stale` (waited over a \
         second), `failed` (no answer, or an error)",
    ),
    (MESSAGES_RECEIVED, "counter", "Messages received from Redis, including the node's own"),
    (
        RECONNECTS,
        "counter",
        "Connections to Redis established again, by `connection`: `publish`, `subscribe`",
    ),
    (PUBLISH_QUEUE_DEPTH, "gauge", "Messages waiting to be published; bound: 8192"),
    (PUBLISH_QUEUE_DEPTH_MAX, "gauge", "The bound of `draftwire_bus_publish_queue_depth`"),
    (SUBSCRIPTIONS, "gauge", "Channels that this node subscribes to; bound: STREAMS_MAX and the canaries"),
    (
        SUBSCRIBE_FAILURES,
        "counter",
        "Subscriptions that Redis refused or did not answer; each is tried again",
    ),
    (MESSAGES_LAGGED, "counter", "Messages lost because they arrived faster than the node processed them"),
    (CONNECTED, "gauge", "1 while connected to Redis, by `connection`: `publish`, `subscribe`"),
    (CANARY_AGE, "gauge", "Seconds since the node last received its own canary"),
    (
        CANARY_TIMEOUTS,
        "counter",
        "Canaries that did not return in time; each makes the node subscribe to every channel again",
    ),
    (
        HOPS_NOT_MEASURED,
        "counter",
        "Events whose hop from another node is not measured, because the clocks of the two differ by over ten \
         seconds",
    ),
];
