//! JSON as clients write it, read by rules of our own.
//!
//! `serde_json` alters what it reads into its own values: numbers become doubles, and some keys have a private
//! meaning. Its derived readers take an array for any object, and speak of Rust when they refuse. What clients
//! send is stored and sent on, so it is read here: a value keeps the text of its numbers, an object is an object,
//! and a refusal names the field.
//!
//! The grammar is that of RFC 8259, in one place: what has been read here can be read by everybody.

mod fields;
mod invalid;
mod limits;
mod number;
mod reader;
#[cfg(test)]
mod tests;
mod value;

pub use self::{
    fields::{Field, Fields, elements, text},
    invalid::Invalid,
    limits::DEPTH_MAX,
    number::Number,
    value::{Object, Value, canonical, weight},
};
use self::{
    limits::OWN_DEPTH_MAX,
    reader::{Check, Reader},
    value::Build,
};

/// Reads a text of the node's own, such as one that was taken before.
///
/// # Errors
/// When it is not JSON.
pub fn parse(text: &str) -> Result<Value, Invalid> {
    Reader::whole::<Build>(text, OWN_DEPTH_MAX)
}

/// Reads an object of a client, nested no deeper than [`DEPTH_MAX`]. Of repeated keys the last one wins, as in
/// every browser's `JSON.parse`.
///
/// # Errors
/// When it is something else.
pub fn object(text: &str) -> Result<Object, Invalid> {
    an_object(Reader::whole::<Build>(text, DEPTH_MAX)?)
}

/// Reads an object that was taken before, when deeper ones may have been.
///
/// # Errors
/// When it is something else.
pub fn own_object(text: &str) -> Result<Object, Invalid> {
    an_object(parse(text)?)
}

/// Checks that a client's value can be read by everybody who is sent it: nested no deeper than [`DEPTH_MAX`],
/// its strings and numbers sound. Keeps nothing of it in memory.
///
/// # Errors
/// When it cannot.
pub fn check(text: &str) -> Result<(), Invalid> {
    Reader::whole::<Check>(text, DEPTH_MAX)
}

/// The member of an object as it is written, however broken the object is elsewhere.
pub(crate) fn find_member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    Reader::find_member(text, name)
}

fn an_object(value: Value) -> Result<Object, Invalid> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Invalid::not_a("an object", other.kind())),
    }
}
