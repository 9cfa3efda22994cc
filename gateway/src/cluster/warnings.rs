//! What is wrong in a cluster just now, in words. Pure.

use serde::Serialize;

use super::node_view::NodeView;

/// Something that is wrong just now.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Warning {
    /// What it is, for programs.
    code: &'static str,
    /// The node that it concerns; absent where it concerns all.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// What it is, and what follows.
    message: String,
}

/// All that is wrong, the most serious first.
pub(super) fn of(nodes: &[NodeView], complete: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |code, node: Option<&NodeView>, message: String| {
        let node = node.map(|node| node.facts.node.clone());
        warnings.push(Warning { code, node, message });
    };
    let living = || nodes.iter().filter(|node| !node.stale);
    for node in living().filter(|node| !node.facts.store.ok) {
        let (name, kind) = (&node.facts.node, &node.facts.store.kind);
        let message =
            format!("the store ({kind}) does not answer {name}: commands are refused as unavailable");
        warn("store_unavailable", Some(node), message);
    }
    for node in nodes.iter().filter(|node| node.stale) {
        let message = format!("{} is silent: it may be gone, frozen or cut off", node.facts.node);
        warn("node_stale", Some(node), message);
    }
    for node in living().filter(|node| !node.facts.bus.ok) {
        let (name, late) = (&node.facts.node, node.facts.sweep_interval_ms);
        let message =
            format!("the bus is not known to deliver to {name}: events are up to {late} ms late there");
        warn("bus_untrusted", Some(node), message);
    }
    if !complete {
        let message = "other nodes cannot be heard just now, or not yet: only the one that answers is shown";
        warn("incomplete", None, message.to_owned());
    }
    for node in living().filter(|node| node.facts.stopping) {
        warn("node_stopping", Some(node), format!("{} is stopping: its clients move", node.facts.node));
    }
    let versions = living().map(|node| node.facts.settings_version);
    if versions.clone().min() != versions.max() {
        warn("settings_differ", None, "not all nodes use the newest settings yet".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::{super::facts::Facts, *};

    #[test]
    fn each_of_them_is_said_of_the_node_that_it_concerns() {
        let node = |name: &str, stale, change: fn(&mut Facts)| {
            let mut facts = Facts { node: name.to_owned(), ..Facts::default() };
            (facts.bus.ok, facts.store.ok) = (true, true);
            change(&mut facts);
            NodeView::bare(facts, stale)
        };
        let codes = |nodes: &[NodeView], complete| -> Vec<(&'static str, Option<String>)> {
            of(nodes, complete).into_iter().map(|warning| (warning.code, warning.node)).collect()
        };
        assert_eq!(codes(&[node("a", false, |_| ())], true), []);
        let nodes = [
            node("a", false, |facts| facts.bus.ok = false),
            node("b", true, |facts| facts.store.ok = false),
            node("c", false, |facts| facts.store.ok = false),
            node("d", false, |facts| (facts.stopping, facts.settings_version) = (true, 2)),
        ];
        let named = |name: &str| Some(name.to_owned());
        let expected = [
            ("store_unavailable", named("c")),
            ("node_stale", named("b")),
            ("bus_untrusted", named("a")),
            ("incomplete", None),
            ("node_stopping", named("d")),
            ("settings_differ", None),
        ];
        assert_eq!(codes(&nodes, false), expected);
    }
}
