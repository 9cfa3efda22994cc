//! Values in memory.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{
    Number,
    reader::{Make, unescaped},
};

/// A JSON object: what drafts hold and patches are.
pub type Object = BTreeMap<String, Value>;

/// A JSON value. Its numbers are as they were written, and no key has a meaning.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

impl Value {
    /// What it is, with an article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Builds values.
pub(super) struct Build;

impl<'a> Make<'a> for Build {
    type Value = Value;
    type Array = Vec<Value>;
    type Object = Object;

    fn null() -> Value {
        Value::Null
    }

    fn bool(value: bool) -> Value {
        Value::Bool(value)
    }

    fn number(text: &'a str) -> Value {
        Value::Number(Number::new(text))
    }

    fn string(raw: &'a str) -> Value {
        Value::String(unescaped(raw).into_owned())
    }

    fn push(array: &mut Vec<Value>, value: Value) {
        array.push(value);
    }

    fn array(array: Vec<Value>) -> Value {
        Value::Array(array)
    }

    fn insert(object: &mut Object, raw_key: &'a str, value: Value) {
        object.insert(unescaped(raw_key).into_owned(), value);
    }

    fn object(object: Object) -> Value {
        Value::Object(object)
    }
}

/// Serialises an object so that equal ones are equal texts, for `#[serde(serialize_with)]` and by itself:
/// each number in one notation for its value.
///
/// # Errors
/// Those of the serialiser.
pub fn canonical<S: Serializer>(object: &Object, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(object.iter().map(|(key, value)| (key, Canonical(value))))
}

/// The same for any value.
struct Canonical<'a>(&'a Value);

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => number.canonical().serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Canonical)),
            Value::Object(object) => canonical(object, serializer),
            plain => plain.serialize(serializer),
        }
    }
}

/// About how many bytes an object takes in memory, which is up to a hundred times its text: the smallest
/// object holds a node of a tree.
pub fn weight(object: &Object) -> usize {
    object.iter().map(|(key, value)| ALLOCATION_BYTES + key.len() + below(value)).sum::<usize>()
        + NODE_BYTES * object.len().div_ceil(NODE_ENTRIES)
}

/// A node of a B-tree with room for eleven keys and values.
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;

/// How many of them it has on average.
const NODE_ENTRIES: usize = 7;

/// What the allocator adds to a short text.
const ALLOCATION_BYTES: usize = 16;

/// What a value takes beside its own place.
fn below(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => ALLOCATION_BYTES + number.as_str().len(),
        Value::String(text) => ALLOCATION_BYTES + text.len(),
        Value::Array(values) => values.iter().map(|value| size_of::<Value>() + below(value)).sum(),
        Value::Object(object) => weight(object),
    }
}
