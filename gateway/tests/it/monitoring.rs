//! Alerts and dashboards (deploy/monitoring) against the metrics, the runbooks, and Prometheus's own tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use serde_json::Value;
use testkit::monitoring::{DASHBOARDS, RULE_FILES, config, queries, rules};

use crate::sources;

fn folder() -> PathBuf {
    sources::root().join("deploy/monitoring")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What one of Prometheus's tools says, when it is content.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; testkit/install installs it"));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {}", said.concat());
    said.concat()
}

/// The files with the cases of the alerts.
fn cases() -> Vec<String> {
    let files = sources::files(&folder().join("prometheus/tests"), &["yml"]);
    let name = |path: &PathBuf| format!("prometheus/tests/{}", path.file_name().unwrap().to_str().unwrap());
    files.iter().map(name).collect()
}

/// The alerts by name and severity.
fn alerts() -> BTreeMap<(String, String), Value> {
    let alerts = rules("alerts.yml").unwrap().into_iter();
    let keyed = alerts
        .map(|rule| ((text(&rule["alert"]).to_owned(), text(&rule["labels"]["severity"]).to_owned()), rule));
    keyed.collect()
}

/// The names of metrics, and of series that rules record, in an expression.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| {
        ["draftwire_", "draftwire:", "process_", "probe_"].iter().any(|prefix| word.starts_with(prefix))
    })
}

/// The names under which docs/metrics.md has metrics: a histogram has three.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(sources::root().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.flat_map(|(name, rest)| {
        let parts: &[&str] =
            if rest.starts_with("histogram") { &["_bucket", "_count", "_sum"] } else { &[""] };
        parts.iter().map(move |part| format!("{name}{part}"))
    })
    .collect()
}

/// Metrics that nodes do not export: of the blackbox exporter, and one that is still to come.
const OF_OTHERS: &[&str] = &["probe_ssl_earliest_cert_expiry", "draftwire_regressions"];

#[test]
fn every_metric_of_rules_and_dashboards_exists() {
    let mut known = documented();
    known.extend(OF_OTHERS.iter().map(|name| (*name).to_owned()));
    let all: Vec<Value> = RULE_FILES.iter().flat_map(|name| rules(name).unwrap()).collect();
    known.extend(all.iter().map(|rule| text(&rule["record"]).to_owned()));
    let mut used: Vec<(String, String)> = Vec::new();
    for rule in &all {
        used.push((
            format!("{}{}", text(&rule["record"]), text(&rule["alert"])),
            text(&rule["expr"]).to_owned(),
        ));
    }
    for dashboard in DASHBOARDS {
        let queries = queries(dashboard).unwrap();
        used.extend(queries.into_iter().map(|(title, query)| (format!("{dashboard}, {title}"), query)));
    }
    for file in cases() {
        for case in config(&file).unwrap()["tests"].as_array().unwrap() {
            for series in case["input_series"].as_array().unwrap() {
                used.push((format!("{file}, {}", text(&case["name"])), text(&series["series"]).to_owned()));
            }
        }
    }
    for (place, expression) in &used {
        for name in metrics(expression) {
            assert!(known.contains(name), "{place}: there is no metric {name}");
        }
    }
    assert!(used.len() > 150, "the search finds what there is");
}

#[test]
fn every_alert_says_what_to_do() {
    let page = fs::read_to_string(sources::root().join("docs/operations.md")).unwrap();
    let (_, runbooks) = page.split_once("\n## Alerts\n").expect("operations.md has the runbooks");
    for ((name, severity), rule) in alerts() {
        assert!(name.starts_with("Draftwire"), "{name}");
        assert!(["warning", "critical"].contains(&severity.as_str()), "{name} is {severity}");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"][annotation]).is_empty(), "{name} has no {annotation}");
        }
        let link = text(&rule["annotations"]["runbook_url"]);
        let expected = format!("{{{{ $externalLabels.docs }}}}/operations.md#{}", name.to_lowercase());
        assert_eq!(link, expected, "{name}");
        let paragraph = runbooks.split_once(&format!("\n### {name}\n\n")).map(|(_, after)| after);
        let paragraph =
            paragraph.unwrap_or_else(|| panic!("docs/operations.md has no `### {name}` in Alerts"));
        assert!(!paragraph.starts_with('#') && paragraph.len() > 80, "the runbook of {name} is empty");
    }
    let named: BTreeSet<String> = alerts().into_keys().map(|(name, _)| name).collect();
    for heading in runbooks.lines().take_while(|line| !line.starts_with("## ")) {
        if let Some(name) = heading.strip_prefix("### ") {
            assert!(named.contains(name), "there is no alert {name}, of which docs/operations.md tells");
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let label = |expression: &str, name: &str| {
        let after = expression.split_once(&format!("{name}=\"")).map(|(_, after)| after);
        after.and_then(|after| after.split('"').next()).unwrap_or_default().to_owned()
    };
    let mut found: BTreeSet<(String, String, bool)> = BTreeSet::new();
    for file in cases() {
        for case in config(&file).unwrap()["tests"].as_array().unwrap() {
            for check in case["promql_expr_test"].as_array().unwrap() {
                let expression = text(&check["expr"]);
                let fires = check["exp_samples"].as_array().is_some_and(|samples| !samples.is_empty());
                found.insert((label(expression, "alertname"), label(expression, "severity"), fires));
            }
        }
    }
    for (name, severity) in alerts().into_keys() {
        for (fires, what) in [(true, "fires"), (false, "does not fire")] {
            let case = (name.clone(), severity.clone(), fires);
            assert!(found.contains(&case), "no case in deploy/monitoring where {name}, {severity}, {what}");
        }
    }
}

#[test]
fn rules_fire_when_they_should() {
    run("promtool", &["check", "config", "prometheus/prometheus.yml"]);
    let files = cases();
    let arguments: Vec<&str> =
        ["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
    run("promtool", &arguments);
}

#[test]
fn alerts_go_to_the_receiver_that_was_chosen() {
    let file = "--config.file=alertmanager/alertmanager.yml";
    run("amtool", &["check-config", "alertmanager/alertmanager.yml"]);
    for (notify, severity, expected) in [
        ("none", "critical", "none"),
        ("slack", "warning", "slack"),
        ("slack", "critical", "slack"),
        ("pagerduty", "warning", "pagerduty"),
        ("pagerduty", "critical", "pagerduty"),
        ("both", "warning", "slack"),
        ("both", "critical", "pagerduty,slack"),
    ] {
        let labels = [format!("notify={notify}"), format!("severity={severity}")];
        let verify = format!("--verify.receivers={expected}");
        run("amtool", &["config", "routes", "test", file, &verify, &labels[0], &labels[1]]);
    }
}

#[test]
fn dashboards_find_their_data_source() {
    let provisioned = config("grafana/provisioning/datasources/prometheus.yml").unwrap();
    let mut names = BTreeSet::new();
    for dashboard in DASHBOARDS {
        let file = config(&format!("grafana/dashboards/{dashboard}.json")).unwrap();
        assert!(names.insert(text(&file["uid"]).to_owned()), "two dashboards are called {}", file["uid"]);
        for panel in file["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            assert_eq!(
                panel["datasource"]["uid"], provisioned["datasources"][0]["uid"],
                "{}",
                panel["title"]
            );
        }
    }
    let files = sources::files(&folder().join("grafana/dashboards"), &["json"]);
    assert_eq!(files.len(), DASHBOARDS.len(), "testkit knows all dashboards");
}
