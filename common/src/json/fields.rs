//! Reading the objects of the protocol, field by field.

use std::borrow::Cow;

use super::{
    Invalid, Number, Object,
    limits::DEPTH_MAX,
    reader::{Check, Reader, unescaped},
};

/// What can be the value of a field.
pub trait Field: Sized {
    /// Reads it from its JSON text, which is known to be sound and to nest no deeper than it may.
    ///
    /// # Errors
    /// When the text says something else.
    fn read(text: &str) -> Result<Self, Invalid>;
}

/// The fields of an object, not yet read.
pub struct Fields<'a> {
    found: Vec<(&'static str, &'a str)>,
}

impl<'a> Fields<'a> {
    /// Reads an object that has only fields of these names, each at most once, with values that nest no deeper
    /// than `levels`.
    ///
    /// # Errors
    /// When the text is anything else, an array in the order of the fields included.
    pub fn of(text: &'a str, names: &[&'static str], levels: usize) -> Result<Self, Invalid> {
        let mut reader = Reader::new(text)?;
        if !text.trim_ascii_start().starts_with('{') {
            Reader::whole::<Check>(text, levels)?;
            return Err(Invalid::not_a("an object", kind(text)));
        }
        let mut found: Vec<(&'static str, &'a str)> = Vec::with_capacity(names.len());
        reader.members(|reader, raw| {
            let name = unescaped(raw);
            let Some(known) = names.iter().find(|known| **known == name) else {
                return Err(Invalid::new(format!("has no field {}", crate::text::quoted(&name))));
            };
            if found.iter().any(|(before, _)| before == known) {
                return Err(Invalid::new(format!("has the field \"{known}\" twice")));
            }
            found.push((known, reader.raw(levels).map_err(|error| error.within(known))?));
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { found })
    }

    /// A field that may be missing, or null.
    ///
    /// # Errors
    /// When its value is of another type.
    pub fn optional<T: Field>(&self, name: &'static str) -> Result<Option<T>, Invalid> {
        self.raw(name).filter(|text| *text != "null").map(|text| read(name, text)).transpose()
    }

    /// A field that has to be there.
    ///
    /// # Errors
    /// When it is missing, or its value is of another type.
    pub fn required<T: Field>(&self, name: &'static str) -> Result<T, Invalid> {
        read(name, self.raw(name).ok_or_else(|| Invalid::new("is missing").within(name))?)
    }

    /// The text of a field, if it is there.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.found.iter().find(|(found, _)| *found == name).map(|(_, text)| *text)
    }
}

fn read<T: Field>(name: &str, text: &str) -> Result<T, Invalid> {
    T::read(text).map_err(|error| error.within(name))
}

/// The items of an array, as they are written.
///
/// # Errors
/// When the text is something else, or an item nests deeper than `levels`.
pub fn elements(text: &str, levels: usize) -> Result<Vec<&str>, Invalid> {
    let mut reader = Reader::new(text)?;
    if !text.trim_ascii_start().starts_with('[') {
        return Err(Invalid::not_a("an array", kind(text)));
    }
    let mut items = Vec::new();
    reader.items(|reader, index| {
        items.push(reader.raw(levels).map_err(|error| error.at(index))?);
        Ok(())
    })?;
    reader.end()?;
    Ok(items)
}

/// The text of a string.
///
/// # Errors
/// When the value is something else.
pub fn text(json: &str) -> Result<Cow<'_, str>, Invalid> {
    let raw = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    raw.map(unescaped).ok_or_else(|| Invalid::not_a("a string", kind(json)))
}

/// What a sound value is, with an article: its first character tells.
fn kind(text: &str) -> &'static str {
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

impl Field for String {
    fn read(json: &str) -> Result<Self, Invalid> {
        text(json).map(Cow::into_owned)
    }
}

impl Field for bool {
    fn read(json: &str) -> Result<Self, Invalid> {
        match json {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(Invalid::not_a("true or false", kind(other))),
        }
    }
}

/// A number is its value: `3.0` is as whole as `3`, and what some languages write for it in MessagePack.
impl Field for u64 {
    fn read(json: &str) -> Result<Self, Invalid> {
        let wanted = "a whole number of at most 64 bits, and not negative";
        match kind(json) {
            "a number" => Number::new(json).whole().ok_or_else(|| Invalid::new(format!("must be {wanted}"))),
            other => Err(Invalid::not_a("a whole number", other)),
        }
    }
}

impl Field for u32 {
    fn read(json: &str) -> Result<Self, Invalid> {
        u64::read(json).map(|number| Self::try_from(number).unwrap_or(Self::MAX))
    }
}

impl Field for Object {
    fn read(json: &str) -> Result<Self, Invalid> {
        super::object(json)
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(json: &str) -> Result<Self, Invalid> {
        let items = elements(json, DEPTH_MAX)?;
        items.iter().enumerate().map(|(index, item)| T::read(item).map_err(|error| error.at(index))).collect()
    }
}
