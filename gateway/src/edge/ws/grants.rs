//! Rights that a connection has for single topics, beside those of its token. Pure: the time is an argument.

use std::{collections::BTreeMap, time::Duration};

use common::TopicName;

use crate::auth::{Expiry, TokenState, TopicToken};

/// The topics that are followed by a right of their own: at most `topics_per_connection`.
#[derive(Default)]
pub(super) struct TopicGrants(BTreeMap<TopicName, Grant>);

/// The right to one topic.
pub(super) struct Grant {
    expiry: Expiry,
    may_publish: bool,
}

impl Grant {
    /// The right that a token gives, of whose end the client is warned as of its own token's.
    pub(super) fn of(token: &TopicToken, warning: Duration, now: u64) -> Self {
        Self { expiry: Expiry::within(token.validity, warning, now), may_publish: token.may_publish }
    }
}

impl TopicGrants {
    /// Adds a right, or replaces the one that the topic has.
    pub(super) fn insert(&mut self, topic: TopicName, grant: Grant) {
        self.0.insert(topic, grant);
    }

    pub(super) fn remove(&mut self, topic: &TopicName) {
        self.0.remove(topic);
    }

    /// Returns whether the topic may be followed.
    pub(super) fn may_follow(&self, topic: &TopicName) -> bool {
        self.0.contains_key(topic)
    }

    /// Returns whether the topic may be published to.
    pub(super) fn may_publish(&self, topic: &TopicName) -> bool {
        self.0.get(topic).is_some_and(|grant| grant.may_publish)
    }

    /// Returns after how long to look again; `None` where there is nothing to wait for.
    pub(super) fn wait(&self, now: u64) -> Option<Duration> {
        self.0.values().map(|grant| grant.expiry.wait(now)).min()
    }

    /// Returns the topics whose right ends soon, each once, and those whose right has ended, which they lose.
    pub(super) fn look(&mut self, now: u64) -> Vec<(TopicName, TokenState)> {
        let states = self.0.iter_mut().map(|(topic, grant)| (topic.clone(), grant.expiry.look(now)));
        let changed: Vec<_> = states.filter(|(_, state)| *state != TokenState::Good).collect();
        for (topic, _) in changed.iter().filter(|(_, state)| *state == TokenState::Ended) {
            self.0.remove(topic);
        }
        changed
    }
}
