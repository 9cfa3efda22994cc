//! The settings of the bus.

use std::fmt;

use reqwest::Url;

use super::{
    reader::Reader,
    setting::{FileSetting, Group, Optional, Otherwise, Setting, Value, secret_url, text},
    store::DATABASE_URL,
};
use crate::auth::{Secret, redacted};

pub(super) static GROUP: Group =
    Group { title: "Bus", settings: &[&REDIS_URL, &REDIS_URL_FILE, &REDIS_PREFIX] };

static REDIS_URL: Optional<Secret> = Setting {
    env: "REDIS_URL",
    takes: secret_url(redis_url).or_in(&REDIS_URL_FILE),
    default: Otherwise("none: no other node is told"),
    help: "Redis, which carries live copies between nodes: redis://, rediss://, redis-sentinel:// or redis-cluster://. Needs DATABASE_URL. The rights that a user of its own needs: operations.md, Redis rights.",
};

static REDIS_URL_FILE: FileSetting =
    FileSetting { env: "REDIS_URL_FILE", help: "A file that holds REDIS_URL." };

static REDIS_PREFIX: Setting<String> = Setting {
    env: "REDIS_PREFIX",
    takes: text(prefix),
    default: Value("draftwire"),
    help: "The first part of every Redis channel name. Give clusters that share a Redis different ones, also when their database numbers differ, which channels do not know; messages of another cluster are rejected.",
};

/// The schemes of a Redis URL.
const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// What carries live copies between nodes.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Within this process. Other nodes, if there are any, hear of events by the sweep alone.
    InProcess,
    /// Redis pub/sub.
    Redis {
        /// The address, with its password. The scheme says single, Sentinel or Cluster.
        url: Secret,
        /// The first part of every channel name.
        prefix: String,
    },
}

impl Bus {
    /// Returns which bus this is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Redis { .. } => "redis",
        }
    }

    pub(super) fn read(reader: &Reader<'_>) -> Self {
        if reader.is_given(&REDIS_URL) && !reader.is_given(&DATABASE_URL) {
            reader.complain(
                "REDIS_URL (--redis-url) is set without DATABASE_URL (--database-url): nodes cannot \
                 share an embedded database, so set both or neither",
            );
        }
        let prefix = reader.value(&REDIS_PREFIX);
        match reader.optional(&REDIS_URL) {
            Some(url) => Self::Redis { url, prefix },
            None => Self::InProcess,
        }
    }
}

fn redis_url(text: &str) -> Result<Secret, String> {
    let valid = Url::parse(text).is_ok_and(|url| SCHEMES.contains(&url.scheme()) && url.has_host());
    valid.then(|| Secret::new(text)).ok_or_else(|| {
        "give redis://, rediss://, redis-sentinel:// or redis-cluster:// with a host, \
         special characters of the password percent-encoded"
            .to_owned()
    })
}

/// Reads the first part of channel names. Braces would decide the cluster slot of a channel, blanks and wildcards
/// its matching.
fn prefix(text: &str) -> Result<String, String> {
    let valid = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.' | b'-'));
    valid.then(|| text.to_owned()).ok_or_else(|| "give 1 to 64 characters of A-Z a-z 0-9 : _ . -".to_owned())
}

impl fmt::Display for Bus {
    /// Writes what is logged at start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("in process"),
            Self::Redis { url, .. } => f.write_str(&redacted(url.reveal())),
        }
    }
}
