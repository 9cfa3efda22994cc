//! Why connections are ended from outside, and whom that still concerns a moment later. Pure: the time is an argument.

use std::{collections::VecDeque, sync::Arc};

use common::{UserId, close::Close};
use tokio::time::Instant;

use crate::control::Disconnect;

/// What ends a connection from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForcedEnd {
    /// Another connection of the device has taken the place.
    Replaced,
    /// The connections of the user were ended.
    Disconnected {
        /// How a WebSocket is closed.
        close: Close,
        /// What its client is told.
        reason: Arc<str>,
    },
}

impl From<&Disconnect> for ForcedEnd {
    fn from(disconnect: &Disconnect) -> Self {
        Self::Disconnected { close: disconnect.close, reason: disconnect.reason.as_str().into() }
    }
}

impl ForcedEnd {
    /// For a user who may have been disconnected, which nobody can tell any more.
    pub(super) fn precaution() -> Self {
        let reason = "the user may have been disconnected; connect again with a fresh token".into();
        Self::Disconnected { close: Close::Disconnected, reason }
    }
}

/// The disconnects of the last moments. A connection whose token was verified before one of them, and which comes to its
/// place only after it, is ended like those that were there.
#[derive(Debug, Default)]
pub(super) struct RecentDisconnects {
    /// The newest last; at most [`USERS_MAX`].
    users: VecDeque<(Instant, UserId, ForcedEnd)>,
    /// The last moment that concerned all users, or users who are no longer in the list.
    all: Option<Instant>,
}

/// Disconnects that are remembered by their users. One that is older counts for all users: then connections that took
/// longer to their place than all of these have to come back, too.
const USERS_MAX: usize = 1024;

impl RecentDisconnects {
    /// Remembers that the connections of a user were ended.
    pub(super) fn add(&mut self, user: UserId, end: ForcedEnd, now: Instant) {
        if self.users.len() == USERS_MAX
            && let Some((at, ..)) = self.users.pop_front()
        {
            self.all = Some(at);
        }
        self.users.push_back((now, user, end));
    }

    /// Remembers that the connections of all users were ended.
    pub(super) fn add_all(&mut self, now: Instant) {
        self.users.clear();
        self.all = Some(now);
    }

    /// Returns why a connection of the user has to end that was verified at the time `verified`.
    pub(super) fn since(&self, verified: Instant, user: &UserId) -> Option<ForcedEnd> {
        let later = self.users.iter().rev().take_while(|(at, ..)| *at >= verified);
        let of_user = later.into_iter().find(|(_, of, _)| of == user).map(|(_, _, end)| end.clone());
        let of_all = || self.all.filter(|at| *at >= verified).map(|_| ForcedEnd::precaution());
        of_user.or_else(of_all)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn user(n: usize) -> UserId {
        format!("user-{n}").parse().unwrap()
    }

    fn end(reason: &str) -> ForcedEnd {
        ForcedEnd::Disconnected { close: Close::Revoked, reason: reason.into() }
    }

    #[test]
    fn it_concerns_connections_of_the_user_that_were_verified_before() {
        let start = Instant::now();
        let at = |n| start + Duration::from_millis(n);
        let mut recent = RecentDisconnects::default();
        recent.add(user(1), end("first"), at(10));
        recent.add(user(1), end("second"), at(20));
        recent.add(user(2), end("other"), at(30));
        assert_eq!(recent.since(at(5), &user(1)), Some(end("second")));
        assert_eq!(recent.since(at(15), &user(1)), Some(end("second")));
        assert_eq!(recent.since(at(20), &user(1)), Some(end("second")), "at the same moment");
        assert_eq!(recent.since(at(21), &user(1)), None, "it has come back");
        assert_eq!(recent.since(at(5), &user(3)), None);
        recent.add_all(at(40));
        assert_eq!(recent.since(at(35), &user(3)), Some(ForcedEnd::precaution()));
        assert_eq!(recent.since(at(41), &user(3)), None);
    }

    #[test]
    fn what_is_too_much_to_remember_counts_for_all() {
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        let mut recent = RecentDisconnects::default();
        (1..=USERS_MAX).for_each(|n| recent.add(user(n), end("known"), at(n)));
        assert_eq!(recent.since(at(0), &user(0)), None);
        recent.add(user(0), end("one more"), at(USERS_MAX + 1));
        assert_eq!(recent.users.len(), USERS_MAX);
        assert_eq!(recent.since(at(1), &user(1)), Some(ForcedEnd::precaution()));
        assert_eq!(recent.since(at(2), &user(1)), None);
        assert_eq!(recent.since(at(2), &user(2)), Some(end("known")));
    }
}
