//! The bus over Redis: sharded pub/sub (Redis 7 or later) on a single server, Sentinel or Cluster.
//! Only this module and its files name fred.
//!
//! # Channels
//!
//! | channel | carries |
//! |---|---|
//! | `<prefix>:all`, `<prefix>:topic:<name>`, `<prefix>:user:<id>` | copies of the stream's events |
//! | `<prefix>:canary:<node>:<n>` | what a node sends to itself |
//!
//! # Connections
//!
//! One connection publishes and one listens (in a Cluster: one each per primary). Each is a loop of sessions:
//! connect, work until anything fails, drop everything, wait, connect again. fred's own
//! reconnecting is switched off, for two reasons read in its code and not promised by its documentation:
//! a write to a server that has stopped reading blocks its router without a timeout, so that only
//! dropping the client ends it; and what is subscribed after a reconnect would depend on its
//! bookkeeping. Here a new session subscribes everything in `redis::subscriptions`, whatever
//! happened before.
//!
//! A channel is subscribed by a command of its own, many in flight: fred matches one answer to each
//! command, and a command with several channels is answered once per channel.

mod backoff;
mod inspection;
mod listen;
mod outgoing;
mod publish;
mod session;
mod shared;
mod subscriptions;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use fred::{prelude::Config, types::RespVersion};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

pub use self::inspection::{RedisInspection, inspect};
use self::{
    listen::listen_for_ever,
    outgoing::{Outgoing, outbox},
    publish::publish_for_ever,
    shared::{Shared, lock},
};
use super::{Bus, Channel, Inbox};

/// Canaries on a Cluster. Channels spread over the shards by hash: with three shards all are covered in
/// 99.5 of 100 cases, and with more a deaf one is still likely to be met.
const CLUSTER_CANARIES: usize = 16;

/// The longest prefix, in characters.
const PREFIX_CHARS_MAX: usize = 64;

/// Where Redis is, and how channels are named.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://`, `redis-sentinel://` or `redis-cluster://`, each with a second `s` after `redis` for
    /// TLS. List several Sentinels or Cluster nodes (`?node=host:port`): after a lost connection only
    /// those in the URL are asked.
    pub url: String,
    /// The beginning of every channel name, to let several deployments share a Redis:
    /// `[A-Za-z0-9_.:-]{1,64}`. Braces are refused: they would put every channel on one shard.
    pub prefix: String,
}

impl RedisOptions {
    /// The prefix when none is configured.
    const PREFIX_DEFAULT: &str = "draftwire";

    /// Options with the default prefix.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), prefix: Self::PREFIX_DEFAULT.to_owned() }
    }
}

/// Without the URL: it may hold a password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Options that no bus can be built from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusConfigError {
    /// Not a Redis URL. The URL is not repeated: it may hold a password.
    #[error("the Redis URL cannot be used: {0}")]
    Url(String),
    /// The prefix breaks its rule.
    #[error("the channel prefix must be 1 to 64 characters of A-Z a-z 0-9 : _ . -")]
    Prefix,
}

/// A bus over Redis. Building one opens no connection, and Redis need not be up: from [`Bus::attach`] on the bus
/// tries to connect, until it is closed or dropped.
pub struct RedisBus {
    shared: Arc<Shared>,
    /// The queue's other end, until the publishing task takes it.
    outgoing: Mutex<Option<mpsc::Receiver<Outgoing>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl RedisBus {
    /// Checks the options. See [`Bus::attach`] for what happens next.
    pub fn new(options: RedisOptions) -> Result<Arc<Self>, BusConfigError> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.' | b'-');
        let prefix = options.prefix;
        if prefix.is_empty() || prefix.len() > PREFIX_CHARS_MAX || !prefix.bytes().all(valid) {
            return Err(BusConfigError::Prefix);
        }
        let mut config = Config::from_url(&options.url)
            .map_err(|error| BusConfigError::Url(error.details().to_owned()))?;
        // RESP3: answers and copies can be told apart, so the listening connection can be probed.
        config.version = RespVersion::RESP3;
        let (outbox, outgoing) = outbox();
        let shared = Shared {
            config,
            prefix,
            inbox: OnceLock::new(),
            outbox,
            subscriptions: Mutex::default(),
            changed: Notify::new(),
            rebuilds: watch::Sender::new(0),
            publishing: AtomicBool::new(false),
            listening: AtomicBool::new(false),
        };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            outgoing: Mutex::new(Some(outgoing)),
            tasks: Mutex::default(),
        }))
    }
}

impl Bus for RedisBus {
    fn attach(&self, inbox: Weak<dyn Inbox>) {
        let Some(outgoing) = lock(&self.outgoing).take() else { return };
        // The queue was there, so this is the first call and nothing is set yet.
        let _ = self.shared.inbox.set(inbox);
        let publisher = tokio::spawn(publish_for_ever(self.shared.clone(), outgoing));
        let listener = tokio::spawn(listen_for_ever(self.shared.clone()));
        lock(&self.tasks).extend([publisher.abort_handle(), listener.abort_handle()]);
    }

    fn publish(&self, channel: Channel, copy: Bytes) {
        self.shared.outbox.push(channel, copy);
    }

    fn subscribe(&self, channels: &[Channel]) {
        let mut subscriptions = lock(&self.shared.subscriptions);
        channels.iter().for_each(|channel| subscriptions.want(channel));
        drop(subscriptions);
        self.shared.changed.notify_one();
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        let mut subscriptions = lock(&self.shared.subscriptions);
        channels.iter().for_each(|channel| subscriptions.unwant(channel));
        drop(subscriptions);
        self.shared.changed.notify_one();
    }

    /// Drops the connections and builds new ones, the publishing one too: which of the two is at fault
    /// cannot be told from outside. Without effect on one that is being built already.
    fn resubscribe_all(&self) {
        self.shared.rebuild();
    }

    fn is_connected(&self) -> bool {
        self.shared.publishing.load(Ordering::Relaxed) && self.shared.listening.load(Ordering::Relaxed)
    }

    fn canaries(&self) -> usize {
        if self.shared.config.server.is_clustered() { CLUSTER_CANARIES } else { 1 }
    }

    fn close(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        self.shared.publishing.store(false, Ordering::Relaxed);
        self.shared.listening.store(false, Ordering::Relaxed);
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(url: &str) -> BusConfigError {
        RedisBus::new(RedisOptions::new(url)).err().unwrap()
    }

    #[test]
    fn every_kind_of_redis_is_found_by_its_url() {
        for (url, canaries) in [
            ("redis://localhost", 1),
            ("redis://user:secret@localhost:6380/1", 1),
            ("rediss://localhost", 1),
            ("redis-sentinel://a:26379?node=b:26379&sentinelServiceName=main", 1),
            ("redis-cluster://a:7000?node=b:7000&node=c:7000", CLUSTER_CANARIES),
            ("rediss-cluster://a:7000", CLUSTER_CANARIES),
        ] {
            assert_eq!(RedisBus::new(RedisOptions::new(url)).unwrap().canaries(), canaries, "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in ["", "localhost", "http://:hunter2@", "redis://u:hunter2@host:99999"] {
            assert!(!error(url).to_string().contains("hunter2"));
        }
        let options = RedisOptions::new("redis://u:hunter2@host");
        assert!(!format!("{options:?}").contains("hunter2"));
        for prefix in ["", "a b", "{a}", &"a".repeat(65)] {
            let options = RedisOptions { prefix: prefix.to_owned(), ..options.clone() };
            assert_eq!(RedisBus::new(options).err().unwrap(), BusConfigError::Prefix);
        }
    }

    #[test]
    fn channel_names_are_what_the_documentation_says() {
        let bus = RedisBus::new(RedisOptions::new("redis://localhost")).unwrap();
        for (name, channel) in [
            ("draftwire:all", Channel::Stream("all".parse().unwrap())),
            ("draftwire:topic:match:1", Channel::Stream("topic:match:1".parse().unwrap())),
            ("draftwire:user:canary:a b", Channel::Stream("user:canary:a b".parse().unwrap())),
            ("draftwire:canary:node-1:0", Channel::Canary("node-1:0".into())),
        ] {
            assert_eq!(bus.shared.name(&channel), name);
            assert_eq!(bus.shared.channel(name), Some(channel));
        }
        for name in ["", "draftwire", "draftwire:", "other:all", "draftwire:room:1", "draftwireall"] {
            assert_eq!(bus.shared.channel(name), None, "{name}");
        }
    }
}
