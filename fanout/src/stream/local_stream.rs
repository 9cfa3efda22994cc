//! One stream that somebody on this node follows: its sequence, its newest events, its followers.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use common::{
    Cursor, Epoch, Event, Seq, Signal, Stream,
    ids::NodeId,
    operations::{Moment, Operation, Outcome, Tally},
    time::unix_ms,
};
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};

use super::{
    budget::Budget,
    followers::Followers,
    mailbox::MailboxSlot,
    ring::{Delivery, Ring},
    sequencer::{Missing, Released, Sequencer},
    signals::{Repeats, Signals},
    source::Source,
};
use crate::log::{Head, LogError, Page};

/// A stream on this node. Lock order: `state` before `followers`; neither is held over an await.
pub(crate) struct LocalStream {
    name: Stream,
    state: Mutex<State>,
    followers: Arc<Followers>,
    /// The bus has confirmed the subscription to the stream's channel.
    subscribed: AtomicBool,
    subscribed_notify: Notify,
    /// Held by the one task that opens the stream; the others wait for it. It holds the error of the last
    /// attempt, if that failed.
    opening: tokio::sync::Mutex<Option<LogError>>,
    /// Counts the failed attempts to open the stream.
    openings_failed: AtomicU64,
    /// A gap-fill is in flight.
    filling: AtomicBool,
}

/// Where the stream stands and what is known of it.
pub(super) struct State {
    /// The history of the sequence; `None` while closed. [`LocalStream::apply_head`] sets it,
    /// [`LocalStream::close`] takes it away.
    pub(super) epoch: Option<Epoch>,
    /// Counts how often the stream has been opened. Two openings of one epoch are two histories all the
    /// same: the log was restored from a backup.
    pub(super) openings: u32,
    /// While closed: the history of the copies that are held back.
    held_epoch: Option<Epoch>,
    /// The last event that retention has removed from the log.
    pub(super) floor: Seq,
    pub(super) sequencer: Sequencer,
    pub(super) ring: Ring,
    pub(super) signals: Signals,
    /// Which signals of other nodes have arrived.
    repeats: Repeats,
    /// The generation of the bus in which the log last confirmed the head while the channel was subscribed.
    /// While it is the present one, no copy can have been lost unnoticed.
    confirmed: Option<u64>,
}

/// A follower's entry in its stream, which wakes it. Dropping it ends following.
pub(crate) struct Registration {
    stream: Arc<LocalStream>,
    key: u32,
}

/// What a head that was read from the log changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadChange {
    /// Nothing: it was known.
    Unchanged,
    /// There are events that no copy announced.
    Behind,
    /// The stream was opened, or its history is another one.
    Opened,
    /// The same, because the head is before what was known of this history.
    WentBack,
}

impl LocalStream {
    pub(super) fn new(name: Stream, recent_events_max: usize, budget: Arc<Budget>) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                epoch: None,
                openings: 0,
                held_epoch: None,
                floor: Seq(0),
                sequencer: Sequencer::default(),
                ring: Ring::new(recent_events_max, budget.clone()),
                signals: Signals::new(budget),
                repeats: Repeats::default(),
                confirmed: None,
            }),
            followers: Arc::default(),
            subscribed: AtomicBool::new(false),
            subscribed_notify: Notify::new(),
            opening: tokio::sync::Mutex::default(),
            openings_failed: AtomicU64::new(0),
            filling: AtomicBool::new(false),
        }
    }

    /// The stream's name.
    pub(crate) fn name(&self) -> &Stream {
        &self.name
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a follower, which is woken through `slot`.
    pub(crate) fn register(self: &Arc<Self>, slot: MailboxSlot) -> Registration {
        let key = self.followers.add(slot);
        Registration { stream: self.clone(), key }
    }

    /// Since when nobody follows; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.followers.idle_since()
    }

    /// How many follow it.
    pub(crate) fn followers(&self) -> usize {
        self.followers.len()
    }

    /// Wakes the tasks of all followers, whether anything is due or not.
    pub(crate) fn wake_followers(&self) {
        self.followers.wake();
    }

    /// Hands a signal to the followers at the tip.
    pub(crate) fn signal(&self, signal: Arc<Signal>) {
        self.state().signals.push(signal);
        self.followers.mark();
    }

    /// Hands out a signal that another node sent under this number, unless it is a repeat.
    pub(crate) fn signal_from(&self, sender: &NodeId, number: u64, signal: Arc<Signal>) {
        let first = self.state().repeats.is_first(sender, number);
        if first {
            self.signal(signal);
        }
    }

    /// Returns whether the bus has confirmed the subscription to the stream's channel.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Acquire)
    }

    /// Notes that the bus has confirmed the subscription, or that it has lost it.
    pub(crate) fn set_subscribed(&self, subscribed: bool) {
        self.subscribed.store(subscribed, Ordering::Release);
        if subscribed {
            self.subscribed_notify.notify_waiters();
        }
    }

    /// Waits until the bus has confirmed the subscription.
    pub(crate) async fn until_subscribed(&self) {
        loop {
            let notified = self.subscribed_notify.notified();
            if self.is_subscribed() {
                return;
            }
            notified.await;
        }
    }

    /// Returns whether the stream's position is known.
    pub(crate) fn is_open(&self) -> bool {
        self.state().epoch.is_some()
    }

    /// Runs `open`, which opens the stream, unless it is open or another task has just opened it. Returns
    /// whether this call did.
    pub(crate) async fn open_once(
        &self,
        open: impl Future<Output = Result<(), LogError>>,
    ) -> Result<bool, LogError> {
        if self.is_open() {
            return Ok(false);
        }
        let failed = self.openings_failed.load(Ordering::Acquire);
        let mut failure = self.opening.lock().await;
        if self.is_open() {
            return Ok(false);
        }
        // The attempt that this call waited for has failed. Tasks that wait share its error: otherwise they
        // would fail one after the other, each after the store's time limit.
        if self.openings_failed.load(Ordering::Acquire) != failed
            && let Some(error) = failure.as_ref()
        {
            return Err(error.clone());
        }
        match open.await {
            Ok(()) => {
                *failure = None;
                Ok(true)
            }
            Err(error) => {
                *failure = Some(error.clone());
                self.openings_failed.fetch_add(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    /// Takes events of history `epoch`. Returns how many are released by them, or `None` when they belong to
    /// another history than the stream. Followers are woken once for all of them: what was committed
    /// together is sent together.
    pub(crate) fn offer(&self, epoch: &Epoch, events: &[Arc<Event>], source: Source) -> Option<usize> {
        let mut state = self.state();
        match &state.epoch {
            Some(known) if known != epoch => return None,
            Some(_) => {}
            // While closed, copies are held back; of several histories only the last one's.
            None if state.held_epoch.as_ref() != Some(epoch) => {
                state.sequencer.close();
                state.held_epoch = Some(epoch.clone());
            }
            None => {}
        }
        if source == Source::Bus
            && let Some(tip) = state.sequencer.tip()
        {
            let known = events.iter().take_while(|event| event.seq <= tip).count();
            Tally::Duplicates.add(known as u64);
        }
        let now = Moment::now();
        let released = events.iter().flat_map(|event| state.sequencer.offer(event.clone(), now)).collect();
        Some(self.deliver(state, released, source, now))
    }

    /// Takes the page that a gap-fill read after `after`. Returns how many events are released by it, or
    /// `None` when it does not advance the sequence.
    pub(crate) fn fill(&self, after: Seq, page: &Page, source: Source) -> Option<usize> {
        let mut state = self.state();
        if state.epoch.as_ref() != Some(&page.epoch) {
            return None;
        }
        state.floor = state.floor.max(page.floor);
        let (now, mut released) = (Moment::now(), Vec::new());
        for event in &page.events {
            released.extend(state.sequencer.offer(event.clone(), now));
        }
        if page.events.is_empty() {
            if page.floor > after {
                // The log no longer holds what is missing. Followers behind the floor are sent the state.
                state.ring.clear();
                released = state.sequencer.skip_to(page.floor, now);
                let count = self.deliver(state, released, source, now);
                self.followers.mark();
                return Some(count);
            }
            // Announced, but not in the log: the announcement was wrong.
            state.sequencer.retract();
            return None;
        }
        Some(self.deliver(state, released, source, now))
    }

    /// Takes the stream's head as the log has it. `known` is the last event that was known when the head was asked
    /// for, and `confirmed` the generation of the bus that the answer confirms.
    pub(crate) fn apply_head(
        &self,
        epoch: &Epoch,
        head: Head,
        known: Option<Seq>,
        confirmed: Option<u64>,
    ) -> HeadChange {
        let mut state = self.state();
        if confirmed.is_some() {
            state.confirmed = confirmed;
        }
        let same_epoch = state.epoch.as_ref() == Some(epoch);
        // A head before an event that was known when the head was asked for: the log was restored from a backup
        // without a change of epoch. The events here are no longer its history.
        let went_back = same_epoch && known.is_some_and(|known| known > head.head);
        if same_epoch && !went_back {
            state.floor = state.floor.max(head.floor);
            state.sequencer.announce(head.head);
            let behind = state.sequencer.missing().is_some();
            return if behind { HeadChange::Behind } else { HeadChange::Unchanged };
        }
        if state.epoch.is_some() || state.held_epoch.as_ref() != Some(epoch) {
            state.sequencer.close();
        }
        state.ring.clear();
        state.held_epoch = None;
        state.openings = state.openings.wrapping_add(1);
        state.epoch = Some(epoch.clone());
        state.floor = head.floor;
        let now = Moment::now();
        let released = state.sequencer.open(head.head, now);
        self.deliver(state, released, Source::Bus, now);
        self.followers.mark();
        if went_back { HeadChange::WentBack } else { HeadChange::Opened }
    }

    /// Notes that an event exists. Returns whether something is missing now.
    pub(crate) fn announce(&self, epoch: &Epoch, seq: Seq) -> bool {
        let mut state = self.state();
        if state.epoch.as_ref() == Some(epoch) {
            state.sequencer.announce(seq);
        }
        state.sequencer.missing().is_some()
    }

    /// Forgets the sequence, because its history has ended. Followers wait until the stream is opened again.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.epoch = None;
        state.confirmed = None;
        state.floor = Seq(0);
        state.sequencer.close();
        state.ring.clear();
    }

    /// The generation of the bus in which the log last confirmed the head; `None` when that is void.
    pub(crate) fn confirmed(&self) -> Option<u64> {
        self.state().confirmed
    }

    /// Voids the confirmation: the stream may have events that no copy announces.
    pub(crate) fn unconfirm(&self) {
        self.state().confirmed = None;
    }

    /// The events that are missing next; `None` when the sequence is complete as far as known.
    pub(crate) fn missing(&self) -> Option<Missing> {
        self.state().sequencer.missing()
    }

    /// The last event known to exist; `None` while closed.
    pub(crate) fn known_head(&self) -> Option<Seq> {
        let state = self.state();
        state.sequencer.tip().map(|_| state.sequencer.known_head())
    }

    /// Returns whether the stream is open in this history.
    pub(crate) fn is_in(&self, epoch: &Epoch) -> bool {
        self.state().epoch.as_ref() == Some(epoch)
    }

    /// Returns whether one of these events of history `epoch` has the number of another one.
    pub(crate) fn contradicts(&self, epoch: &Epoch, events: &[Arc<Event>]) -> bool {
        let state = self.state();
        state.epoch.as_ref() == Some(epoch)
            && events.iter().any(|event| {
                let known = state.ring.get(event.seq).or_else(|| state.sequencer.held(event.seq));
                known.is_some_and(|known| !known.is_same(event))
            })
    }

    /// The stream's position: everything up to it can be sent. `None` while closed.
    pub(crate) fn position(&self) -> Option<Cursor> {
        let state = self.state();
        Some(Cursor { epoch: state.epoch.clone()?, seq: state.sequencer.tip()? })
    }

    /// Returns whether only the log can tell where a cursor stands: it is beyond every event known here, or
    /// of another history.
    pub(crate) fn is_beyond(&self, cursor: &Cursor) -> bool {
        let state = self.state();
        state.sequencer.known_head() < cursor.seq || state.epoch.as_ref() != Some(&cursor.epoch)
    }

    /// Claims the stream's gap-fill. Returns whether none was in flight.
    pub(crate) fn begin_fill(&self) -> bool {
        !self.filling.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_fill(&self) {
        self.filling.store(false, Ordering::Release);
    }

    /// Frees what the stream no longer needs in memory. Called at every full sweep.
    pub(crate) fn age(&self, recent_events_age: Duration) {
        let mut state = self.state();
        state.ring.age(recent_events_age);
        state.ring.trim();
        state.signals.age();
        state.repeats.age();
    }

    /// Makes events that were released `now` visible to followers and wakes them.
    fn deliver(
        &self,
        mut state: MutexGuard<'_, State>,
        released: Vec<Released>,
        source: Source,
        now: Moment,
    ) -> usize {
        let count = released.len();
        let unix_ms = if count > 0 { unix_ms() } else { 0 };
        for released in released {
            if let Some(waited) = released.wait(source) {
                Operation::Sequence.meter().record(Outcome::Ok, waited);
            }
            let event = released.event;
            let age_ms = u32::try_from(unix_ms.saturating_sub(event.timestamp)).unwrap_or(u32::MAX);
            state.ring.push(Delivery { event, source, sequenced: now, age_ms });
        }
        drop(state);
        if count > 0 {
            self.followers.mark();
        }
        count
    }
}

impl Registration {
    /// The stream that is followed.
    pub(crate) fn stream(&self) -> &Arc<LocalStream> {
        &self.stream
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.stream.followers.remove(self.key);
    }
}

#[cfg(test)]
#[path = "local_stream_tests.rs"]
mod tests;
