//! Postgres is slow: the profiler says so, and of what.

use serde_json::{Value, json};
use testkit::{Node, http, token, wait};

use crate::{DEADLINE, cluster, turn};

/// Events that are published: enough for a 95th percentile.
const EVENTS: u64 = 12;

/// Holds up every insertion of an event for longer than `SLOW_OPERATION`.
const SLOW_DOWN: &str = "
    CREATE FUNCTION draftwire.slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.15); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON draftwire.events FOR EACH ROW EXECUTE FUNCTION draftwire.slow();";

async fn operations(node: &Node) -> Value {
    http::get(&node.metrics_url().replace("/metrics", "/operations")).await.unwrap().json
}

/// The row of an operation, within the last minute.
fn last_minute(operations: &Value, name: &str) -> Value {
    let rows = operations["operations"].as_array().unwrap();
    let row = rows.iter().find(|row| row["operation"] == name);
    row.map_or(json!({ "count": 0 }), |row| row["lastMinute"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commit_is_named_as_the_bottleneck() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).start().await.unwrap();
    let (here, there) = (&cluster.nodes[0], &cluster.nodes[1]);
    let device = cluster.device("ada", "laptop", 1).await;

    cluster.postgres.query("db0", SLOW_DOWN).await.unwrap();

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let bearer = format!("Bearer {}", token::good("ada"));
    for n in 0..EVENTS {
        let headers = [
            ("authorization", bearer.as_str()),
            ("x-request-id", "made-by-a-test"),
            ("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01")),
        ];
        let draft = json!({ "kind": "order", "content": { "n": n } });
        let answer =
            http::request("POST", &here.http_url("/v1/drafts"), &headers, Some(&draft)).await.unwrap();
        assert_eq!((answer.status, answer.header("x-request-id")), (201, Some("made-by-a-test")));
    }
    wait::until("the device has everything", DEADLINE, || async {
        if device.seq() == EVENTS { Ok(()) } else { Err(device.seq()) }
    })
    .await;

    let view = operations(here).await;
    let commit = &view["bottlenecks"][0];
    assert_eq!((&commit["operation"], &commit["reason"]), (&json!("commit"), &json!("slow")), "{view:#}");
    assert!(commit["share"].as_f64().unwrap() > 0.5, "{commit}");
    assert!(commit["p95Ms"].as_f64().unwrap() >= 150.0, "{commit}");
    assert!(commit["advice"].as_str().unwrap().contains("database"), "{commit}");
    let names: Vec<_> = view["bottlenecks"].as_array().unwrap().iter().map(|one| &one["operation"]).collect();
    assert!(names.contains(&&json!("statement:write_one")), "{names:?}");
    assert!(!names.iter().any(|name| name.as_str().unwrap().starts_with("http:")), "{names:?}");
    let counts =
        ["queue", "commit", "http:POST /v1/drafts"].map(|name| last_minute(&view, name)["count"].clone());
    assert_eq!(counts, [EVENTS, EVENTS, EVENTS].map(Value::from));
    // What the other node has received came over the bus, or by the sweep where a copy was lost.
    let view = operations(there).await;
    let hops = last_minute(&view, "hop")["count"].as_u64().unwrap();
    assert!((1..=EVENTS).contains(&hops), "{view:#}");
    let copies = last_minute(&view, "sequence")["count"].as_u64().unwrap();
    assert!((1..=EVENTS).contains(&copies), "{view:#}");
    assert!(last_minute(&view, "deliver")["count"].as_u64().unwrap() > 0);
    let counted =
        here.metric("draftwire_operation_seconds_count", &[("operation", "commit"), ("outcome", "ok")]);
    assert_eq!(counted.await.unwrap(), EVENTS as f64);

    let log = here.log().unwrap();
    for named in [
        ["slow request", "made-by-a-test", trace, "/v1/drafts"],
        ["slow commit", "user:ada", "queue_ms", "commit_ms"],
        ["slow statement", "write_one", "pool_wait_ms", "lock_wait_ms"],
    ] {
        let line = log.lines().find(|line| named.iter().all(|part| line.contains(part)));
        assert!(line.is_some(), "no line with {named:?}: {log}");
    }
    let lines = log.lines().filter(|line| line.contains("slow commit")).count();
    assert!(lines < EVENTS as usize, "{lines} lines are not limited");
}
