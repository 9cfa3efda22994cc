//! What the acknowledgements say: every change under its number, and the drafts that follow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use testkit::device::DraftState;

/// One user's acknowledged changes, by the number of the event that each caused.
#[derive(Debug, Default)]
pub(crate) struct Model {
    changes: BTreeMap<u64, Change>,
}

/// A change of a draft as its device asked for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Create(String, Value),
    Update(String, Value),
    Delete(String),
}

impl Model {
    /// Takes note of an acknowledged change.
    pub(crate) fn acknowledged(&mut self, seq: u64, change: Change) {
        let before = self.changes.insert(seq, change.clone());
        assert_eq!(before, None, "event {seq} is also said to be {change:?}");
    }

    /// How many changes there were. Their numbers must have no gaps.
    pub(crate) fn head(&self) -> u64 {
        let gap = self.changes.keys().zip(1..).find(|(seq, expected)| **seq != *expected);
        assert_eq!(gap, None, "an event that nobody was told of");
        self.changes.len() as u64
    }

    /// The drafts after all changes, one after the other. Patches are flat here: a field is set, or
    /// removed by `null`.
    pub(crate) fn drafts(&self) -> BTreeMap<String, DraftState> {
        let mut drafts: BTreeMap<String, DraftState> = BTreeMap::new();
        for change in self.changes.values() {
            match change {
                Change::Create(id, content) => {
                    let state = DraftState { version: 1, kind: "draft".to_owned(), content: content.clone() };
                    assert!(drafts.insert(id.clone(), state).is_none(), "{id} was made twice");
                }
                Change::Update(id, patch) => {
                    let draft = drafts.get_mut(id).expect("a change of a draft that exists");
                    draft.version += 1;
                    let content = draft.content.as_object_mut().expect("contents are objects");
                    apply(content, patch.as_object().expect("patches are objects"));
                }
                Change::Delete(id) => {
                    drafts.remove(id).expect("a deletion of a draft that exists");
                }
            }
        }
        drafts
    }
}

fn apply(content: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, value) in patch {
        if value.is_null() {
            content.remove(field);
        } else {
            content.insert(field.clone(), value.clone());
        }
    }
}
