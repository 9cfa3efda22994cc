//! What every bus does, called once per implementation.

use std::sync::Arc;

use fanout::bus::{Bus, Channel};

use crate::support::{Node, topic, until};

/// Makes one more handle on the same network.
pub(crate) type Join<'a> = &'a dyn Fn() -> Arc<dyn Bus>;

pub(crate) async fn a_copy_reaches_every_subscriber_and_the_sender(join: Join<'_>) {
    let (a, b, other) =
        (Node::connected(join()).await, Node::connected(join()).await, Node::connected(join()).await);
    let channel = topic("match:1");
    a.subscribe(std::slice::from_ref(&channel)).await;
    b.subscribe(std::slice::from_ref(&channel)).await;
    other.subscribe(&[topic("match:10")]).await;
    a.publish(&channel, "goal");
    other.publish(&topic("match:10"), "end");
    until("both have heard", || a.has_heard(&channel, "goal") && b.has_heard(&channel, "goal")).await;
    until("the other has heard", || other.has_heard(&topic("match:10"), "end")).await;
    assert_eq!(other.copies(&channel), Vec::<String>::new());
    assert_eq!((a.copies(&channel).len(), b.copies(&channel).len()), (1, 1));
}

pub(crate) async fn every_kind_of_channel_is_carried(join: Join<'_>) {
    let node = Node::connected(join()).await;
    let channels = [
        topic("a:b.c-d_e"),
        Channel::Stream("all".parse().unwrap()),
        Channel::Stream("user:tél {x} canary:1".parse().unwrap()),
        Channel::Canary("node:1:0".into()),
    ];
    node.subscribe(&channels).await;
    for channel in &channels {
        node.publish(channel, "hello");
        until("it has arrived", || node.copies(channel) == ["hello"]).await;
    }
    let binary = bytes::Bytes::from((0..=255).cycle().take(1 << 20).collect::<Vec<u8>>());
    node.bus.publish(channels[0].clone(), binary.clone());
    until("a large one has arrived", || node.inbox.heard().copies.iter().any(|(_, copy)| copy == &binary))
        .await;
}

pub(crate) async fn unsubscribing_ends_and_subscribing_resumes(join: Join<'_>) {
    let (a, b) = (Node::connected(join()).await, Node::connected(join()).await);
    let (left, kept) = (topic("left"), topic("kept"));
    a.subscribe(&[left.clone(), kept.clone()]).await;
    b.subscribe(std::slice::from_ref(&left)).await;
    a.bus.unsubscribe(std::slice::from_ref(&left));
    // A few copies may still arrive, so: until one that was sent before another is not heard when that
    // other is.
    let mut round = 0;
    until("nothing is heard of the channel any more", || {
        let (heard, gone) = (format!("kept {round}"), format!("left {round}"));
        if a.has_heard(&kept, &heard) {
            if !a.has_heard(&left, &gone) {
                return true;
            }
            round += 1;
        }
        b.publish(&left, &format!("left {round}"));
        b.publish(&kept, &format!("kept {round}"));
        false
    })
    .await;
    until("the other still hears", || b.has_heard(&left, "left 0")).await;
    a.subscribe(std::slice::from_ref(&left)).await;
    b.publish(&left, "back");
    until("it hears again", || a.has_heard(&left, "back")).await;
}

pub(crate) async fn asking_again_is_confirmed_again(join: Join<'_>) {
    let node = Node::connected(join()).await;
    let channel = topic("again");
    for _ in 0..3 {
        // Waits for a confirmation that comes after the call.
        node.subscribe(std::slice::from_ref(&channel)).await;
    }
    node.publish(&channel, "once");
    until("it has arrived", || node.has_heard(&channel, "once")).await;
    assert_eq!(node.copies(&channel), ["once"], "subscribed thrice, heard once");
    // Changed in one breath: the last word counts.
    for _ in 0..50 {
        node.bus.unsubscribe(std::slice::from_ref(&channel));
        node.bus.subscribe(std::slice::from_ref(&channel));
    }
    node.subscribe(std::slice::from_ref(&channel)).await;
    node.publish(&channel, "twice");
    until("it still hears", || node.has_heard(&channel, "twice")).await;
}

pub(crate) async fn copies_of_one_publisher_keep_their_order(join: Join<'_>) {
    let (a, b) = (Node::connected(join()).await, Node::connected(join()).await);
    let channel = topic("order");
    b.subscribe(std::slice::from_ref(&channel)).await;
    let sent: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    for copy in &sent {
        a.publish(&channel, copy);
    }
    until("all have arrived", || b.copies(&channel).len() >= sent.len()).await;
    assert_eq!(b.copies(&channel), sent);
}

pub(crate) async fn thousands_of_channels_are_heard(join: Join<'_>) {
    let (a, b) = (Node::connected(join()).await, Node::connected(join()).await);
    let channels: Vec<Channel> = (0..5000).map(|n| topic(&n.to_string())).collect();
    a.subscribe(&channels).await;
    for channel in &channels {
        b.publish(channel, "hello");
    }
    until("every channel has heard", || a.inbox.heard().copies.len() >= channels.len()).await;
    let heard: std::collections::HashSet<Channel> =
        a.inbox.heard().copies.iter().map(|(channel, _)| channel.clone()).collect();
    assert_eq!(heard.len(), channels.len());
}

pub(crate) async fn a_closed_bus_is_silent(join: Join<'_>) {
    let (a, b) = (Node::connected(join()).await, Node::connected(join()).await);
    let channel = topic("closed");
    a.subscribe(std::slice::from_ref(&channel)).await;
    b.subscribe(std::slice::from_ref(&channel)).await;
    a.bus.close();
    b.publish(&channel, "still here?");
    until("the open one has heard", || b.has_heard(&channel, "still here?")).await;
    a.publish(&channel, "into the void");
    assert!(!a.has_heard(&channel, "into the void"));
}

/// Calls each of the above as a test of its own, with `$join` made by `$network`.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let network = fanout::bus::MemoryBus::network();
                    super::contract::$name(&move || network.join()).await;
                }
            )*
        }

        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let redis = testkit::Redis::start().await.unwrap();
                    super::contract::$name(&|| crate::redis_bus(&redis.url())).await;
                }
            )*
        }
    };
}
pub(crate) use contract;
