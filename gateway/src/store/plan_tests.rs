#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LIMITS: DraftLimits = DraftLimits { drafts_per_user_max: 3, draft_bytes_max: 60 };

/// The tables of a store, in memory: what plans are loaded from and written to.
#[derive(Default)]
struct Tables {
    heads: HashMap<UserId, Seq>,
    drafts: BTreeMap<(UserId, DraftId), DraftRow>,
    commands: HashMap<(UserId, DeviceId, CommandId), Remembered>,
    events: BTreeMap<String, Vec<(u64, String)>>,
    answers: Vec<String>,
}

impl Tables {
    fn commit(&mut self, writes: &[Write]) -> Plan {
        let batch = Batch::new(writes);
        let plan = decide(&batch, self.load(&batch), &LIMITS, 1_000);
        self.apply(&plan);
        plan
    }

    /// Exactly what the batch asks for, as a database would answer it.
    fn load(&self, batch: &Batch<'_>) -> State {
        let mut state = State::default();
        for stream in batch.streams() {
            let Stream::User(user) = stream else { panic!("{stream}") };
            state.heads.insert(user.clone(), self.heads.get(user).copied().unwrap_or_default());
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
        for (user, device, id, remembered) in &plan.commands {
            let key = (user.clone(), device.clone(), id.clone());
            assert!(self.commands.insert(key, remembered.clone()).is_none(), "remembered twice");
        }
        for event in &plan.events {
            let log = self.events.entry(event.stream.key()).or_default();
            log.push((event.seq.0, format!("{} {}", event.kind.as_str(), event.payload)));
        }
        for (stream, head) in &plan.heads {
            let Stream::User(user) = stream else { panic!("{stream}") };
            assert!(self.heads.insert(user.clone(), *head) < Some(*head), "heads only grow");
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
    prop::collection::btree_map("[abc]", value, 0..3).prop_map(|map| map.into_iter().collect())
}

fn arb_write() -> impl Strategy<Value = Write> {
    let base = prop_oneof![
        4 => (0u64..6).prop_map(|v| Base::Merge(Version(v))),
        1 => (1u64..4).prop_map(|v| Base::Exact(Version(v))),
    ];
    let draft_id = "[wxyz]".prop_map(|id| id.parse::<DraftId>().unwrap());
    let op = (draft_id, base, arb_object(), any::<bool>(), 0..10).prop_map(
        |(draft_id, base, object, based, choice)| match choice {
            0..3 => DraftOp::Create { draft_id, kind: "note".parse().unwrap(), content: object },
            3..8 => DraftOp::Update { draft_id, base, patch: object },
            _ => DraftOp::Delete { draft_id, base: based.then_some(base) },
        },
    );
    let id = prop::option::of("[1-9]".prop_map(|id| id.parse::<CommandId>().unwrap()));
    ("[AB]", "[pq]", id, op).prop_map(|(user, device, id, op)| Write {
        user: user.parse().unwrap(),
        device: device.parse().unwrap(),
        id,
        op,
    })
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
        for (user, head) in &tables.heads {
            let stream = Stream::User(user.clone()).key();
            let seqs: Vec<u64> = tables.events[&stream].iter().map(|(seq, _)| *seq).collect();
            prop_assert_eq!(&seqs, &(1..=head.0).collect::<Vec<_>>());
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
        op: DraftOp::Delete { draft_id: "x".parse().unwrap(), base: None },
    };
    let plan = Tables::default().commit(&[refused]);
    assert!(matches!(plan.answers[..], [Err(Refusal::NotFound)]));
    assert!(plan.changes_nothing() && plan.heads.is_empty());
}

#[test]
fn a_fingerprint_tells_changes_apart() {
    let op = |id: &str, value: Value| DraftOp::Update {
        draft_id: id.parse().unwrap(),
        base: Base::Merge(Version(1)),
        patch: value.as_object().unwrap().clone(),
    };
    assert_eq!(
        fingerprint(&op("a", json!({"x": 1, "y": 2}))),
        fingerprint(&op("a", json!({"y": 2, "x": 1})))
    );
    assert_ne!(fingerprint(&op("a", json!({"x": 1}))), fingerprint(&op("a", json!({"x": 2}))));
    assert_ne!(fingerprint(&op("a", json!({"x": 1}))), fingerprint(&op("b", json!({"x": 1}))));
}
