//! Secrets, and the passwords inside URLs: no log and no error shows them.

use std::fmt;

use reqwest::Url;

/// The shortest secret that signs tokens, in bytes: as long as the hash of HS256, which RFC 7518 section 3.2
/// demands.
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever signs or connects with it. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Returns a URL without its password and without its query, which may hold one too. A text that is no URL is
/// not shown at all.
pub(crate) fn redacted(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "(not a URL)".to_owned() };
    // `set_password` fails only on a URL without a host, which has no password either.
    if url.password().is_some() {
        let _ = url.set_password(Some("***"));
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn a_url_shows_without_its_secrets() {
        for (url, shown) in [
            ("postgres://app:hunter2@db:5432/draftwire", "postgres://app:***@db:5432/draftwire"),
            ("postgres://app@db/draftwire", "postgres://app@db/draftwire"),
            ("postgres://db/x?user=app&password=hunter2", "postgres://db/x?***"),
            ("postgres:///x?host=/run&password=hunter2", "postgres:///x?***"),
            ("rediss://:hunter2@redis:6380/1", "rediss://:***@redis:6380/1"),
            ("redis://redis/1#hunter2", "redis://redis/1"),
            ("postgres://app:hunter2@db:port/x", "(not a URL)"),
            ("hunter2", "(not a URL)"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
