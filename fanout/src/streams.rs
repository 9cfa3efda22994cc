//! Which streams somebody on this node follows, and that the bus hears exactly those.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{Seq, Stream};
use metrics::{counter, gauge};

use crate::{
    Settings,
    bus::{Bus, Channel},
    followed::Followed,
    log::LogError,
    mailbox::Mailbox,
    recent::Budget,
};

/// The streams with followers, or with some within the linger; at most [`Settings::streams_max`].
///
/// Invariant: a stream in the map is subscribed on the bus, or has been asked to be.
pub(crate) struct Streams {
    bus: Arc<dyn Bus>,
    settings: Settings,
    budget: Arc<Budget>,
    /// A std mutex, held for single look-ups.
    map: Mutex<HashMap<Stream, Arc<Followed>>>,
    /// Held while a stream enters or leaves the map and the bus is told, so that the bus is told in
    /// the same order. Not the map's own lock: a bus may confirm before `subscribe` returns.
    membership: Mutex<()>,
}

impl Streams {
    pub(crate) fn new(bus: Arc<dyn Bus>, settings: &Settings) -> Self {
        let budget = Budget::new(settings.recent_bytes_max);
        Self { bus, settings: settings.clone(), budget, map: Mutex::default(), membership: Mutex::default() }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Stream, Arc<Followed>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn membership(&self) -> MutexGuard<'_, ()> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, stream: &Stream) -> Option<Arc<Followed>> {
        self.map().get(stream).cloned()
    }

    /// All of them in a fixed order, so that simulations replay.
    pub(crate) fn all(&self) -> Vec<Arc<Followed>> {
        let mut all: Vec<_> = self.map().values().cloned().collect();
        all.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        all
    }

    /// Registers a follower, subscribing to the stream if it is new here. Returns the stream and the seat.
    ///
    /// # Errors
    /// When the stream is new here, and there are too many.
    pub(crate) fn sit(
        &self,
        stream: Stream,
        mailbox: Arc<Mailbox>,
        slot: u32,
    ) -> Result<(Arc<Followed>, u32), LogError> {
        let _membership = self.membership();
        // Under the map's lock, so that the stream cannot be let go between look-up and sitting down.
        let mut map = self.map();
        if let Some(followed) = map.get(&stream) {
            return Ok((followed.clone(), followed.sit(mailbox, slot)));
        }
        let streams_max = self.settings.streams_max;
        if map.len() >= streams_max {
            drop(map);
            counter!("draftwire_streams_refused_total").increment(1);
            return Err(LogError(format!("the node follows {streams_max} streams, which is its limit")));
        }
        let followed =
            Arc::new(Followed::new(stream.clone(), self.settings.recent_events_max, self.budget.clone()));
        let seat = followed.sit(mailbox, slot);
        map.insert(stream.clone(), followed.clone());
        drop(map);
        self.bus.subscribe(&[Channel::Stream(stream)]);
        Ok((followed, seat))
    }

    /// Asks the bus anew for a stream, if it is still followed here.
    pub(crate) fn subscribe_again(&self, followed: &Followed) {
        let _membership = self.membership();
        if self.get(&followed.stream).is_some() {
            self.bus.subscribe(&[Channel::Stream(followed.stream.clone())]);
        }
    }

    /// Lets go of streams that nobody has followed for the linger, and at once of those that no event is
    /// known of: who comes back to one finds nothing in memory, and names cost nothing to make up.
    pub(crate) fn release_idle(&self) {
        let mut idle = Vec::new();
        let membership = self.membership();
        let mut map = self.map();
        map.retain(|stream, followed| {
            let keep = followed.idle_since().is_none_or(|since| {
                since.elapsed() < self.settings.linger
                    && followed.position().is_some_and(|position| position.seq > Seq(0))
            });
            if !keep {
                idle.push(Channel::Stream(stream.clone()));
            }
            keep
        });
        let left = map.len();
        drop(map);
        if !idle.is_empty() {
            self.bus.unsubscribe(&idle);
        }
        drop(membership);
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_streams_followed").set(left as f64);
            gauge!("draftwire_recent_bytes").set(self.budget.used() as f64);
        }
    }
}
