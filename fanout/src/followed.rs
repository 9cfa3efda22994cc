//! One stream that somebody on this node follows: its sequence, its newest events, its followers.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use common::{Cursor, Epoch, Event, Seq, Signal, Stream, ids::NodeId};
use slab::Slab;
use tokio::{sync::Notify, time::Instant};

use crate::{
    Source,
    log::{Head, LogError, Page},
    mailbox::Mailbox,
    recent::{Budget, Delivery, Recent},
    sequencer::{Missing, Sequencer},
    signals::{Repeats, Signals},
};

/// A stream on this node. Lock order: `state` before `followers`; neither is held over an await.
pub(crate) struct Followed {
    pub(crate) stream: Stream,
    state: Mutex<State>,
    followers: Mutex<Followers>,
    /// The bus hears the stream.
    pub(crate) subscribed: AtomicBool,
    pub(crate) subscribed_notify: Notify,
    /// One opener at a time; the others wait for it, and share its failure. In it is why the last
    /// attempt failed.
    pub(crate) opening: tokio::sync::Mutex<Option<LogError>>,
    /// How many attempts to open the stream have failed.
    pub(crate) openings_failed: AtomicU64,
    /// A gap-fill is under way.
    filling: AtomicBool,
}

/// Where the stream stands and what is known of it.
pub(crate) struct State {
    /// The history of the sequence; `None` while closed. [`Followed::learn`] sets it,
    /// [`Followed::close`] takes it away.
    pub(crate) epoch: Option<Epoch>,
    /// How often the stream has been opened. Two openings of one epoch are two histories all the same:
    /// the log was put back by hand.
    pub(crate) openings: u32,
    /// While closed: the history of the copies that are held back.
    held_epoch: Option<Epoch>,
    /// The last event that retention has removed from the log.
    pub(crate) floor: Seq,
    pub(crate) sequencer: Sequencer,
    pub(crate) recent: Recent,
    pub(crate) signals: Signals,
    /// Which signals of other nodes have come.
    pub(crate) repeats: Repeats,
    /// The hub's generation in which the log last confirmed the head while the bus heard the stream:
    /// while that is the present one, no copy can have been lost unnoticed.
    pub(crate) confirmed: Option<u64>,
}

#[derive(Default)]
struct Followers {
    seats: Slab<Seat>,
    /// Since when nobody is left; `None` while somebody is.
    idle_since: Option<Instant>,
}

/// A follower, as its stream sees it.
struct Seat {
    mailbox: Arc<Mailbox>,
    slot: u32,
}

/// Followers woken before the lock is let go.
const WAKES_PER_LOCK: usize = 1024;

/// What a confirmed head brought to light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learned {
    /// Nothing new.
    AsKnown,
    /// Events that no copy announced.
    Behind,
    /// The stream was opened, or its history is another one.
    Opened,
}

impl Followed {
    pub(crate) fn new(stream: Stream, recent_events_max: usize, budget: Arc<Budget>) -> Self {
        Self {
            stream,
            state: Mutex::new(State {
                epoch: None,
                openings: 0,
                held_epoch: None,
                floor: Seq(0),
                sequencer: Sequencer::default(),
                recent: Recent::new(recent_events_max, budget.clone()),
                signals: Signals::new(budget),
                repeats: Repeats::default(),
                confirmed: None,
            }),
            followers: Mutex::default(),
            subscribed: AtomicBool::new(false),
            subscribed_notify: Notify::new(),
            opening: tokio::sync::Mutex::default(),
            openings_failed: AtomicU64::new(0),
            filling: AtomicBool::new(false),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a follower. Returns its seat.
    pub(crate) fn sit(&self, mailbox: Arc<Mailbox>, slot: u32) -> u32 {
        let mut followers = self.followers();
        followers.idle_since = None;
        let seat = followers.seats.insert(Seat { mailbox, slot });
        u32::try_from(seat).expect("a node has fewer connections")
    }

    /// Removes a follower.
    pub(crate) fn leave(&self, seat: u32) {
        let mut followers = self.followers();
        followers.seats.try_remove(seat as usize);
        if followers.seats.is_empty() {
            followers.idle_since = Some(Instant::now());
        }
    }

    /// Since when nobody follows; `None` while somebody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        self.followers().idle_since
    }

    /// Tells every follower to look. Who sits down meanwhile looks anyway, so the lock is let go now and
    /// then: a stream that every connection follows has tens of thousands of seats, and nobody could come
    /// or go while all of them are woken.
    pub(crate) fn wake(&self) {
        let mut from = 0;
        loop {
            let followers = self.followers();
            let to = from + WAKES_PER_LOCK;
            for seat in (from..to).filter_map(|seat| followers.seats.get(seat)) {
                seat.mailbox.mark(seat.slot);
            }
            // Seats are numbered below the capacity, which only grows.
            if to >= followers.seats.capacity() {
                return;
            }
            from = to;
        }
    }

    /// Hands a signal to whoever stands at the tip.
    pub(crate) fn signal(&self, signal: Arc<Signal>) {
        self.state().signals.push(signal);
        self.wake();
    }

    /// The same with one that another node has sent, under this number, unless it is a repeat.
    pub(crate) fn signal_from(&self, sender: &NodeId, number: u64, signal: Arc<Signal>) {
        let first = self.state().repeats.is_first(sender, number);
        if first {
            self.signal(signal);
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state().epoch.is_some()
    }

    /// Takes events of history `epoch`. Returns how many are released by them, or `None` when they
    /// belong to another history than the stream here. Followers are woken once for all of them: what
    /// was committed together is sent together.
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
        let released = events.iter().flat_map(|event| state.sequencer.offer(event.clone())).collect();
        Some(self.deliver(state, released, source))
    }

    /// Takes the page that a gap-fill read after `after`. Returns how many events are released by it,
    /// or `None` when it does not bring the sequence on.
    pub(crate) fn fill(&self, after: Seq, page: &Page, source: Source) -> Option<usize> {
        let mut state = self.state();
        if state.epoch.as_ref() != Some(&page.epoch) {
            return None;
        }
        state.floor = state.floor.max(page.floor);
        let mut released = Vec::new();
        for event in &page.events {
            released.extend(state.sequencer.offer(event.clone()));
        }
        if page.events.is_empty() {
            if page.floor > after {
                // What is missing is gone from the log. Followers behind the floor are sent the state.
                state.recent.clear();
                released = state.sequencer.skip_to(page.floor);
                let count = self.deliver(state, released, source);
                self.wake();
                return Some(count);
            }
            // Announced, but not in the log: whatever announced it was wrong.
            state.sequencer.retract();
            return None;
        }
        Some(self.deliver(state, released, source))
    }

    /// Takes what the log says of the stream's head. `asked` is where the stream stood here when the
    /// question was sent, and `confirmed` the generation that the answer is good for.
    pub(crate) fn learn(
        &self,
        epoch: &Epoch,
        head: Head,
        asked: Option<Seq>,
        confirmed: Option<u64>,
    ) -> Learned {
        let mut state = self.state();
        if confirmed.is_some() {
            state.confirmed = confirmed;
        }
        let same_history = state.epoch.as_ref() == Some(epoch)
            // A head before an event that had been seen when the question was sent: the log was put
            // back by hand, without a change of epoch. What is here is no longer its history.
            && asked.is_none_or(|tip| tip <= head.head);
        if same_history {
            state.floor = state.floor.max(head.floor);
            state.sequencer.announce(head.head);
            let behind = state.sequencer.missing().is_some();
            return if behind { Learned::Behind } else { Learned::AsKnown };
        }
        if state.epoch.is_some() || state.held_epoch.as_ref() != Some(epoch) {
            state.sequencer.close();
        }
        state.recent.clear();
        state.held_epoch = None;
        state.openings = state.openings.wrapping_add(1);
        state.epoch = Some(epoch.clone());
        state.floor = head.floor;
        let released = state.sequencer.open(head.head);
        self.deliver(state, released, Source::Bus);
        self.wake();
        Learned::Opened
    }

    /// Takes note that an event exists. Returns whether something is missing now.
    pub(crate) fn announce(&self, epoch: &Epoch, seq: Seq) -> bool {
        let mut state = self.state();
        if state.epoch.as_ref() == Some(epoch) {
            state.sequencer.announce(seq);
        }
        state.sequencer.missing().is_some()
    }

    /// Forgets the sequence, because its history has ended. Followers wait until it is opened anew.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.epoch = None;
        state.confirmed = None;
        state.floor = Seq(0);
        state.sequencer.close();
        state.recent.clear();
    }

    pub(crate) fn missing(&self) -> Option<Missing> {
        self.state().sequencer.missing()
    }

    /// Where the stream stands here: everything up to it can be sent. `None` while closed.
    pub(crate) fn position(&self) -> Option<Cursor> {
        let state = self.state();
        Some(Cursor { epoch: state.epoch.clone()?, seq: state.sequencer.tip()? })
    }

    /// Claims the one gap-fill of the stream.
    pub(crate) fn begin_fill(&self) -> bool {
        !self.filling.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn end_fill(&self) {
        self.filling.store(false, Ordering::Release);
    }

    /// Makes released events visible to followers and wakes these.
    fn deliver(&self, mut state: MutexGuard<'_, State>, released: Vec<Arc<Event>>, source: Source) -> usize {
        let count = released.len();
        for event in released {
            state.recent.push(Delivery { event, source });
        }
        drop(state);
        if count > 0 {
            self.wake();
        }
        count
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{event, signal, stream};

    fn epoch(name: &str) -> Epoch {
        name.parse().unwrap()
    }

    fn head(seq: u64) -> Head {
        Head { head: Seq(seq), floor: Seq(0) }
    }

    fn followed() -> Followed {
        Followed::new(stream(), 100, Budget::new(usize::MAX))
    }

    #[test]
    fn every_follower_is_woken_however_many_there_are() {
        let (followed, mailbox) = (followed(), Arc::<Mailbox>::default());
        let slots = u32::try_from(3 * WAKES_PER_LOCK + 5).unwrap();
        let seats: Vec<_> = (0..slots).map(|slot| followed.sit(mailbox.clone(), slot)).collect();
        let (left, stayed): (Vec<u32>, Vec<u32>) = seats.into_iter().partition(|seat| seat % 5 == 0);
        left.into_iter().for_each(|seat| followed.leave(seat));
        followed.wake();
        assert_eq!(mailbox.take(), stayed);
    }

    #[test]
    fn signals_that_other_streams_overtake_are_taken_and_repeats_are_not() {
        let (slow, fast) = (followed(), followed());
        let sender = "n".parse().unwrap();
        let taken = |followed: &Followed| followed.state().signals.newest();
        // Numbered in turn, on channels of two shards, of which one is far behind.
        for number in (1..=999).step_by(2) {
            fast.signal_from(&sender, number, signal("1"));
        }
        for number in (2..=1000).step_by(2) {
            slow.signal_from(&sender, number, signal("1"));
            slow.signal_from(&sender, number, signal("1"));
        }
        assert_eq!((taken(&fast), taken(&slow)), (500, 500));
    }

    #[test]
    fn copies_of_an_ended_history_are_not_released_in_the_new_one() {
        let followed = followed();
        followed.offer(&epoch("old"), &[event(4)], Source::Bus);
        assert_eq!(followed.learn(&epoch("new"), head(3), None, None), Learned::Opened);
        assert_eq!(followed.position().unwrap().seq, Seq(3));
        assert_eq!(followed.offer(&epoch("old"), &[event(4)], Source::Bus), None);
        assert_eq!(followed.offer(&epoch("new"), &[event(4)], Source::Bus), Some(1));
    }

    #[test]
    fn copies_of_the_history_that_is_opened_are_kept() {
        let followed = followed();
        followed.offer(&epoch("old"), &[event(9)], Source::Bus);
        followed.offer(&epoch("new"), &[event(4)], Source::Bus);
        followed.learn(&epoch("new"), head(3), None, None);
        assert_eq!(followed.position().unwrap().seq, Seq(4));
        assert_eq!(followed.missing(), None);
    }

    #[test]
    fn a_log_that_was_put_back_begins_anew() {
        let followed = followed();
        followed.learn(&epoch("one"), head(9), None, None);
        // Asked before event 10 was known here: an old answer, not an old log.
        followed.offer(&epoch("one"), &[event(10)], Source::Bus);
        assert_eq!(followed.learn(&epoch("one"), head(9), Some(Seq(9)), None), Learned::AsKnown);
        assert_eq!(followed.learn(&epoch("one"), head(5), Some(Seq(10)), None), Learned::Opened);
        assert_eq!(followed.position().unwrap().seq, Seq(5));
    }
}
