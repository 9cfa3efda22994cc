//! What the bus delivers to the hub.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use metrics::counter;
use tracing::{debug, warn};

use crate::{
    Source,
    bus::{Channel, Inbox, Unsure},
    envelope::{self, Body, Envelope},
    hub::Hub,
};

impl Inbox for Hub {
    fn copy(&self, channel: &Channel, copy: Bytes) {
        let stream = match channel {
            Channel::Canary(_) => return self.canary.returned(channel, &copy),
            Channel::Stream(stream) => stream,
        };
        if envelope::sender(&copy) == Some(self.sender.as_str()) {
            // Our own followers had it when it was committed.
            return;
        }
        let Some(followed) = self.streams.get(stream) else { return };
        match envelope::decode(&copy, stream) {
            Ok(Envelope { sender, body }) => match body {
                Body::Events { epoch, events } => self.offer(&followed, &epoch, &events, Source::Bus),
                Body::Signal { number, signal } => followed.signal_from(&sender, number, signal),
                Body::Presence(body) => self.announced(stream, sender, body),
            },
            Err(error) => {
                counter!("draftwire_bus_messages_rejected_total", "reason" => error.label()).increment(1);
                debug!(%stream, %error, "rejected a message; the sweep finds the events that it carried");
            }
        }
    }

    fn subscribed(&self, channel: &Channel) {
        let Channel::Stream(stream) = channel else { return };
        let Some(followed) = self.streams.get(stream) else { return };
        followed.subscribed.store(true, Ordering::Release);
        followed.subscribed_notify.notify_waiters();
        self.subscribed_room(stream);
        if followed.is_open() && self.is_due(&followed) {
            self.sweep_now.notify_one();
        }
    }

    fn unsure(&self, why: Unsure) {
        warn!(
            reason = why.label(),
            "messages may have been lost; comparing every followed stream with the log"
        );
        counter!("draftwire_bus_unsure_total", "reason" => why.label()).increment(1);
        self.doubt();
        if why == Unsure::Disconnected {
            for followed in self.streams.all() {
                followed.subscribed.store(false, Ordering::Release);
            }
        }
        if why == Unsure::Reconnected {
            self.rooms.wake_all();
        }
        self.sweep_now.notify_one();
    }
}
