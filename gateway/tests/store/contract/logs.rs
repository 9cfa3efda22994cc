//! Reading logs: pages, history, floors, heads, the epoch.

use common::{Seq, Stream};
use fanout::log::{Head, READ_BYTES_MAX, Read};
use gateway::store::Limits;
use serde_json::json;

use crate::fixture::*;

pub(crate) async fn history_says_where_the_log_stands(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let history = |after, limit| {
        let store = store.clone();
        async move {
            let read = Read { stream: "topic:t".parse().unwrap(), after: Seq(after), limit };
            let history = store.history(&read).await.unwrap();
            let seqs: Vec<u64> = history.page.events.iter().map(|event| event.seq.0).collect();
            (seqs, history.page.floor.0, history.head.0)
        }
    };
    assert_eq!(history(0, 10).await, (vec![], 0, 0));
    let committed = store.commit(&[append("topic:t", &["E"; 8])]).await.unwrap();
    assert_eq!(history(0, 3).await, (vec![1, 2, 3], 0, 8));
    assert_eq!(history(6, 3).await, (vec![7, 8], 0, 8));
    assert_eq!(history(8, 3).await, (vec![], 0, 8));
    assert_eq!(history(9, 3).await, (vec![], 0, 8));
    database.execute("DELETE FROM events WHERE seq <= 4").await;
    database.execute("UPDATE streams SET floor = 4").await;
    assert_eq!(history(0, 3).await, (vec![], 4, 8));
    assert_eq!(history(4, 3).await, (vec![5, 6, 7], 4, 8));
    let read = Read { stream: "topic:t".parse().unwrap(), after: Seq(4), limit: 1 };
    assert_eq!(store.history(&read).await.unwrap().page.epoch, committed.epoch);
}

pub(crate) async fn what_is_kept_takes_room(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let before = store.bytes().await.unwrap().unwrap();
    for _ in 0..10 {
        store.commit(&[append("topic:t", &["E"; 100])]).await.unwrap();
    }
    let after = store.bytes().await.unwrap().unwrap();
    assert!(before > 0 && after >= before + 32 * 1024, "{before} bytes, and {after} with a thousand events");
}

pub(crate) async fn reads_are_paged(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch: Vec<_> = (0..10).map(|i| create("ann", &format!("d{i}"), json!({}))).collect();
    store.commit(&batch).await.unwrap();
    one(&store, create("bob", "d", json!({}))).await.unwrap();
    let read = |name: &str, after, limit| Read { stream: stream(name), after: Seq(after), limit };
    let reads = [
        read("ann", 0, 4),
        read("ann", 4, 100),
        read("nobody", 0, 4),
        read("bob", 0, 4),
        read("ann", 10, 4),
        read("ann", 0, 0),
    ];
    let pages = store.read(&reads).await.unwrap();
    let seqs: Vec<Vec<u64>> = pages.iter().map(|p| p.events.iter().map(|e| e.seq.0).collect()).collect();
    assert_eq!(seqs, [vec![1, 2, 3, 4], vec![5, 6, 7, 8, 9, 10], vec![], vec![1], vec![], vec![]]);
    assert!(pages.iter().all(|page| page.floor == Seq(0)));
    assert!(store.read(&[]).await.unwrap().is_empty());
}

pub(crate) async fn pages_are_bounded_by_bytes(database: &dyn Database) {
    let store = database.open(Limits { draft_bytes_max: READ_BYTES_MAX, ..LIMITS }).await;
    // Three of these are more than a page.
    let text = "x".repeat(READ_BYTES_MAX / 5 * 2);
    let batch: Vec<_> = (0..5).map(|i| create("ann", &format!("d{i}"), json!({ "text": text }))).collect();
    store.commit(&batch).await.unwrap();
    let reads = [0, 3].map(|after| Read { stream: stream("ann"), after: Seq(after), limit: 100 });
    let pages = store.read(&reads).await.unwrap();
    let seqs: Vec<Vec<u64>> = pages.iter().map(|p| p.events.iter().map(|e| e.seq.0).collect()).collect();
    assert_eq!(seqs, [vec![1, 2, 3], vec![4, 5]]);
}

pub(crate) async fn a_log_that_was_cut_says_so(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch: Vec<_> = (0..10).map(|i| create("ann", &format!("d{i}"), json!({}))).collect();
    store.commit(&batch).await.unwrap();
    database.execute("DELETE FROM events WHERE stream = 'user:ann' AND seq <= 6").await;
    database.execute("UPDATE streams SET floor = 6 WHERE name = 'user:ann'").await;
    assert_eq!(store.heads(&[stream("ann")]).await.unwrap().heads, [Head { head: Seq(10), floor: Seq(6) }]);
    let reads = [0, 5, 6, 9, 10].map(|after| Read { stream: stream("ann"), after: Seq(after), limit: 100 });
    let pages = store.read(&reads).await.unwrap();
    let counts: Vec<_> = pages.iter().map(|page| page.events.len()).collect();
    assert_eq!(counts, [0, 0, 4, 1, 0]);
    assert!(pages.iter().all(|page| page.floor == Seq(6)));
    // All of it: the numbers go on from the head.
    database.execute("DELETE FROM events").await;
    database.execute("UPDATE streams SET floor = head").await;
    assert_eq!(numbers(&one(&store, create("ann", "new", json!({}))).await.unwrap()), (1, Some(11)));
}

pub(crate) async fn a_hole_in_the_log_is_never_jumped(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch: Vec<_> = (0..6).map(|i| create("ann", &format!("d{i}"), json!({}))).collect();
    store.commit(&batch).await.unwrap();
    // Events deleted by hand, without moving the floor.
    database.execute("DELETE FROM events WHERE seq IN (3, 6)").await;
    let reads = [0, 2, 3, 5].map(|after| Read { stream: stream("ann"), after: Seq(after), limit: 100 });
    let pages = store.read(&reads).await.unwrap();
    let outline: Vec<_> = pages.iter().map(|page| (page.events.len(), page.floor.0)).collect();
    assert_eq!(outline, [(2, 0), (0, 3), (2, 0), (0, 6)]);
}

pub(crate) async fn positions_beyond_everything_are_empty(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    let reads = [2, u64::MAX / 2, u64::MAX].map(|after| Read {
        stream: stream("ann"),
        after: Seq(after),
        limit: u32::MAX,
    });
    for page in store.read(&reads).await.unwrap() {
        assert!(page.events.is_empty());
        assert_eq!(page.floor, Seq(0));
    }
}

pub(crate) async fn many_streams_are_answered_in_order(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch: Vec<_> =
        (0..40).map(|i| create(&format!("u{}", i % 10), &format!("d{i}"), json!({}))).collect();
    store.commit(&batch).await.unwrap();
    let topic: Stream = "topic:match:1".parse().unwrap();
    let mut streams = vec![Stream::All, topic];
    streams.extend((0..998).rev().map(|i| stream(&format!("u{i}"))));
    let heads = store.heads(&streams).await.unwrap().heads;
    assert_eq!(heads.len(), 1000);
    for (stream, head) in streams.iter().zip(heads) {
        let written = matches!(stream, Stream::User(user) if user.as_str().len() == 2);
        assert_eq!(head, Head { head: Seq(if written { 4 } else { 0 }), floor: Seq(0) }, "{stream}");
    }
    // The same stream twice is answered twice.
    let twice = store.heads(&[stream("u1"), stream("u1")]).await.unwrap().heads;
    assert_eq!(twice.len(), 2);
}

pub(crate) async fn the_epoch_stays(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let epoch = store.heads(&[]).await.unwrap().epoch;
    let committed = store.commit(&[create("ann", "d", json!({}))]).await.unwrap();
    assert_eq!(committed.epoch, epoch);
    assert_eq!(store.drafts(&user("ann")).await.unwrap().epoch, epoch);
    store.close().await;
    let store = database.open(LIMITS).await;
    assert_eq!(store.heads(&[stream("ann")]).await.unwrap().epoch, epoch);
    assert_eq!(store.drafts(&user("nobody")).await.unwrap().epoch, epoch);
}
