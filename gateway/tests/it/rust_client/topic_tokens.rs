//! Topics that are followed with a token of their own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::time::unix_ms;
use draftwire_client::{BoxError, Code, TopicError, TopicItem};
use serde_json::json;
use testkit::{Proxy, token};
use tokio::sync::watch;

use super::{Tap, in_time};
use crate::harness::Server;

/// A token of the topic for `lifetime`; tokens count in whole seconds.
fn of_topic(topic: &str, lifetime: Duration) -> String {
    token::sign(&json!({ "topic": topic, "exp": unix_ms() / 1000 + lifetime.as_secs() }), token::SECRET)
}

/// Gives the tokens of a list, one after the other, the last one again and again, and counts how often it was asked.
fn provider(
    tokens: Vec<String>,
) -> (impl Fn() -> std::future::Ready<Result<String, BoxError>>, watch::Receiver<usize>) {
    let (asked, counter) = watch::channel(0);
    let tokens = Arc::new(Mutex::new(tokens));
    let give = move || {
        asked.send_modify(|asked| *asked += 1);
        let mut tokens = tokens.lock().unwrap();
        let token = if tokens.len() > 1 { tokens.remove(0) } else { tokens[0].clone() };
        std::future::ready(if token.is_empty() { Err("none yet".into()) } else { Ok(token) })
    };
    (give, counter)
}

async fn next_event(topic: &mut draftwire_client::Topic) -> u64 {
    loop {
        match in_time("an event", topic.next()).await.unwrap() {
            TopicItem::Event(event) => return event.seq,
            TopicItem::Synced => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_topic_is_followed_with_a_fresh_token_on_each_connection() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.addr.port()).await.unwrap();
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let client = super::builder_of(&url, token::good("alice")).connect().await.unwrap();
    let refused = client.topic("room:7").subscribe().await.unwrap_err();
    assert!(matches!(&refused, TopicError::Refused(refusal) if refusal.code == Code::Forbidden), "{refused}");

    let hour = Duration::from_secs(3600);
    // The first and the third time, the application has none.
    let tokens = vec![String::new(), of_topic("room:7", hour), String::new(), of_topic("room:7", 2 * hour)];
    let (give, asked) = provider(tokens);
    let topic = client.topic("room:7").token_provider(give);
    let mut topic = in_time("the answer", topic.subscribe()).await.unwrap();
    assert_eq!(*asked.borrow(), 2);
    server.publish("room:7", "E", json!(1)).await;
    assert_eq!(next_event(&mut topic).await, 1);
    proxy.cut();
    server.publish("room:7", "E", json!(2)).await;
    proxy.restore();
    assert_eq!(next_event(&mut topic).await, 2, "nothing is lost meanwhile");
    assert_eq!(*asked.borrow(), 4, "it was asked again, until there was one");
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_a_topic_is_renewed_while_it_is_followed() {
    let server = Server::with(&[("TOKEN_WARNING", "2s")]).await;
    let client = super::builder_of(&server.socket_url(), token::good("alice")).connect().await.unwrap();
    let seconds = |seconds| of_topic("room:7", Duration::from_secs(seconds));
    let (first, forged) = (seconds(3), seconds(3).replace('.', ".x"));
    // The first one again, one that is refused, and one that lasts a little longer, for which a warning comes as well.
    let (give, mut asked) = provider(vec![first.clone(), first, forged, seconds(6), seconds(3600)]);
    let topic = client.topic("room:7").token_provider(give);
    let mut topic = in_time("the answer", topic.subscribe()).await.unwrap();
    in_time("the last token", asked.wait_for(|asked| *asked >= 5)).await.unwrap();
    server.publish("room:7", "E", json!(1)).await;
    assert_eq!(next_event(&mut topic).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_topic_whose_token_was_missing_for_too_long_comes_back_from_its_cursor() {
    let server = Server::start().await;
    let tap = Tap::before(&server).await;
    let client = super::builder_of(&tap.url(), token::good("alice")).connect().await.unwrap();
    let ready = watch::Sender::new(false);
    let (last, waits) = (of_topic("room:7", Duration::from_secs(3600)), ready.subscribe());
    let first = Mutex::new(Some(of_topic("room:7", Duration::from_secs(2))));
    let give = move || {
        let (mut waits, first, last) = (waits.clone(), first.lock().unwrap().take(), last.clone());
        async move {
            if let Some(first) = first {
                return Ok(first);
            }
            waits.wait_for(|ready| *ready).await?;
            Ok(last)
        }
    };
    let topic = client.topic("room:7").token_provider(give);
    let mut topic = in_time("the answer", topic.subscribe()).await.unwrap();
    tap.sees("the end of the topic", |text| text.contains("UNSUBSCRIBED")).await;
    server.publish("room:7", "E", json!(1)).await;
    ready.send_replace(true);
    assert_eq!(next_event(&mut topic).await, 1);
    server.stop().await;
}
