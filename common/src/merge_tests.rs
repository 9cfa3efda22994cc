#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    crate::json::own_object(&value.to_string()).unwrap()
}

/// What others take the content for.
fn plain(content: &Object) -> Value {
    serde_json::to_value(content).unwrap()
}

/// A draft with its history, driven through `merge` alone.
#[derive(Clone)]
struct Draft {
    content: Object,
    fields: FieldVersions,
    version: Version,
}

impl Draft {
    fn new(content: Value) -> Self {
        Self { content: object(content), fields: FieldVersions::default(), version: Version(1) }
    }

    fn patch(&mut self, base: u64, patch: Value) -> Merge {
        let merge = merge(self.content.clone(), &self.fields, Version(base), self.version, &object(patch));
        if let Merge::Merged { content, fields } = &merge {
            self.content = content.clone();
            self.fields = fields.clone();
            self.version = self.version.next();
        }
        merge
    }
}

fn conflict(fields: &[&str]) -> Merge {
    Merge::Conflict { fields: fields.iter().map(|f| (*f).to_owned()).collect() }
}

#[test]
fn different_fields_from_the_same_base_both_survive() {
    let mut draft = Draft::new(json!({"title": "", "body": ""}));
    assert!(matches!(draft.patch(1, json!({"title": "A"})), Merge::Merged { .. }));
    assert!(matches!(draft.patch(1, json!({"body": "B"})), Merge::Merged { .. }));
    assert_eq!(draft.content, object(json!({"title": "A", "body": "B"})));
}

#[test]
fn the_same_field_from_the_same_base_conflicts() {
    let mut draft = Draft::new(json!({"title": ""}));
    draft.patch(1, json!({"title": "A"}));
    assert_eq!(draft.patch(1, json!({"title": "B", "new": 1})), conflict(&["/title"]));
    assert_eq!(plain(&draft.content)["title"], "A");
    assert!(!draft.content.contains_key("new"), "all or nothing");
}

#[test]
fn agreeing_is_no_conflict_and_no_change() {
    let mut draft = Draft::new(json!({"title": ""}));
    draft.patch(1, json!({"title": "A"}));
    assert_eq!(draft.patch(1, json!({"title": "A"})), Merge::Unchanged);
    assert_eq!(draft.patch(2, json!({})), Merge::Unchanged);
    assert_eq!(draft.patch(2, json!({"missing": null})), Merge::Unchanged);
}

#[test]
fn a_field_meets_what_holds_it_and_what_it_holds() {
    let start = json!({"a": {"b": 1, "c": 2}});
    let mut draft = Draft::new(start.clone());
    draft.patch(1, json!({"a": null}));
    assert_eq!(draft.patch(1, json!({"a": {"b": 9}})), conflict(&["/a/b"]));
    let mut draft = Draft::new(start.clone());
    draft.patch(1, json!({"a": {"b": 9}}));
    assert_eq!(draft.patch(1, json!({"a": null})), conflict(&["/a"]));
    assert_eq!(draft.patch(1, json!({"a": [1]})), conflict(&["/a"]));
    let mut draft = Draft::new(start);
    draft.patch(1, json!({"a": {"b": 9}}));
    assert!(matches!(draft.patch(1, json!({"a": {"c": 9}})), Merge::Merged { .. }));
}

#[test]
fn parts_of_a_field_that_neither_had_are_merged() {
    let mut draft = Draft::new(json!({}));
    draft.patch(1, json!({"address": {"city": "X"}}));
    assert!(matches!(draft.patch(1, json!({"address": {"zip": "1"}})), Merge::Merged { .. }));
    assert_eq!(draft.content, object(json!({"address": {"city": "X", "zip": "1"}})));
}

#[test]
fn names_that_look_like_pointers_stay_apart() {
    let mut draft = Draft::new(json!({"a/b": 1, "a": {"b": 1}, "a~1b": 1}));
    draft.patch(1, json!({"a/b": 2}));
    assert!(matches!(draft.patch(1, json!({"a": {"b": 2}})), Merge::Merged { .. }));
    assert!(matches!(draft.patch(1, json!({"a~1b": 2})), Merge::Merged { .. }));
    assert_eq!(draft.patch(1, json!({"a/b": 3})), conflict(&["/a~1b"]));
    // "/a" is a prefix of "/ab" as text, not as a pointer.
    let mut draft = Draft::new(json!({"a": 1, "ab": 1}));
    draft.patch(1, json!({"ab": 2}));
    assert!(matches!(draft.patch(1, json!({"a": 2})), Merge::Merged { .. }));
}

#[test]
fn the_memory_of_fields_is_bounded_and_forgetting_is_safe() {
    let mut draft = Draft::new(json!({}));
    for i in 0..3 * FIELDS_MAX {
        let key = format!("k{i}");
        draft.patch(draft.version.0, json!({ key: i }));
        assert!(draft.fields.changed.len() <= FIELDS_MAX);
    }
    assert!(matches!(draft.patch(1, json!({"k0": "old base"})), Merge::Conflict { .. }));
    let recent = draft.version.0 - 1;
    assert!(matches!(draft.patch(recent, json!({"k0": "recent base"})), Merge::Merged { .. }));
}

#[test]
fn long_names_are_bounded_too() {
    let mut draft = Draft::new(json!({}));
    for i in 0..20 {
        let key = format!("{i}{}", "k".repeat(FIELDS_BYTES_MAX / 3));
        draft.patch(draft.version.0, json!({ key.clone(): 1 }));
        draft.patch(draft.version.0, json!({ key: null }));
        assert!(draft.fields.bytes() <= FIELDS_BYTES_MAX);
    }
    assert!(matches!(draft.patch(1, json!({"a": 1})), Merge::Conflict { .. }));
}

#[test]
fn a_patch_of_too_many_fields_is_one_of_the_whole_draft() {
    let many =
        |value: usize| -> Value { (0..=FIELDS_MAX).map(|i| (format!("k{i}"), json!(value))).collect() };
    let mut draft = Draft::new(json!({"a": 1}));
    draft.patch(1, json!({"a": 2}));
    assert_eq!(draft.patch(1, many(1)), conflict(&[]));
    assert!(matches!(draft.patch(2, many(1)), Merge::Merged { .. }));
    assert_eq!(draft.patch(2, json!({"b": 1})), conflict(&["/b"]), "any field may have been among them");
    assert!(matches!(draft.patch(3, json!({"b": 1})), Merge::Merged { .. }));
    assert_eq!(draft.patch(4, many(1)), Merge::Unchanged);
}

#[test]
fn another_notation_of_a_number_is_no_change() {
    let written = |text| crate::json::own_object(text).unwrap();
    let content = written(r#"{"n":1.50,"big":100000000000000000000.01}"#);
    let made =
        |patch| merge(content.clone(), &FieldVersions::default(), Version(1), Version(1), &written(patch));
    assert_eq!(made(r#"{"n":15e-1,"big":1.0000000000000000000001E20}"#), Merge::Unchanged);
    let Merge::Merged { content, .. } = made(r#"{"n":1.500000000000000000001}"#) else { panic!("a change") };
    let text = serde_json::to_string(&content).unwrap();
    assert_eq!(text, r#"{"big":100000000000000000000.01,"n":1.500000000000000000001}"#);
}

/// A patch names a key once, and a pointer for each field below it: these would be a gigabyte.
#[test]
fn a_long_name_above_many_fields_costs_no_more_than_the_patch() {
    let below: Value = (0..10_000).map(|i| (format!("{i}"), json!(0))).collect();
    let patch = object(json!({ "k".repeat(100_000): below }));
    let mut touched = Touched::default();
    apply(&mut Object::new(), &patch, &mut String::new(), &mut touched);
    assert_eq!((touched.count, touched.fields.len(), touched.too_many), (10_000, 0, true));
}

/// The algorithm of RFC 7396 section 2, as written there.
fn rfc7396(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut result = target.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            result.remove(key);
        } else {
            let merged = rfc7396(result.get(key), value);
            result.insert(key.clone(), merged);
        }
    }
    Value::Object(result)
}

fn small_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), Just(json!(1)), Just(json!(2)), Just(json!("x")), Just(json!([1]))];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop::collection::btree_map("[ab/~]", inner, 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    })
}

fn small_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[ab/~]", small_json(), 0..3)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Content never holds null: RFC 7396 cannot express it in a patch, so it cannot get there by one.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        other => other,
    }
}

/// What the pointer finds, with "the field is absent" as a value of its own.
fn at<'a>(content: &'a Value, pointer: &str) -> Option<&'a Value> {
    content.pointer(pointer)
}

proptest! {
    #[test]
    fn on_the_current_version_it_is_rfc_7396(content in small_object(), patch in small_object()) {
        let content = without_nulls(content);
        let expected = rfc7396(Some(&content), &patch);
        let (current, patch) = (object(content.clone()), object(patch));
        match merge(current, &FieldVersions::default(), Version(1), Version(1), &patch) {
            Merge::Unchanged => prop_assert_eq!(content, expected),
            Merge::Merged { content, .. } => prop_assert_eq!(plain(&content), expected),
            Merge::Conflict { .. } => prop_assert!(false, "nothing changed since"),
        }
    }

    /// Two patches from one base: where the second goes through, it undoes nothing of the first.
    #[test]
    fn a_merged_patch_overwrites_no_concurrent_change(
        content in small_object(), first in small_object(), second in small_object(),
    ) {
        let mut draft = Draft::new(without_nulls(content));
        let base = plain(&draft.content);
        let Merge::Merged { content: after_first, fields } = draft.patch(1, first) else {
            return Ok(());
        };
        let after_first = plain(&after_first);
        if let Merge::Merged { content: after_both, .. } = draft.patch(1, second.clone()) {
            let after_both = plain(&after_both);
            for pointer in fields.changed.keys() {
                prop_assert_eq!(at(&after_first, pointer), at(&after_both, pointer), "{}", pointer);
            }
            // And what the second changed against the base has arrived.
            let alone = rfc7396(Some(&base), &second);
            let Value::Object(alone) = alone else { unreachable!("a patch makes objects") };
            for (key, value) in &alone {
                if base.get(key) != Some(value) && !value.is_object() {
                    prop_assert_eq!(after_both.get(key), Some(value));
                }
            }
        }
    }

    /// Devices that follow the events, each a patch on the version before, hold what the server holds.
    #[test]
    fn replaying_the_patches_gives_the_content(
        content in small_object(), patches in prop::collection::vec((small_object(), 0_u64..4), 0..12),
    ) {
        let mut draft = Draft::new(without_nulls(content));
        let mut device = plain(&draft.content);
        for (patch, age) in patches {
            let base = draft.version.0.saturating_sub(age).max(1);
            if let Merge::Merged { .. } = draft.patch(base, patch.clone()) {
                device = rfc7396(Some(&device), &patch);
            }
            prop_assert_eq!(&device, &plain(&draft.content));
        }
    }
}
