//! A device's connection, and coming back when it is lost.

use std::{sync::Arc, time::Duration};

use common::{close::Close, protocol::Welcome};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{Ack, Connected, Control, DeviceOptions, Outgoing, Refused, Shared, Violation, local};
use crate::raw_socket::RawRequest;

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
    /// Commands without an answer, oldest first.
    pending: Vec<Pending>,
}

struct Pending {
    id: String,
    text: String,
    answer: Option<oneshot::Sender<Result<Ack, Refused>>>,
    /// When to send it again after `unavailable`.
    repeat_at: Option<Instant>,
    repeats: u32,
    sent: bool,
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
        Self { options, shared, queue, control, pending: Vec::new() }
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
            pending.settle(Err(local("closed", &format!("closed with {code}"))));
        }
    }

    async fn connect(&mut self, turn: usize) -> End {
        let url = &self.options.urls[turn % self.options.urls.len()];
        let cursor = self.shared.state().replica.cursor();
        let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let mut request = RawRequest::new(format!("{url}?device={}{cursor}", self.options.device))
            .token(&(self.options.token)())
            .wait(self.options.connect_wait);
        if let Some(bytes) = self.options.receive_buffer_bytes {
            request = request.receive_buffer_bytes(bytes);
        }
        match request.open().await {
            Ok(socket) => self.follow(socket).await,
            Err(_) => End::Lost,
        }
    }

    /// One connection, from the handshake to its end.
    async fn follow(&mut self, mut socket: WebSocketStream<TcpStream>) -> End {
        let dropped = self.control.borrow_and_update().dropped;
        let mut welcomed = false;
        let mut silence = WELCOME_WAIT;
        let mut silent_at = Instant::now() + silence;
        let mut move_at: Option<Instant> = None;
        for pending in &mut self.pending {
            pending.repeat_at = None;
        }
        loop {
            let control = *self.control.borrow();
            let repeat_at = self.pending.iter().filter_map(|pending| pending.repeat_at).min();
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
                }
                message = socket.next(), if control.reading => {
                    silent_at = Instant::now() + silence;
                    let text = match message {
                        Some(Ok(Message::Text(text))) => text,
                        Some(Ok(Message::Close(frame))) => {
                            let code = frame.map_or(1005, |frame| frame.code.into());
                            // Reading on is what answers the close frame.
                            let _ = timeout(Duration::from_secs(1), socket.next()).await;
                            return self.closed_with(code);
                        }
                        Some(Ok(_)) => continue,
                        Some(Err(_)) | None => return End::Lost,
                    };
                    match self.take(text.as_str()) {
                        Taken::Nothing => {}
                        Taken::Welcome(heartbeat) => {
                            welcomed = true;
                            silence = 2 * heartbeat;
                            silent_at = Instant::now() + silence;
                            if self.resend(&mut socket).await.is_err() {
                                return End::Lost;
                            }
                        }
                        Taken::Move(wait) => move_at = Some(Instant::now() + wait),
                    }
                }
                outgoing = self.queue.recv(), if welcomed && self.pending.len() < PENDING_MAX => {
                    let Some(outgoing) = outgoing else { return End::Over };
                    let mut pending = Pending::new(outgoing.id, outgoing.text, Some(outgoing.answer));
                    pending.sent = true;
                    let text = pending.text.clone();
                    self.pending.push(pending);
                    if send(&mut socket, text).await.is_err() {
                        return End::Lost;
                    }
                }
                () = sleep_until(repeat_at.unwrap_or(silent_at)), if welcomed && repeat_at.is_some() => {
                    if self.repeat_due(&mut socket).await.is_err() {
                        return End::Lost;
                    }
                }
                () = sleep_until(silent_at), if control.reading => {
                    self.shared.change(|state| state.counters.silent += 1);
                    return End::Lost;
                }
                () = sleep_until(move_at.unwrap_or(silent_at)), if move_at.is_some() => {
                    self.shared.change(|state| state.counters.moved += 1);
                    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
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

    /// Sends every command without an answer, in the order in which they were given.
    async fn resend(&mut self, socket: &mut WebSocketStream<TcpStream>) -> Result<(), ()> {
        let needs_list = !self.shared.state().replica.is_complete();
        if needs_list && !self.pending.iter().any(|pending| pending.id == LIST_ID) {
            let text = json!({ "type": "DRAFT_LIST", "id": LIST_ID }).to_string();
            self.pending.insert(0, Pending::new(LIST_ID.to_owned(), text, None));
        }
        for pending in &mut self.pending {
            if pending.sent {
                self.shared.change(|state| state.counters.resent += 1);
            }
            pending.sent = true;
            send(socket, pending.text.clone()).await?;
        }
        Ok(())
    }

    async fn repeat_due(&mut self, socket: &mut WebSocketStream<TcpStream>) -> Result<(), ()> {
        let now = Instant::now();
        for pending in &mut self.pending {
            if pending.repeat_at.is_some_and(|at| at <= now) {
                pending.repeat_at = None;
                send(socket, pending.text.clone()).await?;
            }
        }
        Ok(())
    }

    /// Takes one message of the server.
    fn take(&mut self, text: &str) -> Taken {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            self.violation(Violation::Malformed { text: text.to_owned() });
            return Taken::Nothing;
        };
        let milliseconds = |value: &Value| Duration::from_millis(value.as_u64().unwrap_or(0));
        match message["type"].as_str().unwrap_or_default() {
            "WELCOME" => {
                let Ok(welcome) = serde_json::from_value::<Welcome>(message["payload"].clone()) else {
                    self.violation(Violation::Malformed { text: text.to_owned() });
                    return Taken::Nothing;
                };
                self.shared.change(|state| {
                    state.replica.welcome(welcome.epoch.as_str(), welcome.seq.unwrap_or_default().0);
                    state.counters.connections += 1;
                    *state.counters.nodes.entry(welcome.node.to_string()).or_default() += 1;
                    state.connected = Some(Connected {
                        node: welcome.node.to_string(),
                        connection_id: welcome.connection_id.to_string(),
                    });
                });
                return Taken::Welcome(Duration::from_millis(welcome.heartbeat_ms));
            }
            "SYNCED" => self.shared.change(|state| state.replica.take_synced(&message)),
            "SNAPSHOT" if message["stream"] == "user" => {
                self.shared.change(|state| state.replica.snapshot(&message));
            }
            "ACK" => {
                let ack = Ack { seq: message["seq"].as_u64(), payload: message["payload"].clone() };
                self.answer(&message, Ok(ack));
            }
            "ERROR" => self.refused(&message),
            "RECONNECT" => return Taken::Move(milliseconds(&message["payload"]["inMs"])),
            // The next connection asks for a token anyway; a signal has no number.
            "SNAPSHOT" | "PONG" | "TOKEN_EXPIRING" | "SIGNAL" => {}
            _ => self.shared.change(|state| state.replica.event(message)),
        }
        Taken::Nothing
    }

    fn refused(&mut self, message: &Value) {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        let refused =
            Refused { code: text("code"), message: text("message"), payload: message["payload"].clone() };
        if matches!(refused.code.as_str(), "unavailable" | "rate_limited") {
            self.shared.change(|state| state.counters.unavailable += 1);
            let id = text("id");
            let pending = self.pending.iter().position(|pending| pending.id == id);
            if let Some(at) = pending
                && (self.options.repeat_unavailable || id == LIST_ID)
            {
                let wait = self.backoff(self.pending[at].repeats);
                self.pending[at].repeats += 1;
                self.pending[at].repeat_at = Some(Instant::now() + wait);
                return;
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
        if let (LIST_ID, Ok(ack)) = (id, &answer) {
            self.shared.change(|state| state.replica.list(&ack.payload));
        }
        pending.settle(answer);
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

impl Pending {
    fn new(id: String, text: String, answer: Option<oneshot::Sender<Result<Ack, Refused>>>) -> Self {
        Self { id, text, answer, repeat_at: None, repeats: 0, sent: false }
    }

    fn settle(self, result: Result<Ack, Refused>) {
        if let Some(answer) = self.answer {
            // The caller may have given up.
            let _ = answer.send(result);
        }
    }
}

async fn send(socket: &mut WebSocketStream<TcpStream>, text: String) -> Result<(), ()> {
    match timeout(SEND_WAIT, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}
