//! The session against a model of the server, over connections that break at any moment.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TOPIC: &str = "t";

/// What a server keeps, and one connection to it.
#[derive(Default)]
struct Server {
    topic: Vec<Value>,
    user: Vec<Value>,
    drafts: BTreeMap<String, Value>,
    remembered: HashMap<String, Value>,
    is_down: bool,
    /// On the connection: refused for the moment and not come again, in order.
    refused: VecDeque<String>,
    sent_user: usize,
    sent_topic: Option<usize>,
    to_client: VecDeque<Value>,
    to_server: VecDeque<String>,
}

impl Server {
    fn connect(&mut self, query: &[(&'static str, String)]) {
        (self.refused, self.to_client, self.to_server) = Default::default();
        self.sent_topic = None;
        let cursor = query.iter().find(|(name, _)| *name == "cursor");
        let cursor = cursor.map(|(_, text)| text.parse::<Cursor>().unwrap());
        let head = self.user.len();
        self.to_client.push_back(json!({ "type": "WELCOME", "payload": { "connectionId": "c", "userId": "u",
            "device": "d", "node": "n", "epoch": "e", "seq": head, "allSeq": 0, "heartbeatMs": 1000,
            "maxMessageBytes": 1000 } }));
        self.sent_user = cursor.as_ref().map_or(head, |cursor| usize::try_from(cursor.seq).unwrap());
        self.pump();
        if cursor.is_some() {
            self.to_client.push_back(json!({ "type": "SYNCED", "stream": "user", "seq": head }));
        }
    }

    /// Sends what the connection has not seen.
    fn pump(&mut self) {
        self.to_client.extend(self.user[self.sent_user..].iter().cloned());
        self.sent_user = self.user.len();
        if let Some(sent) = &mut self.sent_topic {
            self.to_client.extend(self.topic[*sent..].iter().cloned());
            *sent = self.topic.len();
        }
    }

    fn handle(&mut self) {
        let Some(text) = self.to_server.pop_front() else { return };
        let message: Value = serde_json::from_str(&text).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        let payload = &message["payload"];
        let answer = match message["type"].as_str().unwrap() {
            "DRAFT_LIST" if self.is_down => json!({ "type": "ERROR", "code": "unavailable", "message": "" }),
            "DRAFT_LIST" => {
                let drafts: Vec<&Value> = self.drafts.values().collect();
                let body = json!({ "drafts": drafts, "epoch": "e", "seq": self.user.len() });
                json!({ "type": "ACK", "payload": body })
            }
            "SUBSCRIBE" if self.is_down => {
                let refused = json!({ "topic": TOPIC, "code": "unavailable", "message": "" });
                json!({ "type": "ACK", "payload": { "topics": [refused] } })
            }
            "SUBSCRIBE" => {
                let asked = &payload["topics"][0];
                let cursor = asked["cursor"].as_str().map(|text| text.parse::<Cursor>().unwrap());
                let head = self.topic.len();
                let from = cursor.as_ref().map_or(head, |cursor| usize::try_from(cursor.seq).unwrap());
                self.sent_topic = Some(from);
                let at = json!({ "topic": TOPIC, "epoch": "e", "seq": head });
                self.to_client.push_back(json!({ "type": "ACK", "id": id, "payload": { "topics": [at] } }));
                self.pump();
                if cursor.is_some() {
                    self.to_client.push_back(json!({ "type": "SYNCED", "stream": "topic:t", "seq": head }));
                }
                return;
            }
            "UNSUBSCRIBE" => {
                self.sent_topic = None;
                json!({ "type": "ACK" })
            }
            kind => self.change(kind, &id, payload),
        };
        let mut answer = answer;
        answer["id"] = json!(id);
        self.to_client.push_back(answer);
        self.pump();
    }

    fn change(&mut self, kind: &str, id: &str, payload: &Value) -> Value {
        let first = self.refused.front();
        let is_turn = first.is_none_or(|first| first == id) && !self.is_down;
        if !is_turn {
            if !self.refused.iter().any(|refused| refused == id) {
                self.refused.push_back(id.to_owned());
            }
            return json!({ "type": "ERROR", "code": "unavailable", "message": "" });
        }
        if first.is_some() {
            self.refused.pop_front();
        }
        if let Some(answer) = self.remembered.get(id) {
            return answer.clone();
        }
        let answer = self.commit(kind, payload);
        if answer["type"] == "ACK" {
            self.remembered.insert(id.to_owned(), answer.clone());
        }
        answer
    }

    fn commit(&mut self, kind: &str, payload: &Value) -> Value {
        if kind == "PUBLISH" {
            let seq = self.topic.len() + 1;
            self.topic
                .push(json!({ "type": "E", "stream": "topic:t", "seq": seq, "payload": payload["data"] }));
            return json!({ "type": "ACK", "seq": seq });
        }
        let (id, seq) = (payload["draftId"].as_str().unwrap().to_owned(), self.user.len() + 1);
        let version = self.drafts.get(&id).map_or(0, |draft| draft["version"].as_u64().unwrap());
        let event = match (kind, version) {
            ("DRAFT_CREATE", 0) => {
                let draft = json!({ "draftId": id, "version": 1, "kind": "k", "updatedAt": 0,
                    "content": payload["content"] });
                self.drafts.insert(id.clone(), draft.clone());
                json!({ "type": "DRAFT_CREATED", "payload": draft })
            }
            ("DRAFT_UPDATE", 1..) => {
                let draft = self.drafts.get_mut(&id).unwrap();
                draft["version"] = json!(version + 1);
                draft["content"]["n"] = payload["patch"]["n"].clone();
                json!({ "type": "DRAFT_UPDATED", "payload": { "draftId": id, "version": version + 1,
                    "baseVersion": version, "patch": payload["patch"] } })
            }
            ("DRAFT_DELETE", 1..) => {
                self.drafts.remove(&id);
                json!({ "type": "DRAFT_DELETED", "payload": { "draftId": id, "version": version + 1,
                    "baseVersion": version } })
            }
            _ => return json!({ "type": "ERROR", "code": "conflict", "message": "" }),
        };
        let mut event = event;
        event["stream"] = json!("user");
        event["seq"] = json!(seq);
        self.user.push(event);
        json!({ "type": "ACK", "seq": seq, "payload": { "draftId": id, "version": version + 1 } })
    }
}

/// A session, the server, and what the application has seen.
struct World {
    session: Session,
    server: Server,
    submitted: Vec<u64>,
    answered: Vec<String>,
    taken: Vec<u64>,
}

#[derive(Debug, Clone)]
enum Step {
    Publish,
    Draft(u8, u8),
    /// Somebody else's.
    Foreign,
    Serve,
    Deliver,
    Take,
    Disconnect,
    Connect,
    Down(bool),
    Retry,
}

impl World {
    fn new() -> Self {
        let options = SessionOptions {
            device: "d".to_owned(),
            id_prefix: "p".to_owned(),
            replica: Some(Replica::default()),
            all: None,
        };
        let mut session = Session::new(options);
        assert!(session.follow(TOPIC, Wish { cursor: Some(Cursor::new("e", 0)), ..Wish::default() }));
        let (submitted, answered, taken) = Default::default();
        Self { session, server: Server::default(), submitted, answered, taken }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish => {
                let n = self.submitted.len() as u64;
                let publish = json!({ "topic": TOPIC, "event": "E", "data": n });
                self.session.submit("PUBLISH", &publish, None).unwrap();
                self.submitted.push(n);
            }
            Step::Draft(id, what) => {
                let id = format!("d{}", id % 3);
                let (kind, payload) = match what % 3 {
                    0 => ("DRAFT_CREATE", json!({ "draftId": id, "content": { "n": 0 } })),
                    1 => ("DRAFT_UPDATE", json!({ "draftId": id, "baseVersion": 1, "patch": { "n": what } })),
                    _ => ("DRAFT_DELETE", json!({ "draftId": id })),
                };
                self.session.submit(kind, &payload, None).unwrap();
            }
            Step::Foreign => {
                let foreign = json!({ "draftId": "foreign", "content": {}, "patch": { "n": 7 } });
                let kind =
                    if self.server.drafts.contains_key("foreign") { "DRAFT_UPDATE" } else { "DRAFT_CREATE" };
                self.server.commit(kind, &foreign);
                if self.session.phase != Phase::Offline {
                    self.server.pump();
                }
            }
            Step::Serve => self.server.handle(),
            Step::Deliver => {
                if self.session.phase != Phase::Offline
                    && let Some(message) = self.server.to_client.pop_front()
                {
                    self.session.receive(&message.to_string()).unwrap();
                }
            }
            Step::Take => {
                if let Next::Item(TopicItem::Event(event), cursor) = self.session.take(TOPIC) {
                    assert_eq!(cursor, Some(Cursor::new("e", event.seq)));
                    self.taken.push(event.seq);
                }
            }
            Step::Disconnect => self.session.disconnected(),
            Step::Connect => {
                if self.session.phase == Phase::Offline {
                    let query = self.session.query();
                    self.session.connected();
                    self.server.connect(&query);
                }
            }
            Step::Down(is_down) => self.server.is_down = *is_down,
            Step::Retry => {
                if self.session.wants_retry() {
                    self.session.retry();
                }
            }
        }
        while let Some(message) = self.session.next_message() {
            self.server.to_server.push_back(message);
        }
        while let Some(effect) = self.session.next_effect() {
            if let Effect::Answered { id, .. } = effect {
                assert!(!self.answered.contains(&id), "{id} is answered twice");
                self.answered.push(id);
            }
        }
    }

    /// Everything works from here on, until nothing is left to do.
    fn finish(&mut self) {
        self.step(&Step::Down(false));
        self.step(&Step::Connect);
        for _ in 0..10_000 {
            for step in [Step::Serve, Step::Deliver, Step::Take, Step::Retry] {
                self.step(&step);
            }
            let server = &self.server;
            if server.to_server.is_empty() && server.to_client.is_empty() && self.session.pending_len() == 0 {
                break;
            }
        }
        for _ in 0..self.server.topic.len() {
            self.step(&Step::Take);
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Publish),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(id, what)| Step::Draft(id, what)),
        1 => Just(Step::Foreign),
        6 => Just(Step::Serve),
        8 => Just(Step::Deliver),
        3 => Just(Step::Take),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Connect),
        1 => any::<bool>().prop_map(Step::Down),
        2 => Just(Step::Retry),
    ];
    proptest::collection::vec(step, 0..150)
}

proptest! {
    #[test]
    fn nothing_is_lost_repeated_or_out_of_order(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.finish();
        prop_assert_eq!(world.session.pending_len(), 0);
        let published: Vec<u64> =
            world.server.topic.iter().map(|event| event["payload"].as_u64().unwrap()).collect();
        prop_assert_eq!(&published, &world.submitted, "published once, in order");
        let numbers: Vec<u64> = (1..=published.len() as u64).collect();
        prop_assert_eq!(&world.taken, &numbers, "followed without a gap");
        let ours = json!(world.session.replica().unwrap().drafts());
        prop_assert_eq!(ours, json!(world.server.drafts), "the same drafts");
    }
}

#[test]
fn a_topic_that_nobody_takes_waits_at_the_server() {
    let mut world = World::new();
    world.step(&Step::Connect);
    let events = TOPIC_ITEMS_MAX + 500;
    for n in 0..events {
        world.server.commit("PUBLISH", &json!({ "data": n }));
    }
    for _ in 0..2 * events {
        world.step(&Step::Serve);
        world.step(&Step::Deliver);
    }
    assert!(world.server.sent_topic.is_none(), "the client has left the topic");
    let mut most = 0;
    for _ in 0..4 * events {
        [Step::Take, Step::Serve, Step::Deliver].iter().for_each(|step| world.step(step));
        most = most.max(world.server.to_client.len());
    }
    assert_eq!(world.taken, (1..=events as u64).collect::<Vec<_>>());
}

#[test]
fn a_topic_left_and_followed_again_at_once_ends_as_asked_last() {
    let mut world = World::new();
    world.server.commit("PUBLISH", &json!({ "data": 1 }));
    world.step(&Step::Connect);
    world.step(&Step::Deliver);
    world.session.leave(TOPIC);
    assert!(world.session.follow(TOPIC, Wish::default()), "from the head");
    world.finish();
    assert_eq!(world.taken, Vec::<u64>::new(), "the events of the earlier wish are not shown");
    world.server.commit("PUBLISH", &json!({ "data": 2 }));
    world.server.pump();
    world.finish();
    assert_eq!(world.taken, [2]);
}

#[test]
fn gaps_and_repetitions_are_noticed() {
    for seq in [1, 3] {
        let mut world = World::new();
        world.server.user = vec![json!({ "type": "NOTE", "stream": "user", "seq": 1 })];
        world.step(&Step::Connect);
        world.step(&Step::Deliver);
        let event = json!({ "type": "NOTE", "stream": "user", "seq": seq }).to_string();
        let order = Violation::Order { stream: "user".to_owned(), after: 1, got: seq };
        assert_eq!(world.session.receive(&event), Err(order));
    }
}

#[test]
fn another_history_begins_with_its_snapshot() {
    let mut world = World::new();
    world.finish();
    let welcome = json!({ "type": "WELCOME", "payload": { "connectionId": "c", "userId": "u", "device": "d",
        "node": "n", "epoch": "f", "seq": 9, "allSeq": 3, "heartbeatMs": 1000, "maxMessageBytes": 1000 } });
    world.session.connected();
    world.session.receive(&welcome.to_string()).unwrap();
    let cursor =
        |session: &Session| session.query().into_iter().find(|(name, _)| *name == "cursor").unwrap().1;
    assert_eq!(cursor(&world.session), "e:0", "the old position stands until the snapshot is there");
    for stream in ["user", "all"] {
        let event = json!({ "type": "NOTE", "stream": stream, "seq": 1 }).to_string();
        let violation = Violation::Epoch { stream: stream.to_owned(), epoch: "f".to_owned() };
        assert_eq!(world.session.receive(&event), Err(violation));
    }
    let snapshot =
        json!({ "type": "SNAPSHOT", "stream": "user", "epoch": "f", "seq": 9, "payload": { "drafts": [] } });
    world.session.receive(&snapshot.to_string()).unwrap();
    let missed = json!({ "type": "SYNCED", "stream": "all", "epoch": "f", "seq": 3, "missedBefore": 4 });
    world.session.receive(&missed.to_string()).unwrap();
    assert_eq!(cursor(&world.session), "f:9");
    assert_eq!(world.session.all(), Some(&Cursor::new("f", 3)));
}

#[test]
fn commands_longer_than_the_server_takes_are_refused_here() {
    let mut world = World::new();
    let long = json!({ "topic": TOPIC, "event": "E", "data": "x".repeat(1000) });
    let id = world.session.submit("PUBLISH", &long, None).unwrap();
    world.finish();
    assert_eq!(world.answered, [id]);
    assert_eq!(world.server.topic.len(), 0);
}

#[test]
fn what_was_not_asked_for_is_said_and_changes_nothing() {
    let strays = |world: &mut World, message: Value| {
        world.session.receive(&message.to_string()).unwrap();
        let effects = std::iter::from_fn(|| world.session.next_effect());
        effects
            .filter_map(|effect| if let Effect::Stray(stray) = effect { Some(stray) } else { None })
            .collect::<Vec<_>>()
    };
    let event = |seq: u64| json!({ "type": "E", "stream": "topic:t", "seq": seq });
    let of_topic = [Stray::Topic { topic: TOPIC.to_owned(), kind: "E".to_owned() }];
    let mut world = World::new();
    world.step(&Step::Connect);
    world.step(&Step::Deliver);
    assert_eq!(strays(&mut world, event(1)), of_topic, "before the answer");
    world.finish();
    assert_eq!(strays(&mut world, event(1)), [], "followed");
    let reason = json!({ "code": "forbidden", "message": "no" });
    let unsubscribed = json!({ "type": "UNSUBSCRIBED", "stream": "topic:t", "payload": reason });
    assert_eq!(strays(&mut world, unsubscribed), []);
    assert!(matches!(world.session.topic(TOPIC), Some(TopicState::Refused(_))));
    assert_eq!(strays(&mut world, event(2)), of_topic, "after the end");
    let answer = json!({ "type": "ACK", "id": "p-99" });
    assert_eq!(strays(&mut world, answer), [Stray::Answer { id: "p-99".to_owned() }]);
}

#[test]
fn a_refused_command_is_withdrawn_by_its_id() {
    let mut world = World::new();
    world.finish();
    world.step(&Step::Down(true));
    let publish = json!({ "topic": TOPIC, "event": "E", "data": 7 });
    let id = world.session.submit("PUBLISH", &publish, None).unwrap();
    assert!(!world.session.withdraw(&id), "it was not refused");
    for step in [Step::Publish, Step::Serve, Step::Serve, Step::Deliver, Step::Deliver] {
        world.step(&step);
    }
    assert!(world.session.withdraw(&id));
    let ping: Value = serde_json::from_str(&world.session.next_message().unwrap()).unwrap();
    assert_eq!(ping, json!({ "type": "PING", "id": id }));
    world.server.refused.retain(|refused| *refused != id);
    world.finish();
    assert_eq!(world.server.topic.len(), 1, "the one behind it");
}
