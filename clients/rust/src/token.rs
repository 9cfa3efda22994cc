//! Where tokens come from.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::error::{BoxError, ConnectError};

/// How long a token provider may take before it is asked again.
const TOKEN_WAIT: Duration = Duration::from_secs(15);

/// A token, which is never shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

type Fetch = dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>> + Send + Sync;

/// Where a client has its tokens from.
#[derive(Clone, Default)]
pub(crate) enum TokenSource {
    /// It shows none.
    #[default]
    None,
    /// One, which is not renewed.
    Fixed(String),
    /// Asked for each connection, and when a token ends.
    Provider(Arc<Fetch>),
}

impl TokenSource {
    pub(crate) fn provider<F, Fut>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        Self::Provider(Arc::new(move || Box::pin(provider())))
    }

    /// Whether asking again may give another token.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::Provider(_))
    }

    /// A token; `None` where none is to be shown. A failed provider is never made up for by an old token.
    pub(crate) async fn fetch(&self) -> Result<Option<String>, ConnectError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::Provider(provider) => match timeout(TOKEN_WAIT, provider()).await {
                Ok(token) => token.map(Some).map_err(ConnectError::Token),
                Err(_) => Err(ConnectError::TokenTimeout(TOKEN_WAIT)),
            },
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tokens are secrets.
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed",
            Self::Provider(_) => "Provider",
        })
    }
}
