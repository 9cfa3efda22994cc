//! How a client connects, and how a connection has ended.

use std::time::Duration;

use tokio_tungstenite::Connector;

use crate::{backoff::Backoff, error::ConnectError, token::TokenSource};

/// How a client connects.
pub(crate) struct Settings {
    pub(crate) url: http::Uri,
    pub(crate) connector: Connector,
    pub(crate) token: TokenSource,
    pub(crate) backoff: Backoff,
    /// A connection that is silent for half of this is asked for a sign of life, and given up after all of it.
    pub(crate) silence_max: Duration,
    /// The pause before what was refused for the moment is sent again grows from the first to the second.
    pub(crate) retry_pause: (Duration, Duration),
}

/// How a connection has ended.
#[derive(Debug)]
pub(super) enum End {
    /// The node stops and has named the time to come back, which is now.
    Moved,
    /// The client was closed.
    Closed,
    /// It broke, or none could be had.
    Broken {
        error: ConnectError,
        /// The token that it began with.
        token: Option<String>,
    },
}
