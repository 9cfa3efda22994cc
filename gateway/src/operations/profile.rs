//! The last minute and the last five, of every operation.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use common::operations::{SLICE, SLICES_MAX, Slices, Window};
use common::time::unix_ms;

use super::{LATENCY, all};

/// Slices of a minute.
const MINUTE: usize = SLICES_MAX / 5;

/// What the operations of a node did lately.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// When that was, Unix milliseconds.
    pub as_of: u64,
    /// The operations in the order of the way of a change. One that did nothing is left out.
    pub operations: Vec<Measured>,
}

/// An operation of a [`Profile`].
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Its name: as in [`common::operations::Operation::name`], or `statement:…`, or `http:…`.
    pub name: String,
    /// The last minute.
    pub minute: Window,
    /// The last five minutes.
    pub five_minutes: Window,
}

impl Profile {
    /// An operation, if it did anything.
    pub fn get(&self, name: &str) -> Option<&Measured> {
        self.operations.iter().find(|measured| measured.name == name)
    }
}

/// The slices of all meters, by name.
struct Recent {
    slices: BTreeMap<String, Slices>,
    latency: Option<Slices>,
    turned_at: Option<Instant>,
}

static RECENT: Mutex<Recent> = Mutex::new(Recent { slices: BTreeMap::new(), latency: None, turned_at: None });

/// Ends a slice of time if it is due. Somebody has to call it at least every [`SLICE`].
pub fn turn(now: Instant) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    // Several nodes of one process may call it.
    if recent.turned_at.is_some_and(|turned_at| now.duration_since(turned_at) < SLICE) {
        return;
    }
    recent.turned_at = Some(now);
    recent.latency.get_or_insert_default().turn(LATENCY.all());
    for (name, meters) in all() {
        recent.slices.entry(name).or_default().turn(meters);
    }
}

/// What this process did lately.
pub fn profile() -> Profile {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let measured = all().map(|(name, meters)| {
        let slices = recent.slices.entry(name.clone()).or_default();
        let [minute, five_minutes] = slices.last(meters, [MINUTE, SLICES_MAX]);
        Measured { name, minute, five_minutes }
    });
    let operations = measured.filter(|measured| measured.five_minutes.durations.count() > 0).collect();
    Profile { as_of: unix_ms(), operations }
}

/// What a process did in the last minute.
#[derive(Debug, Default)]
pub(crate) struct LastMinute {
    /// How late events were handed to sockets.
    pub(crate) latency: Window,
    /// The operations that did anything, by name, in the order of the way of a change.
    pub(crate) operations: Vec<(String, Window)>,
}

/// What this process did in the last minute.
pub(crate) fn last_minute() -> LastMinute {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let [latency] = recent.latency.get_or_insert_default().last(LATENCY.all(), [MINUTE]);
    let windows = all().map(|(name, meters)| {
        let [window] = recent.slices.entry(name.clone()).or_default().last(meters, [MINUTE]);
        (name, window)
    });
    let operations = windows.filter(|(_, window)| window.durations.count() > 0).collect();
    LastMinute { latency, operations }
}
