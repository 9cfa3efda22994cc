//! MessagePack in the place of JSON, for the subprotocol `draftwire.v1.msgpack`: the same messages in
//! other bytes. <https://github.com/msgpack/msgpack/blob/master/spec.md>
//!
//! Whatever the encoding, a message means what its JSON means. So there is one parser, that of the
//! JSON text, and MessagePack is rewritten at the border: what JSON cannot say is refused.

use bytes::Bytes;
use rmp::{Marker, decode, encode};
use serde::Serialize;

use crate::json::{self, Invalid, Value};

/// How deep values may nest in what is read: beyond what any message may, and far within what a stack bears.
const DEPTH_MAX: usize = 127;

/// Rewrites a JSON text that the caller has encoded itself. What is no JSON at all comes out as nil.
///
/// An integer of 64 bits stays one; every other number becomes the nearest double, which is what
/// JavaScript reads from the JSON.
pub fn from_json(text: &[u8]) -> Bytes {
    let read = std::str::from_utf8(text).ok().and_then(|text| json::parse(text).ok());
    debug_assert!(read.is_some() || text.is_empty(), "not JSON: {}", text.escape_ascii());
    let mut out = Vec::with_capacity(text.len());
    write(&mut out, &read.unwrap_or(Value::Null));
    out.into()
}

/// Rewrites a MessagePack message as JSON, as it is read: a value that was built in memory first could
/// take hundreds of times its bytes. The text has at most ten times as many. Keys that a map repeats
/// are repeated in the text.
///
/// # Errors
/// When the bytes are something else, or say what JSON cannot.
pub fn to_json(bytes: &[u8]) -> Result<String, Invalid> {
    let mut rest = bytes;
    let mut out = Vec::with_capacity(bytes.len());
    read(&mut rest, &mut out, DEPTH_MAX)?;
    if !rest.is_empty() {
        return Err(Invalid::syntax("is followed by something else"));
    }
    String::from_utf8(out).map_err(|_| not_utf8())
}

/// The value of a map under a key, as JSON, whatever is wrong with the other values.
pub(crate) fn find_member(bytes: &[u8], name: &str) -> Option<String> {
    let mut rest = bytes;
    let len = match marker(&mut rest).ok()? {
        Marker::FixMap(len) => len.into(),
        Marker::Map16 => u16::from_be_bytes(array(&mut rest).ok()?).into(),
        Marker::Map32 => u32::from_be_bytes(array(&mut rest).ok()?),
        _ => return None,
    };
    for _ in 0..len {
        let mut value = rest;
        skip(&mut value)?;
        let first = marker(&mut rest).ok()?;
        let named = text(&mut rest, first).ok().flatten() == Some(name);
        rest = value;
        skip(&mut value)?;
        if named {
            return to_json(&rest[..rest.len() - value.len()]).ok();
        }
        rest = value;
    }
    None
}

/// Goes behind a value.
fn skip(rest: &mut &[u8]) -> Option<()> {
    let mut values = 1_u64;
    while values > 0 {
        values -= 1;
        let bytes = match marker(rest).ok()? {
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 | Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::FixExt4 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::FixStr(len) => len.into(),
            Marker::Str8 | Marker::Bin8 => u8::from_be_bytes(array(rest).ok()?).into(),
            Marker::Str16 | Marker::Bin16 => u16::from_be_bytes(array(rest).ok()?).into(),
            Marker::Str32 | Marker::Bin32 => u32::from_be_bytes(array(rest).ok()?) as usize,
            Marker::Ext8 => 1 + usize::from(u8::from_be_bytes(array(rest).ok()?)),
            Marker::Ext16 => 1 + usize::from(u16::from_be_bytes(array(rest).ok()?)),
            Marker::Ext32 => 1 + u32::from_be_bytes(array(rest).ok()?) as usize,
            within => {
                // Each takes a byte at least, so this ends however many are promised.
                values += match within {
                    Marker::FixArray(len) => len.into(),
                    Marker::Array16 => u16::from_be_bytes(array(rest).ok()?).into(),
                    Marker::Array32 => u32::from_be_bytes(array(rest).ok()?).into(),
                    Marker::FixMap(len) => 2 * u64::from(len),
                    Marker::Map16 => 2 * u64::from(u16::from_be_bytes(array(rest).ok()?)),
                    Marker::Map32 => 2 * u64::from(u32::from_be_bytes(array(rest).ok()?)),
                    _ => 0,
                };
                0
            }
        };
        *rest = rest.get(bytes..)?;
    }
    Some(())
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
        Value::Number(number) => write_number(out, number.as_str()),
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

fn write_number(out: &mut Vec<u8>, text: &str) {
    if let Ok(value) = text.parse::<u64>() {
        put(encode::write_uint(out, value));
    } else if let (Ok(value), false) = (text.parse::<i64>(), text == "-0") {
        put(encode::write_sint(out, value));
    } else {
        // Integers have no negative zero.
        put(encode::write_f64(out, text.parse().unwrap_or(f64::NAN)));
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

fn read(rest: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Result<(), Invalid> {
    match marker(rest)? {
        Marker::Null => scalar(out, ()),
        Marker::True => scalar(out, true),
        Marker::False => scalar(out, false),
        Marker::FixPos(value) => scalar(out, value),
        Marker::FixNeg(value) => scalar(out, value),
        Marker::U8 => scalar(out, u8::from_be_bytes(array(rest)?)),
        Marker::U16 => scalar(out, u16::from_be_bytes(array(rest)?)),
        Marker::U32 => scalar(out, u32::from_be_bytes(array(rest)?)),
        Marker::U64 => scalar(out, u64::from_be_bytes(array(rest)?)),
        Marker::I8 => scalar(out, i8::from_be_bytes(array(rest)?)),
        Marker::I16 => scalar(out, i16::from_be_bytes(array(rest)?)),
        Marker::I32 => scalar(out, i32::from_be_bytes(array(rest)?)),
        Marker::I64 => scalar(out, i64::from_be_bytes(array(rest)?)),
        Marker::F32 => scalar(out, finite(f32::from_be_bytes(array(rest)?).into())?),
        Marker::F64 => scalar(out, finite(f64::from_be_bytes(array(rest)?))?),
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
            return Err(Invalid::new("is binary data, which JSON lacks: send a string"));
        }
        Marker::Reserved => return Err(Invalid::syntax("is not MessagePack: there is a byte 0xc1")),
        other => match text(rest, other)? {
            Some(text) => scalar(out, text),
            None => return Err(extension(rest, other)),
        },
    }
    Ok(())
}

/// Writes a value that holds no others.
fn scalar(out: &mut Vec<u8>, value: impl Serialize) {
    put(serde_json::to_writer(out, &value));
}

fn finite(value: f64) -> Result<f64, Invalid> {
    if value.is_finite() { Ok(value) } else { Err(Invalid::new("is a number that is not finite")) }
}

/// Says which type of extension a value is of; the best known is -1.
fn extension(rest: &mut &[u8], marker: Marker) -> Invalid {
    let length_bytes = match marker {
        Marker::Ext8 => 1,
        Marker::Ext16 => 2,
        Marker::Ext32 => 4,
        _ => 0,
    };
    match rest.get(length_bytes).map(|kind| kind.cast_signed()) {
        None => truncated(),
        Some(-1) => {
            Invalid::new("is a timestamp of MessagePack, which JSON lacks: send a number or a string")
        }
        Some(kind) => Invalid::new(format!("is of the extension type {kind}, which JSON lacks")),
    }
}

fn truncated() -> Invalid {
    Invalid::syntax("ends too early")
}

fn not_utf8() -> Invalid {
    Invalid::new("is a string that is not UTF-8")
}

/// The length is the sender's word: nothing is reserved for it.
fn items(rest: &mut &[u8], out: &mut Vec<u8>, len: u32, depth: usize) -> Result<(), Invalid> {
    let depth = depth.checked_sub(1).ok_or_else(Invalid::too_deep)?;
    out.push(b'[');
    for index in 0..len {
        if index > 0 {
            out.push(b',');
        }
        read(rest, out, depth).map_err(|error| error.at(index as usize))?;
    }
    out.push(b']');
    Ok(())
}

fn members(rest: &mut &[u8], out: &mut Vec<u8>, len: u32, depth: usize) -> Result<(), Invalid> {
    let depth = depth.checked_sub(1).ok_or_else(Invalid::too_deep)?;
    out.push(b'{');
    for index in 0..len {
        if index > 0 {
            out.push(b',');
        }
        let key = marker(rest)?;
        let name = text(rest, key)?.ok_or_else(|| Invalid::new("has a key that is not a string"))?;
        scalar(out, name);
        out.push(b':');
        read(rest, out, depth).map_err(|error| error.within(name))?;
    }
    out.push(b'}');
    Ok(())
}

fn marker(rest: &mut &[u8]) -> Result<Marker, Invalid> {
    decode::read_marker(rest).map_err(|_| truncated())
}

/// The string that begins with this marker, if one does.
fn text<'a>(rest: &mut &'a [u8], marker: Marker) -> Result<Option<&'a str>, Invalid> {
    let len = match marker {
        Marker::FixStr(len) => len.into(),
        Marker::Str8 => u8::from_be_bytes(array(rest)?).into(),
        Marker::Str16 => u16::from_be_bytes(array(rest)?).into(),
        Marker::Str32 => u32::from_be_bytes(array(rest)?) as usize,
        _ => return Ok(None),
    };
    let (text, after) = rest.split_at_checked(len).ok_or_else(truncated)?;
    *rest = after;
    std::str::from_utf8(text).map(Some).map_err(|_| not_utf8())
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Invalid> {
    let (bytes, after) = rest.split_first_chunk().ok_or_else(truncated)?;
    *rest = after;
    Ok(*bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{array_header, find_member, from_json, to_json};

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
        let deep = [vec![0x91; 128], vec![0xc0]].concat();
        let cases: [(&[u8], &str); 16] = [
            (b"", "the message ends too early"),
            (b"\x92\x01", "the message ends too early"),
            (b"\xd9\x05abc", "the message ends too early"),
            (b"\xdf\xff\xff\xff\xff", "the message ends too early"),
            (b"\xc0\xc0", "the message is followed by something else"),
            (b"\xc1", "the message is not MessagePack: there is a byte 0xc1"),
            (b"\x81\xa1a\x91\xc4\x01a", "a[0] is binary data, which JSON lacks: send a string"),
            (b"\x81\xa1a\xd4\x01a", "a is of the extension type 1, which JSON lacks"),
            (b"\x81\xa1a\xc7\x01\x05a", "a is of the extension type 5, which JSON lacks"),
            (
                b"\x92\xd6\xff\0\0\0\0\x01",
                "[0] is a timestamp of MessagePack, which JSON lacks: send a number or a string",
            ),
            (
                b"\x81\xa1a\xd7\xff\0\0\0\0\0\0\0\0",
                "a is a timestamp of MessagePack, which JSON lacks: send a number or a string",
            ),
            (
                b"\x81\xa1a\xc7\x0c\xff",
                "a is a timestamp of MessagePack, which JSON lacks: send a number or a string",
            ),
            (b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0", "a is a number that is not finite"),
            (b"\x81\xa1a\x81\x01\x01", "a has a key that is not a string"),
            (b"\x81\xa1a\xa1\xff", "a is a string that is not UTF-8"),
            (b"\x81\xa1a\xc7", "the message ends too early"),
        ];
        for (bytes, error) in cases {
            let refused = to_json(bytes).expect_err(error).sentence("the message");
            assert_eq!(refused, error, "{}", bytes.escape_ascii());
        }
        assert!(to_json(&deep).unwrap_err().to_string().contains("nested deeper than 100 levels"));
        assert!(to_json(&deep[1..]).is_ok());
    }

    #[test]
    fn a_member_is_found_among_what_cannot_be_read() {
        let before = b"\x83\xa4type\xd6\xff\0\0\0\x01\x05\x93\xc4\x02ab\x81\xc0\xc7\x01\x02a\xdc\0\x01\xca\0\0\0\0\xa2id\xa2c1";
        assert_eq!(find_member(before, "id").as_deref(), Some("\"c1\""));
        assert_eq!(find_member(before, "payload"), None);
        assert_eq!(find_member(b"\x91\xa2id", "id"), None);
        assert_eq!(find_member(b"\xdf\xff\xff\xff\xff\xa1a\xdd\xff\xff\xff\xff", "id"), None);
    }

    #[test]
    fn numbers_take_the_type_that_holds_them() {
        for (text, bytes, back) in [
            ("18446744073709551615", &b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"[..], "18446744073709551615"),
            ("-9223372036854775808", b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808"),
            ("0", b"\0", "0"),
            ("-0", b"\xcb\x80\0\0\0\0\0\0\0", "-0.0"),
            ("1.0", b"\xcb\x3f\xf0\0\0\0\0\0\0", "1.0"),
            ("18446744073709551616", b"\xcb\x43\xf0\0\0\0\0\0\0", "1.8446744073709552e+19"),
            ("100000000000000000000.01", b"\xcb\x44\x15\xaf\x1d\x78\xb5\x8c\x40", "1e+20"),
            ("1e-400", b"\xcb\0\0\0\0\0\0\0\0", "0.0"),
        ] {
            assert_eq!(from_json(text.as_bytes()), bytes, "{text}");
            assert_eq!(to_json(bytes).unwrap(), back, "{text}");
        }
    }

    #[test]
    fn no_key_has_a_meaning() {
        for json in
            [r#"{"$serde_json::private::RawValue":"{\"x\":1}"}"#, r#"{"$serde_json::private::Number":"1"}"#]
        {
            assert_eq!(to_json(&from_json(json.as_bytes())).unwrap(), json);
        }
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
