//! Many publishers to one topic at once: they share commits, and past the bound they are told so.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Cluster, Publisher, Service, Target, publisher::Form, wait};
use tokio::time::Instant;

use crate::{DEADLINE, cluster, turn};

const TOPIC: &str = "match:1";

/// Events of each publisher, one after the other.
const EACH: usize = 5;

async fn commits(cluster: &Cluster) -> (f64, f64) {
    let events = cluster.metric("draftwire_events_published_total", &[]).await;
    (events, cluster.metric("draftwire_commit_seconds_count", &[]).await)
}

fn event(n: usize) -> Value {
    json!({ "event": "TICK", "data": n })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_publishers_share_commits() {
    let _turn = turn().await;
    let cluster = cluster().nodes(1).start().await.unwrap();
    let mut head = 0;
    for publishers in [100, 500, 1000] {
        let before = commits(&cluster).await;
        let publisher = Publisher::new(cluster.http_urls(0), "desk").unwrap();
        let began = Instant::now();
        let answers = join_all((0..publishers).map(|p| {
            let publisher = publisher.clone();
            async move {
                let target = Target::topic(TOPIC);
                let mut seqs = Vec::with_capacity(EACH);
                for n in 0..EACH {
                    let key = format!("{publishers}-{p}-{n}");
                    let answer = publisher.post(&target, &[event(n)], Form::One, &key).await.unwrap();
                    assert_eq!(answer.status, 201, "{publishers} publishers: {}", answer.text);
                    seqs.push(answer.json["seq"].as_u64().unwrap());
                }
                assert!(seqs.is_sorted(), "a publisher's own events keep their order: {seqs:?}");
                seqs
            }
        }))
        .await;
        let took = began.elapsed();
        let seqs: BTreeSet<u64> = answers.into_iter().flatten().collect();
        let count = (publishers * EACH) as u64;
        assert!(seqs.into_iter().eq(head + 1..=head + count), "each number was given once");
        head += count;
        let after = commits(&cluster).await;
        let (events, commits) = (after.0 - before.0, after.1 - before.1);
        println!("{publishers} publishers: {events} events in {commits} commits, {took:.1?}");
        assert_eq!(events, count as f64);
        assert!(commits < events / 4.0, "{commits} commits for {events} events of {publishers} publishers");
    }
}

/// Writes that may wait in this test.
const QUEUE_MAX: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_bound_they_are_refused_at_once() {
    let _turn = turn().await;
    let cluster = cluster()
        .nodes(1)
        .env("WRITE_QUEUE_MAX", &QUEUE_MAX.to_string())
        .env("WRITE_BATCH_MAX", "5")
        // Whoever is answered before these has not waited for the store.
        .env("STORE_TIMEOUT", "60s")
        .env("WRITE_WAIT_MAX", "60s")
        .start()
        .await
        .unwrap();
    let publisher = Publisher::new(cluster.http_urls(0), "desk").unwrap();
    let target = Target::topic(TOPIC);
    publisher.publish(&target, "FIRST", &json!(0)).await.unwrap();

    cluster.postgres.pause();
    let requests: Vec<_> = (0..5 * QUEUE_MAX)
        .map(|n| {
            let (publisher, target) = (publisher.clone(), target.clone());
            tokio::spawn(async move {
                publisher.post(&target, &[event(n)], Form::One, &format!("key-{n}")).await.unwrap()
            })
        })
        .collect();
    // At most the queue and what is being committed waits; all others know by now.
    let waiting_max = QUEUE_MAX + 2 * 5;
    wait::until("the others are refused while nothing can be committed", DEADLINE, || async {
        let waiting = requests.iter().filter(|request| !request.is_finished()).count();
        if waiting <= waiting_max { Ok(()) } else { Err(format!("{waiting} of {} wait", requests.len())) }
    })
    .await;
    cluster.postgres.resume();
    let (mut taken, mut refused) = (BTreeSet::new(), Vec::new());
    for (n, answer) in join_all(requests).await.into_iter().enumerate() {
        let answer = answer.unwrap();
        match answer.status {
            201 => assert!(taken.insert(answer.json["seq"].as_u64().unwrap())),
            503 => {
                assert_eq!(answer.json["code"], "unavailable", "{}", answer.text);
                let after = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
                assert!(after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{:?}", answer.headers);
                refused.push(n);
            }
            other => panic!("{other}: {}", answer.text),
        }
    }
    println!("{} taken, {} refused", taken.len(), refused.len());
    assert!(refused.len() >= 5 * QUEUE_MAX - waiting_max && taken.len() >= QUEUE_MAX / 2);
    // Nothing of the refused was done: under their keys they are published now, each once.
    for n in refused {
        let answer = publisher.post(&target, &[event(n)], Form::One, &format!("key-{n}")).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(taken.insert(answer.json["seq"].as_u64().unwrap()), "{} twice", answer.text);
    }
    assert!(taken.into_iter().eq(2..=1 + 5 * QUEUE_MAX as u64));
}
