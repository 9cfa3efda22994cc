//! The cursor of one follower on one stream, and what it needs next.

use std::sync::Arc;

use common::{Cursor, Epoch, Event, Seq, Signal, Stream};
use metrics::counter;

use super::{
    local_stream::{LocalStream, Registration, State},
    ring::Deliveries,
};
use crate::log::{LogError, Page, Read};

/// Reads one stream for one connection, at its own cursor. It does no I/O: [`StreamReader::step`] returns what
/// to do, and its owner does that. Dropping it ends following.
///
/// There is one per connection and stream, so it is kept small.
pub struct StreamReader {
    registration: Registration,
    /// The history that `seq` counts in. Set by `begin`, [`StreamReader::restart`] and [`StreamReader::skip`].
    epoch: Epoch,
    /// The last event handed out.
    seq: Seq,
    /// The head when following began or went on after a reset. There, a resume is complete.
    head: Seq,
    /// The number of the last signal handed out or passed over.
    signal: u64,
    /// The opening of the stream that `seq` was last compared with.
    opening: u32,
    phase: Phase,
}

/// Where a reader stands in relation to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything missed has been handed out, and [`Step::Synced`] where a cursor was given.
    Live,
    /// It has not reached the head that was announced. [`Step::Synced`] ends this phase.
    Resuming,
    /// Retention has removed the next event. [`StreamReader::restart`] or [`StreamReader::skip`] ends this phase.
    BehindFloor,
    /// The cursor has no meaning in the present history. The same two end this phase.
    Invalid,
}

/// What a reader needs next.
#[derive(Debug)]
pub enum Step {
    /// Send these, in order; then ask again.
    Send(Vec<Deliveries>),
    /// Send these: the reader is live and at the tip, and they are new. Then ask again.
    Signals(Vec<Arc<Signal>>),
    /// Everything missed has been sent up to here: tell the client; then ask again.
    Synced(Seq),
    /// The next events are no longer in memory: read them, and hand the page to [`StreamReader::accept`].
    Read(Read),
    /// The missed events cannot be had. Send the state instead, and [`StreamReader::restart`] from it; or
    /// where there is none, [`StreamReader::skip`] what is missing.
    Reset,
    /// Nothing is due. The mailbox is marked once something is.
    Wait,
}

/// What lies between a reader and the tip, for owners that hold events back to send several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Events after the cursor, all of them in memory; zero unless `live`.
    pub events: usize,
    /// Whether one of them is urgent.
    pub urgent: bool,
    /// Whether so many wait that the first ones may soon be dropped from memory.
    pub near_overflow: bool,
    /// Whether events in memory, if any, come next. Otherwise it is the state, the end of a resume or a page of
    /// the log: those are not held back, so ask [`StreamReader::step`].
    pub live: bool,
    /// The last event that this node has put in order.
    pub tip: Seq,
}

/// Events that a follower reads from the log at a time. Small enough that a page of large events
/// does not weigh on the node, large enough that a long absence is few queries.
const PAGE_EVENTS: u32 = 100;

impl StreamReader {
    /// Begins at a client's cursor, or at the tip of the stream.
    ///
    /// # Errors
    /// When the stream is closed: its history changed after it was opened.
    pub(crate) fn open(registration: Registration, from: Option<&Cursor>) -> Result<Self, LogError> {
        let state = registration.stream().state();
        let (Some(epoch), Some(seq)) = (state.epoch.clone(), state.sequencer.tip()) else {
            return Err(LogError("the store's history changed during the request".to_owned()));
        };
        let (opening, signal) = (state.openings, state.signals.newest());
        let (head, floor) = (state.sequencer.known_head(), state.floor);
        drop(state);
        let mut reader = Self { registration, epoch, seq, head: seq, signal, opening, phase: Phase::Live };
        if let Some(from) = from {
            reader.begin(from, head, floor);
        }
        Ok(reader)
    }

    /// Begins at a client's cursor; `head` is the highest event known to exist.
    fn begin(&mut self, from: &Cursor, head: Seq, floor: Seq) {
        self.head = head;
        if from.epoch != self.epoch || from.seq > head {
            self.phase = Phase::Invalid;
            return;
        }
        self.seq = from.seq;
        self.phase = if from.seq < floor { Phase::BehindFloor } else { Phase::Resuming };
    }

    /// The stream that is followed.
    pub fn stream(&self) -> &Stream {
        self.local_stream().name()
    }

    pub(crate) fn local_stream(&self) -> &Arc<LocalStream> {
        self.registration.stream()
    }

    /// The head when following began: without a cursor, events come from there on. After a reset, the position
    /// where the reader went on, or where it is complete.
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.head }
    }

    /// The history that its cursor counts in.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The stream's position: the last event that is known to exist.
    pub fn position(&self) -> Cursor {
        let seq = self.registration.stream().state().sequencer.known_head().max(self.seq);
        Cursor { epoch: self.epoch.clone(), seq }
    }

    /// The reader's position: everything up to here has been handed out.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.seq }
    }

    /// Returns what to do next. At most about `bytes_max` of payload is handed out at a time.
    pub fn step(&mut self, bytes_max: usize) -> Step {
        if self.is_reset() {
            return Step::Reset;
        }
        let mut state = self.registration.stream().state();
        let (Some(epoch), Some(tip)) = (&state.epoch, state.sequencer.tip()) else { return Step::Wait };
        if *epoch != self.epoch {
            self.phase = Phase::Invalid;
            return Step::Reset;
        }
        if self.opening != state.openings {
            self.opening = state.openings;
            if self.seq > tip {
                self.phase = Phase::Invalid;
                return Step::Reset;
            }
        }
        if self.seq < state.floor {
            self.phase = Phase::BehindFloor;
            return Step::Reset;
        }
        if self.phase == Phase::Resuming && self.seq >= self.head {
            skip_signals(&mut self.signal, &state);
            self.phase = Phase::Live;
            return Step::Synced(self.seq);
        }
        // Beyond the tip only after a restart from a state that is newer than the copies.
        if self.seq >= tip {
            if self.phase != Phase::Live {
                return Step::Wait;
            }
            let due = state.signals.after(self.signal);
            self.signal += due.len() as u64;
            skip_signals(&mut self.signal, &state);
            return if due.is_empty() { Step::Wait } else { Step::Signals(due) };
        }
        match state.ring.after(self.seq, bytes_max) {
            Some(due) => {
                if let Some(last) = due.last().and_then(|due| due.as_slice().last()) {
                    self.seq = last.event.seq;
                }
                Step::Send(due)
            }
            None => {
                skip_signals(&mut self.signal, &state);
                Step::Read(Read { stream: self.stream().clone(), after: self.seq, limit: PAGE_EVENTS })
            }
        }
    }

    /// Returns what [`StreamReader::step`] would hand out next. The cost does not depend on how much it is.
    pub fn pending(&self) -> Pending {
        let state = self.registration.stream().state();
        let tip = state.sequencer.tip().unwrap_or_default();
        let nothing = |live| Pending { events: 0, urgent: false, near_overflow: false, live, tip };
        let Some(epoch) = &state.epoch else { return nothing(!self.is_reset()) };
        let restored = self.opening != state.openings && self.seq > tip;
        let continues = *epoch == self.epoch && !restored && self.seq >= state.floor;
        if self.phase != Phase::Live || !continues {
            return nothing(false);
        }
        if self.seq >= tip {
            return nothing(true);
        }
        if !state.ring.reaches(self.seq) {
            return nothing(false);
        }
        let events = usize::try_from(tip.0 - self.seq.0).unwrap_or(usize::MAX);
        let near_overflow = events >= state.ring.capacity() / 2;
        Pending { events, urgent: state.ring.urgent() > self.seq, near_overflow, live: true, tip }
    }

    /// Takes the page that [`Step::Read`] asked for. Returns the events to send; then ask again.
    pub fn accept(&mut self, page: &Page) -> Vec<Arc<Event>> {
        let mut state = self.registration.stream().state();
        if page.epoch != self.epoch || state.epoch.as_ref() != Some(&self.epoch) {
            return Vec::new();
        }
        state.floor = state.floor.max(page.floor);
        // The log holds more than the tip when copies are late. Those come in their turn.
        let tip = state.sequencer.tip().unwrap_or_default();
        let due: Vec<_> = page.events.iter().filter(|e| e.seq > self.seq && e.seq <= tip).cloned().collect();
        if let (Some(first), Some(last)) = (due.first(), due.last())
            && first.seq == self.seq.next()
        {
            self.seq = last.seq;
            state.ring.extend_back(&due, tip);
            return due;
        }
        if page.events.is_empty() && self.seq < tip && self.seq >= state.floor {
            // The log has neither the events nor a floor above them: only the state is left to send.
            self.phase = Phase::Invalid;
        }
        Vec::new()
    }

    /// Goes on from a state that was read at `cursor`, after [`Step::Reset`]. [`Step::Synced`] follows.
    pub fn restart(&mut self, cursor: Cursor) {
        let state = self.registration.stream().state();
        self.epoch = cursor.epoch;
        self.seq = cursor.seq;
        self.head = cursor.seq;
        self.opening = state.openings;
        self.phase = Phase::Resuming;
        skip_signals(&mut self.signal, &state);
    }

    /// Goes on without the events that cannot be had, after [`Step::Reset`] of a stream that has no state to
    /// send: from the floor when only retention was faster, so that the events left in the log come next; from
    /// the tip when the cursor has no meaning in the present history. Returns the reader's new position.
    /// [`Step::Synced`] always follows: at the head, or at once when the head is reached. So a client that is
    /// told of the gap is also told when all remaining events have been sent.
    ///
    /// `None` while the stream's history is not known. The mailbox is marked as soon as it is, and the step
    /// after that is the reset again.
    pub fn skip(&mut self) -> Option<Cursor> {
        if self.is_reset() {
            let state = self.registration.stream().state();
            // On `None`, no wake-up is missed: opening the stream wakes its followers after this lock is
            // released.
            let (epoch, tip) = (state.epoch.clone()?, state.sequencer.tip()?);
            let continues = epoch == self.epoch && self.opening == state.openings;
            let overtaken = self.phase == Phase::BehindFloor && continues;
            self.seq = if overtaken { self.seq.max(state.floor) } else { tip };
            // Not the tip: events beyond it were announced, perhaps to this reader's client, and are still to
            // come.
            self.head = self.seq.max(state.sequencer.known_head());
            self.phase = Phase::Resuming;
            self.epoch = epoch;
            self.opening = state.openings;
            skip_signals(&mut self.signal, &state);
        }
        Some(self.cursor())
    }

    fn is_reset(&self) -> bool {
        matches!(self.phase, Phase::BehindFloor | Phase::Invalid)
    }
}

/// Skips the signals up to the newest one: they are for followers that are live, and only while they are new.
fn skip_signals(signal: &mut u64, state: &State) {
    let missed = state.signals.newest().saturating_sub(*signal);
    if missed > 0 {
        counter!("draftwire_signals_dropped_total").increment(missed);
        *signal += missed;
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
