//! A Redis user with rights of its own: what it lacks is said in the log.

use std::process::Command;

use testkit::{Node, NodeOptions, Postgres, Redis, wait};

use crate::DEADLINE;

/// Sends a command as the default user, who may do anything.
fn cli(redis: &Redis, command: &[&str]) {
    let output =
        Command::new("redis-cli").args(["-p", &redis.port().to_string()]).args(command).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "OK", "{command:?}");
}

async fn logged(node: &Node, sentence: &str) {
    wait::until(sentence, DEADLINE, || async {
        let log = node.log().unwrap();
        if log.contains(sentence) { Ok(()) } else { Err(log) }
    })
    .await;
}

async fn trusted(node: &Node, expected: f64) {
    wait::until("the bus to be as expected", DEADLINE, || async {
        match node.metric("draftwire_bus_trusted", &[]).await {
            Ok(trusted) if trusted == expected => Ok(()),
            other => Err(format!("{other:?}: {}", node.log().unwrap())),
        }
    })
    .await;
}

#[tokio::test]
async fn what_redis_refuses_is_said_with_what_helps() {
    let (postgres, redis) = (Postgres::start_quick().await.unwrap(), Redis::start().await.unwrap());
    let page = include_str!("../../../docs/operations.md");
    let user = page.lines().find(|line| line.starts_with("ACL SETUSER draftwire ")).unwrap();
    let user = user.replace("PASSWORD", "hunter2");
    cli(&redis, &user.split(' ').collect::<Vec<_>>());
    let mut options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"));
    options.database_url = Some(postgres.url("postgres"));
    options.redis_url = Some(format!("redis://draftwire:hunter2@127.0.0.1:{}", redis.port()));
    let node = Node::start(options.clone()).await.unwrap();
    trusted(&node, 1.0).await;
    assert!(!node.log().unwrap().contains("refused"), "{}", node.log().unwrap());

    let hint = "its user lacks a right; operations.md, Redis rights, has the list";
    cli(&redis, &["ACL", "SETUSER", "draftwire", "-spublish"]);
    // The canary is published too.
    logged(&node, &format!("Redis refused copies: {hint}")).await;
    logged(&node, "NOPERM").await;
    trusted(&node, 0.0).await;
    cli(&redis, &["ACL", "SETUSER", "draftwire", "+spublish"]);
    trusted(&node, 1.0).await;
    drop(node);

    cli(&redis, &["ACL", "SETUSER", "draftwire", "resetchannels"]);
    let node = Node::start(options.clone()).await.unwrap();
    logged(&node, &format!("Redis refused subscriptions; trying again: {hint}")).await;
    drop(node);

    options.redis_url = Some(format!("redis://draftwire:wrong@127.0.0.1:{}", redis.port()));
    let node = Node::start(options).await.unwrap();
    logged(&node, "WRONGPASS").await;
    assert!(!node.log().unwrap().contains("hunter2"));
}
