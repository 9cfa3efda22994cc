//! A follower: a cursor on one stream, and what is due to it next.

use std::sync::Arc;

use common::{Cursor, Epoch, Event, Seq, Stream};

use crate::{
    followed::Followed,
    log::{Page, Read},
    recent::Delivery,
};

/// Follows one stream for one connection. It does no I/O: [`Follower::step`] says what to do, and
/// whoever owns it does that. Dropping it ends following.
pub struct Follower {
    followed: Arc<Followed>,
    seat: usize,
    /// The history that `seq` counts in. Set by `begin` and [`Follower::restart`].
    epoch: Epoch,
    /// The opening of the stream that `seq` was last held against.
    opening: u64,
    /// The last event handed out.
    seq: Seq,
    /// Where a resume is complete, until that has been said.
    sync_at: Option<Seq>,
    /// The head when following began.
    head: Seq,
    /// The cursor has no meaning here any more; [`Follower::restart`] mends it.
    reset: bool,
}

/// What a follower needs next.
#[derive(Debug)]
pub enum Step {
    /// Send these, in order; then ask again.
    Send(Vec<Delivery>),
    /// Everything missed has been sent up to here: say so; then ask again.
    Synced(Seq),
    /// The next events are no longer in memory: read them, and hand the page to [`Follower::accept`].
    Read(Read),
    /// The missed events cannot be had: send the state instead, and [`Follower::restart`] from it.
    Reset,
    /// Nothing is due. The mailbox will tell.
    Wait,
}

/// Events that a follower reads from the log at a time. Small enough that a page of large events
/// does not weigh on the node, large enough that a long absence is few queries.
const PAGE_EVENTS: u32 = 100;

impl Follower {
    pub(crate) fn new(followed: Arc<Followed>, seat: usize, epoch: Epoch, seq: Seq) -> Self {
        let opening = followed.state().openings;
        Self { followed, seat, epoch, opening, seq, sync_at: None, head: seq, reset: false }
    }

    /// Begins at a client's cursor; `head` is the highest event known to exist.
    pub(crate) fn begin(&mut self, from: &Cursor, head: Seq) {
        let floor = self.followed.state().floor;
        self.head = head;
        if from.epoch != self.epoch || from.seq > head || from.seq < floor {
            self.reset = true;
        } else {
            self.seq = from.seq;
            self.sync_at = Some(head);
        }
    }

    /// The stream that is followed.
    pub fn stream(&self) -> &Stream {
        &self.followed.stream
    }

    /// Where the stream stood when following began. Without a cursor, events come from there on.
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.head }
    }

    /// Where the follower stands: everything up to here has been handed out.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch.clone(), seq: self.seq }
    }

    /// What to do next. At most about `bytes_max` of payload is handed out at a time.
    pub fn step(&mut self, bytes_max: usize) -> Step {
        if self.reset {
            return Step::Reset;
        }
        let state = self.followed.state();
        let Some(epoch) = &state.epoch else { return Step::Wait };
        if *epoch != self.epoch || state.floor > self.seq {
            self.reset = true;
            return Step::Reset;
        }
        if let Some(target) = self.sync_at
            && self.seq >= target
        {
            self.sync_at = None;
            return Step::Synced(self.seq);
        }
        let Some(tip) = state.sequencer.tip() else { return Step::Wait };
        if self.opening != state.openings {
            self.opening = state.openings;
            if self.seq > tip {
                self.reset = true;
                return Step::Reset;
            }
        }
        if self.seq >= tip {
            // Beyond the tip only after a restart from a state that is newer than the copies.
            return Step::Wait;
        }
        match state.recent.after(self.seq, bytes_max) {
            Some(due) => {
                if let Some(last) = due.last() {
                    self.seq = last.event.seq;
                }
                Step::Send(due)
            }
            None => Step::Read(Read { stream: self.stream().clone(), after: self.seq, limit: PAGE_EVENTS }),
        }
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
        if page.events.is_empty() && self.seq < tip {
            // The log has neither the events nor a floor above them: only the state is left to send.
            self.reset = true;
        }
        Vec::new()
    }

    /// Goes on from a state that was read at `cursor`, after [`Step::Reset`]. The next step says that
    /// everything missed has been sent.
    pub fn restart(&mut self, cursor: Cursor) {
        self.epoch = cursor.epoch;
        self.seq = cursor.seq;
        self.sync_at = Some(cursor.seq);
        self.opening = self.followed.state().openings;
        self.reset = false;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followed.leave(self.seat);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{log::Head, recent::Budget, testing::stream};

    #[test]
    fn a_log_that_was_put_back_resets_those_who_had_seen_more() {
        let epoch: Epoch = "one".parse().unwrap();
        let followed = Arc::new(Followed::new(stream(), 100, Budget::new(usize::MAX)));
        let head = |seq| Head { head: Seq(seq), floor: Seq(0) };
        followed.learn(&epoch, head(10), None, None);
        let seats = [10, 4].map(|seq| {
            let seat = followed.sit(Arc::default(), 0);
            Follower::new(followed.clone(), seat, epoch.clone(), Seq(seq))
        });
        let [mut ahead, mut behind] = seats;
        assert!(matches!(ahead.step(usize::MAX), Step::Wait));
        followed.learn(&epoch, head(5), Some(Seq(10)), None);
        assert!(matches!(ahead.step(usize::MAX), Step::Reset));
        assert!(matches!(behind.step(usize::MAX), Step::Read(_)));
        ahead.restart(Cursor { epoch, seq: Seq(5) });
        assert!(matches!(ahead.step(usize::MAX), Step::Synced(Seq(5))));
        assert!(matches!(ahead.step(usize::MAX), Step::Wait));
    }
}
