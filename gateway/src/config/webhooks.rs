//! The settings of webhooks.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::{DAY, Group, HOUR, KIB, MIB, MINUTE, MS, SECOND, Setting, Value, duration, size, yes_or_no},
};

pub(super) static GROUP: Group = Group {
    title: "Webhooks",
    settings: &[
        &WEBHOOKS_ALLOW_PRIVATE,
        &WEBHOOK_TIMEOUT,
        &WEBHOOK_RETRY_MAX,
        &WEBHOOK_GIVE_UP_AFTER,
        &WEBHOOK_POLL_INTERVAL,
        &WEBHOOK_BATCH_BYTES_MAX,
    ],
};

static WEBHOOKS_ALLOW_PRIVATE: Setting<bool> = Setting {
    env: "WEBHOOKS_ALLOW_PRIVATE",
    takes: yes_or_no(),
    default: Value("false"),
    help: "Whether webhooks may go to private addresses (loopback, link-local, RFC 1918 and the like) and over http://. Then whoever may add webhooks reaches the network of the nodes.",
};

static WEBHOOK_TIMEOUT: Setting<Duration> = Setting {
    env: "WEBHOOK_TIMEOUT",
    takes: duration(MS.saturating_mul(100), MINUTE),
    default: Value("10s"),
    help: "How long a receiver may take to answer. Twice that and a second is how long the webhooks of a node that was killed wait for another one.",
};

static WEBHOOK_RETRY_MAX: Setting<Duration> = Setting {
    env: "WEBHOOK_RETRY_MAX",
    takes: duration(MS.saturating_mul(10), HOUR),
    default: Value("1m"),
    help: "The longest pause between attempts at a delivery that fails; it doubles from one second up to this.",
};

static WEBHOOK_GIVE_UP_AFTER: Setting<Duration> = Setting {
    env: "WEBHOOK_GIVE_UP_AFTER",
    takes: duration(SECOND, DAY.saturating_mul(365)),
    default: Value("3d"),
    help: "After how long of nothing but failures, ten of them at least, a webhook is paused. It loses nothing but what retention removes.",
};

static WEBHOOK_POLL_INTERVAL: Setting<Duration> = Setting {
    env: "WEBHOOK_POLL_INTERVAL",
    takes: duration(MS.saturating_mul(10), MINUTE),
    default: Value("1s"),
    help: "How often a webhook that has delivered everything looks for more. With so many streams that a look takes long, the pause is nine times as long as the look.",
};

static WEBHOOK_BATCH_BYTES_MAX: Setting<usize> = Setting {
    env: "WEBHOOK_BATCH_BYTES_MAX",
    takes: size(16 * KIB, 16 * MIB),
    default: Value("512KiB"),
    help: "The largest body of a delivery, unless it holds a single event that is larger. Nginx takes 1MiB unless it is told otherwise. A receiver that answers 413 gets smaller ones.",
};

/// How webhooks are delivered.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Whether deliveries may go to private addresses, and over plain HTTP.
    pub allow_private: bool,
    /// The longest that an attempt takes.
    pub timeout: Duration,
    /// The longest pause between attempts.
    pub retry_max: Duration,
    /// After how long of failures a webhook is paused.
    pub give_up_after: Duration,
    /// The shortest pause between looks that found nothing.
    pub poll_interval: Duration,
    /// The largest body of a delivery, in bytes, unless it holds a single event.
    pub batch_bytes_max: usize,
}

impl Webhooks {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Self {
            allow_private: reader.value(&WEBHOOKS_ALLOW_PRIVATE),
            timeout: reader.value(&WEBHOOK_TIMEOUT),
            retry_max: reader.value(&WEBHOOK_RETRY_MAX),
            give_up_after: reader.value(&WEBHOOK_GIVE_UP_AFTER),
            poll_interval: reader.value(&WEBHOOK_POLL_INTERVAL),
            batch_bytes_max: reader.value(&WEBHOOK_BATCH_BYTES_MAX),
        }
    }
}
