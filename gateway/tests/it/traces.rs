//! Traces over OTLP: what a collector of the test receives from real nodes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use serde_json::json;
use testkit::{ClusterOptions, Node, NodeOptions, RawRequest, RawSocket, http, token, wait};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::DEADLINE;

/// A collector that decodes what it is sent.
struct Collector {
    url: String,
    received: Arc<Received>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Received {
    /// What it answers, where that is not 200.
    status: Mutex<Option<StatusCode>>,
    /// Spans, each with the name of the node that it is of.
    spans: Mutex<Vec<(String, Span)>>,
    headers: Mutex<Vec<HeaderMap>>,
}

impl Collector {
    async fn start() -> Self {
        let received = Arc::<Received>::default();
        let router = Router::new().route("/otlp/v1/traces", post(take)).with_state(received.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/otlp", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, received, server }
    }

    /// The spans of a trace.
    fn spans(&self, trace: &str) -> Vec<(String, Span)> {
        let spans = self.received.spans.lock().unwrap();
        spans.iter().filter(|(_, span)| hex(&span.trace_id) == trace).cloned().collect()
    }

    fn answer(&self, status: Option<StatusCode>) {
        *self.received.status.lock().unwrap() = status;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if let Some(status) = *received.status.lock().unwrap() {
        return status;
    }
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap();
        assert_eq!(text(&resource.attributes, "service.name"), "shop");
        let node = text(&resource.attributes, "service.instance.id");
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        received.spans.lock().unwrap().extend(spans.map(|span| (node.clone(), span)));
    }
    received.headers.lock().unwrap().push(headers);
    StatusCode::OK
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found =
        attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match found.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A trace of its own, and the `traceparent` of a request that is a part of it.
fn traceparent(number: u8, flags: &str) -> (String, String) {
    let trace = format!("{number:02x}").repeat(16);
    (trace.clone(), format!("00-{trace}-00f067aa0ba902b7-{flags}"))
}

/// Publishes a goal, under a trace.
async fn publish(node: &Node, traceparent: &str) -> http::Answer {
    let url = node.http_url("/v1/topics/match:1/events");
    let bearer = format!("Bearer {}", token::scoped("desk", "publish:match:*"));
    let headers = [("authorization", bearer.as_str()), ("traceparent", traceparent)];
    http::request("POST", &url, &headers, Some(&json!({"event": "GOAL", "data": {}}))).await.unwrap()
}

/// Follows the topic through a node.
async fn follower(node: &Node, user: &str) -> RawSocket {
    let token = token::scoped(user, "subscribe:match:*");
    let request = RawRequest::new(node.ws_url()).subprotocol("draftwire.v1.json").bearer(&token);
    let mut socket = RawSocket::connect(&request).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    let subscribe = json!({"type": "SUBSCRIBE", "id": "s", "payload": {"topics": [{"topic": "match:1"}]}});
    socket.send(&subscribe).await.unwrap();
    assert_eq!(socket.answer("s", DEADLINE).await.unwrap()["type"], "ACK");
    socket
}

#[tokio::test]
async fn a_publish_its_commit_its_hop_and_its_deliveries_are_one_trace() {
    let collector = Collector::start().await;
    let cluster = ClusterOptions::new(env!("CARGO_BIN_EXE_draftwire"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b")
        .env("OTEL_SERVICE_NAME", "shop")
        // Where a copy comes before the sweep has the event, which has no trace.
        .env("SWEEP_INTERVAL", "1m")
        .env("SWEEP_INTERVAL_UNSURE", "1m");
    let cluster = cluster.start().await.unwrap();
    let [first, second] = &cluster.nodes[..] else { panic!("two nodes") };
    for node in [first, second] {
        wait::until("the bus is trusted", DEADLINE, || async {
            let trusted = node.metric("draftwire_bus_trusted", &[]).await.unwrap();
            if trusted == 1.0 { Ok(()) } else { Err(trusted) }
        })
        .await;
    }
    let (mut here, mut there) = (follower(first, "ann").await, follower(second, "bob").await);

    // Before the one that is looked for, so that they would be there by then.
    let (unsampled, parent) = traceparent(1, "00");
    assert_eq!(publish(first, &parent).await.status, 201);
    let (malformed, parent) = traceparent(2, "1");
    assert_eq!(publish(first, &parent).await.status, 201);
    let (trace, parent) = traceparent(3, "01");
    assert_eq!(publish(first, &parent).await.status, 201);
    for socket in [&mut here, &mut there] {
        for _ in 0..3 {
            socket.next_of("GOAL", DEADLINE).await.unwrap();
        }
    }

    let spans = wait::until("all spans are received", DEADLINE, || async {
        let spans = collector.spans(&trace);
        if spans.len() == 5 { Ok(spans) } else { Err(format!("{spans:?}")) }
    })
    .await;
    let find = |node: &str, name: &str| {
        let mut of_name = spans.iter().filter(|(of, span)| of == node && span.name == name);
        let found = of_name.next().unwrap_or_else(|| panic!("{node} has no {name}: {spans:?}"));
        assert!(of_name.next().is_none(), "{node} has {name} twice");
        &found.1
    };
    let request = find("node1", "POST /v1/topics/{topic}/events");
    let (commit, delivered) = (find("node1", "commit"), find("node1", "deliver"));
    let (hop, delivered_there) = (find("node2", "hop"), find("node2", "deliver"));
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    for (span, parent) in [(commit, request), (delivered, commit), (hop, commit), (delivered_there, hop)] {
        assert_eq!(span.parent_span_id, parent.span_id, "{} is below {}", span.name, parent.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
    assert_eq!((request.kind(), hop.kind()), (SpanKind::Server, SpanKind::Consumer));
    assert_eq!(text(&request.attributes, "http.response.status_code"), "201");
    for span in [commit, hop, delivered_there] {
        assert_eq!(text(&span.attributes, "draftwire.stream"), "topic:match:1");
        assert_eq!(text(&span.attributes, "draftwire.seq"), "3");
    }
    for none in [unsampled, malformed] {
        assert!(collector.spans(&none).is_empty(), "{none}");
    }
    let headers = collector.received.headers.lock().unwrap();
    assert!(headers.iter().all(|headers| headers["api-key"] == "a b"));
    assert!(headers.iter().all(|headers| headers["content-type"] == "application/x-protobuf"));
}

#[tokio::test]
async fn a_collector_that_is_down_holds_nothing_back_and_is_counted() {
    let collector = Collector::start().await;
    collector.answer(Some(StatusCode::SERVICE_UNAVAILABLE));
    let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"));
    let options = options.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_SERVICE_NAME", "shop");
    let mut node = Node::start(options).await.unwrap();
    let (lost, parent) = traceparent(4, "01");
    assert_eq!(publish(&node, &parent).await.status, 201);
    // The request and its commit.
    let not_taken = [("reason", "not_taken")];
    wait::until("they are dropped", DEADLINE, || async {
        let dropped = node.metric("draftwire_trace_spans_dropped_total", &not_taken).await.unwrap();
        if dropped == 2.0 { Ok(()) } else { Err(dropped) }
    })
    .await;
    assert!(node.log().unwrap().contains("traces are not taken"));

    collector.answer(None);
    let (taken, parent) = traceparent(5, "01");
    assert_eq!(publish(&node, &parent).await.status, 201);
    wait::until("traces are taken again", DEADLINE, || async {
        let sent = node.metric("draftwire_trace_spans_sent_total", &[]).await.unwrap();
        if sent == 2.0 { Ok(()) } else { Err(sent) }
    })
    .await;
    assert_eq!((collector.spans(&lost).len(), collector.spans(&taken).len()), (0, 2));

    // What waits when the node stops is sent.
    let (last, parent) = traceparent(6, "01");
    assert_eq!(publish(&node, &parent).await.status, 201);
    node.terminate();
    node.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(collector.spans(&last).len(), 2);
}

#[tokio::test]
async fn a_collector_that_does_not_answer_does_not_keep_a_node_from_stopping() {
    // It takes connections, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"));
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut node = Node::start(options.env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)).await.unwrap();
    let (_, parent) = traceparent(7, "01");
    for _ in 0..20 {
        assert_eq!(publish(&node, &parent).await.status, 201);
    }
    node.terminate();
    node.wait_exit(Duration::from_secs(60)).await.unwrap();
}
