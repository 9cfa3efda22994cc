//! What a webhook is sent next: the batch that was begun, read again, or a new one.

use fanout::log::{LogError, Read};
use rand::random;
use tokio::time::Instant;

use super::{
    batch::{self, Content, DraftKinds, DraftOf, EVENTS_MAX, Part},
    due::Due,
    filter::Filter,
    presence::PresenceLooks,
    shared::Shared,
};
use crate::store::{
    StoreError,
    occupancy::{Noted, Occupancy},
    webhooks::{Batch, BatchStream, Delivered, DueStream, StreamCursor, Webhook, WebhookStore},
};

/// Streams that are read at once; their pages are in memory together.
const READS_MAX: usize = 16;

/// A batch with its body, and the streams that it takes from.
pub(super) struct Planned {
    pub(super) batch: Batch,
    /// All changes of who attends that are noted with it. It tells the first of them.
    noted: Vec<Occupancy>,
    /// The number of the last change that it tells.
    number: u64,
    pub(super) content: Content,
    taken: Vec<DueStream>,
    pub(super) is_new: bool,
}

impl Planned {
    /// What is kept of it in the webhook's row, beside the batch.
    pub(super) fn noted(&self) -> &[Occupancy] {
        &self.noted
    }

    /// What the store is told once the receiver has taken it, or where nothing of it is sent.
    pub(super) fn delivered(&self, sent: bool) -> Delivered<'_> {
        Delivered { batch: &self.batch, noted: &self.noted, number: self.number, sent }
    }
}

/// Plans the batches of one webhook, under one filter.
pub(super) struct Planner<'a> {
    shared: &'a Shared,
    webhooks: &'a dyn WebhookStore,
    id: String,
    filter: Filter,
    due: Due,
    presence: PresenceLooks,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        webhooks: &'a dyn WebhookStore,
        id: String,
        filter: Filter,
    ) -> Self {
        let pause = shared.settings.poll_interval;
        let due = Due::new(filter.ranges(), pause);
        let presence = PresenceLooks::new(filter.presence_ranges(), pause);
        Self { shared, webhooks, id, filter, due, presence }
    }

    /// Events that the last whole round has found undelivered.
    pub(super) fn behind(&self) -> u64 {
        self.due.behind()
    }

    /// When there may be something to send where there was nothing.
    pub(super) fn next(&self) -> Instant {
        self.presence.next().map_or(self.due.next_round(), |next| next.min(self.due.next_round()))
    }

    /// Forgets which streams are due, because a batch that was planned was not delivered.
    pub(super) fn reset(&mut self) {
        self.due.reset();
    }

    /// Returns what is sent next; `None` where nothing is due as far as was looked until a moment.
    pub(super) async fn next_batch(
        &mut self,
        webhook: &Webhook,
        look_until: Instant,
    ) -> Result<Option<Planned>, StoreError> {
        if let Some(batch) = &webhook.batch
            && let Some(again) = self.read_again(webhook, batch).await?
        {
            return Ok(Some(again));
        }
        self.plan(webhook, look_until).await
    }

    /// Reads the events of a batch that was begun; `None` where the log does not have them any more.
    async fn read_again(&self, webhook: &Webhook, batch: &Batch) -> Result<Option<Planned>, StoreError> {
        let noted = match &webhook.noted {
            Some(noted) if noted.epoch == batch.epoch => noted.changes.clone(),
            _ => Vec::new(),
        };
        let Some(told) = noted.get(..batch.changes) else { return Ok(None) };
        if batch.changes > 0 && self.shared.store.heads(&[]).await.map_err(unread)?.epoch != batch.epoch {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for ranges in batch.streams.chunks(READS_MAX) {
            let read = |range: &BatchStream| {
                let limit = u32::try_from(range.seq.0.saturating_sub(range.after.0)).unwrap_or(u32::MAX);
                Some(Read { stream: range.stream.parse().ok()?, after: range.after, limit })
            };
            let Some(reads) = ranges.iter().map(read).collect::<Option<Vec<_>>>() else { return Ok(None) };
            let pages = self.shared.store.read(&reads).await.map_err(unread)?;
            for (range, page) in ranges.iter().zip(pages) {
                let last = page.events.last().map_or(range.after, |last| last.seq);
                if page.epoch != batch.epoch || last != range.seq {
                    return Ok(None);
                }
                parts.push(Part { range: range.clone(), events: page.events });
            }
        }
        let before = webhook.last_number(&batch.epoch);
        let content = self.content(batch, (told, before), &parts).await?;
        let number = before + told.len() as u64;
        Ok(Some(Planned { batch: batch.clone(), noted, number, content, taken: Vec::new(), is_new: false }))
    }

    /// Returns the changes of who attends that come next. What is noted already was in a batch that was given up, and
    /// may have arrived: it is told first, with the numbers that it has.
    async fn changes(&mut self, webhook: &Webhook) -> Result<Option<Noted>, StoreError> {
        if let Some(noted) = &webhook.noted
            && self.shared.store.heads(&[]).await.map_err(unread)?.epoch == noted.epoch
        {
            return Ok(Some(noted.clone()));
        }
        let Some(occupancy) = self.shared.store.occupancy() else { return Ok(None) };
        let lease = self.shared.steady.name();
        self.presence.take(occupancy, &self.id, lease.as_deref()).await
    }

    /// Puts a batch together from what is due.
    async fn plan(&mut self, webhook: &Webhook, until: Instant) -> Result<Option<Planned>, StoreError> {
        let noted = self.changes(webhook).await?;
        let due = self.due.take(self.webhooks, &self.id, until).await?;
        let epoch = match (&due, &noted) {
            (Some((epoch, _)), Some(noted)) if noted.epoch != *epoch => {
                self.due.reset();
                return Ok(None);
            }
            (Some((epoch, _)), _) => epoch.clone(),
            (None, Some(noted)) => noted.epoch.clone(),
            (None, None) => return Ok(None),
        };
        let taken = due.map(|(_, taken)| taken).unwrap_or_default();
        let noted = noted.map(|noted| noted.changes).unwrap_or_default();
        let body_bytes_max = self.body_bytes_max(webhook);
        let (changes, changes_bytes) = batch::changes_within(&noted, body_bytes_max);
        let bytes_left = body_bytes_max.saturating_sub(changes_bytes);
        let mut parts: Vec<Part> = Vec::new();
        let (mut events_left, mut bytes) = (EVENTS_MAX as u64, 0);
        for due in taken.chunks(READS_MAX) {
            if !parts.is_empty() && (events_left == 0 || bytes >= bytes_left) {
                break;
            }
            let (mut ranges, mut reads) = (Vec::new(), Vec::new());
            for due in due {
                let range = batch::begin(due, &epoch);
                // A fair share of the batch: one stream with much to deliver does not keep the others back.
                let streams_left = (taken.len() - parts.len() - ranges.len()).max(1) as u64;
                let events =
                    (due.head.0.saturating_sub(range.after.0)).min((events_left / streams_left).max(1));
                events_left = events_left.saturating_sub(events);
                let limit = u32::try_from(events).unwrap_or(u32::MAX);
                reads.push(Read { stream: due.stream.clone(), after: range.after, limit });
                ranges.push(range);
            }
            let pages = self.shared.store.read(&reads).await.map_err(unread)?;
            for (mut range, page) in ranges.into_iter().zip(pages) {
                if page.epoch != epoch {
                    self.due.reset();
                    return Ok(None);
                }
                if page.events.is_empty() && page.floor > range.after {
                    // Retention has been faster than the look.
                    range.missed_before = Some(page.floor.next());
                    range.after = page.floor;
                }
                bytes += page.events.iter().map(|event| event.payload.get().len()).sum::<usize>();
                parts.push(Part { range, events: page.events });
            }
        }
        batch::bound(&mut parts, bytes_left, changes == 0);
        let streams = parts.iter().map(|part| part.range.clone()).collect();
        let batch = Batch { id: format!("msg_{:032x}", random::<u128>()), epoch, streams, changes };
        let before = webhook.last_number(&batch.epoch);
        let told = noted.get(..changes).unwrap_or_default();
        let content = self.content(&batch, (told, before), &parts).await?;
        let number = before + changes as u64;
        Ok(Some(Planned { batch, noted, number, content, taken, is_new: true }))
    }

    /// The largest body that is planned: that of the settings, or what the receiver has shown to take at most.
    pub(super) fn body_bytes_max(&self, webhook: &Webhook) -> usize {
        let learned = webhook.body_bytes_max.and_then(|bytes| usize::try_from(bytes).ok());
        self.shared.settings.batch_bytes_max.min(learned.unwrap_or(usize::MAX))
    }

    async fn content(
        &self,
        batch: &Batch,
        changes: (&[Occupancy], u64),
        parts: &[Part],
    ) -> Result<Content, StoreError> {
        let unknown = |draft: DraftOf| draft.kind.is_none().then_some((draft.user, draft.id));
        let drafts = parts.iter().flat_map(|part| &part.events).filter_map(|event| batch::draft_of(event));
        let mut drafts: Vec<_> = drafts.filter_map(unknown).collect();
        drafts.sort_unstable();
        drafts.dedup();
        let kinds =
            if drafts.is_empty() { DraftKinds::new() } else { self.webhooks.draft_kinds(&drafts).await? };
        let content = batch::content(&self.id, &batch.epoch, changes, parts, &self.filter, &kinds);
        content.map_err(|error| StoreError::Failed(format!("a batch of webhook {}: {error}", self.id)))
    }

    /// Goes on with streams of which a batch that was delivered could not hold everything.
    pub(super) fn go_on_behind(&mut self, planned: Planned) {
        let Planned { batch, taken, .. } = planned;
        for mut due in taken {
            let key = due.stream.key();
            let Some(range) = batch.streams.iter().find(|range| range.stream == key) else {
                self.due.put_back(due);
                continue;
            };
            let moved = due.cursor.as_ref().is_none_or(|cursor| cursor.seq != range.seq);
            due.cursor = Some(StreamCursor { epoch: batch.epoch.clone(), seq: range.seq, same: None });
            // What did not move is left to the next round.
            if moved && range.seq < due.head {
                self.due.put_back(due);
            }
        }
    }
}

fn unread(LogError(reason): LogError) -> StoreError {
    StoreError::Unavailable(reason)
}
