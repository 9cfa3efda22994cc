//! How a device behaves.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use super::{topic::Topic, wire::Encoding};
use crate::token;

/// Gives the token for the next connection; an empty one stands for none.
pub type TokenSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What goes by on a device's connections.
#[derive(Debug)]
pub enum Observed<'a> {
    /// A message of the server as it came, `WELCOME` and answers to commands included.
    Message(&'a Value),
    /// The connection is over.
    Ended,
}

/// Is told what a device sees, in the order in which it sees it and before the device judges it. Must be
/// quick: the device stands still for it.
pub type Observer = Arc<dyn Fn(&Observed<'_>) + Send + Sync>;

/// How a device behaves.
#[derive(Clone)]
pub struct DeviceOptions {
    /// Where to connect to (`ws://…/ws/realtime`), in turn.
    pub urls: Vec<String>,
    /// The device's id.
    pub device: String,
    /// The token, asked for anew before each connection.
    pub token: TokenSource,
    /// What goes over the socket.
    pub encoding: Encoding,
    /// Whether several messages may come in one frame.
    pub batch: bool,
    /// Whether the user's drafts are asked for and kept.
    pub drafts: bool,
    /// The topics to follow from the first connection on.
    pub topics: Vec<Topic>,
    /// The wait before the first reconnect; doubled with each further one, and spread by chance.
    pub backoff_min: Duration,
    /// The longest wait between reconnects.
    pub backoff_max: Duration,
    /// How long opening a socket may take.
    pub connect_wait: Duration,
    /// How long a command waits for its answer, reconnects included, before its caller is told
    /// `timeout`.
    pub answer_wait: Duration,
    /// Whether commands answered with `unavailable` are repeated, under the same id,
    /// until they are decided. Otherwise the caller is told.
    pub repeat_unavailable: bool,
    /// Whether whole events and signals are kept, not only their numbers.
    pub keep_messages: bool,
    /// Who looks on.
    pub observer: Option<Observer>,
    /// How many bytes the kernel may hold that were not read; its own choice when `None`.
    pub receive_buffer_bytes: Option<u32>,
}

impl DeviceOptions {
    /// A device of `user`, connecting to `urls` in turn.
    pub fn new(urls: Vec<String>, user: &str, device: &str) -> Self {
        let user = user.to_owned();
        Self {
            urls,
            device: device.to_owned(),
            token: Arc::new(move || token::good(&user)),
            encoding: Encoding::Json,
            batch: false,
            drafts: true,
            topics: Vec::new(),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            connect_wait: Duration::from_secs(3),
            answer_wait: Duration::from_secs(60),
            repeat_unavailable: true,
            keep_messages: true,
            observer: None,
            receive_buffer_bytes: None,
        }
    }

    /// A device that follows topics and has no use for drafts: small enough for thousands in one
    /// process. Its token allows every topic.
    pub fn follower(urls: Vec<String>, user: &str, device: &str) -> Self {
        let user = user.to_owned();
        Self {
            token: Arc::new(move || token::scoped(&user, "subscribe:* publish:*")),
            drafts: false,
            keep_messages: false,
            ..Self::new(urls, "", device)
        }
    }

    /// A device without a token.
    pub fn anonymous(urls: Vec<String>, device: &str) -> Self {
        Self { token: Arc::new(String::new), ..Self::follower(urls, "", device) }
    }

    /// With a scope in its tokens.
    #[must_use]
    pub fn scope(mut self, user: &str, scope: &str) -> Self {
        let (user, scope) = (user.to_owned(), scope.to_owned());
        self.token = Arc::new(move || token::scoped(&user, &scope));
        self
    }

    /// Following a topic from the first connection on.
    #[must_use]
    pub fn topic(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Speaking in an encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Taking several messages in one frame.
    #[must_use]
    pub fn batch(mut self) -> Self {
        self.batch = true;
        self
    }

    /// Keeping whole events and signals.
    #[must_use]
    pub fn keep_messages(mut self) -> Self {
        self.keep_messages = true;
        self
    }
}

impl fmt::Debug for DeviceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceOptions").field("urls", &self.urls).field("device", &self.device).finish()
    }
}
