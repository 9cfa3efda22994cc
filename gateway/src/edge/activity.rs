//! How many connections are active: their clients have sent something lately. Pure: the time is an argument.
//!
//! Nobody goes over all connections for that. Time has slots, each with the number of connections that were active in it
//! last; one that sends something moves to the present slot.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long a slot is.
const SLOT: Duration = Duration::from_secs(10);

/// Slots that count: a minute, with the one that has begun.
const COUNTED: u32 = 6;

/// Counts active connections.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<[Slot; COUNTED as usize]>);

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: u32,
    connections: usize,
}

/// In which slot a connection was active last; zero before it first was.
#[derive(Debug, Default)]
pub(super) struct LastActive(AtomicU32);

/// The slot of a moment, given as the time since some beginning.
fn slot_of(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / SLOT.as_secs()).unwrap_or(u32::MAX - 1) + 1
}

impl Activity {
    /// The client has sent something.
    pub(super) fn note(&self, last: &LastActive, now: Duration) {
        let present = slot_of(now);
        // Nearly always it was active in this slot already. Threads that see the slots change at once do it one by one.
        if last.0.load(Ordering::Relaxed) == present {
            return;
        }
        let mut slots = self.slots();
        let before = last.0.swap(present, Ordering::Relaxed);
        remove(&mut slots, before);
        let slot = &mut slots[(present % COUNTED) as usize];
        if slot.number != present {
            *slot = Slot { number: present, connections: 0 };
        }
        slot.connections += 1;
    }

    /// The connection has ended.
    pub(super) fn end(&self, last: &LastActive) {
        remove(&mut self.slots(), last.0.swap(0, Ordering::Relaxed));
    }

    /// How many were active within the last minute.
    pub(super) fn active(&self, now: Duration) -> usize {
        let present = slot_of(now);
        let counts = |slot: &&Slot| slot.number + COUNTED > present;
        self.slots().iter().filter(counts).map(|slot| slot.connections).sum()
    }

    fn slots(&self) -> MutexGuard<'_, [Slot; COUNTED as usize]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(slots: &mut [Slot; COUNTED as usize], number: u32) {
    let slot = &mut slots[(number % COUNTED) as usize];
    // Otherwise its time is over, and it is not counted any more.
    if slot.number == number {
        slot.connections = slot.connections.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_active_for_a_minute_after_its_last_message() {
        let (activity, [one, two]) = (Activity::default(), [LastActive::default(), LastActive::default()]);
        let at = Duration::from_secs;
        activity.note(&one, at(0));
        activity.note(&one, at(3));
        activity.note(&two, at(5));
        assert_eq!(activity.active(at(9)), 2);
        activity.note(&two, at(31));
        assert_eq!((activity.active(at(59)), activity.active(at(60)), activity.active(at(90))), (2, 1, 0));
        // The slot of long ago has another number now.
        activity.note(&one, at(61));
        assert_eq!(activity.active(at(61)), 2);
        activity.end(&two);
        activity.end(&two);
        assert_eq!(activity.active(at(61)), 1);
        activity.end(&one);
        assert_eq!((activity.active(at(61)), activity.active(at(3600))), (0, 0));
    }
}
