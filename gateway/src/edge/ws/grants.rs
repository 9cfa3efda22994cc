//! Rights that a connection has for single topics, beside those of its token. Pure: the time is an argument.

use std::{collections::BTreeMap, time::Duration};

use common::{Code, TopicName};
use tokio::time::Instant;

use crate::{
    auth::{Expiry, TokenState, TopicToken},
    commands::failure::Failure,
};

/// How soon the backend is asked again that has not answered, on average.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The topics that are followed by a right of their own: at most `topics_per_connection`.
#[derive(Default)]
pub(super) struct TopicGrants(BTreeMap<TopicName, Grant>);

/// The right to one topic.
pub(super) enum Grant {
    /// From a token of the topic.
    Token {
        /// When it ends, and whether the client was warned of that.
        expiry: Expiry,
        /// Whether the topic may be published to as well.
        may_publish: bool,
    },
    /// From the application's backend.
    Backend(Asked),
}

/// A yes of the backend.
pub(super) struct Asked {
    /// When to ask again; `None` while that is under way.
    ask_at: Option<Instant>,
    /// Since when it could not be asked again.
    unanswered_since: Option<Instant>,
}

/// What is due of a right.
pub(super) enum Due {
    /// The client is to be told, once, that the token ends after this time.
    Warn(Duration),
    /// The token has ended, and with it the right.
    Ended,
    /// The backend is to be asked again; [`TopicGrants::settle`] takes its answer.
    Ask,
}

impl Grant {
    /// The right that a token gives, of whose end the client is warned as of its own token's.
    pub(super) fn of(token: &TopicToken, warning: Duration, now: u64) -> Self {
        let expiry = Expiry::within(token.validity, warning, now);
        Self::Token { expiry, may_publish: token.may_publish }
    }

    /// The right that the backend has given until then.
    pub(super) fn until(until: Instant) -> Self {
        Self::Backend(Asked { ask_at: Some(until), unanswered_since: None })
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
        matches!(self.0.get(topic), Some(Grant::Token { may_publish: true, .. }))
    }

    /// Returns when to look again; `None` where there is nothing to wait for. `unix_ms` is the wall clock.
    pub(super) fn deadline(&self, now: Instant, unix_ms: u64) -> Option<Instant> {
        let deadlines = self.0.values().filter_map(|grant| match grant {
            Grant::Token { expiry, .. } => Some(now + expiry.wait(unix_ms)),
            Grant::Backend(asked) => asked.ask_at,
        });
        deadlines.min()
    }

    /// Returns what is due, each once. A right that has ended is gone.
    pub(super) fn due(&mut self, now: Instant, unix_ms: u64) -> Vec<(TopicName, Due)> {
        let mut due = Vec::new();
        self.0.retain(|topic, grant| {
            let what = match grant {
                Grant::Token { expiry, .. } => match expiry.look(unix_ms) {
                    TokenState::Good => None,
                    TokenState::Ending(left) => Some(Due::Warn(left)),
                    TokenState::Ended => Some(Due::Ended),
                },
                Grant::Backend(asked) => asked.ask_at.take_if(|ask_at| now >= *ask_at).map(|_| Due::Ask),
            };
            let ended = matches!(what, Some(Due::Ended));
            due.extend(what.map(|what| (topic.clone(), what)));
            !ended
        });
        due
    }

    /// Has the backend asked again about all topics that it has allowed: the client's token is another one now.
    pub(super) fn ask_again(&mut self, now: Instant) {
        for grant in self.0.values_mut() {
            if let Grant::Backend(Asked { ask_at: Some(ask_at), .. }) = grant {
                *ask_at = now;
            }
        }
    }

    /// Takes the answer of the backend to another question about a topic: until when its yes holds. Without an
    /// answer the right stays for `grace`. Returns why the right is gone, if it is.
    pub(super) fn settle(
        &mut self,
        topic: &TopicName,
        answer: Result<Instant, Failure>,
        grace: Duration,
        now: Instant,
    ) -> Option<Failure> {
        // Gone when the topic was left, and of another kind when a token has come in the meantime.
        let Some(Grant::Backend(asked)) = self.0.get_mut(topic) else { return None };
        let failure = match answer {
            Ok(until) => {
                *asked = Asked { ask_at: Some(until), unanswered_since: None };
                return None;
            }
            Err(failure) => failure,
        };
        if failure.code == Code::Unavailable {
            let left = (*asked.unanswered_since.get_or_insert(now) + grace).saturating_duration_since(now);
            if !left.is_zero() {
                // Many connections are in this together: they ask one by one.
                let pause = ASK_AGAIN.mul_f64(rand::random_range(0.5..1.5));
                asked.ask_at = Some(now + pause.min(left));
                return None;
            }
        }
        self.0.remove(topic);
        Some(failure)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn unavailable() -> Result<Instant, Failure> {
        Err(Failure::new(Code::Unavailable, "down"))
    }

    #[test]
    fn a_yes_holds_on_while_the_backend_is_down_and_up_to_a_bound() {
        let (start, topic): (_, TopicName) = (Instant::now(), "room".parse().unwrap());
        let mut grants = TopicGrants::default();
        grants.insert(topic.clone(), Grant::until(start));
        let mut now = start;
        let mut asked = 0;
        let lost = loop {
            assert!(matches!(grants.due(now, 0)[..], [(_, Due::Ask)]));
            assert!(grants.due(now, 0).is_empty(), "it is being asked");
            asked += 1;
            if let Some(failure) = grants.settle(&topic, unavailable(), GRACE, now) {
                break failure;
            }
            assert!(grants.may_follow(&topic));
            now = grants.deadline(now, 0).unwrap();
        };
        assert_eq!((lost.code, now), (Code::Unavailable, start + GRACE));
        assert!((8..=25).contains(&asked), "{asked}");
        assert!(!grants.may_follow(&topic));
    }

    #[test]
    fn a_yes_in_between_begins_the_bound_anew_and_a_no_ends_it() {
        let (now, topic): (_, TopicName) = (Instant::now(), "room".parse().unwrap());
        let mut grants = TopicGrants::default();
        grants.insert(topic.clone(), Grant::until(now));
        assert!(grants.settle(&topic, unavailable(), GRACE, now).is_none());
        assert!(grants.settle(&topic, Ok(now + GRACE), GRACE, now + GRACE / 2).is_none());
        assert_eq!(grants.deadline(now, 0), Some(now + GRACE));
        assert!(grants.settle(&topic, unavailable(), GRACE, now + GRACE).is_none(), "a bound of its own");
        let denied = grants.settle(&topic, Err(Failure::new(Code::Forbidden, "no")), GRACE, now + GRACE);
        assert_eq!(denied.unwrap().code, Code::Forbidden);
        assert!(grants.settle(&topic, unavailable(), Duration::ZERO, now).is_none(), "it is gone already");
    }
}
