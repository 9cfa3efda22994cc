//! Reading JSON that others chose freely.
//!
//! `serde_json` gives some keys a meaning of their own while it builds a [`Value`]: an object whose
//! first key is the private name of its raw values is replaced by what its string holds. Content that
//! is stored and sent on must stay what it was, so it is built here without that.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// How many arrays and objects may stand within each other in what is taken from a client. Parsers
/// give up at 128 by habit, so this leaves room for the messages that carry it on.
pub const DEPTH_MAX: usize = 100;

/// How deep the node's own texts may nest: whatever a parser has once taken, and the message around
/// it. Far within what a stack bears.
const OWN_DEPTH_MAX: usize = 256;

/// A JSON value in which no key has a meaning. Nesting is bounded by the parser that it is read from,
/// and where that has no bound, by 256 levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain(pub Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Build(Levels::up_to(OWN_DEPTH_MAX)).deserialize(deserializer).map(Self)
    }
}

/// Reads a JSON object of a client, for `#[serde(deserialize_with)]`. Of repeated keys the last one
/// wins, as in every browser's `JSON.parse`.
///
/// # Errors
/// When it is something else, or nested deeper than [`DEPTH_MAX`].
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    an_object(Build(Levels::up_to(DEPTH_MAX)).deserialize(deserializer)?)
}

/// Reads a JSON object that was taken before, when deeper ones may have been.
///
/// # Errors
/// When it is something else.
pub fn own_object(text: &str) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_str(text).and_then(|Plain(value)| an_object(value))
}

/// About how many bytes an object takes in memory, which is up to a hundred times its text: the smallest
/// object holds a node of a tree.
pub fn weight(object: &Map<String, Value>) -> usize {
    object.iter().map(|(key, value)| STRING_BYTES + key.len() + below(value)).sum::<usize>()
        + NODE_BYTES * object.len().div_ceil(NODE_ENTRIES)
}

/// A node of a B-tree with room for eleven keys and values.
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;

/// How many of them it has on average.
const NODE_ENTRIES: usize = 7;

/// What the allocator adds to a short string.
const STRING_BYTES: usize = 16;

/// What a value takes beside its own place.
fn below(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => STRING_BYTES + text.len(),
        Value::Array(values) => values.iter().map(|value| size_of::<Value>() + below(value)).sum(),
        Value::Object(object) => weight(object),
    }
}

/// Checks that a client's JSON value can be read by everybody who is sent it: nested no deeper than
/// [`DEPTH_MAX`], its strings and numbers sound. Keeps nothing of it in memory.
///
/// # Errors
/// When it cannot.
pub fn check(text: &str) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Check(Levels::up_to(DEPTH_MAX)).deserialize(&mut deserializer)?;
    deserializer.end()
}

fn an_object<E: Error>(value: Value) -> Result<Map<String, Value>, E> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(E::custom(format!("invalid type: {}, expected an object", kind(&other)))),
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

/// How much deeper a value may nest.
#[derive(Clone, Copy)]
struct Levels {
    left: usize,
    max: usize,
}

impl Levels {
    fn up_to(max: usize) -> Self {
        Self { left: max, max }
    }

    /// What is left within an array or an object.
    fn within<E: Error>(self) -> Result<Self, E> {
        let Self { left, max } = self;
        let too_deep = || E::custom(format_args!("nested deeper than {max} levels"));
        Ok(Self { left: left.checked_sub(1).ok_or_else(too_deep)?, max })
    }
}

/// Builds a value.
struct Build(Levels);

impl<'de> DeserializeSeed<'de> for Build {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build {
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
        let levels = self.0.within()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self(levels))? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let levels = self.0.within()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key()? {
            object.insert(key, members.next_value_seed(Self(levels))?);
        }
        Ok(object.into())
    }
}

/// Reads a value to its end and forgets it: built in memory, it may take a hundred times its text.
struct Check(Levels);

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if value.is_finite() { Ok(()) } else { Err(E::custom("a number is not finite")) }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let levels = self.0.within()?;
        while items.next_element_seed(Self(levels))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let levels = self.0.within()?;
        while members.next_key::<String>()?.is_some() {
            members.next_value_seed(Self(levels))?;
        }
        Ok(())
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

    fn nested(depth: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn nesting_is_bounded() {
        let object = |depth| object(&mut serde_json::Deserializer::from_str(&nested(depth)));
        assert!(object(DEPTH_MAX).is_ok() && check(&nested(DEPTH_MAX)).is_ok());
        for error in [object(DEPTH_MAX + 1).unwrap_err(), check(&nested(DEPTH_MAX + 1)).unwrap_err()] {
            assert!(error.to_string().contains("nested deeper than 100 levels"), "{error}");
        }
        let arrays = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        assert!(check(&arrays).is_err() && check(&arrays[1..202]).is_ok());
        assert!(own_object(&nested(127)).is_ok(), "taken before there was the limit");
        assert!(own_object(&nested(200)).is_err());
        let unbounded = |depth| {
            let text = nested(depth);
            let mut deserializer = serde_json::Deserializer::from_str(&text);
            deserializer.disable_recursion_limit();
            Plain::deserialize(&mut deserializer)
        };
        assert!(unbounded(OWN_DEPTH_MAX).is_ok());
        assert!(unbounded(100_000).is_err());
    }

    #[test]
    fn small_objects_weigh_more_than_their_text() {
        let weigh = |text: &str| weight(&own_object(text).unwrap());
        assert_eq!(weigh("{}"), 0);
        let many = format!(r#"{{"a":[{}0]}}"#, r#"{"":0},"#.repeat(1000));
        assert!(weigh(&many) > 600 * 1000, "{}", weigh(&many));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
        assert!((10_000..12_000).contains(&weigh(&long)), "{}", weigh(&long));
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{}:,"a1.e\-]{0,40}"#) {
            let ours = serde_json::from_str::<Plain>(&text).ok().map(|plain| plain.0);
            prop_assert_eq!(&ours, &serde_json::from_str::<Value>(&text).ok());
            prop_assert_eq!(ours.is_some(), check(&text).is_ok());
        }
    }
}
