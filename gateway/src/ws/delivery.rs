//! Events and snapshots on their way to the client.

use std::time::Duration;

use common::{
    Cursor,
    close::Close,
    protocol::{ServerMessage, SnapshotBody},
    time::unix_ms,
};
use fanout::{Delivery, Follower, Source, Step, log::Page};
use metrics::counter;
use tokio::time::sleep;
use tracing::debug;

use super::session::{Due, End, OUTBOUND_BYTES_MAX, Session};
use crate::store::DraftList;

/// A stream that the connection follows.
pub(super) struct Slot {
    pub(super) follower: Follower,
    /// The stream's name for clients.
    pub(super) name: String,
    /// A page or a snapshot is on its way; until then the follower is left alone.
    pub(super) reading: bool,
    /// It has once stood at the head: needing the log from then on means that the client is slow.
    pub(super) live: bool,
}

/// The pause between attempts to read a snapshot while the store is down or busy, on average.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(1);

/// Attempts before the connection is given up: the client may find a node that does better.
const SNAPSHOT_ATTEMPTS_MAX: usize = 60;

impl Session {
    /// Does what the follower in a slot needs next.
    pub(super) fn advance(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.reading {
            return;
        }
        let step = slot.follower.step(OUTBOUND_BYTES_MAX);
        match step {
            Step::Wait => {}
            // A user's stream carries none.
            Step::Signals(_) => self.make_ready(index),
            Step::Send(due) => {
                slot.live |= due.iter().any(|delivery| delivery.source != Source::Replay);
                self.deliver(due);
                self.make_ready(index);
            }
            Step::Synced(seq) => {
                slot.live = true;
                let synced = ServerMessage::Synced { stream: &slot.name, seq, epoch: None, missed_before: None }.json();
                self.push(synced);
                self.make_ready(index);
            }
            Step::Read(read) => {
                if slot.live {
                    counter!("draftwire_follower_fallbacks_total").increment(1);
                }
                slot.reading = true;
                let hub = self.node.hub.clone();
                self.pending.push(Box::pin(async move { Due::Page(index, hub.read(read).await) }));
            }
            Step::Reset => {
                slot.reading = true;
                let (node, user) = (self.node.clone(), self.client.identity.user.clone());
                self.pending.push(Box::pin(async move {
                    for _ in 0..SNAPSHOT_ATTEMPTS_MAX {
                        match node.drafts.snapshot(user.clone()).await {
                            Ok(list) => return Due::Snapshot(index, Some(list)),
                            Err(failure) => debug!(failure.message, "the snapshot is read again later"),
                        }
                        // Many connections are in this together: they come back one by one.
                        sleep(SNAPSHOT_RETRY.mul_f64(rand::random_range(0.5..1.5))).await;
                    }
                    Due::Snapshot(index, None)
                }));
            }
        }
    }

    /// Queues events that all followers on the node share.
    fn deliver(&mut self, due: Vec<Delivery>) {
        let now = unix_ms();
        for Delivery { event, source } in due {
            self.push(event.json().clone());
            self.node.metrics.delivered(source, 1);
            if source != Source::Replay {
                let late = now.saturating_sub(event.timestamp);
                self.node.metrics.commit_to_delivery.record(Duration::from_millis(late));
            }
        }
    }

    /// Takes the page that a follower needed.
    pub(super) fn page(&mut self, index: usize, page: &Page) {
        let slot = &mut self.slots[index];
        slot.reading = false;
        let events = slot.follower.accept(page);
        self.node.metrics.delivered(Source::Replay, events.len() as u64);
        for event in events {
            self.push(event.json().clone());
        }
        self.make_ready(index);
    }

    /// Takes the state that is sent instead of events, if it could be had.
    pub(super) fn snapshot(&mut self, index: usize, list: Option<DraftList>) -> Result<(), End> {
        let Some(list) = list else {
            return Err(End::close(Close::Overloaded, "the state cannot be read; come back later"));
        };
        counter!("draftwire_snapshots_total").increment(1);
        self.node.hub.observe_epoch(&list.epoch);
        let slot = &mut self.slots[index];
        slot.reading = false;
        slot.live = true;
        let snapshot = ServerMessage::Snapshot {
            stream: &slot.name,
            epoch: &list.epoch,
            seq: list.seq,
            payload: SnapshotBody { drafts: &list.drafts },
        }
        .json();
        slot.follower.restart(Cursor { epoch: list.epoch, seq: list.seq });
        self.push(snapshot);
        self.make_ready(index);
        Ok(())
    }
}
