//! A node through which a topic is attended is killed: webhooks are told that nobody attends it any more, once, by
//! another node, and nothing of what is attended elsewhere.

use serde_json::{Value, json};
use testkit::{Device, DeviceOptions, Receiver, Service, Topic, wait};

use crate::{DEADLINE, patient_cluster, turn, webhooks::admin};

/// What a receiver has taken of who attends, in the order of the numbers, each once.
fn told(receiver: &Receiver) -> Vec<String> {
    let (mut told, mut last) = (Vec::new(), 0);
    for delivery in receiver.deliveries().into_iter().filter(|delivery| delivery.taken) {
        for entry in delivery.json["presence"].as_array().into_iter().flatten() {
            let number = entry["number"].as_u64().unwrap();
            // A batch whose answer got lost with the node comes again.
            if number > last {
                assert_eq!(number, last + 1, "{entry}");
                last = number;
                told.push(format!(
                    "{} {}",
                    entry["topic"].as_str().unwrap(),
                    entry["type"].as_str().unwrap()
                ));
            }
        }
    }
    told
}

async fn is_told(receiver: &Receiver, expected: &[&str]) {
    wait::until("the webhook to be told", DEADLINE, || async {
        let mut told = told(receiver);
        told.sort_unstable();
        if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

/// A device that attends a topic through a node, and has nowhere else to go.
async fn attending(url: String, name: &str, topic: &str) -> Device {
    let topic = Topic::named(topic).presence();
    Device::connect(DeviceOptions::follower(vec![url], name, name).topic(topic)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_attended_through_a_dead_node_is_vacated_once() {
    let _turn = turn().await;
    let mut cluster = patient_cluster()
        .nodes(2)
        .env("PRESENCE_LEASE", "3s")
        .env("WEBHOOKS_ALLOW_PRIVATE", "true")
        .env("WEBHOOK_TIMEOUT", "1s")
        .env("WEBHOOK_POLL_INTERVAL", "100ms")
        .start()
        .await
        .unwrap();
    let receiver = Receiver::start().await.unwrap();
    let body = json!({ "url": receiver.url(), "filter": { "presence": ["room:*"] } });
    let webhook = admin(&cluster, "POST", "", Some(&body)).await.unwrap();
    let path = format!("/{}", webhook["id"].as_str().unwrap());
    // The node that delivers dies, so that another one has to tell.
    let holder = wait::until("a node to hold the webhook", DEADLINE, || async {
        let shown: Value = admin(&cluster, "GET", &path, None).await.ok_or("no node answers")?;
        let place = cluster.nodes.iter().position(|node| shown["node"] == node.name());
        place.ok_or_else(|| shown.to_string())
    })
    .await;
    let url = |node: usize| cluster.nodes[node].ws_url();
    let lost = attending(url(holder), "lost", "room:1").await;
    let both = [attending(url(0), "first", "room:2").await, attending(url(1), "second", "room:2").await];
    is_told(&receiver, &["room:1 OCCUPIED", "room:2 OCCUPIED"]).await;

    cluster.nodes[holder].kill9();
    is_told(&receiver, &["room:1 OCCUPIED", "room:1 VACATED", "room:2 OCCUPIED"]).await;
    // The device comes back with its node, and nothing else was told in between.
    cluster.nodes[holder].start_again().await.unwrap();
    wait::until("the room to be occupied again", DEADLINE, || async {
        let told = told(&receiver);
        if told.len() == 4 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    assert_eq!(told(&receiver)[2..], ["room:1 VACATED", "room:1 OCCUPIED"]);
    assert_eq!(receiver.wrong(), [] as [String; 0]);
    drop((lost, both));
}
