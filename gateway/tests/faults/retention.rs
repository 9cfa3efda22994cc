//! Retention at work under load: it takes away what is old, and nobody is told less than that.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::{
    Device, DeviceOptions, Publisher, Target, Topic, device::Track, http, publisher::Form, token, wait,
};
use tokio::{sync::watch, time::timeout};

use crate::{DEADLINE, patient_cluster, turn};

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// What is kept of a topic.
const KEPT: u64 = 100;

/// Events in one request.
const TOGETHER: usize = 10;

/// Requests to each topic.
const REQUESTS: u64 = 150;

async fn write(publisher: Publisher, topic: &str) {
    let target = Target::topic(topic);
    for n in 0..REQUESTS {
        let event = json!({ "event": "TICK", "data": { "n": n, "filling": "x".repeat(200) } });
        publisher.publish_all(&target, &vec![event; TOGETHER], Form::Array).await.unwrap();
    }
}

/// Goes away and comes back, again and again: some times within what is kept, some times behind it.
async fn come_and_go(device: &Device, pause: Duration, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        device.go_offline();
        let _ = timeout(pause, stop.wait_for(|stop| *stop)).await;
        device.go_online();
        let synced = |track: Option<&Track>| track.is_some_and(Track::is_synced);
        device
            .wait_until("resume", DEADLINE, |replica| TOPICS.iter().all(|topic| synced(replica.topic(topic))))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_announced_and_nothing_else_is_missing() {
    let _turn = turn().await;
    let cluster = patient_cluster()
        .nodes(2)
        .env("RETENTION_TOPIC_EVENTS", &KEPT.to_string())
        .env("RETENTION_INTERVAL", "1s")
        // Else memory would serve what the log no longer has.
        .env("RECENT_EVENTS_MAX", "16")
        .start()
        .await
        .unwrap();
    let mut devices = Vec::new();
    for n in 0..12 {
        let mut options = DeviceOptions::follower(cluster.ws_urls(n), &format!("user{n}"), "device");
        options.topics = TOPICS.map(Topic::named).to_vec();
        options.backoff_min = Duration::from_millis(20);
        devices.push(Device::connect(options).await);
    }
    // One that stays away until the end.
    let absent = devices.pop().unwrap();
    absent.go_offline();
    let stop = watch::Sender::new(false);
    let writing = async {
        let publisher = Publisher::new(cluster.http_urls(0), "desk").unwrap();
        join_all(TOPICS.map(|topic| write(publisher.clone(), topic))).await;
        // Whatever is above the limit goes, also when nobody writes any more.
        let token = token::scoped("reader", "subscribe:*");
        for topic in TOPICS {
            wait::until("retention has caught up", DEADLINE, || async {
                let url = cluster.nodes[0].http_url(&format!("/v1/topics/{topic}/events?limit=1"));
                let answer = http::get_as(&token, &url).await.map_err(|error| error.to_string())?;
                let (head, floor) = (answer.json["head"].as_u64(), answer.json["floor"].as_u64());
                let kept = head.zip(floor).map(|(head, floor)| head - floor);
                if kept.is_some_and(|kept| kept <= KEPT) { Ok(()) } else { Err(answer.text) }
            })
            .await;
        }
        stop.send_replace(true);
    };
    let going =
        devices.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(n, device)| {
            come_and_go(device, Duration::from_millis(50 + 250 * n as u64), stop.subscribe())
        });
    tokio::join!(writing, join_all(going.collect::<Vec<_>>()));
    absent.go_online();

    let head = REQUESTS * TOGETHER as u64;
    let mut gone = 0;
    for device in devices.iter().chain([&absent]) {
        for topic in TOPICS {
            device
                .wait_until("reach the head", DEADLINE, |replica| replica.topic(topic).unwrap().seq() == head)
                .await;
        }
        assert_eq!(device.violations(), [], "{:?}", device.counters());
        device.look(|replica| {
            for topic in TOPICS {
                gone += check(replica.topic(topic).unwrap(), head);
            }
        });
    }
    for (n, device) in devices.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
        device.look(|replica| {
            for topic in TOPICS {
                assert_eq!(replica.topic(topic).unwrap().runs(), [(1, head)], "{n} was there all the time");
            }
        });
    }
    absent.look(|replica| {
        for topic in TOPICS {
            let track = replica.topic(topic).unwrap();
            // The node may have known an older floor than the log's until it read there: then it says so twice.
            assert!(!track.missed().is_empty(), "what is gone was not announced");
            assert!(track.received() <= KEPT, "{} of {KEPT}", track.received());
        }
    });
    println!("{gone} events were gone for those who came back");
    assert!(cluster.metric("draftwire_errors_total", &[]).await == 0.0, "nothing was refused");
}

/// What has not come is what was announced: each gap between runs ends where a `missedBefore` says.
/// Returns how many events are in gaps.
fn check(track: &Track, head: u64) -> u64 {
    let runs = track.runs();
    let begins = std::iter::once(0).chain(runs.iter().map(|(_, last)| *last));
    let gaps = begins.zip(runs.iter().map(|(first, _)| *first).chain([head + 1]));
    gaps.filter(|(last, first)| last + 1 < *first)
        .map(|(last, first)| {
            let announced = track.missed().iter().any(|missed| missed.before == first);
            assert!(announced, "{last} to {first} is missing, announced was {:?}", track.missed());
            first - last - 1
        })
        .sum()
}
