//! What an operator sees of a node, as a process: metrics, and a line of the log for each connection.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use testkit::{Node, NodeOptions, RawRequest, RawSocket, http, token, wait};

const DEADLINE: Duration = Duration::from_secs(60);

/// More than the lines that are logged at once, and so many that twenty a second do not catch up.
const REFUSALS: u32 = 400;

/// For how long an answer is held back, a little less.
const HELD_BACK: Duration = Duration::from_millis(290);

async fn node() -> Node {
    Node::start(NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))).await.unwrap()
}

/// The first line of the log in which all of these are.
async fn line(node: &Node, parts: &[&str]) -> String {
    wait::until("the line is logged", DEADLINE, || async {
        let log = node.log().map_err(|error| error.to_string())?;
        let found = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        found.map(str::to_owned).ok_or(log)
    })
    .await
}

#[tokio::test]
async fn each_connection_is_logged_and_counted() {
    let node = node().await;
    let request = |token: &str, id: &str| {
        let request = RawRequest::new(format!("{}?device=a%20phone%22%20user%3D%22eve", node.ws_url()));
        request.subprotocol("draftwire.v1.json").bearer(token).header("x-request-id", id)
    };
    let mut socket = RawSocket::connect(&request(&token::good("ada"), "opened-1")).await.unwrap();
    let welcome = socket.next_of("WELCOME", DEADLINE).await.unwrap();
    let connection = welcome["payload"]["connectionId"].as_str().unwrap();
    let of_it = format!("connection={connection}");
    let opened = line(&node, &[" connected", &of_it]).await;
    for part in [
        "user=\"ada\"",
        r#"device="a phone\" user=\"eve""#,
        "transport=\"websocket\"",
        "request=\"opened-1\"",
    ] {
        assert!(opened.contains(part), "{opened}");
    }
    socket.send_close(Some(1000)).await.unwrap();
    let ended = line(&node, &["disconnected", &of_it]).await;
    assert!(ended.contains("end=\"gone\"") && ended.contains("user=\"ada\""), "{ended}");

    let (epoch, seq) = (&welcome["payload"]["epoch"], &welcome["payload"]["seq"]);
    let cursor = format!("{}:{seq}", epoch.as_str().unwrap());
    let again = RawRequest::new(format!("{}?device=phone&cursor={cursor}", node.ws_url()));
    let again = again.subprotocol("draftwire.v1.json").bearer(&token::good("ada"));
    let mut socket = RawSocket::connect(&again).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();

    let mut socket = RawSocket::connect(&request("not-a-token", "refused-1")).await.unwrap();
    assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4401));
    let refused = line(&node, &["connection refused", "refused-1"]).await;
    assert!(refused.contains("code=\"unauthorized\""), "{refused}");

    let url = node.http_url("/v1/stream?topics=not%20a%20name");
    let answer = http::request("GET", &url, &[("x-request-id", "refused-2")], None).await.unwrap();
    assert_eq!(answer.status, 401);
    let answer = http::get_as(&token::good("ada"), &url).await.unwrap();
    assert_eq!(answer.status, 400);
    line(&node, &["connection refused", "event_stream", "refused-2", "unauthorized"]).await;
    line(&node, &["connection refused", "event_stream", "bad_request"]).await;

    // Lines of one kind do not use up the limit of another.
    for _ in 0..REFUSALS {
        assert_eq!(http::request("GET", &url, &[], None).await.unwrap().status, 401);
    }
    let mut socket = RawSocket::connect(&request(&token::good("ada"), "opened-2")).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    line(&node, &[" connected", "opened-2", "left_out=0"]).await;

    for (name, transport, value) in [
        ("draftwire_connection_attempts_total", "websocket", 4.0),
        ("draftwire_connections_opened_total", "websocket", 3.0),
        ("draftwire_reconnections_total", "websocket", 1.0),
        ("draftwire_connection_attempts_total", "event_stream", 2.0 + f64::from(REFUSALS)),
        ("draftwire_connections_opened_total", "event_stream", 0.0),
        ("draftwire_reconnections_total", "event_stream", 0.0),
    ] {
        assert_eq!(
            node.metric(name, &[("transport", transport)]).await.unwrap(),
            value,
            "{name} {transport}"
        );
    }
}

#[tokio::test]
async fn limits_stand_beside_what_they_limit_and_bytes_are_counted() {
    let node = node().await;
    let request = RawRequest::new(node.ws_url()).subprotocol("draftwire.v1.json");
    let mut socket = RawSocket::connect(&request.bearer(&token::good("ada"))).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    let ping = r#"{"type":"PING","id":"p"}"#;
    socket.send_text(ping).await.unwrap();
    socket.answer("p", DEADLINE).await.unwrap();
    let of = |name: &'static str, label: &'static [(&'static str, &'static str)]| {
        let node = &node;
        async move { node.metric(name, label).await.unwrap() }
    };
    let websocket = &[("transport", "websocket")];
    assert_eq!(of("draftwire_received_bytes_total", websocket).await, ping.len() as f64);
    assert!(of("draftwire_sent_bytes_total", websocket).await > 100.0, "WELCOME and PONG");
    let http = &[("transport", "http")];
    assert!(of("draftwire_received_bytes_total", http).await > 100.0, "the handshake");
    assert!(of("draftwire_sent_bytes_total", http).await > 100.0, "its answer");
    for (name, limit) in [
        ("draftwire_connections_max", "CONNECTIONS_MAX"),
        ("draftwire_connections_per_user_max", "CONNECTIONS_PER_USER"),
        ("draftwire_streams_followed_max", "STREAMS_MAX"),
        ("draftwire_write_queue_depth_max", "WRITE_QUEUE_MAX"),
    ] {
        let declared = gateway::config::declared().find(|(_, setting)| setting.env() == limit).unwrap().1;
        assert_eq!(of(name, &[]).await, declared.default().text().parse::<f64>().unwrap(), "{name}");
    }
    for name in [
        "draftwire_recent_bytes_max",
        "draftwire_write_queue_bytes_max",
        "draftwire_reads_waiting_max",
        "draftwire_log_waiters_max",
        "process_start_time_seconds",
        "process_threads",
        "process_max_memory_bytes",
    ] {
        assert!(of(name, &[]).await > 0.0, "{name}");
    }
    // There from the start: Prometheus would not see the first count of a new series as an increase.
    let text = node.metrics().await.unwrap();
    assert!(text.contains("\ndraftwire_sweep_failures_total 0\n"), "{text}");
    wait::until("the size of the store is read", DEADLINE, || async {
        let bytes = of("draftwire_store_bytes", &[]).await;
        if bytes > 4096.0 { Ok(()) } else { Err(bytes) }
    })
    .await;
}

#[tokio::test]
async fn counters_begin_at_zero() {
    let metrics = node().await.metrics().await.unwrap();
    for series in [
        r#"draftwire_commit_failures_total{why="failed"} 0"#,
        r#"draftwire_errors_total{code="unavailable"} 0"#,
        r#"draftwire_task_panics_total{task="shard writer"} 0"#,
        "draftwire_sweep_failures_total 0",
        "draftwire_bus_canary_timeouts_total 0",
        r#"draftwire_operation_seconds_count{operation="commit",outcome="error"} 0"#,
        r#"draftwire_operation_seconds_count{operation="statement:write_one",outcome="error"} 0"#,
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series} is not in {metrics}");
    }
}

#[tokio::test]
async fn what_is_held_back_on_purpose_is_not_slow() {
    let node = node().await;
    let url = node.http_url("/v1/topics/room:7/presence");
    // Once the bus is trusted, one is held back while the other nodes are given the time to announce their members.
    let took = Mutex::new(Duration::ZERO);
    wait::until("a complete answer", DEADLINE, || async {
        let began = Instant::now();
        let answer = http::get_as(&token::scoped("backend", "service"), &url).await.unwrap();
        *took.lock().unwrap() += began.elapsed();
        if answer.json["complete"] == true { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let labels = [("operation", "http:GET /v1/topics/{topic}/presence"), ("outcome", "ok")];
    let counted = node.metric("draftwire_operation_seconds_sum", &labels).await.unwrap();
    let took = took.into_inner().unwrap();
    assert!(counted > 0.0 && Duration::from_secs_f64(counted) + HELD_BACK <= took, "{counted} s of {took:?}");
}
