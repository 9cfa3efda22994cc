//! What makes an event known without the sweep, each by itself.

use std::{sync::Arc, time::Duration};

use common::{Cursor, Event, Seq, Signal, Stream};
use fanout::{Hub, Mailbox, Settings, Step, StreamReader, bus::MemoryBus};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{log::ModelLog, marked};

/// So long that only a mistake waits for it.
const NEVER: Duration = Duration::from_secs(24 * 3600);

fn settings() -> Settings {
    Settings { sweep_interval: NEVER, sweep_interval_unsure: NEVER, ..Settings::default() }
}

fn stream() -> Stream {
    "user:alice".parse().unwrap()
}

async fn follow(hub: &Hub) -> (StreamReader, Arc<Mailbox>) {
    let mailbox = Arc::<Mailbox>::default();
    (hub.follow(stream(), None, mailbox.clone(), 0).await.unwrap(), mailbox)
}

/// The next event that the follower is handed.
async fn next(follower: &mut StreamReader, mailbox: &Mailbox) -> Arc<Event> {
    let due = async {
        loop {
            if let Step::Send(due) = follower.step(usize::MAX) {
                return due[0].as_slice()[0].event.clone();
            }
            marked(mailbox).await;
        }
    };
    timeout(Duration::from_secs(60), due).await.expect("it is told long before the sweep")
}

#[tokio::test(start_paused = true)]
async fn nodes_of_one_name_hear_each_other() {
    let (log, network) = (ModelLog::new(1), MemoryBus::network());
    let [one, other] =
        [(); 2].map(|()| Hub::start("same".parse().unwrap(), settings(), log.clone(), network.join()));
    let (mut follower, mailbox) = follow(&other).await;
    one.committed(&log.epoch(), &[log.append(&stream())]);
    assert_eq!(next(&mut follower, &mailbox).await.seq, Seq(1));
}

#[tokio::test(start_paused = true)]
async fn signals_reach_live_followers_on_every_node() {
    let (log, network) = (ModelLog::new(1), MemoryBus::network());
    let hubs =
        ["a", "b"].map(|name| Hub::start(name.parse().unwrap(), settings(), log.clone(), network.join()));
    let mut followers = Vec::new();
    for hub in &hubs {
        followers.push(follow(hub).await);
    }
    let payload = RawValue::from_string("1".to_owned()).unwrap();
    let signal = Signal::new(stream(), "TYPING".parse().unwrap(), "phone".parse().unwrap(), payload);
    hubs[0].signal(Arc::new(signal));
    for (follower, mailbox) in &mut followers {
        assert_eq!(marked(mailbox).await, [0]);
        let step = follower.step(usize::MAX);
        let Step::Signals(due) = step else { panic!("{step:?}") };
        assert_eq!(due.iter().map(|signal| signal.kind.as_str()).collect::<Vec<_>>(), ["TYPING"]);
        assert!(matches!(follower.step(usize::MAX), Step::Wait));
    }
}

#[tokio::test(start_paused = true)]
async fn an_announced_event_is_read_from_the_log() {
    let log = ModelLog::new(1);
    let hub = Hub::start("n".parse().unwrap(), settings(), log.clone(), MemoryBus::new());
    let (mut follower, mailbox) = follow(&hub).await;
    // Committed by an attempt whose outcome nobody saw.
    log.append(&stream());
    hub.announce(&log.epoch(), &stream(), Seq(1));
    assert_eq!(next(&mut follower, &mailbox).await.seq, Seq(1));
    assert_eq!(follower.cursor(), Cursor { epoch: log.epoch(), seq: Seq(1) });
}

#[tokio::test(start_paused = true)]
async fn a_suspected_stream_is_compared_with_the_log() {
    let log = ModelLog::new(1);
    let hub = Hub::start("n".parse().unwrap(), settings(), log.clone(), MemoryBus::new());
    let (mut follower, mailbox) = follow(&hub).await;
    log.append(&stream());
    hub.recheck([stream()]);
    assert_eq!(next(&mut follower, &mailbox).await.seq, Seq(1));
}
