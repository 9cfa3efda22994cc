//! The state that the publishing and the listening connection share.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic::AtomicBool};

use fred::prelude::Config;
use tokio::sync::{Notify, watch};

use super::{outgoing::Outbox, subscriptions::Subscriptions};
use crate::bus::{Channel, Inbox, Unsure};

/// What the bus shares with the tasks of its two connections.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) prefix: String,
    pub(super) inbox: OnceLock<Weak<dyn Inbox>>,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Mutex<Subscriptions>,
    /// Notified when `subscriptions` has a command that is due.
    pub(super) changed: Notify,
    /// Counts the requests to establish every connection again.
    pub(super) rebuilds: watch::Sender<u64>,
    /// The publishing connection is up.
    pub(super) publishing: AtomicBool,
    /// The listening connection is up, with every subscription.
    pub(super) listening: AtomicBool,
}

impl Shared {
    pub(super) fn name(&self, channel: &Channel) -> String {
        match channel {
            Channel::Stream(stream) => format!("{}:{stream}", self.prefix),
            Channel::Canary(name) => format!("{}:canary:{name}", self.prefix),
        }
    }

    pub(super) fn channel(&self, name: &str) -> Option<Channel> {
        let name = name.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        // No stream's key begins like this.
        match name.strip_prefix("canary:") {
            Some(canary) => Some(Channel::Canary(canary.into())),
            None => name.parse().ok().map(Channel::Stream),
        }
    }

    /// Ends the present sessions; new ones are established.
    pub(super) fn rebuild(&self) {
        self.rebuilds.send_modify(|count| *count += 1);
    }

    pub(super) fn with_inbox(&self, call: impl FnOnce(&dyn Inbox)) {
        if let Some(inbox) = self.inbox.get().and_then(Weak::upgrade) {
            call(&*inbox);
        }
    }

    pub(super) fn unsure(&self, why: Unsure) {
        self.with_inbox(|inbox| inbox.unsure(why));
    }
}

/// Locks a mutex, also after a panic of another holder.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
