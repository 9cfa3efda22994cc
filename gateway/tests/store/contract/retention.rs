//! The contract of `RetentionStore`. Every test here runs over every store.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::{Seq, Stream, time::unix_ms};
use fanout::log::{Head, Read};
use gateway::store::{Chunk, Deleted, RetentionStore, Rule, Store, StreamKind};
use serde_json::json;

use crate::fixture::*;

const CHUNK: Chunk = Chunk { streams_max: 100, events_max: 100 };

fn topics(events_max: Option<u64>, before: Option<u64>) -> Rule {
    Rule { kind: StreamKind::Topic, events_max, before }
}

fn parse(stream: &str) -> Stream {
    stream.parse().unwrap()
}

async fn head(store: &Arc<dyn Store>, stream: &str) -> (u64, u64) {
    let Head { head, floor } = store.heads(&[parse(stream)]).await.unwrap().heads[0];
    (floor.0, head.0)
}

/// What a reader finds after a cursor: the events' numbers, and the floor.
async fn page(store: &Arc<dyn Store>, stream: &str, after: u64) -> (Vec<u64>, u64) {
    let read = Read { stream: parse(stream), after: Seq(after), limit: 100 };
    let page = store.read(&[read]).await.unwrap().remove(0);
    (page.events.iter().map(|event| event.seq.0).collect(), page.floor.0)
}

/// Goes over all streams of a kind; answers in how many steps, and how many floors it moved.
async fn trim_all(retention: &mut dyn RetentionStore, rule: &Rule, chunk: Chunk) -> (usize, usize) {
    let (mut steps, mut moved, mut after) = (0, 0, None);
    loop {
        let trimmed = retention.trim(rule, after.as_deref(), chunk).await.unwrap();
        assert_eq!(trimmed.skipped, 0);
        steps += 1;
        moved += trimmed.moved;
        after = trimmed.next;
        if after.is_none() {
            return (steps, moved);
        }
    }
}

async fn delete_all(retention: &mut dyn RetentionStore) -> Deleted {
    let mut all = Deleted::default();
    loop {
        let deleted = retention.delete(1000).await.unwrap();
        if deleted.streams == 0 {
            return all;
        }
        all.streams += deleted.streams;
        all.all += deleted.all;
        all.topic += deleted.topic;
        all.user += deleted.user;
    }
}

pub(crate) async fn logs_are_cut_by_number(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let long = ["E"; 20];
    store
        .commit(&[append("topic:t", &long), append("topic:u", &long[..5]), append("all", &long)])
        .await
        .unwrap();
    let mut retention = retention(&store).await;
    let trimmed = retention.trim(&topics(Some(5), None), None, CHUNK).await.unwrap();
    assert_eq!((trimmed.next, trimmed.moved, trimmed.skipped), (None, 1, 0));
    assert_eq!((head(&store, "topic:t").await, head(&store, "topic:u").await), ((15, 20), (0, 5)));
    // Readers are told at once, and the same before, while and after the events are deleted.
    let mut deleted = 0;
    loop {
        for (after, found) in [(0, vec![]), (14, vec![]), (15, vec![16, 17, 18, 19, 20]), (19, vec![20])] {
            assert_eq!(page(&store, "topic:t", after).await, (found, 15), "after {after}");
        }
        let step = retention.delete(4).await.unwrap();
        if step.streams == 0 {
            break;
        }
        assert!(step.topic <= 4, "{step:?}");
        deleted += step.topic;
    }
    assert_eq!(deleted, 15);
    // Nothing is cut twice, and numbers go on.
    assert_eq!(trim_all(&mut *retention, &topics(Some(5), None), CHUNK).await, (1, 0));
    let done = one(&store, append("topic:t", &["E"; 2])).await.unwrap();
    assert_eq!(appended(&done), (21, 22));
    trim_all(&mut *retention, &topics(Some(5), None), CHUNK).await;
    assert_eq!(delete_all(&mut *retention).await, Deleted { streams: 1, topic: 2, ..Deleted::default() });
    assert_eq!(page(&store, "topic:t", 17).await, ((18..=22).collect(), 17));
    assert_eq!((head(&store, "all").await, page(&store, "all", 0).await.0.len()), ((0, 20), 20));
}

pub(crate) async fn logs_are_cut_by_age_up_to_the_first_that_is_young_enough(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let long = ["E"; 20];
    store
        .commit(&[append("topic:t", &long), append("topic:u", &long), append("topic:v", &[])])
        .await
        .unwrap();
    database.execute("UPDATE events SET ts = 1000 * seq").await;
    // The clocks of nodes differ: this one is late by far.
    database.execute("UPDATE events SET ts = 90000 WHERE stream = 'topic:u' AND seq = 8").await;
    let mut retention = retention(&store).await;
    for (events_max, before, floors) in [
        (None, None, (0, 0)),
        (None, Some(1000), (0, 0)),
        (None, Some(3001), (3, 3)),
        // Chunks of four events: more than one look at each stream.
        (None, Some(15_000), (14, 7)),
        (Some(10), Some(15_000), (14, 10)),
        (Some(4), Some(15_000), (16, 16)),
        (None, Some(80_000), (20, 20)),
    ] {
        let chunk = Chunk { streams_max: 100, events_max: 4 };
        trim_all(&mut *retention, &topics(events_max, before), chunk).await;
        let found = (head(&store, "topic:t").await, head(&store, "topic:u").await);
        assert_eq!(found, ((floors.0, 20), (floors.1, 20)), "{events_max:?} {before:?}");
        delete_all(&mut *retention).await;
        let (events, floor) = page(&store, "topic:u", floors.1).await;
        assert_eq!((events, floor), ((floors.1 + 1..=20).collect(), floors.1));
    }
    assert_eq!(appended(&one(&store, append("topic:t", &["E"])).await.unwrap()), (21, 21));
}

pub(crate) async fn every_stream_of_a_kind_has_its_turn(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let streams = |kind: &'static str| (0..25).map(move |i| format!("{kind}:s{i}"));
    let batch: Vec<_> =
        streams("topic").chain(streams("user")).map(|name| append(&name, &["E"; 3])).collect();
    store.commit(&batch).await.unwrap();
    for name in ["all", "control"] {
        one(&store, append(name, &["E"; 3])).await.unwrap();
    }
    let mut retention = retention(&store).await;
    let few = Chunk { streams_max: 10, events_max: 100 };
    for (kind, expected) in [
        (StreamKind::User, (3, 25)),
        (StreamKind::All, (1, 1)),
        (StreamKind::Control, (1, 1)),
        (StreamKind::Topic, (3, 25)),
    ] {
        let rule = Rule { kind, events_max: Some(1), before: None };
        assert_eq!(trim_all(&mut *retention, &rule, few).await, expected, "{kind:?}");
    }
    let mut deleted = Deleted::default();
    loop {
        let step = retention.delete(7).await.unwrap();
        if step.streams == 0 {
            break;
        }
        assert!(
            step.all + step.control + step.topic + step.user < 14,
            "about as many as asked for: {step:?}"
        );
        deleted = Deleted {
            streams: 0,
            all: deleted.all + step.all,
            control: deleted.control + step.control,
            topic: deleted.topic + step.topic,
            user: deleted.user + step.user,
        };
    }
    assert_eq!(deleted, Deleted { streams: 0, all: 2, control: 2, topic: 50, user: 50 });
    for name in streams("topic").chain(streams("user")).chain(["all", "control"].map(str::to_owned)) {
        assert_eq!(page(&store, &name, 2).await, (vec![3], 2), "{name}");
    }
}

pub(crate) async fn what_was_cut_is_deleted_by_whoever_comes_next(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, append("topic:t", &["E"; 20])).await.unwrap();
    let mut first = retention(&store).await;
    first.trim(&topics(Some(10), None), None, CHUNK).await.unwrap();
    assert_eq!(first.delete(3).await.unwrap().topic, 3);
    // Cut further before the rest is deleted.
    first.trim(&topics(Some(5), None), None, CHUNK).await.unwrap();
    drop(first);
    let store = database.open(LIMITS).await;
    let mut second = retention(&store).await;
    assert_eq!(delete_all(&mut *second).await.topic, 12);
    assert_eq!(page(&store, "topic:t", 15).await, ((16..=20).collect(), 15));
}

pub(crate) async fn the_time_is_about_that_of_this_machine(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let before = unix_ms();
    let now = retention(&store).await.now().await.unwrap();
    // Which a server on this machine reads from the same clock, with microseconds that it rounds.
    assert!(before <= now + 1 && now <= unix_ms() + 1, "{before} {now}");
}

pub(crate) async fn one_node_leads_retention(database: &dyn Database) {
    let (one, other) = (database.node().await, database.node().await);
    let mut held = retention(&one).await;
    assert!(other.claim_retention().await.unwrap().is_none());
    assert!(one.claim_retention().await.unwrap().is_none());
    held.confirm().await.unwrap();
    drop(held);
    retention(&other).await.confirm().await.unwrap();
}

/// Writers, readers that follow the log, and retention that cuts it right behind its head.
pub(crate) async fn cutting_disturbs_neither_writers_nor_readers(database: &dyn Database) {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 60;
    const KEPT: u64 = 10;
    let written = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = database.node().await;
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let batch = [
                    append("topic:hot", &["E"; 4]),
                    append("user:ann", &["N"]),
                    create("ann", &format!("d-{writer}-{round}"), json!({})),
                ];
                let committed = store.commit(&batch).await.expect("no writer fails");
                assert!(committed.answers[..2].iter().all(Result::is_ok));
            }
        }));
    }
    let cutter = tokio::spawn({
        let (store, written) = (database.node().await, written.clone());
        async move {
            let mut retention = retention(&store).await;
            let mut deleted = 0;
            loop {
                let last = written.load(Ordering::Acquire);
                for kind in [StreamKind::Topic, StreamKind::User] {
                    let rule = Rule { kind, events_max: Some(KEPT), before: None };
                    trim_all(&mut *retention, &rule, CHUNK).await;
                    loop {
                        // Few at a time, so that readers come in between.
                        let step = retention.delete(3).await.unwrap();
                        deleted += step.topic + step.user;
                        if step.streams == 0 {
                            break;
                        }
                    }
                }
                if last {
                    return deleted;
                }
            }
        }
    });
    let mut readers = Vec::new();
    for (name, limit) in [("topic:hot", 2), ("topic:hot", 5), ("user:ann", 8)] {
        let (store, written) = (database.node().await, written.clone());
        readers.push(tokio::spawn(async move {
            let mut cursor = Seq(0);
            loop {
                let last = written.load(Ordering::Acquire);
                let read = Read { stream: parse(name), after: cursor, limit };
                let page = store.read(&[read]).await.unwrap().remove(0);
                match page.events.last() {
                    Some(newest) => {
                        assert_eq!(page.events[0].seq, cursor.next(), "a hole");
                        cursor = newest.seq;
                    }
                    None if page.floor > cursor => cursor = page.floor,
                    None if last => return cursor,
                    None => tokio::task::yield_now().await,
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    written.store(true, Ordering::Release);
    let deleted = cutter.await.unwrap();
    let store = database.node().await;
    let (hot, ann) = (head(&store, "topic:hot").await, head(&store, "user:ann").await);
    assert_eq!(hot.1, (WRITERS * ROUNDS * 4) as u64);
    assert_eq!((hot.0, ann.0), (hot.1 - KEPT, ann.1 - KEPT));
    assert_eq!(deleted, hot.0 + ann.0, "all that was cut is deleted, and nothing else");
    let ends = [hot.1, hot.1, ann.1];
    for (reader, end) in readers.into_iter().zip(ends) {
        assert_eq!(reader.await.unwrap(), Seq(end), "every reader reaches the head");
    }
}
