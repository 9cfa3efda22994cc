//! One connection, from `WELCOME` to the close.
//!
//! A session is one task. Commands are carried out concurrently and answered as they are done; events
//! are not queued for the session but read from its streams, at its own cursors, whenever the socket
//! has room. So a client that does not read costs its cursors and what is being written.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    CommandId, ConnectionId, Cursor, DeviceId,
    close::Close,
    protocol::{Reconnect, ServerMessage, TokenExpiring, Welcome},
    time::unix_ms,
};
use fanout::{Follower, Mailbox, log::Page};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use metrics::counter;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::{
    delivery::Slot,
    heartbeat::{Beat, Heartbeat},
    rate::Rate,
    socket::{Ended, Socket},
};
use crate::{
    auth::{AuthError, Identity},
    config,
    node::Node,
    store::DraftList,
};

/// Who has connected, with what.
pub(crate) struct Client {
    pub(crate) identity: Identity,
    pub(crate) connection: ConnectionId,
    pub(crate) device: DeviceId,
    /// Where the device stopped on its user's stream.
    pub(crate) cursor: Option<Cursor>,
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

/// Something that the session has waited for.
pub(super) enum Due {
    /// The answer to a command.
    Reply(Bytes),
    /// Events for the follower in a slot.
    Page(usize, Page),
    /// The state for the follower in a slot, instead of events.
    Snapshot(usize, Option<DraftList>),
    /// What a fresh token says.
    Auth(CommandId, Result<Identity, AuthError>),
}

pub(super) struct Session {
    pub(super) node: Arc<Node>,
    pub(super) client: Client,
    pub(super) socket: Socket,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) slots: Vec<Slot>,
    /// Slots to look at, each at most once.
    pub(super) ready: VecDeque<usize>,
    /// What is under way: at most `pending_commands_max` commands and one read per slot.
    pub(super) pending: FuturesUnordered<BoxFuture<'static, Due>>,
    /// Commands under way.
    pub(super) commands: usize,
    /// Encoded messages for the next write.
    pub(super) out: Vec<Bytes>,
    pub(super) out_bytes: usize,
    pub(super) heartbeat: Heartbeat,
    pub(super) rate: Rate,
    /// Commands over the rate since the last one within it.
    pub(super) over_rate: u32,
    /// Malformed messages since the last good one.
    pub(super) misuse: u32,
    pub(super) expiry: Expiry,
    /// When the node has asked the client to move, and by when it closes.
    pub(super) leave_at: Option<Instant>,
}

/// When the token ends, and whether the client was told.
pub(super) struct Expiry {
    pub(super) at: Instant,
    pub(super) warned: bool,
}

/// What is handed to the socket at a time. The kernel's own buffer comes on top.
pub(super) const OUTBOUND_BYTES_MAX: usize = 64 * 1024;

/// How long a connection waits to be admitted while many come at once. Beyond it the client does
/// better to come back later.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// A write that took longer than this had to wait for the client to read: it lives.
const WAITED_FOR_THE_CLIENT: Duration = Duration::from_millis(100);

/// How long a stopping node waits for commands that are under way before it closes a connection.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// How long it then tries to send their answers. With the closing handshake all of it stays within
/// the grace of a drain.
const LAST_SEND_MAX: Duration = Duration::from_millis(500);

/// Serves the connection until it ends.
pub(crate) async fn run(node: Arc<Node>, client: Client, socket: Socket) {
    let joining = node.joining.clone();
    let admitted = timeout(JOIN_WAIT_MAX, joining.acquire()).await;
    let Ok(Ok(permit)) = admitted else {
        return socket.close(Close::Overloaded, "too many connections at once; come back later").await;
    };
    let mailbox = Arc::<Mailbox>::default();
    let stream = common::Stream::User(client.identity.user.clone());
    let followed = node.hub.follow(stream, client.cursor.as_ref(), mailbox.clone(), 0).await;
    drop(permit);
    let follower = match followed {
        Ok(follower) => follower,
        Err(error) => {
            debug!(%error, "cannot follow");
            return socket.close(Close::Overloaded, "the store does not answer; come back later").await;
        }
    };
    let now = Instant::now();
    let limits = &node.settings.websocket;
    let mut session = Session {
        heartbeat: Heartbeat::new(limits.ping_interval, limits.pong_timeout, now),
        rate: Rate::new(limits.commands_per_second, limits.commands_burst(), now),
        expiry: Expiry::of(&client.identity),
        mailbox,
        slots: Vec::with_capacity(1),
        ready: VecDeque::new(),
        pending: FuturesUnordered::new(),
        commands: 0,
        out: Vec::new(),
        out_bytes: 0,
        over_rate: 0,
        misuse: 0,
        leave_at: None,
        node,
        client,
        socket,
    };
    session.welcome(follower);
    let end = match session.serve().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    session.end(end).await;
}

impl Expiry {
    pub(super) fn of(identity: &Identity) -> Self {
        let left = identity.expires_at.saturating_sub(unix_ms());
        // A token for centuries is one for a year here: the deadline must be representable.
        let left = Duration::from_millis(left).min(Duration::from_secs(366 * 24 * 3600));
        Self { at: Instant::now() + left, warned: false }
    }
}

impl Session {
    pub(super) fn limits(&self) -> &config::WebSocket {
        &self.node.settings.websocket
    }

    fn welcome(&mut self, follower: Follower) {
        let (head, resumes) = (follower.head(), self.client.cursor.is_some());
        let welcome = Welcome {
            connection_id: self.client.connection.clone(),
            user_id: Some(self.client.identity.user.clone()),
            device: self.client.device.clone(),
            node: self.node.settings.listen.node.clone(),
            epoch: head.epoch,
            seq: Some(head.seq),
            all_seq: common::Seq(0),
            heartbeat_ms: u64::try_from(self.limits().ping_interval.as_millis()).unwrap_or(u64::MAX),
            max_message_bytes: self.limits().message_bytes_max as u64,
            server_time: unix_ms(),
        };
        self.push(ServerMessage::Welcome { payload: welcome }.json());
        if resumes {
            counter!("draftwire_resumes_total").increment(1);
        }
        let name = follower.stream().wire_name();
        self.slots.push(Slot { follower, name, reading: false, live: !resumes });
        self.ready.push_back(0);
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut stopping = self.node.drain.subscribe();
        loop {
            while self.out_bytes < OUTBOUND_BYTES_MAX
                && let Some(slot) = self.ready.pop_front()
            {
                self.advance(slot);
            }
            self.flush().await?;
            let idle = self.ready.is_empty();
            let deadline = self.deadline();
            let taking = self.commands < self.limits().pending_commands_max;
            tokio::select! {
                received = self.socket.receive(), if taking => match received {
                    Ok(received) => self.received(received)?,
                    Err(ended) => return Err(ended.into()),
                },
                Some(due) = self.pending.next(), if !self.pending.is_empty() => self.due(due)?,
                () = self.mailbox.marked() => {
                    for slot in self.mailbox.take() {
                        self.make_ready(slot as usize);
                    }
                }
                Ok(()) = stopping.changed(), if self.leave_at.is_none() => self.ask_to_leave(),
                () = sleep_until(deadline) => self.tick().await?,
                // More is due: only look, do not wait. A long replay does not keep commands waiting.
                () = std::future::ready(()), if !idle => {}
            }
        }
    }

    pub(super) fn make_ready(&mut self, slot: usize) {
        if slot < self.slots.len() && !self.ready.contains(&slot) {
            self.ready.push_back(slot);
        }
    }

    fn due(&mut self, due: Due) -> Result<(), End> {
        match due {
            Due::Reply(reply) => {
                self.commands -= 1;
                self.push(reply);
            }
            Due::Auth(id, verified) => {
                self.commands -= 1;
                self.authenticated(&id, verified);
            }
            Due::Page(index, page) => self.page(index, &page),
            Due::Snapshot(index, list) => return self.snapshot(index, list),
        }
        Ok(())
    }

    pub(super) fn push(&mut self, message: Bytes) {
        self.out_bytes += message.len();
        self.out.push(message);
    }

    /// Writes what is queued, all of it together.
    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let stall_max = self.limits().pong_timeout;
        self.socket.send(&mut self.out, stall_max).await?;
        self.out_bytes = 0;
        if self.out.capacity() > 64 {
            // A replay has grown it; an idle connection holds nothing large.
            self.out = Vec::new();
        }
        if began.elapsed() > WAITED_FOR_THE_CLIENT {
            self.heartbeat.alive();
        }
        Ok(())
    }

    /// When the session has to act by itself next.
    fn deadline(&self) -> Instant {
        let expiry = if self.expiry.warned { self.expiry.at } else { self.warn_at() };
        let deadline = self.heartbeat.deadline().min(expiry);
        self.leave_at.map_or(deadline, |leave_at| deadline.min(leave_at))
    }

    fn warn_at(&self) -> Instant {
        self.expiry.at.checked_sub(self.limits().token_warning).unwrap_or(self.expiry.at)
    }

    async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|leave_at| now >= leave_at) {
            return Err(End::close(Close::Restart, "the node stops; connect again"));
        }
        if now >= self.expiry.at {
            return Err(End::close(Close::Unauthorized, "the token has expired"));
        }
        if !self.expiry.warned && now >= self.warn_at() {
            self.expiry.warned = true;
            let left = self.expiry.at - now;
            let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            self.push(ServerMessage::TokenExpiring { payload: TokenExpiring { in_ms } }.json());
        }
        match self.heartbeat.due(now) {
            Beat::Wait => {}
            Beat::Dead => return Err(End::close(Close::Dead, "no answer to pings")),
            Beat::Ping => {
                self.heartbeat.pinged(now);
                let stall_max = self.limits().pong_timeout;
                self.socket.ping(stall_max).await?;
            }
        }
        Ok(())
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
        // Also where nobody seems to read: a client that only leaves pings unanswered learns why, and
        // for one that is gone the wait is bounded.
        self.socket.close(close, &reason).await;
    }

    /// Answers the commands that are under way, so that a stop fails none of them.
    async fn settle(&mut self) {
        let answered = async {
            while self.commands > 0 {
                let Some(due) = self.pending.next().await else { return };
                if matches!(due, Due::Reply(_) | Due::Auth(..)) && self.due(due).is_err() {
                    return;
                }
            }
        };
        // One that takes too long must not keep back the answers of the others.
        let _ = timeout(SETTLE_MAX, answered).await;
        // A client that has gone in the meantime asks again elsewhere.
        let _ = timeout(LAST_SEND_MAX, self.socket.send(&mut self.out, LAST_SEND_MAX)).await;
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone => Self::Gone,
            Ended::Stalled => Self::close(Close::Dead, ended.to_string()),
            Ended::TooLarge => Self::close(Close::TooLarge, ended.to_string()),
            Ended::Misuse(message) => Self::close(Close::Misuse, message),
        }
    }
}
