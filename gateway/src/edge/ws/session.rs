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
};

use common::{CommandId, TopicName, close::Close, time::unix_ms};
use tokio::{
    sync::Semaphore,
    time::{Instant, Sleep, sleep_until},
};
use tracing::debug;
use websocket::{Ended, Received, Socket};

use super::{
    client::Client,
    close,
    heartbeat::Heartbeat,
    order::Order,
    outbox::Frames,
    outcome::{CommandOutcome, End, replaced},
    rate::Rate,
    wake_filter::WakeFilter,
};
use crate::{
    auth::Expiry,
    config,
    edge::{connections::ConnectionGuard, context::ConnectionContext, welcome::welcome},
    subscriptions::{InitialStreams, Outbox, Subscriptions, in_flight::InFlight},
};

/// Why the session loop woke up.
enum Wakeup {
    /// Something to hand out.
    Events,
    /// A message of the client, or the end of the connection.
    Received(Result<Received, Ended>),
    /// The end of a command.
    Finished(CommandOutcome),
    /// The time to act by itself.
    Alarm,
    /// The same device has connected anew, and taken this one's place.
    Replaced,
}

pub(super) struct Session {
    pub(super) context: Arc<ConnectionContext>,
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
    context: Arc<ConnectionContext>,
    client: Client,
    socket: Socket,
    guard: ConnectionGuard,
) -> Option<Box<Session>> {
    let Some(permit) = context.admission.admit().await else {
        close(socket, Close::Overloaded, "too many connections at once; come back later").await;
        return None;
    };
    let user = client.identity.as_ref().map(|identity| identity.user.clone());
    let mut subscriptions = Subscriptions::new(context.sources.clone(), user.clone());
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
    let limits = &context.limits;
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
        context,
        client,
        socket,
        guard,
    });
    let (connection, device) = (session.client.connection.clone(), session.client.device.clone());
    session.outbox.push(&welcome(&session.context, &first, user, connection, device), None);
    first.add_to(&mut session.subscriptions);
    Some(session)
}

impl Session {
    pub(super) fn limits(&self) -> &config::WebSocket {
        &self.context.limits
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let stopping = self.context.drain.subscribe();
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
                Wakeup::Finished(outcome) => self.finished(outcome),
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
            if let Poll::Ready(outcome) = self.pending.poll_next(context) {
                return Poll::Ready(Wakeup::Finished(outcome));
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

    pub(super) fn finished(&mut self, outcome: CommandOutcome) {
        match outcome {
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
}
