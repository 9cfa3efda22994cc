//! `draftwire token`: a token for trying things out, and for scripts.

use std::time::Duration;

use common::{TopicName, UserId};

use crate::auth::{self, mint};

/// What token is asked for.
#[derive(Debug)]
pub struct TokenRequest {
    /// For whom; `None` only for the token of a topic, which is then for whoever has it.
    pub user: Option<UserId>,
    /// The topic, where a token of one topic is asked for.
    pub topic: Option<TopicName>,
    /// The rights, separated by spaces; empty for none.
    pub scope: String,
    /// How long it is valid.
    pub ttl: Duration,
    /// How the server that is to take it is configured.
    pub auth: auth::Settings,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// This server takes the tokens of somebody else.
    #[error(
        "tokens for this server are signed by whoever holds the private key: only JWT_SECRET can sign here"
    )]
    PublicKeysOnly,
    /// The secret beside the embedded store can be neither read nor made.
    #[error("the token secret beside the database: {0}")]
    Secret(#[from] std::io::Error),
    /// The library could not sign.
    #[error("the token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

impl TokenRequest {
    /// The token, valid from now on. Makes the secret of an embedded store if it is not there yet.
    ///
    /// # Errors
    /// When there is no secret to sign with.
    pub fn mint(self) -> Result<String, TokenError> {
        let secret = self.auth.keys.signing_secret()?.ok_or(TokenError::PublicKeysOnly)?;
        let grant = mint::Grant { user: self.user, topic: self.topic, scope: self.scope, ttl: self.ttl };
        Ok(mint::mint(&secret, &grant, &self.auth.rules, common::time::unix_ms())?)
    }
}
