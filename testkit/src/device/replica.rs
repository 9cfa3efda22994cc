//! What a device knows, and what of that cannot be true. No I/O.
//!
//! The rules of the protocol are those of the client's session. Here is what it was fed with, what came of it, and
//! what a test must not overlook.

use std::collections::BTreeMap;

use draftwire_client::{
    Cursor,
    session::{Effect, Next, Session, SessionOptions, TopicState},
};
use serde_json::Value;

use super::{
    topic::{Topic, stream_of},
    track::Track,
    violation::Violation,
};

/// Violations that are kept, the first ones: a server that breaks a promise may do so on each connection.
const VIOLATIONS_MAX: usize = 1000;

/// The name of the stream that every connection follows.
const ALL: &str = "all";

/// A draft as a device knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftState {
    /// Which change of it this is.
    pub version: u64,
    /// What it is.
    pub kind: String,
    /// The state, a JSON object.
    pub content: Value,
}

/// Everything a device knows: its position, the drafts at it, and the shared streams that it follows.
#[derive(Debug)]
pub struct Replica {
    pub(super) session: Session,
    keeps_messages: bool,
    synced: bool,
    /// Whether this connection began with a cursor, and has not been sent all that was missed.
    resuming: bool,
    /// `all`, and the topics.
    streams: BTreeMap<String, Track>,
    seen: Vec<u64>,
    violations: Vec<Violation>,
    pub(super) snapshots: u64,
    pub(super) resumes: u64,
}

impl Replica {
    pub(crate) fn new(device: &str, keeps_drafts: bool, keeps_messages: bool) -> Self {
        let session = Session::new(SessionOptions {
            device: device.to_owned(),
            // Commands of another device of this name are remembered.
            id_prefix: format!("{:08x}", rand::random::<u32>()),
            replica: keeps_drafts.then(Default::default),
            all: None,
        });
        Self {
            session,
            keeps_messages,
            synced: false,
            resuming: false,
            streams: BTreeMap::new(),
            seen: Vec::new(),
            violations: Vec::new(),
            snapshots: 0,
            resumes: 0,
        }
    }

    /// Where it stands, as it asks for the rest: `<epoch>:<seq>`. `None` before the first `WELCOME`.
    pub fn cursor(&self) -> Option<String> {
        self.session.cursor().map(ToString::to_string)
    }

    /// The last event seen.
    pub fn seq(&self) -> u64 {
        self.session.cursor().map_or(0, |cursor| cursor.seq)
    }

    /// The drafts by id.
    pub fn drafts(&self) -> BTreeMap<String, DraftState> {
        let drafts = self.session.replica().map(|replica| replica.drafts()).into_iter().flatten();
        drafts
            .map(|(id, draft)| {
                let content = draft.content.parse().unwrap_or_default();
                (id.clone(), DraftState { version: draft.version, kind: draft.kind.clone(), content })
            })
            .collect()
    }

    /// The events of the user's stream, by their numbers in the order in which they came, whether they were due
    /// or not.
    pub fn seen(&self) -> &[u64] {
        &self.seen
    }

    /// The version of a draft; zero when there is none.
    pub fn version(&self, draft_id: &str) -> u64 {
        let drafts = self.session.replica().map(|replica| replica.drafts());
        drafts.and_then(|drafts| drafts.get(draft_id)).map_or(0, |draft| draft.version)
    }

    /// Whether the drafts are known, not only the events since the connection.
    pub fn is_complete(&self) -> bool {
        self.session.replica().is_some_and(|replica| replica.position().is_some())
    }

    /// Whether, on this connection, everything missed has come.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether the device is connected for the first time or again, knows what it keeps, and all its
    /// topics are answered.
    pub fn is_ready(&self) -> bool {
        let knows_drafts = self.session.replica().is_none_or(|replica| replica.position().is_some());
        let is_settled = self.streams.values().all(Track::is_settled);
        // The first `WELCOME` says where `all` stands.
        self.session.all().is_some() && knows_drafts && is_settled
    }

    /// A topic, or `all`, by the name of its stream.
    pub fn stream(&self, stream: &str) -> Option<&Track> {
        self.streams.get(stream)
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Track> {
        self.streams.get(&stream_of(name))
    }

    /// The topics, and `all`.
    pub(super) fn streams(&self) -> impl Iterator<Item = (&str, &Track)> {
        self.streams.iter().map(|(stream, track)| (stream.as_str(), track))
    }

    /// Whether it keeps a position in the user's stream (`WELCOME` names none where there is no user).
    pub fn has_user(&self) -> bool {
        self.session.cursor().is_some()
    }

    /// What was wrong so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Follows a topic. One that is followed stays as it is; one that was followed before goes on from there.
    pub(super) fn want(&mut self, topic: Topic) {
        let (name, stream) = (topic.name.clone(), topic.stream());
        if let Some(TopicState::Refused(_)) = self.session.topic(&name) {
            self.session.leave(&name);
        }
        let track = self.streams.entry(stream.clone()).or_default();
        self.session.follow(&name, topic.wish(track.position().cloned()));
        track.want(topic);
        self.stand(&stream);
    }

    /// Follows a topic no longer.
    pub(super) fn unwant(&mut self, name: &str) {
        self.session.leave(name);
        self.stand(&stream_of(name));
    }

    /// A connection that has named a topic itself follows it from its beginning: at `seq`, unless it has
    /// a position, with which it has come back.
    pub(crate) fn begin(&mut self, name: &str, epoch: &str, seq: Option<u64>) {
        let stream = stream_of(name);
        self.streams.entry(stream.clone()).or_default();
        self.session.follow(name, Default::default());
        self.session.named(name, Cursor::new(epoch, seq.unwrap_or(0)));
        self.stand(&stream);
    }

    /// A connection has been opened.
    pub(crate) fn connected(&mut self) {
        self.session.connected();
        self.reconnect();
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self) {
        self.session.disconnected();
        self.reconnect();
    }

    fn reconnect(&mut self) {
        self.synced = false;
        self.resuming = false;
        self.streams.values_mut().for_each(Track::reconnect);
        self.stand_all();
    }

    /// Takes a message of the server. Returns what the connection has to act on; `None` when it has to end, because
    /// the session does not take the message.
    pub(crate) fn take(&mut self, message: Value) -> Option<Vec<Effect>> {
        let stream = message["stream"].as_str().unwrap_or_default().to_owned();
        let kind = message["type"].as_str().unwrap_or_default().to_owned();
        if stream == "user" && !matches!(kind.as_str(), "SYNCED" | "SNAPSHOT") {
            self.seen.extend(message["seq"].as_u64());
        }
        let from = self.streams.get(&stream).and_then(Track::position).cloned();
        let had_cursor = self.has_user();
        let violations = self.violations.len();
        let received = self.session.receive(&message.to_string());
        let effects = self.settle();
        let is_stray = self.violations.len() > violations;
        if let Err(violation) = received {
            self.violate(Violation::Rejected(violation));
            return None;
        }
        match (kind.as_str(), stream.as_str()) {
            ("WELCOME", _) => {
                self.resuming = had_cursor;
                self.streams.entry(ALL.to_owned()).or_default();
                self.stand(ALL);
            }
            ("SYNCED", "user") => {
                self.synced = true;
                self.resumes += u64::from(std::mem::take(&mut self.resuming));
            }
            ("SNAPSHOT", "user") => {
                self.snapshots += 1;
                self.resuming = false;
            }
            (_, "" | "user") => {}
            _ if is_stray => {}
            _ => self.note(&stream, message, from.as_ref()),
        }
        Some(effects)
    }

    /// Takes the session's effects. Returns those that the connection has to act on.
    pub(super) fn settle(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.session.next_effect() {
            match effect {
                Effect::Stray(stray) => self.violate(Violation::Stray(stray)),
                Effect::Topic(name) => {
                    // What they are is in the message.
                    while let Next::Item(..) = self.session.take(&name) {}
                    self.stand(&stream_of(&name));
                }
                Effect::Draft(_) | Effect::User(_) | Effect::Broadcast(_) | Effect::BroadcastsMissed(_) => {}
                effect => effects.push(effect),
            }
        }
        effects
    }

    /// Notes a message of a shared stream.
    fn note(&mut self, stream: &str, message: Value, from: Option<&Cursor>) {
        if stream == ALL {
            self.stand(ALL);
        }
        let Some(track) = self.streams.get_mut(stream) else { return };
        match track.note(&message, from) {
            Ok(true) if self.keeps_messages => track.keep(message),
            Ok(_) => {}
            Err(violation) => self.violate(violation),
        }
    }

    fn stand_all(&mut self) {
        let streams: Vec<String> = self.streams.keys().cloned().collect();
        streams.iter().for_each(|stream| self.stand(stream));
    }

    /// Has the track of a stream say what the session says of it.
    fn stand(&mut self, stream: &str) {
        let Some(track) = self.streams.get_mut(stream) else { return };
        match stream.strip_prefix("topic:") {
            Some(name) => track.stand(self.session.topic(name), self.session.topic_cursor(name)),
            // Every connection follows it.
            None if self.session.is_connected() => {
                track.stand(Some(TopicState::Followed), self.session.all());
            }
            None => track.stand(Some(TopicState::Waiting), self.session.all()),
        }
    }
}

/// Reads a list of drafts as the protocol and the HTTP API write it.
pub fn drafts_of(list: &Value) -> BTreeMap<String, DraftState> {
    let drafts = list.as_array().into_iter().flatten();
    drafts
        .filter_map(|draft| {
            let state = DraftState {
                version: draft["version"].as_u64()?,
                kind: draft["kind"].as_str()?.to_owned(),
                content: draft["content"].clone(),
            };
            Some((draft["draftId"].as_str()?.to_owned(), state))
        })
        .collect()
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
