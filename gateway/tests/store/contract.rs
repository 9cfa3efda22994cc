//! The contract of `Store` and `Log`. Every test here runs over every store.

use std::{collections::HashSet, time::Duration};

use common::{Seq, Stream, Version, event::Priority, protocol::NewEvent};
use fanout::{
    Hub,
    log::{Head, READ_BYTES_MAX, Read},
};
use gateway::{
    commands::group_commit::Committer,
    config::Config,
    store::{APPEND_EVENTS_MAX, Limits, Refusal, StoreError},
};
use serde_json::{Value, json};

use crate::fixture::*;

/// Runs each test of the contract over databases made by `$database`.
macro_rules! contract {
    ($database:path) => {
        contract! { $database, numbers: numbers_keep_their_text }
        contract! { $database, contract:
            changes_are_committed_with_their_events
            events_say_what_followers_need
            an_empty_batch_changes_nothing
            a_refused_write_leaves_nothing_behind
            a_failed_batch_leaves_nothing_behind
            writes_of_a_batch_see_each_other
            different_fields_from_one_base_both_survive
            the_same_field_from_one_base_conflicts
            an_exact_base_must_be_current
            a_base_that_never_was_is_refused
            deleted_drafts_stay_deleted
            a_patch_that_changes_nothing_has_no_event
            a_repeated_command_gets_the_same_answer
            a_repeated_command_gets_the_same_answer_after_a_restart
            a_repeated_command_in_one_batch_is_carried_out_once
            ids_are_told_apart_by_user_and_device
            an_id_is_not_taken_for_another_command
            forgotten_commands_are_forgotten
            appends_get_consecutive_numbers
            a_repeated_append_gets_the_same_answer
            appends_and_drafts_share_a_batch
            priorities_are_kept
            appends_that_cannot_be_kept_are_refused
            one_id_for_several_streams_at_once_is_used_by_one
            nodes_that_append_to_the_same_topics_leave_no_gap
            history_says_where_the_log_stands
            a_thousand_writers_to_one_topic_are_all_served
            limits_hold
            nodes_that_write_for_one_user_leave_no_gap
            nodes_with_the_same_users_do_not_deadlock
            a_dropped_commit_happens_as_a_whole_or_not_at_all
            a_list_stands_where_it_says
            reads_are_paged
            pages_are_bounded_by_bytes
            a_log_that_was_cut_says_so
            a_hole_in_the_log_is_never_jumped
            positions_beyond_everything_are_empty
            many_streams_are_answered_in_order
            texts_survive_as_they_are
            the_longest_names_are_kept
            no_key_of_a_content_has_a_meaning
            a_row_that_means_nothing_fails_the_call
            the_epoch_stays
            a_closed_store_is_unavailable
        }
        contract! { $database, retention:
            logs_are_cut_by_number
            logs_are_cut_by_age_up_to_the_first_that_is_young_enough
            every_stream_of_a_kind_has_its_turn
            what_was_cut_is_deleted_by_whoever_comes_next
            the_time_is_about_that_of_this_machine
            one_node_leads_retention
            cutting_disturbs_neither_writers_nor_readers
        }
    };
    ($database:path, $suite:ident: $($test:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let database = $database().await;
                crate::$suite::$test(&database).await;
            }
        )*
    };
}
pub(crate) use contract;

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

pub(crate) async fn a_repeated_command_gets_the_same_answer(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let creation = with_id("c", create("ann", "d", json!({"a": 1})));
    let update = with_id("u", update("ann", "d", 1, json!({"a": 2})));
    let deletion = with_id("d", delete("ann", "d", None));
    let mut answers = Vec::new();
    for write in [&creation, &update, &deletion] {
        answers.push(one(&store, write.clone()).await.unwrap());
    }
    for (write, answer) in [&creation, &update, &deletion].into_iter().zip(answers) {
        let committed = store.commit(std::slice::from_ref(write)).await.unwrap();
        assert!(committed.events.is_empty());
        assert_eq!(*committed.answers[0].as_ref().unwrap(), answer);
    }
    assert_eq!(log(&store, "ann").await.len(), 3);
}

pub(crate) async fn a_repeated_command_gets_the_same_answer_after_a_restart(database: &dyn Database) {
    let write = with_id("c", create("ann", "d", json!({"a": 1})));
    let first = one(&database.open(LIMITS).await, write.clone()).await.unwrap();
    let store = database.open(LIMITS).await;
    assert_eq!(one(&store, write).await.unwrap(), first);
    assert_eq!(log(&store, "ann").await.len(), 1);
}

pub(crate) async fn a_repeated_command_in_one_batch_is_carried_out_once(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let write = with_id("c", create("ann", "d", json!({"a": 1})));
    let batch = [write.clone(), update("ann", "d", 1, json!({"a": 2})), write];
    let committed = store.commit(&batch).await.unwrap();
    assert_eq!(committed.answers[0].as_ref().unwrap(), committed.answers[2].as_ref().unwrap());
    assert_eq!(log(&store, "ann").await.len(), 2);
}

pub(crate) async fn ids_are_told_apart_by_user_and_device(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let mut tablet = with_id("c", create("ann", "on-tablet", json!({})));
    tablet.device = "tablet".parse().unwrap();
    let batch =
        [with_id("c", create("ann", "d", json!({}))), with_id("c", create("bob", "d", json!({}))), tablet];
    for write in batch {
        one(&store, write).await.unwrap();
    }
    assert_eq!((log(&store, "ann").await.len(), log(&store, "bob").await.len()), (2, 1));
}

pub(crate) async fn an_id_is_not_taken_for_another_command(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, with_id("c", create("ann", "d", json!({"a": 1})))).await.unwrap();
    for other in [
        create("ann", "d", json!({"a": 2})),
        create("ann", "e", json!({"a": 1})),
        update("ann", "d", 1, json!({"a": 2})),
        delete("ann", "d", None),
    ] {
        let refused = one(&store, with_id("c", other)).await;
        assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{refused:?}");
    }
    assert_eq!(log(&store, "ann").await.len(), 1);
}

pub(crate) async fn forgotten_commands_are_forgotten(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    for i in 0..5 {
        one(&store, with_id(&format!("c{i}"), create("ann", &format!("d{i}"), json!({})))).await.unwrap();
    }
    let mut retention = retention(&store).await;
    assert_eq!(retention.forget_commands(0, 100).await.unwrap(), 0);
    assert_eq!(retention.forget_commands(u64::MAX, 2).await.unwrap(), 2);
    assert_eq!(retention.forget_commands(u64::MAX, 100).await.unwrap(), 3);
    assert_eq!(retention.forget_commands(u64::MAX, 100).await.unwrap(), 0);
    let refused = one(&store, with_id("c0", create("ann", "d0", json!({})))).await;
    assert!(matches!(refused, Err(Refusal::Conflict { .. })), "decided anew: {refused:?}");
}

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

pub(crate) async fn a_repeated_append_gets_the_same_answer(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let topic: Stream = "topic:t".parse().unwrap();
    let write = with_id("c", append("topic:t", &["A {\"x\":1,\"y\":2}", "B"]));
    assert_eq!(appended(&one(&store, write.clone()).await.unwrap()), (1, 2));
    one(&store, append("topic:t", &["LATER"])).await.unwrap();
    let store = database.open(LIMITS).await;
    let same = with_id("c", append("topic:t", &["A {\"y\": 2, \"x\": 1}", "B"]));
    for again in [write.clone(), same] {
        let committed = store.commit(&[again.clone(), again]).await.unwrap();
        assert!(committed.events.is_empty());
        assert!(committed.answers.iter().all(|answer| appended(answer.as_ref().unwrap()) == (1, 2)));
    }
    let mut draft = with_id("c", create("svc", "d", json!({})));
    draft.device = write.device.clone();
    for other in [
        with_id("c", append("topic:t", &["A {\"x\":1,\"y\":3}", "B"])),
        with_id("c", append("topic:u", &["A {\"x\":1,\"y\":2}", "B"])),
        with_id("c", append("topic:t", &["A {\"x\":1,\"y\":2}"])),
        draft,
    ] {
        let refused = one(&store, other).await;
        assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{refused:?}");
    }
    // Who asks is part of the key, not where it goes.
    let mut of_another = write;
    of_another.user = user("ann");
    assert_eq!(appended(&one(&store, of_another).await.unwrap()), (4, 5));
    assert_eq!(log_of(&store, &topic).await.len(), 5);
    assert_eq!(log_of(&store, &"topic:u".parse().unwrap()).await.len(), 0);
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

/// No lock of a stream keeps two batches from using one key at the same moment.
pub(crate) async fn one_id_for_several_streams_at_once_is_used_by_one(database: &dyn Database) {
    const NODES: usize = 3;
    const ROUNDS: usize = 25;
    let mut nodes = Vec::new();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(NODES));
    for node in 0..NODES {
        let (store, barrier) = (database.node().await, barrier.clone());
        nodes.push(tokio::spawn(async move {
            let mut used = Vec::new();
            for round in 0..ROUNDS {
                let stream = format!("topic:t{node}");
                let keyed = |i: usize| with_id(&format!("{round}-{i}"), append(&stream, &["KEYED"]));
                // In another order on every node.
                let mut batch = vec![keyed(0), keyed(1), keyed(2)];
                batch.rotate_left(node);
                batch.push(append(&stream, &["FREE"]));
                barrier.wait().await;
                let committed = store.commit(&batch).await.unwrap();
                assert!(committed.answers[3].is_ok(), "the others of a batch are not harmed");
                for (write, answer) in batch[..3].iter().zip(&committed.answers) {
                    match answer {
                        Ok(_) => used.push(write.id.clone().unwrap()),
                        Err(refusal) => assert!(matches!(refusal, Refusal::BadRequest(_)), "{refusal:?}"),
                    }
                }
            }
            used
        }));
    }
    let mut used = Vec::new();
    for node in nodes {
        used.extend(node.await.unwrap());
    }
    assert_eq!(used.len(), ROUNDS * 3, "each of the keys is used");
    assert_eq!(used.iter().collect::<HashSet<_>>().len(), used.len(), "and by one node alone");
    let store = database.node().await;
    let mut events = 0;
    for node in 0..NODES {
        events += log_of(&store, &format!("topic:t{node}").parse().unwrap()).await.len();
    }
    assert_eq!(events, ROUNDS * (3 + NODES));
}

pub(crate) async fn nodes_that_append_to_the_same_topics_leave_no_gap(database: &dyn Database) {
    const WRITERS: usize = 5;
    const ROUNDS: usize = 15;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = database.node().await;
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let mut batch: Vec<_> = ["topic:b", "all", "topic:a", "user:ann"]
                    .iter()
                    .map(|stream| append(stream, &[&format!("E [{writer},{round}]"), "F"]))
                    .collect();
                batch.rotate_left(writer % 4);
                let committed = store.commit(&batch).await.unwrap();
                for answer in committed.answers {
                    let (first, last) = appended(&answer.unwrap());
                    assert_eq!(last, first + 1);
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let store = database.node().await;
    for stream in ["topic:a", "topic:b", "all", "user:ann"] {
        let log = log_of(&store, &stream.parse().unwrap()).await;
        assert_eq!(log.len(), WRITERS * ROUNDS * 2);
        let distinct: HashSet<_> = log.iter().filter(|event| event.starts_with('E')).collect();
        assert_eq!(distinct.len(), WRITERS * ROUNDS, "all of them, each once");
    }
}

/// On one node with the bounds that it has by default.
pub(crate) async fn a_thousand_writers_to_one_topic_are_all_served(database: &dyn Database) {
    const WRITERS: usize = 1000;
    let store = database.open(LIMITS).await;
    // However slow the machine and the build.
    let settings = Config::from_source(|name| (name == "WRITE_WAIT_MAX").then(|| "1m".to_owned())).unwrap();
    let bus = fanout::bus::MemoryBus::new();
    let hub = Hub::start("n1".parse().unwrap(), settings.fanout.clone(), store.clone(), bus);
    let committer = Committer::start(&settings.writes, &store, &hub, &std::sync::Arc::default());
    let event = format!("E \"{}\"", "x".repeat(2000));
    // As if each were as large as it may be.
    let bytes = settings.writes.event_bytes_max + 300;
    let answers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut write = with_id("c", append("topic:t", &[&event]));
            write.device = format!("device-{writer}").parse().unwrap();
            tokio::spawn(committer.clone().submit(write, bytes, None))
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

pub(crate) async fn nodes_that_write_for_one_user_leave_no_gap(database: &dyn Database) {
    const WRITERS: usize = 6;
    const EACH: usize = 15;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = database.node().await;
        writers.push(tokio::spawn(async move {
            for i in 0..EACH {
                let draft = format!("d-{writer}-{i}");
                one(&store, create("ann", &draft, json!({ "i": i }))).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let log = log(&database.node().await, "ann").await;
    assert_eq!(log.iter().collect::<HashSet<_>>().len(), WRITERS * EACH, "all of them, each once");
}

pub(crate) async fn nodes_with_the_same_users_do_not_deadlock(database: &dyn Database) {
    const USERS: usize = 8;
    const ROUNDS: usize = 10;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let store = database.node().await;
        writers.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let draft = format!("d-{writer}-{round}");
                // Half of the users, half of them new to the store, some from the front, some from the
                // back.
                let mut batch: Vec<_> = (0..USERS)
                    .filter(|i| (i + writer + round) % 2 == 0)
                    .map(|i| create(&format!("user-{}", i + round), &draft, json!({})))
                    .collect();
                if writer % 2 == 0 {
                    batch.reverse();
                }
                let committed = store.commit(&batch).await.unwrap();
                assert!(committed.answers.iter().all(Result::is_ok));
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let store = database.node().await;
    let mut events = 0;
    for i in 0..USERS + ROUNDS {
        events += log(&store, &format!("user-{i}")).await.len();
    }
    assert_eq!(events, 4 * ROUNDS * USERS / 2);
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

pub(crate) async fn texts_survive_as_they_are(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let odd: Value = serde_json::from_str(
        r#"{"nul": "a\u0000b", "\u0000": 1, "quote": "\"\\'$1%{}", "é😀\uFFFF": "\u202e\ufeff",
            "line": "\u2028\n", "big": 18446744073709551615, "small": -9223372036854775808,
            "float": 1.7976931348623157e308, "tiny": 5e-324, "whole": 1.0, "deep": [[[{"a": [null]}]]], "": ""}"#,
    )
    .unwrap();
    let name = "ünï ☃ 'user' \"x\" \\ {a,b} ,:/%";
    let mut write = with_id("ïd ☃ {1}", create(name, "d", odd.clone()));
    write.device = "🤖 'phone', NULL".parse().unwrap();
    let done = one(&store, write.clone()).await.unwrap();
    one(&store, update(name, "d", 1, json!({"nul": "\u{0}", "NULL": "null"}))).await.unwrap();
    let store = database.open(LIMITS).await;
    assert_eq!(one(&store, write.clone()).await.unwrap(), done);
    let list = store.drafts(&user(name)).await.unwrap();
    let mut expected = odd.clone();
    expected["nul"] = json!("\u{0}");
    expected["NULL"] = json!("null");
    assert_eq!(content(&list.drafts[0]), expected);
    assert_eq!(list.drafts[0].content.get(), expected.to_string());
    let events = events(&store, name, 0, 10).await;
    assert_eq!(events[0].origin, write.device);
    let payload: Value = serde_json::from_str(events[0].payload.get()).unwrap();
    assert_eq!(payload["content"], odd);
}

/// Users are as long as OpenID Connect allows, and then some bytes: the keys of the tables must hold them.
pub(crate) async fn the_longest_names_are_kept(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    // Of many characters, so that no index can compress it.
    let of_many = |count: u32| -> String {
        (0..count).map(|n| char::from_u32(0x1_f300 + n * 7 % 0x300).unwrap()).collect()
    };
    let (ann, bob) = (of_many(255), format!("{}!", of_many(254)));
    let draft = "d".repeat(64);
    for name in [&ann, &bob] {
        let mut write = with_id(&of_many(64), create(name, &draft, json!({"of": name})));
        write.device = of_many(64).parse().unwrap();
        let done = one(&store, write.clone()).await.unwrap();
        assert_eq!(numbers(&done), (1, Some(1)));
        assert_eq!(numbers(&one(&store, write).await.unwrap()), (1, Some(1)), "it is remembered");
        let list = store.drafts(&user(name)).await.unwrap();
        assert_eq!(content(&list.drafts[0]), json!({"of": name}));
        assert_eq!(log(&store, name).await.len(), 1);
    }
}

pub(crate) async fn no_key_of_a_content_has_a_meaning(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    // The name under which serde_json hides raw values.
    let private = json!({"a": {"$serde_json::private::RawValue": "{\"x\":1}"}});
    one(&store, create("ann", "d", private.clone())).await.unwrap();
    assert_eq!(store.drafts(&user("ann")).await.unwrap().drafts[0].content.get(), private.to_string());
    one(&store, update("ann", "d", 1, json!({"b": 1}))).await.unwrap();
    let expected = r#"{"a":{"$serde_json::private::RawValue":"{\"x\":1}"},"b":1}"#;
    assert_eq!(store.drafts(&user("ann")).await.unwrap().drafts[0].content.get(), expected);
}

pub(crate) async fn a_row_that_means_nothing_fails_the_call(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    one(&store, create("bob", "d", json!({}))).await.unwrap();
    database.execute("UPDATE drafts SET kind = 'no kind' WHERE user_id = 'ann'").await;
    database.execute("UPDATE events SET kind = 'no kind' WHERE stream = 'user:ann'").await;
    let Err(StoreError::Failed(why)) = store.drafts(&user("ann")).await else { panic!("it was taken") };
    assert!(why.contains("draft d of ann"), "{why}");
    let failed = store.commit(&[update("ann", "d", 1, json!({"a": 1}))]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    let read = Read { stream: stream("ann"), after: Seq(0), limit: 1 };
    assert!(store.read(&[read]).await.is_err());
    one(&store, update("bob", "d", 1, json!({"a": 1}))).await.unwrap();
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

pub(crate) async fn a_closed_store_is_unavailable(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    let failed = store.commit(&[create("ann", "d", json!({}))]).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
}
