#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, sync::Arc};

use common::{
    CommandId, DeviceId, DraftId, Seq, Stream, UserId, Version,
    json::{self, own_object},
    merge::Object,
    protocol::NewEvent,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{batch::fingerprint, *};
use crate::store::{Append, Base};

const LIMITS: Limits = Limits { drafts_per_user_max: 3, draft_bytes_max: 60, event_bytes_max: 10 };

/// The tables of a store, in memory: what plans are loaded from and written to.
#[derive(Default)]
struct Tables {
    heads: HashMap<Stream, Seq>,
    drafts: BTreeMap<(UserId, DraftId), Arc<DraftRow>>,
    commands: HashMap<(UserId, DeviceId, CommandId), Remembered>,
    events: BTreeMap<String, Vec<(u64, String)>>,
    answers: Vec<String>,
}

impl Tables {
    fn commit(&mut self, writes: &[Write]) -> Plan {
        let batch = Batch::new(writes);
        let plan = decide(&batch, &mut self.load(&batch), &LIMITS, 1_000);
        // Streams that nothing but appends goes to need not be known.
        let mut unknown = self.heads.clone();
        for write in batch.writes().filter(|write| matches!(write.op, Op::Draft(_))) {
            unknown.remove(&write.stream());
        }
        let mut state = self.load(&batch);
        state.heads.retain(|stream, _| !unknown.contains_key(stream));
        let mut moved = decide(&batch, &mut state, &LIMITS, 1_000);
        moved.continue_from(&batch, &unknown);
        let shown = |plan: &Plan| {
            let Plan { answers, answered_before, drafts, events, heads, commands } = plan;
            let commands: Vec<_> = commands.iter().map(|command| (&command.key, &command.stream)).collect();
            format!("{answers:?} {answered_before:?} {drafts:?} {events:?} {heads:?} {commands:?}")
        };
        assert_eq!(shown(&moved), shown(&plan), "decided without the heads");
        self.apply(&plan);
        plan
    }

    /// Exactly what the batch asks for, as a database would answer it.
    fn load(&self, batch: &Batch<'_>) -> State {
        let mut state = State::default();
        for stream in batch.streams() {
            state.heads.insert(stream.clone(), self.heads.get(stream).copied().unwrap_or_default());
        }
        for lookup in batch.lookups() {
            let user = lookup.user.clone();
            if let Some(id) = lookup.id {
                let key = (user.clone(), lookup.device.clone(), id.clone());
                self.commands.get(&key).and_then(|known| state.commands.insert(key, known.clone()));
            }
            if let Some(id) = lookup.draft_id {
                let key = (user.clone(), id.clone());
                let again = self.drafts.get(&key).and_then(|row| state.drafts.insert(key, row.clone()));
                assert!(again.is_none(), "asked for twice");
            }
            if lookup.count {
                let live = self.drafts.iter().filter(|(key, row)| key.0 == user && row.content.is_some());
                let again = state.live.insert(user.clone(), live.count() as u64);
                assert!(again.is_none(), "counted twice");
            }
        }
        state
    }

    fn apply(&mut self, plan: &Plan) {
        for (user, id, row) in &plan.drafts {
            self.drafts.insert((user.clone(), id.clone()), row.clone());
        }
        for NewCommand { key, remembered, .. } in &plan.commands {
            assert!(self.commands.insert(key.clone(), remembered.clone()).is_none(), "remembered twice");
        }
        for event in &plan.events {
            let log = self.events.entry(event.stream.key()).or_default();
            log.push((event.seq.0, format!("{} {}", event.kind.as_str(), event.payload)));
        }
        for (stream, head) in &plan.heads {
            assert!(self.heads.insert(stream.clone(), *head) < Some(*head), "heads only grow");
        }
        self.answers.extend(plan.answers.iter().map(|answer| format!("{answer:?}")));
    }

    /// Everything that outsiders can tell the tables by.
    fn outline(&self) -> String {
        let drafts: Vec<_> = self
            .drafts
            .iter()
            .map(|(key, row)| (key, row.version, row.content.as_ref().map(Content::json), &row.fields))
            .collect();
        format!("{drafts:#?}\n{:#?}\n{:#?}", self.events, self.answers)
    }

    /// What a follower makes of the events alone.
    fn followed(&self, stream: &str) -> BTreeMap<String, (Value, Value)> {
        let mut drafts = BTreeMap::new();
        for (_, event) in self.events.get(stream).into_iter().flatten() {
            let (kind, payload) = event.split_once(' ').unwrap();
            if kind == "NOTE" {
                continue;
            }
            let payload: Value = serde_json::from_str(payload).unwrap();
            let id = payload["draftId"].as_str().unwrap().to_owned();
            match kind {
                "DRAFT_CREATED" => {
                    drafts.insert(id, (payload["version"].clone(), payload["content"].clone()));
                }
                "DRAFT_UPDATED" => {
                    let (version, content) = drafts.get_mut(&id).unwrap();
                    assert_eq!(*version, payload["baseVersion"], "a follower is always at the base");
                    *version = payload["version"].clone();
                    patch(content, &payload["patch"]);
                }
                _ => {
                    let (version, _) = drafts.remove(&id).unwrap();
                    assert_eq!(version, payload["baseVersion"]);
                }
            }
        }
        drafts
    }
}

/// RFC 7396, section 2, to the letter.
fn patch(target: &mut Value, patch_with: &Value) {
    let Value::Object(fields) = patch_with else {
        *target = patch_with.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().unwrap();
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            patch(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn arb_object() -> impl Strategy<Value = Object> {
    let leaf =
        prop_oneof![Just(json!(null)), (0..3).prop_map(|n| json!(n)), Just(json!("long enough to fill"))];
    let value = leaf.clone().prop_recursive(1, 4, 2, |inner| {
        prop::collection::btree_map("[ab]", inner, 0..2).prop_map(|map| json!(map))
    });
    prop::collection::btree_map("[abc]", value, 0..3)
        .prop_map(|map| own_object(&json!(map).to_string()).unwrap())
}

fn arb_write() -> impl Strategy<Value = Write> {
    let base = prop_oneof![
        4 => (0u64..6).prop_map(|v| Base::Merge(Version(v))),
        1 => (1u64..4).prop_map(|v| Base::OneOf(vec![Version(v)])),
    ];
    let draft_id = "[wxyz]".prop_map(|id| id.parse::<DraftId>().unwrap());
    let op = (draft_id, base, arb_object(), any::<bool>(), 0..10).prop_map(
        |(draft_id, base, object, based, choice)| match choice {
            0..3 => DraftOp::Create { draft_id, kind: "note".parse().unwrap(), content: object },
            3..8 => DraftOp::Update { draft_id, base, patch: object },
            _ => DraftOp::Delete { draft_id, base: based.then_some(base) },
        },
    );
    let op = prop_oneof![2 => op.prop_map(Op::Draft), 1 => arb_append().prop_map(Op::Append)];
    let id = prop::option::of("[1-9]".prop_map(|id| id.parse::<CommandId>().unwrap()));
    ("[AB]", "[pq]", id, op).prop_map(|(user, device, id, op)| Write {
        user: user.parse().unwrap(),
        device: device.parse().unwrap(),
        id,
        op,
    })
}

/// Some of them cannot be kept: no event, too large a one, a signal.
fn arb_append() -> impl Strategy<Value = Append> {
    let stream = prop_oneof![Just("all"), Just("topic:t"), Just("topic:u"), Just("user:A"), Just("user:B")];
    let data = prop_oneof![6 => Just("1"), 2 => Just("[2, 3]"), 1 => Just("\"far too long\"")];
    let event = (data, 0..3, 0..20).prop_map(|(data, priority, signal)| {
        let priority = ["normal", "high", "critical"][priority as usize];
        let signal = signal == 0;
        let json = format!(r#"{{"event":"NOTE","data":{data},"priority":"{priority}","signal":{signal}}}"#);
        NewEvent::from_json(&json).unwrap()
    });
    (stream, prop::collection::vec(event, 0..4))
        .prop_map(|(stream, events)| Append { stream: stream.parse().unwrap(), events })
}

fn text(event: &NewEvent) -> String {
    format!("{} {}", event.event.as_str(), event.data.clone().into_raw())
}

proptest! {
    /// How writes fall into batches is chance: it must not show.
    #[test]
    fn batches_do_not_show(writes in prop::collection::vec(arb_write(), 1..40), sizes in prop::collection::vec(1usize..8, 1..40)) {
        let mut one_by_one = Tables::default();
        for write in &writes {
            one_by_one.commit(std::slice::from_ref(write));
        }
        let mut batched = Tables::default();
        let mut rest = &writes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            batched.commit(batch);
            rest = after;
        }
        prop_assert_eq!(one_by_one.outline(), batched.outline());
    }

    #[test]
    fn the_log_is_gapless_and_adds_up_to_the_drafts(writes in prop::collection::vec(arb_write(), 1..60)) {
        let mut tables = Tables::default();
        for batch in writes.chunks(7) {
            tables.commit(batch);
        }
        for (stream, head) in &tables.heads {
            let seqs: Vec<u64> = tables.events[&stream.key()].iter().map(|(seq, _)| *seq).collect();
            prop_assert_eq!(&seqs, &(1..=head.0).collect::<Vec<_>>());
            let Stream::User(user) = stream else { continue };
            let stream = stream.key();
            let stored: BTreeMap<String, (Value, Value)> = tables
                .drafts
                .iter()
                .filter(|(key, _)| key.0 == *user)
                .filter_map(|((_, id), row)| {
                    let content = serde_json::from_str(row.content.as_ref()?.json()).unwrap();
                    Some((id.as_str().to_owned(), (json!(row.version), content)))
                })
                .collect();
            prop_assert!(stored.len() <= 3, "more drafts than the limit");
            prop_assert_eq!(tables.followed(&stream), stored);
        }
    }

    /// Every append is in its stream as a whole under the numbers that its answer names, or not at all.
    #[test]
    fn appends_are_where_their_answers_say(writes in prop::collection::vec(arb_write(), 1..60), size in 1usize..10) {
        let mut tables = Tables::default();
        let mut told: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for batch in writes.chunks(size) {
            let plan = tables.commit(batch);
            for (write, answer) in batch.iter().zip(&plan.answers) {
                let Ok(done) = answer else { continue };
                let log = tables.events.get(&write.stream().key()).map_or(&[][..], |log| log);
                let seqs = told.entry(write.stream().key()).or_default();
                match (&write.op, done) {
                    (Op::Append(append), Done::Appended { first, seq }) => {
                        prop_assert_eq!(done.events(), append.events.len() as u64);
                        let kept = log.iter().filter(|(at, _)| (first.0..=seq.0).contains(at));
                        let kept: Vec<_> = kept.map(|(_, event)| event.clone()).collect();
                        prop_assert_eq!(kept, append.events.iter().map(text).collect::<Vec<_>>());
                        seqs.extend(first.0..=seq.0);
                    }
                    (Op::Draft(_), Done::Draft { seq, .. }) => seqs.extend(seq.map(|seq| seq.0)),
                    (_, done) => panic!("{done:?} is the answer to something else"),
                }
            }
        }
        for (stream, log) in &tables.events {
            prop_assert_eq!(log.len(), told[stream].len(), "an event that nobody was told of");
        }
    }

    /// Everything under an id, sent again at any later moment: the same answers, and nothing else.
    #[test]
    fn repetitions_change_nothing(writes in prop::collection::vec(arb_write(), 1..30)) {
        let mut tables = Tables::default();
        for (i, write) in writes.iter().enumerate() {
            let write = Write { id: Some(format!("c{i}").parse().unwrap()), ..write.clone() };
            let first = tables.commit(std::slice::from_ref(&write));
            tables.commit(std::slice::from_ref(&writes[0]));
            if let Ok(done) = &first.answers[0] {
                let again = tables.commit(&[write.clone(), write]);
                prop_assert!(again.changes_nothing());
                prop_assert!(again.answers.iter().all(|answer| answer.as_ref().is_ok_and(|a| a == done)));
            }
        }
    }
}

#[test]
fn a_refused_write_has_no_part_in_the_plan() {
    let refused = Write {
        user: "A".parse().unwrap(),
        device: "p".parse().unwrap(),
        id: Some("1".parse().unwrap()),
        op: Op::Draft(DraftOp::Delete { draft_id: "x".parse().unwrap(), base: None }),
    };
    let plan = Tables::default().commit(&[refused]);
    assert!(matches!(plan.answers[..], [Err(Refusal::NotFound)]));
    assert!(plan.changes_nothing() && plan.heads.is_empty());
}

#[test]
fn a_fingerprint_tells_changes_apart() {
    let op = |id: &str, value: Value| {
        Op::Draft(DraftOp::Update {
            draft_id: id.parse().unwrap(),
            base: Base::Merge(Version(1)),
            patch: own_object(&value.to_string()).unwrap(),
        })
    };
    assert_eq!(
        fingerprint(&op("a", json!({"x": 1, "y": 2}))),
        fingerprint(&op("a", json!({"y": 2, "x": 1})))
    );
    assert_ne!(fingerprint(&op("a", json!({"x": 1}))), fingerprint(&op("a", json!({"x": 2}))));
    assert_ne!(fingerprint(&op("a", json!({"x": 1}))), fingerprint(&op("b", json!({"x": 1}))));
}

#[test]
fn a_fingerprint_tells_appends_apart() {
    let op = |stream: &str, events: &str| {
        let events = json::elements(events, 102).unwrap();
        let events = events.into_iter().map(|event| NewEvent::from_json(event).unwrap()).collect();
        fingerprint(&Op::Append(Append { stream: stream.parse().unwrap(), events }))
    };
    let goal = op("topic:a", r#"[{"event":"GOAL","data":{"by":"ann","at":3}}]"#);
    assert_eq!(goal, op("topic:a", r#"[{"data": {"at": 3, "by": "ann"}, "event": "GOAL"}]"#));
    for (stream, events) in [
        ("topic:b", r#"[{"event":"GOAL","data":{"by":"ann","at":3}}]"#),
        ("topic:a", r#"[{"event":"GOAL","data":{"by":"ann","at":4}}]"#),
        ("topic:a", r#"[{"event":"GOALS","data":{"by":"ann","at":3}}]"#),
        ("topic:a", r#"[{"event":"GOAL","data":{"by":"ann","at":3},"priority":"high"}]"#),
        ("topic:a", r#"[{"event":"GOAL","data":{"by":"ann","at":3}},{"event":"GOAL"}]"#),
    ] {
        assert_ne!(goal, op(stream, events), "{stream} {events}");
    }
    let nested = |levels: usize, inner: &str| {
        let data = format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels));
        op("topic:a", &format!(r#"[{{"event":"DEEP","data":{data}}}]"#))
    };
    assert_ne!(nested(100, "1"), nested(100, "2"), "as deep as data may be");
    assert_eq!(nested(99, r#"{"a":1,"b":2}"#), nested(99, r#"{"b":2,"a":1}"#), "in any order there too");
}

/// Commands remembered before there were appends must be recognised.
#[test]
fn the_fingerprint_of_a_draft_stays() {
    let draft_id = "d".parse().unwrap();
    let op = DraftOp::Create { draft_id, kind: "note".parse().unwrap(), content: Object::new() };
    let digest = Sha256::digest(r#"{"Create":{"draft_id":"d","kind":"note","content":{}}}"#);
    let expected = i64::from_be_bytes(digest[..8].try_into().unwrap());
    assert_eq!(fingerprint(&Op::Draft(op)), expected);
}

#[test]
fn appends_without_an_id_look_nothing_up() {
    let events = vec![NewEvent::from_json(r#"{"event":"GOAL"}"#).unwrap()];
    let write = |id: Option<&str>| Write {
        user: "A".parse().unwrap(),
        device: "p".parse().unwrap(),
        id: id.map(|id| id.parse().unwrap()),
        op: Op::Append(Append { stream: Stream::All, events: events.clone() }),
    };
    let writes = [write(None), write(Some("1")), write(None)];
    assert!(Batch::new(&writes[..1]).lookups().is_empty());
    let batch = Batch::new(&writes);
    let [lookup] = batch.lookups()[..] else { panic!() };
    assert_eq!((lookup.index, lookup.draft_id, lookup.count), (1, None, false));
}
