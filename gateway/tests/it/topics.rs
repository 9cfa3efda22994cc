//! Following topics: from the head, from a cursor, and from one that means nothing any more.

use std::sync::Arc;

use fanout::bus::{Bus, MemoryBus};
use serde_json::{Value, json};
use testkit::{Device, DeviceOptions, RawSocket, Topic, wait};

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{ANY_PORT, Disk, Server, ask, refused, service, settings, subscribe},
};

async fn next(socket: &mut RawSocket) -> Value {
    socket.next(DEADLINE).await.unwrap()
}

/// Reads events of a topic up to and including `SYNCED`: their numbers, and the whole `SYNCED`.
async fn missed(socket: &mut RawSocket, stream: &str) -> (Vec<u64>, Value) {
    let mut seqs = Vec::new();
    loop {
        let message = next(socket).await;
        assert_eq!(message["stream"], stream, "{message}");
        if message["type"] == "SYNCED" {
            return (seqs, message);
        }
        seqs.push(message["seq"].as_u64().unwrap());
    }
}

#[tokio::test]
async fn a_topic_is_followed_and_left() {
    let server = Server::start().await;
    let (mut socket, welcome) = server.connect_to_topics("alice", "device=phone").await;
    let (epoch, seq) = subscribe(&mut socket, json!({ "topic": "match:1" })).await;
    assert_eq!((json!(epoch), seq), (welcome["epoch"].clone(), 0), "a topic exists as soon as it is named");

    server.publish("match:1", "GOAL", json!({ "minute": 61 })).await;
    let event = next(&mut socket).await;
    assert!(event["timestamp"].as_u64().unwrap() > 1_600_000_000_000, "{event}");
    let expected = json!({ "type": "GOAL", "stream": "topic:match:1", "seq": 1, "origin": "http",
                           "timestamp": event["timestamp"], "payload": { "minute": 61 } });
    assert_eq!(event, expected);

    let left = ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "match:1" })).await;
    assert_eq!((&left["type"], left.get("payload")), (&json!("ACK"), None));
    // Somebody else sees the event that must not come, before the one that must is published.
    let (mut other, _) = server.connect_to_topics("bob", "").await;
    subscribe(&mut other, json!({ "topic": "match:1" })).await;
    subscribe(&mut socket, json!({ "topic": "match:2" })).await;
    server.publish("match:1", "GOAL", json!(2)).await;
    assert_eq!(next(&mut other).await["seq"], 2);
    server.publish("match:2", "GOAL", json!(1)).await;
    assert_eq!(next(&mut socket).await["stream"], "topic:match:2");
    // Leaving what is not followed is no mistake.
    let left = ask(&mut socket, "UNSUBSCRIBE", "u2", json!({ "topics": ["match:1", "never"] })).await;
    assert_eq!(left["type"], "ACK");
    let again = subscribe(&mut socket, json!({ "topic": "match:1" })).await;
    assert_eq!(again.1, 2, "from the head");
}

#[tokio::test]
async fn several_topics_are_answered_each_for_itself_in_their_order() {
    let server = Server::start().await;
    server.publish("match:1", "GOAL", json!(1)).await;
    let token = testkit::token::scoped("alice", "subscribe:match:* subscribe:news");
    let (mut socket, welcome) = server.connect_as(&token, "").await;
    let epoch = welcome["epoch"].as_str().unwrap();
    let topics = json!({ "topics": [
        { "topic": "news" }, { "topic": "secret" }, { "topic": "match:1", "cursor": format!("{epoch}:0") },
        { "topic": "news2" }
    ] });
    let answer = ask(&mut socket, "SUBSCRIBE", "s", topics).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
    let topics = answer["payload"]["topics"].as_array().unwrap();
    assert_eq!(topics.len(), 4, "{answer}");
    assert_eq!(topics[0], json!({ "topic": "news", "epoch": epoch, "seq": 0 }));
    assert_eq!(topics[2], json!({ "topic": "match:1", "epoch": epoch, "seq": 1 }));
    for (index, name) in [(1, "secret"), (3, "news2")] {
        assert_eq!((&topics[index]["topic"], &topics[index]["code"]), (&json!(name), &json!("forbidden")));
        assert!(topics[index]["message"].as_str().unwrap().contains(name), "{answer}");
    }
    assert_eq!(missed(&mut socket, "topic:match:1").await.0, [1]);
    server.publish("secret", "X", json!(1)).await;
    server.publish("news", "X", json!(1)).await;
    assert_eq!(next(&mut socket).await["stream"], "topic:news");
}

#[tokio::test]
async fn subscribing_again_changes_nothing() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let (epoch, _) = subscribe(&mut socket, json!({ "topic": "t" })).await;
    server.publish("t", "E", json!(1)).await;
    assert_eq!(next(&mut socket).await["seq"], 1);
    let (_, seq) = subscribe(&mut socket, json!({ "topic": "t", "cursor": format!("{epoch}:0") })).await;
    assert_eq!(seq, 1);
    server.publish("t", "E", json!(2)).await;
    let event = next(&mut socket).await;
    assert_eq!((&event["type"], &event["seq"]), (&json!("E"), &json!(2)), "no replay, no second copy");
    server.publish("t", "E", json!(3)).await;
    assert_eq!(next(&mut socket).await["seq"], 3);
}

#[tokio::test]
async fn a_connection_follows_so_many_topics() {
    let server = Server::with(&[("TOPICS_PER_CONNECTION", "2")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let topics = json!({ "topics": [{ "topic": "a" }, { "topic": "b" }, { "topic": "c" }] });
    let answer = ask(&mut socket, "SUBSCRIBE", "s", topics).await;
    assert_eq!(answer["payload"]["topics"][2]["code"], "too_large", "{answer}");
    refused(&ask(&mut socket, "SUBSCRIBE", "s2", json!({ "topic": "d" })).await, "too_large");
    // What is followed already takes no further place.
    subscribe(&mut socket, json!({ "topic": "a" })).await;
    ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "b" })).await;
    subscribe(&mut socket, json!({ "topic": "d" })).await;
    for topic in ["b", "c", "d"] {
        server.publish(topic, "E", json!(1)).await;
    }
    assert_eq!(next(&mut socket).await["stream"], "topic:d");
}

#[tokio::test]
async fn all_topics_of_a_connection_fit_into_one_command() {
    let server = Server::with(&[("TOPICS_PER_CONNECTION", "1500")]).await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let topics: Vec<Value> = (0..1500).map(|n| json!({ "topic": format!("t{n}") })).collect();
    let answer = ask(&mut socket, "SUBSCRIBE", "s", json!({ "topics": topics })).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
    let answers = answer["payload"]["topics"].as_array().unwrap();
    assert_eq!(answers.iter().filter(|topic| topic["seq"] == 0).count(), 1500);
}

#[tokio::test]
async fn commands_about_topics_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    let cases = [
        ("SUBSCRIBE", json!({})),
        ("SUBSCRIBE", json!({ "topics": [] })),
        ("SUBSCRIBE", json!({ "topics": "t" })),
        ("SUBSCRIBE", json!({ "topics": ["t"] })),
        ("SUBSCRIBE", json!({ "topic": "t", "topics": [{ "topic": "u" }] })),
        ("SUBSCRIBE", json!({ "topics": [{ "topic": "t" }, { "topic": "t" }] })),
    ];
    let more = [
        ("SUBSCRIBE", json!({ "topic": "t", "cursor": "7" })),
        ("SUBSCRIBE", json!({ "topic": "t", "cursor": "e:-1" })),
        ("SUBSCRIBE", json!({ "topic": "t", "batchMs": 0 })),
        ("SUBSCRIBE", json!({ "topic": "t", "batchMs": 10_001 })),
        ("SUBSCRIBE", json!({ "topic": "t", "batchMs": 10, "batchMax": 1001 })),
        ("SUBSCRIBE", json!({ "topic": "t", "precense": true })),
        ("UNSUBSCRIBE", json!({})),
        ("UNSUBSCRIBE", json!({ "topic": "t", "cursor": "e:1" })),
        ("UNSUBSCRIBE", json!({ "topics": [{ "topic": "t" }] })),
    ];
    for (kind, payload) in cases.into_iter().chain(more) {
        refused(&ask(&mut socket, kind, "x", payload).await, "bad_request");
        // Ten in a row would close the connection.
        assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    }
    server.publish("t", "E", json!(1)).await;
    let pong = ask(&mut socket, "PING", "end", json!({})).await;
    assert_eq!(pong["type"], "PONG", "nothing was followed");
}

#[tokio::test]
async fn what_was_missed_comes_once_then_synced_then_live() {
    let server = Server::start().await;
    for n in 1..=5 {
        server.publish("t", "E", json!(n)).await;
    }
    let (mut socket, welcome) = server.connect_to_topics("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap();
    let (_, head) = subscribe(&mut socket, json!({ "topic": "t", "cursor": format!("{epoch}:2") })).await;
    assert_eq!(head, 5);
    let (seqs, synced) = missed(&mut socket, "topic:t").await;
    assert_eq!((seqs, &synced["seq"], synced.get("missedBefore")), (vec![3, 4, 5], &json!(5), None));
    server.publish("t", "E", json!(6)).await;
    assert_eq!(next(&mut socket).await["seq"], 6);
    // At the head, and in a topic without events.
    for (topic, cursor) in [("empty", 0), ("t2", 1)] {
        if cursor == 1 {
            server.publish(topic, "E", json!(1)).await;
        }
        let cursor = format!("{epoch}:{cursor}");
        subscribe(&mut socket, json!({ "topic": topic, "cursor": cursor })).await;
        assert_eq!(missed(&mut socket, &format!("topic:{topic}")).await.0, [0; 0], "{topic}");
    }
}

#[tokio::test]
async fn a_long_absence_is_read_from_the_log() {
    let server = Server::with(&[("RECENT_EVENTS_MAX", "3")]).await;
    let lines: String = (0..1000).map(|n| format!("{{\"event\":\"E\",\"data\":{n}}}\n")).collect();
    for _ in 0..2 {
        let headers = [("content-type", "application/x-ndjson")];
        let answer = server.call(&service(), "POST", "/v1/topics/t/events", &headers, &lines).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    let (mut socket, welcome) = server.connect_to_topics("alice", "").await;
    let cursor = format!("{}:1", welcome["epoch"].as_str().unwrap());
    subscribe(&mut socket, json!({ "topic": "t", "cursor": cursor })).await;
    let (seqs, synced) = missed(&mut socket, "topic:t").await;
    assert_eq!(seqs, (2..=2000).collect::<Vec<u64>>());
    assert_eq!(synced["seq"], 2000);
}

#[tokio::test]
async fn a_cursor_that_means_nothing_here_is_moved_at_once() {
    let server = Server::start().await;
    for n in 1..=3 {
        server.publish("t", "E", json!(n)).await;
    }
    let (_, welcome) = server.connect_to_topics("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    for (head, cursor) in
        [(3, "another:2".to_owned()), (4, format!("{epoch}:9")), (5, "another:0".to_owned())]
    {
        let (mut socket, _) = server.connect_to_topics("alice", "").await;
        let subscription = json!({ "topic": "t", "cursor": cursor });
        assert_eq!(subscribe(&mut socket, subscription).await, (epoch.clone(), head), "{cursor}");
        let synced = next(&mut socket).await;
        let expected = json!({ "type": "SYNCED", "stream": "topic:t", "epoch": epoch, "seq": head,
                               "missedBefore": head + 1 });
        assert_eq!(synced, expected, "{cursor}");
        let synced = next(&mut socket).await;
        assert_eq!(synced, json!({ "type": "SYNCED", "stream": "topic:t", "seq": head }), "{cursor}");
        server.publish("t", "E", json!("next")).await;
        assert_eq!(next(&mut socket).await["seq"], head + 1, "{cursor}: nothing between");
    }
}

const RETENTION: [(&str, &str); 2] = [("RETENTION_TOPIC_EVENTS", "2"), ("RETENTION_INTERVAL", "10ms")];

#[tokio::test]
async fn behind_the_retained_log_the_cursor_is_moved_and_the_rest_comes() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &RETENTION).await;
    for n in 1..=5 {
        server.publish("t", "E", json!(n)).await;
    }
    server.is_cut_at("topic:t", 3).await;
    // A node that has not seen the topic before, and so has nothing of it in memory.
    let other = Server::on(&disk, &[]).await;
    let (mut socket, welcome) = other.connect_to_topics("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    let (_, head) = subscribe(&mut socket, json!({ "topic": "t", "cursor": format!("{epoch}:1") })).await;
    assert_eq!(head, 5);
    let synced = next(&mut socket).await;
    let expected =
        json!({ "type": "SYNCED", "stream": "topic:t", "epoch": epoch, "seq": 3, "missedBefore": 4 });
    assert_eq!(synced, expected);
    let (seqs, synced) = missed(&mut socket, "topic:t").await;
    assert_eq!((seqs, &synced["seq"], synced.get("missedBefore")), (vec![4, 5], &json!(5), None));
    // At the floor, nothing is missing.
    let (mut socket, _) = other.connect_to_topics("bob", "").await;
    subscribe(&mut socket, json!({ "topic": "t", "cursor": format!("{epoch}:3") })).await;
    assert_eq!(missed(&mut socket, "topic:t").await.0, [4, 5]);
}

/// What a connection may leave unread before the server notices is in the kernel: this is more.
const UNREAD_REQUESTS: usize = 24;

#[tokio::test]
async fn a_reader_that_the_log_has_left_behind_is_told_and_goes_on() {
    let some = [("RECENT_EVENTS_MAX", "4"), ("RETENTION_TOPIC_EVENTS", "20"), ("RETENTION_INTERVAL", "10ms")];
    let server = Server::with(&some).await;
    let options = DeviceOptions {
        receive_buffer_bytes: Some(16 << 10),
        keep_messages: false,
        ..server.follower("alice", "slow").topic(Topic::named("t"))
    };
    let device = Device::connect(options).await;
    device.stop_reading();
    let events = vec![json!({ "event": "E", "data": "x".repeat(4000) }); 200];
    let body = json!(events).to_string();
    for _ in 0..UNREAD_REQUESTS {
        let answer = server.call(&service(), "POST", "/v1/topics/t/events", &[], &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    let head = (UNREAD_REQUESTS * 200) as u64;
    server.is_cut_at("topic:t", head - 20).await;
    device.read_on();
    device
        .wait_until("be told that this is all", DEADLINE, |replica| {
            let track = replica.topic("t").unwrap();
            track.seq() == head && track.is_synced()
        })
        .await;
    assert_eq!(device.violations(), []);
    assert_eq!(device.counters().connections, 1);
    device.look(|replica| {
        let track = replica.topic("t").unwrap();
        // More than once when the log was cut again before it had read what was left.
        let announced: Vec<u64> = track.missed().iter().map(|missed| missed.before).collect();
        assert_eq!(announced.last(), Some(&(head - 19)));
        assert_eq!(track.runs().last(), Some(&(head - 19, head)), "all that is kept has come");
        for (first, _) in &track.runs()[1..] {
            assert!(
                announced.contains(first),
                "nobody said that before {first} something is gone: {announced:?}"
            );
        }
    });
}

#[tokio::test]
async fn a_new_history_moves_those_that_are_connected() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &[("SWEEP_INTERVAL", "50ms"), ("SWEEP_INTERVAL_UNSURE", "50ms")]).await;
    let device = Device::connect(server.follower("alice", "phone").topic(Topic::named("t"))).await;
    for n in 1..=3 {
        server.publish("t", "E", json!(n)).await;
    }
    device.wait_until("get the events", DEADLINE, |replica| replica.topic("t").unwrap().seq() == 3).await;
    let old = device.look(|replica| replica.topic("t").unwrap().cursor()).unwrap();
    // A backup is restored: two events are lost, and the history has another name.
    disk.sql(
        "BEGIN; DELETE FROM events WHERE seq > 1; UPDATE streams SET head = 1 WHERE head > 1;
         UPDATE meta SET value = 'restored' WHERE key = 'epoch'; COMMIT",
    )
    .await;
    device
        .wait_until("be moved", DEADLINE, |replica| {
            replica.topic("t").unwrap().cursor().as_deref() == Some("restored:1")
        })
        .await;
    let missed = device.look(|replica| replica.topic("t").unwrap().missed().to_vec());
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert_eq!((&missed[0].from, missed[0].before), (&old, 2));
    server.publish("t", "E", json!("new")).await;
    device.wait_until("go on", DEADLINE, |replica| replica.topic("t").unwrap().seq() == 2).await;
    assert_eq!(device.violations(), []);
    assert_eq!(device.counters().connections, 1);
}

#[tokio::test]
async fn the_stream_of_all_goes_on_from_its_cursor() {
    let server = Server::start().await;
    let broadcast = async |n: u64| {
        let body = json!({ "event": "NEWS", "data": n }).to_string();
        let answer = server.call(&service(), "POST", "/v1/broadcast", &[], &body).await;
        assert_eq!((answer.status, &answer.json), (201, &json!({ "seq": n, "first": n })));
    };
    for n in 1..=3 {
        broadcast(n).await;
    }
    let (mut fresh, welcome) = server.connect("alice", "").await;
    assert_eq!(welcome["allSeq"], 3);
    let epoch = welcome["epoch"].as_str().unwrap();
    broadcast(4).await;
    let event = next(&mut fresh).await;
    assert_eq!((&event["type"], &event["stream"], &event["seq"]), (&json!("NEWS"), &json!("all"), &json!(4)));
    let (mut back, _) = server.connect("alice", &format!("all={epoch}:2")).await;
    let (seqs, synced) = missed(&mut back, "all").await;
    assert_eq!((seqs, &synced["seq"]), (vec![3, 4], &json!(4)));
    let (mut lost, _) = server.connect("alice", "all=another:2").await;
    let expected = json!({ "type": "SYNCED", "stream": "all", "epoch": epoch, "seq": 4, "missedBefore": 5 });
    assert_eq!(next(&mut lost).await, expected);
    assert_eq!(next(&mut lost).await, json!({ "type": "SYNCED", "stream": "all", "seq": 4 }));
}

#[tokio::test]
async fn a_device_that_comes_back_elsewhere_misses_nothing() {
    let disk = Disk::new().await;
    let network = MemoryBus::network();
    let mut nodes = Vec::new();
    for name in ["n1", "n2"] {
        let bus: Arc<dyn Bus> = network.join();
        nodes.push(Server::assemble_at(ANY_PORT, &disk, bus, settings(name, &[])).await);
    }
    let mut options = nodes[0].follower("alice", "phone");
    options.urls = nodes.iter().map(Server::socket_url).collect();
    let topics = ["a", "b", "c"];
    options.topics = topics.map(Topic::named).to_vec();
    let device = Device::connect(options).await;
    let mut published = 0;
    for round in 1..=6 {
        for topic in topics {
            nodes[round % 2].publish(topic, "E", json!({ "round": round })).await;
        }
        published += 1;
        if round % 2 == 0 {
            let before = device.counters().connections;
            device.drop_connection();
            // Some events come while it is away, some while it is back.
            wait::until("it is back", DEADLINE, || async {
                let now = device.counters().connections;
                if now > before { Ok(()) } else { Err(format!("{now} connections")) }
            })
            .await;
        }
    }
    device
        .wait_until("have all", DEADLINE, |replica| {
            let all = |topic| {
                replica.topic(topic).is_some_and(|track| track.is_followed() && track.seq() == published)
            };
            topics.into_iter().all(all)
        })
        .await;
    assert_eq!(device.violations(), []);
    device.look(|replica| {
        for topic in topics {
            let track = replica.topic(topic).unwrap();
            assert_eq!((track.runs(), track.missed()), (&[(1, published)][..], &[][..]), "{topic}");
        }
    });
    assert!(device.unsubscribe("b").await);
    nodes[0].publish("b", "E", json!(0)).await;
    nodes[0].publish("a", "E", json!(0)).await;
    let seq = published + 1;
    device.wait_until("go on", DEADLINE, |replica| replica.topic("a").unwrap().seq() == seq).await;
    device.subscribe(Topic::named("b")).await.unwrap();
    device.wait_until("resume", DEADLINE, |replica| replica.topic("b").unwrap().seq() == seq).await;
    assert_eq!(device.violations(), []);
}

#[tokio::test]
async fn a_read_ends_with_the_topic_that_it_was_for() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[("RECENT_EVENTS_MAX", "16")]).await;
    let (mut witness, _) = server.connect_to_topics("bob", "").await;
    let (epoch, _) = subscribe(&mut witness, json!({ "topic": "t" })).await;
    for n in 0..40 {
        server.publish("t", "E", json!(n)).await;
        witness.next(DEADLINE).await.unwrap();
    }
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    store.set_down(true);
    let before = Arc::strong_count(&server.node.hub);
    subscribe(&mut socket, json!({ "topic": "t", "cursor": format!("{epoch}:1") })).await;
    wait::until("the log to be read", DEADLINE, || async {
        if Arc::strong_count(&server.node.hub) > before { Ok(()) } else { Err("not yet") }
    })
    .await;
    ask(&mut socket, "UNSUBSCRIBE", "u", json!({ "topic": "t" })).await;
    // The store does not answer any more; whoever waits for it would do so for ever.
    wait::until("the read to end", DEADLINE, || async {
        if Arc::strong_count(&server.node.hub) <= before { Ok(()) } else { Err("it goes on") }
    })
    .await;
}
