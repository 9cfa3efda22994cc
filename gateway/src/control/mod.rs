//! Follows the stream `control`, which says what all nodes of a cluster are to do, in one order.
//!
//! It is a stream as all others: it has a log, numbers, copies on the bus, and the sweep, so every node has each of
//! its events within a moment with Redis, and within the sweep's interval without. A node follows it from its head
//! at its start on: what came before concerned connections that it does not have. Where the history gets another name,
//! a node goes on at the tip, and events that were committed meanwhile are counted as missed.

mod event;

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use common::{Cursor, Epoch, Event, Stream};
use fanout::{Deliveries, Hub, Mailbox, Step, log::LogError, supervise::catch_panic};
use metrics::counter;
use tokio::{sync::watch, task::AbortHandle, time::sleep};
use tracing::{debug, info, warn};

pub(crate) use event::{ControlEvent, Disconnect};

/// The pause before the stream is followed again, where the store did not answer or applying an event panicked.
const RETRY: Duration = Duration::from_millis(500);

/// What is taken of the stream at a time, in bytes.
const STEP_BYTES_MAX: usize = 64 * 1024;

/// The slot of the only stream in its mailbox.
const SLOT: u32 = 0;

/// Does on this node what an event asks for. It is given each event once, in their order.
pub(crate) type Apply = Box<dyn Fn(&ControlEvent) + Send + Sync>;

/// The task that follows the stream. Dropping it ends it.
pub(crate) struct Control {
    task: AbortHandle,
    followed: watch::Receiver<bool>,
}

impl Control {
    /// Starts it.
    pub(crate) fn start(hub: Arc<Hub>, apply: Apply) -> Self {
        let (following, followed) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut position = None;
            loop {
                let following = follow(&hub, &apply, &following, &mut position);
                if let Ok(Err(error)) = catch_panic("control", following).await {
                    debug!(%error, "the control stream cannot be followed; trying again");
                }
                sleep(RETRY).await;
            }
        });
        Self { task: task.abort_handle(), followed }
    }

    /// Whether the stream is followed: true for good once it is. Whoever connects before might miss an event that
    /// concerns it.
    pub(crate) fn followed(&self) -> watch::Receiver<bool> {
        self.followed.clone()
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Follows the stream from a position, or from its head. `position` moves before an event is applied, so that one
/// that panics is passed over.
async fn follow(
    hub: &Hub,
    apply: &Apply,
    following: &watch::Sender<bool>,
    position: &mut Option<Cursor>,
) -> Result<Infallible, LogError> {
    let mailbox = Arc::<Mailbox>::default();
    let mut reader = hub.follow(Stream::Control, position.as_ref(), mailbox.clone(), SLOT).await?;
    position.get_or_insert_with(|| reader.cursor());
    following.send_replace(true);
    loop {
        match reader.step(STEP_BYTES_MAX) {
            Step::Send(due) => {
                for delivery in due.iter().flat_map(Deliveries::as_slice) {
                    take(&delivery.event, reader.epoch(), apply, position);
                }
            }
            Step::Read(read) => {
                let page = hub.read(read).await;
                for event in reader.accept(&page) {
                    take(&event, reader.epoch(), apply, position);
                }
            }
            Step::Reset => match reader.skip() {
                Some(cursor) => {
                    counter!("draftwire_control_events_total", "outcome" => "missed").increment(1);
                    warn!(%cursor, "events of the control stream are gone; going on behind them");
                    *position = Some(cursor);
                }
                None => marked(&mailbox).await,
            },
            Step::Wait => marked(&mailbox).await,
            Step::Signals(_) | Step::Synced(_) => {}
        }
    }
}

async fn marked(mailbox: &Mailbox) {
    poll_fn(|context| mailbox.poll_take(context).map(drop)).await;
}

fn take(event: &Event, epoch: &Epoch, apply: &Apply, position: &mut Option<Cursor>) {
    *position = Some(Cursor { epoch: epoch.clone(), seq: event.seq });
    let outcome = match ControlEvent::of(event) {
        Ok(Some(known)) => {
            info!(seq = %event.seq, kind = %event.kind, "applying an event of the control stream");
            apply(&known);
            "applied"
        }
        Ok(None) => {
            warn!(seq = %event.seq, kind = %event.kind, "an event of the control stream is of a kind that this version does not know");
            "unknown"
        }
        Err(error) => {
            warn!(seq = %event.seq, kind = %event.kind, %error, "an event of the control stream cannot be read");
            "malformed"
        }
    };
    counter!("draftwire_control_events_total", "outcome" => outcome).increment(1);
}
