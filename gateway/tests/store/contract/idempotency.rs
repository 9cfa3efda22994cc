//! Idempotency keys: a repeated command is answered from memory.

use std::collections::HashSet;

use common::Stream;
use gateway::store::Refusal;
use serde_json::json;

use crate::fixture::*;

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
