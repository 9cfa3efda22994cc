//! Tokens that give rights for one topic, so that joining a room needs no new token for the connection.

use common::{TopicName, UserId};
use serde_json::{Map, Value};

use super::{
    AuthError, Rules,
    claim_path::present,
    claims::{TOPIC_CLAIM, Validity},
};

/// What a verified token of one topic says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicToken {
    /// The topic that may be followed.
    pub(crate) topic: TopicName,
    /// Who may bring it; `None` for whoever has it.
    pub(crate) user: Option<UserId>,
    /// Until when.
    pub(crate) validity: Validity,
    /// Whether the topic may be published to as well.
    pub(crate) may_publish: bool,
}

impl Rules {
    /// Checks the claims of a token of one topic, whose signature is good. `now` is in Unix milliseconds.
    pub(super) fn check_topic(&self, claims: &Map<String, Value>, now: u64) -> Result<TopicToken, AuthError> {
        let validity = self.check_valid(claims, now)?;
        let topic: TopicName = match present(claims, TOPIC_CLAIM) {
            None => return Err(AuthError::NoTopic),
            Some(Value::String(name)) => name.parse().map_err(|_| AuthError::BadTopic)?,
            Some(_) => return Err(AuthError::BadTopic),
        };
        let user = match self.user(claims) {
            Err(AuthError::NoUser { .. }) => None,
            user => Some(user?),
        };
        let may_publish = self.scopes(claims)?.names_for_publishing(&topic);
        Ok(TopicToken { topic, user, validity, may_publish })
    }
}
