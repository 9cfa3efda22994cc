//! Where an event stream's client stands: the `id` of its events.

use std::{collections::BTreeMap, fmt, str::FromStr};

use common::{Cursor, Epoch, ids::InvalidId};

use crate::subscriptions::At;

/// Positions in several streams, written `<epoch>/<stream>=<seq>,<stream>=<seq>`, streams by the names
/// that clients know. While a client goes over to another history, each stream arrives there in its own
/// time: then there is one such group for each epoch, joined by `;`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    cursors: BTreeMap<String, Cursor>,
}

/// Streams that a position names at most: a client's text is not followed without end.
const STREAMS_MAX: usize = 10_002;

/// Said of any other text.
pub(super) const INVALID: InvalidId =
    InvalidId { what: "cursor", rule: "the id of an event of this kind of stream" };

impl Position {
    /// The cursor in a stream, if the position names it.
    pub(super) fn cursor(&self, stream: &str) -> Option<Cursor> {
        self.cursors.get(stream).cloned()
    }

    /// Moves on in one stream. The others stay where they are, in whatever history.
    pub(super) fn advance(&mut self, At { stream, epoch, seq }: At<'_>) {
        self.cursors.insert(stream.wire_name(), Cursor { epoch: epoch.clone(), seq });
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cursors: Vec<_> = self.cursors.iter().collect();
        // Stable: by name within an epoch.
        cursors.sort_by(|(_, a), (_, b)| a.epoch.cmp(&b.epoch));
        let mut before = None;
        for (stream, Cursor { epoch, seq }) in cursors {
            match before.replace(epoch) {
                Some(before) if before == epoch => write!(f, ",{stream}={seq}")?,
                Some(_) => write!(f, ";{epoch}/{stream}={seq}")?,
                None => write!(f, "{epoch}/{stream}={seq}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut position = Self::default();
        for group in text.split(';') {
            let (epoch, streams) = group.split_once('/').ok_or(INVALID)?;
            // Also where it names no stream.
            epoch.parse::<Epoch>()?;
            for stream in streams.split(',').filter(|stream| !stream.is_empty()) {
                let (name, seq) = stream.split_once('=').ok_or(INVALID)?;
                let cursor = format!("{epoch}:{seq}").parse().map_err(|_| INVALID)?;
                let named_before = position.cursors.insert(name.to_owned(), cursor).is_some();
                if named_before || position.cursors.len() > STREAMS_MAX {
                    return Err(INVALID);
                }
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::{Seq, Stream};

    use super::*;

    #[test]
    fn a_position_reads_back() {
        let mut position = Position::default();
        let epoch: Epoch = "e1".parse().unwrap();
        let topic: Stream = "topic:match:1".parse().unwrap();
        position.advance(At { stream: &Stream::All, epoch: &epoch, seq: Seq(7) });
        position.advance(At { stream: &topic, epoch: &epoch, seq: Seq(17) });
        assert_eq!(position.to_string(), "e1/all=7,topic:match:1=17");
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        assert_eq!(position.cursor("topic:match:1"), Some("e1:17".parse().unwrap()));
        assert_eq!(position.cursor("user"), None);
    }

    #[test]
    fn each_stream_has_its_own_history() {
        let mut position: Position = "e1/all=7,topic:t=17,user=3".parse().unwrap();
        let new: Epoch = "e2".parse().unwrap();
        position.advance(At { stream: &"topic:t".parse().unwrap(), epoch: &new, seq: Seq(2) });
        assert_eq!(position.to_string(), "e1/all=7,user=3;e2/topic:t=2");
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        position.advance(At { stream: &Stream::All, epoch: &new, seq: Seq(0) });
        assert_eq!(position.to_string(), "e1/user=3;e2/all=0,topic:t=2");
        position.advance(At { stream: &"user:alice".parse().unwrap(), epoch: &new, seq: Seq(1) });
        assert_eq!(position.to_string(), "e2/all=0,topic:t=2,user=1");
    }

    #[test]
    fn anything_else_is_refused() {
        let malformed = ["", "17", "e1", "e1/a", "e1/a=", "e1/a=-1", "e1/a=+1", "a b/all=1", "/all=1"];
        let of_several = [";", "e1/a=1;", ";e1/a=1", "e1/a=1;e2", "e1/a=1,a=2", "e1/a=1;e2/a=2"];
        for text in malformed.into_iter().chain(of_several) {
            assert!(text.parse::<Position>().is_err(), "{text:?} was taken");
        }
        assert!("e1/".parse::<Position>().is_ok());
    }
}
