//! The topics of a session, for whoever drives it.

use super::{Next, Phase, Session, TokenRequest, TopicState, Wish};
use crate::{cursor::Cursor, error::Refusal, token::Secret};

impl Session {
    /// Follows a topic, over all connections. Returns `false` when it is followed already, or was refused and not
    /// left since.
    pub fn follow(&mut self, topic: &str, wish: Wish) -> bool {
        self.topics.follow(topic, wish)
    }

    /// Follows a topic no longer.
    pub fn leave(&mut self, topic: &str) {
        self.topics.leave(topic);
    }

    /// The open connection follows a topic without a `SUBSCRIBE`: it was named when the connection was opened, as
    /// event streams do. `at` is where the server begins for one without a position.
    pub fn named(&mut self, topic: &str, at: Cursor) {
        self.topics.named(topic, at);
    }

    /// How a topic stands; `None` when it is not followed, nor to be.
    pub fn topic(&self, topic: &str) -> Option<TopicState<'_>> {
        self.topics.state(topic)
    }

    /// Where the client stands in a topic, with all that has come of it: ahead of what was [taken](Self::take).
    pub fn topic_cursor(&self, topic: &str) -> Option<&Cursor> {
        self.topics.cursor(topic)
    }

    pub(crate) fn topic_answer(&self, topic: &str) -> Option<Result<Option<Cursor>, Refusal>> {
        self.topics.answer(topic)
    }

    /// Takes the next item of a topic. What is not taken fills its queue, and the topic is left for a while when
    /// that is full.
    pub fn take(&mut self, topic: &str) -> Next {
        self.topics.take(topic)
    }

    /// The next topic that needs a token: each time before it is followed, and when the one that was shown ends.
    /// Answer each request with [`Session::give_topic_token`] or [`Session::no_topic_token`]; those of an earlier
    /// connection need none.
    pub fn next_token_request(&mut self) -> Option<TokenRequest> {
        if self.phase != Phase::Ready {
            return None;
        }
        self.topics.next_token_request()
    }

    /// Gives the token that was asked for. One that is [stale](TokenRequest::stale) counts as none.
    pub fn give_topic_token(&mut self, request: &TokenRequest, token: impl Into<String>) {
        self.topics.take_token(request, Some(Secret::new(token)));
    }

    /// There is no token now: it is asked for again after a pause.
    pub fn no_topic_token(&mut self, request: &TokenRequest) {
        self.topics.take_token(request, None);
    }
}
