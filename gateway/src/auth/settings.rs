//! What an operator sets about tokens, read by `config`.

use std::{fmt, io, path::PathBuf};

use reqwest::Url;

use super::{
    Rules, generated_secret,
    key::Key,
    secret::{Secret, redacted},
};

/// How tokens are verified.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The keys that signatures are checked with.
    pub keys: KeySource,
    /// The claims that a token must have.
    pub rules: Rules,
}

/// Where the keys come from that signatures are checked with. The kind of key fixes the algorithm.
#[derive(Clone)]
pub enum KeySource {
    /// A shared secret: HS256.
    Secret(Secret),
    /// A public key: RS256, ES256 or EdDSA.
    PublicKey(Key),
    /// Public keys that the issuer publishes.
    Jwks(Url),
    /// A secret that is made at the first start and kept in this folder, beside the embedded store.
    Generated {
        /// The folder.
        dir: PathBuf,
    },
}

impl KeySource {
    /// Returns the secret that this node may sign tokens with: the configured one, or the one beside the
    /// embedded store, which is made if it is missing. `None` where somebody else signs and this node holds
    /// public keys only.
    ///
    /// # Errors
    /// When the file can be neither read nor made.
    pub(crate) fn signing_secret(&self) -> io::Result<Option<Secret>> {
        match self {
            Self::Secret(secret) => Ok(Some(secret.clone())),
            Self::Generated { dir } => generated_secret::load_or_create(dir).map(Some),
            Self::PublicKey(_) | Self::Jwks(_) => Ok(None),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(secret) => secret.fmt(f),
            Self::PublicKey(key) => key.fmt(f),
            // Its query may hold a key of its own.
            Self::Jwks(url) => write!(f, "Jwks({})", redacted(url.as_str())),
            Self::Generated { dir } => write!(f, "Generated({})", dir.display()),
        }
    }
}
