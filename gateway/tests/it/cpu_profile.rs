//! CPU profiles of a node under load: over HTTP on the private listener, and with `draftwire profile`.

use std::{
    process::{Command, Output},
    time::Duration,
};

use prost::Message;
use serde_json::json;
use testkit::{Node, NodeOptions, http, token, wait};
use tokio::task::{JoinHandle, spawn_blocking};

const DEADLINE: Duration = Duration::from_secs(60);

/// What the test reads of a profile, by the numbers of profile.proto.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Pair>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
}

/// A type and its unit; of functions, the number and the name.
#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(int64, tag = "1")]
    first: i64,
    #[prost(int64, tag = "2")]
    second: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Pair>,
}

impl Profile {
    fn text(&self, place: i64) -> &str {
        &self.string_table[usize::try_from(place).unwrap()]
    }

    /// The names of the functions of a sample.
    fn functions<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = &'a str> {
        let locations = sample.location_id.iter().map(|id| {
            self.location
                .iter()
                .find(|location| location.id == *id)
                .expect("samples name locations of the profile")
        });
        locations.flat_map(|location| &location.line).map(|line| {
            let function = self.function.iter().find(|function| function.first == line.first);
            self.text(function.expect("locations name functions of the profile").second)
        })
    }
}

async fn node() -> Node {
    Node::start(NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))).await.unwrap()
}

/// Changes drafts for as long as it is not aborted.
fn load(node: &Node) -> Vec<JoinHandle<()>> {
    let client = |number: usize| {
        let url = node.http_url(&format!("/v1/drafts/d{number}?createIfMissing=true"));
        let list = node.http_url("/v1/drafts");
        let bearer = format!("Bearer {}", token::good("ada"));
        async move {
            for count in 0_u64.. {
                let body = json!({"draftId": format!("d{number}-{count}"), "kind": "k", "content": {"count": count}});
                let headers = [("authorization", bearer.as_str())];
                // Until there are too many drafts, it creates them; then it is refused, which is work too.
                http::request("POST", &list, &headers, Some(&body)).await.unwrap();
                http::request("GET", &url, &headers, None).await.unwrap();
            }
        }
    };
    (0..4).map(|number| tokio::spawn(client(number))).collect()
}

fn pprof(node: &Node, path: &str) -> String {
    node.metrics_url().replace("/metrics", &format!("/debug/pprof/{path}"))
}

/// Asks for a long profile, again and again while another one is collected; returns the status of its end.
async fn long_profile(url: String) -> Option<u16> {
    loop {
        match http::get(&url).await.ok()?.status {
            429 => tokio::task::yield_now().await,
            status => return Some(status),
        }
    }
}

/// Waits until the long profile is collected, so that this one is refused.
async fn until_refused(url: &str) -> http::Answer {
    wait::until("the second is refused", DEADLINE, || async {
        let answer = http::get(url).await.unwrap();
        if answer.status == 429 { Ok(answer) } else { Err(answer.status) }
    })
    .await
}

fn draftwire(arguments: Vec<String>) -> impl Future<Output = Output> {
    let run =
        move || Command::new(env!("CARGO_BIN_EXE_draftwire")).env_clear().args(arguments).output().unwrap();
    async move { spawn_blocking(run).await.unwrap() }
}

#[tokio::test]
async fn a_profile_of_a_node_under_load_names_its_functions() {
    let (node, folder) = (node().await, tempfile::tempdir().unwrap());
    let load = load(&node);
    let url = node.metrics_url().replace("/metrics", "");
    let file = |name: &str| folder.path().join(name);
    for name in ["profile.pb", "profile.svg"] {
        let out = file(name).display().to_string();
        let ended =
            draftwire(["profile", "--seconds", "1", "--url", &url, "--out", &out].map(str::to_owned).into())
                .await;
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), out);
    }
    load.iter().for_each(JoinHandle::abort);

    let profile = Profile::decode(std::fs::read(file("profile.pb")).unwrap().as_slice()).unwrap();
    assert_eq!(profile.text(0), "");
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|kind| (profile.text(kind.first), profile.text(kind.second)))
        .collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert!(profile.duration_nanos >= 1_000_000_000, "{}", profile.duration_nanos);
    assert!(!profile.sample.is_empty());
    for sample in &profile.sample {
        assert_eq!(sample.value[1], sample.value[0] * (1_000_000_000 / 99));
    }
    let ours = |sample: &&Sample| profile.functions(sample).any(|name| name.contains("gateway::edge"));
    let ours = profile.sample.iter().filter(ours).count();
    assert!(ours > 0, "none of {} stacks is ours: {:?}", profile.sample.len(), profile.string_table);
    let svg = std::fs::read_to_string(file("profile.svg")).unwrap();
    assert!(svg.contains("<svg") && svg.contains("gateway::edge"), "{svg}");
    let served = http::get_as(&token::good("ada"), &node.http_url("/v1/drafts")).await.unwrap();
    assert_eq!(served.status, 200, "the node serves on");
}

#[tokio::test]
async fn one_profile_at_a_time_is_collected_and_ends_when_its_requester_leaves() {
    let node = node().await;
    let long = tokio::spawn(long_profile(pprof(&node, "profile?seconds=60")));
    let short = pprof(&node, "flamegraph?seconds=1");
    let refused = until_refused(&short).await;
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&after), "{after}");
    assert!(refused.text.contains("another profile is being collected"), "{}", refused.text);

    assert!(!long.is_finished());
    long.abort();
    wait::until("the next one is collected", Duration::from_secs(30), || async {
        let answer = http::get(&short).await.unwrap();
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_number_of_seconds_is_refused_with_the_rule() {
    let mut node = node().await;
    for path in ["profile", "flamegraph"] {
        for seconds in ["0", "61", "-1", "1.5", "", "ten", "18446744073709551616"] {
            let answer = http::get(&pprof(&node, &format!("{path}?seconds={seconds}"))).await.unwrap();
            assert_eq!(answer.status, 400, "{path} {seconds}");
            assert_eq!(answer.text, "seconds: give a whole number from 1 to 60\n");
        }
    }
    let public = http::get(&node.http_url("/debug/pprof/profile?seconds=1")).await.unwrap();
    assert_eq!(public.status, 404, "clients cannot have it");

    for (arguments, code, expected) in [
        ("profile --seconds 0", 2, "1..=60"),
        ("profile --out profile.txt", 2, ".svg or .pb"),
        ("profile --url nowhere", 2, "http://127.0.0.1:9464"),
        // The public listener has no such path.
        (&format!("profile --url {}", node.http_url("")), 1, "404"),
    ] {
        let ended = draftwire(arguments.split(' ').map(str::to_owned).collect()).await;
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {errors}");
        assert!(errors.contains(expected), "{arguments}: {errors}");
    }

    // A stop does not wait for a profile.
    let cut = tokio::spawn(long_profile(pprof(&node, "profile?seconds=60")));
    until_refused(&pprof(&node, "profile?seconds=1")).await;
    node.terminate();
    node.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(cut.await.unwrap(), Some(503));
}
