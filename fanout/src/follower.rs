//! A follower: a cursor on one stream, and what is due to it next.

use std::sync::Arc;

use common::{Cursor, Epoch, Event, Seq, Signal, Stream};
use metrics::counter;

use crate::{
    block::Due,
    followed::{Followed, State},
    log::{Page, Read},
};

/// Follows one stream for one connection. It does no I/O: [`Follower::step`] says what to do, and
/// whoever owns it does that. Dropping it ends following.
///
/// There is one per connection and stream, so it is kept small.
pub struct Follower {
    followed: Arc<Followed>,
    /// The history that `seq` counts in. Set by `begin`, [`Follower::restart`] and [`Follower::skip`].
    epoch: Epoch,
    /// The last event handed out.
    seq: Seq,
    /// The head when following began, or when it went on after a reset; where a resume is complete.
    head: Seq,
    /// The number of the last signal handed out or passed over.
    signal: u64,
    seat: u32,
    /// The opening of the stream that `seq` was last held against.
    opening: u32,
    standing: Standing,
}

/// How a follower stands to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Everything missed has been handed out, and that has been said where it was asked for.
    Live,
    /// On the way to the head that was announced. [`Step::Synced`] ends it.
    Resuming,
    /// Retention has removed what comes next. [`Follower::restart`] or [`Follower::skip`] mends it.
    Overtaken,
    /// The cursor has no meaning here any more. The same mends it.
    Lost,
}

/// What a follower needs next.
#[derive(Debug)]
pub enum Step {
    /// Send these, in order; then ask again.
    Send(Vec<Due>),
    /// Send these: the follower is live and stands at the tip, and they are new. Then ask again.
    Signals(Vec<Arc<Signal>>),
    /// Everything missed has been sent up to here: say so; then ask again.
    Synced(Seq),
    /// The next events are no longer in memory: read them, and hand the page to [`Follower::accept`].
    Read(Read),
    /// The missed events cannot be had. Send the state instead, and [`Follower::restart`] from it; or
    /// where there is none, [`Follower::skip`] what is missing.
    Reset,
    /// Nothing is due. The mailbox will tell.
    Wait,
}

/// What stands between a follower and the tip, for those who hold events back to send several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Events after the cursor, all of them in memory; zero unless `live`.
    pub events: usize,
    /// Whether one of them is urgent.
    pub urgent: bool,
    /// Whether so many wait that soon the first ones will no longer be in memory.
    pub crowded: bool,
    /// Whether events in memory, if anything, are what comes next. Otherwise it is the state, word that
    /// a resume is complete, or a page of the log: those are not held back, so ask [`Follower::step`].
    pub live: bool,
    /// The last event that this node has put in order.
    pub tip: Seq,
}

/// Events that a follower reads from the log at a time. Small enough that a page of large events
/// does not weigh on the node, large enough that a long absence is few queries.
const PAGE_EVENTS: u32 = 100;

impl Follower {
    pub(crate) fn new(followed: Arc<Followed>, seat: u32, epoch: Epoch, seq: Seq) -> Self {
        let (opening, signal) = {
            let state = followed.state();
            (state.openings, state.signals.newest())
        };
        Self { followed, epoch, seq, head: seq, signal, seat, opening, standing: Standing::Live }
    }

    /// Begins at a client's cursor; `head` is the highest event known to exist.
    pub(crate) fn begin(&mut self, from: &Cursor, head: Seq) {
        let floor = self.followed.state().floor;
        self.head = head;
        if from.epoch != self.epoch || from.seq > head {
            self.standing = Standing::Lost;
            return;
        }
        self.seq = from.seq;
        self.standing = if from.seq < floor { Standing::Overtaken } else { Standing::Resuming };
    }

    /// The stream that is followed.
    pub fn stream(&self) -> &Stream {
        &self.followed.stream
    }

    pub(crate) fn followed(&self) -> &Arc<Followed> {
        &self.followed
    }

    /// Where the stream stood when following began. Without a cursor, events come from there on. After
    /// a reset, where the follower went on or is complete.
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.head }
    }

    /// The history that its cursor counts in.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Where the stream stands: the last event that is known here to exist.
    pub fn position(&self) -> Cursor {
        let seq = self.followed.state().sequencer.known_head().max(self.seq);
        Cursor { epoch: self.epoch.clone(), seq }
    }

    /// Where the follower stands: everything up to here has been handed out.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.seq }
    }

    /// What to do next. At most about `bytes_max` of payload is handed out at a time.
    pub fn step(&mut self, bytes_max: usize) -> Step {
        if self.is_reset() {
            return Step::Reset;
        }
        let mut state = self.followed.state();
        let (Some(epoch), Some(tip)) = (&state.epoch, state.sequencer.tip()) else { return Step::Wait };
        if *epoch != self.epoch {
            self.standing = Standing::Lost;
            return Step::Reset;
        }
        if self.opening != state.openings {
            self.opening = state.openings;
            if self.seq > tip {
                self.standing = Standing::Lost;
                return Step::Reset;
            }
        }
        if self.seq < state.floor {
            self.standing = Standing::Overtaken;
            return Step::Reset;
        }
        if self.standing == Standing::Resuming && self.seq >= self.head {
            pass_over(&mut self.signal, &state);
            self.standing = Standing::Live;
            return Step::Synced(self.seq);
        }
        // Beyond the tip only after a restart from a state that is newer than the copies.
        if self.seq >= tip {
            if self.standing != Standing::Live {
                return Step::Wait;
            }
            let due = state.signals.after(self.signal);
            self.signal += due.len() as u64;
            pass_over(&mut self.signal, &state);
            return if due.is_empty() { Step::Wait } else { Step::Signals(due) };
        }
        match state.recent.after(self.seq, bytes_max) {
            Some(due) => {
                if let Some(last) = due.last().and_then(|due| due.deliveries().last()) {
                    self.seq = last.event.seq;
                }
                Step::Send(due)
            }
            None => {
                pass_over(&mut self.signal, &state);
                Step::Read(Read { stream: self.stream().clone(), after: self.seq, limit: PAGE_EVENTS })
            }
        }
    }

    /// What [`Follower::step`] would hand out by and by. Costs the same however much it is.
    pub fn pending(&self) -> Pending {
        let state = self.followed.state();
        let tip = state.sequencer.tip().unwrap_or_default();
        let nothing = |live| Pending { events: 0, urgent: false, crowded: false, live, tip };
        let Some(epoch) = &state.epoch else { return nothing(!self.is_reset()) };
        let put_back = self.opening != state.openings && self.seq > tip;
        let continues = *epoch == self.epoch && !put_back && self.seq >= state.floor;
        if self.standing != Standing::Live || !continues {
            return nothing(false);
        }
        if self.seq >= tip {
            return nothing(true);
        }
        if !state.recent.reaches(self.seq) {
            return nothing(false);
        }
        let events = usize::try_from(tip.0 - self.seq.0).unwrap_or(usize::MAX);
        let crowded = events >= state.recent.room() / 2;
        Pending { events, urgent: state.recent.urgent() > self.seq, crowded, live: true, tip }
    }

    /// Takes the page that [`Step::Read`] asked for. Returns the events to send; then ask again.
    pub fn accept(&mut self, page: &Page) -> Vec<Arc<Event>> {
        let mut state = self.followed.state();
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
            state.recent.extend_back(&due, tip);
            return due;
        }
        if page.events.is_empty() && self.seq < tip && self.seq >= state.floor {
            // The log has neither the events nor a floor above them: only the state is left to send.
            self.standing = Standing::Lost;
        }
        Vec::new()
    }

    /// Goes on from a state that was read at `cursor`, after [`Step::Reset`]. The next step says that
    /// everything missed has been sent.
    pub fn restart(&mut self, cursor: Cursor) {
        let state = self.followed.state();
        self.epoch = cursor.epoch;
        self.seq = cursor.seq;
        self.head = cursor.seq;
        self.opening = state.openings;
        self.standing = Standing::Resuming;
        pass_over(&mut self.signal, &state);
    }

    /// Goes on without the events that cannot be had, after [`Step::Reset`] of a stream that has no
    /// state to send: from the floor when only retention has been faster, so that what the log still
    /// holds comes next; from the tip when the cursor has no meaning there. Returns where the follower
    /// stands now. [`Step::Synced`] always follows: at the head, or at once when that is here. So whoever
    /// is told of the gap is told, too, when everything that is left has come.
    ///
    /// `None` while the stream's history is being learnt. The mailbox is marked as soon as it is known,
    /// and the step after that is the reset again.
    pub fn skip(&mut self) -> Option<Cursor> {
        if self.is_reset() {
            let state = self.followed.state();
            // The mailbox: whoever opens the stream wakes its followers, after this lock is let go.
            let (epoch, tip) = (state.epoch.clone()?, state.sequencer.tip()?);
            let continues = epoch == self.epoch && self.opening == state.openings;
            let overtaken = self.standing == Standing::Overtaken && continues;
            self.seq = if overtaken { self.seq.max(state.floor) } else { tip };
            // Not the tip: beyond it stands what was announced, to this follower's client perhaps, and is
            // still on its way.
            self.head = self.seq.max(state.sequencer.known_head());
            self.standing = Standing::Resuming;
            self.epoch = epoch;
            self.opening = state.openings;
            pass_over(&mut self.signal, &state);
        }
        Some(self.cursor())
    }

    fn is_reset(&self) -> bool {
        matches!(self.standing, Standing::Overtaken | Standing::Lost)
    }
}

/// Leaves out the signals up to the newest one: they are for those who are live, and only while they
/// are new.
fn pass_over(signal: &mut u64, state: &State) {
    let missed = state.signals.newest().saturating_sub(*signal);
    if missed > 0 {
        counter!("draftwire_signals_dropped_total").increment(missed);
        *signal += missed;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followed.leave(self.seat);
    }
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
