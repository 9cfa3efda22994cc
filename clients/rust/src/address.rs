//! The address of the WebSocket.

use http::Uri;

use crate::error::ConnectError;

/// Where a node takes WebSockets when an address has no path.
const PATH: &str = "/ws/realtime";

/// The URL of the WebSocket for what an application gives: `ws`, `wss`, `http` or `https`; without a path, the
/// usual one.
pub(crate) fn websocket_url(given: &str) -> Result<Uri, ConnectError> {
    let wrong = |reason: String| ConnectError::Address { url: given.to_owned(), reason };
    let uri: Uri = given.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    let scheme = match uri.scheme_str() {
        Some("ws" | "http") => "ws",
        Some("wss" | "https") if cfg!(feature = "tls") => "wss",
        Some("wss" | "https") => return Err(wrong("this build has no TLS (feature `tls`)".to_owned())),
        _ => return Err(wrong("it begins with none of ws://, wss://, http:// and https://".to_owned())),
    };
    let authority = uri.authority().ok_or_else(|| wrong("it names no host".to_owned()))?;
    if uri.query().is_some() {
        return Err(wrong("it must have no query, which is the client's".to_owned()));
    }
    let path = if matches!(uri.path(), "" | "/") { PATH } else { uri.path() };
    let built = Uri::builder().scheme(scheme).authority(authority.as_str()).path_and_query(path).build();
    built.map_err(|error| wrong(error.to_string()))
}

/// The URL with parameters.
pub(crate) fn with_query(url: &Uri, query: &[(&'static str, String)]) -> String {
    let pairs = query.iter().map(|(name, value)| format!("{name}={}", escape(value)));
    format!("{url}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Percent-encodes everything but the characters that no URL gives a meaning (RFC 3986, section 2.3).
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            // Writing to a string does not fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_scheme_and_path_of_the_websocket() {
        let url = |given| websocket_url(given).map(|url| url.to_string()).ok();
        assert_eq!(url("http://localhost:8080").as_deref(), Some("ws://localhost:8080/ws/realtime"));
        assert_eq!(url("ws://h/ws/realtime").as_deref(), Some("ws://h/ws/realtime"));
        assert_eq!(url("http://[::1]:80/live/").as_deref(), Some("ws://[::1]:80/live/"));
        for wrong in ["", "localhost", "ftp://h", "http://", "http://h/?a=b", "http://h /"] {
            assert_eq!(url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parameters_are_escaped() {
        let url = Uri::from_static("ws://h/p");
        let query = [("device", "é &+".to_owned()), ("cursor", "7f3a:42".to_owned())];
        assert_eq!(with_query(&url, &query), "ws://h/p?device=%C3%A9%20%26%2B&cursor=7f3a%3A42");
    }
}
