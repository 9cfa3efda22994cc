//! The closed set of error codes, and what follows from each.

use serde::{Deserialize, Serialize};

/// What went wrong, as clients are told, over the socket and over HTTP alike. A new code does not
/// compile until each of its consequences is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The message is malformed. Repeating it unchanged is pointless.
    BadRequest,
    /// No valid token.
    Unauthorized,
    /// A valid token without the right.
    Forbidden,
    /// There is no such draft, or no longer.
    NotFound,
    /// The change meets another one made since its base. Nothing was changed.
    Conflict,
    /// Over a size limit.
    TooLarge,
    /// The user has all connections allowed, and asks for one more event stream.
    RateLimited,
    /// The store is down or full. Nothing was acknowledged: repeat it with the same `id`.
    Unavailable,
}

impl Code {
    /// Every code, for tables and their tests.
    pub const ALL: [Self; 8] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Unavailable,
    ];

    /// The code on the wire, which is the metric label too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }

    /// The HTTP status (RFC 9110 section 15, RFC 6585 section 4).
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_label() {
        for code in Code::ALL {
            let wire = serde_json::to_value(code).expect("codes are plain strings");
            assert_eq!(wire, code.as_str());
        }
    }
}
