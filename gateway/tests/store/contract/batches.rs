//! Batches: one transaction, decided in order, all or nothing.

use std::time::Duration;

use common::Seq;
use gateway::store::{Refusal, StoreError};
use serde_json::json;

use crate::fixture::*;

pub(crate) async fn an_empty_batch_changes_nothing(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let committed = store.commit(&[]).await.unwrap();
    assert!(committed.events.is_empty() && committed.answers.is_empty());
    assert_eq!(committed.epoch, store.heads(&[]).await.unwrap().epoch);
}

pub(crate) async fn a_refused_write_leaves_nothing_behind(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch = [
        with_id("1", create("ann", "d", json!({"a": 1}))),
        with_id("2", update("ann", "missing", 1, json!({"a": 1}))),
        with_id("3", create("ann", "d", json!({"a": 2}))),
        with_id("4", create("bob", "d", json!({"a": 3}))),
    ];
    let committed = store.commit(&batch).await.unwrap();
    assert!(matches!(
        &committed.answers[..],
        [Ok(_), Err(Refusal::NotFound), Err(Refusal::Conflict { current: Some(_), .. }), Ok(_)]
    ));
    assert_eq!(committed.events.len(), 2);
    assert_eq!((log(&store, "ann").await.len(), log(&store, "bob").await.len()), (1, 1));
    // Not remembered: decided anew under the same id.
    one(&store, create("ann", "missing", json!({}))).await.unwrap();
    one(&store, with_id("2", update("ann", "missing", 1, json!({"a": 1})))).await.unwrap();
    // Refusals alone, for a user of whom nothing is known.
    assert!(matches!(one(&store, delete("eve", "d", None)).await, Err(Refusal::NotFound)));
    assert_eq!(log(&store, "eve").await.len(), 0);
}

pub(crate) async fn a_failed_batch_leaves_nothing_behind(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    // What only damage could do: the number of the next event is taken.
    database
        .execute("INSERT INTO events (stream, seq, kind, origin, ts, payload) VALUES ('user:bob', 1, 'X', 'o', 1, '{}')")
        .await;
    let batch = [with_id("1", update("ann", "d", 1, json!({"a": 1}))), create("bob", "d", json!({}))];
    let failed = store.commit(&batch).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    assert_eq!(log(&store, "ann").await.len(), 1);
    assert!(store.drafts(&user("bob")).await.unwrap().drafts.is_empty());
    // The others of the batch go through without the poisoned one, under the same id.
    let done = one(&store, batch[0].clone()).await.unwrap();
    assert_eq!(numbers(&done), (2, Some(2)));
}

pub(crate) async fn writes_of_a_batch_see_each_other(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch = [
        create("ann", "d", json!({"a": 1, "b": 1})),
        create("bob", "d", json!({"a": 9})),
        update("ann", "d", 1, json!({"a": 2})),
        update("ann", "d", 1, json!({"b": 2})),
        update("ann", "d", 1, json!({"b": 3})),
        create("ann", "e", json!({})),
        delete("ann", "e", None),
        update("ann", "e", 1, json!({"a": 1})),
    ];
    let committed = store.commit(&batch).await.unwrap();
    let outline: Vec<_> = committed.answers.iter().map(|a| a.as_ref().ok().map(numbers)).collect();
    let ok = |version, seq| Some((version, Some(seq)));
    assert_eq!(outline, [ok(1, 1), ok(1, 1), ok(2, 2), ok(3, 3), None, ok(1, 4), ok(2, 5), None]);
    let seqs: Vec<_> = committed.events.iter().map(|e| (e.stream.key(), e.seq.0)).collect();
    let ann = (1..=5).map(|seq| ("user:ann".to_owned(), seq));
    assert_eq!(seqs, ann.chain([("user:bob".to_owned(), 1)]).collect::<Vec<_>>());
    assert_eq!(log(&store, "ann").await.len(), 5);
    let list = store.drafts(&user("ann")).await.unwrap();
    assert_eq!(list.drafts.len(), 1);
    assert_eq!(content(&list.drafts[0]), json!({"a": 2, "b": 2}));
}

pub(crate) async fn appends_and_drafts_share_a_batch(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let batch = [
        append("user:ann", &["NOTE 1", "NOTE 2"]),
        with_id("d", create("ann", "d", json!({"a": 1}))),
        append("topic:t", &["T"]),
        update("ann", "d", 1, json!({"a": 2})),
        update("ann", "missing", 1, json!({"a": 2})),
        with_id("n", append("user:ann", &["NOTE 3"])),
        with_id("n", append("user:ann", &["NOTE 3"])),
        append("all", &["NEWS"]),
    ];
    let committed = store.commit(&batch).await.unwrap();
    let outline: Vec<_> = committed.answers.iter().map(|a| a.as_ref().ok().and_then(|d| d.seq())).collect();
    let expected = [Some(2), Some(3), Some(1), Some(4), None, Some(5), Some(5), Some(1)];
    assert_eq!(outline, expected.map(|seq| seq.map(Seq)));
    let events: Vec<_> = committed.events.iter().map(|e| (e.stream.key(), e.seq.0)).collect();
    let ann = (1..=5).map(|seq| ("user:ann".to_owned(), seq));
    let first = ["all", "topic:t"].map(|stream| (stream.to_owned(), 1));
    assert_eq!(events, first.into_iter().chain(ann).collect::<Vec<_>>());
    let log = log(&store, "ann").await;
    let kinds: Vec<_> = log.iter().map(|event| event.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["NOTE", "NOTE", "DRAFT_CREATED", "DRAFT_UPDATED", "NOTE"]);
    let list = store.drafts(&user("ann")).await.unwrap();
    assert_eq!((list.seq, content(&list.drafts[0])), (Seq(5), json!({"a": 2})), "they stand at the head");
}

pub(crate) async fn a_dropped_commit_happens_as_a_whole_or_not_at_all(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "first", json!({}))).await.unwrap();
    for i in 0..40u64 {
        let batch = [create("ann", &format!("a{i}"), json!({})), create("ann", &format!("b{i}"), json!({}))];
        let patience = Duration::from_micros(i * 100);
        let _ = tokio::time::timeout(patience, store.commit(&batch)).await;
    }
    // Whatever was dropped holds no lock and no connection.
    one(&store, create("ann", "last", json!({}))).await.unwrap();
    let drafts = store.drafts(&user("ann")).await.unwrap().drafts;
    for i in 0..40 {
        let has = |name: String| drafts.iter().any(|draft| draft.draft_id.as_str() == name);
        assert_eq!(has(format!("a{i}")), has(format!("b{i}")));
    }
    assert_eq!(log(&store, "ann").await.len(), drafts.len());
}
