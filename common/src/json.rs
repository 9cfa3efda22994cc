//! Reading JSON that others chose freely.
//!
//! `serde_json` gives some keys a meaning of their own while it builds a [`Value`]: an object whose
//! first key is the private name of its raw values is replaced by what its string holds. Content that
//! is stored and sent on must stay what it was, so it is built here without that.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// A JSON value in which no key has a meaning. Nesting is bounded by the parser that it is read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain(pub Value);

/// Reads a JSON object, for `#[serde(deserialize_with)]`. Of repeated keys the last one wins, as in
/// every browser's `JSON.parse`.
///
/// # Errors
/// When it is something else.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match Plain::deserialize(deserializer)? {
        Plain(Value::Object(object)) => Ok(object),
        Plain(other) => Err(D::Error::custom(format!("invalid type: {}, expected an object", kind(&other)))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Plain(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Plain(value))) = members.next_entry()? {
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRIVATE: &str = r#"{"a":{"$serde_json::private::RawValue":"{\"x\":1}"}}"#;

    #[test]
    fn no_key_has_a_meaning() {
        let Plain(value) = serde_json::from_str(PRIVATE).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), PRIVATE);
        let escaped = PRIVATE.replace('$', "\\u0024");
        assert_eq!(serde_json::from_str::<Plain>(&escaped).unwrap(), Plain(value));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert!(serde_json::from_str::<Plain>(&deep).is_err());
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{}:,"a1.e\-]{0,40}"#) {
            let ours = serde_json::from_str::<Plain>(&text).ok().map(|plain| plain.0);
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).ok());
        }
    }
}
