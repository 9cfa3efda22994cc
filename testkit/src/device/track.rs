//! One shared stream, a topic or `all`, as one client has followed it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::{
    numbers::Numbers,
    presence::Presence,
    topic::Topic,
    violation::{Violation, out_of_order},
};

/// How a topic stands on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// To be asked for.
    Unasked,
    /// Asked for, and not answered.
    Asked,
    /// Followed.
    Followed,
    /// Not followed: the server has refused it, or taken it back by `UNSUBSCRIBED`.
    Refused {
        /// The protocol's code.
        code: String,
        /// For people.
        message: String,
        /// Whether it was followed before.
        revoked: bool,
    },
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
#[derive(Debug, Clone)]
pub struct Track {
    stream: String,
    /// How it was asked for; `None` for `all`, and where the connection names its topics itself.
    pub(super) topic: Option<Topic>,
    pub(super) standing: Standing,
    /// Whether something of it may come on this connection.
    open: bool,
    /// The history and the last event in it; `None` before the first answer.
    position: Option<(String, u64)>,
    /// What the history must become before the next event; the server has named it.
    other_epoch: Option<String>,
    resuming: bool,
    synced: bool,
    resumes: u64,
    numbers: Numbers,
    /// Of the events by their order, which is that of their numbers.
    digests: Vec<u64>,
    missed: Vec<Missed>,
    signals: u64,
    presence: Presence,
    /// Whole events and signals as they came, when they are kept.
    pub(super) messages: Vec<Value>,
}

/// What is compared of an event: what its publisher has given.
pub fn digest(event: &str, data: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    data.hash(&mut hasher);
    hasher.finish()
}

impl Track {
    pub(super) fn new(stream: &str, topic: Option<Topic>) -> Self {
        Self {
            stream: stream.to_owned(),
            topic,
            standing: Standing::Unasked,
            open: false,
            position: None,
            other_epoch: None,
            resuming: false,
            synced: false,
            resumes: 0,
            numbers: Numbers::default(),
            digests: Vec::new(),
            missed: Vec::new(),
            signals: 0,
            presence: Presence::default(),
            messages: Vec::new(),
        }
    }

    /// How it stands on the connection.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether it is followed on this connection.
    pub fn is_followed(&self) -> bool {
        self.standing == Standing::Followed && self.open
    }

    /// Where it stands (`<epoch>:<seq>`); `None` before it was first followed.
    pub fn cursor(&self) -> Option<String> {
        self.position.as_ref().map(|(epoch, seq)| format!("{epoch}:{seq}"))
    }

    /// The last event; zero before it was first followed.
    pub fn seq(&self) -> u64 {
        self.position.as_ref().map_or(0, |(_, seq)| *seq)
    }

    /// How many events have come in this history.
    pub fn received(&self) -> u64 {
        self.digests.len() as u64
    }

    /// First and last number of each unbroken run of events in this history, ascending.
    pub fn runs(&self) -> &[(u64, u64)] {
        self.numbers.ranges()
    }

    /// What an event was, by its number, as [`digest`] has it; `None` when it has not come.
    pub fn digest(&self, seq: u64) -> Option<u64> {
        let mut before = 0;
        for &(first, last) in self.numbers.ranges() {
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

    /// A connection has begun.
    pub(super) fn reconnect(&mut self) {
        self.open = false;
        self.synced = false;
        self.resuming = false;
        self.other_epoch = None;
        self.presence.forget();
        match self.standing {
            Standing::Asked | Standing::Followed => self.standing = Standing::Unasked,
            Standing::Leaving => self.standing = Standing::Left,
            Standing::Unasked | Standing::Refused { .. } | Standing::Left => {}
        }
    }

    /// The server has said where the stream stands, and what follows may be of it.
    pub(super) fn follow(&mut self, epoch: &str, head: u64) {
        self.standing = Standing::Followed;
        self.open = true;
        // A cursor that the owner has given stands for a position.
        let given = self.topic.as_ref().and_then(|topic| topic.cursor.as_deref());
        let given = given.and_then(|cursor| cursor.rsplit_once(':'));
        if self.position.is_none()
            && let Some((epoch, seq)) = given
        {
            self.position = Some((epoch.to_owned(), seq.parse().unwrap_or(0)));
        }
        match &self.position {
            None => self.position = Some((epoch.to_owned(), head)),
            Some((known, _)) => {
                self.resuming = true;
                self.other_epoch = (known != epoch).then(|| epoch.to_owned());
            }
        }
    }

    /// Nothing of it may come any more.
    pub(super) fn end(&mut self, standing: Standing) {
        self.standing = standing;
        self.open = false;
        self.presence.forget();
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes an event.
    pub(super) fn event(&mut self, message: &Value, seq: u64) -> Result<(), Violation> {
        self.check_epoch()?;
        let (_, last) = self.position.get_or_insert_default();
        let last = std::mem::replace(last, (*last).max(seq));
        let new = self.numbers.insert(seq);
        if new && seq > last {
            let event = message["type"].as_str().unwrap_or_default();
            self.digests.push(digest(event, &message["payload"]));
        }
        if last.checked_add(1) != Some(seq) {
            return Err(out_of_order(&self.stream, last, seq, !new));
        }
        Ok(())
    }

    /// Takes `SYNCED`.
    pub(super) fn take_synced(&mut self, message: &Value) -> Result<(), Violation> {
        let malformed = || Violation::Malformed { text: message.to_string() };
        let said = message["seq"].as_u64().ok_or_else(malformed)?;
        let named = message["epoch"].as_str();
        let (epoch, seq) = self.position.clone().ok_or_else(malformed)?;
        if message.get("missedBefore").is_none() {
            self.check_epoch()?;
            if said != seq || named.is_some_and(|named| named != epoch) {
                return Err(Violation::Synced { stream: self.stream.clone(), said, reached: seq });
            }
            self.synced = true;
            self.resumes += u64::from(std::mem::take(&mut self.resuming));
            return Ok(());
        }
        let before = message["missedBefore"].as_u64().ok_or_else(malformed)?;
        let to = named.unwrap_or(&epoch).to_owned();
        self.missed.push(Missed { from: format!("{epoch}:{seq}"), to: format!("{to}:{said}"), before });
        if to != epoch || said < seq {
            // The numbers mean other events from here on.
            self.numbers.clear();
            self.digests.clear();
        }
        let expected = self.other_epoch.take().is_none_or(|other| other == to);
        self.position = Some((to, said));
        self.resuming = false;
        // What is left to send comes next, and another `SYNCED` behind it.
        self.synced = false;
        if !expected || before != said + 1 {
            return Err(malformed());
        }
        Ok(())
    }

    fn check_epoch(&mut self) -> Result<(), Violation> {
        self.other_epoch.take().map_or(Ok(()), |epoch| Err(Violation::EpochWithoutSnapshot { epoch }))
    }

    /// Takes `SIGNAL`.
    pub(super) fn signal(&mut self) {
        self.signals += 1;
    }

    /// Takes `PRESENCE`, `JOIN` or `LEAVE`.
    pub(super) fn take_presence(&mut self, message: &Value) -> Result<(), Violation> {
        let payload = &message["payload"];
        let asked = self.topic.as_ref().is_some_and(|topic| topic.presence);
        let taken = match message["type"].as_str() {
            _ if !asked => Err("nobody has asked for it".to_owned()),
            Some("JOIN") => self.presence.join(payload),
            Some("LEAVE") => self.presence.leave(payload),
            _ => self.presence.state(payload),
        };
        taken.map_err(|what| Violation::Presence { stream: self.stream.clone(), what })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(seq: u64) -> Value {
        json!({ "type": "GOAL", "stream": "topic:t", "seq": seq, "payload": { "n": seq } })
    }

    fn at(cursor: &str, head: u64) -> Track {
        let topic = Topic { cursor: Some(cursor.to_owned()), ..Topic::named("t") };
        let mut track = Track::new("topic:t", Some(topic));
        track.follow("e", head);
        track
    }

    #[test]
    fn events_in_order_are_remembered_in_little() {
        let mut track = at("e:3", 5);
        for seq in 4..=5 {
            track.event(&event(seq), seq).unwrap();
        }
        track.take_synced(&json!({ "stream": "topic:t", "seq": 5 })).unwrap();
        track.event(&event(6), 6).unwrap();
        assert!(track.is_synced());
        assert_eq!((track.runs(), track.received(), track.resumes()), (&[(4, 6)][..], 3, 1));
        assert_eq!(track.digest(5), Some(digest("GOAL", &json!({ "n": 5 }))));
        assert_eq!((track.digest(3), track.digest(7)), (None, None));
        assert_eq!(track.cursor().as_deref(), Some("e:6"));
    }

    #[test]
    fn faults_are_told_apart() {
        let mut track = at("e:3", 3);
        let stream = || "topic:t".to_owned();
        track.event(&event(4), 4).unwrap();
        assert_eq!(track.event(&event(4), 4), Err(Violation::Repeat { stream: stream(), seq: 4 }));
        assert_eq!(track.event(&event(7), 7), Err(Violation::Gap { stream: stream(), after: 4, got: 7 }));
        assert_eq!(track.event(&event(6), 6), Err(Violation::Reorder { stream: stream(), seq: 6, after: 7 }));
        let early = track.take_synced(&json!({ "seq": 9 }));
        assert_eq!(early, Err(Violation::Synced { stream: stream(), said: 9, reached: 7 }));
    }

    #[test]
    fn what_is_gone_moves_the_cursor() {
        let mut track = at("e:3", 20);
        track.take_synced(&json!({ "seq": 10, "epoch": "e", "missedBefore": 11 })).unwrap();
        assert!(!track.is_synced(), "the rest comes first");
        track.event(&event(11), 11).unwrap();
        assert_eq!(track.missed(), [Missed { from: "e:3".to_owned(), to: "e:10".to_owned(), before: 11 }]);
        // Another history.
        let mut track = at("d:30", 20);
        track.take_synced(&json!({ "seq": 20, "epoch": "e", "missedBefore": 21 })).unwrap();
        assert!(!track.is_synced(), "it is not said yet that nothing is left");
        track.take_synced(&json!({ "seq": 20 })).unwrap();
        assert!(track.is_synced());
        assert_eq!(track.cursor().as_deref(), Some("e:20"));
        let silent = at("d:30", 20).event(&event(21), 21);
        assert_eq!(silent, Err(Violation::EpochWithoutSnapshot { epoch: "e".to_owned() }));
        assert!(at("e:3", 9).take_synced(&json!({ "seq": 9, "epoch": "e", "missedBefore": 9 })).is_err());
    }
}
