//! What is bounded, and what becomes of an application that is slow or goes away.

use std::collections::BTreeSet;

use draftwire_client::{
    COMMANDS_MAX, DRAFT_CHANGES_MAX, DraftChange, NewDraft, NewEvent, TOPIC_ITEMS_MAX, TopicItem,
};
use futures_util::FutureExt;
use serde_json::json;

use super::{builder, in_time};
use crate::{
    failing_store::FailingStore,
    harness::{Disk, Server, service},
    history::history,
};

/// Publishes this many events to the topic `t`.
async fn publish_many(server: &Server, events: usize) {
    for from in (0..events).step_by(1000) {
        let lines: String =
            (from..events.min(from + 1000)).map(|n| format!("{{\"event\":\"E\",\"data\":{n}}}\n")).collect();
        let ndjson = [("content-type", "application/x-ndjson")];
        let answer = server.call(&service(), "POST", "/v1/topics/t/events", &ndjson, &lines).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
}

/// An application that does not take a topic's events holds up nothing else, and gets all of them when it does.
#[tokio::test]
async fn a_topic_that_is_not_taken_waits_at_the_server() {
    let server = Server::start().await;
    let client = builder(&server.socket_url(), "alice").connect().await.unwrap();
    let mut slow = client.topic("t").subscribe().await.unwrap();
    let mut other = client.topic("other").subscribe().await.unwrap();
    let events = 3 * TOPIC_ITEMS_MAX;
    publish_many(&server, events).await;
    for n in 1..=3 {
        server.publish("other", "E", json!(n)).await;
        let item = in_time("an event of the other topic", other.next()).await.unwrap();
        assert!(matches!(&item, TopicItem::Event(event) if event.seq == n), "{item:?}");
    }
    // What has come is less than what was published: the client has left the topic, and lets go what still comes.
    let mut taken = 0;
    while let Some(item) = slow.next().now_or_never() {
        taken += u64::from(matches!(item.unwrap(), TopicItem::Event(_)));
    }
    let mut seen = taken;
    while seen < events as u64 {
        match in_time("the next event", slow.next()).await.unwrap() {
            TopicItem::Event(event) => {
                seen += 1;
                assert_eq!((event.seq, event.data.parse::<u64>().unwrap()), (seen, seen - 1));
            }
            TopicItem::Synced => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(taken <= TOPIC_ITEMS_MAX as u64, "{taken} events were kept");
    server.stop().await;
}

#[tokio::test]
async fn commands_beyond_the_bound_are_not_taken() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[("COMMANDS_PER_SECOND", "100000")]).await;
    let client = builder(&server.socket_url(), "alice").connect().await.unwrap();
    store.set_down(true);
    let mut waiting: Vec<_> = (0..COMMANDS_MAX + 10)
        .map(|n| {
            let client = client.clone();
            let publish = async move { client.publish("t", NewEvent::new("E").data(&n).unwrap()).await };
            // The budget of this task is not for so many at once.
            Box::pin(tokio::task::unconstrained(publish))
        })
        .collect();
    assert!(waiting.iter_mut().all(|publish| publish.now_or_never().is_none()));
    // Those that were taken stay with the client; those that wait for room go with their futures.
    drop(waiting);
    store.set_down(false);
    in_time("the answers", client.flush()).await.unwrap();
    let head = history(&server, "?limit=1").await.json["head"].as_u64();
    assert_eq!(head, Some(COMMANDS_MAX as u64));
    server.stop().await;
}

#[tokio::test]
async fn changes_of_drafts_that_nobody_takes_end_in_a_reset() {
    let server = Server::with(&[("COMMANDS_PER_SECOND", "100000")]).await;
    let client = builder(&server.socket_url(), "alice").connect().await.unwrap();
    let drafts = client.drafts();
    drafts.ready().await.unwrap();
    let mut changes = drafts.changes();
    let created = drafts.create(NewDraft::new(&json!({ "n": 0 })).unwrap().id("d")).await.unwrap();
    let edits = DRAFT_CHANGES_MAX as u64 + 10;
    // Each is made on the version that the ones before it will make.
    let patches: Vec<_> = (1..=edits).map(|n| json!({ "n": n })).collect();
    let edits = patches.iter().zip(created.version..);
    let edits = edits.map(|(patch, version)| drafts.update("d", version, patch));
    for answer in in_time("the answers", futures_util::future::join_all(edits)).await {
        answer.unwrap();
    }
    let last = created.version + patches.len() as u64;
    let reached = |replica: &draftwire_client::Replica| replica.drafts()["d"].version == last;
    in_time("the last event", drafts.wait_for(reached)).await.unwrap();
    assert!(matches!(in_time("a change", changes.next()).await, Ok(DraftChange::Reset)));
    assert!(matches!(in_time("a change", changes.next()).await, Ok(DraftChange::Updated { .. })));
    server.stop().await;
}

/// Waits until a watcher of the room, who has seen these devices so far, sees others.
async fn are_present(room: &mut draftwire_client::Topic, present: &mut BTreeSet<String>, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|device| (*device).to_owned()).collect();
    loop {
        match in_time("who is present", room.next()).await.unwrap() {
            TopicItem::Presence(presence) => {
                *present = presence.members.unwrap().into_iter().map(|member| member.device).collect();
            }
            TopicItem::Join(change) => {
                present.insert(change.member.device);
                assert_eq!(change.devices, present.len() as u64);
            }
            TopicItem::Leave(change) => {
                present.remove(&change.member.device);
                assert_eq!(change.devices, present.len() as u64);
            }
            _ => {}
        }
        if *present == expected {
            return;
        }
    }
}

/// A client lives as long as anything of it is held; a topic is followed as long as it is.
#[tokio::test]
async fn what_an_application_drops_ends() {
    let server = Server::start().await;
    let connect =
        async |device: &str| builder(&server.socket_url(), "alice").device(device).connect().await.unwrap();
    let watcher = connect("watcher").await;
    let mut present = BTreeSet::new();
    let mut room = watcher.topic("t").presence().subscribe().await.unwrap();
    are_present(&mut room, &mut present, &["watcher"]).await;
    let (one, two) = (connect("one").await, connect("two").await);
    let topic = one.topic("t").presence().subscribe().await.unwrap();
    let other = two.topic("t").presence().subscribe().await.unwrap();
    are_present(&mut room, &mut present, &["watcher", "one", "two"]).await;
    // The handles of the client are gone, but not the topic.
    drop(one);
    drop(other);
    are_present(&mut room, &mut present, &["watcher", "one"]).await;
    drop(topic);
    are_present(&mut room, &mut present, &["watcher"]).await;
    // A topic that was asked for and given up is not followed.
    let asked: Box<dyn Future<Output = _> + Send> = Box::new(two.topic("t").presence().subscribe());
    let mut asked = Box::into_pin(asked);
    assert!(asked.as_mut().now_or_never().is_none());
    drop(asked);
    let again = in_time("the answer", two.topic("t").subscribe()).await.unwrap();
    server.publish("t", "E", json!(1)).await;
    loop {
        match in_time("the event", room.next()).await.unwrap() {
            TopicItem::Event(_) => break,
            TopicItem::Join(change) => assert_ne!(change.member.device, "two"),
            _ => {}
        }
    }
    drop(again);
    server.stop().await;
}
