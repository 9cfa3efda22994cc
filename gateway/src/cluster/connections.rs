//! Connections as operators are shown them, of one node or of all.

use common::{ConnectionId, UserId};
use serde::{Deserialize, Serialize};

/// Connections in one answer at most.
pub(crate) const PAGE_MAX: usize = 100;

/// Which connections are asked for. They are in the order of their ids, which means nothing but is the same everywhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConnectionQuery {
    /// Those of one user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserId>,
    /// Those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<ConnectionId>,
    /// How many at most.
    pub(crate) limit: usize,
}

/// A connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConnectionFacts {
    /// Its name.
    pub(crate) connection: String,
    /// Whose it is; absent for one without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The device.
    pub(crate) device: String,
    /// The node.
    pub(crate) node: String,
    /// When it began, Unix milliseconds, by the clock of its node.
    pub(crate) since: u64,
    /// `websocket` or `event_stream`.
    pub(crate) transport: String,
    /// `json` or `msgpack`.
    pub(crate) encoding: String,
    /// The round trip of heartbeats; absent before the first, and of event streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trip_ms: Option<f64>,
    /// When the client last showed that it lives, Unix milliseconds. Of an event stream, when it connected.
    pub(crate) heard_at: u64,
    /// Where it stands in each stream; absent where it was too busy to be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursors: Option<Vec<CursorFacts>>,
    /// Streams beyond those that are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) more_cursors: u64,
    /// Bytes that wait until the client reads; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_waiting: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a connection stands in a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CursorFacts {
    /// The stream: `user:<id>`, `topic:<name>` or `all`.
    pub(crate) stream: String,
    /// The last event that was handed to it.
    pub(crate) seq: u64,
    /// The last event that its node knows of.
    pub(crate) head: u64,
    /// How many events lie between.
    pub(crate) behind: u64,
}

/// What several nodes have answered, put together: the first ones, and where the next page begins.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionPage {
    /// In the order of their ids.
    pub(crate) connections: Vec<ConnectionFacts>,
    /// What to ask for the next page with; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
    /// Nodes that have not answered in time.
    pub(crate) missing: Vec<String>,
    /// Whether all nodes are known; otherwise, as while the bus does not deliver, more may be missing.
    pub(crate) complete: bool,
}

impl ConnectionPage {
    /// Puts together what nodes have answered. Each has answered its first `limit`.
    pub(super) fn of(
        answers: impl IntoIterator<Item = Vec<ConnectionFacts>>,
        limit: usize,
        missing: Vec<String>,
        complete: bool,
    ) -> Self {
        let mut is_full = false;
        let mut connections = Vec::new();
        for answer in answers {
            is_full |= answer.len() >= limit;
            connections.extend(answer);
        }
        connections.sort_unstable_by(|one, other| one.connection.cmp(&other.connection));
        is_full |= connections.len() > limit;
        connections.truncate(limit);
        let cursor = connections.last().filter(|_| is_full).map(|last| last.connection.clone());
        Self { connections, cursor, missing, complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_several_nodes_leave_nothing_out() {
        let all: Vec<ConnectionFacts> = (0..25)
            .map(|n| ConnectionFacts {
                connection: format!("{n:02}"),
                node: format!("n{}", n % 3),
                ..ConnectionFacts::default()
            })
            .collect();
        let (mut found, mut after, limit) = (Vec::new(), String::new(), 4);
        loop {
            let answers = ["n0", "n1", "n2"].map(|node| {
                let own = all.iter().filter(|one| one.node == node && one.connection > after);
                own.take(limit).cloned().collect::<Vec<_>>()
            });
            let page = ConnectionPage::of(answers, limit, Vec::new(), true);
            assert!(page.connections.len() <= limit);
            found.extend(page.connections);
            match page.cursor {
                Some(cursor) => after = cursor,
                None => break,
            }
        }
        assert_eq!(found, all);
    }
}
