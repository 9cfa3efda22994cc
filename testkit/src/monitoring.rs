//! Prometheus and Alertmanager as deploy/monitoring configures them, an hour in a minute.
//!
//! What is changed in the copy that they read: every duration is a sixtieth, nodes are found by their ports instead
//! of by DNS, and what would go to Slack or PagerDuty goes to a receiver of the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Node, http, ports, process::Process};

/// The configuration that the repository ships.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/monitoring");

/// By how much everything is faster.
const FASTER: u64 = 60;

const START_WAIT: Duration = Duration::from_secs(30);

/// Reads a file of deploy/monitoring, YAML or JSON, given its path there.
///
/// # Errors
/// When there is none, or it is neither.
pub fn config(path: &str) -> Result<Value> {
    let text = fs::read_to_string(Path::new(CONFIG).join(path)).with_context(|| path.to_owned())?;
    serde_saphyr::from_str(&text).with_context(|| format!("{path} is not YAML"))
}

/// The rules of a file of deploy/monitoring/prometheus/rules, over all its groups.
///
/// # Errors
/// As [`config`].
pub fn rules(name: &str) -> Result<Vec<Value>> {
    let file = config(&format!("prometheus/rules/{name}"))?;
    let groups = file["groups"].as_array().context("no groups")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
}

/// The rules with recorded series, and those with alerts.
pub const RULE_FILES: [&str; 2] = ["recording.yml", "alerts.yml"];

/// The dashboards of Grafana.
pub const DASHBOARDS: [&str; 4] = ["overview", "node", "streams", "database-and-bus"];

/// The queries of a dashboard, each with the title of its panel.
///
/// # Errors
/// As [`config`].
pub fn queries(dashboard: &str) -> Result<Vec<(String, String)>> {
    let file = config(&format!("grafana/dashboards/{dashboard}.json"))?;
    let panels = file["panels"].as_array().context("no panels")?;
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].clone()))
    });
    queries.map(|(title, expr)| Ok((title, expr.as_str().context("no query")?.to_owned()))).collect()
}

/// A Prometheus and an Alertmanager. Dropping it ends both.
#[derive(Debug)]
pub struct Monitoring {
    port: u16,
    // Before the folder: fields are dropped in this order.
    _alertmanager: Process,
    _prometheus: Process,
    _dir: TempDir,
}

impl Monitoring {
    /// Watches nodes, and sends alerts to a URL that takes Alertmanager's webhooks, by the route for Slack.
    ///
    /// # Errors
    /// When one of them is not installed, or does not start; with the end of its log.
    pub async fn start(nodes: &[Node], receiver: &str) -> Result<Self> {
        let dir = TempDir::with_prefix("monitoring-")?;
        let (port, alertmanager_port) = (ports::free()?, ports::free()?);
        let write = |name: &str, value: &Value| {
            let path = dir.path().join(name);
            fs::write(&path, value.to_string()).map(|()| path)
        };
        // JSON is YAML.
        for name in RULE_FILES {
            write(name, &quick_rules(config(&format!("prometheus/rules/{name}"))?))?;
        }
        let prometheus = write("prometheus.yml", &prometheus_config(nodes, alertmanager_port)?)?;
        let alertmanager = write("alertmanager.yml", &alertmanager_config(receiver)?)?;

        let mut command = Command::new(alertmanager_program());
        command
            .arg(format!("--config.file={}", alertmanager.display()))
            .arg(format!("--storage.path={}", dir.path().join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{alertmanager_port}"))
            .arg("--cluster.listen-address=");
        let log = dir.path().join("alertmanager.log");
        let mut alertmanager = Process::start("alertmanager", command, &log)
            .context("install the package `prometheus-alertmanager`")?;
        alertmanager.wait_ready(START_WAIT, || is_ready(alertmanager_port)).await?;

        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", prometheus.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = dir.path().join("prometheus.log");
        let mut prometheus =
            Process::start("prometheus", command, &log).context("install the package `prometheus`")?;
        prometheus.wait_ready(START_WAIT, || is_ready(port)).await?;
        Ok(Self { port, _alertmanager: alertmanager, _prometheus: prometheus, _dir: dir })
    }

    /// The result of an expression just now: the series of a vector. Ranges are as short as those of the rules here, and
    /// the variables of dashboards stand for all nodes.
    ///
    /// # Errors
    /// When the expression is not one, with what Prometheus says of it.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let expression = expression.replace("$__rate_interval", "10m").replace("$instance", ".*");
        let expression = &quick_expression(&expression);
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let url = Url::parse_with_params(&url, [("query", expression)])?;
        let answer = http::get(url.as_str()).await?;
        ensure!(answer.json["status"] == "success", "{expression}: {}", answer.text);
        let result = &answer.json["data"]["result"];
        result.as_array().cloned().with_context(|| format!("{expression} is no vector"))
    }
}

async fn is_ready(port: u16) -> Result<()> {
    let answer = http::get(&format!("http://127.0.0.1:{port}/-/ready")).await?;
    ensure!(answer.status == 200, "{}", answer.text);
    Ok(())
}

/// Debian calls it differently from everybody else.
fn alertmanager_program() -> PathBuf {
    let debian = PathBuf::from("/usr/bin/prometheus-alertmanager");
    if debian.is_file() { debian } else { "alertmanager".into() }
}

fn prometheus_config(nodes: &[Node], alertmanager: u16) -> Result<Value> {
    let mut config = config("prometheus/prometheus.yml")?;
    let at = |port: u16| format!("127.0.0.1:{port}");
    for setting in ["scrape_interval", "evaluation_interval"] {
        config["global"][setting] = quick(config["global"][setting].as_str().unwrap_or_default()).into();
    }
    // As long as it may be.
    config["global"]["scrape_timeout"] = config["global"]["scrape_interval"].clone();
    config["global"]["external_labels"] = json!({ "notify": "slack", "docs": "docs" });
    config["rule_files"] = json!(RULE_FILES);
    config["alerting"]["alertmanagers"] = json!([{ "static_configs": [{ "targets": [at(alertmanager)] }] }]);
    let job = &config["scrape_configs"][0]["job_name"];
    let targets: Vec<String> = nodes.iter().map(|node| at(node.metrics_port())).collect();
    config["scrape_configs"] = json!([{ "job_name": job, "static_configs": [{ "targets": targets }] }]);
    Ok(config)
}

fn alertmanager_config(receiver: &str) -> Result<Value> {
    let mut config = config("alertmanager/alertmanager.yml")?;
    quick_route(&mut config["route"]);
    for one in config["receivers"].as_array_mut().context("no receivers")? {
        let name = one["name"].clone();
        *one = if name == "none" {
            json!({ "name": name })
        } else {
            json!({ "name": name, "webhook_configs": [{ "url": receiver, "send_resolved": true }] })
        };
    }
    Ok(config)
}

fn quick_route(route: &mut Value) {
    for setting in ["group_wait", "group_interval", "repeat_interval"] {
        if let Some(text) = route[setting].as_str() {
            route[setting] = quick(text).into();
        }
    }
    // Indexing by a name that is not there adds it as null.
    route.as_object_mut().into_iter().for_each(|route| route.retain(|_, value| !value.is_null()));
    for child in route["routes"].as_array_mut().into_iter().flatten() {
        quick_route(child);
    }
}

fn quick_rules(mut file: Value) -> Value {
    for group in file["groups"].as_array_mut().into_iter().flatten() {
        for rule in group["rules"].as_array_mut().into_iter().flatten() {
            if let Some(text) = rule["expr"].as_str() {
                rule["expr"] = quick_expression(text).into();
            }
            if let Some(text) = rule.get("for").and_then(Value::as_str) {
                rule["for"] = quick(text).into();
            }
        }
    }
    file
}

/// An expression whose ranges and offsets are shorter.
fn quick_expression(text: &str) -> String {
    let mut quicker = String::new();
    let mut rest = text;
    let next = |rest: &str| ["[", "offset "].iter().filter_map(|p| Some(rest.find(p)? + p.len())).min();
    while let Some(begin) = next(rest) {
        let (before, after) = rest.split_at(begin);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
        quicker += before;
        quicker += &quick(&after[..end]);
        rest = &after[end..];
    }
    quicker + rest
}

/// A duration as Prometheus writes it, made shorter; anything else as it is.
fn quick(text: &str) -> String {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return text.to_owned(),
    };
    number
        .parse::<u64>()
        .map_or_else(|_| text.to_owned(), |number| format!("{}ms", (number * seconds * 1000 / FASTER).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_offsets_are_shorter_and_names_are_as_they_were() {
        let expression = "a:rate5m > 0 and rate(b{c=~\"d\"}[5m]) unless b offset 1h";
        let quicker = "a:rate5m > 0 and rate(b{c=~\"d\"}[5000ms]) unless b offset 60000ms";
        assert_eq!(quick_expression(expression), quicker);
        assert_eq!(quick("30s"), "500ms");
    }
}
