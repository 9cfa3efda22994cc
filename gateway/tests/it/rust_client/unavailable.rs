//! Commands that are refused for the moment (`unavailable`).

use std::time::Duration;

use draftwire_client::NewEvent;
use tokio::time::timeout;

use super::{Tap, builder, in_time};
use crate::{
    failing_store::FailingStore,
    harness::{Disk, Server},
};

/// How often a command was refused for the moment, by what the node has said.
fn refusals(text: &str, id: &str) -> usize {
    text.matches(&format!(r#"{{"type":"ERROR","id":"{id}","code":"unavailable""#)).count()
}

#[tokio::test]
async fn new_changes_are_held_back_behind_one_that_was_refused_for_the_moment() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let tap = Tap::before(&server).await;
    // The pause lasts for the whole test; only another connection ends it.
    let pause = Duration::from_secs(3600);
    let client = builder(&tap.url(), "alice").retry_pause(pause, pause).connect().await.unwrap();
    store.set_down(true);
    let publish = |key: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.publish("t", NewEvent::new("E").key(key)).await })
    };
    let first = publish("first");
    tap.sees("the first refusal", |text| refusals(text, "first") == 1).await;
    // Signals have no part in it. That this one is answered says that the refusal has been read before.
    client.signal("t", NewEvent::new("S")).await.unwrap();
    let second = publish("second");
    tokio::task::yield_now().await;
    client.signal("t", NewEvent::new("S")).await.unwrap();
    assert_eq!(refusals(&tap.text.borrow(), "second"), 0, "it is not sent, not even to be refused");

    store.set_down(false);
    let mut answers = std::pin::pin!(futures_util::future::join(first, second));
    let (first, second) = loop {
        // The node may not have seen yet that the store is back.
        let refused = refusals(&tap.text.borrow(), "first");
        tap.proxy.cut();
        tap.proxy.restore();
        tokio::select! {
            answers = &mut answers => break answers,
            () = tap.sees("an answer", |text| refusals(text, "first") > refused) => {}
        }
    };
    let numbers = [first, second].map(|answer| answer.unwrap().unwrap().seq);
    assert_eq!(numbers, [Some(1), Some(2)]);
    server.stop().await;
}

/// What was on its way together is repeated together, in its order.
#[tokio::test]
async fn changes_that_were_refused_together_keep_their_order() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let client = builder(&server.socket_url(), "alice").connect().await.unwrap();
    store.set_down(true);
    let changes = (0..40).map(|_| client.publish("t", NewEvent::new("E")));
    let changing = futures_util::future::join_all(changes);
    tokio::pin!(changing);
    let waiting = timeout(Duration::from_millis(300), &mut changing).await;
    assert!(waiting.is_err(), "while the store is down, nothing is answered");
    store.set_down(false);
    let answers = in_time("the answers", changing).await;
    let numbers: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().seq.unwrap()).collect();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    server.stop().await;
}
