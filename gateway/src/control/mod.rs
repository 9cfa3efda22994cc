//! Follows the stream `control`, which says what all nodes of a cluster are to do, in one order.
//!
//! It is a stream as all others: it has a log, numbers, copies on the bus, and the sweep, so every node has each of
//! its events within a moment with Redis, and within the sweep's interval without. A node follows it from its head
//! at its start on: what came before concerned connections that it does not have.
//!
//! # What was missed
//!
//! Where the history gets another name, numbers may mean other events. The node looks in the log for the event that it
//! has applied last: where that is the same, the node goes on behind it, and misses nothing. Where it is another one or
//! none, or retention has removed events before this node had them, nothing tells what they were. Each part of the node
//! that acts on events is told so ([`Instruction::Missed`]), and must then do what is right whatever they were.

mod event;

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use common::{Cursor, Epoch, Event, Seq, Stream};
use fanout::{
    Deliveries, Hub, Mailbox, Step,
    log::{LogError, Page, Read},
    supervise::catch_panic,
};
use metrics::counter;
use tokio::{sync::watch, task::AbortHandle, time::sleep};
use tracing::{debug, info, warn};

pub(crate) use event::{ControlEvent, Disconnect, SETTING_CHANGED, SETTING_UNSET};

/// The pause before the stream is followed again, where the store did not answer or applying an event panicked.
const RETRY: Duration = Duration::from_millis(500);

/// What is taken of the stream at a time, in bytes.
const STEP_BYTES_MAX: usize = 64 * 1024;

/// The slot of the only stream in its mailbox.
const SLOT: u32 = 0;

/// What this node has to do.
#[derive(Debug)]
pub(crate) enum Instruction {
    /// What an event says.
    Event(ControlEvent),
    /// Whatever is right after events that nobody can read any more: any event that there is may have been among them.
    Missed,
}

/// Does on this node what the stream asks for. It is given each instruction once, in their order.
pub(crate) type Apply = Box<dyn Fn(&Instruction) + Send + Sync>;

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

/// How far this node has applied the stream.
struct Position {
    cursor: Cursor,
    last: Last,
}

/// The event at a position.
enum Last {
    /// It was not looked up yet.
    Unknown,
    /// The log does not have it.
    Gone,
    Event(Arc<Event>),
}

impl Position {
    fn at(cursor: Cursor) -> Self {
        Self { cursor, last: Last::Unknown }
    }

    /// Looks up the event at the position. Cancel-safe.
    async fn look_up(&mut self, hub: &Hub) {
        let page = event_at(hub, self.cursor.seq).await;
        let last = page.events.into_iter().next();
        let last = last.filter(|event| page.epoch == self.cursor.epoch && event.seq == self.cursor.seq);
        self.last = last.map_or(Last::Gone, Last::Event);
    }

    /// Returns whether everything behind the position is in a history of another name. `page` is what that has at it.
    fn continues_in(&self, page: &Page) -> bool {
        let Cursor { epoch, seq } = &self.cursor;
        if page.epoch == *epoch {
            // The name is the same, and yet the position is not good there any more.
            return false;
        }
        // Retention removes no event that is as new as a change of the name which nobody has noticed.
        let nothing_there = page.floor == *seq;
        let same = match (&self.last, page.events.first()) {
            (Last::Event(last), Some(there)) => there.seq == *seq && last.is_same(there),
            _ => false,
        };
        nothing_there || same
    }
}

/// Reads the event with a number, as the only one of a page.
async fn event_at(hub: &Hub, seq: Seq) -> Page {
    hub.read(Read { stream: Stream::Control, after: Seq(seq.0.saturating_sub(1)), limit: 1 }).await
}

/// Follows the stream from a position, or from its head. `position` moves before an instruction is applied, so that one
/// that panics is passed over.
async fn follow(
    hub: &Hub,
    apply: &Apply,
    following: &watch::Sender<bool>,
    position: &mut Option<Position>,
) -> Result<Infallible, LogError> {
    let mailbox = Arc::<Mailbox>::default();
    let from = position.as_ref().map(|position| &position.cursor);
    let mut reader = hub.follow(Stream::Control, from, mailbox.clone(), SLOT).await?;
    let position = position.get_or_insert_with(|| Position::at(reader.cursor()));
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
                Some(skipped) => {
                    let page = event_at(hub, position.cursor.seq).await;
                    if page.epoch != skipped.epoch {
                        return Err(LogError("the history has changed again".to_owned()));
                    }
                    if position.continues_in(&page) {
                        position.cursor.epoch = page.epoch;
                        reader.restart(position.cursor.clone());
                    } else {
                        miss(skipped, apply, position);
                    }
                }
                None => marked(&mailbox).await,
            },
            Step::Wait if matches!(position.last, Last::Unknown) => tokio::select! {
                () = position.look_up(hub) => {}
                // What has come is not kept waiting.
                () = marked(&mailbox) => {}
            },
            Step::Wait => marked(&mailbox).await,
            Step::Signals(_) | Step::Synced(_) => {}
        }
    }
}

async fn marked(mailbox: &Mailbox) {
    poll_fn(|context| mailbox.poll_take(context).map(drop)).await;
}

fn take(event: &Arc<Event>, epoch: &Epoch, apply: &Apply, position: &mut Position) {
    let cursor = Cursor { epoch: epoch.clone(), seq: event.seq };
    *position = Position { cursor, last: Last::Event(event.clone()) };
    let outcome = match ControlEvent::of(event) {
        Ok(Some(known)) => {
            info!(seq = %event.seq, kind = %event.kind, "applying an event of the control stream");
            apply(&Instruction::Event(known));
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
    count(outcome);
}

/// Goes on at `cursor`, behind events that are gone.
fn miss(cursor: Cursor, apply: &Apply, position: &mut Position) {
    warn!(
        from = %position.cursor,
        to = %cursor,
        "events of the control stream are gone that this node has not applied; doing what any of them may have asked for"
    );
    *position = Position::at(cursor);
    apply(&Instruction::Missed);
    count("missed");
}

fn count(outcome: &'static str) {
    counter!("draftwire_control_events_total", "outcome" => outcome).increment(1);
}
