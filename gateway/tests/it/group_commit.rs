//! How long writes wait for each other, and what bounds it.

use std::{sync::Arc, time::Duration};

use common::{Stream, protocol::NewEvent};
use fanout::{Hub, bus::MemoryBus};
use gateway::{
    commands::group_commit::{Answer, Committer, Unavailable},
    store::{Append, Op, Store, Write},
};
use testkit::wait;
use tokio::task::JoinHandle;

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{Disk, settings},
};

struct Writers {
    store: Arc<FailingStore>,
    hub: Arc<Hub>,
    committer: Committer,
    _disk: Arc<Disk>,
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

impl Writers {
    async fn new(some: &[(&str, &str)]) -> Self {
        let disk = Disk::new().await;
        let store = FailingStore::over(&disk);
        let settings = settings("n1", &[some, &[("WRITE_SHARDS", "1")]].concat());
        let hub = Hub::start(
            settings.listen.node.clone(),
            settings.fanout.clone(),
            store.clone(),
            MemoryBus::new(),
        );
        let shared: Arc<dyn Store> = store.clone();
        let committer = Committer::start(
            &gateway::config::Live::new(settings.changeable()),
            &shared,
            &hub,
            &Arc::default(),
        );
        Self { store, hub, committer, _disk: disk }
    }

    /// Publishes to a topic; it has its place in the queue when this returns.
    fn publish(&self, topic: &str, bytes: usize) -> JoinHandle<Answer> {
        let event = NewEvent::from_json(r#"{"event":"E"}"#).unwrap();
        let append = Append { stream: Stream::Topic(topic.parse().unwrap()), events: vec![event] };
        let (user, device) = ("svc".parse().unwrap(), "backend".parse().unwrap());
        let write = Write { user, device, id: None, op: Op::Append(append) };
        tokio::spawn(self.committer.submit(write, bytes, None, None))
    }

    /// Waits until a write is committed.
    async fn takes_writes(&self) {
        wait::until("a write to be committed", DEADLINE, || async {
            let answer = tokio::time::timeout(DEADLINE, self.publish("t", 100)).await;
            match answer.map_err(|_| "it is never answered".to_owned())?.unwrap() {
                Ok(done) => done.map(|_| ()).map_err(|refusal| format!("{refusal:?}")),
                Err(unavailable) => Err(unavailable.to_string()),
            }
        })
        .await;
    }

    /// Has a commit under way that does not end.
    async fn stuck(&self) -> JoinHandle<Answer> {
        self.store.hold_commits();
        let first = self.publish("t", 100);
        wait::until("the commit to be under way", DEADLINE, || async {
            if self.store.holds_a_commit() { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        first
    }
}

#[tokio::test]
async fn a_write_whose_turn_does_not_come_is_unavailable() {
    let writers = Writers::new(&[("WRITE_WAIT_MAX", "10ms")]).await;
    let first = writers.stuck().await;
    let late: Vec<_> = (0..5).map(|i| writers.publish(&format!("t{i}"), 100)).collect();
    let settled = tokio::spawn(writers.committer.settled(&Stream::All));
    // As long as it may wait, and longer.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let fresh = writers.publish("t", 100);
    writers.store.let_commits_go();
    assert!(first.await.unwrap().unwrap().is_ok());
    for late in late {
        assert_eq!(late.await.unwrap().unwrap_err(), Unavailable::Late);
    }
    settled.await.unwrap().unwrap();
    // It may have been late itself, on a busy machine; what is left behind harms nobody.
    let _ = fresh.await.unwrap();
    assert!(writers.publish("t", 100).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn past_the_bounds_of_the_queue_writes_are_refused_at_once() {
    const MIB: usize = 1024 * 1024;
    let writers = Writers::new(&[("WRITE_QUEUE_MAX", "3"), ("WRITE_WAIT_MAX", "1m")]).await;
    let mut first = writers.stuck().await;
    let waiting: Vec<_> = (0..3).map(|_| writers.publish("t", 100)).collect();
    assert_eq!(writers.publish("t", 100).await.unwrap().unwrap_err(), Unavailable::Full);
    assert_eq!(writers.committer.settled(&Stream::All).await.unwrap_err(), Unavailable::Full);
    writers.store.let_commits_go();
    for write in waiting {
        assert!(write.await.unwrap().unwrap().is_ok());
    }
    assert!((&mut first).await.unwrap().unwrap().is_ok());

    let first = writers.stuck().await;
    let large = writers.publish("t", 100 * MIB);
    assert_eq!(writers.publish("t", 100 * MIB).await.unwrap().unwrap_err(), Unavailable::Full);
    let small = writers.publish("t", 1000);
    writers.store.let_commits_go();
    for write in [first, large, small] {
        assert!(write.await.unwrap().unwrap().is_ok());
    }
    // What was answered has given its bytes back, refusals included.
    assert!(writers.publish("t", 100 * MIB).await.unwrap().unwrap().is_ok());
}

/// The sizes of the commits after one during which `during` writes came, and of which one more came behind.
async fn shared(during: usize) -> Vec<usize> {
    let writers = Writers::new(&[("WRITE_WINDOW", "1s")]).await;
    let first = writers.stuck().await;
    let mut waiting: Vec<_> = (0..during).map(|_| writers.publish("t", 100)).collect();
    writers.store.let_commits_go();
    first.await.unwrap().unwrap().unwrap();
    // The shard has looked at what waits before anybody is told of the first.
    waiting.push(writers.publish("t", 100));
    for write in waiting {
        assert!(write.await.unwrap().unwrap().is_ok());
    }
    writers.store.batches().split_off(1)
}

#[tokio::test]
async fn writes_that_keep_coming_share_a_commit_unless_it_is_large_already() {
    // A machine may be away for longer than the window.
    let mut attempts = 0;
    while shared(1).await != [2] {
        attempts += 1;
        assert!(attempts < 10, "they never share one");
    }
    assert_eq!(shared(16).await, [16, 1]);
}

#[tokio::test]
async fn a_shard_whose_task_panics_takes_writes_again() {
    let writers = Writers::new(&[]).await;
    let first = writers.stuck().await;
    let waiting = writers.publish("t", 100);
    writers.store.set_panics(true);
    writers.store.let_commits_go();
    // Those whose writes are lost are told at once, and so is who comes while it cannot go on.
    for lost in [first, waiting, writers.publish("t", 100)] {
        assert_eq!(lost.await.unwrap().unwrap_err(), Unavailable::Store);
    }
    writers.store.set_panics(false);
    writers.takes_writes().await;
}

#[tokio::test]
async fn a_lane_whose_task_panics_does_not_keep_its_stream() {
    let writers = Writers::new(&[("WRITE_WAIT_MAX", "1m")]).await;
    writers.store.set_locked(true);
    let locked = writers.publish("t", 100);
    wait::until("the stream to be set aside", DEADLINE, || async {
        // The shard's attempt, and one of the lane.
        if writers.store.batches().len() >= 2 { Ok(()) } else { Err("it was not".to_owned()) }
    })
    .await;
    writers.store.set_panics(true);
    assert_eq!(locked.await.unwrap().unwrap_err(), Unavailable::Store);
    writers.store.set_locked(false);
    writers.store.set_panics(false);
    writers.takes_writes().await;
}
