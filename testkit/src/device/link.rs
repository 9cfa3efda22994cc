//! A device's connection, and coming back when it is lost.

use std::{sync::Arc, time::Duration};

use draftwire_client::session::{AfterClose, Effect};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    DeviceOptions, Observed, Violation,
    answer::{answer, local},
    shared::{Connected, Control, Shared},
    wire::{Framing, Gone, Incoming, Wire},
};
use crate::{contract, raw_socket::RawRequest};

/// How long a send may take before the connection counts as dead.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// How long `WELCOME` may take.
const WELCOME_WAIT: Duration = Duration::from_secs(10);

/// Refusals of fresh tokens in a row before a device believes them.
const UNAUTHORIZED_MAX: u32 = 3;

pub(super) struct Link {
    options: DeviceOptions,
    shared: Arc<Shared>,
    control: watch::Receiver<Control>,
    /// When to send again what was refused for the moment.
    retry_at: Option<Instant>,
    /// Pauses since a command was carried out.
    retries: u32,
}

/// Why a connection ended.
enum End {
    /// It broke, or the server asked to come back.
    Lost,
    /// The server asked to move; others are ready.
    Moved,
    /// The owner wants it so.
    Dropped,
    /// The token is taken no longer, as this code says.
    Unauthorized(u16),
    /// Coming back unchanged is pointless.
    Closed(u16),
    /// The device was dropped.
    Over,
}

impl Link {
    pub(super) fn new(
        options: DeviceOptions,
        shared: Arc<Shared>,
        control: watch::Receiver<Control>,
    ) -> Self {
        Self { options, shared, control, retry_at: None, retries: 0 }
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
            self.shared.change(|state| state.disconnected());
            if self.shared.state().counters.connections > before {
                attempts = 0;
                unauthorized = 0;
            }
            match end {
                End::Lost | End::Moved => {}
                End::Dropped => continue,
                End::Unauthorized(_) if unauthorized + 1 < UNAUTHORIZED_MAX => unauthorized += 1,
                End::Unauthorized(code) | End::Closed(code) => return self.shared.close(code),
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

    async fn connect(&mut self, turn: usize) -> End {
        let url = &self.options.urls[turn % self.options.urls.len()];
        let query = self.shared.state().replica.session.query();
        let query = query.into_iter().filter(|(name, _)| *name != "batch" || self.options.batch);
        let query = query.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
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
        let mut silence = WELCOME_WAIT;
        let mut silent_at = Instant::now() + silence;
        let mut move_at: Option<Instant> = None;
        self.retry_at = None;
        self.shared.change(|state| state.replica.connected());
        loop {
            if self.send_due(&mut wire).await.is_err() {
                return End::Lost;
            }
            self.plan_retry();
            let control = *self.control.borrow();
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
                                silence = 2 * heartbeat;
                                silent_at = Instant::now() + silence;
                            }
                            Taken::Move(wait) => move_at = Some(Instant::now() + wait),
                            Taken::Rejected => return End::Lost,
                        }
                    }
                }
                () = self.shared.wake.notified() => {
                    // A command may have been refused at once.
                    let effects = self.shared.change(|state| state.replica.settle());
                    self.act(effects);
                }
                () = sleep_until(self.retry_at.unwrap_or(silent_at)), if self.retry_at.is_some() => {
                    self.retry_at = None;
                    self.shared.state().replica.session.retry();
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

    /// Sends everything that the session has to say.
    async fn send_due(&self, wire: &mut Wire) -> Result<(), Gone> {
        loop {
            let message = self.shared.state().next_message();
            let Some(message) = message else { return Ok(()) };
            timeout(SEND_WAIT, wire.send(&message)).await.unwrap_or(Err(Gone))?;
        }
    }

    /// Plans the pause after which the session sends again what was refused for the moment.
    fn plan_retry(&mut self) {
        if self.retry_at.is_none() && self.shared.state().replica.session.wants_retry() {
            self.retry_at = Some(Instant::now() + self.backoff(self.retries));
            self.retries += 1;
        }
    }

    fn closed_with(&self, code: u16) -> End {
        self.shared.change(|state| state.counters.closes.push(code));
        match AfterClose::of(Some(code)) {
            AfterClose::RenewToken => End::Unauthorized(code),
            AfterClose::StayAway => End::Closed(code),
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
        let refused = (message["type"] == "ERROR").then(|| message.clone());
        if let Some(error) = &refused {
            self.shared.change(|state| state.refused(error));
        } else if message["type"] == "ACK" {
            self.retries = 0;
            let fault = self.shared.change(|state| state.acknowledged(&message));
            if let Some(fault) = fault {
                self.violation(Violation::Undocumented { fault });
            }
        }
        let effects = self.shared.change(|state| state.replica.take(message));
        if let Some(refused) = refused {
            self.give_up(&refused);
        }
        effects.map_or(Taken::Rejected, |effects| self.act(effects))
    }

    /// Acts on what the session asks for.
    fn act(&self, effects: Vec<Effect>) -> Taken {
        let mut taken = Taken::Nothing;
        for effect in effects {
            match effect {
                Effect::Connected(welcome) => {
                    taken = Taken::Welcome(Duration::from_millis(welcome.heartbeat_ms));
                    self.shared.change(|state| {
                        state.counters.connections += 1;
                        *state.counters.nodes.entry(welcome.node.clone()).or_default() += 1;
                        let (node, connection_id) = (welcome.node, welcome.connection_id);
                        state.connected = Some(Connected { node, connection_id });
                    });
                }
                Effect::Answered { id, result, .. } => self.shared.answer(&id, answer(result)),
                Effect::Reconnect(after) => taken = Taken::Move(after),
                // The next connection asks for a token anyway.
                _ => {}
            }
        }
        taken
    }

    /// Gives up a command that was refused for the moment, when the owner is to hear of it.
    fn give_up(&self, refused: &Value) {
        let id = refused["id"].as_str().unwrap_or_default();
        if self.options.repeat_unavailable || !self.shared.state().replica.session.withdraw(id) {
            return;
        }
        let text = refused["message"].as_str().unwrap_or_default();
        self.shared.answer(id, Err(local("unavailable", text)));
    }

    fn violation(&self, violation: Violation) {
        self.shared.change(|state| state.replica.violate(violation));
    }
}

/// What a message means to the connection.
enum Taken {
    Nothing,
    Welcome(Duration),
    Move(Duration),
    /// The session does not take it.
    Rejected,
}
