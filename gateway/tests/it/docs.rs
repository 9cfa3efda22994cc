//! The documentation against the code: tables that clients and operators rely on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use axum::http::StatusCode;
use common::{Code, close::Close};
use gateway::{
    config::{self, Declared},
    process::metrics::{Kind, LIMITS, METRICS, Row},
};

/// The setting of this environment variable.
fn setting(env: &str) -> Option<&'static dyn Declared> {
    config::declared().map(|(_, setting)| setting).find(|setting| setting.env() == env)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the first table under a heading, cells trimmed and without backquotes.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split(&format!("\n## {heading}\n")).nth(1).expect("the heading is there");
    let rows =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn the_error_codes_are_those_of_the_code() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let documented: Vec<(String, String)> =
        table(&page, "Error codes").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = Code::ALL.map(|code| (code.as_str().to_owned(), code.http_status().to_string()));
    assert_eq!(documented, expected);
}

#[test]
fn the_close_codes_are_those_of_the_code() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let documented: Vec<(String, String)> =
        table(&page, "Close codes").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let expected = Close::ALL
        .map(|close| (close.code().to_string(), if close.come_back() { "yes" } else { "no" }.to_owned()));
    assert_eq!(documented, expected);
}

#[test]
fn every_code_has_its_entry_in_the_errors() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let documented = |heading| -> Vec<String> {
        table(&page, heading).into_iter().map(|mut row| row.swap_remove(0)).collect()
    };
    assert_eq!(documented("Error codes"), Code::ALL.map(Code::as_str));
    let mut closes = documented("Close codes");
    closes.sort();
    let mut expected = Close::ALL.map(|close| close.code().to_string());
    expected.sort();
    assert_eq!(closes, expected);
}

/// The statuses of problems that differ from the one of their code, as edge/problem.rs names them.
fn statuses_of_problems() -> BTreeSet<String> {
    let source = fs::read_to_string(root().join("gateway/src/edge/problem.rs")).unwrap();
    let constructors = source.split("impl IntoResponse").next().unwrap();
    let constant = |status: StatusCode| {
        Some(format!("StatusCode::{}", status.canonical_reason()?.to_uppercase().replace(' ', "_")))
    };
    let differs = |status: &u16| Code::ALL.iter().all(|code| code.http_status() != *status);
    (400..500)
        .filter(differs)
        .filter(|status| {
            let name = constant(StatusCode::from_u16(*status).unwrap());
            name.is_some_and(|name| constructors.contains(&name))
        })
        .map(|status| status.to_string())
        .collect()
}

#[test]
fn every_status_has_its_entry_in_the_errors() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let documented: BTreeSet<String> =
        table(&page, "HTTP statuses").into_iter().map(|mut row| row.swap_remove(0)).collect();
    assert_eq!(documented, statuses_of_problems());
    assert!(documented.len() >= 5, "the search finds what there is");
}

#[test]
fn the_limits_are_those_of_the_settings() {
    let page = fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let mut checked = 0;
    for row in table(&page, "Limits") {
        let named =
            |word: &&str| word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let Some(name) = row[1].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(named) else {
            continue;
        };
        let setting = setting(name).expect("a setting of that name");
        assert!(
            row[1].replace(' ', "").contains(setting.default().text()),
            "{name} is {} by default, and not {}",
            setting.default().text(),
            row[1]
        );
        checked += 1;
    }
    assert!(checked >= 6, "the table names its settings");
}

const METRICS_INTRODUCTION: &str = "\
# Metrics

`GET /metrics` on the node's second listener (`METRICS_ADDR`, 127.0.0.1:9464) answers in the Prometheus
text format. Durations are in seconds. Counters begin at zero with the node, so that no first error is missed;
gauges and histograms appear with their first value.

[operations.md](operations.md) says which of them tell that the database pool is too small, or that
retention does not keep up, and has an alert for most of what can go wrong ([deploy/monitoring](../deploy/monitoring)). Two to watch: `draftwire_commit_to_delivery_seconds` is what users feel, and
`draftwire_sweep_interval_seconds` is how late an event can be at worst that no copy announced.

A test compares this page with the tables in the code; it is written anew by
`UPDATE_DOCS=1 cargo test -p gateway --test it docs`.
";

/// docs/metrics.md as the code has it.
fn metrics_page() -> String {
    let mut page = METRICS_INTRODUCTION.to_owned();
    let mut section = |title: &str, rows: Vec<(&str, &str, String, &str)>| {
        let _ = write!(page, "\n## {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n");
        for (name, kind, labels, meaning) in rows {
            let _ = writeln!(page, "| `{name}` | {kind} | {labels} | {meaning} |");
        }
    };
    let quoted = |labels: &str| {
        let labels = labels.split(',').filter(|label| !label.is_empty());
        labels.map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
    };
    let kind = |kind: &Kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    for (title, rows) in [("Node", METRICS), ("Limits and the process", LIMITS)] {
        section(title, rows.iter().map(|(n, k, label, m)| (*n, kind(k), quoted(label), *m)).collect());
    }
    // Here the label is a part of the meaning: "by `reason`: …".
    let label = |meaning: &str| {
        quoted(meaning.split_once("by `").and_then(|(_, rest)| rest.split('`').next()).unwrap_or(""))
    };
    section("Bus", fanout::bus::metrics::METRICS.iter().map(|(n, k, m)| (*n, *k, label(m), *m)).collect());
    page
}

/// The names of all metrics that are described.
fn described() -> impl Iterator<Item = &'static str> {
    let of_node = METRICS.iter().chain(LIMITS).map(|(name, ..): &Row| *name);
    of_node.chain(fanout::bus::metrics::METRICS.iter().map(|(name, ..)| *name))
}

#[test]
fn the_metrics_page_is_what_the_code_says() {
    let path = root().join("docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, metrics_page()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == metrics_page(),
        "docs/metrics.md is stale: UPDATE_DOCS=1 cargo test -p gateway --test it docs"
    );
}

#[test]
fn operators_are_told_of_metrics_and_settings_that_exist() {
    let pages = ["docs/operations.md", "docs/troubleshooting.md"];
    let page = pages.map(|page| fs::read_to_string(root().join(page)).unwrap()).join("\n");
    let of_compose = fs::read_to_string(root().join(".env.example")).unwrap();
    let mut checked = 0;
    for name in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let upper = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        if name.starts_with("draftwire_") {
            let known = described().any(|metric| metric == name);
            assert!(known, "there is no metric {name}");
        } else if upper
            && name.trim_matches('_').contains('_')
            && !name.ends_with('_')
            && !name.starts_with('_')
        {
            let is_of_compose = of_compose.lines().any(|line| line.split('=').next() == Some(name));
            assert!(is_of_compose || setting(name).is_some(), "there is no setting {name}");
        } else {
            continue;
        }
        checked += 1;
    }
    assert!(checked >= 20, "the page names what to look at");
}

/// Names in quotes that look like metrics, and where each is.
fn metrics_in(folder: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for part in fs::read_to_string(&path).unwrap().split('"') {
                let name =
                    part.strip_prefix("draftwire_").or(part.strip_prefix("process_")).unwrap_or_default();
                if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    found.insert(part.to_owned(), path.clone());
                }
            }
        }
    }
}

#[test]
fn every_metric_in_the_code_is_described() {
    let names = self::described();
    let described: BTreeSet<&str> = self::described().collect();
    assert_eq!(described.len(), names.count(), "no metric is described twice");
    let mut found = BTreeMap::new();
    metrics_in(&root().join("gateway/src"), &mut found);
    metrics_in(&root().join("fanout/src"), &mut found);
    assert!(found.len() >= described.len(), "the search finds what there is");
    for (name, path) in found {
        assert!(described.contains(name.as_str()), "{name} in {} is not described", path.display());
    }
}
