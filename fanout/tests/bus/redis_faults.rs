//! What Redis may do to a bus. Each time it comes back by itself, and says that it was away.

use fanout::bus::{Channel, RedisBus, RedisOptions, Unsure};
use testkit::{Redis, Service};

use crate::{
    redis_bus,
    support::{Node, cli, flood, topic, until, until_live},
};

async fn pair(redis: &Redis, channel: &Channel) -> (Node, Node) {
    let (a, b) =
        (Node::connected(redis_bus(&redis.url())).await, Node::connected(redis_bus(&redis.url())).await);
    b.subscribe(std::slice::from_ref(channel)).await;
    assert_eq!(b.inbox.heard().unsure, [], "a first connection loses nothing");
    until_live(&a, &b, channel).await;
    (a, b)
}

/// It was away, and came back with every subscription.
async fn until_back(from: &Node, to: &Node, channel: &Channel) {
    until("the subscriptions are back", || to.was_unsure(Unsure::Reconnected)).await;
    assert_eq!(to.inbox.heard().unsure[..2], [Unsure::Disconnected, Unsure::Reconnected]);
    assert!(to.inbox.heard().subscribed.contains(channel));
    until_live(from, to, channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart() {
    let mut redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, b) = pair(&redis, &channel).await;
    b.forget();
    redis.kill9();
    until("the loss is noticed", || b.was_unsure(Unsure::Disconnected) && !b.bus.is_connected()).await;
    // Taken as ever; and what is subscribed meanwhile is subscribed later.
    a.publish(&channel, "into the void");
    b.bus.subscribe(&[topic("meanwhile")]);
    redis.start_again().await.unwrap();
    until_back(&a, &b, &channel).await;
    until_live(&a, &b, &topic("meanwhile")).await;
    assert!(!b.has_heard(&channel, "into the void"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stops_answering() {
    let redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, b) = pair(&redis, &channel).await;
    b.forget();
    redis.pause();
    // More than the sockets hold: the connection is stuck in a write, from which only giving it up helps.
    let large = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..20 {
        a.bus.publish(channel.clone(), large.clone());
    }
    until("both sides notice", || {
        b.was_unsure(Unsure::Disconnected) && !a.bus.is_connected() && !b.bus.is_connected()
    })
    .await;
    redis.resume();
    until_back(&a, &b, &channel).await;
}

/// Behind a name that moves to the new primary, connections to the old one stay. It takes publications
/// and hands them to nobody elsewhere, and a canary over it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_becomes_a_replica() {
    let redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, b) = pair(&redis, &channel).await;
    b.forget();
    cli(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    until("both sides notice", || {
        b.was_unsure(Unsure::Disconnected) && !a.bus.is_connected() && !b.bus.is_connected()
    })
    .await;
    cli(&redis, &["REPLICAOF", "NO", "ONE"]);
    until_live(&a, &b, &channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_are_thrown_out() {
    let redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, b) = pair(&redis, &channel).await;
    let many: Vec<Channel> = (0..5000).map(|n| topic(&n.to_string())).collect();
    b.subscribe(&many).await;
    b.forget();
    cli(&redis, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    until_back(&a, &b, &channel).await;
    for channel in &many {
        a.publish(channel, "still there?");
    }
    until("every channel is heard again", || {
        b.inbox.heard().copies.iter().filter(|(_, copy)| copy == "still there?").count() == many.len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_comes_later_than_the_node() {
    let mut redis = Redis::start().await.unwrap();
    redis.kill9();
    let (a, b) = (Node::new(redis_bus(&redis.url())), Node::new(redis_bus(&redis.url())));
    let channel = topic("t");
    b.bus.subscribe(std::slice::from_ref(&channel));
    until("it is said", || b.was_unsure(Unsure::Disconnected)).await;
    redis.start_again().await.unwrap();
    until_back(&a, &b, &channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_inbox_that_is_too_slow() {
    let redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, slow) = pair(&redis, &channel).await;
    // That Redis has sent it all does not prove that the connection has read it all: hence several rounds.
    for round in 1.. {
        slow.inbox.shut();
        flood(&redis, "draftwire:topic:t", 30_000);
        until("all is sent", || {
            cli(&redis, &["CLIENT", "LIST", "TYPE", "pubsub"])
                .lines()
                .all(|client| client.contains(" omem=0 "))
        })
        .await;
        slow.inbox.open();
        until_live(&a, &slow, &channel).await;
        if slow.was_unsure(Unsure::Lagged) {
            break;
        }
        assert!(round < 20, "it never lagged");
    }
    assert!(!slow.was_unsure(Unsure::Disconnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_panics() {
    let redis = Redis::start().await.unwrap();
    let channel = topic("t");
    let (a, b) = pair(&redis, &channel).await;
    b.forget();
    a.publish(&channel, "panic");
    until_back(&a, &b, &channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_wants_a_password() {
    let redis = Redis::start().await.unwrap();
    cli(&redis, &["ACL", "SETUSER", "app", "on", ">secret", "allchannels", "+@all"]);
    cli(&redis, &["ACL", "SETUSER", "default", "-@pubsub"]);
    let url = format!("redis://app:secret@127.0.0.1:{}", redis.port());
    let node = Node::connected(redis_bus(&url)).await;
    let channel = topic("t");
    node.subscribe(std::slice::from_ref(&channel)).await;
    until_live(&node, &node, &channel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_are_refused_for_a_while() {
    let redis = Redis::start().await.unwrap();
    let (a, b) =
        (Node::connected(redis_bus(&redis.url())).await, Node::connected(redis_bus(&redis.url())).await);
    cli(&redis, &["ACL", "SETUSER", "default", "resetchannels", "&draftwire:topic:allowed"]);
    b.bus.subscribe(&[topic("allowed"), topic("forbidden")]);
    until_live(&a, &b, &topic("allowed")).await;
    assert_eq!(b.inbox.heard().subscribed, [topic("allowed")]);
    cli(&redis, &["ACL", "SETUSER", "default", "allchannels"]);
    until_live(&a, &b, &topic("forbidden")).await;
    assert!(b.inbox.heard().subscribed.contains(&topic("forbidden")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_that_share_a_redis() {
    let redis = Redis::start().await.unwrap();
    let named = |prefix: &str| RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new(redis.url()) };
    let mine = Node::connected(RedisBus::new(named("mine")).unwrap()).await;
    let theirs = Node::connected(RedisBus::new(named("mine:too")).unwrap()).await;
    let channel = topic("t");
    mine.subscribe(std::slice::from_ref(&channel)).await;
    theirs.subscribe(std::slice::from_ref(&channel)).await;
    mine.publish(&channel, "mine");
    theirs.publish(&channel, "theirs");
    until("each has heard", || mine.has_heard(&channel, "mine") && theirs.has_heard(&channel, "theirs"))
        .await;
    assert_eq!((mine.copies(&channel).len(), theirs.copies(&channel).len()), (1, 1));
}
