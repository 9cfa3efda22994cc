//! What a webhook is to be told of who attends topics: the difference between what is and what it was told last.

use std::collections::BTreeSet;

use tokio::time::{Duration, Instant};

use super::due::PAUSE;
use crate::store::{
    StoreError,
    occupancy::{Occupancy, OccupancyStore},
    webhooks::NameRange,
};

/// Looks for differences, for one webhook.
pub(super) struct PresenceLooks {
    ranges: Vec<NameRange>,
    next: Instant,
    /// Topics that nobody attended at the last look. It is told at the next one, so that a device which moves to
    /// another node empties no room.
    emptied: BTreeSet<String>,
    poll_interval: Duration,
}

impl PresenceLooks {
    /// For the topics in these ranges.
    pub(super) fn new(ranges: Vec<NameRange>, poll_interval: Duration) -> Self {
        Self { ranges, next: Instant::now(), emptied: BTreeSet::new(), poll_interval }
    }

    /// When there may be something to tell; `None` where nobody asks.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.ranges.is_empty()).then_some(self.next)
    }

    /// Returns what is to be told, if it is time to look.
    pub(super) async fn take(
        &mut self,
        store: &dyn OccupancyStore,
        webhook: &str,
    ) -> Result<Vec<Occupancy>, StoreError> {
        let began = Instant::now();
        if self.next().is_none_or(|next| began < next) {
            return Ok(Vec::new());
        }
        let found = store.differences(webhook, &self.ranges).await?;
        self.next = Instant::now() + (began.elapsed() * PAUSE).max(self.poll_interval);
        let (told, emptied): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| found.occupied || self.emptied.contains(&found.topic));
        self.emptied = emptied.into_iter().map(|found| found.topic).collect();
        Ok(told)
    }
}
