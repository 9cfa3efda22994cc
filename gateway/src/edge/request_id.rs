//! The name of a request, so that an answer, a line of the log and what a proxy has logged can be put together.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The name of a request. What a proxy or a client has named is kept.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is kept.
const CHARS_MAX: usize = 128;

/// The name of a request, and the trace that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct RequestId {
    id: HeaderValue,
    trace: Option<Box<str>>,
}

impl RequestId {
    /// The one that the request carries if it is well-formed, otherwise a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).filter(|given| is_well_formed(given.as_bytes()));
        let random = || HeaderValue::from_str(&format!("{:016x}", rand::random::<u64>()));
        let id = given.cloned().or_else(|| random().ok());
        let trace = headers.get("traceparent").and_then(|parent| trace_id(parent.to_str().ok()?));
        Self { id: id.unwrap_or(HeaderValue::from_static("-")), trace: trace.map(Into::into) }
    }

    /// As the answer carries it.
    pub(super) fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    pub(crate) fn as_str(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The id of the trace, from `traceparent` (W3C Trace Context); empty without one.
    pub(crate) fn trace(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }
}

/// Letters, digits and a few signs: nothing that could end a line or a field of a log.
fn is_well_formed(id: &[u8]) -> bool {
    let fits = (1..=CHARS_MAX).contains(&id.len());
    fits && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(byte))
}

/// The trace's id of a `traceparent`: version, trace, parent and flags, of lower-case hexadecimal digits.
fn trace_id(parent: &str) -> Option<&str> {
    let mut parts = parent.split('-');
    let is_hex = |part: &&str, len| {
        part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    parts.next().filter(|version| is_hex(version, 2) && *version != "ff")?;
    let trace = parts.next().filter(|trace| is_hex(trace, 32) && trace.bytes().any(|b| b != b'0'))?;
    parts.next().filter(|parent| is_hex(parent, 16))?;
    parts.next().filter(|flags| is_hex(flags, 2))?;
    Some(trace)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_well_formed_id_is_kept_and_any_other_is_replaced() {
        for kept in ["a", "7f3a-01", "Root=1-67891233-abcdef012345678912345678", &"x".repeat(128)] {
            assert_eq!(RequestId::of(&headers("x-request-id", kept)).as_str(), kept);
        }
        for replaced in ["", "a b", "a\"b", "{}", "a,b", &"x".repeat(129)] {
            let id = RequestId::of(&headers("x-request-id", replaced));
            assert!(id.as_str() != replaced && id.as_str().len() == 16, "{replaced}");
        }
        let one = RequestId::of(&HeaderMap::new());
        assert_ne!(one.as_str(), RequestId::of(&HeaderMap::new()).as_str());
    }

    #[test]
    fn the_trace_is_that_of_the_traceparent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |parent: &str| RequestId::of(&headers("traceparent", parent)).trace().to_owned();
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")), trace);
        for wrong in ["", "00", "00-1-2-3", &format!("ff-{trace}-00f067aa0ba902b7-01")] {
            assert_eq!(of(wrong), "", "{wrong}");
        }
        assert_eq!(of(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))), "");
    }
}
