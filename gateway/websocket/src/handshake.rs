//! The opening handshake, from the server's side (RFC 6455 section 4.2). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use sha1::{Digest, Sha1};

use crate::Deflate;

/// What a key holds once it is decoded, in bytes.
const KEY_BYTES: usize = 16;

/// Appended to a key before it is hashed (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's handshake, and what is answered.
#[derive(Debug)]
pub struct Handshake {
    accept: HeaderValue,
    deflate: Deflate,
}

impl Handshake {
    /// Reads a request. `None`: it is no WebSocket handshake, or one of a version that we do not have
    /// (the answer to both is 426 with `Sec-WebSocket-Version: 13`).
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let headers = request.headers();
        let handshake = request.method() == Method::GET
            && request.version() >= Version::HTTP_11
            && says(headers, &header::CONNECTION, "upgrade")
            && says(headers, &header::UPGRADE, "websocket")
            && only(headers, &header::SEC_WEBSOCKET_VERSION)? == "13";
        let key = only(headers, &header::SEC_WEBSOCKET_KEY)?;
        if !handshake || STANDARD.decode(key).ok()?.len() != KEY_BYTES {
            return None;
        }
        let accept = HeaderValue::try_from(accept_key(key)).ok()?;
        Some(Self { accept, deflate: Deflate::negotiate(headers) })
    }

    /// What is agreed about compression.
    pub fn deflate(&self) -> Deflate {
        self.deflate
    }

    /// Without compression, whatever the client offers.
    pub fn without_deflate(self) -> Self {
        Self { deflate: Deflate::OFF, ..self }
    }

    /// Adds the headers of a 101 (RFC 6455 section 4.2.2). The subprotocol is the caller's.
    pub fn answer(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(extensions) = self.deflate.header() {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
    }
}

/// Returns the value of `Sec-WebSocket-Accept` for a client's key (RFC 6455 section 4.2.2).
pub(crate) fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Whether a header that lists words has this one.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
}

/// The value of a header that must not be repeated (RFC 6455 section 11.3).
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    values.next().is_none().then_some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The request of RFC 6455 section 1.3, with some headers changed; an empty one is left out.
    fn request(changes: &[(&'static str, &str)]) -> Request<()> {
        let mut headers = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        .to_vec();
        headers.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        let mut request = Request::builder().uri("/chat");
        for (name, value) in headers.iter().chain(changes).filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn the_handshake_of_the_rfc_is_answered() {
        let handshake = Handshake::of(&request(&[])).unwrap();
        let mut answer = HeaderMap::new();
        handshake.answer(&mut answer);
        assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            (&answer["connection"], &answer["upgrade"]),
            (&"Upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        assert!(!answer.contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn compression_is_answered_unless_it_is_not_wanted() {
        let offers = request(&[("sec-websocket-extensions", "permessage-deflate")]);
        let handshake = Handshake::of(&offers).unwrap();
        assert!(handshake.deflate().is_on());
        let mut answer = HeaderMap::new();
        handshake.answer(&mut answer);
        assert_eq!(answer.get("sec-websocket-extensions"), handshake.deflate().header().as_ref());
        assert!(!handshake.without_deflate().deflate().is_on());
    }

    #[test]
    fn anything_else_is_no_handshake() {
        for change in [
            ("connection", "close"),
            ("connection", ""),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", ""),
            ("sec-websocket-key", ""),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "c2hvcnQ="),
        ] {
            assert!(Handshake::of(&request(&[change])).is_none(), "{change:?}");
        }
        let twice = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="); 2];
        assert!(Handshake::of(&request(&twice)).is_none());
        let mut post = request(&[]);
        *post.method_mut() = Method::POST;
        assert!(Handshake::of(&post).is_none());
        let mut old = request(&[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(Handshake::of(&old).is_none());
    }
}
