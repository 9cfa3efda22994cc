//! Copies on their way to Redis: a queue with bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::bus::{
    Channel,
    metrics::{MESSAGES_DROPPED, PUBLISH_QUEUE_DEPTH_MAX},
};

/// Copies that may wait. At it the newest is dropped: the oldest is nearer to being sent.
const MESSAGES_MAX: usize = 8192;

/// Bytes that may wait or be unanswered, so that large payloads cannot fill the memory through
/// [`MESSAGES_MAX`]. At it the newest is dropped.
const BYTES_MAX: usize = 64 << 20;

/// A copy that waited for longer is dropped: the sweep of the other nodes is about to find the event, and
/// a flood of old copies would only delay the new ones.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Why a copy was not published.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    /// Redis is away.
    Disconnected,
    /// Redis takes copies slower than they come.
    QueueFull,
    /// It waited for too long.
    Stale,
    /// Redis refused it or did not answer.
    Failed,
}

impl Dropped {
    pub(super) fn count(self, copies: usize) {
        let reason = match self {
            Self::Disconnected => "disconnected",
            Self::QueueFull => "queue_full",
            Self::Stale => "stale",
            Self::Failed => "failed",
        };
        metrics::counter!(MESSAGES_DROPPED, "reason" => reason).increment(copies as u64);
    }
}

/// A copy, holding its share of [`BYTES_MAX`] until it is dropped.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) channel: Channel,
    pub(super) copy: Bytes,
    pub(super) queued_at: Instant,
    bytes: Arc<AtomicUsize>,
}

impl Outgoing {
    /// Whether it has waited for too long.
    pub(super) fn is_stale(&self) -> bool {
        self.queued_at.elapsed() > AGE_MAX
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.copy.len(), Ordering::Relaxed);
    }
}

/// The publishing end.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

/// An empty queue.
pub(super) fn outbox() -> (Outbox, mpsc::Receiver<Outgoing>) {
    #[allow(clippy::cast_precision_loss)]
    metrics::gauge!(PUBLISH_QUEUE_DEPTH_MAX).set(MESSAGES_MAX as f64);
    let (queue, receiver) = mpsc::channel(MESSAGES_MAX);
    (Outbox { queue, bytes: Arc::default() }, receiver)
}

impl Outbox {
    /// Queues a copy, or drops and counts it when there is no room.
    pub(super) fn push(&self, channel: Channel, copy: Bytes) {
        let held = self.bytes.fetch_add(copy.len(), Ordering::Relaxed);
        let outgoing = Outgoing { channel, copy, queued_at: Instant::now(), bytes: self.bytes.clone() };
        if held + outgoing.copy.len() > BYTES_MAX {
            return Dropped::QueueFull.count(1);
        }
        match self.queue.try_send(outgoing) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => Dropped::QueueFull.count(1),
            // The bus is closed.
            Err(mpsc::error::TrySendError::Closed(_)) => Dropped::Disconnected.count(1),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel::Canary("c".into())
    }

    #[test]
    fn it_holds_so_many_copies_and_no_more() {
        let (outbox, mut queue) = outbox();
        for _ in 0..MESSAGES_MAX + 5 {
            outbox.push(channel(), Bytes::from_static(b"copy"));
        }
        let mut held = 0;
        while queue.try_recv().is_ok() {
            held += 1;
        }
        assert_eq!(held, MESSAGES_MAX);
        assert_eq!(outbox.bytes.load(Ordering::Relaxed), 0, "every byte was given back");
    }

    #[test]
    fn it_holds_so_many_bytes_and_no_more_until_they_are_sent() {
        let (outbox, mut queue) = outbox();
        let large = Bytes::from(vec![0; BYTES_MAX / 2]);
        for _ in 0..3 {
            outbox.push(channel(), large.clone());
        }
        let sent = [queue.try_recv().unwrap(), queue.try_recv().unwrap()];
        assert!(queue.try_recv().is_err());
        outbox.push(channel(), large.clone());
        assert!(queue.try_recv().is_err(), "unanswered copies count too");
        drop(sent);
        outbox.push(channel(), large);
        assert!(queue.try_recv().is_ok());
    }
}
