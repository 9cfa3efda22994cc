//! Why a token is refused, and what follows from each reason.

use common::{Code, close::Close};

use super::claim_path::ClaimPath;

/// Why a token is refused. The text of each is safe to show to the client, says what to mend, and
/// fits the reason of a close frame (123 bytes).
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuthError {
    /// No token at all.
    #[error("a token is required: Authorization: Bearer, subprotocol bearer.<jwt> or ?token=")]
    Missing,
    /// Longer than [`super::TOKEN_BYTES_MAX`]; it is not parsed.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url with JSON in them.
    #[error("the token is not a signed JWT")]
    Malformed,
    /// Its header demands extensions (RFC 7515 section 4.1.11), of which none is known here.
    #[error("the token demands extensions (crit) that this server does not know")]
    UnknownExtension,
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
    /// No `exp`.
    #[error("the token has no expiry (exp)")]
    NoExpiry,
    /// An `exp` that is no date.
    #[error("the token's expiry (exp) is not a number of seconds")]
    BadExpiry,
    /// Its `exp` has passed, and so has the leeway.
    #[error("the token has expired (exp)")]
    Expired,
    /// An `nbf` that is no date.
    #[error("the token's start (nbf) is not a number of seconds")]
    BadNotBefore,
    /// Its `nbf` is in the future, by more than the leeway.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// The claim of the user is missing.
    #[error("the token names no user ({claim})")]
    NoUser {
        /// The path of the claim.
        claim: ClaimPath,
    },
    /// The claim of the user holds something else.
    #[error("the token's user ({claim}) must be {rule}")]
    BadUser {
        /// The path of the claim.
        claim: ClaimPath,
        /// What names a user.
        rule: &'static str,
    },
    /// Rights that are neither text nor a list of texts.
    #[error("the token's rights ({claim}) must be text or a list of texts")]
    BadScope {
        /// The path of the claim.
        claim: ClaimPath,
    },
    /// A token of one topic where a token of a user belongs.
    #[error("the token is for one topic (topic): it goes with SUBSCRIBE, and opens nothing else")]
    OfTopic,
    /// A token without a topic where the token of one topic belongs.
    #[error("the token names no topic (topic)")]
    NoTopic,
    /// A `topic` that is not the name of a topic.
    #[error("the token's topic (topic) must be the name of one topic")]
    BadTopic,
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
    /// Returns the metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::UnknownExtension => "unknown_extension",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::NoExpiry => "no_expiry",
            Self::BadExpiry => "bad_expiry",
            Self::Expired => "expired",
            Self::BadNotBefore => "bad_not_before",
            Self::NotYetValid => "not_yet_valid",
            Self::NoUser { .. } => "no_user",
            Self::BadUser { .. } => "bad_user",
            Self::BadScope { .. } => "bad_scope",
            Self::OfTopic => "of_topic",
            Self::NoTopic => "no_topic",
            Self::BadTopic => "bad_topic",
            Self::WrongAudience => "wrong_audience",
            Self::UnexpectedAudience => "unexpected_audience",
            Self::WrongIssuer => "wrong_issuer",
        }
    }

    /// Returns whether the same token may be accepted later without anybody's doing.
    pub(crate) fn is_retriable(&self) -> bool {
        *self == Self::KeysUnavailable
    }

    /// Returns the error code for the client, over the socket and over HTTP.
    pub fn code(&self) -> Code {
        if self.is_retriable() { Code::Unavailable } else { Code::Unauthorized }
    }

    /// Returns how the client's socket is closed.
    pub fn close(&self) -> Close {
        if self.is_retriable() { Close::Overloaded } else { Close::Unauthorized }
    }
}
