//! Close codes: why the server ends a connection, and what that means to the client.

use std::time::Duration;

/// Why the server closes a WebSocket. RFC 6455 section 7.4 gives 4000 to 4999 to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// Repeated misuse of the protocol, or an unsupported subprotocol.
    Misuse,
    /// The token is missing, malformed, expired or not for us.
    Unauthorized,
    /// The rights were taken away.
    Revoked,
    /// A message over the limit.
    TooLarge,
    /// No sign of life, or no progress in reading.
    Dead,
    /// Too many connections of one user.
    TooMany,
    /// The same device has taken the place with a new connection.
    Replaced,
    /// An operator has ended the connections of the user.
    Disconnected,
    /// The node stops; others serve on.
    Restart,
    /// The node or its store can take no more just now.
    Overloaded,
}

impl Close {
    /// Every way to close, for tables and their tests.
    pub const ALL: [Self; 10] = [
        Self::Misuse,
        Self::Unauthorized,
        Self::Revoked,
        Self::TooLarge,
        Self::Dead,
        Self::Replaced,
        Self::Disconnected,
        Self::TooMany,
        Self::Restart,
        Self::Overloaded,
    ];

    /// The code on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Misuse => 4400,
            Self::Unauthorized => 4401,
            Self::Revoked => 4403,
            Self::TooLarge => 1009,
            Self::Dead => 4408,
            Self::Replaced => 4409,
            Self::Disconnected => 4410,
            Self::TooMany => 4429,
            Self::Restart => 1012,
            Self::Overloaded => 1013,
        }
    }

    /// Whether a client should come back as it is, with backoff and jitter. Otherwise something has
    /// to change first: its token, or its code.
    pub fn come_back(self) -> bool {
        match self {
            Self::Misuse
            | Self::Unauthorized
            | Self::Revoked
            | Self::TooLarge
            | Self::Replaced
            | Self::Disconnected => false,
            Self::Dead | Self::TooMany | Self::Restart | Self::Overloaded => true,
        }
    }

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Misuse => "misuse",
            Self::Unauthorized => "unauthorized",
            Self::Revoked => "revoked",
            Self::TooLarge => "too_large",
            Self::Dead => "dead",
            Self::Replaced => "replaced",
            Self::Disconnected => "disconnected",
            Self::TooMany => "too_many",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
        }
    }
}

/// How long the server waits for the other side's close frame before it drops the connection.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(2);
