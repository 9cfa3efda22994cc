//! The metrics of the bus and its canary, by name.

/// Copies that Redis has taken.
pub const COPIES_PUBLISHED: &str = "draftwire_bus_copies_published_total";
/// Copies that were not published.
pub const COPIES_DROPPED: &str = "draftwire_bus_copies_dropped_total";
/// Copies that arrived.
pub const COPIES_RECEIVED: &str = "draftwire_bus_copies_received_total";
/// Connections built up again.
pub const RECONNECTS: &str = "draftwire_bus_reconnects_total";
/// Copies waiting to be published.
pub const PUBLISH_QUEUE_DEPTH: &str = "draftwire_bus_publish_queue_depth";
/// Channels that this node wants to hear.
pub const SUBSCRIPTIONS: &str = "draftwire_bus_subscriptions";
/// Subscriptions that Redis has refused.
pub const SUBSCRIBE_FAILURES: &str = "draftwire_bus_subscribe_failures_total";
/// Copies lost because they came faster than they were taken.
pub const COPIES_LAGGED: &str = "draftwire_bus_copies_lagged_total";
/// Whether a connection is up.
pub const CONNECTED: &str = "draftwire_bus_connected";
/// Age of the last proof that the bus hears.
pub const CANARY_AGE: &str = "draftwire_bus_canary_age_seconds";
/// Silent canaries.
pub const DEAF: &str = "draftwire_bus_deaf_total";

/// Every metric of this module: name, kind, meaning with its labels. The documentation is tested
/// against it.
pub const METRICS: &[(&str, &str, &str)] = &[
    (COPIES_PUBLISHED, "counter", "copies that Redis has taken"),
    (
        COPIES_DROPPED,
        "counter",
        "copies that were not published, by `reason`: `disconnected`, `queue_full`, `stale` (waited over a second), \
         `failed` (no answer, or an error)",
    ),
    (COPIES_RECEIVED, "counter", "copies that arrived from Redis, this node's own included"),
    (RECONNECTS, "counter", "connections to Redis built up again, by `connection`: `publish`, `subscribe`"),
    (PUBLISH_QUEUE_DEPTH, "gauge", "copies waiting to be published"),
    (SUBSCRIPTIONS, "gauge", "channels that this node wants to hear"),
    (
        SUBSCRIBE_FAILURES,
        "counter",
        "subscriptions that Redis refused or did not answer; each is tried again",
    ),
    (COPIES_LAGGED, "counter", "copies lost because they arrived faster than the node took them"),
    (CONNECTED, "gauge", "1 while connected to Redis, by `connection`: `publish`, `subscribe`"),
    (CANARY_AGE, "gauge", "seconds since the bus last proved that it hears what this node publishes"),
    (DEAF, "counter", "times that a canary did not come back and everything was subscribed anew"),
];
