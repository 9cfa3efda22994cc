//! The path of a claim in a token.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::{Map, Value};

/// The path of a claim: its name, or the names of the objects around it and its own, separated by dots
/// (`realm_access.roles`). A claim whose name is the whole text wins, since some names are URLs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Arc<str>);

impl ClaimPath {
    /// The longest path that is accepted, in bytes: refusals quote it.
    pub const BYTES_MAX: usize = 64;

    /// Returns the path of a claim at the top of a token. The name is not checked.
    pub(super) fn named(name: &'static str) -> Self {
        Self(name.into())
    }

    /// Returns the text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the claim if the token has it; `null` counts as missing.
    pub(super) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        fn find<'a>(object: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
            present(object, path).or_else(|| {
                path.match_indices('.').find_map(|(dot, _)| {
                    let inner = object.get(&path[..dot])?.as_object()?;
                    find(inner, &path[dot + 1..])
                })
            })
        }
        find(claims, &self.0)
    }
}

impl FromStr for ClaimPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = !text.is_empty()
            && text.len() <= Self::BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !text.starts_with('.')
            && !text.ends_with('.');
        let rule = "give the name of a claim, or a path to it such as realm_access.roles, of up to 64 bytes";
        valid.then(|| Self(text.into())).ok_or(rule)
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the claim of this name; `null` counts as missing.
pub(super) fn present<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}
