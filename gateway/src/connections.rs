//! How many connections this node has, in all and per user.

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{UserId, ids::InvalidId};
use metrics::gauge;

/// Makes up a name for a connection, or for a device that has given none.
///
/// # Errors
/// When names of this kind are not made of hexadecimal digits.
pub(crate) fn made_up<T: FromStr<Err = InvalidId>>() -> Result<T, InvalidId> {
    format!("{:016x}", rand::random::<u64>()).parse()
}

/// Counts connections and refuses those beyond the bounds. A user's bound is per node: stickiness
/// makes it one per cluster in practice, and nothing depends on it being exact.
pub struct Connections {
    counts: Mutex<Counts>,
    total_max: usize,
    per_user_max: usize,
}

#[derive(Default)]
struct Counts {
    total: usize,
    /// The most that there were since [`Connections::forget_peak`].
    peak: usize,
    users: HashMap<UserId, usize>,
}

/// Which bound a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// The node's.
    Node,
    /// The user's.
    User,
}

impl Connections {
    /// Nobody yet.
    pub fn new(total_max: usize, per_user_max: usize) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), total_max, per_user_max })
    }

    /// Counts a connection in, until the returned value is dropped. One without a user counts only
    /// against the node's bound.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn enter(self: &Arc<Self>, user: Option<&UserId>) -> Result<Entered, Crowded> {
        let mut counts = self.lock();
        if counts.total >= self.total_max {
            return Err(Crowded::Node);
        }
        if let Some(user) = user {
            let of_user = counts.users.get(user).copied().unwrap_or(0);
            if of_user >= self.per_user_max {
                return Err(Crowded::User);
            }
            counts.users.insert(user.clone(), of_user + 1);
        }
        counts.total += 1;
        counts.peak = counts.peak.max(counts.total);
        counts.show();
        Ok(Entered { connections: self.clone(), user: user.cloned() })
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

    /// Users with at least one connection.
    pub fn users(&self) -> usize {
        self.lock().users.len()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn show(&self) {
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_connections").set(self.total as f64);
            gauge!("draftwire_users").set(self.users.len() as f64);
        }
    }
}

/// A connection that is counted.
pub struct Entered {
    connections: Arc<Connections>,
    user: Option<UserId>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        counts.total -= 1;
        if let Some(user) = &self.user
            && let Some(of_user) = counts.users.get_mut(user)
        {
            *of_user -= 1;
            if *of_user == 0 {
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
        let first = connections.enter(Some(&alice)).ok().unwrap();
        let _second = connections.enter(Some(&alice)).ok().unwrap();
        assert_eq!(connections.enter(Some(&alice)).err(), Some(Crowded::User));
        let third = connections.enter(Some(&bob)).ok().unwrap();
        assert_eq!(connections.enter(Some(&bob)).err(), Some(Crowded::Node));
        assert_eq!(connections.enter(None).err(), Some(Crowded::Node));
        assert_eq!((connections.total(), connections.users()), (3, 2));
        drop((first, third));
        assert_eq!((connections.total(), connections.users()), (1, 1));
        assert!(connections.enter(Some(&alice)).is_ok());
        let _anonymous = connections.enter(None).ok().unwrap();
        assert_eq!((connections.total(), connections.users()), (2, 1));
    }
}
