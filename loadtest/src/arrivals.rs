//! When changes arrived on the devices that did not make them.

use std::{
    collections::HashSet,
    sync::PoisonError,
    time::{Duration, Instant},
};

use crate::fleet::User;

/// An acknowledged change of the load on one other device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When it was to be sent.
    pub(crate) intended: Instant,
    /// When its author had the acknowledgement.
    pub(crate) answered: Instant,
    pub(crate) at: Instant,
}

/// How much of what a device received was looked at.
#[derive(Debug, Default)]
pub(crate) struct Harvested {
    /// Events, from the first.
    events: usize,
    /// Their numbers. Of repeats, the first is when it arrived.
    known: HashSet<u64>,
    /// Events of changes without an acknowledgement so far.
    early: Vec<(u64, Instant)>,
}

impl Arrival {
    /// From the intended moment.
    pub(crate) fn waited(&self) -> Duration {
        waited(self.intended, self.at)
    }
}

/// How long something took; no time when it was the other way round.
pub(crate) fn waited(from: Instant, to: Instant) -> Duration {
    to.saturating_duration_since(from)
}

/// Takes what has arrived since it was last asked.
pub(crate) fn harvest(user: &User, mut take: impl FnMut(Arrival)) {
    let book = user.ledger.book();
    for member in &user.devices {
        let mut harvested = member.harvested.lock().unwrap_or_else(PoisonError::into_inner);
        let Harvested { events, known, early } = &mut *harvested;
        let mut news = std::mem::take(early);
        member.device.look(|replica| {
            let seen = &replica.seen()[*events..];
            news.extend(seen.iter().filter(|seen| known.insert(seen.seq)).map(|seen| (seen.seq, seen.at)));
            *events += seen.len();
        });
        for (seq, at) in news {
            match book.acked(seq) {
                Some(edit) if edit.measured && edit.change.device != member.device.name() => {
                    let answered = edit.answered.unwrap_or(at);
                    take(Arrival { intended: edit.intended, answered, at });
                }
                // Its own, or of the preparations.
                Some(_) => {}
                None => early.push((seq, at)),
            }
        }
    }
}
