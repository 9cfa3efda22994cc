//! Topics, as an application follows them.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{
    cursor::Cursor,
    error::{BoxError, TopicError},
    handle::Handle,
    session::{Next, TopicItem, Wish},
    token::TokenSource,
};

/// How a topic is to be followed. Made by [`Client::topic`](crate::Client::topic).
#[derive(Debug)]
#[must_use = "nothing is followed until `subscribe`"]
pub struct TopicRequest {
    handle: Arc<Handle>,
    name: String,
    wish: Wish,
    token: TokenSource,
}

impl TopicRequest {
    pub(crate) fn new(handle: Arc<Handle>, name: String) -> Self {
        Self { handle, name, wish: Wish::default(), token: TokenSource::None }
    }

    /// Goes on behind this event ([`Topic::cursor`]); from the head on otherwise.
    pub fn from(mut self, cursor: Cursor) -> Self {
        self.wish.cursor = Some(cursor);
        self
    }

    /// Is seen among those who are present, and sees them.
    pub fn presence(mut self) -> Self {
        self.wish.presence = true;
        self
    }

    /// Lets the server hold events back for this long, up to 10 s, to send them together; whole milliseconds.
    pub fn batch(mut self, window: Duration) -> Self {
        self.wish.batch_ms = u64::try_from(window.as_millis()).ok().filter(|ms| *ms > 0);
        self
    }

    /// Where tokens of this one topic come from, for a topic that the connection's own token does not allow. Asked
    /// each time before the topic is followed, on every connection, and when the token of the topic ends, so none is
    /// shown that an earlier connection had. Where it fails or takes longer than 15 s, it is asked again after a
    /// pause, and [`TopicRequest::subscribe`] waits.
    pub fn token_provider<F, Fut>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        self.wish.token = true;
        self.token = TokenSource::provider(provider);
        self
    }

    /// Follows the topic, and waits for the server's answer. The topic is followed over all connections, from its
    /// cursor, until the [`Topic`] is dropped.
    ///
    /// # Errors
    /// The server's refusal; a topic that this client follows already; the end of the client.
    ///
    /// # Cancel safety
    /// When the future is dropped, the topic is not followed.
    pub async fn subscribe(self) -> Result<Topic, TopicError> {
        let Self { handle, name, wish, token } = self;
        let Some(news) = handle.shared.follow(&name, wish, token) else {
            return Err(TopicError::AlreadyFollowed);
        };
        handle.shared.wake.notify_one();
        // From here on dropping it leaves the topic.
        let mut topic = Topic { handle, name, news, cursor: None };
        loop {
            if let Some(closed) = topic.handle.shared.closed() {
                return Err(closed.into());
            }
            match topic.handle.shared.state().session.topic_answer(&topic.name) {
                Some(Ok(cursor)) => {
                    topic.cursor = cursor;
                    break;
                }
                Some(Err(refusal)) => return Err(refusal.into()),
                None => {}
            }
            topic.news.notified().await;
        }
        // There may be items already.
        topic.news.notify_one();
        Ok(topic)
    }
}

/// A topic that is followed. Dropping it ends that.
///
/// What the application does not take waits at the server: beyond [`TOPIC_ITEMS_MAX`](crate::TOPIC_ITEMS_MAX) items
/// the client leaves the topic, and goes on from its cursor when there is room. Nothing is lost, other streams are not
/// held up, and memory is bounded.
#[derive(Debug)]
pub struct Topic {
    handle: Arc<Handle>,
    name: String,
    news: Arc<Notify>,
    cursor: Option<Cursor>,
}

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the application stands: behind the item that [`Topic::next`] returned last.
    /// [`TopicRequest::from`] goes on there.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The next item.
    ///
    /// # Errors
    /// The server has taken the right back, or the client has ended. There is nothing after that.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<TopicItem, TopicError> {
        loop {
            let next = self.handle.shared.state().session.take(&self.name);
            match next {
                Next::Item(item, cursor) => {
                    // Taking it may have made room.
                    self.handle.shared.wake.notify_one();
                    self.cursor = cursor;
                    return Ok(item);
                }
                Next::Refused(refusal) => return Err(refusal.into()),
                Next::Waiting => {}
            }
            if let Some(closed) = self.handle.shared.closed() {
                return Err(closed.into());
            }
            self.news.notified().await;
        }
    }

    /// The items as a stream. It ends after the first error.
    pub fn into_stream(self) -> impl futures_util::Stream<Item = Result<TopicItem, TopicError>> + Send {
        futures_util::stream::unfold(Some(self), |topic| async {
            let mut topic = topic?;
            let item = topic.next().await;
            let rest = item.is_ok().then_some(topic);
            Some((item, rest))
        })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        self.handle.shared.forget_topic(&self.name);
    }
}
