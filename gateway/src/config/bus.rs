//! What carries live copies between nodes.

use std::fmt;

use reqwest::Url;

use super::reader::Reader;
use crate::auth::{Secret, redacted};

const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];

/// The bus.
#[derive(Debug, Clone)]
pub enum Bus {
    /// Within this process: other nodes, if any, meet only by the sweep.
    InProcess,
    /// Redis pub/sub.
    Redis {
        /// With its password. The scheme says single, Sentinel or Cluster.
        url: Secret,
        /// The first part of every channel name.
        prefix: String,
    },
}

impl Bus {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let prefix = reader.read("REDIS_PREFIX", valid_prefix).unwrap_or_default();
        let Some(url) = reader.secret("REDIS_URL") else { return Self::InProcess };
        if !is_redis(url.reveal()) {
            reader.wrong(
                "REDIS_URL",
                "give redis://, rediss://, redis-sentinel:// or redis-cluster:// with a host, \
                 special characters of the password percent-encoded",
            );
        }
        if reader.given("DATABASE_URL").is_none() {
            reader.complain(
                "REDIS_URL (--redis-url) is set without DATABASE_URL (--database-url): nodes cannot \
                 share an embedded database, so set both or neither",
            );
        }
        Self::Redis { url, prefix }
    }
}

fn is_redis(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| SCHEMES.contains(&url.scheme()) && url.has_host())
}

/// Braces would decide the cluster slot of a channel, blanks and wildcards its matching.
fn valid_prefix(text: &str) -> Result<String, String> {
    let valid = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.' | b'-'));
    valid.then(|| text.to_owned()).ok_or_else(|| "give 1 to 64 characters of A-Z a-z 0-9 : _ . -".to_owned())
}

impl fmt::Display for Bus {
    /// What is logged at start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("in process"),
            Self::Redis { url, .. } => f.write_str(&redacted(url.reveal())),
        }
    }
}
