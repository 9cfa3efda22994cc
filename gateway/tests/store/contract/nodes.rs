//! Several nodes that write to the same streams at the same time.

use std::collections::HashSet;

use serde_json::json;

use crate::fixture::*;

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
