//! A receiver of webhooks is down while events pass, and the nodes that hold the webhook are killed: it gets all of
//! them, in order, none skipped.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Cluster, Publisher, Receiver, Service, Target, publisher::Form, receiver::Behaviour, token, wait,
};
use tokio::time::{Instant, sleep_until};

use crate::{DEADLINE, cluster, turn};

/// How much, and for how long.
struct Drill {
    events: u64,
    down: Duration,
    /// How long it may take until everything is there.
    deadline: Duration,
}

const TOPICS: u64 = 8;

/// Events that are published together.
const TOGETHER: u64 = 5;

pub(crate) async fn admin(
    cluster: &Cluster,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<Value> {
    let bearer = format!("Bearer {}", token::scoped("operator", "admin"));
    for node in &cluster.nodes {
        let url = node.http_url(&format!("/v1/admin/webhooks{path}"));
        let answer = testkit::http::request(method, &url, &[("authorization", &bearer)], body).await;
        if let Ok(answer) = answer
            && answer.status < 300
        {
            return Some(answer.json);
        }
    }
    None
}

/// Which node holds the webhook, by its place, once one does that is not `other_than`.
async fn holder(cluster: &Cluster, webhook: &Value, other_than: Option<usize>) -> usize {
    let path = format!("/{}", webhook["id"].as_str().unwrap());
    wait::until("a node to hold the webhook", DEADLINE, || async {
        let shown = admin(cluster, "GET", &path, None).await.ok_or("no node answers")?;
        let place = cluster.nodes.iter().position(|node| shown["node"] == node.name());
        place.filter(|place| Some(*place) != other_than).ok_or_else(|| shown.to_string())
    })
    .await
}

/// Publishes a share of the events, spread over the topics and over a time.
async fn publish(publisher: &Publisher, events: u64, over: Duration) {
    let began = Instant::now();
    let rounds = events / TOGETHER;
    for round in 0..rounds {
        let together: Vec<Value> =
            (0..TOGETHER).map(|n| json!({ "event": "E", "data": [round, n] })).collect();
        let topic = Target::Topic(format!("t{}", round % TOPICS));
        publisher.publish_all(&topic, &together, Form::Array).await.unwrap();
        // The rate is what is drilled; nothing waits for it.
        sleep_until(began + over.mul_f64(round as f64 / rounds as f64)).await;
    }
}

impl Drill {
    async fn run(&self) {
        let _turn = turn().await;
        let mut cluster = cluster()
            .nodes(3)
            .env("WEBHOOKS_ALLOW_PRIVATE", "true")
            .env("WEBHOOK_TIMEOUT", "1s")
            .env("WEBHOOK_RETRY_MAX", "500ms")
            .env("WEBHOOK_POLL_INTERVAL", "100ms")
            .start()
            .await
            .unwrap();
        let mut receiver = Receiver::start().await.unwrap();
        let body = json!({ "url": receiver.url(), "filter": { "topics": ["t*"] } });
        let webhook = admin(&cluster, "POST", "", Some(&body)).await.unwrap();
        let publisher = Publisher::new(cluster.http_urls(0), "drill").unwrap();
        let all = |part: u64| (1..=part).collect::<Vec<u64>>();
        let first = holder(&cluster, &webhook, None).await;

        // The receiver is down, and the node that holds the webhook is killed.
        receiver.stop().await;
        publish(&publisher, self.events / 2, self.down / 2).await;
        cluster.nodes[first].kill9();
        publish(&publisher, self.events / 2, self.down / 2).await;
        let second = holder(&cluster, &webhook, Some(first)).await;
        cluster.nodes[first].start_again().await.unwrap();

        // It comes back, and the next node is killed in the middle of a delivery.
        receiver.start_again().await.unwrap();
        wait::until("deliveries to come", DEADLINE, || async {
            if receiver.seen("topic:t0").is_empty() { Err("none") } else { Ok(()) }
        })
        .await;
        receiver.behaves(Behaviour::Hangs);
        publish(&publisher, TOPICS * TOGETHER, Duration::ZERO).await;
        let hanging = wait::until("a delivery to hang", DEADLINE, || async {
            receiver.deliveries().pop().filter(|last| !last.taken).ok_or("all were taken")
        })
        .await;
        cluster.nodes[second].kill9();
        receiver.behaves(Behaviour::Takes);

        let mut expected = vec![0; TOPICS as usize];
        for event in publisher.published() {
            let topic: usize = event.stream.trim_start_matches("topic:t").parse().unwrap();
            expected[topic] = expected[topic].max(event.seq);
        }
        assert_eq!(expected.iter().sum::<u64>(), self.events + TOPICS * TOGETHER);
        wait::until("everything to be delivered", self.deadline, || async {
            let seen = |topic: usize| receiver.seen(&format!("topic:t{topic}"));
            let missing = (0..expected.len()).find(|topic| seen(*topic) != all(expected[*topic]));
            missing.map_or(Ok(()), |topic| {
                Err(format!("t{topic}: {} of {}", seen(topic).len(), expected[topic]))
            })
        })
        .await;
        assert_eq!(receiver.wrong(), [] as [String; 0]);
        let again = receiver.deliveries().into_iter().find(|one| one.taken && one.id == hanging.id);
        assert_eq!(again.map(|one| one.body), Some(hanging.body), "another node sends the same batch");
        let secret = webhook["secret"].as_str().unwrap();
        assert!(receiver.deliveries().iter().all(|delivery| delivery.valid_by(secret) == 1));
        println!(
            "{} events in {} deliveries, {} repeated",
            expected.iter().sum::<u64>(),
            receiver.deliveries().len(),
            receiver.repeated()
        );
        cluster.nodes[second].start_again().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_skipped_while_the_receiver_is_down_and_nodes_are_killed() {
    Drill { events: 800, down: Duration::ZERO, deadline: DEADLINE }.run().await;
}

/// The same with an outage as long as `WEBHOOKS_DRILL_DOWN` seconds, ten minutes if it says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: make webhooks-drill"]
async fn drill() {
    let seconds = std::env::var("WEBHOOKS_DRILL_DOWN").ok().and_then(|text| text.parse().ok());
    let down = Duration::from_secs(seconds.unwrap_or(600));
    Drill { events: 10_000, down, deadline: 5 * DEADLINE }.run().await;
}
