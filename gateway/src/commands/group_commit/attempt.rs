//! One batch: committed, answered, and told to the followers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    operations::{Operation, Outcome, Tally},
    trace,
};
use fanout::{Hub, supervise::catch_panic};
use metrics::{counter, histogram};
use tokio::time::Instant;
use tracing::{error, warn};

use super::{job::Waiting, traced, unavailable::Unavailable};
use crate::{
    commands::pipeline::Pass,
    config::Live,
    operations::{SlowKind, may_report},
    store::{Committed, Done, Lock, Refusal, Store, StoreError, Write, WriteHealth},
};

/// Commits batches and answers those who wait for them.
#[derive(Clone)]
pub(super) struct Commits {
    pub(super) store: Arc<dyn Store>,
    pub(super) hub: Arc<Hub>,
    pub(super) health: Arc<WriteHealth>,
    /// Says how long a write waits for its transaction to begin, and what a batch may hold.
    pub(super) live: Arc<Live>,
}

/// Streams that the log names of a slow commit.
const STREAMS_SHOWN: usize = 3;

/// Writes of a batch that may fail one by one, because of a damaged row for example. When more of them fail, the
/// rest of the batch is not tried: that would take two statements for each of hundreds.
const FAILED_ALONE_MAX: usize = 3;

/// The writes of a batch that were not answered, and how the others failed.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Writes that another transaction kept from being tried, in their order. Nobody has been answered.
    pub(super) locked: Vec<(Lock, Write, Waiting)>,
    /// How many writes failed one by one.
    pub(super) failed_alone: usize,
    /// The store failed. Then nothing is left: everybody has been answered.
    pub(super) failed: bool,
}

impl Commits {
    /// Why a write is not to be tried, if so: one that it must not overtake was not carried out, or it has
    /// waited too long.
    pub(super) fn missed_its_turn(&self, waiting: &Waiting) -> Option<Unavailable> {
        if waiting.pass.as_ref().is_some_and(Pass::is_void) {
            Some(Unavailable::Behind)
        } else if waiting.since.elapsed() > self.live.node().writes.wait_max {
            Some(Unavailable::Late)
        } else {
            None
        }
    }

    /// Commits and answers. For each lock that another transaction holds it waits for `lock_wait`.
    pub(super) async fn run(
        &self,
        mut writes: Vec<Write>,
        mut waiting: Vec<Waiting>,
        lock_wait: Duration,
    ) -> Unfinished {
        #[allow(clippy::cast_precision_loss)]
        histogram!("draftwire_write_batch_size").record(writes.len() as f64);
        let began = Instant::now();
        let mut queued = Duration::ZERO;
        for one in &waiting {
            let waited = began.duration_since(one.since);
            Operation::Queue.meter().record(Outcome::Ok, waited);
            queued = queued.max(waited);
        }
        // What a panic of the store has done is as unknown as after a lost connection.
        let committed = catch_panic("commit", self.store.commit_within(&writes, lock_wait)).await;
        let committed =
            committed.unwrap_or_else(|panicked| Err(StoreError::Unavailable(panicked.to_string())));
        let took = began.elapsed();
        measure(&writes, &committed, queued, took);
        match committed {
            Ok(mut committed) => {
                self.health.record(true);
                if trace::is_on() {
                    traced::trace(&writes, &waiting, &mut committed);
                }
                histogram!("draftwire_commit_seconds").record(took.as_secs_f64());
                counter!("draftwire_events_published_total").increment(committed.events.len() as u64);
                self.hub.committed(&committed.epoch, &committed.events);
                self.announce_remembered(&writes, &committed);
                let mut locked = Vec::new();
                for ((write, waiting), outcome) in writes.into_iter().zip(waiting).zip(committed.answers) {
                    if let Err(Refusal::Locked(lock)) = outcome {
                        locked.push((lock, write, waiting));
                        continue;
                    }
                    waiting.answer(Ok(outcome));
                }
                Unfinished { locked, ..Unfinished::default() }
            }
            Err(error @ (StoreError::Rejected(_) | StoreError::Failed(_))) if writes.len() > 1 => {
                // One of them is at fault, or a row that it touches; the others must not suffer for it.
                warn!(%error, batch = writes.len(), "the store refuses a batch; it goes in two halves");
                count_failure(&error);
                let half = writes.len() / 2;
                let later = (writes.split_off(half), waiting.split_off(half));
                let mut left = Unfinished::default();
                for (writes, waiting) in [(writes, waiting), later] {
                    let (mut in_time, mut answers) = (Vec::new(), Vec::new());
                    for (write, one) in writes.into_iter().zip(waiting) {
                        if left.failed {
                            one.refuse(Unavailable::Store);
                        } else if let Some(unavailable) = self.missed_its_turn(&one) {
                            one.refuse(unavailable);
                        } else {
                            in_time.push(write);
                            answers.push(one);
                        }
                    }
                    if !in_time.is_empty() {
                        let of_half = Box::pin(self.run(in_time, answers, lock_wait)).await;
                        left.locked.extend(of_half.locked);
                        left.failed_alone += of_half.failed_alone;
                        left.failed |= of_half.failed || left.failed_alone >= FAILED_ALONE_MAX;
                    }
                }
                if left.failed {
                    for (_, _, waiting) in left.locked.drain(..) {
                        waiting.refuse(Unavailable::Store);
                    }
                }
                left
            }
            Err(error @ StoreError::Rejected(_)) => {
                error!(%error, "the store refuses a write");
                count_failure(&error);
                for waiting in waiting {
                    // Repeating it would not help, and would slow down whatever it shares a batch with.
                    let refusal = Refusal::BadRequest("the store cannot keep this change".to_owned());
                    waiting.answer(Ok(Err(refusal)));
                }
                Unfinished::default()
            }
            Err(error @ StoreError::Failed(_)) => {
                error!(%error, "the store fails a write");
                self.health.record(false);
                count_failure(&error);
                for waiting in waiting {
                    waiting.answer(Err(Unavailable::Store));
                }
                Unfinished { failed_alone: 1, ..Unfinished::default() }
            }
            Err(error @ StoreError::Unavailable(_)) => {
                warn!(%error, writes = writes.len(), "a batch was not committed");
                self.health.record(false);
                count_failure(&error);
                for waiting in waiting {
                    waiting.answer(Err(Unavailable::Store));
                }
                // It may have been committed all the same: then only the log tells.
                self.hub.recheck(writes.iter().map(Write::stream));
                Unfinished { failed: true, ..Unfinished::default() }
            }
        }
    }

    /// A write that is answered from memory was committed by an attempt whose outcome nobody saw, or by
    /// a node that may have died before it published: its events are announced now, by the last one.
    fn announce_remembered(&self, writes: &[Write], committed: &Committed) {
        let done = || committed.answers.iter().map(|answer| answer.as_ref().ok());
        let (caused, new) = (done().flatten().map(Done::events).sum::<u64>(), committed.events.len() as u64);
        if caused == new {
            return;
        }
        Tally::Duplicates.add(caused.saturating_sub(new));
        for (write, done) in writes.iter().zip(done()) {
            if let Some(seq) = done.and_then(Done::seq) {
                self.hub.announce(&committed.epoch, &write.stream(), seq);
            }
        }
    }
}

/// Counts the writes of a commit that took so long, and logs it if it was slow. Those that met a lock were not
/// committed, and are tried again.
fn measure(writes: &[Write], committed: &Result<Committed, StoreError>, queued: Duration, took: Duration) {
    let tried = match committed {
        Ok(committed) => {
            let is_locked = |answer: &&Result<Done, Refusal>| matches!(answer, Err(Refusal::Locked(_)));
            writes.len() - committed.answers.iter().filter(is_locked).count()
        }
        Err(_) => writes.len(),
    };
    let outcome = Outcome::of(committed);
    Operation::Commit.meter().record_many(outcome, took, tried as u64);
    let Some(left) = may_report(SlowKind::Commit, queued + took) else { return };
    let streams: BTreeSet<_> = writes.iter().map(Write::stream).collect();
    let shown: Vec<_> = streams.iter().take(STREAMS_SHOWN).map(ToString::to_string).collect();
    let ms = |duration: Duration| duration.as_millis() as u64;
    warn!(
        outcome = outcome.label(),
        writes = writes.len(),
        streams = streams.len(),
        stream = shown.join(" "),
        queue_ms = ms(queued),
        commit_ms = ms(took),
        left_out = left.0,
        "slow commit"
    );
}

fn count_failure(error: &StoreError) {
    let why = match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Rejected(_) => "rejected",
        StoreError::Failed(_) => "failed",
    };
    counter!("draftwire_commit_failures_total", "why" => why).increment(1);
}
