//! Why a token is refused, and what follows from each reason.

use common::{Code, close::Close};

/// Why a token is refused. The text of each is safe to show to the client, says what to mend, and
/// fits the reason of a close frame (123 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// No token at all.
    #[error("a token is required: Authorization: Bearer, subprotocol bearer.<jwt> or ?token=")]
    Missing,
    /// Over [`super::TOKEN_BYTES_MAX`]; not looked at.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url with JSON in them, or with critical extensions that nobody knows.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// Signed by another algorithm than the configured key's, or not signed.
    #[error("the token is not signed with the algorithm of the server's key")]
    WrongAlgorithm,
    /// Signed by another key, or altered.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// No configured or published key of the name in its header.
    #[error("the token's key (kid) is not known")]
    UnknownKey,
    /// The published keys cannot be fetched, so nothing can be said of the token. Come back.
    #[error("the keys that verify tokens cannot be fetched just now")]
    KeysUnavailable,
    /// No `exp`, or none that is a number.
    #[error("the token has no expiry (exp)")]
    NoExpiry,
    /// Its `exp` has come.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` has not come.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// No `sub`, or none that is a user id.
    #[error("the token's subject (sub) must be 1 to 255 printable characters without blanks at its ends")]
    BadSubject,
    /// Another `aud`, or none where one is configured.
    #[error("the token is for another audience (aud)")]
    WrongAudience,
    /// An `aud` where none is configured: it was made for somebody else, or the setting is missing.
    #[error("the token names an audience (aud) and this server has none: set JWT_AUDIENCE")]
    UnexpectedAudience,
    /// Another `iss`, or none where one is configured.
    #[error("the token is of another issuer (iss)")]
    WrongIssuer,
}

impl AuthError {
    /// Every reason, for tables and their tests.
    pub const ALL: [Self; 14] = [
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::WrongAlgorithm,
        Self::BadSignature,
        Self::UnknownKey,
        Self::KeysUnavailable,
        Self::NoExpiry,
        Self::Expired,
        Self::NotYetValid,
        Self::BadSubject,
        Self::WrongAudience,
        Self::UnexpectedAudience,
        Self::WrongIssuer,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::BadSubject => "bad_subject",
            Self::WrongAudience => "wrong_audience",
            Self::UnexpectedAudience => "unexpected_audience",
            Self::WrongIssuer => "wrong_issuer",
        }
    }

    /// Whether the same token may be accepted later without anybody's doing.
    pub fn is_retriable(self) -> bool {
        self == Self::KeysUnavailable
    }

    /// What a client is told, over the socket and over HTTP.
    pub fn code(self) -> Code {
        if self.is_retriable() { Code::Unavailable } else { Code::Unauthorized }
    }

    /// How its socket is closed.
    pub fn close(self) -> Close {
        if self.is_retriable() { Close::Overloaded } else { Close::Unauthorized }
    }
}
