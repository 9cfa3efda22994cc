//! Appends of published events to a stream.

use common::{Seq, Stream, event::Priority, protocol::NewEvent};
use fanout::{Hub, log::Read};
use gateway::{
    commands::group_commit::Committer,
    config::Config,
    store::{APPEND_EVENTS_MAX, Limits, Refusal},
};
use serde_json::json;

use crate::fixture::*;

pub(crate) async fn appends_get_consecutive_numbers(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    for stream in ["topic:match:1", "user:ann", "all"] {
        let done = one(&store, append(stream, &["GOAL {\"by\": 1}"])).await.unwrap();
        assert_eq!(appended(&done), (1, 1));
        let batch = [append(stream, &["A", "B", "C"]), append("topic:other", &["X"]), append(stream, &["D"])];
        let committed = store.commit(&batch).await.unwrap();
        let done: Vec<_> =
            committed.answers.iter().map(|answer| appended(answer.as_ref().unwrap())).collect();
        assert_eq!((done[0], done[2]), ((2, 4), (5, 5)));
        let seqs: Vec<_> = committed.events.iter().map(|e| (e.stream.key(), e.seq.0)).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
        let stream: Stream = stream.parse().unwrap();
        let expected = ["GOAL {\"by\": 1}", "A null", "B null", "C null", "D null"];
        assert_eq!(log_of(&store, &stream).await, expected);
        let read = Read { stream: stream.clone(), after: Seq(4), limit: 1 };
        let stored = store.read(&[read]).await.unwrap().remove(0).events.remove(0);
        let told = committed.events.iter().rfind(|event| event.stream == stream).unwrap();
        assert_eq!(
            (stored.origin.as_str(), stored.json()),
            ("backend", told.json()),
            "told and stored alike"
        );
    }
}

pub(crate) async fn priorities_are_kept(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let all = [Priority::Critical, Priority::Normal, Priority::High];
    let events = all.map(|priority| {
        NewEvent::from_json(&json!({"event": "E", "priority": priority, "data": {}}).to_string()).unwrap()
    });
    let committed = store.commit(&[append_events("topic:t", events.into())]).await.unwrap();
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    let priorities = |events: &[std::sync::Arc<common::Event>]| -> Vec<_> {
        events.iter().map(|event| event.priority).collect()
    };
    assert_eq!(priorities(&committed.events), all);
    let store = database.open(LIMITS).await;
    let read = |stream: &str| Read { stream: stream.parse().unwrap(), after: Seq(0), limit: 10 };
    let pages = store.read(&[read("topic:t"), read("user:ann")]).await.unwrap();
    assert_eq!(priorities(&pages[0].events), all);
    assert_eq!(priorities(&pages[1].events), [Priority::Normal]);
    // What a node of a version to come may write.
    database.execute("UPDATE events SET priority = 7 WHERE stream = 'topic:t' AND seq = 2").await;
    let page = store.read(&[read("topic:t")]).await.unwrap().remove(0);
    assert_eq!(page.events[1].priority, Priority::Critical);
}

pub(crate) async fn appends_that_cannot_be_kept_are_refused(database: &dyn Database) {
    let store = database.open(Limits { event_bytes_max: 10, ..LIMITS }).await;
    let signal = NewEvent::from_json(r#"{"event":"TYPING","signal":true}"#).unwrap();
    let batch = [
        append("topic:t", &["FITS \"12345678\""]),
        with_id("c", append("topic:t", &["FITS 1", "DOES_NOT \"123456789\""])),
        append("topic:t", &vec!["E"; APPEND_EVENTS_MAX + 1]),
        append("topic:t", &[]),
        append_events("topic:t", vec![signal]),
        append("topic:u", &["FITS 2"]),
    ];
    let committed = store.commit(&batch).await.unwrap();
    assert!(
        matches!(
            &committed.answers[..],
            [
                Ok(_),
                Err(Refusal::TooLarge(_)),
                Err(Refusal::TooLarge(_)),
                Err(Refusal::BadRequest(_)),
                Err(Refusal::BadRequest(_)),
                Ok(_)
            ]
        ),
        "{:?}",
        committed.answers
    );
    assert_eq!(committed.events.len(), 2);
    let many = append("topic:t", &vec!["E"; APPEND_EVENTS_MAX]);
    assert_eq!(appended(&one(&store, many).await.unwrap()), (2, APPEND_EVENTS_MAX as u64 + 1));
    // A refusal is not remembered.
    one(&store, with_id("c", append("topic:t", &["FITS 3"]))).await.unwrap();
}

/// On one node with the bounds that it has by default.
pub(crate) async fn a_thousand_writers_to_one_topic_are_all_served(database: &dyn Database) {
    const WRITERS: usize = 1000;
    let store = database.open(LIMITS).await;
    // However slow the machine and the build.
    let settings = Config::from_source(|name| (name == "WRITE_WAIT_MAX").then(|| "1m".to_owned())).unwrap();
    let bus = fanout::bus::MemoryBus::new();
    let hub = Hub::start("n1".parse().unwrap(), settings.fanout.clone(), store.clone(), bus);
    let committer = Committer::start(
        &gateway::config::Live::new(settings.changeable()),
        &store,
        &hub,
        &std::sync::Arc::default(),
    );
    let event = format!("E \"{}\"", "x".repeat(2000));
    // As if each were as large as it may be.
    let bytes = settings.writes.event_bytes_max + 300;
    let answers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut write = with_id("c", append("topic:t", &[&event]));
            write.device = format!("device-{writer}").parse().unwrap();
            tokio::spawn(committer.clone().submit(write, bytes, None, None))
        })
        .collect();
    let mut seqs = Vec::new();
    for answer in answers {
        seqs.push(appended(&answer.await.unwrap().unwrap().unwrap()).0);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=WRITERS as u64).collect::<Vec<_>>());
    assert_eq!(log_of(&store, &"topic:t".parse().unwrap()).await.len(), WRITERS);
    hub.stop();
}
