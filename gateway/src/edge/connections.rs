//! How many connections this node has, in all and per user.

use std::{
    collections::HashMap,
    future::poll_fn,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use common::{DeviceId, UserId, ids::InvalidId};
use futures_util::task::AtomicWaker;
use metrics::{counter, gauge};
use tokio::time::Instant;
use tracing::warn;

use super::{
    activity::{Activity, LastActive},
    forced_end::{ForcedEnd, RecentDisconnects},
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
        let place = Arc::new(Place {
            device: device.cloned(),
            heard_at: AtomicU64::new(self.now()),
            last_active: LastActive::default(),
            transport: OnceLock::new(),
            taken: AtomicBool::new(false),
            end: OnceLock::new(),
            waker: AtomicWaker::new(),
        });
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
        Ok(ConnectionGuard { connections: self.clone(), user: user.cloned(), place })
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
        if let Some(transport) = place.transport.get() {
            *self.of(*transport) -= 1;
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

/// What a connection shares with whoever may end it.
struct Place {
    /// `None` where no other connection may take the place.
    device: Option<DeviceId>,
    /// When the client last showed that it lives, in milliseconds.
    heard_at: AtomicU64,
    /// When it last sent something.
    last_active: LastActive,
    transport: OnceLock<Transport>,
    /// Another connection counts instead.
    taken: AtomicBool,
    /// Why it has to end: the first reason that there was.
    end: OnceLock<ForcedEnd>,
    waker: AtomicWaker,
}

impl Place {
    fn end(&self, why: ForcedEnd) {
        // It may have to end already.
        let _ = self.end.set(why);
        self.waker.wake();
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
    place: Arc<Place>,
}

impl ConnectionGuard {
    /// Says how the client is connected. Called once.
    pub(super) fn uses(&self, transport: Transport) {
        let mut counts = self.connections.lock();
        // Set under the lock. One that was replaced already counts no more.
        if !self.place.taken.load(Ordering::Acquire) && self.place.transport.set(transport).is_ok() {
            *counts.of(transport) += 1;
        }
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
        if let Some(user) = &self.user
            && let Some(places) = counts.users.get_mut(user)
        {
            places.retain(|place| !Arc::ptr_eq(place, &self.place));
            if places.is_empty() {
                counts.users.remove(user);
            }
        }
        counts.show();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_leaving_makes_room() {
        let connections = Connections::new(3, 2);
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let first = connections.enter(Some(&alice), None, Instant::now()).ok().unwrap();
        let _second = connections.enter(Some(&alice), None, Instant::now()).ok().unwrap();
        assert_eq!(connections.enter(Some(&alice), None, Instant::now()).err(), Some(LimitReached::User));
        let third = connections.enter(Some(&bob), None, Instant::now()).ok().unwrap();
        assert_eq!(connections.enter(Some(&bob), None, Instant::now()).err(), Some(LimitReached::Node));
        assert_eq!(connections.enter(None, None, Instant::now()).err(), Some(LimitReached::Node));
        assert_eq!((connections.total(), connections.users()), (3, 2));
        drop((first, third));
        assert_eq!((connections.total(), connections.users()), (1, 1));
        assert!(connections.enter(Some(&alice), None, Instant::now()).is_ok());
        let _anonymous = connections.enter(None, None, Instant::now()).ok().unwrap();
        assert_eq!((connections.total(), connections.users()), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_bound_is_reached_a_device_takes_the_place_that_was_silent_for_the_longest() {
        let connections = Connections::new(4, 3);
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let (phone, laptop): (DeviceId, DeviceId) = ("phone".parse().unwrap(), "laptop".parse().unwrap());
        let enter = |user, device| connections.enter(Some(user), Some(device), Instant::now());
        let is_taken = |guard: &ConnectionGuard| guard.place.taken.load(Ordering::Acquire);
        let [first, second, other] =
            [&phone, &phone, &laptop].map(|device| enter(&alice, device).ok().unwrap());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        first.heard();
        let third = enter(&alice, &phone).ok().unwrap();
        assert_eq!([&first, &second, &other, &third].map(is_taken), [false, true, false, false]);
        assert!(matches!(second.until_forced_end().await, ForcedEnd::Replaced));
        assert_eq!(
            connections.enter(Some(&alice), None, Instant::now()).err(),
            Some(LimitReached::User),
            "another device"
        );
        // What was taken over counts no more, also once it has ended.
        drop(second);
        assert_eq!((connections.total(), connections.users()), (3, 1));
        // The same where the node is full; another user's device of that name is another one.
        let _of_bob = enter(&bob, &laptop).ok().unwrap();
        assert_eq!(enter(&bob, &phone).err(), Some(LimitReached::Node));
        let fourth = enter(&alice, &laptop).ok().unwrap();
        assert_eq!([&first, &other, &third, &fourth].map(is_taken), [false, true, false, false]);
        drop((first, other, third, fourth));
        assert_eq!((connections.total(), connections.users()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn disconnecting_a_user_ends_what_there_is_and_counts_until_it_has_ended() {
        let connections = Connections::new(9, 2);
        let (alice, bob): (UserId, UserId) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        let phone: DeviceId = "phone".parse().unwrap();
        let enter = |user| connections.enter(Some(user), Some(&phone), Instant::now()).ok().unwrap();
        let (first, second, of_bob) = (enter(&alice), enter(&alice), enter(&bob));
        let disconnect = Disconnect::from_request(alice.clone(), r#"{"reason":"first"}"#).unwrap();
        connections.disconnect(&disconnect);
        connections.disconnect(&Disconnect { reason: "second".to_owned(), ..disconnect });
        for guard in [&first, &second] {
            let end = guard.forced_end();
            assert!(
                matches!(end, Some(ForcedEnd::Disconnected { reason, .. }) if &**reason == "first"),
                "{end:?}"
            );
        }
        assert!(of_bob.forced_end().is_none());
        assert_eq!(connections.total(), 3);
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        // One that has to end already may be replaced all the same, and then counts no more.
        let third = enter(&alice);
        assert!(third.forced_end().is_none());
        assert_eq!(connections.total(), 3);
        drop((first, second, third, of_bob));
        assert_eq!((connections.total(), connections.users()), (0, 0));
    }
    #[tokio::test(start_paused = true)]
    async fn who_was_verified_before_a_disconnect_and_has_no_place_yet_is_ended() {
        let connections = Connections::new(9, 9);
        let alice: UserId = "alice".parse().unwrap();
        let enter = |user, verified| connections.enter(user, None, verified).ok().unwrap();
        let verified = Instant::now();
        let pass = || tokio::time::advance(std::time::Duration::from_millis(1));
        pass().await;
        connections.disconnect(&Disconnect::from_request(alice.clone(), r#"{"reason":"r"}"#).unwrap());
        pass().await;
        assert!(enter(Some(&alice), verified).forced_end().is_some());
        let back = enter(Some(&alice), Instant::now());
        assert!(back.forced_end().is_none(), "it has come back");
        connections.disconnect_all();
        assert!(back.forced_end().is_some());
        assert!(enter(Some(&alice), verified).forced_end().is_some());
        assert!(enter(None, verified).forced_end().is_none(), "nobody has no rights that could have changed");
    }
}
