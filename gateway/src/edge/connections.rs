//! How many connections this node has, in all and per user.

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use common::{ConnectionId, DeviceId, UserId, ids::InvalidId};
use metrics::{counter, gauge};
use tokio::time::Instant;
use tracing::warn;

pub(crate) use super::place::{Described, Inspect, Standing};
use super::{
    activity::Activity,
    forced_end::{ForcedEnd, RecentDisconnects},
    place::Place,
    traffic::Transport,
};
use crate::{cluster::ConnectionCounts, control::Disconnect};

/// Makes up a name for a connection, or for a device that has given none.
///
/// # Errors
/// When names of this kind are not made of hexadecimal digits.
pub(crate) fn random_id<T: FromStr<Err = InvalidId>>() -> Result<T, InvalidId> {
    format!("{:016x}", rand::random::<u64>()).parse()
}

/// Counts connections and refuses those beyond the bounds. A user's bound is per node: stickiness
/// makes it one per cluster in practice, and nothing depends on it being exact.
///
/// A device that lost its connection without a word comes back while the old one, which nobody reads, still
/// counts. So where a bound is reached, a device takes over the place of a connection that it has already.
pub struct Connections {
    counts: Mutex<Counts>,
    activity: Activity,
    started: Instant,
    total_max: AtomicUsize,
    per_user_max: AtomicUsize,
}

#[derive(Default)]
struct Counts {
    total: usize,
    /// The most that there were since [`Connections::forget_peak`].
    peak: usize,
    /// Those whose transport is known.
    web_sockets: usize,
    event_streams: usize,
    users: HashMap<UserId, Vec<Arc<Place>>>,
    /// Those without a user, by their numbers.
    anonymous: HashMap<u64, Arc<Place>>,
    /// How many there ever were.
    numbered: u64,
    disconnected: RecentDisconnects,
}

/// Which bound a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitReached {
    /// The node's.
    Node,
    /// The user's.
    User,
}

impl Connections {
    /// Nobody yet.
    pub fn new(total_max: usize, per_user_max: usize) -> Arc<Self> {
        let (counts, activity) = (Mutex::default(), Activity::default());
        let (total_max, per_user_max) = (total_max.into(), per_user_max.into());
        Arc::new(Self { counts, activity, started: Instant::now(), total_max, per_user_max })
    }

    /// Replaces the bounds. Connections beyond them stay.
    pub(crate) fn set_bounds(&self, total_max: usize, per_user_max: usize) {
        self.total_max.store(total_max, Ordering::Relaxed);
        self.per_user_max.store(per_user_max, Ordering::Relaxed);
    }

    /// Counts a connection in, until the returned value is dropped. One without a user counts only
    /// against the node's bound. Where a bound is reached, and the user has connections of `device`, the one
    /// that was silent for the longest is told to end, and does not count any more.
    ///
    /// `verified` is when the verification of its token began: a connection of a user who was disconnected since is told
    /// to end at once.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn enter(
        self: &Arc<Self>,
        user: Option<&UserId>,
        device: Option<&DeviceId>,
        verified: Instant,
    ) -> Result<ConnectionGuard, LimitReached> {
        let mut counts = self.lock();
        let of_user = user.map(|user| counts.users.get(user).map_or(&[][..], Vec::as_slice));
        let limit_reached = if counts.total >= self.total_max.load(Ordering::Relaxed) {
            Some(LimitReached::Node)
        } else if of_user.is_some_and(|places| places.len() >= self.per_user_max.load(Ordering::Relaxed)) {
            Some(LimitReached::User)
        } else {
            None
        };
        let former = match (limit_reached, of_user) {
            (None, _) => None,
            (Some(limit_reached), places) => Some(longest_silent(places, device).ok_or(limit_reached)?),
        };
        let place = Arc::new(Place::new(device.cloned(), self.now()));
        self.activity.note(&place.last_active, self.started.elapsed());
        if let Some(user) = user {
            let places = counts.users.entry(user.clone()).or_default();
            match &former {
                Some(former) => places.retain(|place| !Arc::ptr_eq(place, former)),
                None => places.reserve_exact(1),
            }
            places.push(place.clone());
            if let Some(end) = counts.disconnected.since(verified, user) {
                place.end(end);
            }
        }
        counts.numbered += 1;
        let number = counts.numbered;
        if user.is_none() {
            counts.anonymous.insert(number, place.clone());
        }
        match former {
            Some(former) => {
                counter!("draftwire_places_taken_over_total").increment(1);
                former.taken.store(true, Ordering::Release);
                counts.leave(&former);
                self.activity.end(&former.last_active);
                former.end(ForcedEnd::Replaced);
            }
            None => counts.total += 1,
        }
        counts.peak = counts.peak.max(counts.total);
        counts.show();
        Ok(ConnectionGuard { connections: self.clone(), user: user.cloned(), number, place })
    }

    /// Ends the connections that a user has here, those included that have not been welcomed yet, and those that have no
    /// place yet and were verified before.
    pub(crate) fn disconnect(&self, disconnect: &Disconnect) {
        let mut counts = self.lock();
        let (user, end) = (&disconnect.user_id, ForcedEnd::from(disconnect));
        let places = counts.users.get(user).map_or(&[][..], Vec::as_slice);
        places.iter().for_each(|place| place.end(end.clone()));
        counts.disconnected.add(user.clone(), end, Instant::now());
    }

    /// The same for all users, where nobody can tell any more who was meant.
    pub(crate) fn disconnect_all(&self) {
        let mut counts = self.lock();
        let end = ForcedEnd::precaution();
        counts.users.values().flatten().for_each(|place| place.end(end.clone()));
        counts.disconnected.add_all(Instant::now());
        warn!(
            users = counts.users.len(),
            "ending the connections of all users; they come back with fresh tokens"
        );
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Connections at this moment.
    pub fn total(&self) -> usize {
        self.lock().total
    }

    /// The most connections at a time since [`Connections::forget_peak`].
    pub(crate) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Counts the peak anew, from what there are now.
    pub(crate) fn forget_peak(&self) {
        let mut counts = self.lock();
        counts.peak = counts.total;
        // Whoever comes next may have room made for so many again.
        let users = counts.users.len();
        counts.users.shrink_to(2 * users);
    }

    /// The connections at this moment, by kind.
    pub(crate) fn by_kind(&self) -> ConnectionCounts {
        let active = self.activity.active(self.started.elapsed());
        let counts = self.lock();
        let active = active.min(counts.total);
        ConnectionCounts {
            total: counts.total as u64,
            web_sockets: counts.web_sockets as u64,
            event_streams: counts.event_streams as u64,
            active: active as u64,
            idle: (counts.total - active) as u64,
            max: self.total_max.load(Ordering::Relaxed) as u64,
        }
    }

    /// The connections with the lowest ids behind `after`, in their order, each with how long ago its client was heard;
    /// those of one user, or all.
    pub(super) fn list(
        &self,
        user: Option<&UserId>,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Vec<(Arc<Place>, Duration)> {
        let mut first = BTreeMap::new();
        let mut add = |place: &Arc<Place>| {
            let Some(client) = place.client.get() else { return };
            let id = &client.connection;
            let is_beyond =
                first.len() >= limit && first.last_key_value().is_some_and(|(last, _)| last <= id);
            if after.is_some_and(|after| id <= after) || is_beyond {
                return;
            }
            first.insert(id.clone(), place.clone());
            if first.len() > limit {
                first.pop_last();
            }
        };
        let counts = self.lock();
        match user {
            Some(user) => counts.users.get(user).into_iter().flatten().for_each(&mut add),
            None => counts.users.values().flatten().chain(counts.anonymous.values()).for_each(&mut add),
        }
        drop(counts);
        let now = self.now();
        let ago =
            |place: &Place| Duration::from_millis(now.saturating_sub(place.heard_at.load(Ordering::Relaxed)));
        first.into_values().map(|place| (place.clone(), ago(&place))).collect()
    }

    /// Users with at least one connection.
    pub fn users(&self) -> usize {
        self.lock().users.len()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, transport: Transport) -> &mut usize {
        match transport {
            Transport::WebSocket => &mut self.web_sockets,
            Transport::EventStream => &mut self.event_streams,
        }
    }

    fn leave(&mut self, place: &Place) {
        if let Some(client) = place.client.get() {
            *self.of(client.transport) -= 1;
        }
    }

    fn show(&self) {
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_connections").set(self.total as f64);
            gauge!("draftwire_users").set(self.users.len() as f64);
        }
    }
}

fn longest_silent(places: Option<&[Arc<Place>]>, device: Option<&DeviceId>) -> Option<Arc<Place>> {
    let of_device = places?.iter().filter(|place| device.is_some() && place.device.as_ref() == device);
    of_device.min_by_key(|place| place.heard_at.load(Ordering::Relaxed)).cloned()
}

/// A connection that is counted.
pub struct ConnectionGuard {
    connections: Arc<Connections>,
    user: Option<UserId>,
    number: u64,
    place: Arc<Place>,
}

impl ConnectionGuard {
    /// Says who is connected, and how. Called once.
    pub(super) fn describe(&self, client: Described) {
        let transport = client.transport;
        let mut counts = self.connections.lock();
        // Set under the lock. One that was replaced already counts no more.
        if !self.place.taken.load(Ordering::Acquire) && self.place.client.set(client).is_ok() {
            *counts.of(transport) += 1;
        }
    }

    /// Says through whom the session can be seen. Called once.
    pub(super) fn inspect_through(&self, session: Weak<dyn Inspect>) {
        let _ = self.place.session.set(session);
    }

    /// Says where the connection stands while its session cannot be seen; `None` once it can.
    pub(super) fn stand(&self, standing: Option<Standing>) {
        *self.place.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing.map(Box::new);
    }

    /// The client has sent something.
    pub(super) fn active(&self) {
        if self.place.taken.load(Ordering::Acquire) {
            return;
        }
        self.connections.activity.note(&self.place.last_active, self.connections.started.elapsed());
    }

    /// The client has shown that it lives.
    pub(crate) fn heard(&self) {
        self.place.heard_at.store(self.connections.now(), Ordering::Relaxed);
    }

    /// Returns why the connection has to end, if it has to.
    pub(crate) fn forced_end(&self) -> Option<&ForcedEnd> {
        self.place.end.get()
    }

    /// Ready once the connection has to end.
    pub(crate) fn poll_forced_end(&self, context: &Context<'_>) -> Poll<ForcedEnd> {
        self.place.waker.register(context.waker());
        self.forced_end().map_or(Poll::Pending, |end| Poll::Ready(end.clone()))
    }

    /// The same, waiting. Cancel-safe.
    pub(crate) async fn until_forced_end(&self) -> ForcedEnd {
        poll_fn(|context| self.poll_forced_end(context)).await
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        // Set under the lock; then another one counts instead.
        if self.place.taken.load(Ordering::Acquire) {
            return;
        }
        counts.total -= 1;
        counts.leave(&self.place);
        self.connections.activity.end(&self.place.last_active);
        let Some(user) = &self.user else {
            counts.anonymous.remove(&self.number);
            return counts.show();
        };
        if let Some(places) = counts.users.get_mut(user) {
            places.retain(|place| !Arc::ptr_eq(place, &self.place));
            if places.is_empty() {
                counts.users.remove(user);
            }
        }
        counts.show();
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
