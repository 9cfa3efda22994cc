//! JSON that keeps its text, and the contents of drafts made of it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};

/// A JSON value as its sender wrote it: numbers keep all of their digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The JSON of a value.
    ///
    /// # Errors
    /// When the value does not serialise: a map with keys that are no strings, say.
    pub fn of(value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        to_raw_value(value).map(Self)
    }

    /// A text that is JSON already.
    ///
    /// # Errors
    /// When it is not.
    pub fn from_text(text: impl Into<String>) -> serde_json::Result<Self> {
        RawValue::from_string(text.into()).map(Self)
    }

    pub(crate) fn from_raw(raw: &RawValue) -> Self {
        Self(raw.to_owned())
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Reads the value as a type.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.text())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Compares the texts: `1` and `1.0` differ.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

/// The content of a draft: a JSON object that merge patches are applied to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Content(BTreeMap<String, Node>);

/// A value in a content. Patches reach into objects and replace everything else whole, so only objects are
/// taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Node {
    Object(Content),
    Leaf(Json),
}

impl Content {
    /// Reads an object.
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub fn from_text(text: &str) -> serde_json::Result<Self> {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        let node = |(name, value): (String, Box<RawValue>)| {
            let node = if value.get().starts_with('{') {
                Node::Object(Self::from_text(value.get())?)
            } else {
                Node::Leaf(Json(value))
            };
            Ok((name, node))
        };
        members.into_iter().map(node).collect::<serde_json::Result<_>>().map(Self)
    }

    /// The content as JSON.
    ///
    /// # Errors
    /// None in practice: it was read from JSON.
    pub fn json(&self) -> serde_json::Result<Json> {
        Json::of(self)
    }

    /// Reads the content as a type.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        self.json()?.parse()
    }

    /// Applies a merge patch (RFC 7396).
    pub(crate) fn merge(&mut self, patch: Self) {
        for (name, change) in patch.0 {
            match change {
                Node::Leaf(leaf) if leaf.text() == "null" => {
                    self.0.remove(&name);
                }
                Node::Leaf(leaf) => {
                    self.0.insert(name, Node::Leaf(leaf));
                }
                Node::Object(patch) => {
                    let target = self.0.entry(name).or_insert_with(|| Node::Object(Self::default()));
                    if let Node::Leaf(_) = target {
                        *target = Node::Object(Self::default());
                    }
                    if let Node::Object(target) = target {
                        target.merge(patch);
                    }
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_text(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};
    use serde_json::{Map, Value};

    use super::*;

    fn merged(content: &str, patch: &str) -> String {
        let mut content = Content::from_text(content).unwrap();
        content.merge(Content::from_text(patch).unwrap());
        content.json().unwrap().text().to_owned()
    }

    #[test]
    fn patches_set_remove_and_reach_into_objects() {
        assert_eq!(merged(r#"{"a":1,"b":{"c":2}}"#, r#"{"a":null,"b":{"d":3}}"#), r#"{"b":{"c":2,"d":3}}"#);
        assert_eq!(merged(r#"{"a":[1]}"#, r#"{"a":{"b":null,"c":{}}}"#), r#"{"a":{"c":{}}}"#);
        assert_eq!(merged(r#"{"a":{}}"#, r#"{"a":7,"x":null}"#), r#"{"a":7}"#);
    }

    #[test]
    fn numbers_keep_their_text() {
        let exact = r#"{"a":12345678901234567890123,"b":1.50}"#;
        assert_eq!(merged(exact, "{}"), exact);
        assert!(Content::from_text("[]").is_err());
        assert!(Content::from_text(r#"{"a":1"#).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i8>().prop_map(Value::from), Just(Value::from("x"))];
        leaf.prop_recursive(3, 16, 3, |inner| {
            prop_oneof![
                btree_map("[a-c]", inner.clone(), 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
                proptest::collection::vec(inner, 0..2).prop_map(Value::Array),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        btree_map("[a-c]", value(), 0..4).prop_map(|map| map.into_iter().collect())
    }

    /// The algorithm of RFC 7396, section 2, as it stands there.
    fn by_the_rfc(target: Value, patch: Value) -> Value {
        let Value::Object(patch) = patch else { return patch };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(&name);
            } else {
                let old = target.remove(&name).unwrap_or(Value::Null);
                target.insert(name, by_the_rfc(old, value));
            }
        }
        Value::Object(target)
    }

    proptest! {
        #[test]
        fn merging_is_the_one_of_the_rfc(content in object(), patch in object()) {
            let (content, patch) = (Value::Object(content), Value::Object(patch));
            let ours = merged(&content.to_string(), &patch.to_string());
            let ours: Value = serde_json::from_str(&ours).unwrap();
            prop_assert_eq!(ours, by_the_rfc(content, patch));
        }
    }
}
