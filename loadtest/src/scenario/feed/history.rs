//! What the database has of the topics at the end, against what was acknowledged.

use anyhow::Result;
use serde_json::Value;

use crate::{
    check::published,
    cluster::{
        Place,
        topic_log::{self, Log},
    },
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
        let Log { floor, head, events, .. } = topic_log::read(place, token, topic, number).await?;
        compared.heads.push(head);
        let of = acked.iter().filter(|(of, ..)| *of == at);
        let acked: Vec<(u64, u64)> = of.map(|(_, seq, number)| (*seq, *number)).collect();
        for fault in published(floor, head, &events, &acked) {
            compared.wrong += 1;
            if compared.told.len() < TOLD_MAX {
                compared.told.push(format!("{topic}: {fault}"));
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
