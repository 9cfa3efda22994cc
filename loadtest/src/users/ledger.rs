//! What was asked for, and what became of it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde_json::Value;

use crate::check::history::{Content, Moment, Op, Outcome, What};

/// The time of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Moment {
        self.at(Instant::now())
    }

    pub(crate) fn at(self, at: Instant) -> Moment {
        Moment::try_from(at.saturating_duration_since(self.0).as_micros()).unwrap_or(Moment::MAX)
    }
}

/// What all ledgers of a run share: its clock, the numbers of its changes, and how many there were so far,
/// but for those that made the drafts.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) clock: Clock,
    last_id: AtomicU64,
    asked: AtomicU64,
    acked: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        Arc::new(Self { clock, last_id: zero(), asked: zero(), acked: zero(), failed: zero() })
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Answered otherwise, or not in time.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Every change of one stream, by its number.
#[derive(Debug)]
pub(crate) struct Ledger {
    counts: Arc<Counts>,
    ops: Mutex<Vec<Op>>,
}

/// A change that was begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) id: u64,
    index: usize,
}

impl Ledger {
    pub(crate) fn new(counts: &Arc<Counts>) -> Self {
        Self { counts: Arc::clone(counts), ops: Mutex::default() }
    }

    pub(crate) fn ops(&self) -> MutexGuard<'_, Vec<Op>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change that is about to be asked for, whose content follows from its number. Until it is
    /// answered, its outcome is unknown.
    pub(crate) fn begin(
        &self,
        client: String,
        what: What,
        intended: Instant,
        content: impl FnOnce(u64) -> (Content, Value),
    ) -> (Begun, Value) {
        self.counts.asked.fetch_add(counted(&what), Ordering::Relaxed);
        let mut ops = self.ops();
        // Within the lock, so that they are in order.
        let id = self.counts.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (content, body) = content(id);
        let clock = self.counts.clock;
        let (intended, invoked) = (clock.at(intended), clock.now());
        let outcome = Outcome::Unknown;
        ops.push(Op { id, client, what, content, intended, invoked, answered: None, outcome });
        (Begun { id, index: ops.len() - 1 }, body)
    }

    pub(crate) fn end(&self, begun: Begun, outcome: Outcome) {
        let mut ops = self.ops();
        let op = &mut ops[begun.index];
        let acked = matches!(outcome, Outcome::Acked(_));
        let count = if acked { &self.counts.acked } else { &self.counts.failed };
        count.fetch_add(counted(&op.what), Ordering::Relaxed);
        op.answered = Some(self.counts.clock.now());
        op.outcome = outcome;
    }
}

fn counted(what: &What) -> u64 {
    u64::from(!matches!(what, What::Create { .. }))
}
