//! Followers of one topic, publishers to it, and what must be true of both afterwards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use testkit::{
    Cluster, Device, DeviceOptions, Encoding, Publisher, SseFollower, SseOptions, Target, Topic,
    device::{Replica, Track},
    publisher::{Form, Published},
    token,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::DEADLINE;

/// The topic that all of it is about.
pub(crate) const TOPIC: &str = "match:1";

/// Followers by server-sent events, besides the others.
const BY_SSE: usize = 4;

/// Connections opened at one time.
const OPENING_MAX: usize = 64;

/// Everybody who follows [`TOPIC`].
pub(crate) struct Audience {
    pub(crate) devices: Vec<Device>,
    by_sse: Vec<SseFollower>,
}

/// In every encoding, with and without array frames, with and without windows.
pub(crate) fn as_varied(options: DeviceOptions, number: usize) -> DeviceOptions {
    let encoding = match number % 10 {
        0 | 1 => Encoding::MessagePack,
        2 => Encoding::JsonDeflate,
        3 => Encoding::MessagePackDeflate,
        _ => Encoding::Json,
    };
    let topic = Topic::named(TOPIC);
    let topic = if number.is_multiple_of(7) { topic.batch(100, Some(10)) } else { topic };
    DeviceOptions { batch: number.is_multiple_of(2), ..options.encoding(encoding).topic(topic) }
}

impl Audience {
    /// Has so many devices follow the topic through Nginx, from its beginning.
    pub(crate) async fn gather(cluster: &Cluster, count: usize) -> Self {
        let nginx = cluster.nginx.as_ref().unwrap();
        let url = vec![nginx.ws_url()];
        let mut devices = Vec::with_capacity(count);
        for first in (0..count).step_by(OPENING_MAX) {
            let some = (first..count.min(first + OPENING_MAX)).map(|n| {
                let options =
                    DeviceOptions::follower(url.clone(), &format!("user{n}"), &format!("device{n}"));
                Device::connect(as_varied(options, n))
            });
            devices.extend(join_all(some).await);
        }
        let mut by_sse = Vec::new();
        for n in 0..BY_SSE {
            let user = format!("reader{n}");
            let token = Arc::new(move || token::scoped(&user, "subscribe:*"));
            let options = SseOptions::new(vec![nginx.http_url("/v1/stream")], &[TOPIC], token);
            let follower = SseFollower::start(options).unwrap();
            follower.wait_until("follow", DEADLINE, |r| r.topic(TOPIC).is_some_and(Track::is_followed)).await;
            by_sse.push(follower);
        }
        let audience = Self { devices, by_sse };
        audience.for_each(|name, replica| assert_eq!(track(replica).seq(), 0, "{name} came late"));
        audience
    }

    /// How many are on each node.
    pub(crate) fn by_node(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for node in self.devices.iter().filter_map(Device::node) {
            *counts.entry(node).or_default() += 1;
        }
        counts
    }

    fn for_each(&self, look: impl Fn(&str, &Replica)) {
        for device in &self.devices {
            device.look(|replica| look(device.name(), replica));
        }
        for follower in &self.by_sse {
            follower.look(|replica| look("by SSE", replica));
        }
    }

    /// Waits until everybody has what was published; then checks that they have seen every event
    /// exactly once, in order, with the content that was acknowledged, and found nothing wrong.
    pub(crate) async fn check(&self, published: &[Published]) {
        let mut published = published.to_vec();
        published.sort_by_key(|event| event.seq);
        let head = published.len() as u64;
        let numbers: Vec<u64> = published.iter().map(|event| event.seq).collect();
        assert!(numbers == (1..=head).collect::<Vec<_>>(), "acknowledged twice, or nobody's: {numbers:?}");
        let everything = |replica: &Replica| track(replica).seq() >= head;
        for device in &self.devices {
            device.wait_until("see every event", DEADLINE, everything).await;
            assert_eq!(device.violations(), [], "{:?}", device.counters());
        }
        for follower in &self.by_sse {
            follower.wait_until("see every event", DEADLINE, everything).await;
            assert_eq!(follower.violations(), [], "{:?}", follower.counters());
        }
        self.for_each(|name, replica| {
            let track = track(replica);
            assert_eq!(track.missed(), [], "{name}");
            assert_eq!((track.runs(), track.received()), (&[(1, head)][..], head), "{name}");
            for event in &published {
                let same = track.digest(event.seq) == Some(event.digest);
                assert!(same, "{name}: {} is not what was acknowledged", event.seq);
            }
        });
    }
}

fn track(replica: &Replica) -> &Track {
    replica.topic(TOPIC).expect("it was asked for")
}

/// Publishers at work until they are stopped.
pub(crate) struct Work {
    stop: watch::Sender<bool>,
    publisher: Publisher,
    tasks: Vec<JoinHandle<()>>,
}

impl Work {
    /// `count` publishers, through Nginx, `per_second` requests in all.
    pub(crate) fn start(cluster: &Cluster, count: usize, per_second: f64) -> Self {
        let nginx = cluster.nginx.as_ref().unwrap();
        let publisher = Publisher::new(vec![nginx.http_url("")], "desk").unwrap();
        let stop = watch::Sender::new(false);
        let pace = Duration::from_secs_f64(count as f64 / per_second);
        let task = |n: usize| {
            // Nginx sends each to a node by the user: they are on different ones.
            let token = token::scoped(&format!("backend{n}"), "service");
            publish(publisher.clone().token(&token), n, pace, stop.subscribe())
        };
        let tasks = (0..count).map(|n| tokio::spawn(task(n))).collect();
        Self { stop, publisher, tasks }
    }

    /// Waits until `more` further requests are acknowledged.
    pub(crate) async fn progress(&self, more: u64) {
        let goal = self.publisher.counters().acknowledged + more;
        testkit::wait::until("publishing goes on", DEADLINE, || async {
            let counters = self.publisher.counters();
            if counters.acknowledged >= goal { Ok(()) } else { Err(format!("{counters:?} of {goal}")) }
        })
        .await;
    }

    /// Lets every request under way end: everything that was acknowledged.
    pub(crate) async fn finish(self) -> Vec<Published> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        println!("{:?}", self.publisher.counters());
        self.publisher.published()
    }
}

/// Publishes one by one, and now and then some together.
async fn publish(publisher: Publisher, number: usize, pace: Duration, mut stop: watch::Receiver<bool>) {
    let target = Target::topic(TOPIC);
    // Not all at the same moment.
    let mut pause = pace.mul_f64(rand::random());
    let mut n = 0;
    while timeout(pause, stop.wait_for(|stop| *stop)).await.is_err() {
        pause = pace;
        let (count, form) = match n % 10 {
            4 => (3, Form::Array),
            9 => (4, Form::Lines),
            _ => (1, Form::One),
        };
        let events: Vec<_> = (n..n + count)
            .map(|n| json!({ "event": "TICK", "data": { "by": number, "n": n, "text": "on and on" } }))
            .collect();
        n += count;
        publisher.publish_all(&target, &events, form).await.unwrap();
    }
}
