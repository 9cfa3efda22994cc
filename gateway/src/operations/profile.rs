//! The last minute and the last five, of every operation.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use common::operations::{SLICE, SLICES_MAX, Slices, Window};
use common::time::unix_ms;
use serde::{Deserialize, Serialize};

use super::all;

/// Slices of a minute.
const MINUTE: usize = SLICES_MAX / 5;

/// What the operations of a node did lately; or of several nodes, [merged](Self::merge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// When that was, Unix milliseconds; of several nodes the earliest.
    pub as_of: u64,
    /// The operations in the order of the way of a change. One that did nothing is left out.
    pub operations: Vec<Measured>,
}

/// An operation of a [`Profile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

    /// Adds the operations of another node.
    pub fn merge(&mut self, other: &Self) {
        self.as_of = self.as_of.min(other.as_of);
        for theirs in &other.operations {
            match self.operations.iter_mut().find(|own| own.name == theirs.name) {
                Some(own) => {
                    own.minute.merge(&theirs.minute);
                    own.five_minutes.merge(&theirs.five_minutes);
                }
                None => self.operations.push(theirs.clone()),
            }
        }
    }
}

/// The slices of all meters, by name.
struct Recent {
    slices: BTreeMap<String, Slices>,
    turned_at: Option<Instant>,
}

static RECENT: Mutex<Recent> = Mutex::new(Recent { slices: BTreeMap::new(), turned_at: None });

/// Ends a slice of time if it is due. Somebody has to call it at least every [`SLICE`].
pub fn turn(now: Instant) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    // Several nodes of one process may call it.
    if recent.turned_at.is_some_and(|turned_at| now.duration_since(turned_at) < SLICE) {
        return;
    }
    recent.turned_at = Some(now);
    for (name, meter) in all() {
        recent.slices.entry(name).or_default().turn(meter);
    }
}

/// What this process did lately.
pub fn profile() -> Profile {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let measured = all().map(|(name, meter)| {
        let slices = recent.slices.entry(name.clone()).or_default();
        let (minute, five_minutes) = (slices.last(meter, MINUTE), slices.last(meter, SLICES_MAX));
        Measured { name, minute, five_minutes }
    });
    let operations = measured.filter(|measured| measured.five_minutes.durations.count() > 0).collect();
    Profile { as_of: unix_ms(), operations }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(name: &str, millis: &[u64], errors: u64) -> Measured {
        let mut window = Window { errors, ..Window::default() };
        millis.iter().for_each(|millis| window.durations.record(Duration::from_millis(*millis)));
        Measured { name: name.to_owned(), minute: window.clone(), five_minutes: window }
    }

    #[test]
    fn nodes_add_up_to_the_cluster() {
        let mut one = Profile { as_of: 7, operations: vec![measured("commit", &[1, 2], 1)] };
        let other =
            Profile { as_of: 5, operations: vec![measured("hop", &[3], 0), measured("commit", &[9], 1)] };
        one.merge(&other);
        let cluster = vec![measured("commit", &[1, 2, 9], 2), measured("hop", &[3], 0)];
        assert_eq!(one, Profile { as_of: 5, operations: cluster });
        let sent = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&sent).unwrap(), one);
    }
}
