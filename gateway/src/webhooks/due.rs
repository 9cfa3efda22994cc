//! Finds out which streams of a webhook have something to deliver.
//!
//! A round goes over the names of the filter's streams, a page at a time, and compares heads with cursors. Nothing
//! announces what is new: a round finds it. Rounds pause for nine times as long as they have looked, so that a
//! webhook with very many streams keeps the database busy for a tenth of one connection's time.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use common::{Epoch, Stream};
use metrics::histogram;
use tokio::time::Instant;

use super::batch::STREAMS_MAX;
use crate::store::{
    StoreError,
    webhooks::{DueStream, NameRange, WebhookStore},
};

/// The pause after a round, in durations of its looks.
pub(super) const PAUSE: u32 = 9;

/// The shortest pause after a round that has found something.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The longest pause after a round.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The streams of one webhook that have something to deliver, as far as rounds have got.
pub(super) struct Due {
    ranges: Vec<NameRange>,
    /// Which range is looked at, and from which name on.
    at: (usize, Option<String>),
    queue: VecDeque<DueStream>,
    epoch: Option<Epoch>,
    /// How long this round has looked.
    spent: Duration,
    /// Events that this round has found.
    found: u64,
    /// When the next round may begin.
    next_round: Instant,
    poll_interval: Duration,
    /// What the last whole round has found.
    behind: u64,
}

impl Due {
    /// For the streams in these ranges. The first round may begin at once.
    pub(super) fn new(ranges: Vec<NameRange>, poll_interval: Duration) -> Self {
        Self {
            ranges,
            at: (0, None),
            queue: VecDeque::new(),
            epoch: None,
            spent: Duration::ZERO,
            found: 0,
            next_round: Instant::now(),
            poll_interval,
            behind: 0,
        }
    }

    /// Forgets what was found, because the log or the cursors are not as they were. A round goes on where it is, so
    /// that failures do not keep it from its end; the next one finds what was forgotten.
    pub(super) fn reset(&mut self) {
        self.queue.clear();
        self.epoch = None;
        self.next_round = Instant::now();
    }

    /// Events that the last whole round has found undelivered.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }

    /// When it is worth asking again where there was nothing; at once where a round is not over.
    pub(super) fn next_round(&self) -> Instant {
        self.next_round
    }

    /// Looks until there is enough for a batch, the round is over, or it is `until`; at least once where a round is
    /// due. Returns streams for a batch, and the history that they are of; none where nothing was found so far.
    pub(super) async fn take(
        &mut self,
        store: &dyn WebhookStore,
        id: &str,
        until: Instant,
    ) -> Result<Option<(Epoch, Vec<DueStream>)>, StoreError> {
        while self.queue.len() < STREAMS_MAX && Instant::now() >= self.next_round {
            self.look(store, id).await?;
            if Instant::now() >= until {
                break;
            }
        }
        let count = self.queue.len().min(STREAMS_MAX);
        let taken: Vec<DueStream> = self.queue.drain(..count).collect();
        Ok(self.epoch.clone().filter(|_| !taken.is_empty()).map(|epoch| (epoch, taken)))
    }

    async fn look(&mut self, store: &dyn WebhookStore, id: &str) -> Result<(), StoreError> {
        let Some(range) = self.ranges.get(self.at.0) else {
            self.end_round();
            return Ok(());
        };
        let start = self.at.1.clone().unwrap_or_else(|| range.start.clone());
        let range = NameRange { start, end: range.end.clone() };
        let began = Instant::now();
        let look = store.look(id, &range).await?;
        let took = began.elapsed();
        histogram!("draftwire_webhook_look_seconds").record(took.as_secs_f64());
        self.spent += took;
        if self.epoch.as_ref().is_some_and(|epoch| *epoch != look.epoch) {
            self.queue.clear();
        }
        self.epoch = Some(look.epoch);
        let known: HashSet<Stream> = self.queue.iter().map(|due| due.stream.clone()).collect();
        for due in look.due {
            let seen = due.cursor.as_ref().map_or(0, |cursor| cursor.seq.0);
            self.found += due.head.0.saturating_sub(seen.max(due.floor.0));
            // A stream that is in the queue already stands there with a newer cursor.
            if !known.contains(&due.stream) {
                self.queue.push_back(due);
            }
        }
        self.at = match look.next {
            Some(next) => (self.at.0, Some(next)),
            None => (self.at.0 + 1, None),
        };
        Ok(())
    }

    fn end_round(&mut self) {
        let least = if self.found > 0 { PAUSE_MIN } else { self.poll_interval };
        self.next_round = Instant::now() + (self.spent * PAUSE).clamp(least, PAUSE_MAX);
        self.behind = self.found;
        (self.at, self.spent, self.found) = ((0, None), Duration::ZERO, 0);
    }

    /// Takes a stream back of which more is to be delivered than a batch could hold.
    pub(super) fn put_back(&mut self, due: DueStream) {
        self.queue.push_back(due);
    }
}
