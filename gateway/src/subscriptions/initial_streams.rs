//! What every connection follows, and what it is told first.

use common::{Cursor, Stream};
use fanout::log::LogError;
use futures_util::future::OptionFuture;

use super::{Joined, Subscriptions};

/// The streams that a connection follows from the beginning: the user's own, if there is a user, and
/// that of all.
pub(crate) struct InitialStreams {
    user: Option<Joined>,
    all: Joined,
}

impl InitialStreams {
    /// Joins them at these cursors, or at their heads.
    ///
    /// # Errors
    /// When the store does not answer. Nothing is followed then.
    pub(crate) async fn join(
        subscriptions: &mut Subscriptions,
        user: Option<Cursor>,
        all: Option<Cursor>,
    ) -> Result<Self, LogError> {
        let own = subscriptions.user.clone().map(Stream::User);
        let own: OptionFuture<_> = own.map(|stream| subscriptions.join(stream, user)).into();
        let all = subscriptions.join(Stream::All, all);
        let (user, all) = tokio::join!(own, all);
        let (user, all) = (user.transpose()?, all?);
        if user.as_ref().is_some_and(|user| user.head().epoch != all.head().epoch) {
            return Err(LogError("the history changed just now".to_owned()));
        }
        Ok(Self { user, all })
    }

    /// The streams.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Joined> {
        self.user.iter().chain([&self.all])
    }

    /// Where the user's own stream stands, if there is a user.
    pub(crate) fn user(&self) -> Option<Cursor> {
        self.user.as_ref().map(Joined::head)
    }

    /// Where the stream of all stands.
    pub(crate) fn all(&self) -> Cursor {
        self.all.head()
    }

    /// Adds them to what the connection follows; the `WELCOME` must have gone before.
    pub(crate) fn add_to(self, subscriptions: &mut Subscriptions) {
        for joined in self.user.into_iter().chain([self.all]) {
            subscriptions.add(joined, None, None);
        }
    }
}
