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

use common::{
    CommandId, TopicName,
    close::Close,
    operations::{Operation, Outcome},
    time::unix_ms,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, Sleep, sleep_until},
};
use tracing::debug;
use websocket::{Ended, Received, Socket};

use super::{
    client::Client,
    close,
    grants::TopicGrants,
    heartbeat::Heartbeat,
    order::Order,
    outbox::Frames,
    outcome::{CommandOutcome, End},
    parking::{Parked, Parking},
    rate::Rate,
    wake_filter::WakeFilter,
};
use crate::{
    auth::Expiry,
    config,
    edge::{
        connection_log::Who, connections::ConnectionGuard, context::ConnectionContext, forced_end::ForcedEnd,
        welcome::welcome,
    },
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
    /// The end of the connection, decided elsewhere.
    Forced(ForcedEnd),
}

pub(super) struct Session {
    pub(super) context: Arc<ConnectionContext>,
    pub(super) client: Client,
    pub(super) socket: Socket,
    pub(super) subscriptions: Subscriptions,
    /// Topics that are being joined, and the commands that want them.
    pub(super) joining: Vec<(CommandId, TopicName)>,
    /// Rights for single topics; there once one was given.
    pub(super) grants: Option<Box<TopicGrants>>,
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
    /// Whether the kernel has not taken all that was given to it.
    pub(super) unsent: bool,
    /// Why the session has to end, where that was noticed on behalf of its task.
    pub(super) ended: Option<End>,
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
    pub(super) connected_at: Instant,
    /// Counts the connection until it is closed.
    pub(super) guard: ConnectionGuard,
}

/// Serves the connection until it ends.
///
/// Each stage but the long one has its room on the heap for as long as it takes: in the task itself every
/// connection would hold the room of the largest.
pub(super) async fn run(session: Box<Session>, parking: Arc<Parking<Session>>) {
    let parked = Parked(parking);
    let (session, end) = serve(session, &parked.0).await;
    Box::pin(session.end(end)).await;
}

async fn serve(mut session: Box<Session>, parking: &Parking<Session>) -> (Box<Session>, End) {
    let stopping = session.context.drain.subscribe();
    // One timer for the life of the session: setting it costs more than an event does. So it may
    // ring too early, when what it was set for has moved, but never too late.
    let mut alarm = pin!(sleep_until(session.deadline()));
    let mut wake_filter = WakeFilter::new(Waker::noop().clone());
    loop {
        if let Err(end) = session.hand_out(&stopping, alarm.as_mut(), &wake_filter).await {
            return (session, end);
        }
        let mut own = Some(session);
        let waits = poll_fn(|context| {
            parking.poll(context, &mut own, |session, context| {
                session.poll_wakeup(context, &stopping, alarm.as_mut(), &mut wake_filter)
            })
        });
        let (awake, wakeup) = waits.await;
        session = awake;
        if let Err(end) = session.act(wakeup, alarm.as_mut(), &wake_filter).await {
            return (session, end);
        }
    }
}

/// Joins the streams of a connection; `None` when it had to be closed.
pub(super) async fn begin(
    context: Arc<ConnectionContext>,
    client: Client,
    socket: Socket,
    guard: ConnectionGuard,
) -> Option<(Box<Session>, Arc<Parking<Session>>)> {
    let permit = match context.admission.admit().await {
        Ok(permit) => permit,
        Err(reason) => {
            close(socket, Close::Overloaded, reason).await;
            return None;
        }
    };
    let user = client.identity.as_ref().map(|identity| identity.user.clone());
    let parking = Arc::<Parking<Session>>::default();
    let mut subscriptions = Subscriptions::new(context.sources.clone(), user.clone(), Some(parking.clone()));
    let began = Instant::now();
    let first = InitialStreams::join(&mut subscriptions, client.cursor.clone(), client.all.clone()).await;
    Operation::Join.meter().record(Outcome::of(&first), began.elapsed());
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
    let limits = &client.settings.websocket;
    let mut session = Box::new(Session {
        heartbeat: Heartbeat::new(&limits.heartbeat, now),
        rate: Rate::new(limits.commands_per_second, limits.commands_burst(), now),
        expiry: client
            .identity
            .as_ref()
            .map(|identity| Expiry::of(identity, limits.token_warning, unix_ms())),
        subscriptions,
        joining: Vec::new(),
        grants: None,
        authenticating: false,
        pending: InFlight::default(),
        listing: None,
        outbox: Frames::new(
            client.encoding,
            client.deflate,
            limits.deflate_bytes_min,
            client.batch && limits.batching,
        ),
        unsent: false,
        ended: None,
        order: None,
        paused_until: None,
        misuse: 0,
        spoke_at: now,
        connected_at: now,
        leave_at: None,
        context,
        client,
        socket,
        guard,
    });
    let (connection, device) = (session.client.connection.clone(), session.client.device.clone());
    session.outbox.push(&welcome(&session.context, session.limits(), &first, user, connection, device), None);
    first.add_to(&mut session.subscriptions);
    Some((session, parking))
}

impl Session {
    /// Whose connection it is, for the log.
    pub(super) fn who(&self) -> Who<'_> {
        let Client { connection, device, identity, .. } = &self.client;
        Who { connection, user: identity.as_ref().map(|identity| &identity.user), device }
    }

    pub(super) fn limits(&self) -> &config::WebSocket {
        &self.client.settings.websocket
    }

    /// Hands out what is due, and writes it.
    async fn hand_out(
        &mut self,
        stopping: &watch::Receiver<bool>,
        mut alarm: Pin<&mut Sleep>,
        wake_filter: &WakeFilter,
    ) -> Result<(), End> {
        if let Some(end) = self.ended.take() {
            return Err(end);
        }
        // Nobody waits for it: a node that begins to stop wakes everybody.
        if self.must_leave(stopping) {
            self.ask_to_leave();
            alarm.as_mut().reset(self.deadline());
            wake_filter.rearm();
        }
        self.subscriptions.advance(&mut self.outbox)?;
        if self.flush().await? {
            // Something else may have happened meanwhile, and have woken the write.
            wake_filter.rearm();
        }
        Ok(())
    }

    /// Does what the session woke up for.
    async fn act(
        &mut self,
        wakeup: Wakeup,
        mut alarm: Pin<&mut Sleep>,
        wake_filter: &WakeFilter,
    ) -> Result<(), End> {
        match wakeup {
            // That moves no deadline nearer, and all else is as it was.
            Wakeup::Events => return Ok(()),
            Wakeup::Received(received) => self.received(received?)?,
            Wakeup::Finished(outcome) => self.finished(outcome),
            Wakeup::Alarm => {
                self.tick().await?;
                alarm.as_mut().reset(self.deadline());
            }
            Wakeup::Forced(end) => return Err(end.into()),
        }
        let deadline = self.deadline();
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        wake_filter.rearm();
        Ok(())
    }

    fn must_leave(&self, stopping: &watch::Receiver<bool>) -> bool {
        self.leave_at.is_none() && stopping.has_changed().unwrap_or(true)
    }

    /// Looks what to do next. Everything has its turn: events that are due are handed out whatever the turn
    /// is, and do not keep the others from being asked.
    fn poll_wakeup(
        &mut self,
        context: &mut Context<'_>,
        stopping: &watch::Receiver<bool>,
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
            if let Poll::Ready(end) = self.guard.poll_forced_end(context) {
                return Poll::Ready(Wakeup::Forced(end));
            }
        }
        // More is due of a long replay: the others have been asked, and so commands do not wait for its end.
        let due = changed || !self.subscriptions.is_idle();
        // What was begun on behalf of the task.
        let left = self.unsent || self.ended.is_some() || !self.outbox.is_empty();
        if due || left || self.must_leave(stopping) { Poll::Ready(Wakeup::Events) } else { Poll::Pending }
    }

    pub(super) fn finished(&mut self, outcome: CommandOutcome) {
        match outcome {
            CommandOutcome::Reply(reply) => self.push(reply),
            CommandOutcome::Changed { taken, id, decided, reply } => {
                self.changed(taken, &id, decided);
                self.push(reply);
            }
            CommandOutcome::Joined(joining) => self.joined(*joining),
            CommandOutcome::Asked(answers) => self.asked_again(answers),
            CommandOutcome::Auth(id, verified) => {
                self.authenticating = false;
                self.authenticated(&id, verified);
            }
        }
    }
}
