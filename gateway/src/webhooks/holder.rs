//! The task of a node that holds a webhook: one batch at a time, for as long as the lease lasts.
//!
//! A batch is noted before it is sent, so that whoever tries it again, on this node or another, sends the same one.
//! The cursors move once the receiver has taken it, and only in the generation in which they were read: an operator
//! or another holder may have moved them meanwhile, and then the batch is one that is repeated.

use common::json::{Field as _, Invalid};
use metrics::{counter, gauge, histogram};
use rand::random;
use tokio::time::{Duration, Instant, sleep};
use tracing::{debug, info, warn};

use super::{
    backoff,
    filter::Filter,
    plan::{Planned, Planner},
    sender::{ANSWER_END, Delivery, Failure, Outcome},
    shared::Shared,
};
use crate::store::{
    StoreError,
    webhooks::{Failed, Held, Holder, Webhook, WebhookStore},
};

/// Attempts that fail before a webhook is given up, however long ago the first one was: nobody may have tried in the
/// meantime.
const GIVE_UP_ATTEMPTS_MIN: u32 = 10;

/// The pause after a failure of the store.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// The longest wait between two looks at what operators have changed.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

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
                work.forget_due();
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
    /// Under which the filter was read.
    generation: u64,
    /// Or why the filter cannot be read.
    planner: Result<Planner<'a>, String>,
}

impl<'a> Work<'a> {
    fn new(
        shared: &'a Shared,
        webhooks: &'a dyn WebhookStore,
        holder: &'a Holder,
        webhook: &Webhook,
    ) -> Self {
        Self {
            shared,
            webhooks,
            holder,
            id: webhook.id.clone(),
            lease_end: Instant::now(),
            generation: webhook.generation,
            planner: planner(shared, webhooks, webhook),
        }
    }

    fn held(&self) -> Held<'_> {
        Held { id: &self.id, holder: self.holder, generation: self.generation }
    }

    fn forget_due(&mut self) {
        if let Ok(planner) = &mut self.planner {
            planner.reset();
        }
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        let began = Instant::now();
        let lease = self.shared.lease();
        let Some(webhook) = self.webhooks.renew(&self.id, self.holder, lease).await? else {
            return Ok(Next::Lost);
        };
        let read_at = Instant::now();
        self.lease_end = began + lease;
        if webhook.generation != self.generation {
            self.generation = webhook.generation;
            self.planner = planner(self.shared, self.webhooks, &webhook);
        }
        let pause_max = LOOK_INTERVAL_MAX.min(lease / 3);
        if let Some(wait) = webhook.wait() {
            return Ok(Next::Wait(wait.min(pause_max)));
        }
        let planner = match (webhook.damage.clone(), &mut self.planner) {
            (None, Ok(planner)) => planner,
            (Some(damage), _) => return self.give_back(&webhook, damage).await,
            (None, Err(damage)) => {
                let damage = damage.clone();
                return self.give_back(&webhook, damage).await;
            }
        };
        // Looking leaves the greater part of the lease to the delivery of what was found.
        let planned = planner.next_batch(&webhook, began + lease / 3).await?;
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_webhook_lag_events", "webhook" => self.id.clone()).set(planner.behind() as f64);
        let Some(planned) = planned else {
            let pause = planner.next().saturating_duration_since(Instant::now());
            return Ok(Next::Wait(pause.min(pause_max)));
        };
        self.deliver(&webhook, read_at, planned).await
    }

    /// Notes that this node cannot read the webhook's row, and leaves it to others: it may be the row of a newer version.
    async fn give_back(&mut self, webhook: &Webhook, damage: String) -> Result<Next, StoreError> {
        warn!(webhook = self.id, damage, "a webhook's row cannot be read: nothing is delivered");
        let pause = backoff::pause(webhook.attempts, self.shared.settings.retry_max, random());
        let failed = self.failed(damage, pause);
        self.webhooks.failed(&self.held(), &failed).await?;
        Ok(Next::Lost)
    }

    fn failed(&self, error: String, retry_after: Duration) -> Failed {
        let give_up_after = (self.shared.settings.give_up_after, GIVE_UP_ATTEMPTS_MIN);
        Failed { error, retry_after, gone: false, smaller: None, give_up_after }
    }

    async fn deliver(
        &mut self,
        webhook: &Webhook,
        read_at: Instant,
        planned: Planned,
    ) -> Result<Next, StoreError> {
        let Some(body) = &planned.content.body else {
            self.delivered(planned, false).await?;
            return Ok(Next::Again);
        };
        if planned.is_new && !self.webhooks.begin(&self.held(), &planned.batch, planned.noted()).await? {
            return Ok(Next::Again);
        }
        // Never closed.
        let turn = self.shared.deliveries.acquire().await;
        let attempt_max = self.shared.settings.timeout + ANSWER_END;
        if self.lease_end.saturating_duration_since(Instant::now()) <= attempt_max {
            // It has waited for its turn for too long. The batch is noted, and is sent under a new lease.
            self.forget_due();
            return Ok(Next::Again);
        }
        let began = Instant::now();
        // The store's clock, which all nodes share: that of this machine may be wrong.
        let now = webhook.now + u64::try_from((began - read_at).as_millis()).unwrap_or(u64::MAX);
        let delivery = Delivery { id: &planned.batch.id, body: body.clone(), now };
        let outcome = tokio::select! {
            outcome = self.shared.sender.send(webhook, delivery) => outcome,
            // Whoever holds the webhook next sends the same batch again.
            () = self.shared.stopped() => return Ok(Next::Lost),
        };
        drop(turn);
        histogram!("draftwire_webhook_delivery_seconds").record(began.elapsed().as_secs_f64());
        counter!("draftwire_webhook_deliveries_total", "outcome" => outcome.label()).increment(1);
        match outcome {
            Outcome::Taken => {
                if webhook.attempts > 0 {
                    info!(
                        webhook = self.id,
                        attempts = webhook.attempts,
                        "a webhook's receiver takes deliveries again"
                    );
                }
                self.delivered(planned, true).await?;
            }
            Outcome::Failed(failure) => self.not_delivered(webhook, &planned, failure).await?,
        }
        Ok(Next::Again)
    }

    /// Moves the cursors behind a batch.
    async fn delivered(&mut self, planned: Planned, sent: bool) -> Result<(), StoreError> {
        if self.webhooks.delivered(&self.held(), &planned.delivered(sent)).await? {
            counter!("draftwire_webhook_events_total").increment(planned.content.events as u64);
            if let Ok(planner) = &mut self.planner {
                planner.go_on_behind(planned);
            }
        }
        Ok(())
    }

    /// Notes an attempt that failed, and what follows from it.
    async fn not_delivered(
        &mut self,
        webhook: &Webhook,
        planned: &Planned,
        Failure { error, asked, gone, too_large }: Failure,
    ) -> Result<(), StoreError> {
        if webhook.attempts == 0 || gone {
            warn!(webhook = self.id, error, gone, "a webhook's receiver has not taken a delivery");
        } else {
            debug!(webhook = self.id, error, attempts = webhook.attempts, "another attempt has failed");
        }
        self.forget_due();
        let pause = backoff::pause(webhook.attempts, self.shared.settings.retry_max, random());
        let mut failed = Failed { gone, ..self.failed(error, asked.unwrap_or(pause).max(pause)) };
        let bytes = planned.content.body.as_ref().map_or(0, Vec::len);
        if too_large && planned.content.is_divisible {
            let planned_for = self.planner.as_ref().map_or(bytes, |planner| planner.body_bytes_max(webhook));
            let smaller = bytes.min(planned_for) / 2;
            failed.error = format!("{}; batches have at most {smaller} bytes from now on", failed.error);
            failed.smaller = Some(smaller as u64);
        } else if too_large {
            let only = planned.batch.streams.iter().find(|part| part.seq > part.after);
            let only = only
                .map_or_else(String::new, |part| format!(" of {} before {}", part.stream, part.seq.next()));
            failed.error =
                format!("{}; it refuses a single event{only}, a body of {bytes} bytes", failed.error);
        }
        self.webhooks.failed(&self.held(), &failed).await?;
        Ok(())
    }
}

/// Plans for a webhook as its row has it.
///
/// # Errors
/// Why its filter cannot be read.
fn planner<'a>(
    shared: &'a Shared,
    webhooks: &'a dyn WebhookStore,
    webhook: &Webhook,
) -> Result<Planner<'a>, String> {
    let filter = Filter::read(&webhook.filter);
    let filter =
        filter.map_err(|error: Invalid| error.sentence("`filter` in the store cannot be read: it"))?;
    Ok(Planner::new(shared, webhooks, webhook.id.clone(), filter))
}
