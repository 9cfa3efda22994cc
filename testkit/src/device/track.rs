//! What came of one shared stream, a topic or `all`, to one client.

use std::hash::{DefaultHasher, Hash, Hasher};

use draftwire_client::{Cursor, Refusal, session::TopicState};
use serde_json::Value;

use super::{presence::Presence, topic::Topic, violation::Violation};

/// How a topic stands on the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// To be followed, and not answered on this connection.
    #[default]
    Waiting,
    /// Followed.
    Followed,
    /// Not followed: the server has refused it, or taken it back by `UNSUBSCRIBED`.
    Refused(Refusal),
    /// To be left.
    Leaving,
    /// Left on the client's own wish.
    Left,
}

/// The cursor was moved, and events between are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Where it stood (`<epoch>:<seq>`).
    pub from: String,
    /// Where it was moved to.
    pub to: String,
    /// `missedBefore`.
    pub before: u64,
}

/// A stream as one client has followed it: small, however many events have come.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// How it was asked for; `None` for `all`, and where the connection names its topics itself.
    topic: Option<Topic>,
    standing: Standing,
    /// The last event, in its history; `None` before the first answer.
    position: Option<Cursor>,
    resuming: bool,
    synced: bool,
    resumes: u64,
    /// First and last number of each unbroken run of events.
    runs: Vec<(u64, u64)>,
    /// Of the events by their order, which is that of their numbers.
    digests: Vec<u64>,
    missed: Vec<Missed>,
    signals: u64,
    presence: Presence,
    /// Whole events and signals as they came, when they are kept.
    messages: Vec<Value>,
}

/// What is compared of an event: what its publisher has given.
pub fn digest(event: &str, data: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    data.hash(&mut hasher);
    hasher.finish()
}

impl Track {
    /// How it stands on the connection.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether it is followed on this connection.
    pub fn is_followed(&self) -> bool {
        self.standing == Standing::Followed
    }

    /// Whether the server has answered all that was asked for.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.standing, Standing::Waiting | Standing::Leaving)
    }

    /// Where it stands (`<epoch>:<seq>`); `None` before it was first followed.
    pub fn cursor(&self) -> Option<String> {
        self.position.as_ref().map(ToString::to_string)
    }

    pub(super) fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// The last event; zero before it was first followed.
    pub fn seq(&self) -> u64 {
        self.position.as_ref().map_or(0, |cursor| cursor.seq)
    }

    /// How many events have come in this history.
    pub fn received(&self) -> u64 {
        self.digests.len() as u64
    }

    /// First and last number of each unbroken run of events in this history, ascending.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.runs
    }

    /// What an event was, by its number, as [`digest`] has it; `None` when it has not come.
    pub fn digest(&self, seq: u64) -> Option<u64> {
        let mut before = 0;
        for &(first, last) in &self.runs {
            if (first..=last).contains(&seq) {
                let at = usize::try_from(before + seq - first).ok()?;
                return self.digests.get(at).copied();
            }
            before += last + 1 - first;
        }
        None
    }

    /// Whether, on this connection, everything missed has come.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How often it went on from its cursor and was sent all that was missed.
    pub fn resumes(&self) -> u64 {
        self.resumes
    }

    /// Where events were gone, oldest first.
    pub fn missed(&self) -> &[Missed] {
        &self.missed
    }

    /// How many signals have come.
    pub fn signals(&self) -> u64 {
        self.signals
    }

    /// Who is here.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Whole events and signals as they came; none unless the device keeps them.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// It is asked for like this from now on.
    pub(super) fn want(&mut self, topic: Topic) {
        self.topic = Some(topic);
    }

    /// A connection has begun or ended.
    pub(super) fn reconnect(&mut self) {
        self.synced = false;
        self.resuming = false;
        self.presence.forget();
    }

    /// Notes how the stream stands with the session, and where; no state for one that was left.
    pub(super) fn stand(&mut self, state: Option<TopicState<'_>>, position: Option<&Cursor>) {
        let standing = match state {
            Some(TopicState::Followed) => Standing::Followed,
            Some(TopicState::Leaving) => Standing::Leaving,
            Some(TopicState::Refused(refusal)) => Standing::Refused(refusal.clone()),
            None => Standing::Left,
            Some(_) => Standing::Waiting,
        };
        if standing == Standing::Followed && self.standing != standing {
            self.resuming = self.position.is_some();
        }
        if !matches!(standing, Standing::Followed | Standing::Leaving) {
            self.presence.forget();
        }
        self.standing = standing;
        match (&mut self.position, position) {
            (Some(known), Some(position)) if known.epoch == position.epoch => known.seq = position.seq,
            (known, Some(position)) => *known = Some(position.clone()),
            // One that is followed again goes on from there.
            (_, None) => {}
        }
    }

    /// Notes a message that the session has taken, when it has moved to where it stands now. `from` is where it
    /// stood before.
    pub(super) fn note(&mut self, message: &Value, from: Option<&Cursor>) -> Result<bool, Violation> {
        let kind = message["type"].as_str().unwrap_or_default();
        match kind {
            "SYNCED" => self.note_synced(message, from),
            "PRESENCE" | "JOIN" | "LEAVE" => return self.note_presence(kind, message).map(|()| false),
            "SIGNAL" => {
                self.signals += 1;
                return Ok(true);
            }
            // Of a topic that is being left, the session counts nothing any more.
            _ if message["seq"] == self.seq() && from != self.position.as_ref() => {
                self.note_event(kind, &message["payload"]);
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Notes the event that the stream stands at.
    fn note_event(&mut self, event: &str, data: &Value) {
        let seq = self.seq();
        self.digests.push(digest(event, data));
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => self.runs.push((seq, seq)),
        }
    }

    /// Notes `SYNCED`.
    fn note_synced(&mut self, message: &Value, from: Option<&Cursor>) {
        let (Some(from), Some(to)) = (from, &self.position) else { return };
        let Some(before) = message["missedBefore"].as_u64() else {
            self.synced = true;
            self.resumes += u64::from(std::mem::take(&mut self.resuming));
            return;
        };
        self.missed.push(Missed { from: from.to_string(), to: to.to_string(), before });
        if to.epoch != from.epoch || to.seq < from.seq {
            // The numbers mean other events from here on.
            self.runs.clear();
            self.digests.clear();
        }
        self.resuming = false;
        // What is left to send comes next, and another `SYNCED` behind it.
        self.synced = false;
    }

    /// Notes `PRESENCE`, `JOIN` or `LEAVE`.
    fn note_presence(&mut self, kind: &str, message: &Value) -> Result<(), Violation> {
        let payload = &message["payload"];
        let taken = match kind {
            _ if !self.topic.as_ref().is_some_and(|topic| topic.presence) => {
                Err("nobody has asked for it".to_owned())
            }
            "JOIN" => self.presence.join(payload),
            "LEAVE" => self.presence.leave(payload),
            _ => self.presence.state(payload),
        };
        let stream = || message["stream"].as_str().unwrap_or_default().to_owned();
        taken.map_err(|what| Violation::Presence { stream: stream(), what })
    }

    /// Keeps a message that came.
    pub(super) fn keep(&mut self, message: Value) {
        self.messages.push(message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A followed track that stands at `e:3`.
    fn followed() -> Track {
        let mut track = Track::default();
        track.stand(Some(TopicState::Waiting), Some(&Cursor::new("e", 3)));
        track.stand(Some(TopicState::Followed), Some(&Cursor::new("e", 3)));
        track
    }

    /// The session has taken a message, and stands at `to` then.
    fn taken(track: &mut Track, message: &Value, to: (&str, u64)) {
        let from = track.position().cloned();
        track.stand(Some(TopicState::Followed), Some(&Cursor::new(to.0, to.1)));
        assert!(track.note(message, from.as_ref()).is_ok(), "{message}");
    }

    fn event(track: &mut Track, seq: u64) {
        let message = json!({ "type": "GOAL", "stream": "topic:t", "seq": seq, "payload": { "n": seq } });
        taken(track, &message, ("e", seq));
    }

    #[test]
    fn events_are_remembered_in_little() {
        let mut track = followed();
        [4, 5].into_iter().for_each(|seq| event(&mut track, seq));
        taken(&mut track, &json!({ "type": "SYNCED", "seq": 5 }), ("e", 5));
        event(&mut track, 6);
        assert!(track.is_synced());
        assert_eq!((track.runs(), track.received(), track.resumes()), (&[(4, 6)][..], 3, 1));
        assert_eq!(track.digest(5), Some(digest("GOAL", &json!({ "n": 5 }))));
        assert_eq!((track.digest(3), track.digest(7)), (None, None));
        assert_eq!(track.cursor().as_deref(), Some("e:6"));
    }

    #[test]
    fn what_is_gone_is_told_with_where_the_cursor_was_moved() {
        let mut track = followed();
        let missed = |seq: u64| json!({ "type": "SYNCED", "seq": seq, "missedBefore": seq + 1 });
        taken(&mut track, &missed(10), ("e", 10));
        assert!(!track.is_synced(), "the rest comes first");
        event(&mut track, 11);
        assert_eq!(track.missed(), [Missed { from: "e:3".to_owned(), to: "e:10".to_owned(), before: 11 }]);
        taken(&mut track, &missed(20), ("f", 20));
        assert_eq!((track.runs(), track.received()), (&[][..], 0), "another history");
        taken(&mut track, &json!({ "type": "SYNCED", "seq": 20 }), ("f", 20));
        assert!(track.is_synced());
        assert_eq!(track.resumes(), 0, "not all that was missed has come");
    }
}
