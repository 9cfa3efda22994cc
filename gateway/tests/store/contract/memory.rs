//! What a node remembers of drafts is a proposal, and never shows in an answer.

use std::sync::Arc;

use common::Version;
use gateway::store::{Base, Done, DraftOp, Op, Refusal, Store, Write};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;

use crate::fixture::*;

pub(crate) async fn what_another_node_changed_is_not_taken_for_unchanged(database: &dyn Database) {
    let (here, there) = (database.open(LIMITS).await, database.node().await);
    one(&here, create("ann", "d", json!({"title": "one", "body": ""}))).await.unwrap();
    one(&here, update("ann", "d", 1, json!({"title": "two"}))).await.unwrap();
    one(&there, update("ann", "d", 2, json!({"title": "three"}))).await.unwrap();

    // As this node remembers it, the title is "two" and the patch changes nothing.
    let answer = one(&here, update("ann", "d", 2, json!({"title": "two"}))).await;
    assert!(matches!(&answer, Err(Refusal::Conflict { fields, .. }) if fields == &["/title"]), "{answer:?}");
    let answer = one(&here, update("ann", "d", 2, json!({"body": "text"}))).await.unwrap();
    assert_eq!(numbers(&answer), (4, Some(4)));
    one(&there, delete("ann", "d", None)).await.unwrap();
    let answer = one(&here, update("ann", "d", 4, json!({"body": "more"}))).await;
    assert!(matches!(answer, Err(Refusal::NotFound)), "{answer:?}");
}

pub(crate) async fn a_repetition_is_known_although_the_draft_is(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({"a": 0, "b": 0}))).await.unwrap();
    let first = with_id("c1", update("ann", "d", 1, json!({"a": 1})));
    let done = one(&store, first.clone()).await.unwrap();
    one(&store, with_id("c2", update("ann", "d", 2, json!({"a": 2})))).await.unwrap();
    // Decided anew it would be a conflict.
    assert_eq!(one(&store, first.clone()).await.unwrap(), done);
    // A command that changes nothing is remembered, too.
    let nothing = with_id("c3", update("ann", "d", 3, json!({"b": 0})));
    let done = one(&store, nothing.clone()).await.unwrap();
    assert_eq!(numbers(&done), (3, None));
    one(&store, with_id("c4", update("ann", "d", 3, json!({"b": 4})))).await.unwrap();
    assert_eq!(one(&store, nothing).await.unwrap(), done);
    // Of a batch with a known command all others are carried out.
    let batch = [
        with_id("c5", update("ann", "d", 4, json!({"a": 5}))),
        first,
        with_id("c6", append("topic:t", &["E"])),
    ];
    let answers = store.commit(&batch).await.unwrap().answers;
    assert_eq!(numbers(answers[0].as_ref().unwrap()), (5, Some(5)));
    assert_eq!(numbers(answers[1].as_ref().unwrap()), (2, Some(2)));
    assert_eq!(appended(answers[2].as_ref().unwrap()), (1, 1));
}

pub(crate) async fn a_repeated_append_among_new_ones_keeps_its_numbers(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let first = with_id("c1", append("topic:t", &["A", "B"]));
    assert_eq!(appended(&one(&store, first.clone()).await.unwrap()), (1, 2));
    let batch = [
        with_id("c2", append("topic:t", &["C"])),
        first.clone(),
        append("topic:t", &["D"]),
        with_id("c2", append("topic:t", &["C"])),
    ];
    for (attempt, new) in [(1, 4), (2, 5)] {
        let answers = store.commit(&batch).await.unwrap().answers;
        let numbers: Vec<_> = answers.iter().map(|answer| appended(answer.as_ref().unwrap())).collect();
        assert_eq!(numbers, [(3, 3), (1, 2), (new, new), (3, 3)], "attempt {attempt}");
    }
    assert_eq!(appended(&one(&store, first).await.unwrap()), (1, 2));
}

/// One of the writes that a few devices of one user make. Ids repeat, and so do bases that were overtaken.
fn any_write() -> impl Strategy<Value = Write> {
    let draft = prop_oneof![Just("d1"), Just("d2"), Just("d3"), Just("d4"), Just("d5"), Just("d6")];
    let field = prop_oneof![Just("a"), Just("b")];
    let update_on = |base: Base, draft: &str, field: &str, value: i32| {
        let mut write = update("ann", draft, 1, json!({field: value}));
        if let Op::Draft(DraftOp::Update { base: of, .. }) = &mut write.op {
            *of = base;
        }
        write
    };
    let base = prop_oneof![Just(Base::Current), (1_u64..8).prop_map(|version| Base::Merge(Version(version)))];
    let write = prop_oneof![
        8 => draft.clone().prop_map(|draft| create("ann", draft, json!({"a": 0, "b": 0}))),
        60 => (base, draft.clone(), field, 0..9).prop_map(move |(base, draft, field, value)| {
            update_on(base, draft, field, value)
        }),
        1 => draft.prop_map(|draft| delete("ann", draft, None)),
        8 => Just(append("user:ann", &["NOTE", "NOTE"])),
        4 => Just(append("topic:ann", &["E"])),
    ];
    (write, prop::option::weighted(0.4, 0..400)).prop_map(|(mut write, id)| {
        write.user = user("ann");
        write.id = id.map(|id| format!("c{id}").parse().unwrap());
        write
    })
}

/// The same write of another user.
fn mirrored(write: &Write) -> Write {
    let mut write = write.clone();
    write.user = user("zoe");
    if let Op::Append(append) = &mut write.op {
        append.stream = append.stream.key().replace("ann", "zoe").parse().unwrap();
    }
    write
}

/// What answers say, without times.
fn outline(answers: &[Result<Done, Refusal>]) -> Vec<String> {
    let line = |answer: &Result<Done, Refusal>| match answer {
        Err(Refusal::Conflict { fields, current }) => {
            let current = current.as_ref().map(|draft| (draft.version, content(draft)));
            format!("conflict {fields:?} {current:?}")
        }
        other => format!("{other:?}"),
    };
    answers.iter().map(line).collect()
}

/// Two nodes that remember write for one user, and nodes that have just started the same for another: nobody can
/// tell them apart.
pub(crate) async fn nodes_that_remember_answer_like_those_that_do_not(database: &dyn Database) {
    let nodes: [Arc<dyn Store>; 2] = [database.open(LIMITS).await, database.node().await];
    let mut runner = TestRunner::deterministic();
    let batches =
        prop::collection::vec((prop::collection::vec(any_write(), 1..4), prop::bool::weighted(0.03)), 400);
    let batches = batches.new_tree(&mut runner).unwrap().current();
    let mut at = 0;
    for (batch, moves) in batches {
        at = if moves { 1 - at } else { at };
        let remembering = nodes[at].commit(&batch).await.unwrap();
        let mirror: Vec<Write> = batch.iter().map(mirrored).collect();
        let reading = database.node().await.commit(&mirror).await.unwrap();
        assert_eq!(outline(&remembering.answers), outline(&reading.answers), "{batch:#?}");
    }
    assert_eq!(log(&nodes[0], "ann").await, log(&nodes[1], "zoe").await);
    assert!(log(&nodes[0], "ann").await.len() > 200);
}
