//! A client loses its connection before the answer and repeats the command, under the same id, on
//! another node: it is applied once and answered the same.

use serde_json::{Value, json};
use testkit::{Cluster, RawRequest, RawSocket, token};

use crate::{DEADLINE, cluster, turn};

const USER: &str = "u";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_command_is_applied_once() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).start().await.unwrap();
    let observer = cluster.device(USER, "observer", 1).await;
    observer.create("d", json!({ "n": 0 })).await.unwrap();

    let mut version = 1;
    for n in 1..=40 {
        let id = format!("edit{n}");
        let payload = json!({ "draftId": "d", "baseVersion": version, "patch": { "n": n } });
        let command = json!({ "type": "DRAFT_UPDATE", "id": id, "payload": payload });
        let (first, second) = if n % 2 == 0 { (0, 1) } else { (1, 0) };

        // Gone without having read a word; every third time it is not even given time to arrive
        // before the repetition.
        let mut lost = connect(&cluster, first).await;
        lost.send(&command).await.unwrap();
        if n % 3 == 0 {
            drop(lost);
            let answer = ask(&cluster, second, &command).await;
            check(&answer, &mut version, n);
        } else {
            let answer = ask(&cluster, second, &command).await;
            drop(lost);
            check(&answer, &mut version, n);
        }
        let again = ask(&cluster, first, &command).await;
        assert_eq!(again["payload"]["version"], version, "another answer the next time: {again}");
    }

    let stored = cluster.stored_drafts(&token::good(USER)).await.unwrap();
    assert_eq!((stored["d"].version, &stored["d"].content["n"]), (41, &json!(40)));
    cluster.assert_converged(&[&observer], DEADLINE).await;
    assert_eq!(observer.seq(), 41, "an event for each command, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_command_is_refused() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).start().await.unwrap();
    let create = |draft: &str| json!({ "type": "DRAFT_CREATE", "id": "same", "payload": { "draftId": draft, "content": {} } });
    let first = ask(&cluster, 0, &create("a")).await;
    assert_eq!(first["type"], "ACK", "{first}");
    let second = ask(&cluster, 1, &create("b")).await;
    assert_eq!(second["code"], "bad_request", "{second}");
}

async fn connect(cluster: &Cluster, node: usize) -> RawSocket {
    let request = RawRequest::new(format!("{}?device=phone", cluster.nodes[node].ws_url()));
    let mut socket = RawSocket::connect(&request.token(&token::good(USER))).await.unwrap();
    socket.next_of("WELCOME", DEADLINE).await.unwrap();
    socket
}

async fn ask(cluster: &Cluster, node: usize, command: &Value) -> Value {
    let mut socket = connect(cluster, node).await;
    socket.send(command).await.unwrap();
    socket.answer(command["id"].as_str().unwrap(), DEADLINE).await.unwrap()
}

fn check(answer: &Value, version: &mut u64, n: u64) {
    assert_eq!(answer["type"], "ACK", "edit {n}: {answer}");
    *version += 1;
    assert_eq!(answer["payload"]["version"], *version, "edit {n} was applied twice: {answer}");
    assert_eq!(answer["seq"], *version, "edit {n}: {answer}");
}
