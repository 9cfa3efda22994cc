//! `draftwire cluster`, `connections` and `streams`.

use serde_json::json;
use testkit::{token, wait};

use super::{Line, draftwire};
use crate::{DEADLINE, harness::Server};

fn operator(server: &Server, arguments: &str) -> Line {
    let line = draftwire(&format!("http://{}", server.addr), arguments);
    line.token(&token::scoped("operator", "admin admin:payload"))
}

#[tokio::test]
async fn operators_ask_in_a_shell_what_they_ask_over_http() {
    let server = Server::start().await;
    let (_phone, _) = server.connect("alice", "device=phone").await;
    let (_tv, _) = server.connect("bob", "device=tv").await;
    server.publish("match:1", "GOAL", json!({ "minute": 7 })).await;

    let cluster = wait::until("all nodes are known", DEADLINE, || async {
        let cluster = operator(&server, "cluster --json").run("").await.done();
        if cluster[0]["complete"] == true { Ok(cluster) } else { Err(cluster[0].to_string()) }
    })
    .await;
    assert_eq!((&cluster[0]["node"], &cluster[0]["nodes"][0]["node"]), (&json!("n1"), &json!("n1")));
    let all = operator(&server, "connections --json").run("").await.done();
    assert_eq!(all.len(), 2);
    let of_alice = operator(&server, "connections --user alice --json").run("").await.done();
    assert_eq!((of_alice.len(), &of_alice[0]["device"]), (1, &json!("phone")));
    let stream = operator(&server, "streams topic:match:1 --payload --json").run("").await.done();
    assert_eq!(
        (&stream[0]["head"], &stream[0]["newest"][0]["payload"]),
        (&json!(1), &json!({ "minute": 7 }))
    );

    for (arguments, words) in [
        ("cluster", ["NODE", "n1", "CONNECTIONS"]),
        ("connections", ["CONNECTION", "phone", "websocket"]),
        ("streams topic:match:1", ["head: 1", "SEQ", "GOAL"]),
    ] {
        let shown = operator(&server, arguments).shown().await;
        assert!(words.iter().all(|word| shown.contains(word)), "{arguments}: {shown}");
    }

    let line = draftwire(&format!("http://{}", server.addr), "cluster");
    line.token(&token::good("alice")).run("").await.failed(1, "forbidden: ");
    operator(&server, "streams nothing").run("").await.failed(2, "stream must be");
    draftwire(&format!("http://{}", server.addr), "cluster").run("").await.failed(2, "no token");
}
