//! When changes arrived on the devices that did not make them.

use std::collections::HashSet;

use super::record::Record;
use crate::check::history::{Moment, Op, Outcome, What};

/// An acknowledged edit on one other device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When it was to be sent.
    pub(crate) intended: Moment,
    /// When its author had the acknowledgement.
    pub(crate) answered: Moment,
    pub(crate) at: Moment,
}

/// How much of what a device received was looked at.
#[derive(Debug, Default)]
pub(crate) struct Harvested {
    /// The place of the next entry in its record.
    next: usize,
    /// Changes whose events have come. Of repeats, the first is when it arrived.
    known: HashSet<u64>,
    /// Changes without an answer so far.
    early: Vec<(u64, Moment)>,
}

impl Harvested {
    /// Takes what has arrived on a device since it was last asked, of the changes that other devices have made.
    pub(super) fn harvest(
        &mut self,
        device: &str,
        record: &Record,
        ops: &[Op],
        mut take: impl FnMut(Arrival),
    ) {
        let Self { next, known, early } = self;
        let mut news = std::mem::take(early);
        record.events_from(next, |op, at| {
            if known.insert(op) {
                news.push((op, at));
            }
        });
        for (id, at) in news {
            let Ok(place) = ops.binary_search_by_key(&id, |op| op.id) else { continue };
            let op = &ops[place];
            match (&op.what, &op.outcome, op.answered) {
                (What::Edit { field, .. }, Outcome::Acked(_), Some(answered)) if field != device => {
                    take(Arrival { intended: op.intended, answered, at });
                }
                (What::Edit { .. }, Outcome::Unknown, _) => early.push((id, at)),
                // Its own, of the preparations, or refused.
                _ => {}
            }
        }
    }
}
