//! Counters begin at zero with the node: of one whose series appeared with its first error, `rate` would miss that error,
//! because it needs a value before.

use common::{Code, close::Close};
use metrics::{Label, counter};

use super::{Kind, METRICS};

/// The series of a counter: its label, and the values that this has.
type Series = (&'static str, &'static str, &'static [&'static str]);

const REASONS_OF_REJECTED: &[&str] = &["version", "kind", "malformed", "epoch", "stranger", "nodes"];

const REASONS_OF_TOKENS: &[&str] = &[
    "missing",
    "too_long",
    "malformed",
    "unknown_extension",
    "wrong_algorithm",
    "bad_signature",
    "unknown_key",
    "keys_unavailable",
    "no_expiry",
    "bad_expiry",
    "expired",
    "bad_not_before",
    "not_yet_valid",
    "no_user",
    "bad_user",
    "bad_scope",
    "of_topic",
    "no_topic",
    "bad_topic",
    "wrong_audience",
    "unexpected_audience",
    "wrong_issuer",
];

const COMMANDS: &[&str] = &[
    "DRAFT_CREATE",
    "DRAFT_UPDATE",
    "DRAFT_DELETE",
    "DRAFT_LIST",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PUBLISH",
    "AUTH",
    "PING",
];

const TASKS: &[&str] = &[
    "bus listener",
    "bus publisher",
    "canary",
    "cluster",
    "commit",
    "control",
    "gap fill",
    "history renaming",
    "notices",
    "occupancy",
    "presence room",
    "retention",
    "set-aside lane",
    "settings",
    "shard writer",
    "sweep",
    "webhook",
    "webhooks",
];

/// Every counter with a label, but for those whose label has a type with a list of its own (see [`register`]).
const LABELLED: &[Series] = &[
    ("draftwire_backend_answers_total", "answer", &["allowed", "denied", "unavailable", "overloaded"]),
    ("draftwire_bus_messages_dropped_total", "reason", &["disconnected", "queue_full", "stale", "failed"]),
    ("draftwire_bus_messages_rejected_total", "reason", REASONS_OF_REJECTED),
    ("draftwire_bus_reconnects_total", "connection", &["publish", "subscribe"]),
    ("draftwire_bus_unsure_total", "reason", &["disconnected", "reconnected", "lagged", "deaf"]),
    ("draftwire_commands_total", "type", COMMANDS),
    ("draftwire_commit_failures_total", "why", &["unavailable", "rejected", "failed"]),
    ("draftwire_connection_attempts_total", "transport", &["websocket", "event_stream"]),
    ("draftwire_connections_opened_total", "transport", &["websocket", "event_stream"]),
    ("draftwire_control_events_total", "outcome", &["applied", "unknown", "malformed", "missed"]),
    ("draftwire_events_delivered_total", "source", SOURCES),
    ("draftwire_events_sequenced_total", "source", SOURCES),
    ("draftwire_gap_fills_total", "source", &["gap_fill", "notice", "sweep"]),
    ("draftwire_history_losses_total", "reason", &["head", "contents", "cursor"]),
    ("draftwire_presence_announcements_total", "direction", &["sent", "received"]),
    ("draftwire_received_bytes_total", "transport", &["websocket", "http"]),
    ("draftwire_reconnections_total", "transport", &["websocket", "event_stream"]),
    ("draftwire_retention_events_removed_total", "stream", &["all", "control", "topic", "user"]),
    ("draftwire_sent_bytes_total", "transport", &["websocket", "http"]),
    ("draftwire_task_panics_total", "task", TASKS),
    ("draftwire_tokens_refused_total", "why", REASONS_OF_TOKENS),
    ("draftwire_webhook_deliveries_total", "outcome", &["taken", "failed", "gone"]),
    ("draftwire_writes_refused_total", "why", &["full", "late", "locked", "down", "behind"]),
    ("draftwire_writes_set_aside_total", "why", &["stream", "key"]),
];

const SOURCES: &[&str] = &["local", "bus", "gap_fill", "notice", "sweep", "replay"];

/// Registers every counter at zero.
pub(super) fn register() {
    let of_bus = fanout::bus::metrics::METRICS.iter().map(|(name, kind, _)| (*name, *kind == "counter"));
    let of_node = METRICS.iter().map(|(name, kind, ..)| (*name, *kind == Kind::Counter));
    for (name, _) in of_node.chain(of_bus).filter(|(_, is_counter)| *is_counter) {
        let labelled = labelled().filter(|(of, ..)| *of == name);
        let mut series: Vec<Vec<Label>> =
            labelled.map(|(_, label, value)| vec![Label::from_static_parts(label, value)]).collect();
        if series.is_empty() {
            series.push(Vec::new());
        }
        series.into_iter().for_each(|labels| counter!(name, labels).increment(0));
    }
}

/// The series of counters with labels: name, label, value.
fn labelled() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let listed =
        LABELLED.iter().flat_map(|(name, label, values)| values.iter().map(|value| (*name, *label, *value)));
    let errors = Code::ALL.into_iter().map(|code| ("draftwire_errors_total", "code", code.as_str()));
    let closes = Close::ALL.into_iter().map(Close::label).chain(["gone"]);
    listed.chain(errors).chain(closes.map(|label| ("draftwire_closes_total", "code", label)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The names of tasks in calls that catch their panics.
    fn supervised(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                supervised(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split("catch_panic(\"").skip(1).chain(text.split("on_panic(\"").skip(1));
                found.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn every_task_that_is_supervised_has_its_series() {
        let (mut found, source) = (BTreeSet::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
        supervised(&source.join("src"), &mut found);
        supervised(&source.join("../fanout/src"), &mut found);
        // Of the tests of supervision, and of this one.
        found.retain(|task| task != "test" && task.starts_with(char::is_alphabetic));
        assert_eq!(found, TASKS.iter().map(|task| (*task).to_owned()).collect());
    }

    #[test]
    fn every_counter_with_a_label_has_its_series() {
        let listed: BTreeSet<(&str, &str)> = labelled().map(|(name, label, _)| (name, label)).collect();
        let described =
            METRICS.iter().filter(|(_, kind, labels, _)| *kind == Kind::Counter && !labels.is_empty());
        let described: BTreeSet<(&str, &str)> =
            described.map(|(name, _, label, _)| (*name, *label)).collect();
        let of_bus =
            |(name, _): &&(&str, &str)| fanout::bus::metrics::METRICS.iter().any(|(of, ..)| of == name);
        assert_eq!(
            described.difference(&listed).collect::<Vec<_>>(),
            Vec::<&(&str, &str)>::new(),
            "not listed"
        );
        let unknown: Vec<_> = listed.difference(&described).filter(|series| !of_bus(series)).collect();
        assert_eq!(unknown, Vec::<&(&str, &str)>::new(), "not described");
        assert_eq!(labelled().collect::<BTreeSet<_>>().len(), labelled().count(), "listed twice");
    }
}
