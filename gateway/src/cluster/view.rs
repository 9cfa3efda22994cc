//! The answer of `GET /v1/admin/cluster`: all nodes, their sums, and percentiles over all of them. Pure.

use std::{collections::BTreeMap, time::Duration};

use common::operations::Window;
use serde::Serialize;

use super::{
    facts::{CacheFacts, ConnectionCounts, Queues, Rates, Totals},
    history::Sample,
    node_view::{Latency, NodeView, bottlenecks, last_minute},
    report::Report,
    warnings::{self, Warning},
};
use crate::operations::{BottleneckView, Path, PathView, rounded};

/// The cluster, as one of its nodes sees it. Durations are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterView {
    /// When that was, Unix milliseconds, by the clock of the node that answers.
    as_of: u64,
    /// The node that answers.
    node: String,
    /// Every node that can be heard has had the time to say how it is. Otherwise only the one that answers is here.
    complete: bool,
    /// What is wrong just now, in words.
    warnings: Vec<Warning>,
    /// How late an event can be at most that no copy announced, on the worst node.
    sweep_interval_ms: u64,
    /// The nodes by name.
    nodes: Vec<NodeView>,
    /// Of the nodes that are not stale.
    sums: Sums,
    /// Of all live events that these have handed to sockets.
    latency: Latency,
    /// The way of a change, over these nodes.
    path: PathView,
    /// What these nodes remember.
    caches: Vec<CacheFacts>,
    /// What makes changes late, over these nodes, the greatest share first.
    bottlenecks: Vec<BottleneckView>,
    /// What has become worse.
    regressions: [(); 0],
    /// The settings.
    settings: SettingsView,
}

/// Sums over nodes. A user with connections to several nodes counts on each of them.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sums {
    nodes: u64,
    stale_nodes: u64,
    connections: ConnectionCounts,
    users: u64,
    rates: Rates,
    totals: Totals,
    processors: f64,
    memory_bytes: u64,
    queues: Queues,
}

/// The settings of the nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SettingsView {
    /// The newest version that a node uses.
    version: u64,
    /// Whether all of them use it.
    agreed: bool,
}

impl ClusterView {
    /// The view of the node with the first report; `others` are the other ones, each with whether it is stale.
    pub(super) fn of(own: &Report, others: &[(&Report, bool)], complete: bool, slow: Duration) -> Self {
        let mut all = vec![(own, false)];
        all.extend(others);
        all.sort_by(|(one, _), (other, _)| one.facts.node.cmp(&other.facts.node));
        let living = || all.iter().filter(|(_, stale)| !stale).map(|(report, _)| *report);
        let (mut latency, mut operations) = (Window::default(), BTreeMap::<&str, Window>::new());
        for report in living() {
            latency.merge(&report.latency);
            for (name, window) in &report.operations {
                operations.entry(name).or_default().merge(window);
            }
        }
        let operations = operations.into_iter().map(|(name, window)| (name.to_owned(), window));
        let profile = last_minute(operations);
        let path = Path::of(&profile);
        let versions = || living().map(|report| report.facts.settings_version);
        let version = versions().max().unwrap_or(0);
        let nodes: Vec<NodeView> =
            all.iter().map(|(report, stale)| NodeView::of(report, *stale, slow)).collect();
        Self {
            as_of: own.facts.as_of,
            node: own.facts.node.clone(),
            complete,
            warnings: warnings::of(&nodes, complete),
            sweep_interval_ms: living().map(|report| report.facts.sweep_interval_ms).max().unwrap_or(0),
            sums: Sums::of(&all),
            latency: Latency::of(&latency.durations),
            path: PathView::from(&path),
            caches: caches(living()),
            bottlenecks: bottlenecks(&path, &profile, slow),
            regressions: [],
            settings: SettingsView { version, agreed: versions().all(|own| own == version) },
            nodes,
        }
    }
}

impl ClusterView {
    /// What of it is remembered for an hour.
    pub(super) fn sample(&self) -> Sample {
        let Self { as_of, sums, latency, .. } = self;
        let Rates { messages_in, messages_out, reconnections_per_minute, .. } = sums.rates;
        Sample {
            at: *as_of,
            mean_ms: latency.mean_ms,
            p95_ms: latency.p95_ms,
            p99_ms: latency.p99_ms,
            messages_in,
            messages_out,
            connections: sums.connections.total,
            users: sums.users,
            reconnections_per_minute,
        }
    }
}

impl Sums {
    fn of(all: &[(&Report, bool)]) -> Self {
        let mut sums = Self::default();
        for (Report { facts, .. }, stale) in all {
            if *stale {
                sums.stale_nodes += 1;
                continue;
            }
            sums.nodes += 1;
            sums.connections.add(&facts.connections);
            sums.users = sums.users.saturating_add(facts.users);
            sums.rates.add(&facts.rates);
            sums.totals.add(&facts.totals);
            sums.processors = rounded(sums.processors + facts.processors);
            sums.memory_bytes = sums.memory_bytes.saturating_add(facts.memory_bytes);
            sums.queues.add(&facts.queues);
        }
        sums
    }
}

/// The caches of several nodes, each with the others of its name, in the order of the first node.
fn caches<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<CacheFacts> {
    let mut caches: Vec<CacheFacts> = Vec::new();
    for cache in reports.flat_map(|report| &report.facts.caches) {
        match caches.iter_mut().find(|known| known.name == cache.name) {
            Some(known) => known.add(cache),
            None => caches.push(cache.clone()),
        }
    }
    caches
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::facts::Facts, *};

    const SLOW: Duration = Duration::from_millis(100);

    fn window(millis: u64, count: u64) -> Window {
        let mut window = Window::default();
        (0..count).for_each(|_| window.durations.record(Duration::from_millis(millis)));
        window
    }

    fn report(node: &str, latency: Window, commit: Window) -> Report {
        let connections = ConnectionCounts { total: 3, web_sockets: 3, ..ConnectionCounts::default() };
        let rates = Rates { messages_out: 1.5, ..Rates::default() };
        let mut facts = Facts { node: node.to_owned(), connections, users: 2, rates, ..Facts::default() };
        facts.caches = vec![CacheFacts::new("tokens", 3, 1, Some(2)), CacheFacts::new("events", 1, 0, None)];
        (facts.bus.ok, facts.store.ok) = (true, true);
        Report { number: 1, facts, latency, operations: vec![("commit".to_owned(), commit)] }
    }

    fn view(own: &Report, others: &[(&Report, bool)], complete: bool) -> Value {
        serde_json::to_value(ClusterView::of(own, others, complete, SLOW)).unwrap()
    }

    #[test]
    fn percentiles_are_of_all_nodes_and_no_means_of_percentiles() {
        // 95 of a hundred are quick; the mean of the nodes' percentiles would be half a second.
        let (quick, slow) =
            (report("b", window(1, 95), window(1, 95)), report("a", window(1000, 5), window(1000, 5)));
        let view = view(&quick, &[(&slow, false)], true);
        assert_eq!(view["latency"]["count"], 100);
        assert!(view["latency"]["p95Ms"].as_f64().unwrap() < 2.0, "{view}");
        assert_eq!(view["latency"]["p99Ms"], 1000.0);
        assert_eq!(view["latency"]["meanMs"], 50.95);
        assert_eq!(view["bottlenecks"], json!([]));
        let names: Vec<_> = view["nodes"].as_array().unwrap().iter().map(|node| &node["node"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!((&view["node"], &view["complete"]), (&json!("b"), &json!(true)));
        assert_eq!(view["path"]["changes"], 100);
        assert_eq!(view["sums"]["connections"]["webSockets"], 6);
        assert_eq!((&view["sums"]["users"], &view["sums"]["rates"]["messagesOut"]), (&json!(4), &json!(3.0)));
        let tokens = json!({ "name": "tokens", "hits": 6, "misses": 2, "hitRate": 0.75, "entries": 4 });
        let events = json!({ "name": "events", "hits": 2, "misses": 0, "hitRate": 1.0 });
        assert_eq!(view["caches"], json!([tokens, events]));
        assert_eq!((&view["warnings"], &view["regressions"]), (&json!([]), &json!([])));
    }

    #[test]
    fn a_stale_node_is_shown_and_counts_no_more() {
        let (own, gone) =
            (report("a", window(1, 9), window(1, 9)), report("b", window(900, 90), window(900, 90)));
        let view = view(&own, &[(&gone, true)], true);
        assert_eq!((&view["nodes"][0]["stale"], &view["nodes"][1]["stale"]), (&json!(false), &json!(true)));
        assert_eq!(view["nodes"][1]["bottlenecks"][0]["operation"], "commit");
        assert_eq!((&view["sums"]["nodes"], &view["sums"]["staleNodes"]), (&json!(1), &json!(1)));
        assert_eq!(view["latency"]["count"], 9);
        assert_eq!(view["bottlenecks"], json!([]));
        assert_eq!(
            (&view["warnings"][0]["code"], &view["warnings"][0]["node"]),
            (&json!("node_stale"), &json!("b"))
        );
    }

    #[test]
    fn it_says_which_settings_hold() {
        let mut newer = report("b", window(1, 1), window(1, 1));
        newer.facts.settings_version = 7;
        let own = report("a", window(1, 1), window(1, 1));
        assert_eq!(view(&own, &[], false)["settings"], json!({ "version": 0, "agreed": true }));
        assert_eq!(
            view(&own, &[(&newer, false)], true)["settings"],
            json!({ "version": 7, "agreed": false })
        );
    }
}
