//! What a webhook is to be told of who attends topics: the difference between what is and what it was told last.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{due::PAUSE, occupancy};
use crate::store::{
    StoreError,
    occupancy::{Noted, Occupancy, OccupancyStore},
    webhooks::NameRange,
};

/// How long nobody attends a topic before that is told: a device that moves to another node leaves one before it comes to
/// the other, and each of them writes that down in a turn of its own.
pub(super) const EMPTY_MIN: Duration = occupancy::INTERVAL.saturating_mul(2);

/// Looks for differences, for one webhook.
pub(super) struct PresenceLooks {
    ranges: Vec<NameRange>,
    next: Instant,
    /// Topics that nobody attends, since when, as every look since then has found.
    emptied: BTreeMap<String, Instant>,
    poll_interval: Duration,
}

impl PresenceLooks {
    /// For the topics in these ranges.
    pub(super) fn new(ranges: Vec<NameRange>, poll_interval: Duration) -> Self {
        Self { ranges, next: Instant::now(), emptied: BTreeMap::new(), poll_interval }
    }

    /// When there may be something to tell; `None` where nobody asks.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.ranges.is_empty()).then_some(self.next)
    }

    /// Returns what is to be told, if it is time to look. `lease` is the name under which this node writes who attends
    /// through it; nothing is told where it has none that has run for long enough.
    pub(super) async fn take(
        &mut self,
        store: &dyn OccupancyStore,
        webhook: &str,
        lease: Option<&str>,
    ) -> Result<Option<Noted>, StoreError> {
        let Some(lease) = lease else {
            self.emptied.clear();
            return Ok(None);
        };
        let began = Instant::now();
        if self.next().is_none_or(|next| began < next) {
            return Ok(None);
        }
        let Noted { epoch, changes } = store.differences(webhook, &self.ranges, lease).await?;
        self.next = Instant::now() + (began.elapsed() * PAUSE).max(self.poll_interval);
        let changes = self.settled(changes, began);
        Ok((!changes.is_empty()).then_some(Noted { epoch, changes }))
    }

    /// Leaves out topics that have not been empty for long.
    fn settled(&mut self, found: Vec<Occupancy>, now: Instant) -> Vec<Occupancy> {
        let mut before = std::mem::take(&mut self.emptied);
        let mut settled = Vec::new();
        for change in found {
            let since =
                if change.occupied { None } else { Some(before.remove(&change.topic).unwrap_or(now)) };
            match since {
                Some(since) if now.duration_since(since) < EMPTY_MIN => {
                    self.emptied.insert(change.topic, since);
                }
                _ => settled.push(change),
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, occupied: bool) -> Occupancy {
        Occupancy { topic: name.to_owned(), occupied }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_told_empty_once_it_has_been_for_a_while_however_often_it_is_looked_at() {
        let mut looks = PresenceLooks::new(Vec::new(), Duration::from_millis(10));
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let whole = u64::try_from(EMPTY_MIN.as_millis()).unwrap_or(u64::MAX);
        for ms in [0, 10, 20, whole - 1] {
            let told = looks.settled(vec![topic("a", false), topic("b", true)], at(ms));
            assert_eq!(told, [topic("b", true)], "{ms}");
        }
        // Somebody has been there in between.
        assert_eq!(looks.settled(Vec::new(), at(whole)), []);
        assert_eq!(looks.settled(vec![topic("a", false)], at(whole)), []);
        assert_eq!(looks.settled(vec![topic("a", false)], at(2 * whole)), [topic("a", false)]);
    }
}
