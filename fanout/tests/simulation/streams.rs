//! Which streams a node takes up, and when it lets them go.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::Stream;
use fanout::{
    Hub, Settings, StreamReader,
    bus::MemoryBus,
    log::{Heads, Log, LogError, Page, Read},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    log::ModelLog,
    network::{Handle, Network},
};

/// How long a call to [`Hung`] takes.
const LIMIT: Duration = Duration::from_secs(5);

/// A log that answers nothing until its time limit.
struct Hung;

impl Hung {
    async fn fail<T>() -> Result<T, LogError> {
        sleep(LIMIT).await;
        Err(LogError("no answer in time".to_owned()))
    }
}

#[async_trait]
impl Log for Hung {
    async fn heads(&self, _: &[Stream]) -> Result<Heads, LogError> {
        Self::fail().await
    }

    async fn read(&self, _: &[Read]) -> Result<Vec<Page>, LogError> {
        Self::fail().await
    }
}

fn topic(n: usize) -> Stream {
    format!("topic:{n}").parse().unwrap()
}

async fn follow(hub: &Hub, stream: Stream) -> Result<StreamReader, LogError> {
    hub.follow(stream, None, Arc::default(), 0).await
}

#[tokio::test(start_paused = true)]
async fn a_node_follows_no_more_streams_than_it_may() {
    let settings = Settings { streams_max: 3, ..Settings::default() };
    let hub = Hub::start("n".parse().unwrap(), settings.clone(), ModelLog::new(1), MemoryBus::new());
    let mut followers = Vec::new();
    for n in 0..3 {
        followers.push(follow(&hub, topic(n)).await.unwrap());
    }
    let error = follow(&hub, topic(3)).await.err().unwrap();
    assert!(error.to_string().contains("follows 3 streams"), "{error}");
    follow(&hub, topic(0)).await.expect("it is followed already");
    followers.pop();
    sleep(2 * settings.sweep_interval).await;
    follow(&hub, topic(3)).await.expect("another one has been let go");
}

#[tokio::test(start_paused = true)]
async fn only_streams_with_events_linger() {
    let (log, network) = (ModelLog::new(1), Network::new(1));
    let (bus, settings) = (network.join(0), Settings::default());
    log.append(&topic(1));
    let hub = Hub::start("n".parse().unwrap(), settings.clone(), log, Arc::new(Handle(bus.clone())));
    let followers = [follow(&hub, topic(0)).await.unwrap(), follow(&hub, topic(1)).await.unwrap()];
    sleep(2 * settings.linger).await;
    assert!(bus.hears(&topic(0)) && bus.hears(&topic(1)));
    drop(followers);
    sleep(2 * settings.sweep_interval).await;
    assert!(!bus.hears(&topic(0)) && bus.hears(&topic(1)));
    sleep(settings.linger).await;
    assert!(!bus.hears(&topic(1)));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_follow_is_told_so_together_with_the_others() {
    let hub = Hub::start("n".parse().unwrap(), Settings::default(), Arc::new(Hung), MemoryBus::new());
    let began = Instant::now();
    let mut joins = JoinSet::new();
    for slot in 0..100 {
        let hub = hub.clone();
        joins.spawn(async move {
            assert!(hub.follow(Stream::All, None, Arc::default(), slot).await.is_err());
            began.elapsed()
        });
    }
    let longest = joins.join_all().await.into_iter().max().unwrap();
    assert!(longest < 2 * LIMIT, "the last one waited {longest:?}");
}
