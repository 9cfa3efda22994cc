//! Appends: events that somebody publishes, as they are.

use common::protocol::NewEvent;

use super::decision::Decision;
use crate::store::{Append, Done, Limits, Refusal, Write};

/// Events of one append. They are committed together, so they have to fit into one transaction that
/// ends within the store's time limit.
pub const APPEND_EVENTS_MAX: usize = 1000;

/// Whether what is published is of a size that can be taken. It costs nothing, so whoever takes it from a
/// client asks before it is queued; the store asks in any case.
///
/// # Errors
/// [`Refusal::BadRequest`] when there is nothing; [`Refusal::TooLarge`] when one of them, or their number,
/// is over its limit.
pub(crate) fn check_size(events: &[NewEvent], bytes_max: usize) -> Result<(), Refusal> {
    if events.is_empty() {
        return Err(Refusal::BadRequest("there is no event".to_owned()));
    }
    if events.len() > APPEND_EVENTS_MAX {
        let count = events.len();
        return Err(Refusal::TooLarge(format!("{count} events at once, at most {APPEND_EVENTS_MAX}")));
    }
    match events.iter().map(|event| event.data.len()).find(|bytes| *bytes > bytes_max) {
        Some(bytes) => {
            let refusal = format!("the data of an event is {bytes} bytes, at most {bytes_max}");
            Err(Refusal::TooLarge(refusal))
        }
        None => Ok(()),
    }
}

impl Append {
    /// Whether it can be kept at all: its size is right, and there is no signal in it.
    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        check_size(&self.events, limits.event_bytes_max)?;
        if self.events.iter().any(|event| event.signal) {
            return Err(Refusal::BadRequest("a signal is not stored".to_owned()));
        }
        Ok(())
    }
}

impl Decision<'_> {
    /// All of the events or none, one after the other.
    pub(super) fn append(&mut self, write: &Write, append: &Append) -> Result<Done, Refusal> {
        append.check(self.limits)?;
        let stream = &append.stream;
        let mut seqs = append.events.iter().map(|new| {
            let data = new.data.clone().into_raw();
            self.event(stream, new.event.clone(), &write.device, data, new.priority)
        });
        let first = seqs.next().unwrap_or_default();
        let seq = seqs.last().unwrap_or(first);
        Ok(Done::Appended { first, seq })
    }
}
