//! The client: what an application holds.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::Connector;

use crate::{
    address,
    backoff::Backoff,
    connection::{self, Settings},
    cursor::Cursor,
    drafts::Drafts,
    error::{BoxError, Closed, CommandError, ConnectError},
    handle::Handle,
    json::Json,
    message::Priority,
    replica::Replica,
    session::{Ack, Session, SessionOptions},
    shared::{ConnectionState, Notice, Shared},
    token::TokenSource,
    topic::TopicRequest,
};

/// The longest first pause before a client comes back.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// The longest pause before a client comes back.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// The pause before what was refused for the moment is sent again grows from the first to the second.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How long a connection may be silent, with a sign of life asked for after half of it.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How a client is to be. Made by [`Client::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `connect` or `start`"]
pub struct Builder {
    url: String,
    token: TokenSource,
    device: Option<String>,
    replica: Option<Replica>,
    all: Option<Cursor>,
    backoff: (Duration, Duration),
    silence_max: Duration,
    retry_pause: (Duration, Duration),
    ca_certificates: Vec<u8>,
}

impl Builder {
    /// A token that is shown as it is. When it ends, so does the client: for scripts and tests.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = TokenSource::Fixed(token.into());
        self
    }

    /// Where tokens come from: asked before each connection, and when the token of an open one ends. It is asked
    /// once at a time; where it fails or takes longer than 15 s, it is asked again after a pause.
    pub fn token_provider<F, Fut>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        self.token = TokenSource::provider(provider);
        self
    }

    /// The stable name of this device, 1 to 64 characters. It is part of the key under which the server remembers
    /// commands, and the `origin` of the events that the device causes. Made up when not given.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Keeps the user's drafts, which [`Client::drafts`] shows.
    pub fn drafts(mut self) -> Self {
        self.replica.get_or_insert_default();
        self
    }

    /// Keeps the user's drafts, beginning with what an earlier client of the same user had
    /// ([`Drafts::replica`]): only what has changed since is sent.
    pub fn restore(mut self, replica: Replica) -> Self {
        self.replica = Some(replica);
        self
    }

    /// Where an earlier client stood in the stream `all` ([`Client::broadcast_cursor`]).
    pub fn broadcasts_from(mut self, cursor: Cursor) -> Self {
        self.all = Some(cursor);
        self
    }

    /// The pauses before another attempt are random below a longest one, which grows from `first` to `most`; 0.5 s
    /// and 30 s unless given.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = (first, most.max(first));
        self
    }

    /// How long a connection may be silent before it is given up, 20 s unless given. After half of it the server
    /// is asked for a sign of life. A message that takes longer to arrive ends the connection as well.
    pub fn silence_max(mut self, silence_max: Duration) -> Self {
        self.silence_max = silence_max;
        self
    }

    /// Commands that the server refuses for the moment (`unavailable`) are sent again after a pause, a part of which is
    /// random, and which grows from `first` to `most` while they are refused; 0.2 s and 5 s unless given.
    pub fn retry_pause(mut self, first: Duration, most: Duration) -> Self {
        self.retry_pause = (first, most.max(first));
        self
    }

    /// Certificates of authorities (PEM, one after the other) that are trusted besides those of the system: for `wss`
    /// addresses whose certificate is signed by an authority of one's own.
    #[cfg(feature = "tls")]
    pub fn ca_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificates = pem.into();
        self
    }

    /// Starts the client, which connects in the background and tries until it is closed. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`ConnectError::Address`] and [`ConnectError::Certificates`].
    pub fn start(self) -> Result<Client, ConnectError> {
        let url = address::websocket_url(&self.url)?;
        let is_tls = url.scheme_str() == Some("wss");
        let connector = if is_tls { connection::connector(&self.ca_certificates)? } else { Connector::Plain };
        let random = || format!("{:016x}", rand::random::<u64>());
        let session = Session::new(SessionOptions {
            device: self.device.unwrap_or_else(random),
            id_prefix: random(),
            replica: self.replica,
            all: self.all,
        });
        let (first, most) = self.backoff;
        let settings = Settings {
            url,
            connector,
            token: self.token,
            backoff: Backoff::new(first, most),
            silence_max: self.silence_max,
            retry_pause: self.retry_pause,
        };
        let shared = Arc::new(Shared::new(session));
        let task = tokio::spawn(connection::run(settings, Arc::clone(&shared)));
        Ok(Client { handle: Arc::new(Handle { shared, task }) })
    }

    /// Starts the client, and waits until it is connected.
    ///
    /// # Errors
    /// Why the first attempt failed; the client has ended then. Later ones are repeated.
    ///
    /// # Cancel safety
    /// Dropping the future ends the client.
    pub async fn connect(self) -> Result<Client, Arc<ConnectError>> {
        let client = self.start()?;
        let mut state = client.state();
        loop {
            match &*state.borrow_and_update() {
                ConnectionState::Connected { .. } => break,
                ConnectionState::Waiting { error, .. } | ConnectionState::Closed(Closed::Failed(error)) => {
                    return Err(Arc::clone(error));
                }
                ConnectionState::Connecting | ConnectionState::Closed(Closed::ByApplication) => {}
            }
            // The sender lives as long as the client.
            let _ = state.changed().await;
        }
        Ok(client)
    }
}

/// An event to publish.
#[derive(Debug, Clone)]
#[must_use = "an event is sent by `Client::publish`"]
pub struct NewEvent {
    event: String,
    data: Option<Json>,
    priority: Priority,
    key: Option<String>,
}

impl NewEvent {
    /// An event of a type, 1 to 64 characters of `A-Z 0-9 _`, without data.
    pub fn new(event: impl Into<String>) -> Self {
        Self { event: event.into(), data: None, priority: Priority::Normal, key: None }
    }

    /// Its data, as JSON.
    ///
    /// # Errors
    /// When the value does not serialise.
    pub fn data(mut self, data: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        self.data = Some(Json::of(data)?);
        Ok(self)
    }

    /// Its urgency: events above [`Priority::Normal`] are not held back by batch windows.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Makes it safe to publish again from another process: under the same device and key the server publishes it
    /// once (for its `COMMAND_MEMORY`, 24 h). Repetitions by one client need no key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// The payload of `PUBLISH`.
#[derive(Serialize)]
struct Publish<'a> {
    topic: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Json>,
    #[serde(skip_serializing_if = "is_normal")]
    priority: Priority,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    signal: bool,
}

fn is_normal(priority: &Priority) -> bool {
    *priority == Priority::Normal
}

/// A client of a Draftwire server: one connection, which it keeps, resumes and repeats over. Clones are handles of
/// the same client, which ends with the last of them and of its [`Topic`](crate::Topic)s and [`Drafts`].
#[derive(Debug, Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// A client of the server at this address: `https://host`, `wss://host/path`, `http` and `ws` likewise.
    /// Without a path, it is `/ws/realtime`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder {
            url: url.into(),
            token: TokenSource::None,
            device: None,
            replica: None,
            all: None,
            backoff: (BACKOFF_FIRST, BACKOFF_MOST),
            silence_max: SILENCE_MAX,
            retry_pause: RETRY_PAUSE,
            ca_certificates: Vec::new(),
        }
    }

    /// How the client stands with the server, to look at and to watch.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared().connection.subscribe()
    }

    /// The user's drafts. Their list stays empty unless the builder was asked to keep them.
    pub fn drafts(&self) -> Drafts {
        Drafts::new(Arc::clone(&self.handle))
    }

    /// Asks to follow a topic.
    pub fn topic(&self, name: impl Into<String>) -> TopicRequest {
        TopicRequest::new(Arc::clone(&self.handle), name.into())
    }

    /// Publishes an event, and waits until it is committed. Events are committed in the order in which these
    /// futures are first polled. Without a connection it waits for one.
    ///
    /// # Errors
    /// The server's refusal, or the end of the client.
    ///
    /// # Cancel safety
    /// Once it was polled and there was room, the event is published also when the future is dropped.
    pub async fn publish(&self, topic: &str, event: NewEvent) -> Result<Ack, CommandError> {
        let NewEvent { event, data, priority, key } = event;
        let publish = Publish { topic, event: &event, data: data.as_ref(), priority, signal: false };
        self.shared().command("PUBLISH", &publish, key).await
    }

    /// Sends a signal to those who follow the topic at this moment: it has no number and is not stored.
    ///
    /// # Errors
    /// [`CommandError::NotConnected`], as signals are not kept for later; the server's refusal; the end of the client.
    ///
    /// # Cancel safety
    /// Once polled, it is sent also when the future is dropped.
    pub async fn signal(&self, topic: &str, signal: NewEvent) -> Result<(), CommandError> {
        let (event, data) = (&signal.event, signal.data.as_ref());
        let signal = Publish { topic, event, data, priority: Priority::Normal, signal: true };
        self.shared().signal(&signal).await
    }

    /// The events of the user's stream that are no changes of drafts, from now on: what backends send to the user.
    pub fn user_events(&self) -> Events {
        Events { receiver: self.shared().user.subscribe(), shared: Arc::clone(self.shared()) }
    }

    /// What backends broadcast to everybody, from now on.
    pub fn broadcasts(&self) -> Events {
        Events { receiver: self.shared().all.subscribe(), shared: Arc::clone(self.shared()) }
    }

    /// Where the client stands in the stream `all`; `None` before the first connection.
    pub fn broadcast_cursor(&self) -> Option<Cursor> {
        self.shared().state().session.all().cloned()
    }

    /// Waits until every command has its answer.
    ///
    /// # Errors
    /// When the client ends before.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn flush(&self) -> Result<(), Closed> {
        self.shared().flushed().await
    }

    /// Ends the client. Commands without an answer are given up, and whoever waits for something is told so;
    /// [`Client::flush`] before loses none.
    pub fn close(&self) {
        self.shared().close(Closed::ByApplication);
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// The events of a stream that every connection of the user follows. It is a view of the client, and keeps
/// [`EVENTS_MAX`](crate::EVENTS_MAX) events that were not taken.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Notice>,
    shared: Arc<Shared>,
}

impl Events {
    /// The next event.
    ///
    /// # Errors
    /// The end of the client.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Notice, Closed> {
        let mut connection = self.shared.connection.subscribe();
        let is_closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
        tokio::select! {
            biased;
            received = self.receiver.recv() => match received {
                Ok(notice) => return Ok(notice),
                Err(broadcast::error::RecvError::Lagged(_)) => return Ok(Notice::Missed),
                Err(broadcast::error::RecvError::Closed) => {}
            },
            _ = connection.wait_for(is_closed) => {}
        }
        Err(self.shared.closed().unwrap_or(Closed::ByApplication))
    }
}
