//! Coming back with a cursor.

use serde_json::{Value, json};
use testkit::RawSocket;

use crate::{
    DEADLINE,
    harness::{Disk, Server, ask, create, subscribe},
};

/// What comes up to and including `SYNCED`: the numbers of the events, and where it says one is.
async fn missed(socket: &mut RawSocket) -> (Vec<u64>, u64) {
    let mut seqs = Vec::new();
    loop {
        let message = socket.next(DEADLINE).await.unwrap();
        match message["type"].as_str().unwrap() {
            "SYNCED" => {
                assert_eq!(message["stream"], "user");
                return (seqs, message["seq"].as_u64().unwrap());
            }
            "DRAFT_CREATED" => seqs.push(message["seq"].as_u64().unwrap()),
            other => panic!("{other} came before SYNCED: {message}"),
        }
    }
}

/// `SNAPSHOT`, then `SYNCED` at the same position: the position and the ids of the drafts.
async fn snapshot(socket: &mut RawSocket) -> (Value, u64, Vec<String>) {
    let snapshot = socket.next(DEADLINE).await.unwrap();
    assert_eq!(snapshot["type"], "SNAPSHOT", "{snapshot}");
    assert_eq!(snapshot["stream"], "user");
    let synced = socket.next(DEADLINE).await.unwrap();
    assert_eq!((&synced["type"], &synced["seq"]), (&json!("SYNCED"), &snapshot["seq"]));
    let drafts = snapshot["payload"]["drafts"].as_array().unwrap();
    let ids = drafts.iter().map(|draft| draft["draftId"].as_str().unwrap().to_owned()).collect();
    (snapshot["epoch"].clone(), snapshot["seq"].as_u64().unwrap(), ids)
}

#[tokio::test]
async fn what_was_missed_comes_once_then_synced_then_live() {
    let server = Server::start().await;
    let (mut writer, welcome) = server.connect("alice", "device=a").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    for n in 1..=5 {
        create(&mut writer, &format!("d{n}"), json!({ "n": n })).await;
    }
    let (mut back, welcome) = server.connect("alice", &format!("device=b&cursor={epoch}:2")).await;
    assert_eq!(welcome["seq"], 5);
    assert_eq!(missed(&mut back).await, (vec![3, 4, 5], 5));
    create(&mut writer, "d6", json!({})).await;
    let live = back.next(DEADLINE).await.unwrap();
    assert_eq!(
        (&live["type"], &live["seq"], &live["origin"]),
        (&json!("DRAFT_CREATED"), &json!(6), &json!("a"))
    );
}

#[tokio::test]
async fn a_long_absence_is_read_from_the_log() {
    let server = Server::with(&[("RECENT_EVENTS_MAX", "3"), ("COMMANDS_PER_SECOND", "10000")]).await;
    let (mut writer, welcome) = server.connect("alice", "device=a").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    create(&mut writer, "d", json!({ "n": 0 })).await;
    for n in 1..=250 {
        let payload = json!({ "draftId": "d", "baseVersion": n, "patch": { "n": n } });
        assert_eq!(ask(&mut writer, "DRAFT_UPDATE", &format!("u{n}"), payload).await["type"], "ACK");
    }
    let (mut back, _) = server.connect("alice", &format!("device=b&cursor={epoch}:1")).await;
    for seq in 2..=251 {
        assert_eq!(back.next(DEADLINE).await.unwrap()["seq"], seq);
    }
    assert_eq!(missed(&mut back).await, (vec![], 251));
}

#[tokio::test]
async fn a_cursor_at_the_head_is_synced_at_once() {
    let server = Server::start().await;
    let (mut writer, welcome) = server.connect("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    // An empty stream has a position too.
    let (mut empty, welcome) = server.connect("alice", &format!("cursor={epoch}:0")).await;
    assert_eq!(welcome["seq"], 0);
    assert_eq!(missed(&mut empty).await, (vec![], 0));
    create(&mut writer, "d1", json!({})).await;
    assert_eq!(empty.next(DEADLINE).await.unwrap()["seq"], 1);
    let (mut back, _) = server.connect("alice", &format!("cursor={epoch}:1")).await;
    assert_eq!(missed(&mut back).await, (vec![], 1));
}

#[tokio::test]
async fn without_a_cursor_events_follow_from_where_welcome_stands() {
    let server = Server::start().await;
    let (mut writer, _) = server.connect("alice", "").await;
    create(&mut writer, "d1", json!({})).await;
    let (mut fresh, welcome) = server.connect("alice", "").await;
    assert_eq!(welcome["seq"], 1);
    create(&mut writer, "d2", json!({})).await;
    let first = fresh.next(DEADLINE).await.unwrap();
    assert_eq!((&first["type"], &first["seq"]), (&json!("DRAFT_CREATED"), &json!(2)));
    // The list and the events meet: what it holds is what stands at its seq.
    let list = ask(&mut fresh, "DRAFT_LIST", "l", json!({})).await;
    assert_eq!(list["payload"]["seq"], 2);
    assert_eq!(list["payload"]["drafts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_cursor_that_means_nothing_here_gets_the_state_and_then_goes_on() {
    let server = Server::start().await;
    let (mut writer, welcome) = server.connect("alice", "device=w").await;
    let epoch = welcome["epoch"].clone();
    create(&mut writer, "d1", json!({})).await;
    create(&mut writer, "d2", json!({})).await;
    let beyond = format!("{}:9", epoch.as_str().unwrap());
    for (cursor, added) in [("another:2", "d3"), (beyond.as_str(), "d4"), ("another:0", "d5")] {
        let (mut back, _) = server.connect("alice", &format!("cursor={cursor}")).await;
        let (at_epoch, seq, ids) = snapshot(&mut back).await;
        assert_eq!(at_epoch, epoch, "{cursor}");
        assert_eq!(ids.len() as u64, seq, "{cursor}: one draft per event so far");
        let new = create(&mut writer, added, json!({})).await;
        assert_eq!(new, seq + 1);
        assert_eq!(back.next(DEADLINE).await.unwrap()["seq"], new, "{cursor}");
    }
}

/// Removes the first three events, as retention does.
const RETENTION: &str = "DELETE FROM events WHERE stream = 'user:alice' AND seq <= 3;
    UPDATE streams SET floor = 3 WHERE name = 'user:alice'";

#[tokio::test]
async fn a_cursor_behind_the_retained_log_gets_the_state_and_then_goes_on() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &[]).await;
    let (mut writer, welcome) = server.connect("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    for n in 1..=5 {
        create(&mut writer, &format!("d{n}"), json!({})).await;
    }
    disk.sql(RETENTION).await;
    // A node that has not seen the stream before, and so has nothing of it in memory.
    let other = Server::on(&disk, &[]).await;
    let (mut back, _) = other.connect("alice", &format!("cursor={epoch}:2")).await;
    let (_, seq, ids) = snapshot(&mut back).await;
    assert_eq!((seq, ids.len()), (5, 5));
    let (mut at_the_floor, _) = other.connect("alice", &format!("cursor={epoch}:3")).await;
    assert_eq!(missed(&mut at_the_floor).await, (vec![4, 5], 5));
    let (mut here, _) = other.connect("alice", "").await;
    create(&mut here, "d6", json!({})).await;
    for socket in [&mut back, &mut at_the_floor] {
        assert_eq!(socket.next(DEADLINE).await.unwrap()["seq"], 6);
    }
}

#[tokio::test]
async fn a_log_that_was_cut_behind_the_nodes_back_is_noticed_by_the_reader() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &[("RECENT_EVENTS_MAX", "1")]).await;
    let (mut writer, welcome) = server.connect("alice", "").await;
    let epoch = welcome["epoch"].as_str().unwrap().to_owned();
    // More than memory keeps at the least, so that the first ones are only in the log.
    for n in 1..=19 {
        create(&mut writer, &format!("d{n}"), json!({})).await;
    }
    disk.sql(RETENTION).await;
    let (mut back, _) = server.connect("alice", &format!("cursor={epoch}:1")).await;
    let (_, seq, ids) = snapshot(&mut back).await;
    assert_eq!((seq, ids.len()), (19, 19));
    create(&mut writer, "d20", json!({})).await;
    assert_eq!(back.next(DEADLINE).await.unwrap()["seq"], 20);
}

#[tokio::test]
async fn a_new_history_resets_those_that_are_connected() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &[("SWEEP_INTERVAL", "50ms"), ("SWEEP_INTERVAL_UNSURE", "50ms")]).await;
    let (mut writer, welcome) = server.connect("alice", "").await;
    let old = welcome["epoch"].clone();
    create(&mut writer, "d1", json!({})).await;
    create(&mut writer, "d2", json!({})).await;
    // A backup is restored: one event is lost, and the history has another name.
    disk.sql(
        "BEGIN; DELETE FROM events WHERE seq = 2; DELETE FROM drafts WHERE draft_id = 'd2';
         UPDATE streams SET head = 1; UPDATE meta SET value = 'restored' WHERE key = 'epoch'; COMMIT",
    )
    .await;
    // Everybody follows this stream too; it has no state to send.
    let all = writer.next(DEADLINE).await.unwrap();
    assert_eq!(
        all,
        json!({"type": "SYNCED", "stream": "all", "epoch": "restored", "seq": 0, "missedBefore": 1})
    );
    let all = writer.next(DEADLINE).await.unwrap();
    assert_eq!(all, json!({"type": "SYNCED", "stream": "all", "seq": 0}), "nothing else of it was left");
    let (epoch, seq, ids) = snapshot(&mut writer).await;
    assert_ne!(epoch, old);
    assert_eq!((epoch, seq, ids), (json!("restored"), 1, vec!["d1".to_owned()]));
    assert_eq!(create(&mut writer, "d3", json!({})).await, 2);
}

#[tokio::test]
async fn a_reset_before_the_announced_head_ends_with_synced_there() {
    let disk = Disk::new().await;
    // Buses of their own: nobody tells the first node what the second commits, so it knows of the event
    // some time before it has it.
    let some = [("SWEEP_INTERVAL", "10m"), ("SWEEP_INTERVAL_UNSURE", "10m"), ("REORDER_WAIT", "300ms")];
    let (first, second) = (Server::on(&disk, &some).await, Server::on(&disk, &some).await);
    let (mut witness, _) = first.connect_to_topics("bob", "").await;
    subscribe(&mut witness, json!({ "topic": "t" })).await;
    second.publish("t", "E", json!(1)).await;
    let (mut socket, _) = first.connect_to_topics("alice", "").await;
    let (epoch, head) = subscribe(&mut socket, json!({ "topic": "t", "cursor": "older:5" })).await;
    assert_eq!(head, 1);
    let moved = socket.next(DEADLINE).await.unwrap();
    assert_eq!((&moved["type"], &moved["epoch"]), (&json!("SYNCED"), &json!(epoch)), "{moved}");
    assert_eq!(moved["missedBefore"], moved["seq"].as_u64().unwrap() + 1, "{moved}");
    // It comes when the node has it, before the reset or after it.
    if moved["seq"] == 0 {
        assert_eq!(socket.next(DEADLINE).await.unwrap()["seq"], 1);
    }
    let synced = socket.next(DEADLINE).await.unwrap();
    assert_eq!(synced, json!({ "type": "SYNCED", "stream": "topic:t", "seq": head }));
}
