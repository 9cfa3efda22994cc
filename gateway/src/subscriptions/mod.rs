//! What a connection follows, and what of it is due: the same for a WebSocket and for an event stream,
//! which differ in the [`Outbox`] that they hand out.
//!
//! Nothing is queued here. The newest events of a stream stand in the stream, and each connection
//! reads them at its own cursors whenever it has room. So one that does not read costs its cursors.

pub(crate) mod in_flight;
mod initial_streams;
mod meters;
mod open_windows;
mod outbox;
mod subscription;
mod traced;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use common::{
    Cursor, Seq, Stream, TopicName, UserId,
    message::Message,
    operations::{Operation, Outcome, Tally},
    protocol::{Device, ServerMessage, SnapshotBody},
    trace,
};
use fanout::{Deliveries, DirectDelivery, Hub, Mailbox, Source, Step, StreamReader, log::LogError};
use metrics::counter;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tracing::debug;

use self::{
    in_flight::InFlight,
    open_windows::OpenWindows,
    subscription::{Arrived, Subscription},
};
pub(crate) use self::{
    initial_streams::InitialStreams,
    meters::Meters,
    outbox::{At, Outbox},
    subscription::Window,
};
use crate::{commands::drafts::Drafts, operations::LATENCY, store::DraftList};

/// What subscriptions are made from, one for a node.
pub(crate) struct Sources {
    hub: Arc<Hub>,
    /// For snapshots.
    drafts: Arc<Drafts>,
    meters: Meters,
}

impl Sources {
    pub(crate) fn new(hub: Arc<Hub>, drafts: Arc<Drafts>) -> Self {
        Self { hub, drafts, meters: Meters::default() }
    }
}

/// The streams of one connection.
pub(crate) struct Subscriptions {
    sources: Arc<Sources>,
    user: Option<UserId>,
    mailbox: Arc<Mailbox>,
    entries: Vec<Subscription>,
    next_slot: u32,
    /// Slots to look at, each at most once.
    ready: VecDeque<u32>,
    open_windows: OpenWindows,
    /// What entries have asked the store for: at most one read each.
    reads: InFlight<(u32, Option<Arrived>)>,
    /// A read or a window was begun since the last poll.
    must_be_polled: bool,
}

/// A follower on its way into a [`Subscriptions`].
pub(crate) struct Joined {
    slot: u32,
    follower: StreamReader,
    /// The client's own cursor, if it has any.
    cursor: Option<Cursor>,
}

impl Joined {
    /// Where the stream stood when following began.
    pub(crate) fn head(&self) -> Cursor {
        self.follower.head()
    }

    /// Where the client stands before the first message: at its cursor, whatever that means here, or
    /// where following began. A cursor without meaning stands until the client has been told: if it came
    /// back before that with another one, it never would be.
    pub(crate) fn start(&self) -> Cursor {
        self.cursor.clone().unwrap_or_else(|| self.follower.cursor())
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &Stream {
        self.follower.stream()
    }
}

/// The state that a follower needs cannot be read: the client may find a node that does better.
#[derive(Debug)]
pub(crate) struct Lost;

/// Streams of a connection that operators are shown.
const CURSORS_MAX: usize = 20;

/// Streams that nearly every connection follows: its user's, and the one of all.
const SLOTS: usize = 2;

/// What is handed out of one stream at a time, in bytes; then the others have their turn.
const STEP_BYTES_MAX: usize = 64 * 1024;

/// The pause between attempts to read a snapshot while the store is down or busy, on average.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(1);

/// Attempts before the connection is given up.
const SNAPSHOT_ATTEMPTS_MAX: usize = 60;

impl Subscriptions {
    /// Follows nothing yet. `user` is whose drafts a snapshot holds; `direct` delivers without waking the task.
    pub(crate) fn new(
        sources: Arc<Sources>,
        user: Option<UserId>,
        direct: Option<Arc<dyn DirectDelivery>>,
    ) -> Self {
        let mailbox = direct.map_or_else(Mailbox::default, Mailbox::delivering);
        Self {
            sources,
            user,
            mailbox: Arc::new(mailbox),
            entries: Vec::with_capacity(SLOTS),
            next_slot: 0,
            ready: VecDeque::new(),
            open_windows: OpenWindows::default(),
            reads: InFlight::default(),
            must_be_polled: false,
        }
    }

    /// Begins to follow a stream, from a cursor or from its head; [`Subscriptions::add`] takes the result.
    /// Dropping the future, or its output, follows nothing.
    pub(crate) fn join(
        &mut self,
        stream: Stream,
        cursor: Option<Cursor>,
    ) -> impl Future<Output = Result<Joined, LogError>> + use<> {
        while self.entries.iter().any(|subscription| subscription.id == self.next_slot) {
            self.next_slot = self.next_slot.wrapping_add(1);
        }
        let slot = self.next_slot;
        self.next_slot = slot.wrapping_add(1);
        if cursor.is_some() {
            counter!("draftwire_resumes_total").increment(1);
        }
        let (hub, mailbox) = (self.sources.hub.clone(), self.mailbox.clone());
        async move {
            let follower = hub.follow(stream, cursor.as_ref(), mailbox, slot).await?;
            Ok(Joined { slot, follower, cursor })
        }
    }

    /// Adds a stream that was joined. With a window, its events wait for more; with a device,
    /// that attends the stream.
    pub(crate) fn add(&mut self, joined: Joined, window: Option<Window>, present: Option<Device>) {
        let Joined { slot: id, follower, cursor } = joined;
        let attendance = present
            .map(|device| Box::new(self.sources.hub.attend(&follower, device, self.mailbox.clone(), id)));
        self.entries.push(Subscription::new(id, follower, cursor.is_none(), window, attendance));
        self.make_ready(id);
    }

    /// Ends following a topic.
    pub(crate) fn remove(&mut self, topic: &TopicName) {
        self.entries.retain(|subscription| subscription.topic() != Some(topic));
    }

    /// The topics that are followed.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.entries.iter().filter_map(Subscription::topic)
    }

    /// Where a topic stands that is followed: the last event known to exist.
    pub(crate) fn position(&self, topic: &TopicName) -> Option<Cursor> {
        let subscription = self.entries.iter().find(|subscription| subscription.topic() == Some(topic))?;
        Some(subscription.follower.position())
    }

    /// Where each stream stands: the first [`CURSORS_MAX`], and how many more there are.
    pub(crate) fn standing(&self) -> (Vec<(Stream, Seq)>, usize) {
        let stands = |one: &Subscription| (one.follower.stream().clone(), one.follower.cursor().seq);
        let cursors: Vec<_> = self.entries.iter().take(CURSORS_MAX).map(stands).collect();
        let more = self.entries.len() - cursors.len();
        (cursors, more)
    }

    /// Whether nothing is due.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Notes what the mailbox says is due, without waiting for more.
    pub(crate) fn take_marked(&mut self) {
        for slot in self.mailbox.take() {
            self.make_ready(slot);
        }
    }

    /// Whether the task has to poll, though nothing is due: something was begun that will end.
    pub(crate) fn must_be_polled(&self) -> bool {
        self.must_be_polled
    }

    /// Whether something may be due; otherwise the task is woken once it may.
    pub(crate) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.must_be_polled = false;
        let mut changed = false;
        if let Poll::Ready(marked) = self.mailbox.poll_take(context) {
            changed = true;
            for slot in marked {
                self.make_ready(slot);
            }
        }
        while let Poll::Ready((id, arrived)) = self.reads.poll_next(context) {
            changed = true;
            if let (Some(arrived), Some(subscription)) =
                (arrived, self.entries.iter_mut().find(|subscription| subscription.id == id))
            {
                subscription.arrived = Some(Box::new(arrived));
                self.make_ready(id);
            }
        }
        while let Poll::Ready(over) = self.open_windows.poll_over(context) {
            changed = true;
            for id in over {
                self.make_ready(id);
            }
        }
        if changed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hands out what is due, until nothing is or the outbox is full.
    ///
    /// # Errors
    /// When a follower cannot go on; the connection must end.
    pub(crate) fn advance(&mut self, outbox: &mut impl Outbox) -> Result<(), Lost> {
        while !outbox.is_full()
            && let Some(id) = self.ready.pop_front()
        {
            let Some(index) = self.entries.iter().position(|subscription| subscription.id == id) else {
                continue;
            };
            if self.step(index, outbox)? {
                self.make_ready(id);
            }
        }
        Ok(())
    }

    fn make_ready(&mut self, id: u32) {
        if self.ready.contains(&id) {
            return;
        }
        // What concerns everybody does not wait for a long replay of something else.
        let first = !self.ready.is_empty()
            && self
                .entries
                .iter()
                .any(|subscription| subscription.id == id && *subscription.follower.stream() == Stream::All);
        if first { self.ready.push_front(id) } else { self.ready.push_back(id) }
    }

    /// Does what one slot needs next. Returns whether more may be due.
    fn step(&mut self, index: usize, outbox: &mut impl Outbox) -> Result<bool, Lost> {
        let subscription = &mut self.entries[index];
        if let Some(arrived) = subscription.arrived.take() {
            subscription.reading = None;
            match *arrived {
                Arrived::Page(page) => {
                    let events = subscription.follower.accept(&page);
                    self.sources.meters.delivered(Source::Replay, events.len() as u64);
                    for event in events {
                        subscription.push(outbox, event.message(), event.seq);
                    }
                }
                Arrived::Snapshot(list) => self.snapshot(index, list.ok_or(Lost)?, outbox),
            }
            return Ok(true);
        }
        for message in subscription.attendance.iter_mut().flat_map(|attendance| attendance.due()) {
            outbox.push(&message, None);
        }
        if subscription.reading.is_some() {
            return Ok(false);
        }
        if let Some(until) = subscription.hold(Instant::now) {
            let id = subscription.id;
            self.open_windows.add(id, until);
            self.must_be_polled = true;
            return Ok(false);
        }
        match subscription.follower.step(STEP_BYTES_MAX) {
            Step::Wait => return Ok(false),
            Step::Send(due) => {
                Tally::EventHits.add(1);
                self.deliver(index, &due, outbox);
            }
            Step::Signals(signals) => {
                for signal in signals {
                    outbox.push(signal.message(), None);
                }
            }
            Step::Synced(seq) => {
                subscription.live = true;
                let stream = subscription.follower.stream().wire_name();
                let synced = ServerMessage::Synced { stream: &stream, seq, epoch: None, missed_before: None };
                subscription.push(outbox, &synced.message(), seq);
            }
            Step::Read(read) => {
                Tally::EventMisses.add(1);
                if subscription.live {
                    counter!("draftwire_follower_fallbacks_total").increment(1);
                }
                let hub = self.sources.hub.clone();
                self.read(index, async move { Arrived::Page(hub.read(read).await) });
            }
            Step::Reset => return Ok(self.reset(index, outbox)),
        }
        Ok(true)
    }

    /// Hands out events that all followers on the node share.
    fn deliver(&mut self, index: usize, due: &[Deliveries], outbox: &mut impl Outbox) {
        let subscription = &mut self.entries[index];
        // Of what goes together the oldest is the latest: it stands for all. An application's transaction may have
        // been open for long, and its events are as old as their calls.
        let mut deliveries = due.iter().flat_map(Deliveries::as_slice);
        if let Some(live) =
            deliveries.find(|delivery| !matches!(delivery.source, Source::Replay | Source::Notice))
        {
            // The only look at the clock for each follower.
            let waited = live.sequenced.elapsed();
            let age = Duration::from_millis(live.age_ms.into());
            self.sources.meters.commit_to_delivery.record(age + waited);
            if !subscription.has_window() {
                LATENCY.own().record(Outcome::Ok, age + waited);
            }
            // What a client that came back has missed, and what waits in a window, is late on purpose.
            if subscription.live && !subscription.has_window() {
                Operation::Deliver.meter().record(Outcome::Ok, waited);
            }
            subscription.live = true;
        }
        if trace::is_on() {
            traced::trace(due);
        }
        for due in due {
            match due {
                Deliveries::One(delivery) => {
                    subscription.push(outbox, delivery.event.message(), delivery.event.seq)
                }
                Deliveries::Block(block) => {
                    outbox.push_block(block, subscription.follower.stream(), subscription.follower.epoch())
                }
            }
            for together in due.as_slice().chunk_by(|delivery, next| delivery.source == next.source) {
                self.sources.meters.delivered(together[0].source, together.len() as u64);
            }
        }
    }

    /// What the follower has missed cannot be had. Returns whether it can go on at once.
    fn reset(&mut self, index: usize, outbox: &mut impl Outbox) -> bool {
        let subscription = &mut self.entries[index];
        let user = match (subscription.follower.stream(), &self.user) {
            (Stream::User(_), Some(user)) => user.clone(),
            _ => {
                let Some(cursor) = subscription.follower.skip() else { return false };
                counter!("draftwire_gaps_reported_total").increment(1);
                Tally::Gaps.add(1);
                subscription.restarted();
                let synced = ServerMessage::Synced {
                    stream: &subscription.follower.stream().wire_name(),
                    seq: cursor.seq,
                    epoch: Some(&cursor.epoch),
                    missed_before: Some(cursor.seq.next()),
                };
                subscription.push(outbox, &synced.message(), cursor.seq);
                return true;
            }
        };
        let drafts = self.sources.drafts.clone();
        self.read(index, async move {
            for _ in 0..SNAPSHOT_ATTEMPTS_MAX {
                let began = Instant::now();
                let read = drafts.snapshot(user.clone()).await;
                Operation::Snapshot.meter().record(Outcome::of(&read), began.elapsed());
                match read {
                    Ok(list) => return Arrived::Snapshot(Some(list)),
                    Err(failure) => debug!(failure.message, "the snapshot is read again later"),
                }
                // Many connections are in this together: they come back one by one.
                sleep(SNAPSHOT_RETRY.mul_f64(rand::random_range(0.5..1.5))).await;
            }
            Arrived::Snapshot(None)
        });
        false
    }

    /// Reads something for a subscription. The read ends with the slot: one of a topic that was left would
    /// otherwise go on for as long as the store does not answer.
    fn read(&mut self, index: usize, read: impl Future<Output = Arrived> + Send + 'static) {
        let subscription = &mut self.entries[index];
        let (wanted, unwanted) = oneshot::channel();
        subscription.reading = Some(wanted);
        let id = subscription.id;
        self.must_be_polled = true;
        self.reads.push(async move {
            tokio::select! {
                arrived = read => (id, Some(arrived)),
                _ = unwanted => (id, None),
            }
        });
    }

    /// Hands out the state that is sent instead of events.
    fn snapshot(&mut self, index: usize, list: DraftList, outbox: &mut impl Outbox) {
        counter!("draftwire_snapshots_total").increment(1);
        self.sources.hub.observe_epoch(&list.epoch);
        let subscription = &mut self.entries[index];
        subscription.restarted();
        let snapshot: Message = ServerMessage::Snapshot {
            stream: &subscription.follower.stream().wire_name(),
            epoch: &list.epoch,
            seq: list.seq,
            payload: SnapshotBody { drafts: &list.drafts },
        }
        .message();
        let seq = list.seq;
        subscription.follower.restart(Cursor { epoch: list.epoch, seq });
        subscription.push(outbox, &snapshot, seq);
    }
}
