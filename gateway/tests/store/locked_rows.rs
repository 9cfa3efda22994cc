//! What another transaction holds for long, an operator's or that of a node that hangs, stops nobody else.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::Stream;
use fanout::{Hub, bus::MemoryBus};
use gateway::{
    commands::group_commit::{Answer, Committer, Unavailable},
    config::Config,
    store::{Lock, Refusal, Store, Write},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use crate::{
    fixture::{Database, LIMITS, PATIENT, append, create, log, log_of, one, user, with_id},
    postgres::{Server, server},
};

/// As nodes have it: what waits for longer than this is not waited for.
const STORE_TIMEOUT: Duration = Duration::from_millis(900);

/// A committer over a database in which some streams exist already, and somebody who holds something in it.
struct Scene {
    database: Server,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    committer: Committer,
    operator: PgConnection,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

impl Scene {
    async fn new(wait_max: &'static str) -> Self {
        let database = server().await;
        database.open(LIMITS).await;
        let store: Arc<dyn Store> = database.store(STORE_TIMEOUT, LIMITS);
        for write in [append("user:ann", &["A"]), append("user:bob", &["A"]), append("topic:t", &["A"])] {
            one(&store, write).await.unwrap();
        }
        let settings =
            Config::from_source(|name| (name == "WRITE_WAIT_MAX").then(|| wait_max.to_owned())).unwrap();
        let bus = MemoryBus::new();
        let hub = Hub::start("n1".parse().unwrap(), settings.fanout.clone(), store.clone(), bus);
        let committer = Committer::start(
            &gateway::config::Live::new(settings.changeable()),
            &store,
            &hub,
            &Arc::default(),
        );
        let operator = PgConnection::connect(&database.tables()).await.unwrap();
        Self { database, store, hub, committer, operator }
    }

    /// Begins a transaction that holds something.
    async fn hold(&mut self, sql: &'static str) {
        sqlx::raw_sql("BEGIN").execute(&mut self.operator).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut self.operator).await.unwrap();
    }

    async fn let_go(&mut self) {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.operator).await.unwrap();
    }

    fn submit(&self, write: Write) -> JoinHandle<Answer> {
        tokio::spawn(self.committer.submit(write, 100, None, None))
    }
}

/// Whether it has been carried out.
async fn done(answer: JoinHandle<Answer>) {
    answer.await.unwrap().unwrap().unwrap();
}

const LOCK_ANN: &str = "SELECT 1 FROM streams WHERE name = 'user:ann' FOR UPDATE";
const LOCK_KEY: &str =
    "INSERT INTO commands VALUES ('svc', 'backend', 'held', 1, '{\"first\":1,\"seq\":1}', 1)";

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_stream_waits_alone() {
    let mut scene = Scene::new("1m").await;
    scene.hold(LOCK_ANN).await;
    // What ann's client repeats is in many batches of the node.
    let mut waiting = Vec::new();
    for i in 0..5 {
        waiting.push(scene.submit(create("ann", &format!("d{i}"), json!({}))));
        for write in [
            create("bob", &format!("d{i}"), json!({})),
            append("topic:t", &["B"]),
            append("all", &["B"]),
            append("user:new", &["B"]),
            with_id(&format!("c{i}"), append("topic:keyed", &["B"])),
        ] {
            done(scene.submit(write)).await;
        }
    }
    // Whoever lists what has been asked for waits with it.
    let settled = tokio::spawn(scene.committer.settled(&Stream::User(user("ann"))));
    scene.committer.settled(&Stream::User(user("bob"))).await.unwrap();
    assert!(waiting.iter().all(|answer| !answer.is_finished()) && !settled.is_finished());
    scene.let_go().await;
    for answer in waiting {
        done(answer).await;
    }
    settled.await.unwrap().unwrap();
    assert_eq!(log(&scene.store, "ann").await.len(), 6);
    let drafts: Vec<String> = scene
        .store
        .drafts(&user("ann"))
        .await
        .unwrap()
        .drafts
        .iter()
        .map(|draft| draft.draft_id.to_string())
        .collect();
    assert_eq!(drafts, ["d0", "d1", "d2", "d3", "d4"]);
    done(scene.submit(create("ann", "later", json!({})))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_all_wait_alone_as_well_and_in_their_order() {
    let mut scene = Scene::new("1m").await;
    one(&scene.store, append("all", &["A"])).await.unwrap();
    scene.hold("SELECT 1 FROM streams WHERE name IN ('topic:t', 'all') FOR UPDATE").await;
    let mut waiting = Vec::new();
    for i in 0..30 {
        waiting.push(scene.submit(append("topic:t", &[&format!("E {i}")])));
        waiting.push(scene.submit(with_id(&format!("c{i}"), append("all", &[&format!("E {i}")]))));
        done(scene.submit(create("bob", &format!("d{i}"), json!({})))).await;
    }
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
    scene.let_go().await;
    for answer in waiting {
        done(answer).await;
    }
    for stream in ["topic:t", "all"] {
        let log = log_of(&scene.store, &stream.parse().unwrap()).await;
        let expected: Vec<String> = (0..30).map(|i| format!("E {i}")).collect();
        assert_eq!(log[1..], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_transaction_holds_stops_only_its_device() {
    let mut scene = Scene::new("1m").await;
    scene.hold(LOCK_KEY).await;
    let from = |device: &str, write: Write| Write { device: device.parse().unwrap(), ..write };
    let held = scene.submit(with_id("held", append("topic:t", &["HELD"])));
    let behind = scene.submit(with_id("next", append("topic:t", &["BEHIND"])));
    for i in 0..5 {
        done(scene.submit(from("other", with_id(&format!("c{i}"), append("topic:t", &["FREE"]))))).await;
        done(scene.submit(with_id(&format!("u{i}"), append("topic:u", &["FREE"])))).await;
        done(scene.submit(create("bob", &format!("d{i}"), json!({})))).await;
    }
    assert!(!held.is_finished() && !behind.is_finished());
    scene.let_go().await;
    done(held).await;
    done(behind).await;
    let log = log_of(&scene.store, &"topic:t".parse().unwrap()).await;
    let of_the_device: Vec<&String> = log.iter().filter(|event| !event.starts_with("FREE")).collect();
    assert_eq!(of_the_device, ["A null", "HELD null", "BEHIND null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_drafts_and_streams_that_are_being_made_stop_nobody_else() {
    let mut scene = Scene::new("1m").await;
    done(scene.submit(create("ann", "d", json!({})))).await;
    scene.hold("SELECT 1 FROM drafts FOR UPDATE; INSERT INTO streams (name) VALUES ('user:new')").await;
    let update = crate::fixture::update("ann", "d", 1, json!({"a": 1}));
    let waiting = [scene.submit(update), scene.submit(append("user:new", &["B"]))];
    for i in 0..5 {
        done(scene.submit(create("bob", &format!("d{i}"), json!({})))).await;
        done(scene.submit(append(&format!("topic:{i}"), &["B"]))).await;
    }
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
    scene.let_go().await;
    for answer in waiting {
        done(answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_lock_for_too_long_is_refused() {
    let mut scene = Scene::new("50ms").await;
    scene.hold(LOCK_ANN).await;
    let refused = scene.submit(create("ann", "d", json!({}))).await.unwrap();
    assert_eq!(refused.unwrap_err(), Unavailable::Locked);
    // It may have been late itself, on a busy machine.
    let deadline = Instant::now() + PATIENT;
    while let Err(unavailable) = scene.submit(create("bob", "d", json!({}))).await.unwrap() {
        assert_eq!(unavailable, Unavailable::Late);
        assert!(Instant::now() < deadline);
    }
    scene.let_go().await;
    assert_eq!(log(&scene.store, "ann").await, ["A null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_commits_what_is_not_locked() {
    let mut scene = Scene::new("1m").await;
    scene.hold(LOCK_ANN).await;
    let batch = [
        create("ann", "d", json!({})),
        append("topic:t", &["B"]),
        with_id("c", append("topic:t", &["C"])),
        create("bob", "d", json!({})),
        append("user:new", &["B"]),
    ];
    let patient: Arc<dyn Store> = scene.database.store(PATIENT, LIMITS);
    let committed = patient.commit_within(&batch, Duration::from_millis(1)).await.unwrap();
    let locked: Vec<Option<Lock>> = committed
        .answers
        .iter()
        .map(|answer| match answer {
            Ok(_) => None,
            Err(Refusal::Locked(lock)) => Some(*lock),
            Err(refusal) => panic!("{refusal:?}"),
        })
        .collect();
    assert_eq!(locked, [Some(Lock::Stream), None, None, None, None]);
    assert_eq!(committed.events.len(), 4);
    scene.let_go().await;
    scene.hold(LOCK_KEY).await;
    let batch = [
        with_id("held", append("topic:t", &["B"])),
        create("bob", "e", json!({})),
        append("topic:t", &["B"]),
        create("ann", "d", json!({})),
    ];
    let committed = patient.commit_within(&batch, Duration::from_millis(1)).await.unwrap();
    let held: Vec<bool> =
        committed.answers.iter().map(|answer| matches!(answer, Err(Refusal::Locked(Lock::Key)))).collect();
    assert_eq!(held, [true, false, true, false], "the third is by the same device, behind the first");
    scene.let_go().await;
}
