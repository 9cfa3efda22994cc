//! One connection, from `WELCOME` to the close.
//!
//! A session is one task. Commands are carried out concurrently and answered as they are done; events
//! are not queued for the session but read from its streams, at its own cursors, whenever the socket
//! has room. So a client that does not read costs its cursors and what is being written.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use common::{
    CommandId, ConnectionId, Cursor, DeviceId, TopicName,
    close::Close,
    message::Encoding,
    protocol::{Reconnect, ServerMessage, TokenExpiring},
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use metrics::{counter, histogram};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::{
    close,
    heartbeat::{Beat, Heartbeat},
    outbox::Frames,
    rate::Rate,
    subscriptions::Joining,
};
use crate::{
    auth::{self, AuthError, Identity},
    config,
    following::{First, Following, Lost, Outbox},
    node::Node,
    websocket::{Deflate, Ended, Socket, Violation},
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

/// What has become of a command.
pub(super) enum Due {
    /// The answer.
    Reply(Bytes),
    /// Topics that were joined.
    Joined(Box<Joining>),
    /// What a fresh token says.
    Auth(CommandId, Result<Identity, AuthError>),
}

pub(super) struct Session {
    pub(super) node: Arc<Node>,
    pub(super) client: Client,
    pub(super) socket: Socket,
    pub(super) following: Following,
    /// Topics that are being joined, and the commands that want them.
    pub(super) joining: Vec<(CommandId, TopicName)>,
    /// Whether a fresh token is being verified. What was sent behind it has its rights, so nothing is
    /// read until these are known.
    pub(super) authenticating: bool,
    /// Commands under way: at most `pending_commands_max`.
    pub(super) pending: FuturesUnordered<BoxFuture<'static, Due>>,
    /// Messages for the next write.
    pub(super) outbox: Frames,
    pub(super) heartbeat: Heartbeat,
    pub(super) rate: Rate,
    /// Commands over the rate since the last one within it.
    pub(super) over_rate: u32,
    /// Malformed messages since the last good one.
    pub(super) misuse: u32,
    /// `None` without a token.
    pub(super) expiry: Option<Expiry>,
    /// When something was last said, by either side, heartbeats not counted.
    pub(super) spoke_at: Instant,
    /// When the node has asked the client to move, and by when it closes.
    pub(super) leave_at: Option<Instant>,
}

/// When the token ends, and whether the client was told.
pub(super) struct Expiry {
    pub(super) at: Instant,
    /// `None` once it has been.
    pub(super) warn_at: Option<Instant>,
}

/// A write that took longer than this had to wait for the client to read: it lives.
const WAITED_FOR_THE_CLIENT: Duration = Duration::from_millis(100);

/// How long a stopping node waits for commands that are under way before it closes a connection.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// How long it then tries to send their answers. With the closing handshake all of it stays within
/// the grace of a drain.
const LAST_SEND_MAX: Duration = Duration::from_millis(500);

/// Serves the connection until it ends.
pub(crate) async fn run(node: Arc<Node>, client: Client, socket: Socket) {
    let Some(permit) = node.admit().await else {
        return close(socket, Close::Overloaded, "too many connections at once; come back later").await;
    };
    let mut following =
        Following::new(node.clone(), client.identity.as_ref().map(|identity| identity.user.clone()));
    let first = First::join(&mut following, client.cursor.clone(), client.all.clone()).await;
    drop(permit);
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            debug!(%error, "cannot follow");
            return close(socket, Close::Overloaded, "the store does not answer; come back later").await;
        }
    };
    let now = Instant::now();
    let limits = &node.settings.websocket;
    let mut session = Session {
        heartbeat: Heartbeat::new(&limits.heartbeat, now),
        rate: Rate::new(limits.commands_per_second, limits.commands_burst(), now),
        expiry: client.identity.as_ref().map(|identity| Expiry::of(identity, limits.token_warning)),
        following,
        joining: Vec::new(),
        authenticating: false,
        pending: FuturesUnordered::new(),
        outbox: Frames::new(client.encoding, client.deflate, limits.deflate_bytes_min, client.batch),
        over_rate: 0,
        misuse: 0,
        spoke_at: now,
        leave_at: None,
        node,
        client,
        socket,
    };
    let (connection, device) = (session.client.connection.clone(), session.client.device.clone());
    session.outbox.push(&first.welcome(&session.following, connection, device), None);
    first.add_to(&mut session.following);
    let end = match session.serve().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    session.end(end).await;
}

impl Expiry {
    /// A token that is shorter than `warning` is warned of when half of it is left: otherwise the next
    /// warning would come at once, and a client that heeds them would do nothing else.
    pub(super) fn of(identity: &Identity, warning: Duration) -> Self {
        let left = auth::time_left(identity);
        let at = Instant::now() + left;
        Self { at, warn_at: Some(at - warning.min(left / 2)) }
    }
}

impl Session {
    pub(super) fn limits(&self) -> &config::WebSocket {
        &self.node.settings.websocket
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut stopping = self.node.drain.subscribe();
        // One timer for the life of the session: setting it costs more than an event does. So it may
        // ring too early, when what it was set for has moved, but never too late.
        let mut alarm = pin!(sleep_until(self.deadline()));
        loop {
            self.following.advance(&mut self.outbox)?;
            self.flush().await?;
            let idle = self.following.is_idle();
            let deadline = self.deadline();
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            let taking = self.pending.len() < self.limits().pending_commands_max && !self.authenticating;
            tokio::select! {
                received = self.socket.receive(), if taking => match received {
                    Ok(received) => self.received(received)?,
                    Err(ended) => return Err(ended.into()),
                },
                Some(due) = self.pending.next(), if !self.pending.is_empty() => self.due(due),
                () = self.following.changed() => {}
                Ok(()) = stopping.changed(), if self.leave_at.is_none() => self.ask_to_leave(),
                () = &mut alarm => {
                    self.tick().await?;
                    alarm.as_mut().reset(self.deadline());
                }
                // More is due: only look, do not wait. A long replay does not keep commands waiting.
                () = std::future::ready(()), if !idle => {}
            }
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Reply(reply) => self.push(reply),
            Due::Joined(joining) => self.joined(*joining),
            Due::Auth(id, verified) => {
                self.authenticating = false;
                self.authenticated(&id, verified);
            }
        }
    }

    /// Writes what is queued, all of it together.
    async fn flush(&mut self) -> Result<(), End> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let stall_max = self.limits().heartbeat.timeout;
        let waited = {
            let mut sending = pin!(self.socket.send(self.outbox.frames(), stall_max));
            // Nearly always the kernel takes it at once.
            match poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
                Poll::Ready(sent) => {
                    sent?;
                    false
                }
                Poll::Pending => {
                    let began = Instant::now();
                    let expires_at = self.expiry.as_ref().map(|expiry| expiry.at);
                    // On the heap, because every connection would hold the room for it.
                    Box::pin(wait_for(sending, expires_at, self.leave_at, &self.node)).await?;
                    began.elapsed() > WAITED_FOR_THE_CLIENT
                }
            }
        };
        self.outbox.shrink();
        self.spoke_at = Instant::now();
        if waited {
            self.heartbeat.alive();
        }
        Ok(())
    }

    /// When the session has to act by itself next.
    fn deadline(&self) -> Instant {
        let by_itself = match &self.expiry {
            Some(expiry) => expiry.warn_at.unwrap_or(expiry.at),
            None => self.spoke_at + self.limits().anonymous_idle,
        };
        let deadline = self.heartbeat.deadline().min(by_itself);
        self.leave_at.map_or(deadline, |leave_at| deadline.min(leave_at))
    }

    async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|leave_at| now >= leave_at) {
            return Err(node_stops());
        }
        match &self.expiry {
            Some(expiry) if now >= expiry.at => {
                return Err(token_expired());
            }
            Some(expiry) if expiry.warn_at.is_some_and(|warn_at| now >= warn_at) => {
                self.warn(expiry.at - now);
            }
            None if now >= self.spoke_at + self.limits().anonymous_idle => {
                return Err(End::close(Close::Dead, "idle for too long without a token"));
            }
            _ => {}
        }
        match self.heartbeat.due(now) {
            Beat::Wait => {}
            Beat::Dead => return Err(End::close(Close::Dead, "no answer to pings")),
            Beat::Ping => {
                let payload = self.heartbeat.pinged(now);
                self.socket.ping(&payload, self.limits().heartbeat.timeout).await?;
            }
        }
        Ok(())
    }

    /// Says that the token ends soon.
    fn warn(&mut self, left: Duration) {
        let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.push(ServerMessage::TokenExpiring { payload: TokenExpiring { in_ms } }.json());
        if let Some(expiry) = &mut self.expiry {
            expiry.warn_at = None;
        }
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

    async fn end(mut self, end: End) {
        let End::Close(close, reason) = end else {
            counter!("draftwire_closes_total", "code" => "gone").increment(1);
            return;
        };
        if close == Close::Restart {
            self.settle().await;
        }
        // Others need not see the device here, nor the streams be held, while the close is under way.
        drop(self.following);
        // Also where nobody seems to read: a client that only leaves pings unanswered learns why, and
        // for one that is gone the wait is bounded.
        super::close(self.socket, close, &reason).await;
    }

    /// Answers the commands that are under way, so that a stop fails none of them.
    async fn settle(&mut self) {
        let answered = async {
            while let Some(due) = self.pending.next().await {
                self.due(due);
            }
        };
        // One that takes too long must not keep back the answers of the others.
        let _ = timeout(SETTLE_MAX, answered).await;
        // A client that has gone in the meantime asks again elsewhere.
        let _ = timeout(LAST_SEND_MAX, self.socket.send(self.outbox.frames(), LAST_SEND_MAX)).await;
    }
}

/// Waits until the client has read. Meanwhile the session looks at nothing else, so what ends it in any
/// case is looked at here: its token, and the stop of the node.
async fn wait_for(
    mut sending: Pin<&mut impl Future<Output = Result<(), Ended>>>,
    expires_at: Option<Instant>,
    leave_at: Option<Instant>,
    node: &Node,
) -> Result<(), End> {
    let mut stopping = node.drain.subscribe();
    let mut leave_at = leave_at;
    loop {
        let until = expires_at.into_iter().chain(leave_at).min();
        tokio::select! {
            sent = sending.as_mut() => return Ok(sent?),
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                return Err(if until == leave_at { node_stops() } else { token_expired() });
            }
            Ok(()) = stopping.changed(), if leave_at.is_none() => {
                leave_at = Some(Instant::now() + node.settings.websocket.drain_window);
            }
        }
    }
}

fn node_stops() -> End {
    End::close(Close::Restart, "the node stops; connect again")
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
