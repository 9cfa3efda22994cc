//! The other nodes, as they were last heard. Pure: the time is an argument.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use common::ids::NodeId;

use super::report::Report;

/// A node that was not heard for so long is stale: three of its reports are missing.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(3);

/// A node that was not heard for so long is forgotten. Until then operators see that it is missing.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Other processes that are remembered: more than a cluster has nodes.
const NODES_MAX: usize = 256;

/// The other nodes by process: one that was started again under its name is another process.
#[derive(Debug, Default)]
pub(super) struct Others(BTreeMap<NodeId, Heard>);

#[derive(Debug)]
struct Heard {
    report: Report,
    at: Instant,
}

impl Others {
    /// Takes a report. Returns whether there was room for it.
    pub(super) fn hear(&mut self, process: NodeId, report: Report, now: Instant) -> bool {
        match self.0.get(&process) {
            // The bus may repeat and reorder.
            Some(heard) if heard.report.number >= report.number => return true,
            None if self.0.len() >= NODES_MAX => return false,
            _ => {}
        }
        self.0.insert(process, Heard { report, at: now });
        true
    }

    /// Forgets whoever was not heard for [`FORGOTTEN_AFTER`], and at once when it is stale: a node that had said that it
    /// stops, and one that was started again under its name.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_stale = |heard: &Heard| now.duration_since(heard.at) >= STALE_AFTER;
        let living: Vec<String> = self
            .0
            .values()
            .filter(|heard| !is_stale(heard))
            .map(|heard| heard.report.facts.node.clone())
            .collect();
        self.0.retain(|_, heard| {
            let facts = &heard.report.facts;
            let is_over = facts.stopping || living.contains(&facts.node);
            !is_stale(heard) || (!is_over && now.duration_since(heard.at) < FORGOTTEN_AFTER)
        });
    }

    /// Forgets all of them: nothing is known of them any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The processes that are not stale, with the names of their nodes.
    pub(super) fn living(&self, now: Instant) -> impl Iterator<Item = (&NodeId, &str)> {
        let living = self.0.iter().filter(move |(_, heard)| now.duration_since(heard.at) < STALE_AFTER);
        living.map(|(process, heard)| (process, heard.report.facts.node.as_str()))
    }

    /// Each of them, and whether it is stale.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (&Report, bool)> {
        self.0.values().map(move |heard| (&heard.report, now.duration_since(heard.at) >= STALE_AFTER))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::facts::Facts, *};

    fn report(node: &str, number: u64, stopping: bool) -> Report {
        let facts = Facts { node: node.to_owned(), stopping, ..Facts::default() };
        Report { number, facts, ..Report::default() }
    }

    fn listed(others: &Others, now: Instant) -> Vec<(String, u64, bool)> {
        let listed = others.iter(now);
        listed.map(|(report, stale)| (report.facts.node.clone(), report.number, stale)).collect()
    }

    fn process(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn a_silent_node_is_stale_and_then_forgotten() {
        let (mut others, start) = (Others::default(), Instant::now());
        others.hear(process("a.n1"), report("n1", 1, false), start);
        let after = |duration| start + duration;
        let just_before = STALE_AFTER - Duration::from_millis(1);
        assert_eq!(listed(&others, after(just_before)), [("n1".to_owned(), 1, false)]);
        others.expire(after(STALE_AFTER));
        assert_eq!(listed(&others, after(STALE_AFTER)), [("n1".to_owned(), 1, true)]);
        others.hear(process("a.n1"), report("n1", 2, false), after(STALE_AFTER));
        assert_eq!(listed(&others, after(STALE_AFTER)), [("n1".to_owned(), 2, false)]);
        others.expire(after(STALE_AFTER + FORGOTTEN_AFTER));
        assert!(listed(&others, after(STALE_AFTER + FORGOTTEN_AFTER)).is_empty());
    }

    #[test]
    fn one_that_was_stopped_or_started_again_is_forgotten_as_soon_as_it_is_silent() {
        let (mut others, start) = (Others::default(), Instant::now());
        others.hear(process("a.n1"), report("n1", 9, false), start);
        others.hear(process("a.n2"), report("n2", 9, true), start);
        let later = start + STALE_AFTER;
        others.hear(process("b.n1"), report("n1", 1, false), later);
        assert_eq!(listed(&others, later).len(), 3);
        others.expire(later);
        assert_eq!(listed(&others, later), [("n1".to_owned(), 1, false)]);
    }

    #[test]
    fn older_reports_have_no_effect_and_there_is_a_bound() {
        let (mut others, start) = (Others::default(), Instant::now());
        others.hear(process("a.n1"), report("n1", 5, false), start);
        others.hear(process("a.n1"), report("n1", 4, false), start + Duration::from_secs(2));
        assert_eq!(listed(&others, start + STALE_AFTER), [("n1".to_owned(), 5, true)]);
        let room =
            (1..NODES_MAX).all(|n| others.hear(process(&format!("p{n}")), report("n", 1, false), start));
        assert!(room && !others.hear(process("one-more"), report("n", 1, false), start));
        assert!(
            others.hear(process("a.n1"), report("n1", 6, false), start),
            "one that is known has its place"
        );
    }
}
