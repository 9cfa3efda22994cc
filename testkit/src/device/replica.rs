//! What a device knows, and whether what it is sent can be true. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use serde_json::{Map, Value};

/// Events held back while the first list of drafts is on its way.
const HELD_MAX: usize = 100_000;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// An event is missing between these two.
    Gap {
        /// Of which stream.
        stream: String,
        /// The last before.
        after: u64,
        /// The one that came.
        got: u64,
    },
    /// An event came a second time.
    Repeat {
        /// Of which stream.
        stream: String,
        /// Its number.
        seq: u64,
    },
    /// An event came after later ones.
    Reorder {
        /// Of which stream.
        stream: String,
        /// Its number.
        seq: u64,
        /// The last before.
        after: u64,
    },
    /// A draft's event does not follow from the draft as this device knows it.
    Base {
        /// The event.
        seq: u64,
        /// The draft.
        draft_id: String,
        /// Its version here; zero for none.
        have: u64,
        /// `baseVersion` and `version` of the event.
        got: (u64, u64),
    },
    /// An event about a draft that this device does not know.
    UnknownDraft {
        /// The event.
        seq: u64,
        /// The draft.
        draft_id: String,
    },
    /// `SYNCED` names another position than the one reached.
    Synced {
        /// What it names.
        said: u64,
        /// Where the events lead.
        reached: u64,
    },
    /// Events of another epoch without the `SNAPSHOT` that must come first.
    EpochWithoutSnapshot {
        /// The epoch in `WELCOME`.
        epoch: String,
    },
    /// An answer to a command that waits for none.
    AnswerToNothing {
        /// The command's id.
        id: String,
    },
    /// A message that makes no sense.
    Malformed {
        /// The message.
        text: String,
    },
}

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

/// Everything a device knows: its position and the drafts at it.
#[derive(Debug, Default)]
pub struct Replica {
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
    others: BTreeMap<String, u64>,
    numbers: BTreeSet<u64>,
    pub(super) seen: Vec<Seen>,
    pub(super) starts: Vec<Start>,
    pub(super) violations: Vec<Violation>,
    pub(super) snapshots: u64,
    pub(super) resumes: u64,
    pub(super) keep_messages: bool,
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

    /// Takes `WELCOME`.
    pub(super) fn welcome(&mut self, epoch: &str, seq: u64) {
        self.synced = false;
        // Other streams begin at their heads on each connection that names no cursor for them.
        self.others.clear();
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
        self.complete = true;
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
        if message["stream"] != "user" {
            return;
        }
        if said != self.seq {
            self.violations.push(Violation::Synced { said, reached: self.seq });
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
            let stream = stream.to_owned();
            if let Some(last) = self.others.get(&stream).copied()
                && seq != last + 1
            {
                self.violations.push(out_of_order(&stream, last, seq, seq == last));
            }
            self.others.insert(stream, seq);
            return;
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

fn out_of_order(stream: &str, last: u64, seq: u64, repeated: bool) -> Violation {
    let stream = stream.to_owned();
    match seq {
        seq if seq > last => Violation::Gap { stream, after: last, got: seq },
        seq if repeated => Violation::Repeat { stream, seq },
        seq => Violation::Reorder { stream, seq, after: last },
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
mod tests {
    use serde_json::json;

    use super::*;

    fn started() -> Replica {
        let mut replica = Replica::default();
        replica.welcome("e", 0);
        replica.list(&json!({ "drafts": [], "epoch": "e", "seq": 0 }));
        replica
    }

    fn created(seq: u64) -> Value {
        json!({ "type": "DRAFT_CREATED", "stream": "user", "seq": seq,
                "payload": { "draftId": "d", "version": 1, "kind": "draft", "content": { "a": 1 } } })
    }

    fn updated(seq: u64, base: u64) -> Value {
        json!({ "type": "DRAFT_UPDATED", "stream": "user", "seq": seq,
                "payload": { "draftId": "d", "version": base + 1, "baseVersion": base,
                             "patch": { "a": null, "b": { "c": seq } } } })
    }

    #[test]
    fn a_stream_without_faults_leaves_none() {
        let mut replica = started();
        replica.event(created(1));
        replica.event(updated(2, 1));
        replica.take_synced(&json!({ "stream": "user", "seq": 2 }));
        assert_eq!(replica.violations, []);
        assert_eq!(replica.drafts["d"].content, json!({ "b": { "c": 2 } }));
        assert_eq!(replica.cursor().as_deref(), Some("e:2"));
        assert_eq!(replica.resumes, 0, "the first connection resumes nothing");
        replica.welcome("e", 2);
        replica.take_synced(&json!({ "stream": "user", "seq": 2 }));
        assert_eq!(replica.resumes, 1);
        assert_eq!(replica.starts, [Start { epoch: "e".to_owned(), seq: 0, seen_before: 0 }]);
    }

    #[test]
    fn faults_are_told_apart() {
        let mut replica = started();
        replica.event(created(1));
        replica.event(updated(3, 1));
        replica.event(updated(3, 2));
        replica.event(updated(2, 2));
        let stream = || "user".to_owned();
        assert_eq!(
            replica.violations,
            [
                Violation::Gap { stream: stream(), after: 1, got: 3 },
                Violation::Repeat { stream: stream(), seq: 3 },
                Violation::Reorder { stream: stream(), seq: 2, after: 3 },
            ]
        );
        let seen: Vec<u64> = replica.seen.iter().map(|seen| seen.seq).collect();
        assert_eq!(seen, [1, 3, 3, 2], "as received");
        replica.event(updated(4, 7));
        assert_eq!(
            replica.violations[3],
            Violation::Base { seq: 4, draft_id: "d".to_owned(), have: 2, got: (7, 8) }
        );
    }

    #[test]
    fn a_list_that_ran_ahead_of_the_events_is_not_applied_twice() {
        let mut replica = Replica::default();
        replica.welcome("e", 1);
        replica.event(updated(2, 1));
        let draft = json!({ "draftId": "d", "version": 3, "kind": "draft", "content": { "b": { "c": 3 } } });
        replica.list(&json!({ "drafts": [draft], "epoch": "e", "seq": 3 }));
        replica.event(updated(3, 2));
        replica.event(updated(4, 3));
        assert_eq!(replica.violations, []);
        assert_eq!(replica.version("d"), 4);
    }

    #[test]
    fn another_epoch_needs_a_snapshot() {
        let mut replica = started();
        replica.welcome("f", 5);
        replica.snapshot(&json!({ "stream": "user", "epoch": "f", "seq": 5, "payload": { "drafts": [] } }));
        replica.event(created(6));
        assert_eq!(replica.violations, []);
        let start = |epoch: &str, seq| Start { epoch: epoch.to_owned(), seq, seen_before: 0 };
        assert_eq!(replica.starts, [start("e", 0), start("f", 5)]);
        assert_eq!((replica.snapshots, replica.resumes), (1, 0));
        replica.welcome("g", 5);
        replica.event(updated(7, 1));
        assert!(matches!(replica.violations[..], [Violation::EpochWithoutSnapshot { .. }]));
    }
}
