//! The place of a connection: what it shares with whoever counts it, shows it, or ends it.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use common::{ConnectionId, DeviceId, Seq, Stream, UserId};
use futures_util::task::AtomicWaker;

use super::{activity::LastActive, forced_end::ForcedEnd, traffic::Transport};

/// What a connection shares with whoever may end it.
pub(super) struct Place {
    /// `None` where no other connection may take the place.
    pub(super) device: Option<DeviceId>,
    /// When the client last showed that it lives, in milliseconds.
    pub(super) heard_at: AtomicU64,
    /// When it last sent something.
    pub(super) last_active: LastActive,
    /// Set once it is known who it is.
    pub(super) client: OnceLock<Described>,
    /// Through whom its session is seen, where it has one.
    pub(super) session: OnceLock<Weak<dyn Inspect>>,
    /// Where it stands, while its session cannot be seen.
    pub(super) standing: Mutex<Option<Box<Standing>>>,
    /// Another connection counts instead.
    pub(super) taken: AtomicBool,
    /// Why it has to end: the first reason that there was.
    pub(super) end: OnceLock<ForcedEnd>,
    pub(super) waker: AtomicWaker,
}

/// Whose connection it is, and how it is made.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) connection: ConnectionId,
    /// `None` for one without a token.
    pub(crate) user: Option<UserId>,
    pub(crate) device: DeviceId,
    pub(crate) transport: Transport,
    /// How messages are written.
    pub(crate) encoding: &'static str,
    /// When it began, Unix milliseconds.
    pub(crate) since: u64,
}

/// Where a connection stands at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The round trip of its heartbeats, once one is known.
    pub(crate) round_trip: Option<Duration>,
    /// Bytes that wait until the client reads, where that is known.
    pub(crate) bytes_waiting: Option<usize>,
    /// The last event of each stream that was handed to it; not all of them where they are many.
    pub(crate) cursors: Vec<(Stream, Seq)>,
    /// How many more there are.
    pub(crate) more_cursors: usize,
}

/// Shows where a session stands.
pub(crate) trait Inspect: Send + Sync {
    /// `None` where it cannot be seen just now.
    fn standing(&self) -> Option<Standing>;
}

impl Place {
    /// A place of a connection that has begun at `now`, in milliseconds.
    pub(super) fn new(device: Option<DeviceId>, now: u64) -> Self {
        Self {
            device,
            heard_at: AtomicU64::new(now),
            last_active: LastActive::default(),
            client: OnceLock::new(),
            session: OnceLock::new(),
            standing: Mutex::default(),
            taken: AtomicBool::new(false),
            end: OnceLock::new(),
            waker: AtomicWaker::new(),
        }
    }

    /// Where it stands, as far as that can be seen.
    pub(super) fn standing(&self) -> Option<Standing> {
        let seen = self.session.get().and_then(Weak::upgrade).and_then(|session| session.standing());
        seen.or_else(|| self.standing.lock().unwrap_or_else(PoisonError::into_inner).as_deref().cloned())
    }

    pub(super) fn end(&self, why: ForcedEnd) {
        // It may have to end already.
        let _ = self.end.set(why);
        self.waker.wake();
    }
}
