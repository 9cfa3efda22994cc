//! The topics that a client follows: what is due to the server, and what it has said.

use std::collections::BTreeMap;

use super::{
    effect::{Next, TopicItem, TopicState, Wish},
    topic::{Standing, Topic},
};
use crate::{
    cursor::Cursor,
    error::{Refusal, Violation},
    message::{Event, Incoming, SubscribeAnswer, SubscribeTopic, write},
    token::Secret,
};

/// Topics in one command: with the longest names and cursors, less than the 16 KiB that a connection without a
/// token may send. A topic with a token is in a command of its own.
const TOPICS_PER_COMMAND: usize = 50;

/// A topic needs a token ([`Session::next_token_request`](super::Session::next_token_request)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// The topic.
    pub topic: String,
    life: u64,
    stale: Option<Secret>,
}

impl TokenRequest {
    /// The token that was shown before, where only another one helps: it ends, has ended or was refused.
    pub fn stale(&self) -> Option<&str> {
        self.stale.as_ref().map(Secret::reveal)
    }
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: BTreeMap<String, Topic>,
    /// `SUBSCRIBE` and `UNSUBSCRIBE` commands without an answer, and their topics.
    asked: BTreeMap<String, Vec<String>>,
    lives: u64,
}

impl Topics {
    /// Follows a topic; `false` when it is followed already.
    pub(super) fn follow(&mut self, name: &str, wish: Wish) -> bool {
        if self.topics.get(name).is_some_and(|topic| topic.wanted) {
            return false;
        }
        self.lives += 1;
        let standing = self.topics.remove(name).map_or(Standing::Idle, |topic| topic.standing);
        self.topics.insert(name.to_owned(), Topic::new(wish, self.lives, standing));
        true
    }

    /// Follows a topic no longer.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.leave();
        }
        self.forget_done();
    }

    pub(super) fn answer(&self, name: &str) -> Option<Result<Option<Cursor>, Refusal>> {
        self.topics.get(name)?.answer()
    }

    /// How a topic stands; `None` when it is not followed, nor to be.
    pub(super) fn state(&self, name: &str) -> Option<TopicState<'_>> {
        self.topics.get(name).map(Topic::state)
    }

    pub(super) fn cursor(&self, name: &str) -> Option<&Cursor> {
        self.topics.get(name)?.cursor()
    }

    /// Whether something of a topic may come on this connection.
    pub(super) fn is_followed(&self, name: &str) -> bool {
        self.topics.get(name).is_some_and(Topic::is_followed)
    }

    /// Follows a topic that was named when the connection was opened, where the server says it stands.
    pub(super) fn named(&mut self, name: &str, at: Cursor) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.standing = Standing::Asked { life: topic.life };
        let (epoch, seq) = (Some(at.epoch), Some(at.seq));
        topic.subscribed(SubscribeAnswer {
            topic: name.to_owned(),
            epoch,
            seq,
            code: None,
            message: String::new(),
        });
    }

    pub(super) fn take(&mut self, name: &str) -> Next {
        self.topics.get_mut(name).map_or(Next::Waiting, Topic::take)
    }

    /// A connection has begun or ended.
    pub(super) fn reconnect(&mut self) {
        self.asked.clear();
        self.topics.values_mut().for_each(Topic::reconnect);
        self.forget_done();
    }

    /// Whether nothing has to be answered or asked for again.
    pub(super) fn is_settled(&self) -> bool {
        !self.topics.values().any(Topic::is_under_way)
    }

    /// The next topic that needs a token.
    pub(super) fn next_token_request(&mut self) -> Option<TokenRequest> {
        let (name, topic) = self.topics.iter_mut().find(|(_, topic)| topic.wants_token())?;
        Some(TokenRequest { topic: name.clone(), life: topic.life, stale: topic.ask_for_token() })
    }

    /// Takes the answer to a request for a token; `None` when there is none.
    pub(super) fn take_token(&mut self, request: &TokenRequest, token: Option<Secret>) {
        let topic = self.topics.get_mut(&request.topic);
        if let Some(topic) = topic.filter(|topic| topic.life == request.life) {
            topic.take_token(token);
        }
    }

    /// The next `SUBSCRIBE` or `UNSUBSCRIBE` that brings what is followed closer to what is wished.
    pub(super) fn next(&mut self, id: impl FnOnce() -> String) -> Option<String> {
        #[derive(serde::Serialize)]
        struct List<T> {
            topics: Vec<T>,
        }
        let some = |is_due: &dyn Fn(&Topic) -> bool, most: usize| -> Vec<String> {
            let due = self.topics.iter().filter(|(_, topic)| is_due(topic));
            due.take(most).map(|(name, _)| name.clone()).collect()
        };
        let leaving = some(&Topic::is_to_leave, TOPICS_PER_COMMAND);
        if !leaving.is_empty() {
            for name in &leaving {
                if let Some(topic) = self.topics.get_mut(name) {
                    topic.standing = Standing::Leaving;
                }
            }
            let id = id();
            let text = write("UNSUBSCRIBE", Some(&id), Some(List { topics: leaving.clone() }));
            self.asked.insert(id, leaving);
            // Names always serialise.
            return text.ok();
        }
        let mut names = some(&Topic::is_to_follow, TOPICS_PER_COMMAND);
        if names.is_empty() {
            names = some(&Topic::is_to_show_token, 1);
        }
        if names.is_empty() {
            return None;
        }
        let id = id();
        let topics = self.topics.iter_mut().filter(|(name, _)| names.contains(name));
        let topics = topics.map(|(name, topic)| {
            let (wish, cursor, token) = topic.subscribe();
            SubscribeTopic {
                topic: name,
                cursor,
                presence: wish.presence,
                batch_ms: wish.batch_ms,
                batch_max: wish.batch_max,
                token: token.map(Secret::reveal),
            }
        });
        let text = write("SUBSCRIBE", Some(&id), Some(List { topics: topics.collect() }));
        self.asked.insert(id, names);
        // And so do cursors and tokens.
        text.ok()
    }

    /// The topics that a command was about, when it is a `SUBSCRIBE` or `UNSUBSCRIBE` without an answer yet.
    pub(super) fn asked(&mut self, id: &str) -> Option<Vec<String>> {
        self.asked.remove(id)
    }

    /// Takes the `ACK` of an `UNSUBSCRIBE`. Returns whether it was one.
    pub(super) fn left(&mut self, names: &[String]) -> bool {
        let mut any = false;
        for name in names {
            if let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.standing == Standing::Leaving)
            {
                topic.left();
                any = true;
            }
        }
        self.forget_done();
        any
    }

    /// Takes what a `SUBSCRIBE` was answered, for each of its topics.
    pub(super) fn subscribed(&mut self, answers: Vec<SubscribeAnswer>) {
        for answer in answers {
            if let Some(topic) = self.topics.get_mut(&answer.topic) {
                topic.subscribed(answer);
            }
        }
        self.forget_done();
    }

    /// A whole `SUBSCRIBE` or `UNSUBSCRIBE` was refused.
    pub(super) fn refused(&mut self, names: &[String], refusal: &Refusal) {
        for name in names {
            let Some(topic) = self.topics.get_mut(name) else { continue };
            match topic.standing {
                // It says no more than that it is not followed, or will be asked to leave again.
                Standing::Leaving if refusal.is_for_the_moment() => topic.standing = Standing::Followed,
                Standing::Leaving => topic.left(),
                _ => topic.refused(refusal.code.clone(), refusal.message.clone()),
            }
        }
        self.forget_done();
    }

    pub(super) fn wants_retry(&self) -> bool {
        self.topics.values().any(Topic::wants_retry)
    }

    pub(super) fn retry(&mut self) {
        self.topics.values_mut().for_each(Topic::retry);
    }

    /// Takes a message of a topic that is no event. Returns whether the type is one of a topic.
    pub(super) fn take_notice(&mut self, name: &str, message: &Incoming<'_>) -> Result<bool, Violation> {
        let known = ["SYNCED", "SIGNAL", "PRESENCE", "JOIN", "LEAVE", "UNSUBSCRIBED", "TOKEN_EXPIRING"];
        if !known.contains(&message.kind.as_str()) {
            return Ok(false);
        }
        let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.is_open()) else {
            return Ok(true);
        };
        let malformed = |what: &str| Violation::Malformed(format!("{} of {name}: {what}", message.kind));
        let payload = message.payload.map_or("null", |raw| raw.get());
        let read = |error: serde_json::Error| malformed(&error.to_string());
        match message.kind.as_str() {
            "SYNCED" => topic.synced(message)?,
            "SIGNAL" => topic.offer_lossy(TopicItem::Signal(message.to_signal())),
            "PRESENCE" => topic.push(TopicItem::Presence(serde_json::from_str(payload).map_err(read)?)),
            "JOIN" => topic.push(TopicItem::Join(serde_json::from_str(payload).map_err(read)?)),
            "LEAVE" => topic.push(TopicItem::Leave(serde_json::from_str(payload).map_err(read)?)),
            "TOKEN_EXPIRING" => topic.token_expires(),
            _ => topic.unsubscribed(serde_json::from_str(payload).map_err(read)?),
        }
        Ok(true)
    }

    /// Takes an event of a topic.
    pub(super) fn take_event(&mut self, name: &str, event: Event) -> Result<(), Violation> {
        match self.topics.get_mut(name).filter(|topic| topic.is_open()) {
            Some(topic) => topic.take_event(event),
            None => Ok(()),
        }
    }

    fn forget_done(&mut self) {
        self.topics.retain(|_, topic| !topic.is_done());
    }
}
