//! A log that was put back in place: no server and no timeline shows it, so those who remember do.

use std::{sync::Arc, time::Duration};

use common::{Cursor, Epoch, Event, Seq, Stream};
use fanout::{Hub, Mailbox, Settings, Step, StreamReader, bus::MemoryBus};
use tokio::time::{Instant, sleep};

use crate::log::{ModelLog, Naming};

/// Longer than a node takes a client's word.
const SETTLED: Duration = Duration::from_secs(120);

struct Scene {
    log: Arc<ModelLog>,
    stream: Stream,
    first: Epoch,
}

impl Scene {
    /// A log with three events in one stream.
    fn new() -> Self {
        let log = ModelLog::named(1, Naming::Row);
        let stream: Stream = "topic:t".parse().unwrap();
        for _ in 0..3 {
            log.append(&stream);
        }
        Self { first: log.epoch(), log, stream }
    }

    fn node(&self) -> Arc<Hub> {
        Hub::start("n".parse().unwrap(), Settings::default(), self.log.clone(), MemoryBus::new())
    }

    async fn follow(&self, hub: &Hub, from: Option<u64>) -> StreamReader {
        let from = from.map(|seq| Cursor { epoch: self.first.clone(), seq: Seq(seq) });
        hub.follow(self.stream.clone(), from.as_ref(), Arc::<Mailbox>::default(), 0).await.unwrap()
    }

    /// Waits until the history has another name, and the follower is in it.
    async fn until_renamed(&self, follower: &mut StreamReader) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if matches!(follower.step(usize::MAX), Step::Reset) {
                follower.skip();
            }
            if self.log.epoch() != self.first && *follower.epoch() == self.log.epoch() {
                return;
            }
            assert!(Instant::now() < deadline, "the follower stays at {}", follower.cursor());
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_went_back_begins_a_new_history_on_every_node() {
    let scene = Scene::new();
    let hubs = [scene.node(), scene.node()];
    let mut followers = [scene.follow(&hubs[0], None).await, scene.follow(&hubs[1], None).await];
    sleep(SETTLED).await;
    scene.log.put_back(&scene.stream, 1);
    for follower in &mut followers {
        scene.until_renamed(follower).await;
    }
    assert_eq!(scene.log.epoch().as_str(), "e2", "both nodes come to one name");
}

#[tokio::test(start_paused = true)]
async fn an_announced_event_that_is_gone_begins_a_new_history() {
    let scene = Scene::new();
    let hub = scene.node();
    let mut follower = scene.follow(&hub, None).await;
    sleep(SETTLED).await;
    scene.log.append(&scene.stream);
    scene.log.put_back(&scene.stream, 3);
    hub.announce(&scene.first, &scene.stream, Seq(4));
    scene.until_renamed(&mut follower).await;
}

#[tokio::test(start_paused = true)]
async fn the_number_of_another_event_begins_a_new_history() {
    let scene = Scene::new();
    let hub = scene.node();
    let mut follower = scene.follow(&hub, None).await;
    sleep(SETTLED).await;
    let seen: Arc<Event> = scene.log.append(&scene.stream);
    hub.committed(&scene.first, &[seen]);
    scene.log.put_back(&scene.stream, 3);
    // The log is as long again, before anybody has looked at its head.
    let other = scene.log.append(&scene.stream);
    hub.committed(&scene.first, &[other]);
    scene.until_renamed(&mut follower).await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_beyond_the_log_begins_a_new_history_when_no_node_remembers() {
    let scene = Scene::new();
    scene.log.put_back(&scene.stream, 2);
    let hub = scene.node();
    let mut follower = scene.follow(&hub, Some(3)).await;
    scene.until_renamed(&mut follower).await;
    // It shares the fate of all who had seen the lost event: one that comes when its number is used again.
    scene.log.append(&scene.stream);
    let mut later = scene.follow(&hub, Some(3)).await;
    assert!(matches!(later.step(usize::MAX), Step::Reset));
}

#[tokio::test(start_paused = true)]
async fn an_invented_cursor_renames_nothing_unless_the_log_was_away() {
    let scene = Scene::new();
    let hub = scene.node();
    let follower = scene.follow(&hub, None).await;
    sleep(SETTLED).await;
    scene.follow(&hub, Some(1_000_000)).await;
    assert_eq!(scene.log.epoch(), scene.first);
    scene.log.set_down(true);
    sleep(SETTLED).await;
    scene.log.set_down(false);
    sleep(Duration::from_secs(10)).await;
    for _ in 0..5 {
        scene.follow(&hub, Some(1_000_000)).await;
    }
    assert_eq!(scene.log.epoch().as_str(), "e2", "once, however often it is tried");
    drop(follower);
}
