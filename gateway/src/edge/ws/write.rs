//! How a session writes: what is queued, all of it together, and as the client reads.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use common::{message::Message, operations::Tally, time::unix_ms};
use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};
use websocket::Ended;

use super::{
    outcome::{End, node_stops, token_expired},
    parking::Park,
    session::Session,
};
use crate::subscriptions::Outbox;

/// A write that took longer than this had to wait for the client to read: it lives.
const WAITED_FOR_THE_CLIENT: Duration = Duration::from_millis(100);

/// How often the wall clock is looked at during a write that waits for the client.
const TOKEN_LOOK_INTERVAL: Duration = Duration::from_secs(5);

impl Session {
    /// Queues an encoded message of this connection alone.
    pub(super) fn push(&mut self, json: Bytes) {
        Tally::MessagesOut.add(1);
        self.outbox.push(&Message::new(json), None);
    }

    /// Writes what is queued, all of it together. Returns whether that had to wait for the client.
    pub(super) async fn flush(&mut self) -> Result<bool, End> {
        if self.outbox.is_empty() && !self.unsent {
            return Ok(false);
        }
        // Nearly always the kernel takes it at once.
        let waits = !self.try_flush()?;
        if waits {
            // Nobody sees the session while it waits for its client, and these are the ones that operators look for.
            self.guard.stand(Some(self.standing()));
            // On the heap, because every connection would hold the room for it.
            Box::pin(self.send()).await?;
            self.guard.stand(None);
            self.sent();
        }
        // A client that reads as fast as events come must not have the thread to itself.
        consume_budget().await;
        Ok(waits)
    }

    /// Writes what the kernel takes at once. Returns whether that was all.
    fn try_flush(&mut self) -> Result<bool, Ended> {
        self.unsent = !self.socket.try_send(self.outbox.frames())?;
        if !self.unsent {
            self.sent();
        }
        Ok(!self.unsent)
    }

    /// Everything was written.
    fn sent(&mut self) {
        self.unsent = false;
        self.outbox.shrink();
        if self.client.identity.is_none() {
            self.spoke_at = Instant::now();
        }
    }

    /// Writes the rest as the client reads. Meanwhile the session looks at nothing else, so what ends it in
    /// any case is looked at here: its token, the stop of the node, and what ends it from outside.
    pub(super) async fn send(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let stall_max = self.limits().heartbeat.timeout;
        let mut leave_at = self.leave_at;
        let mut stopping = self.context.drain.subscribe();
        let mut sending = pin!(self.socket.send(self.outbox.frames(), stall_max));
        loop {
            let look_at = self
                .expiry
                .as_ref()
                .map(|expiry| Instant::now() + expiry.wait_for_end(unix_ms()).min(TOKEN_LOOK_INTERVAL));
            let until = look_at.into_iter().chain(leave_at).min();
            tokio::select! {
                sent = sending.as_mut() => {
                    sent?;
                    break;
                }
                () = sleep_until(until.unwrap_or(began)), if until.is_some() => {
                    if leave_at.is_some_and(|leave_at| Instant::now() >= leave_at) {
                        return Err(node_stops());
                    }
                    if self.expiry.as_ref().is_some_and(|expiry| expiry.has_ended(unix_ms())) {
                        return Err(token_expired());
                    }
                }
                end = self.guard.until_forced_end() => return Err(end.into()),
                Ok(()) = stopping.changed(), if leave_at.is_none() => {
                    leave_at = Some(Instant::now() + self.context.live.node().websocket.drain_window);
                }
            }
        }
        if began.elapsed() > WAITED_FOR_THE_CLIENT {
            self.heartbeat.alive();
        }
        Ok(())
    }
}

impl Park for Session {
    fn deliver(&mut self) -> bool {
        if self.unsent || self.ended.is_some() {
            return false;
        }
        self.subscriptions.take_marked();
        let handed_out = self.subscriptions.advance(&mut self.outbox).map_err(End::from);
        let sent = handed_out.and_then(|()| Ok(self.outbox.is_empty() || self.try_flush()?));
        match sent {
            Ok(sent) => sent && self.subscriptions.is_idle() && !self.subscriptions.must_be_polled(),
            Err(end) => {
                self.ended = Some(end);
                false
            }
        }
    }

    fn fail(&mut self) {
        // In what state it is, nobody knows: as where its task panics, the client finds the connection gone.
        self.ended = Some(End::Gone);
    }
}
