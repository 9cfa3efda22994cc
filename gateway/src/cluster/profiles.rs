//! What the operations of several nodes did, each by itself and together. Pure.

use std::{collections::BTreeMap, time::Duration};

use common::operations::Window;
use serde::Serialize;

use crate::operations::{Measured, OperationsView, Profile};

/// The operations of the cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profiles {
    /// All nodes together.
    #[serde(flatten)]
    all: OperationsView,
    /// Each by itself, by name.
    nodes: Vec<NodeProfile>,
    /// Nodes that have not answered in time.
    missing: Vec<String>,
    /// Whether all nodes are known.
    complete: bool,
}

#[derive(Debug, Serialize)]
struct NodeProfile {
    node: String,
    #[serde(flatten)]
    own: OperationsView,
}

impl Profiles {
    /// Puts together what nodes have measured in the last minute and in the last five. `slow` is `SLOW_OPERATION`.
    pub(super) fn of(
        nodes: impl IntoIterator<Item = (String, Vec<(String, Window, Window)>)>,
        as_of: u64,
        slow: Duration,
        missing: Vec<String>,
        complete: bool,
    ) -> Self {
        let mut all: Vec<Measured> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut by_node = Vec::new();
        for (node, operations) in nodes {
            let operations = operations
                .into_iter()
                .map(|(name, minute, five_minutes)| Measured { name, minute, five_minutes })
                .collect::<Vec<_>>();
            for own in &operations {
                match places.get(&own.name) {
                    Some(&place) => {
                        all[place].minute.merge(&own.minute);
                        all[place].five_minutes.merge(&own.five_minutes);
                    }
                    None => {
                        places.insert(own.name.clone(), all.len());
                        all.push(own.clone());
                    }
                }
            }
            by_node.push(NodeProfile { node, own: OperationsView::of(&Profile { as_of, operations }, slow) });
        }
        by_node.sort_by(|one, other| one.node.cmp(&other.node));
        let all = OperationsView::of(&Profile { as_of, operations: all }, slow);
        Self { all, nodes: by_node, missing, complete }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_of_all_nodes_are_added_up() {
        let window = |millis| {
            let mut window = Window::default();
            window.durations.record(Duration::from_millis(millis));
            window
        };
        let of = |name: &str, millis| (name.to_owned(), window(millis), window(millis));
        let nodes = [
            ("b".to_owned(), vec![of("queue", 1), of("commit", 2)]),
            ("a".to_owned(), vec![of("commit", 500), of("http:GET /", 3)]),
        ];
        let profiles = Profiles::of(nodes, 7, Duration::from_millis(100), vec!["c".to_owned()], true);
        let json = serde_json::to_value(&profiles).unwrap();
        let counts: Vec<_> =
            json["operations"].as_array().unwrap().iter().map(|row| &row["lastMinute"]["count"]).collect();
        assert_eq!(counts, [1, 2, 1]);
        assert_eq!(json["operations"][1]["lastFiveMinutes"]["maxMs"], 500.0);
        assert_eq!((&json["nodes"][0]["node"], &json["nodes"][1]["node"]), (&json!("a"), &json!("b")));
        assert_eq!(json["nodes"][1]["operations"][1]["lastMinute"]["maxMs"], 2.0);
        assert_eq!(
            (&json["missing"], &json["complete"], &json["asOf"]),
            (&json!(["c"]), &json!(true), &json!(7))
        );
    }
}
