//! Events of topics, published by devices and by backends.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{Publisher, Target, device::stream_of, publisher::Form};
use tokio::time::sleep;

use crate::{
    check::history::{Content, Follower, Outcome, Stored, StreamHistory, What},
    cluster::{Place, topic_log},
    users::{
        fleet::{Fleet, Member},
        ledger::Ledger,
    },
};

/// The type of every event that is published.
const EVENT: &str = "CHANGE";

/// The device of requests over HTTP: their origin.
const BACKEND: &str = "backend";

/// How long a request is repeated that is not answered, or answered to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause before the first repetition; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause between repetitions.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A topic that is published to, and that every device follows.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) ledger: Ledger,
}

impl Topic {
    /// Publishes from a device.
    pub(super) async fn publish(&self, member: &Member) {
        let device = &member.device;
        let (begun, data) = self
            .ledger
            .begin(member.label.clone(), What::Publish, Instant::now(), |id| event(device.name(), id));
        let answer = device.publish(&self.name, EVENT, data).await;
        self.ledger.end(begun, Outcome::of(&answer));
    }

    /// Its history so far, without its changes: the database first, then what was sent. `token` may read it.
    pub(super) async fn look(&self, fleet: &Fleet, place: &Place, token: &str) -> Result<StreamHistory> {
        let event = |event: &Value| (event["seq"].as_u64().unwrap_or_default(), Content::of(event));
        let log = topic_log::read(place, token, &self.name, event).await?;
        let topic_log::Log { epoch, floor, head, events } = log;
        let stored = Stored { epoch, head, floor, log: Some(events), ..Stored::default() };
        let name = stream_of(&self.name);
        let follower = |member: &std::sync::Arc<Member>| Follower {
            device: member.label.clone(),
            saw: member.record.saw(&name),
            ..Follower::default()
        };
        let followers = fleet.users.iter().flat_map(|user| &user.devices).map(follower).collect();
        Ok(StreamHistory { ops: Vec::new(), followers, stored, name })
    }
}

fn event(origin: &str, id: u64) -> (Content, Value) {
    let data = json!({ "op": id });
    (Content::new(EVENT, origin, &Value::Null, &data), data)
}

/// Backends that publish over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Backend(Publisher);

impl Backend {
    /// To the nodes at `urls` (`http://<host>:<port>`) in turn.
    pub(super) fn new(urls: Vec<String>, token: &str) -> Result<Self> {
        Ok(Self(Publisher::new(urls, BACKEND)?.token(token)))
    }

    /// Publishes `count` events to a topic in one request, and repeats that under the same key until it is
    /// decided.
    pub(super) async fn post(&self, topic: &Topic, count: usize) {
        let ledger = &topic.ledger;
        let mut begun = Vec::with_capacity(count);
        let mut events = Vec::with_capacity(count);
        let mut with = None;
        for _ in 0..count {
            let (one, data) = ledger
                .begin(BACKEND.to_owned(), What::Post { with }, Instant::now(), |id| event(BACKEND, id));
            with = with.or(Some(one.id));
            begun.push(one);
            events.push(json!({ "event": EVENT, "data": data }));
        }
        let Some(key) = with.map(|id| format!("change-{id}")) else { return };
        let decided = self.decide(&Target::topic(&topic.name), &events, &key).await;
        for (begun, seq) in begun.into_iter().zip(0..) {
            let outcome = match &decided {
                Outcome::Acked(first) => Outcome::Acked(first.map(|first| first + seq)),
                other => other.clone(),
            };
            ledger.end(begun, outcome);
        }
    }

    /// What becomes of a request; acknowledged, with the number of its first event.
    async fn decide(&self, target: &Target, events: &[Value], key: &str) -> Outcome {
        let form = if events.len() == 1 { Form::One } else { Form::Array };
        let end = Instant::now() + PATIENCE;
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.0.post(target, events, form, key).await {
                Ok(answer) if answer.status == 201 => return Outcome::Acked(answer.json["first"].as_u64()),
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    let code = answer.json["code"].as_str();
                    return Outcome::Refused(code.map_or_else(|| answer.status.to_string(), str::to_owned));
                }
                // A proxy that gives up does not know either whether it was done.
                Ok(_) | Err(_) if Instant::now() >= end => return Outcome::Unknown,
                Ok(_) | Err(_) => {}
            }
            sleep(backoff.mul_f64(rand::random_range(0.5..=1.0))).await;
            backoff = (2 * backoff).min(BACKOFF_MAX);
        }
    }
}
