//! A device's connection, and coming back when it is lost.

mod commands;
mod topics;

use std::{sync::Arc, time::Duration};

use common::{close::Close, protocol::Welcome};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    DeviceOptions, Observed, Track, Violation,
    answer::{Ack, Refused, local},
    shared::{Connected, Control, Outgoing, Shared},
    wire::{Framing, Incoming, Wire},
};
use crate::{contract, raw_socket::RawRequest};

/// Commands without an answer at one time; further ones wait in the queue.
const PENDING_MAX: usize = 1024;

/// How long a send may take before the connection counts as dead.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// How long `WELCOME` may take.
const WELCOME_WAIT: Duration = Duration::from_secs(10);

/// Refusals of fresh tokens in a row before a device believes them.
const UNAUTHORIZED_MAX: u32 = 3;

/// The id of the device's own `DRAFT_LIST`.
const LIST_ID: &str = "list";

pub(super) struct Link {
    options: DeviceOptions,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Outgoing>,
    control: watch::Receiver<Control>,
    /// Commands without an answer, in the order in which they were given.
    pending: Vec<Pending>,
    /// When to send again what was refused for the moment. Until then further changes are held back, so
    /// that they keep their order.
    repeat_at: Option<Instant>,
    /// Pauses since a command was carried out.
    repeats: u32,
    /// Refused commands that nobody waits for any more; the server is to hear of it.
    given_up: Vec<String>,
    /// When to ask again for topics that were refused as `unavailable`.
    topics_at: Option<Instant>,
    /// How often in a row that was so.
    topics_refused: u32,
    next_topics: u64,
}

struct Pending {
    id: String,
    message: Value,
    asker: Asker,
    /// Whether it was sent on some connection.
    sent: bool,
    /// Whether it is to be sent when the pause is over: it was refused for the moment, or held back.
    waits: bool,
}

/// Who waits for an answer.
enum Asker {
    Owner(oneshot::Sender<Result<Ack, Refused>>),
    /// The device itself, for its drafts.
    List,
    /// The device itself, for these topics; on this connection alone.
    Subscribe(Vec<String>),
    /// The device itself, to be rid of this topic; on this connection alone.
    Unsubscribe(String),
}

/// Why a connection ended.
enum End {
    /// It broke, or the server asked to come back.
    Lost,
    /// The server asked to move; others are ready.
    Moved,
    /// The owner wants it so.
    Dropped,
    /// The token was refused.
    Unauthorized,
    /// Coming back unchanged is pointless.
    Closed(u16),
    /// The device was dropped.
    Over,
}

impl Link {
    pub(super) fn new(
        options: DeviceOptions,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Outgoing>,
        control: watch::Receiver<Control>,
    ) -> Self {
        Self {
            options,
            shared,
            queue,
            control,
            pending: Vec::new(),
            repeat_at: None,
            repeats: 0,
            given_up: Vec::new(),
            topics_at: None,
            topics_refused: 0,
            next_topics: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut turn = 0;
        let mut attempts = 0;
        let mut unauthorized = 0;
        loop {
            if self.control.wait_for(|control| control.online).await.is_err() || self.options.urls.is_empty()
            {
                return;
            }
            let before = self.shared.state().counters.connections;
            let end = self.connect(turn).await;
            turn += 1;
            self.observe(&Observed::Ended);
            self.shared.change(|state| state.connected = None);
            if self.shared.state().counters.connections > before {
                attempts = 0;
                unauthorized = 0;
            }
            match end {
                End::Lost | End::Moved => {}
                End::Dropped => continue,
                End::Unauthorized if unauthorized + 1 < UNAUTHORIZED_MAX => unauthorized += 1,
                End::Unauthorized => return self.close(Close::Unauthorized.code()),
                End::Closed(code) => return self.close(code),
                End::Over => return,
            }
            sleep(self.backoff(attempts)).await;
            attempts += 1;
        }
    }

    /// By chance also before the first attempt: whoever lost the same node does not come at once.
    fn backoff(&self, attempts: u32) -> Duration {
        let longest = self.options.backoff_min.saturating_mul(1 << attempts.min(10));
        longest.min(self.options.backoff_max).mul_f64(rand::random_range(0.5..=1.0))
    }

    fn close(mut self, code: u16) {
        self.shared.change(|state| state.closed = Some(code));
        for pending in self.pending.drain(..) {
            if let Asker::Owner(owner) = pending.asker {
                // The caller may have given up.
                let _ = owner.send(Err(local("closed", &format!("closed with {code}"))));
            }
        }
    }

    async fn connect(&mut self, turn: usize) -> End {
        let url = &self.options.urls[turn % self.options.urls.len()];
        let mut query = format!("device={}", self.options.device);
        {
            let state = self.shared.state();
            let all = state.replica.stream("all").and_then(Track::cursor);
            for (name, cursor) in [("cursor", state.replica.cursor()), ("all", all)] {
                query += &cursor.map_or_else(String::new, |cursor| format!("&{name}={cursor}"));
            }
        }
        if self.options.batch {
            query += "&batch=1";
        }
        let mut request = RawRequest::new(format!("{url}?{query}")).wait(self.options.connect_wait);
        let token = (self.options.token)();
        if !token.is_empty() {
            request = request.bearer(&token);
        }
        if let Some(bytes) = self.options.receive_buffer_bytes {
            request = request.receive_buffer_bytes(bytes);
        }
        match Wire::open(request, self.options.encoding).await {
            Ok(wire) => self.follow(wire).await,
            Err(_) => End::Lost,
        }
    }

    /// One connection, from the handshake to its end.
    async fn follow(&mut self, mut wire: Wire) -> End {
        let dropped = self.control.borrow_and_update().dropped;
        let mut welcomed = false;
        let mut silence = WELCOME_WAIT;
        let mut silent_at = Instant::now() + silence;
        let mut move_at: Option<Instant> = None;
        self.topics_at = None;
        self.pending.retain(|pending| !pending.asker.is_of_connection());
        self.repeat_at = None;
        self.given_up.clear();
        loop {
            let control = *self.control.borrow();
            let repeat_at = self.repeat_at.into_iter().chain(self.topics_at).min();
            tokio::select! {
                changed = self.control.changed() => {
                    let control = *self.control.borrow_and_update();
                    if changed.is_err() {
                        return End::Over;
                    }
                    if !control.online || control.dropped != dropped {
                        return End::Dropped;
                    }
                    // What was not looked for was not missing.
                    silent_at = Instant::now() + silence;
                    if welcomed && self.ask_for_topics(&mut wire).await.is_err() {
                        return End::Lost;
                    }
                }
                incoming = wire.next(), if control.reading => {
                    silent_at = Instant::now() + silence;
                    let messages = match incoming {
                        Incoming::Messages(messages, framing) => {
                            self.check_framing(framing);
                            messages
                        }
                        Incoming::Malformed(text) => {
                            self.violation(Violation::Malformed { text });
                            continue;
                        }
                        Incoming::Nothing => continue,
                        Incoming::Closed(code) => {
                            // Reading on is what answers the close frame.
                            let _ = timeout(Duration::from_secs(1), wire.next()).await;
                            return self.closed_with(code);
                        }
                        Incoming::Lost => return End::Lost,
                    };
                    for message in messages {
                        match self.take(message) {
                            Taken::Nothing => {}
                            Taken::Welcome(heartbeat) => {
                                welcomed = true;
                                silence = 2 * heartbeat;
                                silent_at = Instant::now() + silence;
                                if self.resend(&mut wire).await.is_err() {
                                    return End::Lost;
                                }
                            }
                            Taken::Move(wait) => move_at = Some(Instant::now() + wait),
                        }
                    }
                    if self.give_up(&mut wire).await.is_err() {
                        return End::Lost;
                    }
                }
                outgoing = self.queue.recv(), if welcomed && self.pending.len() < PENDING_MAX => {
                    let Some(outgoing) = outgoing else { return End::Over };
                    let asker = Asker::Owner(outgoing.answer);
                    if self.repeat_at.is_some() {
                        let mut pending = Pending::new(outgoing.id, outgoing.message, asker);
                        pending.waits = true;
                        self.pending.push(pending);
                    } else if self.ask(&mut wire, outgoing.id, outgoing.message, asker).await.is_err() {
                        return End::Lost;
                    }
                }
                () = sleep_until(repeat_at.unwrap_or(silent_at)), if welcomed && repeat_at.is_some() => {
                    if self.repeat_due(&mut wire).await.is_err() {
                        return End::Lost;
                    }
                }
                () = sleep_until(silent_at), if control.reading => {
                    self.shared.change(|state| state.counters.silent += 1);
                    return End::Lost;
                }
                () = sleep_until(move_at.unwrap_or(silent_at)), if move_at.is_some() => {
                    self.shared.change(|state| state.counters.moved += 1);
                    let _ = timeout(Duration::from_secs(1), wire.close()).await;
                    return End::Moved;
                }
            }
        }
    }

    fn closed_with(&self, code: u16) -> End {
        self.shared.change(|state| state.counters.closes.push(code));
        match Close::ALL.into_iter().find(|close| close.code() == code) {
            Some(Close::Unauthorized) => End::Unauthorized,
            Some(close) if !close.come_back() => End::Closed(code),
            _ => End::Lost,
        }
    }

    fn check_framing(&self, framing: Framing) {
        match framing {
            Framing::Alone => {}
            Framing::Array if self.options.batch => self.shared.change(|state| state.counters.batches += 1),
            Framing::Array => {
                self.violation(Violation::Malformed {
                    text: "an array that nobody has asked for".to_owned(),
                });
            }
        }
    }

    fn observe(&self, observed: &Observed<'_>) {
        if let Some(observer) = &self.options.observer {
            observer(observed);
        }
    }

    /// Takes one message of the server.
    fn take(&mut self, message: Value) -> Taken {
        self.observe(&Observed::Message(&message));
        if let Some(fault) = contract::message_fault(&message) {
            self.violation(Violation::Undocumented { fault });
        }
        let milliseconds = |value: &Value| Duration::from_millis(value.as_u64().unwrap_or(0));
        match message["type"].as_str().unwrap_or_default() {
            "WELCOME" => {
                let Ok(welcome) = serde_json::from_value::<Welcome>(message["payload"].clone()) else {
                    self.violation(Violation::Malformed { text: message.to_string() });
                    return Taken::Nothing;
                };
                self.shared.change(|state| {
                    let seq = welcome.seq.map(|seq| seq.0);
                    state.replica.welcome(welcome.epoch.as_str(), seq, welcome.all_seq.0);
                    state.counters.connections += 1;
                    *state.counters.nodes.entry(welcome.node.to_string()).or_default() += 1;
                    state.connected = Some(Connected {
                        node: welcome.node.to_string(),
                        connection_id: welcome.connection_id.to_string(),
                    });
                });
                return Taken::Welcome(Duration::from_millis(welcome.heartbeat_ms));
            }
            "ACK" => {
                let ack = Ack { seq: message["seq"].as_u64(), payload: message["payload"].clone() };
                self.answer(&message, Ok(ack));
            }
            "ERROR" => self.refused(&message),
            "RECONNECT" => return Taken::Move(milliseconds(&message["payload"]["inMs"])),
            // The next connection asks for a token anyway.
            "PONG" | "TOKEN_EXPIRING" => {}
            _ => self.shared.change(|state| state.replica.take(message)),
        }
        Taken::Nothing
    }

    fn refused(&mut self, message: &Value) {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        let refused =
            Refused { code: text("code"), message: text("message"), payload: message["payload"].clone() };
        if refused.code == "unavailable" {
            self.shared.change(|state| state.counters.unavailable += 1);
            let id = text("id");
            let pending = self.pending.iter().position(|pending| pending.id == id);
            if let Some(at) = pending
                && (self.options.repeat_unavailable || !matches!(self.pending[at].asker, Asker::Owner(_)))
            {
                self.pending[at].waits = true;
                if self.repeat_at.is_none() {
                    self.repeat_at = Some(Instant::now() + self.backoff(self.repeats));
                    self.repeats += 1;
                }
                return;
            }
            if pending.is_some() {
                self.given_up.push(id);
            }
        }
        self.answer(message, Err(refused));
    }

    fn answer(&mut self, message: &Value, answer: Result<Ack, Refused>) {
        let id = message["id"].as_str().unwrap_or_default();
        let Some(at) = self.pending.iter().position(|pending| pending.id == id) else {
            self.violation(Violation::AnswerToNothing { id: id.to_owned() });
            return;
        };
        let pending = self.pending.remove(at);
        if answer.is_ok() {
            self.repeats = 0;
            if let Some(fault) = contract::command_fault(&pending.message, message) {
                self.violation(Violation::Undocumented { fault });
            }
        }
        match pending.asker {
            // The caller may have given up.
            Asker::Owner(owner) => drop(owner.send(answer)),
            Asker::List => {
                if let Ok(ack) = answer {
                    self.shared.change(|state| state.replica.list(&ack.payload));
                }
            }
            Asker::Subscribe(names) => self.subscribed(&names, answer),
            Asker::Unsubscribe(name) => self.unsubscribed(&name),
        }
    }

    fn violation(&self, violation: Violation) {
        self.shared.change(|state| state.replica.violations.push(violation));
    }
}

/// What a message means to the connection.
enum Taken {
    Nothing,
    Welcome(Duration),
    Move(Duration),
}

impl Asker {
    /// Whether the next connection has no use for the answer.
    fn is_of_connection(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(_))
    }
}

impl Pending {
    fn new(id: String, message: Value, asker: Asker) -> Self {
        Self { id, message, asker, sent: false, waits: false }
    }
}
