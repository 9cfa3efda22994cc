//! A client of server-sent events that checks what it is sent, and comes back with its last id.

mod parser;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use draftwire_client::{Cursor, session::Effect};
use reqwest::{Client, StatusCode, header};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use self::parser::{Parser, ServerEvent};
use crate::{
    contract,
    device::{Replica, TokenSource, Track, Violation, stream_of},
    http,
};

/// How long the headers of an answer may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How a follower behaves.
#[derive(Clone)]
pub struct SseOptions {
    /// Where to connect to (`http://…/v1/stream`), in turn.
    pub urls: Vec<String>,
    /// The names of the topics to follow.
    pub topics: Vec<String>,
    /// The token, asked for anew before each connection; an empty one stands for none.
    pub token: TokenSource,
    /// The wait before the first reconnect; doubled with each further one, and spread by chance.
    pub backoff_min: Duration,
    /// The longest wait between reconnects.
    pub backoff_max: Duration,
    /// After how long without a byte, comments included, the connection counts as dead.
    pub silence_max: Duration,
    /// Whether whole events are kept, not only their numbers.
    pub keep_messages: bool,
}

impl SseOptions {
    /// A follower of `topics`, connecting to `urls` in turn.
    pub fn new(urls: Vec<String>, topics: &[&str], token: TokenSource) -> Self {
        Self {
            urls,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            token,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            silence_max: Duration::from_secs(60),
            keep_messages: false,
        }
    }

    /// Keeping whole events.
    #[must_use]
    pub fn keep_messages(mut self) -> Self {
        self.keep_messages = true;
        self
    }
}

/// What happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseCounters {
    /// Connections that reached `WELCOME`.
    pub connections: u64,
    /// The same by the node that served them.
    pub nodes: BTreeMap<String, u64>,
    /// Comment lines.
    pub comments: u64,
    /// The statuses of answers that were no stream.
    pub refusals: Vec<u16>,
}

/// A follower. Dropping it ends its connection without a word.
#[derive(Debug)]
pub struct SseFollower {
    shared: Arc<Shared>,
    dropped: watch::Sender<u64>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    replica: Replica,
    counters: SseCounters,
    last_id: Option<String>,
    /// The status after which it does not come back.
    closed: Option<u16>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while looking has changed nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }
}

impl SseFollower {
    /// Starts a follower, which begins to connect. Needs a runtime.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn start(options: SseOptions) -> Result<Self> {
        // Without a limit of time: the answer never ends.
        let client = http::builder().connect_timeout(CONNECT_WAIT).build().context("an HTTP client")?;
        let state = State {
            replica: Replica::new("", false, options.keep_messages),
            counters: SseCounters::default(),
            last_id: None,
            closed: None,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) });
        let dropped = watch::Sender::new(0);
        let link = Link { options, client, shared: Arc::clone(&shared), dropped: dropped.subscribe() };
        Ok(Self { shared, dropped, task: tokio::spawn(link.run()) })
    }

    /// Looks at all that it knows at one moment. `look` must be quick: the follower stands still for it.
    pub fn look<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.shared.state().replica)
    }

    /// What was wrong so far. Empty is what every test ends with.
    pub fn violations(&self) -> Vec<Violation> {
        self.look(|replica| replica.violations().to_vec())
    }

    /// What happened so far.
    pub fn counters(&self) -> SseCounters {
        self.shared.state().counters.clone()
    }

    /// The last id that came; what a browser would send back.
    pub fn last_id(&self) -> Option<String> {
        self.shared.state().last_id.clone()
    }

    /// The status after which it does not come back; `None` while it does.
    pub fn closed(&self) -> Option<u16> {
        self.shared.state().closed
    }

    /// Ends the connection without a word; the follower comes back by itself.
    pub fn drop_connection(&self) {
        self.dropped.send_modify(|dropped| *dropped += 1);
    }

    /// Waits until it knows what `condition` asks for.
    ///
    /// # Panics
    /// When the deadline has passed: with what was waited for, and how it stands.
    pub async fn wait_until(&self, what: &str, deadline: Duration, condition: impl Fn(&Replica) -> bool) {
        if self.watch(deadline, |state| condition(&state.replica)).await {
            return;
        }
        let state = self.shared.state();
        panic!(
            "a follower waited {deadline:?} to: {what}. It is at {:?}, {:?}, closed: {:?}, violations: {:?}",
            state.last_id,
            state.counters,
            state.closed,
            state.replica.violations(),
        );
    }

    async fn watch(&self, deadline: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let watched = async {
            while !condition(&self.shared.state()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(deadline, watched).await;
        condition(&self.shared.state())
    }
}

impl Drop for SseFollower {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            // Every test ends with it, whatever else it looks at.
            contract::check(Violation::undocumented(&self.violations()));
        }
    }
}

struct Link {
    options: SseOptions,
    client: Client,
    shared: Arc<Shared>,
    dropped: watch::Receiver<u64>,
}

impl Link {
    async fn run(mut self) {
        let mut attempts = 0;
        for turn in 0.. {
            if self.options.urls.is_empty() {
                return;
            }
            let before = self.shared.state().counters.connections;
            let refused = self.connect(turn).await;
            self.shared.change(|state| state.replica.disconnected());
            if let Some(status) = refused {
                let come_back = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                self.shared.change(|state| {
                    state.counters.refusals.push(status.as_u16());
                    state.closed = (!come_back).then_some(status.as_u16());
                });
                if !come_back {
                    return;
                }
            }
            if self.shared.state().counters.connections > before {
                attempts = 0;
            }
            let longest = self.options.backoff_min.saturating_mul(1 << attempts.min(10));
            let longest = longest.min(self.options.backoff_max);
            sleep(longest.mul_f64(rand::random_range(0.5..=1.0))).await;
            attempts += 1;
        }
    }

    /// One connection. Returns the status when it was refused.
    async fn connect(&mut self, turn: usize) -> Option<StatusCode> {
        let mut url = self.options.urls[turn % self.options.urls.len()].clone();
        if !self.options.topics.is_empty() {
            // Names of topics need no escapes.
            url += &format!("?topics={}", self.options.topics.join(","));
        }
        let mut request = self.client.get(url).header(header::ACCEPT, "text/event-stream");
        let token = (self.options.token)();
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(id) = self.shared.state().last_id.clone() {
            request = request.header("last-event-id", id);
        }
        self.dropped.mark_unchanged();
        let (client, request) = request.build_split();
        let request = request.ok()?;
        let sent = request.try_clone();
        let mut answer = match timeout(CONNECT_WAIT, client.execute(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => return None,
        };
        let fields = http::fields(answer.headers());
        if let Some(fault) = sent.and_then(|sent| http::fault(&sent, answer.status().as_u16(), &fields, None))
        {
            self.violation(Violation::Undocumented { fault });
        }
        if answer.status() != StatusCode::OK {
            return Some(answer.status());
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            self.violation(Violation::Malformed { text: format!("content-type: {kind:?}") });
        }
        self.shared.change(|state| state.replica.connected());
        let mut parser = Parser::default();
        loop {
            let chunk = tokio::select! {
                chunk = timeout(self.options.silence_max, answer.chunk()) => chunk,
                _ = self.dropped.changed() => return None,
            };
            let Ok(Ok(Some(bytes))) = chunk else { return None };
            for event in parser.feed(&bytes) {
                self.take(event)?;
            }
            let comments = parser.take_comments();
            if comments > 0 {
                self.shared.change(|state| state.counters.comments += comments);
            }
        }
    }

    /// Takes an event; `None` when the connection has to end.
    fn take(&self, event: ServerEvent) -> Option<()> {
        let Ok(message) = serde_json::from_str::<Value>(&event.data) else {
            self.violation(Violation::Malformed { text: event.data });
            return Some(());
        };
        if let Some(fault) = contract::message_fault(&message) {
            self.violation(Violation::Undocumented { fault });
        }
        if message["type"] != event.name.as_str() {
            let text = format!("{} is named {}", event.data, event.name);
            self.violation(Violation::Malformed { text });
            return Some(());
        }
        self.shared.change(|state| {
            for effect in state.replica.take(message)? {
                if let Effect::Connected(welcome) = effect {
                    state.counters.connections += 1;
                    *state.counters.nodes.entry(welcome.node).or_default() += 1;
                    self.begin(state, event.id.as_deref(), &welcome.epoch);
                }
            }
            if let Some(id) = event.id {
                let reached = self.reached(state);
                if positions(&id).as_ref() != Some(&reached) {
                    let reached = format!("{reached:?}");
                    state.replica.violate(Violation::EventId { said: id.clone(), reached });
                }
                state.last_id = Some(id);
            }
            Some(())
        })
    }

    /// The connection follows its topics from the beginning: where `id` says, or where they stood.
    fn begin(&self, state: &mut State, id: Option<&str>, epoch: &str) {
        let said = id.and_then(positions);
        for topic in &self.options.topics {
            let at = said.as_ref().and_then(|streams| streams.get(&stream_of(topic)));
            state.replica.begin(topic, epoch, at.map(|cursor| cursor.seq));
        }
    }

    /// What the id must say, by what has come: every stream, each in the history that it has reached.
    fn reached(&self, state: &State) -> Positions {
        let replica = &state.replica;
        let stream = |stream: &str| replica.stream(stream).and_then(Track::cursor);
        let topics = self.options.topics.iter().map(|topic| stream_of(topic));
        let streams = topics.chain(["all".to_owned()]).map(|name| (stream(&name), name));
        let streams = streams.chain([(replica.cursor(), "user".to_owned())]);
        streams.filter_map(|(cursor, name)| Some((name, cursor?.parse().ok()?))).collect()
    }

    fn violation(&self, violation: Violation) {
        self.shared.change(|state| state.replica.violate(violation));
    }
}

/// Where a client stands in each stream.
type Positions = BTreeMap<String, Cursor>;

/// Reads `<epoch>/<stream>=<seq>,…;<epoch>/…`.
fn positions(id: &str) -> Option<Positions> {
    let mut positions = Positions::new();
    for group in id.split(';') {
        let (epoch, streams) = group.split_once('/')?;
        for stream in streams.split(',') {
            let (name, seq) = stream.rsplit_once('=')?;
            positions.insert(name.to_owned(), Cursor::new(epoch, seq.parse().ok()?));
        }
    }
    Some(positions)
}
