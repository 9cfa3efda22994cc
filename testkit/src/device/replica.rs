//! What a device knows, and whether what it is sent can be true. No I/O.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Map, Value};

use super::{
    numbers::Numbers,
    topic::{Topic, stream_of},
    track::{Standing, Track},
    violation::{Violation, out_of_order},
};

/// Events held back while the first list of drafts is on its way.
const HELD_MAX: usize = 100_000;

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

/// One event of the user's stream as it was received, whether it was due or not.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number.
    pub seq: u64,
    /// The whole message; `null` when the device was told to keep none.
    pub message: Value,
    /// When it came.
    pub at: Instant,
}

/// Where a device began to follow without the events before: at its first `WELCOME`, and at each
/// `SNAPSHOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The history that `seq` counts in.
    pub epoch: String,
    /// The position: the next event is the one after it.
    pub seq: u64,
    /// How many events had come before.
    pub seen_before: usize,
}

/// The name of the stream that every connection follows.
const ALL: &str = "all";

/// Everything a device knows: its position, the drafts at it, and the shared streams that it follows.
#[derive(Debug, Default)]
pub struct Replica {
    welcomed: bool,
    epoch: Option<String>,
    seq: u64,
    drafts: BTreeMap<String, DraftState>,
    /// Whether `drafts` is complete at `seq`. Until then events are held.
    complete: bool,
    held: Vec<Value>,
    /// The events up to here are in `drafts` already, by a list that ran ahead of them.
    included: u64,
    needs_snapshot: bool,
    synced: bool,
    /// Whether this connection began with a cursor.
    resuming: bool,
    /// `all`, and the topics.
    streams: BTreeMap<String, Track>,
    numbers: Numbers,
    pub(super) seen: Vec<Seen>,
    pub(super) starts: Vec<Start>,
    pub(super) violations: Vec<Violation>,
    pub(super) snapshots: u64,
    pub(super) resumes: u64,
    pub(super) keep_messages: bool,
    /// Whether the drafts are asked for and kept.
    pub(super) keeps_drafts: bool,
}

impl Replica {
    /// Where it stands, as it asks for the rest: `<epoch>:<seq>`. `None` before the first `WELCOME`.
    pub fn cursor(&self) -> Option<String> {
        self.epoch.as_ref().map(|epoch| format!("{epoch}:{}", self.seq))
    }

    /// The last event seen.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The drafts by id.
    pub fn drafts(&self) -> &BTreeMap<String, DraftState> {
        &self.drafts
    }

    /// The events of the user's stream, in the order in which they came.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Where it began to follow without the events before, the first connection first.
    pub fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// The version of a draft; zero when there is none.
    pub fn version(&self, draft_id: &str) -> u64 {
        self.drafts.get(draft_id).map_or(0, |draft| draft.version)
    }

    /// Whether the drafts are known, not only the events since the connection.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether, on this connection, everything missed has come.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Whether the device is connected for the first time or again, knows what it keeps, and all its
    /// topics are answered.
    pub fn is_ready(&self) -> bool {
        let settled = |track: &Track| {
            !matches!(track.standing(), Standing::Unasked | Standing::Asked | Standing::Leaving)
        };
        self.welcomed && (self.complete || !self.keeps_drafts) && self.streams.values().all(settled)
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
    pub fn streams(&self) -> impl Iterator<Item = (&str, &Track)> {
        self.streams.iter().map(|(stream, track)| (stream.as_str(), track))
    }

    pub(super) fn stream_mut(&mut self, stream: &str) -> Option<&mut Track> {
        self.streams.get_mut(stream)
    }

    /// Notes a topic to follow. One that is followed stays as it is.
    pub(super) fn want(&mut self, topic: Topic) {
        let stream = topic.stream();
        let track = self.streams.entry(stream).or_insert_with_key(|stream| Track::new(stream, None));
        track.topic = Some(topic);
        if !track.is_followed() && track.standing != Standing::Asked {
            track.standing = Standing::Unasked;
        }
    }

    /// Notes that a topic is to be followed no longer.
    pub(super) fn unwant(&mut self, name: &str) {
        let Some(track) = self.streams.get_mut(&stream_of(name)) else { return };
        match track.standing {
            Standing::Followed | Standing::Asked => track.standing = Standing::Leaving,
            Standing::Unasked => track.standing = Standing::Left,
            Standing::Refused { .. } | Standing::Leaving | Standing::Left => {}
        }
    }

    /// The topics in a standing.
    pub(super) fn topics_in(&self, standing: &Standing) -> Vec<Topic> {
        let tracks = self.streams.values().filter(|track| track.standing() == standing);
        tracks.filter_map(|track| track.topic.clone()).collect()
    }

    /// Whether it keeps a position in the user's stream (`WELCOME` names none where there is no user).
    pub fn has_user(&self) -> bool {
        self.epoch.is_some()
    }

    /// What was wrong so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// Whether whole events and signals are kept from now on.
    pub(crate) fn keep_messages(&mut self, keep: bool) {
        self.keep_messages = keep;
    }

    /// A connection that has named a topic itself follows it from its beginning: at `seq`, unless it has
    /// a position, with which it has come back.
    pub(crate) fn begin(&mut self, stream: &str, epoch: &str, seq: Option<u64>) {
        let track =
            self.streams.entry(stream.to_owned()).or_insert_with_key(|stream| Track::new(stream, None));
        track.follow(epoch, seq.unwrap_or(0));
    }

    /// Takes `WELCOME`.
    pub(crate) fn welcome(&mut self, epoch: &str, seq: Option<u64>, all_seq: u64) {
        self.welcomed = true;
        self.synced = false;
        for track in self.streams.values_mut() {
            track.reconnect();
        }
        let all = self.streams.entry(ALL.to_owned()).or_insert_with(|| Track::new(ALL, None));
        all.follow(epoch, all_seq);
        let Some(seq) = seq else { return };
        match &self.epoch {
            None => {
                self.epoch = Some(epoch.to_owned());
                self.seq = seq;
                self.start();
            }
            Some(known) => {
                self.needs_snapshot = known != epoch;
                self.resuming = true;
            }
        }
    }

    /// Takes any message of the server that is no answer to a command.
    pub(crate) fn take(&mut self, message: Value) {
        let stream = message["stream"].as_str().unwrap_or_default();
        let kind = message["type"].as_str().unwrap_or_default();
        match (kind, stream) {
            ("SYNCED", "user") => self.take_synced(&message),
            ("SNAPSHOT", "user") => self.snapshot(&message),
            ("UNSUBSCRIBED", _) => self.unsubscribed(&message),
            ("SYNCED", _) => self.shared(&message, |track| track.take_synced(&message)),
            ("PRESENCE" | "JOIN" | "LEAVE", _) => {
                self.shared(&message, |track| track.take_presence(&message))
            }
            ("SIGNAL", _) => {
                self.shared(&message, |track| {
                    track.signal();
                    Ok(())
                });
                self.keep(message);
            }
            _ => self.event(message),
        }
    }

    /// What a message of a shared stream does to it.
    fn shared(&mut self, message: &Value, take: impl FnOnce(&mut Track) -> Result<(), Violation>) {
        let stream = message["stream"].as_str().unwrap_or_default();
        let taken = match self.streams.get_mut(stream) {
            Some(track) if track.is_open() => take(track),
            _ => Err(Violation::Unfollowed { text: message.to_string() }),
        };
        self.violations.extend(taken.err());
    }

    fn keep(&mut self, message: Value) {
        let stream = message["stream"].as_str().unwrap_or_default();
        if self.keep_messages
            && let Some(track) = self.streams.get_mut(stream)
        {
            track.messages.push(message);
        }
    }

    fn unsubscribed(&mut self, message: &Value) {
        let text = |field: &str| message["payload"][field].as_str().unwrap_or_default().to_owned();
        let (code, text) = (text("code"), text("message"));
        self.shared(message, |track| {
            track.end(Standing::Refused { code, message: text, revoked: true });
            Ok(())
        });
    }

    /// Takes the answer to `DRAFT_LIST`.
    pub(super) fn list(&mut self, payload: &Value) {
        let seq = payload["seq"].as_u64().unwrap_or(0);
        if self.complete {
            return;
        }
        self.set_drafts(&payload["drafts"]);
        self.complete = true;
        self.included = seq;
        for message in std::mem::take(&mut self.held) {
            self.apply(&message);
        }
    }

    /// Takes `SNAPSHOT`.
    pub(super) fn snapshot(&mut self, message: &Value) {
        self.epoch = message["epoch"].as_str().map(str::to_owned);
        self.seq = message["seq"].as_u64().unwrap_or(0);
        self.set_drafts(&message["payload"]["drafts"]);
        self.complete = self.keeps_drafts;
        self.needs_snapshot = false;
        self.held.clear();
        self.numbers.clear();
        self.included = 0;
        self.snapshots += 1;
        self.resuming = false;
        self.start();
    }

    fn start(&mut self) {
        let epoch = self.epoch.clone().unwrap_or_default();
        self.starts.push(Start { epoch, seq: self.seq, seen_before: self.seen.len() });
    }

    /// Takes `SYNCED`.
    pub(super) fn take_synced(&mut self, message: &Value) {
        let said = message["seq"].as_u64().unwrap_or(0);
        if said != self.seq {
            self.violations.push(Violation::Synced { stream: "user".to_owned(), said, reached: self.seq });
        }
        self.synced = true;
        if std::mem::take(&mut self.resuming) {
            self.resumes += 1;
        }
    }

    /// Takes an event of any stream.
    pub(super) fn event(&mut self, message: Value) {
        let (Some(stream), Some(seq)) = (message["stream"].as_str(), message["seq"].as_u64()) else {
            self.violations.push(Violation::Malformed { text: message.to_string() });
            return;
        };
        if stream != "user" {
            self.shared(&message, |track| track.event(&message, seq));
            return self.keep(message);
        }
        if self.needs_snapshot {
            let epoch = self.epoch.clone().unwrap_or_default();
            self.violations.push(Violation::EpochWithoutSnapshot { epoch });
            self.needs_snapshot = false;
        }
        let kept = if self.keep_messages { message.clone() } else { Value::Null };
        self.seen.push(Seen { seq, message: kept, at: Instant::now() });
        let repeated = !self.numbers.insert(seq);
        if seq != self.seq + 1 {
            self.violations.push(out_of_order("user", self.seq, seq, repeated));
            if seq <= self.seq {
                return;
            }
        }
        self.seq = seq;
        if !self.keeps_drafts {
            return;
        }
        if self.complete {
            self.apply(&message);
        } else if self.held.len() < HELD_MAX {
            self.held.push(message);
        } else {
            self.violations.push(Violation::Malformed { text: "no answer to DRAFT_LIST".to_owned() });
        }
    }

    fn apply(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        let kind = message["type"].as_str().unwrap_or_default();
        if seq <= self.included || !matches!(kind, "DRAFT_CREATED" | "DRAFT_UPDATED" | "DRAFT_DELETED") {
            return;
        }
        let payload = &message["payload"];
        let (Some(draft_id), Some(version)) = (payload["draftId"].as_str(), payload["version"].as_u64())
        else {
            self.violations.push(Violation::Malformed { text: message.to_string() });
            return;
        };
        let have = self.version(draft_id);
        let base = payload["baseVersion"].as_u64().unwrap_or(if kind == "DRAFT_CREATED" { 0 } else { have });
        if kind != "DRAFT_CREATED" && have == 0 {
            self.violations.push(Violation::UnknownDraft { seq, draft_id: draft_id.to_owned() });
            return;
        }
        if base != have || version != have + 1 {
            let got = (base, version);
            self.violations.push(Violation::Base { seq, draft_id: draft_id.to_owned(), have, got });
        }
        match kind {
            "DRAFT_CREATED" => {
                let kind = payload["kind"].as_str().unwrap_or_default().to_owned();
                let content = payload["content"].clone();
                self.drafts.insert(draft_id.to_owned(), DraftState { version, kind, content });
            }
            "DRAFT_UPDATED" => {
                if let Some(draft) = self.drafts.get_mut(draft_id) {
                    draft.version = version;
                    merge_patch(&mut draft.content, &payload["patch"]);
                }
            }
            _ => {
                self.drafts.remove(draft_id);
            }
        }
    }

    fn set_drafts(&mut self, drafts: &Value) {
        self.drafts = drafts_of(drafts);
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

/// RFC 7396 section 2. Written here once more, so that the server is not checked against itself.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
