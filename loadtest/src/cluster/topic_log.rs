//! The history of a topic, as the database has it (`GET /v1/topics/{topic}/events`).

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Place;

/// Events in one answer; the most that a node gives.
const PAGE: u64 = 1000;

/// A whole history.
#[derive(Debug)]
pub(crate) struct Log<T> {
    pub(crate) epoch: String,
    /// The last event that retention has removed.
    pub(crate) floor: u64,
    /// The last event.
    pub(crate) head: u64,
    /// Those between, as they were taken.
    pub(crate) events: Vec<T>,
}

/// Reads it, and takes of each event what is needed.
pub(crate) async fn read<T>(
    place: &Place,
    token: &str,
    topic: &str,
    take: impl Fn(&Value) -> T,
) -> Result<Log<T>> {
    pages(place.http()?, token, topic, take).await.with_context(|| format!("read {topic}"))
}

async fn pages<T>(http: &str, token: &str, topic: &str, take: impl Fn(&Value) -> T) -> Result<Log<T>> {
    let mut events = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let mut url = format!("{http}/v1/topics/{topic}/events?limit={PAGE}");
        if let Some(cursor) = &cursor {
            url += &format!("&cursor={cursor}");
        }
        let answer = testkit::http::get_as(token, &url).await?;
        ensure!(answer.status == 200, "{url} answers {}: {}", answer.status, answer.text);
        let page = answer.json["events"].as_array().context("a history without events")?;
        events.extend(page.iter().map(&take));
        let head = answer.json["head"].as_u64().context("a history without head")?;
        let floor = answer.json["floor"].as_u64().context("a history without floor")?;
        let epoch = answer.json["epoch"].as_str().context("a history without epoch")?;
        let next = answer.json["cursor"].as_str().context("a history without cursor")?;
        // The last page has the head; one without events would come again.
        if page.is_empty() || next.rsplit_once(':').is_some_and(|(_, seq)| seq == head.to_string()) {
            return Ok(Log { epoch: epoch.to_owned(), floor, head, events });
        }
        cursor = Some(next.to_owned());
    }
}
