//! Entity tags of drafts, and the conditions that name them (RFC 9110 sections 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName};
use common::Version;

use super::problem::Problem;

/// The end of the tag of a compressed answer: a strong tag is one of the bytes, coding included.
pub(super) const COMPRESSED: &str = "-gzip";

/// The tag of a draft's version.
pub(super) fn of(version: Version) -> String {
    format!("\"{version}\"")
}

/// The tag of the same version, compressed. `None` for weak tags, which no coding changes.
pub(super) fn compressed(tag: &str) -> Option<String> {
    Some(format!("\"{}{COMPRESSED}\"", tag.strip_prefix('"')?.strip_suffix('"')?))
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// `*`: whatever exists.
    Any,
    /// These tags.
    Tags(Vec<Tag>),
}

/// One entity tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    weak: bool,
    /// What stands between the quotes; opaque to everybody but us, who have written it.
    opaque: String,
}

impl Tag {
    /// The version whose tag this is. Tags are compared as text: `"03"` is not the tag of version 3.
    fn version(&self) -> Option<Version> {
        let digits = self.uncompressed();
        let version = digits.parse().ok().map(Version)?;
        (version.to_string() == digits).then_some(version)
    }

    /// What stands in the tag of the same answer without a coding.
    fn uncompressed(&self) -> &str {
        self.opaque.strip_suffix(COMPRESSED).unwrap_or(&self.opaque)
    }

    /// The tag as a header field has it.
    fn text(&self) -> String {
        format!("\"{}\"", self.opaque)
    }
}

impl Condition {
    /// Reads a condition, whose tags may stand in several fields of the same name.
    ///
    /// # Errors
    /// When it is neither `*` nor a list of entity tags.
    pub(super) fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let fields: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        if fields.is_empty() {
            return Ok(None);
        }
        parse(&fields.join(&b',')).map(Some).ok_or_else(|| {
            Problem::bad_request(format!("{name} must be * or a list of entity tags, such as \"3\""))
        })
    }

    /// The versions that it names by strong tags: those that `If-Match` compares with. `None` for any.
    pub(super) fn strong_versions(&self) -> Option<Vec<Version>> {
        match self {
            Self::Any => None,
            Self::Tags(tags) => Some(tags.iter().filter(|tag| !tag.weak).filter_map(Tag::version).collect()),
        }
    }

    /// Whether it names the version by a tag of any strength, as `If-None-Match` compares.
    pub(super) fn names(&self, version: Version) -> bool {
        self.naming(&version.to_string()).is_some()
    }

    /// The tag by which it names what has this text in its own tag, of any strength and coding; that tag for `*`.
    pub(super) fn naming(&self, opaque: &str) -> Option<String> {
        match self {
            Self::Any => Some(format!("\"{opaque}\"")),
            Self::Tags(tags) => tags.iter().find(|tag| tag.uncompressed() == opaque).map(Tag::text),
        }
    }
}

fn parse(mut text: &[u8]) -> Option<Condition> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if text.trim_ascii() == b"*" {
        return Some(Condition::Any);
    }
    let mut tags = Vec::new();
    // Empty elements of a list mean nothing (RFC 9110 section 5.6.1.2).
    while let Some(start) = text.iter().position(|byte| !is_blank(byte) && *byte != b',') {
        let (tag, rest) = tag(&text[start..])?;
        tags.push(tag);
        let end = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
        text = &rest[end..];
        if !text.is_empty() && text[0] != b',' {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Condition::Tags(tags))
}

/// The tag at the beginning of the text, and what comes behind it.
fn tag(text: &[u8]) -> Option<(Tag, &[u8])> {
    let (weak, text) = text.strip_prefix(b"W/").map_or((false, text), |text| (true, text));
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let opaque = &text[..end];
    let valid = opaque.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..));
    let tag = Tag { weak, opaque: String::from_utf8_lossy(opaque).into_owned() };
    valid.then_some((tag, &text[end + 1..]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tag(weak: bool, opaque: &str) -> Tag {
        Tag { weak, opaque: opaque.to_owned() }
    }

    #[test]
    fn conditions_are_a_star_or_tags() {
        assert_eq!(parse(b" * "), Some(Condition::Any));
        let tags = [tag(false, "3"), tag(true, "a,b"), tag(false, "")];
        assert_eq!(parse(b",\"3\" ,, W/\"a,b\",\t\"\","), Some(Condition::Tags(tags.into())));
        for malformed in
            ["", ",", "3", "*,*", "\"3\", *", "w/\"3\"", "\"3", "\"3\"\"4\"", "\"3\" x", "\"a b\""]
        {
            assert_eq!(parse(malformed.as_bytes()), None, "{malformed:?} was taken");
        }
    }

    #[test]
    fn tags_name_versions_by_their_very_text() {
        assert_eq!(tag(false, "3").version(), Some(Version(3)));
        assert_eq!(tag(false, "3-gzip").version(), Some(Version(3)));
        for other in ["03", "+3", "", "x", "3-br", "-gzip", "3-gzip-gzip", "18446744073709551616"] {
            assert_eq!(tag(false, other).version(), None, "{other:?} was taken for a version");
        }
        let condition = parse(b"W/\"1\", \"2\", \"x\"").unwrap();
        assert_eq!(condition.strong_versions(), Some(vec![Version(2)]));
        assert!(condition.names(Version(1)) && !condition.names(Version(3)));
        assert_eq!(compressed("\"3\"").as_deref(), Some("\"3-gzip\""));
        assert_eq!(compressed("W/\"3\""), None);
    }
}
