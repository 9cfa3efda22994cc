//! Merging changes of one draft that were made on different versions of it.
//!
//! A change is a merge patch (RFC 7396). The server remembers the version at which each field last
//! changed; a patch made on an old version goes through when nothing that it touches has changed
//! since. Fields are named by JSON pointers (RFC 6901).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::json::Object;
use crate::{ids::Version, json::Value};

/// When each field last changed, as far as that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldVersions {
    /// Changes up to and including this version are no longer told apart by field: a patch made on
    /// an older base conflicts. Zero while nothing was forgotten.
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: Version,
    /// JSON pointer to the version that last changed it. A field not named here has not changed
    /// since `forgotten`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    changed: BTreeMap<String, Version>,
}

fn is_zero(version: &Version) -> bool {
    version.0 == 0
}

/// What a patch comes to on the current content.
#[derive(Debug, Clone, PartialEq)]
pub enum Merge {
    /// The content already is what the patch wants.
    Unchanged,
    /// The patch goes through.
    Merged {
        /// The new content.
        content: Object,
        /// When each field last changed, this change included.
        fields: FieldVersions,
    },
    /// Fields that the patch touches have changed since its base.
    Conflict {
        /// Their JSON pointers, sorted; empty where the patch touches more than are told apart.
        fields: Vec<String>,
    },
}

/// Fields whose change is remembered, per draft. Past it the oldest half is forgotten together, which
/// makes patches on very old bases conflict; nothing is ever merged wrongly for it. A patch that touches
/// more counts as one that touches the whole draft.
pub const FIELDS_MAX: usize = 512;

/// Bytes that their pointers may take; past it the oldest are forgotten likewise. Keys are as long as
/// clients make them, and a removed field leaves no other trace.
pub const FIELDS_BYTES_MAX: usize = 32 * 1024;

/// Applies a patch made on version `base` to `content`, which stands at version `current`.
///
/// Pure. `base` must not be beyond `current`. It takes time and memory in proportion to the sizes of the
/// content and the patch.
pub fn merge(
    mut content: Object,
    fields: &FieldVersions,
    base: Version,
    current: Version,
    patch: &Object,
) -> Merge {
    let mut touched = Touched::default();
    apply(&mut content, patch, &mut String::new(), &mut touched);
    if touched.count == 0 {
        return Merge::Unchanged;
    }
    if base < current {
        let changed = touched.fields.iter().filter(|field| fields.changed_since(field, base));
        let mut conflicts: Vec<String> = changed.cloned().collect();
        if touched.too_many || !conflicts.is_empty() {
            conflicts.sort();
            return Merge::Conflict { fields: conflicts };
        }
    }
    let mut fields = fields.clone();
    fields.record(touched, current.next());
    Merge::Merged { content, fields }
}

/// The fields whose value a patch changes, told apart within [`FIELDS_MAX`] and [`FIELDS_BYTES_MAX`]: a
/// pointer is as long as all keys on its way, which a patch names only once for many fields.
#[derive(Default)]
struct Touched {
    /// Their JSON pointers; none once there are too many.
    fields: Vec<String>,
    bytes: usize,
    count: usize,
    too_many: bool,
}

impl Touched {
    /// Where nobody asks which they are.
    fn untold() -> Self {
        Self { too_many: true, ..Self::default() }
    }

    fn add(&mut self, field: &str) {
        self.count += 1;
        if self.too_many {
            return;
        }
        self.bytes += field.len();
        if self.fields.len() == FIELDS_MAX || self.bytes > FIELDS_BYTES_MAX {
            (self.fields, self.too_many) = (Vec::new(), true);
        } else {
            self.fields.push(field.to_owned());
        }
    }
}

/// Applies a merge patch and lists the fields whose value it changes.
fn apply(target: &mut Object, patch: &Object, path: &mut String, touched: &mut Touched) {
    for (key, wanted) in patch {
        let parent_len = path.len();
        push_token(path, key);
        match (wanted, target.get_mut(key)) {
            (Value::Null, None) => {}
            (Value::Null, Some(_)) => {
                target.remove(key);
                touched.add(path);
            }
            (Value::Object(inner), Some(Value::Object(existing))) => apply(existing, inner, path, touched),
            (Value::Object(inner), None) => {
                // Two devices may fill a field that neither had, each a part of it: the parts are
                // what is touched, not the field as a whole.
                let mut fresh = Object::new();
                let before = touched.count;
                apply(&mut fresh, inner, path, touched);
                if touched.count == before {
                    touched.add(path);
                }
                target.insert(key.clone(), Value::Object(fresh));
            }
            (Value::Object(inner), Some(_)) => {
                let mut fresh = Object::new();
                apply(&mut fresh, inner, path, &mut Touched::untold());
                target.insert(key.clone(), Value::Object(fresh));
                touched.add(path);
            }
            (wanted, Some(existing)) if existing == wanted => {}
            (wanted, _) => {
                target.insert(key.clone(), wanted.clone());
                touched.add(path);
            }
        }
        path.truncate(parent_len);
    }
}

/// Appends a reference token (RFC 6901 section 3).
fn push_token(path: &mut String, key: &str) {
    path.push('/');
    for c in key.chars() {
        match c {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            c => path.push(c),
        }
    }
}

impl FieldVersions {
    /// Whether the field, something in it, or something that holds it changed after `base`.
    fn changed_since(&self, field: &str, base: Version) -> bool {
        if base < self.forgotten {
            return true;
        }
        let ancestors = field.match_indices('/').map(|(end, _)| &field[..end]).filter(|a| !a.is_empty());
        let at_or_above = ancestors
            .chain([field])
            .any(|pointer| self.changed.get(pointer).is_some_and(|version| *version > base));
        at_or_above || self.below(field).any(|(_, version)| *version > base)
    }

    fn below<'a>(&'a self, field: &str) -> impl Iterator<Item = (&'a String, &'a Version)> + use<'a> {
        let prefix = format!("{field}/");
        self.changed.range(prefix.clone()..).take_while(move |(pointer, _)| pointer.starts_with(&prefix))
    }

    /// The length of all pointers, in bytes.
    pub fn bytes(&self) -> usize {
        self.changed.keys().map(String::len).sum()
    }

    fn record(&mut self, touched: Touched, version: Version) {
        if touched.too_many {
            self.forgotten = version;
            self.changed.clear();
        }
        for field in touched.fields {
            // What stood below was replaced or removed with it.
            let gone: Vec<String> = self.below(&field).map(|(pointer, _)| pointer.clone()).collect();
            for pointer in gone {
                self.changed.remove(&pointer);
            }
            self.changed.insert(field, version);
        }
        while self.changed.len() > FIELDS_MAX || self.bytes() > FIELDS_BYTES_MAX {
            let mut versions: Vec<Version> = self.changed.values().copied().collect();
            versions.sort_unstable();
            self.forgotten = self.forgotten.max(versions[versions.len() / 2]);
            let forgotten = self.forgotten;
            self.changed.retain(|_, version| *version > forgotten);
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
