//! What is slow, and how often that is logged.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    limiter::{Left, Limiter},
    statement::Statement,
};

/// `SLOW_OPERATION` in nanoseconds, until it is set.
static SLOW_NANOS: AtomicU64 = AtomicU64::new(100_000_000);

/// Lines of one kind that may follow each other at once, and the pause between later ones: a store that is slow makes
/// everything slow, and its log must not be what fills the disk.
const BURST: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(2);

/// Takes the setting `SLOW_OPERATION`.
pub(crate) fn set_threshold(slow: Duration) {
    SLOW_NANOS.store(u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// From what duration on an operation is slow.
pub(crate) fn threshold() -> Duration {
    Duration::from_nanos(SLOW_NANOS.load(Ordering::Relaxed))
}

/// What slow operations are logged of, each within a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A command over the socket, from its message to its answer.
    Command,
    /// A request over HTTP, until the answer begins.
    Request,
    /// A commit, with the wait before it.
    Commit,
    /// A statement of the store; each is a kind of its own.
    Statement(Statement),
}

impl Kind {
    const COUNT: usize = 3 + Statement::ALL.len();

    fn index(self) -> usize {
        match self {
            Self::Command => 0,
            Self::Request => 1,
            Self::Commit => 2,
            Self::Statement(statement) => 3 + statement as usize,
        }
    }
}

static LIMITERS: [Mutex<Limiter>; Kind::COUNT] =
    [const { Mutex::new(Limiter::new(BURST, INTERVAL)) }; Kind::COUNT];

/// Whether a slow operation is to be logged, and how many were left out before it.
pub(crate) fn may_report(kind: Kind, took: Duration) -> Option<Left> {
    if took <= threshold() {
        return None;
    }
    LIMITERS[kind.index()].lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
}
