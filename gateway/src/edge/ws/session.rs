//! One connection, from `WELCOME` to the close.
//!
//! A session is one task. Commands are carried out concurrently and answered as they are done; events
//! are not queued for the session but read from its streams, at its own cursors, whenever the socket
//! has room. So a client that does not read costs its cursors and what is being written.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use common::{
    CommandId, ConnectionId, Cursor, DeviceId, TopicName,
    close::Close,
    message::Encoding,
    protocol::{Reconnect, ServerMessage, TokenExpiring},
    time::unix_ms,
};
use metrics::{counter, histogram};
use tokio::{
    sync::Semaphore,
    task::coop::consume_budget,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tracing::debug;
use websocket::{Deflate, Ended, Received, Socket, Violation};

use super::{
    close,
    heartbeat::{Beat, Heartbeat},
    order::{Order, Taken},
    outbox::Frames,
    rate::Rate,
    topics::PendingSubscribe,
    wake_filter::WakeFilter,
};
use crate::{
    auth::{AuthError, Expiry, Identity, TokenState},
    config,
    edge::connections::ConnectionGuard,
    node::Node,
    subscriptions::{InitialStreams, Lost, Outbox, Subscriptions, in_flight::InFlight},
};

/// Who has connected, with what.
pub(crate) struct Client {
    /// `None` for one without a token, who may follow what is open to everybody.
    pub(crate) identity: Option<Identity>,
    pub(crate) connection: ConnectionId,
    pub(crate) device: DeviceId,
    /// Where the device stopped on its user's stream.
    pub(crate) cursor: Option<Cursor>,
    /// Where it stopped on the stream of all.
    pub(crate) all: Option<Cursor>,
    /// How it reads and writes messages.
    pub(crate) encoding: Encoding,
    pub(crate) deflate: Deflate,
    /// Whether it takes arrays of messages.
    pub(crate) batch: bool,
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has gone; there is nobody to tell.
    Gone,
    /// We close.
    Close(Close, String),
}

impl End {
    pub(super) fn close(close: Close, reason: impl Into<String>) -> Self {
        Self::Close(close, reason.into())
    }
}

/// Why the session loop woke up.
enum Wakeup {
    /// Something to hand out.
    Events,
    /// A message of the client, or the end of the connection.
    Received(Result<Received, Ended>),
    /// The end of a command.
    CommandOutcome(CommandOutcome),
    /// The time to act by itself.
    Alarm,
    /// The same device has connected anew, and taken this one's place.
    Replaced,
}

/// The result of a finished command.
pub(super) enum CommandOutcome {
    /// The answer.
    Reply(Bytes),
    /// The outcome of a change, and its answer.
    Changed { taken: Taken, id: CommandId, decided: bool, reply: Bytes },
    /// Topics that were joined.
    Joined(Box<PendingSubscribe>),
    /// What a fresh token says.
    Auth(CommandId, Result<Identity, AuthError>),
}

pub(super) struct Session {
    pub(super) node: Arc<Node>,
    pub(super) client: Client,
    pub(super) socket: Socket,
    pub(super) subscriptions: Subscriptions,
    /// Topics that are being joined, and the commands that want them.
    pub(super) joining: Vec<(CommandId, TopicName)>,
    /// Whether a fresh token is being verified. What was sent behind it has its rights, so nothing is
    /// read until these are known.
    pub(super) authenticating: bool,
    /// Commands under way: at most `pending_commands_max`.
    pub(super) pending: InFlight<CommandOutcome>,
    /// Lets one list of drafts be read at a time: of a client that does not read, the next one waits until it
    /// does, and takes no memory. There once a list was asked for.
    pub(super) listing: Option<Arc<Semaphore>>,
    /// Messages for the next write.
    pub(super) outbox: Frames,
    pub(super) heartbeat: Heartbeat,
    /// The order of its changes, while some of them have no outcome or were refused for the moment.
    pub(super) order: Option<Box<Order>>,
    pub(super) rate: Rate,
    /// Until when nothing is read, because the client sends too fast.
    pub(super) paused_until: Option<Instant>,
    /// Malformed messages since the last good one.
    pub(super) misuse: u32,
    /// When the token ends; `None` without one.
    pub(super) expiry: Option<Expiry>,
    /// When something was last said, by either side, heartbeats not counted. Only kept without a token.
    pub(super) spoke_at: Instant,
    /// When the node has asked the client to move, and by when it closes.
    pub(super) leave_at: Option<Instant>,
    /// Counts the connection until it is closed.
    pub(super) guard: ConnectionGuard,
}

/// A write that took longer than this had to wait for the client to read: it lives.
const WAITED_FOR_THE_CLIENT: Duration = Duration::from_millis(100);

/// How often the wall clock is looked at during a write that waits for the client.
const TOKEN_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a stopping node waits for commands that are under way before it closes a connection.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// How long it then tries to send their answers. With the closing handshake all of it stays within
/// the grace of a drain.
const LAST_SEND_MAX: Duration = Duration::from_millis(500);

/// Serves the connection until it ends.
///
/// Each stage but the long one has its room on the heap for as long as it takes: in the task itself every
/// connection would hold the room of the largest.
pub(super) async fn run(mut session: Box<Session>) {
    let end = match session.serve().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    Box::pin(session.end(end)).await;
}

/// Joins the streams of a connection; `None` when it had to be closed.
pub(super) async fn begin(
    node: Arc<Node>,
    client: Client,
    socket: Socket,
    guard: ConnectionGuard,
) -> Option<Box<Session>> {
    let Some(permit) = node.admit().await else {
        close(socket, Close::Overloaded, "too many connections at once; come back later").await;
        return None;
    };
    let mut subscriptions =
        Subscriptions::new(node.clone(), client.identity.as_ref().map(|identity| identity.user.clone()));
    let first = InitialStreams::join(&mut subscriptions, client.cursor.clone(), client.all.clone()).await;
    drop(permit);
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            debug!(%error, "cannot follow");
            close(socket, Close::Overloaded, "the store does not answer; come back later").await;
            return None;
        }
    };
    let now = Instant::now();
    let limits = &node.settings.websocket;
    let mut session = Box::new(Session {
        heartbeat: Heartbeat::new(&limits.heartbeat, now),
        rate: Rate::new(limits.commands_per_second, limits.commands_burst(), now),
        expiry: client
            .identity
            .as_ref()
            .map(|identity| Expiry::of(identity, limits.token_warning, unix_ms())),
        subscriptions,
        joining: Vec::new(),
        authenticating: false,
        pending: InFlight::default(),
        listing: None,
        outbox: Frames::new(client.encoding, client.deflate, limits.deflate_bytes_min, client.batch),
        order: None,
        paused_until: None,
        misuse: 0,
        spoke_at: now,
        leave_at: None,
        node,
        client,
        socket,
        guard,
    });
    let (connection, device) = (session.client.connection.clone(), session.client.device.clone());
    session.outbox.push(&first.welcome(&session.subscriptions, connection, device), None);
    first.add_to(&mut session.subscriptions);
    Some(session)
}

impl Session {
    pub(super) fn limits(&self) -> &config::WebSocket {
        &self.node.settings.websocket
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let stopping = self.node.drain.subscribe();
        // One timer for the life of the session: setting it costs more than an event does. So it may
        // ring too early, when what it was set for has moved, but never too late.
        let mut alarm = pin!(sleep_until(self.deadline()));
        let mut wake_filter = WakeFilter::new(Waker::noop().clone());
        loop {
            // Nobody waits for it: a node that begins to stop wakes everybody.
            if self.leave_at.is_none() && stopping.has_changed().unwrap_or(true) {
                self.ask_to_leave();
                alarm.as_mut().reset(self.deadline());
                wake_filter.rearm();
            }
            self.subscriptions.advance(&mut self.outbox)?;
            if self.flush().await? {
                // Something else may have happened meanwhile, and have woken the write.
                wake_filter.rearm();
            }
            let turn = poll_fn(|context| self.poll_turn(context, alarm.as_mut(), &mut wake_filter)).await;
            match turn {
                // That moves no deadline nearer, and all else is as it was.
                Wakeup::Events => continue,
                Wakeup::Received(received) => self.received(received?)?,
                Wakeup::CommandOutcome(due) => self.due(due),
                Wakeup::Alarm => {
                    self.tick().await?;
                    alarm.as_mut().reset(self.deadline());
                }
                Wakeup::Replaced => return Err(replaced()),
            }
            let deadline = self.deadline();
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            wake_filter.rearm();
        }
    }

    /// Looks what to do next. Everything has its turn: events that are due are handed out whatever the turn
    /// is, and do not keep the others from being asked.
    fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        alarm: Pin<&mut Sleep>,
        wake_filter: &mut WakeFilter,
    ) -> Poll<Wakeup> {
        let changed = self.subscriptions.poll_changed(context).is_ready();
        if wake_filter.take_other(context) {
            let context = &mut wake_filter.context();
            let taking = self.pending.len() < self.limits().pending_commands_max
                && !self.authenticating
                && self.paused_until.is_none();
            if taking && let Poll::Ready(received) = pin!(self.socket.receive()).poll(context) {
                return Poll::Ready(Wakeup::Received(received));
            }
            if let Poll::Ready(due) = self.pending.poll_next(context) {
                return Poll::Ready(Wakeup::CommandOutcome(due));
            }
            if alarm.poll(context).is_ready() {
                return Poll::Ready(Wakeup::Alarm);
            }
            if self.guard.poll_taken(context).is_ready() {
                return Poll::Ready(Wakeup::Replaced);
            }
        }
        // More is due of a long replay: the others have been asked, and so commands do not wait for its end.
        if changed || !self.subscriptions.is_idle() { Poll::Ready(Wakeup::Events) } else { Poll::Pending }
    }

    fn due(&mut self, due: CommandOutcome) {
        match due {
            CommandOutcome::Reply(reply) => self.push(reply),
            CommandOutcome::Changed { taken, id, decided, reply } => {
                self.changed(taken, &id, decided);
                self.push(reply);
            }
            CommandOutcome::Joined(joining) => self.joined(*joining),
            CommandOutcome::Auth(id, verified) => {
                self.authenticating = false;
                self.authenticated(&id, verified);
            }
        }
    }

    /// Writes what is queued, all of it together. Returns whether that had to wait for the client.
    async fn flush(&mut self) -> Result<bool, End> {
        if self.outbox.is_empty() {
            return Ok(false);
        }
        // Nearly always the kernel takes it at once.
        let waits = !self.socket.try_send(self.outbox.frames())?;
        if waits {
            // On the heap, because every connection would hold the room for it.
            Box::pin(self.send()).await?;
        }
        // A client that reads as fast as events come must not have the thread to itself.
        consume_budget().await;
        self.outbox.shrink();
        if self.client.identity.is_none() {
            self.spoke_at = Instant::now();
        }
        Ok(waits)
    }

    /// Writes the rest as the client reads. Meanwhile the session looks at nothing else, so what ends it in
    /// any case is looked at here: its token, the stop of the node, and the device elsewhere.
    async fn send(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let stall_max = self.limits().heartbeat.timeout;
        let mut leave_at = self.leave_at;
        let mut stopping = self.node.drain.subscribe();
        let mut sending = pin!(self.socket.send(self.outbox.frames(), stall_max));
        loop {
            let look_at = self
                .expiry
                .as_ref()
                .map(|expiry| Instant::now() + expiry.wait_for_end(unix_ms()).min(TOKEN_LOOK_INTERVAL));
            let until = look_at.into_iter().chain(leave_at).min();
            tokio::select! {
                sent = sending.as_mut() => {
                    sent?;
                    break;
                }
                () = sleep_until(until.unwrap_or(began)), if until.is_some() => {
                    if leave_at.is_some_and(|leave_at| Instant::now() >= leave_at) {
                        return Err(node_stops());
                    }
                    if self.expiry.as_ref().is_some_and(|expiry| expiry.has_ended(unix_ms())) {
                        return Err(token_expired());
                    }
                }
                () = self.guard.taken() => return Err(replaced()),
                Ok(()) = stopping.changed(), if leave_at.is_none() => {
                    leave_at = Some(Instant::now() + self.node.settings.websocket.drain_window);
                }
            }
        }
        if began.elapsed() > WAITED_FOR_THE_CLIENT {
            self.heartbeat.alive();
        }
        Ok(())
    }

    /// When the session has to act by itself next.
    fn deadline(&self) -> Instant {
        let by_itself = match &self.expiry {
            Some(expiry) => Instant::now() + expiry.wait(unix_ms()),
            None => self.spoke_at + self.limits().anonymous_idle,
        };
        let deadline = self.heartbeat.deadline().min(by_itself);
        let others = self.leave_at.into_iter().chain(self.paused_until);
        others.fold(deadline, Instant::min)
    }

    async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|leave_at| now >= leave_at) {
            return Err(node_stops());
        }
        // Each heartbeat comes by here, so a wall clock that was set is noticed at the next one.
        match self.expiry.as_mut().map(|expiry| expiry.look(unix_ms())) {
            Some(TokenState::Ended) => return Err(token_expired()),
            Some(TokenState::Ending(left)) => self.warn(left),
            None if now >= self.spoke_at + self.limits().anonymous_idle => {
                return Err(End::close(Close::Dead, "idle for too long without a token"));
            }
            _ => {}
        }
        if let Some(until) = self.paused_until {
            // Its pongs were not looked for.
            self.heartbeat.alive();
            self.paused_until = Some(until).filter(|until| now < *until);
        }
        match self.heartbeat.due(now) {
            Beat::Wait => {}
            Beat::Dead => return Err(End::close(Close::Dead, "no answer to pings")),
            Beat::Ping => {
                let payload = self.heartbeat.pinged(now);
                Box::pin(self.socket.ping(&payload, self.node.settings.websocket.heartbeat.timeout)).await?;
            }
        }
        Ok(())
    }

    /// Says that the token ends soon.
    fn warn(&mut self, left: Duration) {
        let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.push(ServerMessage::TokenExpiring { payload: TokenExpiring { in_ms } }.json());
    }

    /// A ping was answered.
    pub(super) fn ponged(&mut self, payload: &[u8]) {
        if let Some(round_trip) = self.heartbeat.ponged(payload, Instant::now()) {
            histogram!("draftwire_round_trip_seconds").record(round_trip.as_secs_f64());
        }
    }

    /// The node is about to stop: every client gets a moment of its own within the window, so that
    /// the other nodes are not met by all at once.
    fn ask_to_leave(&mut self) {
        let delay = self.limits().drain_window.mul_f64(rand::random_range(0.0..0.9));
        // The client may need a moment to act on it.
        self.leave_at = Some(Instant::now() + delay + self.limits().drain_window.mul_f64(0.1));
        let in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.push(ServerMessage::Reconnect { payload: Reconnect { in_ms } }.json());
    }

    async fn end(mut self: Box<Self>, end: End) {
        if matches!(end, End::Close(Close::Restart, _)) {
            self.settle().await;
        }
        // Others need not see the device here, nor the streams be held, while the connection ends.
        drop(self.subscriptions);
        match end {
            End::Gone => {
                counter!("draftwire_closes_total", "code" => "gone").increment(1);
                self.socket.part().await;
            }
            // Also where nobody seems to read: a client that only leaves pings unanswered learns why, and
            // for one that is gone the wait is bounded.
            End::Close(close, reason) => super::close(self.socket, close, &reason).await,
        }
    }

    /// Answers the commands in flight, so that a stop fails none of them.
    async fn settle(&mut self) {
        let answered = async {
            while !self.pending.is_empty() {
                let due = self.pending.next().await;
                self.due(due);
            }
        };
        // One that takes too long must not keep back the answers of the others.
        let _ = timeout(SETTLE_MAX, answered).await;
        // A client that has gone in the meantime asks again elsewhere.
        let _ = timeout(LAST_SEND_MAX, self.socket.send(self.outbox.frames(), LAST_SEND_MAX)).await;
    }
}

fn node_stops() -> End {
    End::close(Close::Restart, "the node stops; connect again")
}

fn replaced() -> End {
    End::close(Close::Replaced, "the device has connected anew, and the user has all connections allowed")
}

fn token_expired() -> End {
    End::close(Close::Unauthorized, "the token has expired")
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone => Self::Gone,
            Ended::Stalled => Self::close(Close::Dead, ended.to_string()),
            Ended::Violation(Violation::TooLarge) => Self::close(Close::TooLarge, ended.to_string()),
            Ended::Violation(violation) => Self::close(Close::Misuse, violation.to_string()),
        }
    }
}

impl From<Lost> for End {
    fn from(_: Lost) -> Self {
        Self::close(Close::Overloaded, "the state cannot be read; come back later")
    }
}
