//! Where a client stands in a stream, and what events and `SYNCED` do to that.

use crate::{cursor::Cursor, error::Violation, message::Incoming};

/// The position in a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Position {
    cursor: Option<Cursor>,
    /// The history that the server has named, when it is another one than the cursor's: a `SNAPSHOT`, or a
    /// `SYNCED` with `missedBefore`, comes before its events.
    other_epoch: Option<String>,
}

impl Position {
    pub(super) fn new(cursor: Option<Cursor>) -> Self {
        Self { cursor, other_epoch: None }
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// A connection says where the stream stands. A client without a position begins there. One that has a
    /// position keeps it, epoch included: it has seen nothing of the other history yet.
    pub(super) fn greet(&mut self, epoch: &str, seq: u64) {
        let cursor = self.cursor.get_or_insert_with(|| Cursor::new(epoch, seq));
        self.other_epoch = (cursor.epoch != epoch).then(|| epoch.to_owned());
    }

    /// Moves to the position of a `SNAPSHOT`.
    pub(super) fn replace(&mut self, cursor: Cursor) {
        *self = Self::new(Some(cursor));
    }

    /// Whether an event is the next one; `false` without a position, where nothing is expected.
    pub(super) fn expects(&self, stream: &str, seq: u64) -> Result<bool, Violation> {
        let Some(cursor) = &self.cursor else { return Ok(false) };
        self.check_epoch(stream)?;
        if cursor.seq.checked_add(1) != Some(seq) {
            return Err(Violation::Order { stream: stream.to_owned(), after: cursor.seq, got: seq });
        }
        Ok(true)
    }

    /// Moves by an event. Returns whether there is a position to move.
    pub(super) fn follow(&mut self, stream: &str, seq: u64) -> Result<bool, Violation> {
        let is_next = self.expects(stream, seq)?;
        if let Some(cursor) = &mut self.cursor {
            cursor.seq = seq;
        }
        Ok(is_next)
    }

    /// Takes `SYNCED`. Where events are gone it moves the position, and the first that may still come is
    /// returned.
    pub(super) fn synced(&mut self, message: &Incoming<'_>) -> Result<Option<u64>, Violation> {
        let stream = message.stream.as_deref().unwrap_or_default();
        let malformed = |what: &str| Violation::Malformed(format!("SYNCED of {stream}: {what}"));
        let (Some(cursor), Some(seq)) = (&mut self.cursor, message.seq) else {
            return Err(malformed("no position"));
        };
        let Some(before) = message.missed_before else {
            let is_other = message.epoch.as_ref().is_some_and(|epoch| *epoch != cursor.epoch);
            if seq != cursor.seq || is_other {
                return Err(Violation::Synced { stream: stream.to_owned(), reached: cursor.seq, said: seq });
            }
            return self.check_epoch(stream).map(|()| None);
        };
        let epoch = message.epoch.as_ref().unwrap_or(&cursor.epoch).clone();
        if seq.checked_add(1) != Some(before) {
            return Err(malformed("the first event that may come is not the next one"));
        }
        if self.other_epoch.take().is_some_and(|other| other != epoch) {
            return Err(malformed("another history than the one that the connection began with"));
        }
        *cursor = Cursor { epoch, seq };
        Ok(Some(before))
    }

    fn check_epoch(&self, stream: &str) -> Result<(), Violation> {
        let other = self.other_epoch.clone();
        other.map_or(Ok(()), |epoch| Err(Violation::Epoch { stream: stream.to_owned(), epoch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synced(members: &str) -> (Result<Option<u64>, Violation>, String) {
        let mut position = Position::new(Some(Cursor::new("e", 3)));
        let text = format!(r#"{{"type":"SYNCED","stream":"topic:t",{members}}}"#);
        let message = serde_json::from_str(&text).expect("a message");
        let result = position.synced(&message);
        (result, position.cursor().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn synced_names_the_position_that_was_reached_or_another_one() {
        assert_eq!(synced(r#""seq":3"#), (Ok(None), "e:3".to_owned()));
        assert_eq!(synced(r#""seq":7,"epoch":"f","missedBefore":8"#), (Ok(Some(8)), "f:7".to_owned()));
        for wrong in [r#""seq":2"#, r#""seq":4"#, r#""seq":3,"epoch":"f""#] {
            let (result, cursor) = synced(wrong);
            assert!(matches!(result, Err(Violation::Synced { reached: 3, .. })), "{wrong}");
            assert_eq!(cursor, "e:3");
        }
        for wrong in [r#""seq":7,"missedBefore":9"#, r#""missedBefore":9"#] {
            assert!(
                matches!(synced(wrong), (Err(Violation::Malformed(_)), cursor) if cursor == "e:3"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn another_history_begins_where_the_server_says() {
        let mut position = Position::new(Some(Cursor::new("e", 3)));
        position.greet("f", 9);
        let epoch = Violation::Epoch { stream: "all".to_owned(), epoch: "f".to_owned() };
        assert_eq!(position.follow("all", 4), Err(epoch));
        assert_eq!(position.cursor(), Some(&Cursor::new("e", 3)));
        position.replace(Cursor::new("f", 9));
        assert_eq!(position.follow("all", 10), Ok(true));
    }
}
