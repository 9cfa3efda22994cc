//! The device's topics on its connection: asked for in one command, each answered for itself.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Asker, Link, Pending};
use crate::device::{
    Ack, Refused, Standing, Violation,
    topic::stream_of,
    wire::{Gone, Wire},
};

impl Link {
    /// Subscribes to all topics that are to be, in one command, and leaves those that are to be left.
    pub(super) async fn ask_for_topics(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        self.topics_at = None;
        let (wanted, leaving) = self.shared.change(|state| {
            let wanted = state.replica.topics_in(&Standing::Unasked);
            let subscriptions: Vec<(String, Value)> = wanted
                .into_iter()
                .filter_map(|topic| {
                    let track = state.replica.stream_mut(&topic.stream())?;
                    track.standing = Standing::Asked;
                    Some((topic.name.clone(), topic.subscription(track.cursor())))
                })
                .collect();
            (subscriptions, state.replica.topics_in(&Standing::Leaving))
        });
        if !wanted.is_empty() {
            let (names, subscriptions): (Vec<String>, Vec<Value>) = wanted.into_iter().unzip();
            let id = self.topics_id();
            let message = json!({ "type": "SUBSCRIBE", "id": id, "payload": { "topics": subscriptions } });
            self.ask(wire, id, message, Asker::Subscribe(names)).await?;
        }
        for topic in leaving {
            let asked =
                |pending: &Pending| matches!(&pending.asker, Asker::Unsubscribe(name) if *name == topic.name);
            if self.pending.iter().any(asked) {
                continue;
            }
            let id = self.topics_id();
            let message = json!({ "type": "UNSUBSCRIBE", "id": id, "payload": { "topic": topic.name } });
            self.ask(wire, id, message, Asker::Unsubscribe(topic.name)).await?;
        }
        Ok(())
    }

    fn topics_id(&mut self) -> String {
        self.next_topics += 1;
        format!("t{}", self.next_topics)
    }

    /// Takes the answer to a list of topics: each in its place.
    pub(super) fn subscribed(&mut self, names: &[String], answer: Result<Ack, Refused>) {
        let answers = match answer {
            Ok(ack) => ack.payload["topics"].as_array().cloned().unwrap_or_default(),
            Err(refused) => {
                let each = |name| json!({ "topic": name, "code": refused.code, "message": refused.message });
                names.iter().map(each).collect()
            }
        };
        let fits = |(answer, name): (&Value, &String)| answer["topic"] == name.as_str();
        if answers.len() != names.len() || !answers.iter().zip(names).all(fits) {
            return self.violation(Violation::Malformed { text: format!("{answers:?} to {names:?}") });
        }
        let mut again = false;
        self.shared.change(|state| {
            for (name, answer) in names.iter().zip(&answers) {
                let Some(track) = state.replica.stream_mut(&stream_of(name)) else { continue };
                // Answers may come in another order: it may have been left by now.
                let leaving = match track.standing {
                    Standing::Asked => false,
                    Standing::Leaving => true,
                    _ => continue,
                };
                let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
                match answer["code"].as_str() {
                    None => track.follow(&text("epoch"), answer["seq"].as_u64().unwrap_or(0)),
                    Some("unavailable") => {
                        track.end(Standing::Unasked);
                        again = true;
                    }
                    Some(_) => {
                        let (code, message) = (text("code"), text("message"));
                        track.end(Standing::Refused { code, message, revoked: false });
                    }
                }
                if leaving {
                    track.standing = Standing::Leaving;
                }
            }
        });
        if again {
            self.topics_at = Some(Instant::now() + self.backoff(self.topics_refused));
            self.topics_refused += 1;
        } else {
            self.topics_refused = 0;
        }
    }

    /// Takes the answer to the end of a topic.
    pub(super) fn unsubscribed(&self, name: &str) {
        self.shared.change(|state| {
            // It may have been asked for anew, in the meantime.
            if let Some(track) = state.replica.stream_mut(&stream_of(name)) {
                let again = track.standing == Standing::Unasked;
                track.end(if again { Standing::Unasked } else { Standing::Left });
            }
        });
    }
}
