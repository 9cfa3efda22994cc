//! Which streams somebody on this node follows. The bus is subscribed to exactly those.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{Seq, Stream};
use metrics::{counter, gauge};

use super::{
    budget::Budget,
    local_stream::{LocalStream, Registration},
    mailbox::MailboxSlot,
};
use crate::{
    LiveSettings,
    bus::{Bus, Channel},
    log::LogError,
};

/// The streams with followers now or within the linger; at most [`Settings::streams_max`](crate::Settings::streams_max).
///
/// Invariant: a stream in the map is subscribed on the bus, or the bus was asked to subscribe.
pub(crate) struct Registry {
    bus: Arc<dyn Bus>,
    settings: LiveSettings,
    budget: Arc<Budget>,
    /// A std mutex, held for single look-ups.
    map: Mutex<HashMap<Stream, Arc<LocalStream>>>,
    /// Held while a stream enters or leaves the map and the bus is called, so that the bus is called in
    /// the same order. Not the map's own lock: a bus may confirm before `subscribe` returns.
    bus_order: Mutex<()>,
}

impl Registry {
    pub(crate) fn new(bus: Arc<dyn Bus>, settings: &LiveSettings) -> Self {
        let budget = Budget::new(settings.load().recent_bytes_max);
        Self { bus, settings: settings.clone(), budget, map: Mutex::default(), bus_order: Mutex::default() }
    }

    /// Replaces the bound on the memory that recent events take.
    pub(crate) fn set_recent_bytes_max(&self, bytes_max: usize) {
        self.budget.set_bytes_max(bytes_max);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Stream, Arc<LocalStream>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bus_order(&self) -> MutexGuard<'_, ()> {
        self.bus_order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, stream: &Stream) -> Option<Arc<LocalStream>> {
        self.map().get(stream).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }

    /// All streams in a fixed order, so that simulations replay.
    pub(crate) fn all(&self) -> Vec<Arc<LocalStream>> {
        let mut all: Vec<_> = self.map().values().cloned().collect();
        all.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Registers a follower, and subscribes to the stream's channel if the stream is new on this node.
    ///
    /// # Errors
    /// When the stream is new on this node, and the node is at its limit of streams.
    pub(crate) fn register(&self, stream: Stream, slot: MailboxSlot) -> Result<Registration, LogError> {
        let _bus_order = self.bus_order();
        // Under the map's lock, so that the stream cannot be released between look-up and registration.
        let mut map = self.map();
        if let Some(local) = map.get(&stream) {
            return Ok(local.register(slot));
        }
        let settings = self.settings.load();
        let streams_max = settings.streams_max;
        if map.len() >= streams_max {
            drop(map);
            counter!("draftwire_streams_refused_total").increment(1);
            return Err(LogError(format!("the node follows {streams_max} streams, which is its limit")));
        }
        let local = LocalStream::new(stream.clone(), settings.recent_events_max, self.budget.clone());
        let local = Arc::new(local);
        let registration = local.register(slot);
        map.insert(stream.clone(), local);
        drop(map);
        self.bus.subscribe(&[Channel::Stream(stream)]);
        Ok(registration)
    }

    /// Subscribes to a stream's channel again, if the stream is still followed.
    pub(crate) fn resubscribe(&self, stream: &LocalStream) {
        let _bus_order = self.bus_order();
        if self.get(stream.name()).is_some() {
            self.bus.subscribe(&[Channel::Stream(stream.name().clone())]);
        }
    }

    /// Releases streams that nobody has followed for the linger, and at once those without a known event: a
    /// client that comes back to one finds nothing in memory, and clients can invent names without end.
    pub(crate) fn release_idle(&self) {
        let mut idle = Vec::new();
        let linger = self.settings.load().linger;
        let bus_order = self.bus_order();
        let mut map = self.map();
        map.retain(|name, stream| {
            let keep = stream.idle_since().is_none_or(|since| {
                since.elapsed() < linger && stream.position().is_some_and(|position| position.seq > Seq(0))
            });
            if !keep {
                idle.push(Channel::Stream(name.clone()));
            }
            keep
        });
        let left = map.len();
        drop(map);
        if !idle.is_empty() {
            self.bus.unsubscribe(&idle);
        }
        drop(bus_order);
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_streams_followed").set(left as f64);
            gauge!("draftwire_recent_bytes").set(self.budget.used() as f64);
        }
    }
}
