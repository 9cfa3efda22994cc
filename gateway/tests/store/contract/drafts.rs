//! Drafts: changes, merges, conflicts, tombstones, limits, lists.

use common::{Seq, Version};
use gateway::store::{Limits, Refusal};
use serde_json::json;

use crate::fixture::*;

pub(crate) async fn changes_are_committed_with_their_events(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let done = one(&store, create("ann", "d", json!({"title": "a", "n": 1}))).await.unwrap();
    assert_eq!(numbers(&done), (1, Some(1)));
    let done = one(&store, update("ann", "d", 1, json!({"title": "b", "n": null}))).await.unwrap();
    assert_eq!(numbers(&done), (2, Some(2)));
    let draft = store.draft(&user("ann"), &draft_id("d")).await.unwrap().unwrap();
    assert_eq!((draft.version, content(&draft)), (Version(2), json!({"title": "b"})));
    assert_eq!(draft.kind.as_str(), "note");
    let done = one(&store, delete("ann", "d", Some(2))).await.unwrap();
    assert_eq!(numbers(&done), (3, Some(3)));
    assert!(store.draft(&user("ann"), &draft_id("d")).await.unwrap().is_none());
    let list = store.drafts(&user("ann")).await.unwrap();
    assert_eq!((list.seq, list.drafts.len()), (Seq(3), 0));
    assert_eq!(log(&store, "ann").await.len(), 3);
    store.ping().await.unwrap();
}

pub(crate) async fn events_say_what_followers_need(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"b": 1, "a": 2}))).await.unwrap();
    one(&store, update("ann", "d", 1, json!({"a": 3}))).await.unwrap();
    let committed = store.commit(&[update("ann", "d", 1, json!({"b": null}))]).await.unwrap();
    one(&store, delete("ann", "d", None)).await.unwrap();
    let expected = [
        r#"DRAFT_CREATED {"draftId":"d","version":1,"kind":"note","content":{"a":2,"b":1}}"#,
        r#"DRAFT_UPDATED {"draftId":"d","version":2,"baseVersion":1,"patch":{"a":3}}"#,
        // Made on version 1; applied by a follower that is at 2.
        r#"DRAFT_UPDATED {"draftId":"d","version":3,"baseVersion":2,"patch":{"b":null}}"#,
        r#"DRAFT_DELETED {"draftId":"d","version":4,"baseVersion":3}"#,
    ];
    assert_eq!(log(&store, "ann").await, expected);
    let stored = events(&store, "ann", 2, 1).await;
    assert_eq!(committed.events.len(), 1);
    assert_eq!(committed.events[0].json(), stored[0].json(), "told and stored alike");
    assert_eq!((stored[0].origin.as_str(), &stored[0].stream), ("phone", &stream("ann")));
}

pub(crate) async fn different_fields_from_one_base_both_survive(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"title": "", "body": ""}))).await.unwrap();
    one(&store, update("ann", "d", 1, json!({"title": "A"}))).await.unwrap();
    // From storage: what each field last changed at survives a restart.
    let store = database.open(LIMITS).await;
    one(&store, update("ann", "d", 1, json!({"body": "B"}))).await.unwrap();
    let draft = store.draft(&user("ann"), &draft_id("d")).await.unwrap().unwrap();
    assert_eq!((draft.version, content(&draft)), (Version(3), json!({"title": "A", "body": "B"})));
}

pub(crate) async fn the_same_field_from_one_base_conflicts(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"title": ""}))).await.unwrap();
    one(&store, update("ann", "d", 1, json!({"title": "A"}))).await.unwrap();
    let store = database.open(LIMITS).await;
    let refused = one(&store, update("ann", "d", 1, json!({"title": "B", "more": 1}))).await;
    let Err(Refusal::Conflict { fields, current: Some(current) }) = refused else { panic!("{refused:?}") };
    assert_eq!(fields, ["/title"]);
    assert_eq!((current.version, content(&current)), (Version(2), json!({"title": "A"})));
    let refused = one(&store, delete("ann", "d", Some(1))).await;
    let Err(Refusal::Conflict { fields, current: Some(_) }) = refused else { panic!("{refused:?}") };
    assert!(fields.is_empty(), "a deletion meets the whole draft");
    assert_eq!(log(&store, "ann").await.len(), 2);
}

pub(crate) async fn an_exact_base_must_be_current(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"a": 1, "b": 1}))).await.unwrap();
    one(&store, exactly(update("ann", "d", 1, json!({"a": 2})))).await.unwrap();
    for stale in [exactly(update("ann", "d", 1, json!({"b": 2}))), exactly(delete("ann", "d", Some(3)))] {
        let refused = one(&store, stale).await;
        assert!(matches!(refused, Err(Refusal::PreconditionFailed { version: Version(2) })), "{refused:?}");
    }
    one(&store, exactly(delete("ann", "d", Some(2)))).await.unwrap();
}

pub(crate) async fn a_base_that_never_was_is_refused(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    for base in [0, 2, u64::MAX] {
        let refused = one(&store, update("ann", "d", base, json!({"a": 1}))).await;
        assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{refused:?}");
        let refused = one(&store, delete("ann", "d", Some(base))).await;
        assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{refused:?}");
    }
}

pub(crate) async fn deleted_drafts_stay_deleted(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    one(&store, delete("ann", "d", None)).await.unwrap();
    let store = database.open(LIMITS).await;
    let refused = one(&store, create("ann", "d", json!({}))).await;
    assert!(matches!(refused, Err(Refusal::Conflict { current: None, .. })), "{refused:?}");
    assert!(matches!(one(&store, delete("ann", "d", None)).await, Err(Refusal::NotFound)));
    let refused = one(&store, update("ann", "d", 2, json!({"a": 1}))).await;
    assert!(matches!(refused, Err(Refusal::NotFound)), "{refused:?}");
    assert_eq!(log(&store, "ann").await.len(), 2);
}

pub(crate) async fn a_patch_that_changes_nothing_has_no_event(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"a": 1}))).await.unwrap();
    let nothing = with_id("n", update("ann", "d", 1, json!({"a": 1, "b": null})));
    assert_eq!(numbers(&one(&store, nothing.clone()).await.unwrap()), (1, None));
    // Remembered all the same: the repetition is not decided on what came later.
    one(&store, update("ann", "d", 1, json!({"a": 2}))).await.unwrap();
    assert_eq!(numbers(&one(&store, nothing).await.unwrap()), (1, None));
    assert_eq!(log(&store, "ann").await.len(), 2);
}

pub(crate) async fn limits_hold(database: &dyn Database) {
    let limits = Limits { drafts_per_user_max: 2, draft_bytes_max: 20, event_bytes_max: 10 };
    let store = database.open(limits).await;
    let long = json!({"a": "0123456789abcdef"});
    let refused = one(&store, create("ann", "d", long.clone())).await;
    assert!(matches!(refused, Err(Refusal::TooLarge(_))), "{refused:?}");
    let batch = [
        create("ann", "d1", json!({"a": "0123456789"})),
        create("ann", "d2", json!({})),
        create("ann", "d3", json!({})),
        create("bob", "d1", json!({})),
    ];
    let committed = store.commit(&batch).await.unwrap();
    assert!(matches!(&committed.answers[..], [Ok(_), Ok(_), Err(Refusal::TooLarge(_)), Ok(_)]));
    let refused = one(&store, update("ann", "d2", 1, long)).await;
    assert!(matches!(refused, Err(Refusal::TooLarge(_))), "{refused:?}");
    // A deleted draft makes room, in the same batch too.
    let batch = [delete("ann", "d1", None), create("ann", "d3", json!({})), create("ann", "d4", json!({}))];
    let committed = store.commit(&batch).await.unwrap();
    assert!(matches!(&committed.answers[..], [Ok(_), Ok(_), Err(Refusal::TooLarge(_))]));
    assert_eq!(store.drafts(&user("ann")).await.unwrap().drafts.len(), 2);
}

pub(crate) async fn a_list_stands_where_it_says(database: &dyn Database) {
    const CHANGES: u64 = 40;
    let reader = database.node().await;
    let empty = reader.drafts(&user("ann")).await.unwrap();
    assert_eq!((empty.seq, empty.drafts.len()), (Seq(0), 0));
    let writer = database.node().await;
    let writing = tokio::spawn(async move {
        one(&writer, create("ann", "z", json!({ "n": 1 }))).await.unwrap();
        for n in 2..=CHANGES {
            one(&writer, update("ann", "z", n - 1, json!({ "n": n }))).await.unwrap();
        }
    });
    loop {
        let list = reader.drafts(&user("ann")).await.unwrap();
        let n = list.drafts.first().map_or(json!(0), |draft| content(draft)["n"].clone());
        assert_eq!(json!(list.seq), n, "the drafts and their position are of one moment");
        if list.seq == Seq(CHANGES) {
            break;
        }
    }
    writing.await.unwrap();
    for draft in ["b", "B", "a-1", "a", "_"] {
        one(&reader, create("ann", draft, json!({}))).await.unwrap();
    }
    let list = reader.drafts(&user("ann")).await.unwrap();
    let ids: Vec<_> = list.drafts.iter().map(|draft| draft.draft_id.as_str()).collect();
    assert_eq!(ids, ["B", "_", "a", "a-1", "b", "z"], "sorted by their bytes");
}
