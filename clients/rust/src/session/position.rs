//! How events and `SYNCED` move a cursor.

use crate::{cursor::Cursor, error::Violation, message::Incoming};

/// Moves a cursor by an event. Returns whether there is one to move.
pub(super) fn follow(cursor: &mut Option<Cursor>, stream: &str, seq: u64) -> Result<bool, Violation> {
    let Some(cursor) = cursor else { return Ok(false) };
    if seq != cursor.seq + 1 {
        return Err(Violation::Order { stream: stream.to_owned(), after: cursor.seq, got: seq });
    }
    cursor.seq = seq;
    Ok(true)
}

/// Takes `SYNCED`. Where events are gone it moves the cursor, and the first that may still come is returned.
pub(super) fn synced(cursor: &mut Option<Cursor>, message: &Incoming<'_>) -> Result<Option<u64>, Violation> {
    let (Some(cursor), Some(seq)) = (cursor, message.seq) else {
        return Err(Violation::Malformed("SYNCED without a position".to_owned()));
    };
    if message.missed_before.is_none() {
        if seq != cursor.seq {
            let stream = message.stream.clone().unwrap_or_default();
            return Err(Violation::Order { stream, after: cursor.seq, got: seq });
        }
        return Ok(None);
    }
    if let Some(epoch) = &message.epoch {
        cursor.epoch.clone_from(epoch);
    }
    cursor.seq = seq;
    Ok(message.missed_before)
}
