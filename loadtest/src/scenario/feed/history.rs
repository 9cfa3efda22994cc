//! What the database has of the topics at the end, against what was acknowledged.

use std::collections::HashMap;

use anyhow::Result;
use serde_json::Value;

use crate::{
    place::Place,
    topic_log::{self, Log},
};

/// Faults that are told one by one.
const TOLD_MAX: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The last event of each topic.
    pub(super) heads: Vec<u64>,
    /// Acknowledged events that are not there, or are others; and numbers that are missing.
    pub(super) wrong: u64,
    pub(super) told: Vec<String>,
}

/// Topic, number in the topic, number in the data.
pub(super) type Acked = Vec<(usize, u64, u64)>;

/// Reads the whole history of each topic. A topic is the run's own, so it begins with 1.
///
/// # Errors
/// When it cannot be read: then there is nothing to judge by.
pub(super) async fn compare(place: &Place, token: &str, topics: &[String], acked: Acked) -> Result<Compared> {
    let mut compared = Compared::default();
    for (at, topic) in topics.iter().enumerate() {
        let Log { floor, head, events } = topic_log::read(place, token, topic, number).await?;
        compared.heads.push(head);
        let acked: Vec<(u64, u64)> =
            acked.iter().filter(|(of, ..)| *of == at).map(|(_, seq, number)| (*seq, *number)).collect();
        for what in faults(floor, head, &events, &acked) {
            compared.wrong += 1;
            if compared.told.len() < TOLD_MAX {
                compared.told.push(format!("{topic}: {what}"));
            }
        }
    }
    Ok(compared)
}

/// An event's number in the topic, and the one in its data.
fn number(event: &Value) -> (u64, u64) {
    // What has no number has one that no event has.
    let number = event["payload"]["n"].as_u64().unwrap_or(u64::MAX);
    (event["seq"].as_u64().unwrap_or_default(), number)
}

/// The events after the floor are those that were acknowledged, and numbered without gaps. More may be
/// there: of those that were not answered.
fn faults(floor: u64, head: u64, events: &[(u64, u64)], acked: &[(u64, u64)]) -> Vec<String> {
    let mut faults = Vec::new();
    let there: HashMap<u64, u64> = events.iter().copied().collect();
    for (index, (seq, _)) in (floor + 1..).zip(events) {
        if *seq != index {
            faults.push(format!("event {index} is not in the history, {seq} is in its place"));
            break;
        }
    }
    if floor + events.len() as u64 != head {
        faults.push(format!("the head is {head}, and there are {} events after {floor}", events.len()));
    }
    let mut named = HashMap::new();
    for (seq, number) in acked.iter().filter(|(seq, _)| *seq > floor) {
        if let Some(other) = named.insert(seq, number) {
            faults.push(format!("events {other} and {number} were both acknowledged as {seq}"));
        }
        match there.get(seq) {
            Some(stored) if stored == number => {}
            Some(stored) => {
                faults.push(format!("{seq} was acknowledged for event {number}, and is {stored}"))
            }
            None => faults.push(format!("{seq} was acknowledged, and is not in the history")),
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_has_what_was_acknowledged_is_right() {
        assert!(faults(0, 0, &[], &[]).is_empty());
        let events = [(1, 10), (2, 11), (3, 12)];
        assert!(faults(0, 3, &events, &[(1, 10), (3, 12)]).is_empty(), "2 was not answered");
        assert!(faults(1, 3, &events[1..], &[(1, 10), (3, 12)]).is_empty(), "retention has removed 1");
    }

    #[test]
    fn a_history_that_lies_is_noticed() {
        let acked = [(1, 10), (2, 11), (3, 12)];
        for (head, events) in [
            (3, vec![(1, 10), (3, 12)]),
            (3, vec![(1, 10), (2, 99), (3, 12)]),
            (2, vec![(1, 10), (2, 11)]),
            (4, vec![(1, 10), (2, 11), (3, 12)]),
        ] {
            assert!(!faults(0, head, &events, &acked).is_empty(), "{head} {events:?}");
        }
        let twice = [(1, 10), (1, 11)];
        assert!(!faults(0, 1, &[(1, 10)], &twice).is_empty(), "two events under one number");
    }
}
