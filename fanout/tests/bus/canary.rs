//! A bus that looks healthy and hears nothing is found out.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use fanout::{
    bus::{Bus, Channel, Inbox, MemoryBus, Unsure},
    canary::Canary,
};
use testkit::{Proxy, Redis, Service};

use crate::{
    redis_bus,
    support::{Node, Recorder, cli, topic, until, until_live},
};

/// Hands canaries to their canary, as a node does.
struct Router {
    canary: OnceLock<Arc<Canary>>,
    rest: Arc<Recorder>,
}

impl Inbox for Router {
    fn message(&self, channel: &Channel, message: Bytes) {
        match channel {
            Channel::Canary(_) => self.canary.get().unwrap().returned(channel, &message),
            Channel::Stream(_) => self.rest.message(channel, message),
        }
    }

    fn subscribed(&self, channel: &Channel) {
        self.rest.subscribed(channel);
    }

    fn unsure(&self, why: Unsure) {
        self.rest.unsure(why);
    }
}

/// A node with a canary, which lives as long as the router.
fn with_canary(bus: Arc<dyn Bus>) -> (Node, Arc<Canary>, Arc<Router>) {
    let inbox = Arc::new(Recorder::default());
    let router = Arc::new(Router { canary: OnceLock::new(), rest: inbox.clone() });
    let weak: Weak<Router> = Arc::downgrade(&router);
    bus.attach(weak.clone());
    let canary = Canary::new(&"node-1".parse().unwrap(), bus.clone());
    assert!(router.canary.set(canary.clone()).is_ok());
    tokio::spawn(canary.clone().run(weak));
    (Node { bus, inbox }, canary, router)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_in_memory_is_heard() {
    let (_node, canary, _router) = with_canary(MemoryBus::new());
    until("it is heard", || canary.is_heard()).await;
}

/// The address leads to another Redis than before, as after a failover behind one name: the connection
/// that publishes was cut and leads there, the one that listens was not and waits where nobody publishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_left_behind_by_a_failover_is_found_out() {
    let (old, new) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    let proxy = Proxy::start(old.port()).await.unwrap();
    let (node, canary, _router) = with_canary(redis_bus(&format!("redis://127.0.0.1:{}", proxy.port())));
    let channel = topic("t");
    node.subscribe(std::slice::from_ref(&channel)).await;
    until("it is heard", || canary.is_heard()).await;

    proxy.lead_to(new.port());
    cli(&old, &["CLIENT", "KILL", "TYPE", "normal"]);
    until("deafness is noticed", || node.was_unsure(Unsure::Deaf)).await;
    until_live(&node, &node, &channel).await;
    until("it is heard again", || canary.is_heard()).await;
    assert_eq!(cli(&old, &["PUBSUB", "SHARDCHANNELS"]), "", "nothing listens at the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_away_is_not_heard_and_comes_back() {
    let mut redis = Redis::start().await.unwrap();
    let (node, canary, _router) = with_canary(redis_bus(&redis.url()));
    until("it is heard", || canary.is_heard()).await;
    redis.kill9();
    until("it is not heard", || !canary.is_heard()).await;
    redis.start_again().await.unwrap();
    until("it is heard again", || canary.is_heard()).await;
    assert!(!node.was_unsure(Unsure::Deaf), "away is not deaf");
}
