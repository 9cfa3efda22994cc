//! Two clusters on one Redis, told apart by the number of its database, which its channels do not know.

use std::sync::Arc;

use fanout::bus::{Bus, RedisBus, RedisOptions};
use serde_json::{Value, json};
use testkit::{RawSocket, Redis};

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, ask, service, settings},
};

/// Two nodes over one store, and a follower of the topic `t` who attends it, on each of them.
struct Cluster {
    nodes: [Server; 2],
    followers: [RawSocket; 2],
}

impl Cluster {
    async fn start(redis: &Redis, database: u8, user: &str) -> Self {
        let disk = Disk::new().await;
        let node = async |name: &str| {
            let bus = RedisBus::new(RedisOptions::new(format!("{}/{database}", redis.url()))).unwrap();
            // The names are the same in both, as those of containers are.
            Server::assemble_at(ANY_PORT, &disk, bus as Arc<dyn Bus>, settings(name, &[])).await
        };
        let nodes = [node("n1").await, node("n2").await];
        let follower = async |node: &Server, device: &str| {
            let (mut socket, _) = node.connect_to_topics(user, &format!("device={device}")).await;
            let answer = ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": "t", "presence": true })).await;
            assert_eq!(answer["type"], "ACK", "{answer}");
            socket
        };
        let followers = [follower(&nodes[0], "one").await, follower(&nodes[1], "two").await];
        Self { nodes, followers }
    }

    /// Sends signals from the first node until one of them has reached the second. Returns what came there.
    async fn signal(&mut self, event: &str) -> Vec<Value> {
        let mut came = Vec::new();
        loop {
            let body = json!({ "event": event, "signal": true }).to_string();
            let answer = self.nodes[0].call(&service(), "POST", "/v1/topics/t/events", &[], &body).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            // It may not be subscribed yet.
            while let Ok(message) = self.followers[1].next(std::time::Duration::from_millis(200)).await {
                let reached = message["event"] == event;
                came.push(message);
                if reached {
                    return came;
                }
            }
        }
    }

    /// Waits until the second node's follower sees so many devices.
    async fn sees(&mut self, devices: u64) {
        while self.followers[1].next(DEADLINE).await.unwrap()["payload"]["devices"] != devices {}
    }
}

#[tokio::test]
async fn clusters_on_one_redis_hear_nothing_of_each_other() {
    let redis = Redis::start().await.unwrap();
    let mut production = Cluster::start(&redis, 0, "alice").await;
    production.sees(2).await;
    let mut staging = Cluster::start(&redis, 1, "bob").await;
    staging.sees(2).await;
    // What reached the second node of the one cluster was sent to every subscriber, and what is sent after it
    // comes after it.
    production.signal("SECRET").await;
    let came = staging.signal("OWN").await;
    for message in came {
        assert_ne!(message["event"], "SECRET", "{message}");
        if message["type"] == "JOIN" || message["type"] == "PRESENCE" {
            assert_eq!(
                (&message["payload"]["users"], &message["payload"]["devices"]),
                (&json!(1), &json!(2))
            );
        }
    }
}
