//! Redis stops, Postgres is slow, a node dies: real Prometheus and Alertmanager, with the rules that the repository
//! ships, say so to a receiver, and say when it is over.
//!
//! The rules are those of deploy/monitoring with every duration a sixtieth; see `testkit::monitoring`.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use testkit::{
    Device, Monitoring, Receiver, Service,
    monitoring::{DASHBOARDS, RULE_FILES, queries, rules},
    wait,
};

use crate::{
    DEADLINE, bus_is_trusted, cluster,
    load::{Fleet, Load},
    turn,
};

/// Holds up every commit of changes for longer than an alert allows.
const SLOW_DOWN: &str = "
    CREATE FUNCTION draftwire.slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.15); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON draftwire.events FOR EACH STATEMENT EXECUTE FUNCTION draftwire.slow();";

const SPEED_UP: &str = "DROP TRIGGER slow ON draftwire.events";

/// What these faults must cause.
const EXPECTED: [&str; 3] = ["DraftwireBusNotTrusted", "DraftwireCommitSlow", "DraftwireNodeDown"];

/// What they may cause besides: devices of the dead node come back, and events wait for slow commits.
const ALLOWED: [&str; 5] = [
    "DraftwireDeliverySlow",
    "DraftwireErrorBudgetBurn",
    "DraftwireNodeMissing",
    "DraftwireReconnectionsHigh",
    "DraftwireWriteQueueLong",
];

/// Metrics without a value here: they count what these faults and this load do not cause, or belong to parts that are
/// not in use.
const WITHOUT_DATA: &[&str] = &[
    "draftwire_backend_",
    "draftwire_bus_messages_rejected_total",
    "draftwire_commit_failures_total",
    "draftwire_errors_total",
    "draftwire_event_streams",
    "draftwire_gap_fills_total",
    "draftwire_history_losses_total",
    "draftwire_presence_",
    "draftwire_regressions",
    "draftwire_retention_events_removed_total",
    "draftwire_task_panics_total",
    "draftwire_tokens_refused_total",
    "draftwire_webhook_",
    "draftwire_writes_refused_total",
    "probe_ssl_earliest_cert_expiry",
    "ALERTS",
];

/// How the alerts that the receiver was told of stand: by name, severity and node, whether they are firing.
fn told(receiver: &Receiver) -> BTreeMap<[String; 3], bool> {
    let mut told = BTreeMap::new();
    for delivery in receiver.deliveries() {
        for alert in delivery.json["alerts"].as_array().into_iter().flatten() {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            told.insert(["alertname", "severity", "instance"].map(label), alert["status"] == "firing");
        }
    }
    told
}

/// Waits until each of the expected alerts is firing, of whatever severity, or until all have ended.
async fn are_told(receiver: &Receiver, firing: bool) {
    wait::until("the receiver is told", DEADLINE, || async {
        let told = told(receiver);
        let fires = |name: &&str| told.iter().any(|([alert, ..], fires)| alert == name && *fires);
        let stand = |name: &&str| fires(name) == firing;
        if EXPECTED.iter().all(stand) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_alerts_arrive_and_end() {
    let _turn = turn().await;
    // Another node takes retention over before an alert asks for it.
    let mut cluster = cluster().nodes(3).env("RETENTION_INTERVAL", "1s").start().await.unwrap();
    bus_is_trusted(&cluster).await;
    let receiver = Receiver::start().await.unwrap();
    let monitoring = Monitoring::start(&cluster.nodes, &receiver.url()).await.unwrap();
    let fleet = Fleet::connect(&cluster, 2, 3).await;
    let load = Load::start(&fleet, Duration::from_millis(100));
    wait::until("the rules have seen the load", DEADLINE, || async {
        let seen = monitoring.query("draftwire:delivery_seconds:p95_rate5m > 0").await?;
        anyhow::ensure!(!seen.is_empty(), "no value yet");
        anyhow::Ok(())
    })
    .await;
    assert_eq!(told(&receiver), BTreeMap::new(), "nothing is wrong yet");

    cluster.redis.stop().await.unwrap();
    cluster.postgres.query("db0", SLOW_DOWN).await.unwrap();
    cluster.nodes[2].kill9();
    are_told(&receiver, true).await;

    cluster.redis.start_again().await.unwrap();
    cluster.postgres.query("db0", SPEED_UP).await.unwrap();
    cluster.nodes[2].start_again().await.unwrap();
    are_told(&receiver, false).await;

    for ([name, _, instance], _) in told(&receiver) {
        let known = EXPECTED.contains(&name.as_str()) || ALLOWED.contains(&name.as_str());
        assert!(known, "{name} of {instance} has nothing to do with what was done");
    }
    check_messages(&receiver);
    // Rates of what happens seldom have a value while it does.
    let visitor = cluster.device_options("eve", "phone", 0);
    let visits = tokio::spawn(async move {
        loop {
            drop(Device::connect(visitor.clone()).await);
        }
    });
    check_queries(&monitoring).await;
    visits.abort();
    load.finish(&fleet, &cluster).await;
}

/// Every message has what a person needs.
fn check_messages(receiver: &Receiver) {
    for delivery in receiver.deliveries() {
        assert_eq!(delivery.json["receiver"], "slack", "{}", delivery.body);
        for alert in delivery.json["alerts"].as_array().unwrap() {
            let annotations = &alert["annotations"];
            for name in ["summary", "description", "runbook_url"] {
                let said = annotations[name].as_str().unwrap_or_default();
                assert!(!said.is_empty() && !said.contains("<error"), "{alert:#}");
            }
            let link = annotations["runbook_url"].as_str().unwrap();
            assert!(link.starts_with("docs/operations.md#draftwire"), "{link}");
            assert_eq!(alert["labels"]["docs"], Value::Null, "it is for the link alone");
        }
    }
}

/// Every query of every rule and dashboard is understood, and has data where there can be some.
async fn check_queries(monitoring: &Monitoring) {
    let mut with_data: Vec<String> = Vec::new();
    for rule in RULE_FILES.iter().flat_map(|name| rules(name).unwrap()) {
        let expression = rule["expr"].as_str().unwrap();
        monitoring.query(expression).await.unwrap();
        // An alert has no result while nothing is wrong; what it looks at is there.
        with_data.extend(selectors(expression).into_iter().map(str::to_owned));
    }
    for dashboard in DASHBOARDS {
        with_data.extend(queries(dashboard).unwrap().into_iter().map(|(_, query)| query));
    }
    assert!(with_data.len() > 120, "the search finds what there is");
    wait::until("every query has data", DEADLINE, || async {
        let mut without = Vec::new();
        for query in &with_data {
            let none_expected = WITHOUT_DATA.iter().any(|metric| query.contains(metric));
            if monitoring.query(query).await?.is_empty() && !none_expected {
                without.push(query);
            }
        }
        anyhow::ensure!(without.is_empty(), "{without:#?}");
        anyhow::Ok(())
    })
    .await;
}

/// The metrics in an expression, each with its labels.
fn selectors(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = ["draftwire_", "process_", "probe_", "up{"];
    for (at, _) in expression.char_indices() {
        let rest = &expression[at..];
        if expression[..at].ends_with(joins) || !starts.iter().any(|start| rest.starts_with(start)) {
            continue;
        }
        let name = rest.find(|c| !joins(c)).unwrap_or(rest.len());
        let labels =
            if rest[name..].starts_with('{') { rest[name..].find('}').map_or(0, |end| end + 1) } else { 0 };
        found.push(&rest[..name + labels]);
    }
    found
}
