//! The crate `draftwire-client` against real nodes: killed in the middle, behind proxies that cut connections, and
//! compared with the server's own list.

mod another_version;
mod bounds;
mod several_nodes;
mod tls;
mod topic_tokens;
mod unavailable;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use draftwire_client::{
    Builder, Client, Closed, Code, ConnectError, ConnectionState, NewDraft, NewEvent, TopicItem,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use testkit::{Node, NodeOptions, Proxy, Service, token};
use tokio::{sync::watch, time::timeout};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server},
};

/// How many seeds of the model test every run takes.
const SEEDS: u64 = 8;

fn builder(url: &str, user: &str) -> Builder {
    builder_of(url, token::scoped(user, ALL_TOPICS)).drafts()
}

/// With a token, and short pauses.
fn builder_of(url: &str, token: String) -> Builder {
    Client::builder(url).token(token).backoff(Duration::from_millis(20), Duration::from_millis(200))
}

/// A proxy before a node that reads along what the node says.
struct Tap {
    proxy: Proxy,
    text: watch::Receiver<String>,
}

impl Tap {
    async fn before(server: &Server) -> Self {
        let (sender, text) = watch::channel(String::new());
        let sender = Arc::new(sender);
        let proxy = Proxy::start_with(server.addr.port(), move || {
            let sender = Arc::clone(&sender);
            Box::new(move |bytes| {
                sender.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
                bytes.to_vec()
            })
        });
        Self { proxy: proxy.await.unwrap(), text }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port())
    }

    /// Waits until what the node has said fulfils a condition.
    async fn sees(&self, what: &str, condition: impl FnMut(&String) -> bool) {
        in_time(what, self.text.clone().wait_for(condition)).await.unwrap();
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

/// The drafts as a client and as the server have them.
async fn drafts_of(url: &str, user: &str) -> Value {
    let bearer = format!("Bearer {}", token::good(user));
    let headers = [("authorization", bearer.as_str())];
    let answer = testkit::http::request("GET", &format!("{url}/v1/drafts"), &headers, None).await.unwrap();
    let mut body = answer.json.clone();
    let drafts: BTreeMap<String, Value> = body["drafts"]
        .as_array_mut()
        .unwrap()
        .drain(..)
        .map(|draft| (draft["draftId"].as_str().unwrap().to_owned(), draft))
        .collect();
    json!({ "drafts": drafts, "position": format!("{}:{}", body["epoch"].as_str().unwrap(), body["seq"]) })
}

#[tokio::test]
async fn commands_and_events_survive_a_node_that_is_killed() {
    let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("JWT_SECRET", token::SECRET);
    let mut node = Node::start(options).await.unwrap();
    let client = builder(&node.ws_url(), "alice").connect().await.unwrap();
    let mut topic = client.topic("match:1").subscribe().await.unwrap();
    let events: u64 = 60;
    let publisher = client.clone();
    let publishing = tokio::spawn(async move {
        let futures = (0..events).map(|n| publisher.publish("match:1", NewEvent::new("N").data(&n).unwrap()));
        futures_util::future::join_all(futures).await
    });
    let (mut seen, mut kills) = (Vec::new(), 0);
    while (seen.len() as u64) < events {
        match in_time("the next event", topic.next()).await.unwrap() {
            TopicItem::Event(event) => seen.push((event.seq, event.data.parse::<u64>().unwrap())),
            TopicItem::Missed { before } => panic!("events before {before} are gone"),
            _ => {}
        }
        if [5, 30].contains(&seen.len()) && kills < 2 {
            kills += 1;
            node.kill9();
            node.start_again().await.unwrap();
        }
    }
    let expected: Vec<(u64, u64)> = (0..events).map(|n| (n + 1, n)).collect();
    assert_eq!(seen, expected, "each once, in the order in which it was published");
    let answers = in_time("the answers", publishing).await.unwrap();
    let numbers: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().seq.unwrap()).collect();
    assert_eq!(numbers, (1..=events).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_replica_is_the_server_s_list_over_broken_connections() {
    for seed in 0..SEEDS {
        let server = Server::start().await;
        let proxy = Proxy::start(server.addr.port()).await.unwrap();
        let url = format!("http://127.0.0.1:{}", proxy.port());
        let one = builder(&url, "alice").device("one").connect().await.unwrap();
        let two = builder(&format!("http://{}", server.addr), "alice").device("two").connect().await.unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        for step in 0..40 {
            let client = if random.random_bool(0.5) { &one } else { &two };
            let (drafts, id) = (client.drafts(), format!("d{}", random.random_range(0..4)));
            let version = drafts.get(&id).map_or(1, |draft| draft.version);
            // Refusals are a part of it: creating what exists, changing what is gone, conflicts.
            let changing = async {
                match random.random_range(0..5) {
                    0 | 1 => {
                        let draft = NewDraft::new(&json!({ "n": step, "exact": 1.5 })).unwrap().id(&id);
                        drafts.create(draft).await.map(drop)
                    }
                    2 => drafts.delete(&id, None).await.map(drop),
                    n => drafts.update(&id, version, &json!({ "n": step, "m": { "n": n } })).await.map(drop),
                }
            };
            if step % 7 == 3 {
                proxy.cut();
                proxy.restore();
            }
            match in_time("the answer", changing).await {
                Ok(()) | Err(draftwire_client::CommandError::Refused(_)) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        let listed = drafts_of(&format!("http://{}", server.addr), "alice").await;
        for client in [&one, &two] {
            let reached = |replica: &draftwire_client::Replica| json!(replica) == listed;
            let waited = timeout(DEADLINE, client.drafts().wait_for(reached)).await;
            assert!(waited.is_ok(), "seed {seed}: {:?} is not {listed}", client.drafts().replica());
        }
        // What was kept resumes without a new list.
        let kept = one.drafts().replica();
        one.close();
        let later = builder(&url, "alice").device("one").restore(kept).connect().await.unwrap();
        assert_eq!(json!(later.drafts().replica()), listed, "seed {seed}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_topic_goes_on_from_its_cursor_and_is_followed_once() {
    let server = Server::start().await;
    let client = builder(&server.socket_url(), "alice").connect().await.unwrap();
    let mut topic = client.topic("match:1").subscribe().await.unwrap();
    let start = topic.cursor().cloned().unwrap();
    assert!(client.topic("match:1").subscribe().await.is_err(), "followed already");
    for n in 0..3 {
        client.publish("match:1", NewEvent::new("GOAL").data(&n).unwrap()).await.unwrap();
    }
    assert!(matches!(in_time("an event", topic.next()).await, Ok(TopicItem::Event(event)) if event.seq == 1));
    assert_eq!(topic.cursor().unwrap().seq, 1);
    drop(topic);
    let mut again = in_time("the answer", client.topic("match:1").from(start).subscribe()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match in_time("what was missed", again.next()).await.unwrap() {
            TopicItem::Event(event) => seen.push(event.seq),
            TopicItem::Synced => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [1, 2, 3]);
    server.stop().await;
}

#[tokio::test]
async fn refusals_and_ends_are_typed() {
    let server = Server::start().await;
    let url = server.socket_url();
    let client = Client::builder(&url).token(token::good("alice")).drafts().connect().await.unwrap();
    let refused = client.topic("secret").subscribe().await.unwrap_err();
    assert!(
        matches!(&refused, draftwire_client::TopicError::Refused(refusal) if refusal.code == Code::Forbidden),
        "{refused}"
    );
    let drafts = client.drafts();
    let created = drafts.create(NewDraft::new(&json!({ "a": 1 })).unwrap().id("d")).await.unwrap();
    drafts.update("d", created.version, &json!({ "a": 2 })).await.unwrap();
    let conflict =
        drafts.update("d", created.version, &json!({ "a": 3 })).await.unwrap_err().conflict().unwrap();
    assert_eq!(conflict.fields, ["/a"]);
    assert_eq!(conflict.draft.unwrap().content.parse::<Value>().unwrap(), json!({ "a": 2 }));
    client.close();
    let closed = client.publish("match:1", NewEvent::new("X")).await;
    assert!(matches!(closed, Err(draftwire_client::CommandError::Closed(Closed::ByApplication))));

    let wrong = Client::builder(&url).token(token::forged("alice")).connect().await.unwrap_err();
    assert!(matches!(*wrong, ConnectError::Closed { code: Some(4401), .. }), "{wrong}");
    let nowhere = Client::builder("gopher://h").start();
    assert!(matches!(nowhere, Err(ConnectError::Address { .. })));
    server.stop().await;
}

/// A provider that has only a token that has ended is asked again until it has another one.
#[tokio::test]
async fn a_token_that_has_ended_is_not_shown_twice() {
    let server = Server::start().await;
    let asked = watch::Sender::new(0_u32);
    let (counter, old, good) = (asked.clone(), token::expired("alice"), token::good("alice"));
    let provider = move || {
        counter.send_modify(|asked| *asked += 1);
        let token = if *counter.borrow() < 4 { old.clone() } else { good.clone() };
        async move { Ok(token) }
    };
    let tap = Tap::before(&server).await;
    let builder = Client::builder(tap.url()).token_provider(provider);
    let client = builder.backoff(Duration::from_millis(5), Duration::from_millis(20)).start().unwrap();
    let is_connected = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
    in_time("a connection", client.state().wait_for(is_connected)).await.unwrap();
    assert_eq!(*asked.borrow(), 4);
    assert_eq!(tap.text.borrow().matches("HTTP/1.1 101").count(), 2, "the old token was shown once");
    server.stop().await;
}

/// A token that ends is replaced over the open connection, by the provider, which fails at first. That the server
/// warns of the end of the second one shows that it took it.
#[tokio::test]
async fn tokens_are_renewed_over_the_open_connection() {
    let server = Server::with(&[("TOKEN_WARNING", "2s")]).await;
    let asked = watch::Sender::new(0_u32);
    let counter = asked.clone();
    let provider = move || {
        let mut number = 0;
        counter.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        async move {
            match number {
                2 => Err("the first renewal fails".into()),
                // Tokens of one second are the same text.
                number => Ok(token::short("alice", Duration::from_secs(3 + u64::from(number)))),
            }
        }
    };
    let client = Client::builder(server.socket_url()).token_provider(provider).connect().await.unwrap();
    let connection = |client: &Client| match &*client.state().borrow() {
        ConnectionState::Connected { connection_id, .. } => connection_id.clone(),
        other => panic!("{other:?}"),
    };
    let first = connection(&client);
    in_time("the third renewal", asked.subscribe().wait_for(|asked| *asked >= 4)).await.unwrap();
    assert_eq!(connection(&client), first, "the same connection");
    server.stop().await;
}

/// After a disconnection the client comes back with another token; one that has no other stops.
#[tokio::test]
async fn a_disconnected_client_comes_back_with_a_fresh_token() {
    let server = Server::start().await;
    let disconnect = async |body: &str| {
        let admin = token::scoped("operator", "admin");
        let path = "/v1/admin/users/alice/disconnect";
        assert_eq!(server.call(&admin, "POST", path, &[], body).await.status, 202);
    };
    let tokens = [100, 200].map(|seconds| token::short("alice", Duration::from_secs(seconds)));
    let asked = watch::Sender::new(0_u32);
    let counter = asked.clone();
    let provider = move || {
        counter.send_modify(|asked| *asked += 1);
        // The second time it still has the old one.
        let token = tokens[usize::from(*counter.borrow() > 2)].clone();
        async move { Ok(token) }
    };
    let client = Client::builder(server.socket_url()).token_provider(provider).connect().await.unwrap();
    let fixed = Client::builder(server.socket_url()).token(token::good("alice")).connect().await.unwrap();
    let mut states = (client.state(), fixed.state());
    disconnect("").await;
    let closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
    let end = in_time("the end", states.1.wait_for(closed)).await.unwrap().clone();
    let ConnectionState::Closed(Closed::Failed(error)) = end else { panic!("{end:?}") };
    assert!(matches!(*error, ConnectError::Closed { code: Some(4410), .. }), "{error}");
    in_time("another token", asked.subscribe().wait_for(|asked| *asked >= 3)).await.unwrap();
    let connected = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
    in_time("the connection", states.0.wait_for(connected)).await.unwrap();
    // With this code it stays away.
    disconnect(r#"{"code":4403}"#).await;
    let end = in_time("the end", states.0.wait_for(closed)).await.unwrap().clone();
    let ConnectionState::Closed(Closed::Failed(error)) = end else { panic!("{end:?}") };
    assert!(matches!(*error, ConnectError::Closed { code: Some(4403), .. }), "{error}");
    server.stop().await;
}
