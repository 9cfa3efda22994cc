//! MessagePack in the place of JSON, for the subprotocol `draftwire.v1.msgpack`: the same messages in
//! other bytes. <https://github.com/msgpack/msgpack/blob/master/spec.md>
//!
//! Whatever the encoding, a message means what its JSON means. So there is one parser, that of the
//! JSON text, and MessagePack is rewritten at the border: what JSON cannot say is refused.

use bytes::Bytes;
use rmp::{Marker, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::json::Plain;

/// Why bytes are not a MessagePack message that JSON could say as well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// They end in the middle of a value.
    #[error("the message ends too early")]
    Truncated,
    /// More follows than one value.
    #[error("something follows the message")]
    Trailing,
    /// A type that JSON lacks: binary data, an extension, a number that is not finite.
    #[error("{0} has no meaning here")]
    Unsupported(&'static str),
    /// A key of a map that is not a string.
    #[error("the keys of a map must be strings")]
    Key,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// How deep values may nest: what the JSON parser allows.
pub const DEPTH_MAX: usize = 127;

/// Rewrites a JSON text that the caller has encoded itself. It may nest deeper than the parser allows
/// by itself: what is sent stands within a message. What is no JSON at all comes out as nil.
pub fn from_json(json: &[u8]) -> Bytes {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // `Plain` has a bound of its own.
    deserializer.disable_recursion_limit();
    let read = Plain::deserialize(&mut deserializer);
    debug_assert!(read.is_ok() || json.is_empty(), "not JSON: {read:?}");
    let Plain(value) = read.unwrap_or(Plain(Value::Null));
    let mut out = Vec::with_capacity(json.len());
    write(&mut out, &value);
    out.into()
}

/// Rewrites a MessagePack message as JSON, as it is read: a value that was built in memory first could
/// take hundreds of times its bytes. The text has at most ten times as many. Keys that a map repeats
/// are repeated in the text.
///
/// # Errors
/// [`NotAMessage`].
pub fn to_json(bytes: &[u8]) -> Result<String, NotAMessage> {
    let mut rest = bytes;
    let mut out = Vec::with_capacity(bytes.len());
    read(&mut rest, &mut out, DEPTH_MAX)?;
    if !rest.is_empty() {
        return Err(NotAMessage::Trailing);
    }
    String::from_utf8(out).map_err(|_| NotAMessage::Utf8)
}

/// The start of an array of so many messages, each of which follows as it is.
pub fn array_header(messages: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    put(encode::write_array_len(&mut out, length(messages)));
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => put(encode::write_nil(out)),
        Value::Bool(value) => put(encode::write_bool(out, *value)),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => put(encode::write_str(out, text)),
        Value::Array(items) => {
            put(encode::write_array_len(out, length(items.len())));
            for item in items {
                write(out, item);
            }
        }
        Value::Object(members) => {
            put(encode::write_map_len(out, length(members.len())));
            for (key, value) in members {
                put(encode::write_str(out, key));
                write(out, value);
            }
        }
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(value) = number.as_u64() {
        put(encode::write_uint(out, value));
    } else if let Some(value) = number.as_i64() {
        put(encode::write_sint(out, value));
    } else {
        put(encode::write_f64(out, number.as_f64().unwrap_or(f64::NAN)));
    }
}

/// Messages are bounded far below what a length of 32 bits can say.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Nothing can fail while writing to memory.
fn put<T, E>(written: Result<T, E>) {
    debug_assert!(written.is_ok());
}

fn read(rest: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), NotAMessage> {
    match marker(rest)? {
        Marker::Null => json(out, ()),
        Marker::True => json(out, true),
        Marker::False => json(out, false),
        Marker::FixPos(value) => json(out, value),
        Marker::FixNeg(value) => json(out, value),
        Marker::U8 => json(out, u8::from_be_bytes(array(rest)?)),
        Marker::U16 => json(out, u16::from_be_bytes(array(rest)?)),
        Marker::U32 => json(out, u32::from_be_bytes(array(rest)?)),
        Marker::U64 => json(out, u64::from_be_bytes(array(rest)?)),
        Marker::I8 => json(out, i8::from_be_bytes(array(rest)?)),
        Marker::I16 => json(out, i16::from_be_bytes(array(rest)?)),
        Marker::I32 => json(out, i32::from_be_bytes(array(rest)?)),
        Marker::I64 => json(out, i64::from_be_bytes(array(rest)?)),
        Marker::F32 => json(out, finite(f32::from_be_bytes(array(rest)?).into())?),
        Marker::F64 => json(out, finite(f64::from_be_bytes(array(rest)?))?),
        Marker::FixArray(len) => items(rest, out, len.into(), depth)?,
        Marker::Array16 => {
            let len = u16::from_be_bytes(array(rest)?);
            items(rest, out, len.into(), depth)?;
        }
        Marker::Array32 => {
            let len = u32::from_be_bytes(array(rest)?);
            items(rest, out, len, depth)?;
        }
        Marker::FixMap(len) => members(rest, out, len.into(), depth)?,
        Marker::Map16 => {
            let len = u16::from_be_bytes(array(rest)?);
            members(rest, out, len.into(), depth)?;
        }
        Marker::Map32 => {
            let len = u32::from_be_bytes(array(rest)?);
            members(rest, out, len, depth)?;
        }
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            return Err(NotAMessage::Unsupported("binary data"));
        }
        other => match text(rest, other)? {
            Some(text) => json(out, text),
            None => return Err(NotAMessage::Unsupported("an extension type")),
        },
    }
    Ok(())
}

/// Writes a value that holds no others.
fn json(out: &mut Vec<u8>, value: impl Serialize) {
    put(serde_json::to_writer(out, &value));
}

fn finite(value: f64) -> Result<f64, NotAMessage> {
    if value.is_finite() { Ok(value) } else { Err(NotAMessage::Unsupported("a number that is not finite")) }
}

/// The length is the sender's word: nothing is reserved for it.
fn items(rest: &mut &[u8], out: &mut Vec<u8>, len: u32, depth: usize) -> Result<(), NotAMessage> {
    let depth = depth.checked_sub(1).ok_or(NotAMessage::TooDeep)?;
    out.push(b'[');
    for index in 0..len {
        if index > 0 {
            out.push(b',');
        }
        read(rest, out, depth)?;
    }
    out.push(b']');
    Ok(())
}

fn members(rest: &mut &[u8], out: &mut Vec<u8>, len: u32, depth: usize) -> Result<(), NotAMessage> {
    let depth = depth.checked_sub(1).ok_or(NotAMessage::TooDeep)?;
    out.push(b'{');
    for index in 0..len {
        if index > 0 {
            out.push(b',');
        }
        let key = marker(rest)?;
        json(out, text(rest, key)?.ok_or(NotAMessage::Key)?);
        out.push(b':');
        read(rest, out, depth)?;
    }
    out.push(b'}');
    Ok(())
}

fn marker(rest: &mut &[u8]) -> Result<Marker, NotAMessage> {
    decode::read_marker(rest).map_err(|_| NotAMessage::Truncated)
}

/// The string that begins with this marker, if one does.
fn text<'a>(rest: &mut &'a [u8], marker: Marker) -> Result<Option<&'a str>, NotAMessage> {
    let len = match marker {
        Marker::FixStr(len) => len.into(),
        Marker::Str8 => u8::from_be_bytes(array(rest)?).into(),
        Marker::Str16 => u16::from_be_bytes(array(rest)?).into(),
        Marker::Str32 => u32::from_be_bytes(array(rest)?) as usize,
        _ => return Ok(None),
    };
    let (text, after) = rest.split_at_checked(len).ok_or(NotAMessage::Truncated)?;
    *rest = after;
    std::str::from_utf8(text).map(Some).map_err(|_| NotAMessage::Utf8)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotAMessage> {
    let (bytes, after) = rest.split_first_chunk().ok_or(NotAMessage::Truncated)?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_the_format_that_others_read() {
        let json = json!({"a": [1, -1, 300, -300, 1.5, true, null], "b": {"c": "é"}}).to_string();
        assert_eq!(
            from_json(json.as_bytes()),
            &b"\x82\xa1a\x97\x01\xff\xcd\x01\x2c\xd1\xfe\xd4\xcb\x3f\xf8\0\0\0\0\0\0\xc3\xc0\xa1b\x81\xa1c\xa2\xc3\xa9"[..]
        );
        assert_eq!(to_json(b"\xca\x3f\x80\0\0").unwrap(), "1.0");
        assert_eq!([array_header(2), array_header(300)].concat(), b"\x92\xdc\x01\x2c");
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        use NotAMessage::*;
        let deep = [vec![0x91; 128], vec![0xc0]].concat();
        let cases: [(&[u8], NotAMessage); 11] = [
            (b"", Truncated),
            (b"\x92\x01", Truncated),
            (b"\xd9\x05abc", Truncated),
            (b"\xdf\xff\xff\xff\xff", Truncated),
            (b"\xc0\xc0", Trailing),
            (b"\xc4\x01a", Unsupported("binary data")),
            (b"\xd4\x01a", Unsupported("an extension type")),
            (b"\xcb\x7f\xf8\0\0\0\0\0\0", Unsupported("a number that is not finite")),
            (b"\x81\x01\x01", Key),
            (b"\xa1\xff", Utf8),
            (&deep, TooDeep),
        ];
        for (bytes, error) in cases {
            assert_eq!(to_json(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert!(to_json(&deep[1..]).is_ok());
    }

    #[test]
    fn no_key_has_a_meaning() {
        let json = r#"{"$serde_json::private::RawValue":"{\"x\":1}"}"#;
        assert_eq!(to_json(&from_json(json.as_bytes())).unwrap(), json);
    }

    #[test]
    fn what_was_taken_once_is_sent_however_deep_it_is() {
        let nested = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        for depth in [100, 127, 130] {
            let message = format!(r#"{{"type":"E","payload":{}}}"#, nested(depth));
            let packed = from_json(message.as_bytes());
            assert_eq!((packed[0], packed.len()), (0x82, 1 + 5 + 2 + 8 + depth + 1), "{depth}");
        }
    }

    #[test]
    fn the_text_grows_no_more_than_tenfold() {
        for some in
            [&b"\x01"[..], b"\xc0", b"\xc2", b"\xe0", b"\xa1\x01", b"\x81\xa0\xc0", b"\xca\x00\x00\x00\x01"]
        {
            let bytes = [&b"\xdd\0\0\x03\xe8"[..], &some.repeat(1000)].concat();
            let text = to_json(&bytes).unwrap();
            assert!(text.len() < 10 * bytes.len(), "{some:?}: {}", text.len());
            assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
        assert_eq!(to_json(b"\x82\xa1a\x01\xa1a\x02").unwrap(), r#"{"a":1,"a":2}"#);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                prop::collection::hash_map(".{0,10}", inner, 0..20)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value()) {
            let json = value.to_string();
            prop_assert_eq!(to_json(&from_json(json.as_bytes())), Ok(json));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = to_json(&bytes);
        }
    }
}
