//! `draftwire cluster`, `connections` and `streams`: what operators are shown, as tables or as JSON.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Command};
use common::{Stream, UserId, ids::NodeId};
use reqwest::{Method, Url};
use serde_json::Value;

use super::{
    admin::AdminClient,
    failure::{EXIT_CODES, Failure},
    output::Output,
    server::Server,
};

/// Connections that are asked for at a time.
const PAGE: &str = "100";

/// What is asked for.
#[derive(Debug)]
pub(super) struct Question {
    about: About,
    json: bool,
}

#[derive(Debug)]
enum About {
    Cluster,
    Connections { user: Option<UserId>, node: Option<NodeId> },
    Stream { stream: Stream, payload: bool },
}

/// The command lines.
pub(super) fn commands() -> [Command; 3] {
    let json = || {
        Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print JSON, an object a line, instead of a table")
    };
    let after = format!("The token needs the scope admin.\n\n{EXIT_CODES}");
    [
        Command::new("cluster").about("Print how the nodes are, and what is wrong").arg(json()),
        Command::new("connections")
            .about("Print the connections of all nodes, and how far each is behind")
            .args([
                Arg::new("user")
                    .long("user")
                    .value_name("USER")
                    .value_parser(|text: &str| text.parse::<UserId>())
                    .help("Those of this user alone"),
                Arg::new("node")
                    .long("node")
                    .value_name("NODE")
                    .value_parser(|text: &str| text.parse::<NodeId>())
                    .help("Those of this node alone"),
                json(),
            ]),
        Command::new("streams")
            .about("Print where a stream stands, who follows it, and its newest events")
            .args([
                Arg::new("stream")
                    .value_name("STREAM")
                    .required(true)
                    .value_parser(|text: &str| text.parse::<Stream>())
                    .help("all, control, topic:<name> or user:<id>"),
                Arg::new("payload")
                    .long("payload")
                    .action(ArgAction::SetTrue)
                    .help("With what the events carry; the token needs the scope admin:payload as well"),
                json(),
            ]),
    ]
    .map(|command| command.after_help(after.clone()))
}

impl Question {
    /// Reads the arguments of one of the commands.
    pub(super) fn read(name: &str, matches: &ArgMatches) -> Self {
        let about = match name {
            "cluster" => About::Cluster,
            "connections" => About::Connections {
                user: matches.get_one("user").cloned(),
                node: matches.get_one("node").cloned(),
            },
            _ => About::Stream {
                stream: matches.get_one("stream").cloned().expect("it is required"),
                payload: matches.get_flag("payload"),
            },
        };
        Self { about, json: matches.get_flag("json") }
    }
}

/// Asks, and prints the answer.
pub(super) async fn run(server: &Server, question: Question, output: &Output) -> Result<(), Failure> {
    let Question { about, json } = question;
    let parameters = |pairs: &[(&str, Option<String>)]| -> Vec<(String, String)> {
        let given = pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
        given.collect()
    };
    match about {
        About::Cluster => {
            let cluster = get(server, &["cluster"], &[]).await?;
            if json { output.print(&cluster).await } else { output.write(cluster_table(&cluster)).await }
        }
        About::Stream { stream, payload } => {
            let parameters = parameters(&[("payload", payload.then(|| "true".to_owned()))]);
            let stream = get(server, &["streams", &stream.to_string()], &parameters).await?;
            if json { output.print(&stream).await } else { output.write(stream_table(&stream)).await }
        }
        About::Connections { user, node } => {
            let mut cursor = None;
            let mut is_first = true;
            loop {
                let parameters = parameters(&[
                    ("user", user.as_ref().map(ToString::to_string)),
                    ("node", node.as_ref().map(ToString::to_string)),
                    ("cursor", cursor),
                    ("limit", Some(PAGE.to_owned())),
                ]);
                let page = get(server, &["connections"], &parameters).await?;
                say_missing(&page);
                if json {
                    for connection in list(&page, "connections") {
                        output.print(connection).await?;
                    }
                } else {
                    output.write(connections_table(&page, is_first)).await?;
                }
                is_first = false;
                cursor = page["cursor"].as_str().map(str::to_owned);
                if cursor.is_none() {
                    return Ok(());
                }
            }
        }
    }
}

/// Says on the standard error which nodes have not answered.
fn say_missing(answer: &Value) {
    for node in list(answer, "missing") {
        eprintln!("draftwire: {} has not answered", text(node));
    }
    if answer["complete"] == false {
        eprintln!("draftwire: not all nodes may be known just now");
    }
}

/// Asks the API of operators.
async fn get(server: &Server, path: &[&str], parameters: &[(String, String)]) -> Result<Value, Failure> {
    let mut url: Url = server.plain_url(&[&["v1", "admin"], path].concat());
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    AdminClient::new(server)?.request(Method::GET, url, None, None).await
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// A value as people read it: a text without quotes, nothing for nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows under headings, each column as wide as it has to be.
fn table(headings: &[&str], rows: &[Vec<String>], with_headings: bool) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[String]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // A String takes everything.
            let _ = write!(line, "{cell:<width$}  ");
        }
        line.trim_end().to_owned() + "\n"
    };
    let headings: Vec<String> = headings.iter().map(ToString::to_string).collect();
    let head = if with_headings { line(&headings) } else { String::new() };
    rows.iter().fold(head, |table, row| table + &line(row))
}

fn cluster_table(cluster: &Value) -> String {
    let rows: Vec<Vec<String>> = list(cluster, "nodes")
        .map(|node| {
            let state = match (&node["stale"], &node["stopping"]) {
                (Value::Bool(true), _) => "stale",
                (_, Value::Bool(true)) => "stopping",
                _ => "ok",
            };
            let part = |name: &str| if node[name]["ok"] == true { "ok" } else { "not ok" }.to_owned();
            let mebibytes = node["memoryBytes"].as_u64().unwrap_or(0) >> 20;
            vec![
                text(&node["node"]),
                state.to_owned(),
                text(&node["version"]),
                text(&node["connections"]["total"]),
                text(&node["users"]),
                text(&node["rates"]["messagesIn"]),
                text(&node["rates"]["messagesOut"]),
                text(&node["latency"]["p95Ms"]),
                text(&node["processors"]),
                format!("{mebibytes}"),
                text(&node["queues"]["writes"]),
                part("bus"),
                part("store"),
            ]
        })
        .collect();
    let headings = [
        "NODE",
        "STATE",
        "VERSION",
        "CONNECTIONS",
        "USERS",
        "IN/S",
        "OUT/S",
        "P95 MS",
        "PROCESSORS",
        "MIB",
        "WRITES",
        "BUS",
        "STORE",
    ];
    let mut text_of_all = table(&headings, &rows, true);
    for warning in list(cluster, "warnings") {
        let _ = writeln!(text_of_all, "warning: {}", text(&warning["message"]));
    }
    for bottleneck in list(cluster, "bottlenecks") {
        let (operation, advice) = (text(&bottleneck["operation"]), text(&bottleneck["advice"]));
        let _ = writeln!(text_of_all, "bottleneck: {operation}, p95 {} ms. {advice}", bottleneck["p95Ms"]);
    }
    text_of_all
}

fn connections_table(page: &Value, with_headings: bool) -> String {
    let rows: Vec<Vec<String>> = list(page, "connections")
        .map(|one| {
            let behind = list(one, "cursors").filter_map(|cursor| cursor["behind"].as_u64()).max();
            let furthest = list(one, "cursors").max_by_key(|cursor| cursor["behind"].as_u64());
            let of = furthest.filter(|_| behind > Some(0)).map(|cursor| text(&cursor["stream"]));
            vec![
                text(&one["connection"]),
                text(&one["user"]),
                text(&one["device"]),
                text(&one["node"]),
                text(&one["transport"]),
                one["roundTripMs"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}")),
                behind.map_or("?".to_owned(), |behind| behind.to_string()),
                of.unwrap_or_else(|| "-".to_owned()),
                text(&one["bytesWaiting"]),
            ]
        })
        .collect();
    let headings = [
        "CONNECTION",
        "USER",
        "DEVICE",
        "NODE",
        "TRANSPORT",
        "ROUND TRIP MS",
        "BEHIND",
        "IN",
        "BYTES WAITING",
    ];
    table(&headings, &rows, with_headings)
}

fn stream_table(stream: &Value) -> String {
    let mut all = String::new();
    for (name, value) in [
        ("stream", &stream["stream"]),
        ("epoch", &stream["epoch"]),
        ("head", &stream["head"]),
        ("floor", &stream["floor"]),
        ("events a second", &stream["eventsPerSecond"]),
    ] {
        let _ = writeln!(all, "{name}: {}", text(value));
    }
    for followers in list(stream, "followers") {
        let _ = writeln!(all, "followers on {}: {}", text(&followers["node"]), followers["count"]);
    }
    for node in list(stream, "missing") {
        let _ = writeln!(all, "{} has not answered", text(node));
    }
    let rows: Vec<Vec<String>> = list(stream, "newest")
        .map(|event| {
            ["seq", "type", "origin", "timestamp", "bytes", "payload"].map(|name| text(&event[name])).into()
        })
        .collect();
    all + &table(&["SEQ", "TYPE", "ORIGIN", "TIMESTAMP", "BYTES", "PAYLOAD"], &rows, true)
}
