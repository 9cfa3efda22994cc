//! The task of a node that holds a webhook: one batch at a time, for as long as the lease lasts.
//!
//! A batch is noted before it is sent, so that whoever tries it again, on this node or another, sends the same one.
//! The cursors move once the receiver has taken it, and only in the generation in which they were read: an operator
//! or another holder may have moved them meanwhile, and then the batch is one that is repeated.

use std::sync::Arc;

use fanout::log::{LogError, Read};
use metrics::{counter, gauge, histogram};
use rand::random;
use tokio::{
    sync::{Semaphore, watch},
    time::{Duration, Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{
    backoff,
    batch::{self, Content, DraftKinds, DraftOf, EVENTS_MAX, Part},
    due::Due,
    filter::Filter,
    occupancy::Steadiness,
    presence::PresenceLooks,
    sender::{ANSWER_END, Outcome, Sender},
};
use crate::{
    config,
    store::{
        Store, StoreError,
        webhooks::{
            Batch, BatchStream, DueStream, Failed, Held, Holder, StreamCursor, Webhook, WebhookStore,
        },
    },
};

/// Streams that are read at once; their pages are in memory together.
const READS_MAX: usize = 16;

/// The pause after a failure of the store.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// How long an attempt may go on once the node stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// The longest wait between two looks at what operators have changed.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// What all webhooks of a node share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: config::Webhooks,
    pub(super) sender: Sender,
    /// Whether leases in the store tell who attends.
    pub(super) steadiness: Arc<Steadiness>,
    /// Bounds the deliveries under way.
    pub(super) deliveries: Semaphore,
    /// Becomes true when the node stops.
    pub(super) stopping: watch::Sender<bool>,
}

impl Shared {
    /// Ends a while after the node has begun to stop.
    async fn stopped(&self) {
        // An error says that nobody can stop it any more.
        if self.stopping.subscribe().wait_for(|stopping| *stopping).await.is_ok() {
            sleep(STOP_GRACE).await;
        }
    }

    /// How long a lease lasts: an attempt that was begun under it ends before it does.
    pub(super) fn lease(&self) -> Duration {
        2 * self.settings.timeout + Duration::from_secs(1)
    }
}

/// What comes after a step.
enum Next {
    /// The next one.
    Again,
    /// The next one, after a pause.
    Wait(Duration),
    /// Another node holds the webhook, or nobody shall.
    Lost,
}

/// Delivers for a webhook until the lease is lost or the node stops.
pub(super) async fn hold(shared: &Shared, webhooks: &dyn WebhookStore, webhook: Webhook, holder: &Holder) {
    let mut stopping = shared.stopping.subscribe();
    let mut work = Work::new(shared, webhooks, holder, &webhook);
    gauge!("draftwire_webhooks_held").increment(1.0);
    while !*stopping.borrow() {
        let pause = match work.step().await {
            Ok(Next::Again) => continue,
            Ok(Next::Wait(pause)) => pause,
            Ok(Next::Lost) => break,
            Err(error) => {
                debug!(webhook = work.id, %error, "a webhook waits for the store");
                counter!("draftwire_webhook_store_failures_total").increment(1);
                work.due.reset();
                if Instant::now() >= work.lease_end {
                    break;
                }
                STORE_RETRY
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopping.changed() => {}
        }
    }
    gauge!("draftwire_webhooks_held").decrement(1.0);
    gauge!("draftwire_webhook_lag_events", "webhook" => work.id.clone()).set(0.0);
    // It ends by itself where this fails.
    if let Err(error) = webhooks.release(&work.id, holder).await {
        debug!(webhook = work.id, %error, "a lease could not be given back");
    }
}

struct Work<'a> {
    shared: &'a Shared,
    webhooks: &'a dyn WebhookStore,
    holder: &'a Holder,
    id: String,
    /// Not later than the store has it.
    lease_end: Instant,
    /// Under which the following two were read.
    generation: u64,
    filter: Option<Filter>,
    due: Due,
    presence: PresenceLooks,
}

/// A batch with its body, and the streams that it takes from.
struct Planned {
    batch: Batch,
    content: Content,
    taken: Vec<DueStream>,
}

impl<'a> Work<'a> {
    fn new(
        shared: &'a Shared,
        webhooks: &'a dyn WebhookStore,
        holder: &'a Holder,
        webhook: &Webhook,
    ) -> Self {
        let mut work = Self {
            shared,
            webhooks,
            holder,
            id: webhook.id.clone(),
            lease_end: Instant::now(),
            generation: 0,
            filter: None,
            due: Due::new(Vec::new(), shared.settings.poll_interval),
            presence: PresenceLooks::new(Vec::new(), shared.settings.poll_interval),
        };
        work.read(webhook);
        work
    }

    /// Takes over what operators have set.
    fn read(&mut self, webhook: &Webhook) {
        self.generation = webhook.generation;
        self.filter = common::json::Field::read(&webhook.filter).ok();
        let ranges = self.filter.as_ref().map(Filter::ranges).unwrap_or_default();
        self.due = Due::new(ranges, self.shared.settings.poll_interval);
        let topics = self.filter.as_ref().map(Filter::presence_ranges).unwrap_or_default();
        self.presence = PresenceLooks::new(topics, self.shared.settings.poll_interval);
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        let began = Instant::now();
        let lease = self.shared.lease();
        let Some(webhook) = self.webhooks.renew(&self.id, self.holder, lease).await? else {
            return Ok(Next::Lost);
        };
        self.lease_end = began + lease;
        if webhook.generation != self.generation {
            self.read(&webhook);
        }
        if let Some(at) = webhook.next_attempt_at.filter(|at| *at > webhook.now) {
            let pause = Duration::from_millis(at - webhook.now);
            return Ok(Next::Wait(pause.min(LOOK_INTERVAL_MAX).min(lease / 3)));
        }
        let again = match &webhook.batch {
            Some(batch) => self.read_again(&webhook, batch).await?,
            None => None,
        };
        let is_new = again.is_none();
        let planned = match again {
            Some(again) => Some(again),
            None => self.plan(&webhook).await?,
        };
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_webhook_lag_events", "webhook" => self.id.clone()).set(self.due.behind() as f64);
        let Some(planned) = planned else {
            let next =
                self.presence.next().map_or(self.due.next_round(), |next| next.min(self.due.next_round()));
            let pause = next.saturating_duration_since(Instant::now());
            return Ok(Next::Wait(pause.min(LOOK_INTERVAL_MAX).min(lease / 3)));
        };
        self.deliver(&webhook, planned, is_new).await
    }

    /// Reads the events of a batch that was begun; `None` where the log does not have them any more.
    async fn read_again(&self, webhook: &Webhook, batch: &Batch) -> Result<Option<Planned>, StoreError> {
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
        let content = self.content(webhook, batch, &parts).await?;
        Ok(Some(Planned { batch: batch.clone(), content, taken: Vec::new() }))
    }

    /// Puts a batch together from what is due; `None` where nothing is.
    async fn plan(&mut self, webhook: &Webhook) -> Result<Option<Planned>, StoreError> {
        let presence = match self.shared.store.occupancy() {
            Some(occupancy) if self.shared.steadiness.is_steady() => {
                self.presence.take(occupancy, &self.id).await?
            }
            _ => Vec::new(),
        };
        let (epoch, taken) = match self.due.take(self.webhooks, &self.id).await? {
            Some(found) => found,
            None if presence.is_empty() => return Ok(None),
            None => (self.shared.store.heads(&[]).await.map_err(unread)?.epoch, Vec::new()),
        };
        let mut parts: Vec<Part> = Vec::new();
        let (mut events_left, mut bytes) = (EVENTS_MAX as u64, 0);
        for due in taken.chunks(READS_MAX) {
            if !parts.is_empty() && (events_left == 0 || bytes >= batch::PAYLOAD_BYTES_MAX) {
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
        batch::bound(&mut parts);
        let streams = parts.iter().map(|part| part.range.clone()).collect();
        let batch = Batch { id: format!("msg_{:032x}", random::<u128>()), epoch, streams, presence };
        let content = self.content(webhook, &batch, &parts).await?;
        Ok(Some(Planned { batch, content, taken }))
    }

    async fn content(&self, webhook: &Webhook, batch: &Batch, parts: &[Part]) -> Result<Content, StoreError> {
        let Some(filter) = &self.filter else {
            return Err(StoreError::Failed(format!("the filter of webhook {} cannot be read", self.id)));
        };
        let unknown = |draft: DraftOf| draft.kind.is_none().then_some((draft.user, draft.id));
        let drafts = parts.iter().flat_map(|part| &part.events).filter_map(|event| batch::draft_of(event));
        let mut drafts: Vec<_> = drafts.filter_map(unknown).collect();
        drafts.sort_unstable();
        drafts.dedup();
        let kinds =
            if drafts.is_empty() { DraftKinds::new() } else { self.webhooks.draft_kinds(&drafts).await? };
        Ok(batch::content(&self.id, webhook.occupancy_number, batch, parts, filter, &kinds))
    }

    async fn deliver(
        &mut self,
        webhook: &Webhook,
        planned: Planned,
        is_new: bool,
    ) -> Result<Next, StoreError> {
        let id = self.id.clone();
        let held = Held { id: &id, holder: self.holder, generation: self.generation };
        let Planned { batch, content: Content { body, events }, taken } = planned;
        let Some(body) = body else {
            if self.webhooks.delivered(&held, &batch, false).await? {
                self.put_back(&batch, taken);
            }
            return Ok(Next::Again);
        };
        if is_new && !self.webhooks.begin(&held, &batch).await? {
            return Ok(Next::Again);
        }
        // Never closed.
        let _turn = self.shared.deliveries.acquire().await;
        let attempt_max = self.shared.settings.timeout + ANSWER_END;
        if self.lease_end.saturating_duration_since(Instant::now()) <= attempt_max {
            // It has waited for its turn for too long. The batch is noted, and is sent under a new lease.
            self.due.reset();
            return Ok(Next::Again);
        }
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.shared.sender.send(webhook, &batch.id, body) => outcome,
            // Whoever holds the webhook next sends the same batch again.
            () = self.shared.stopped() => return Ok(Next::Lost),
        };
        histogram!("draftwire_webhook_delivery_seconds").record(began.elapsed().as_secs_f64());
        counter!("draftwire_webhook_deliveries_total", "outcome" => outcome.label()).increment(1);
        match outcome {
            Outcome::Taken => {
                if webhook.attempts > 0 {
                    info!(
                        webhook = id,
                        attempts = webhook.attempts,
                        "a webhook's receiver takes deliveries again"
                    );
                }
                if self.webhooks.delivered(&held, &batch, true).await? {
                    counter!("draftwire_webhook_events_total").increment(events as u64);
                    self.put_back(&batch, taken);
                }
            }
            Outcome::Failed { error, asked, gone } => {
                if webhook.attempts == 0 || gone {
                    warn!(webhook = id, error, gone, "a webhook's receiver has not taken a delivery");
                } else {
                    debug!(webhook = id, error, attempts = webhook.attempts, "another attempt has failed");
                }
                let settings = &self.shared.settings;
                let pause = backoff::pause(webhook.attempts, settings.retry_max, random());
                let retry_after = asked.unwrap_or(pause).max(pause);
                let give_up_after = settings.give_up_after;
                self.due.reset();
                self.webhooks.failed(&held, &Failed { error, retry_after, gone, give_up_after }).await?;
            }
        }
        Ok(Next::Again)
    }

    /// Goes on with streams of which a batch could not hold everything.
    fn put_back(&mut self, batch: &Batch, taken: Vec<DueStream>) {
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
