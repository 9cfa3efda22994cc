//! Keeps what devices are sent, without their code: what they make of it is not asked.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use testkit::device::{Observed, Observer};

use super::history::{Content, Link, Links, Moment, Saw};
use crate::clock;

/// Entries of one run, on all devices together; about 100 bytes each.
pub(super) const RECORDED_MAX: u64 = 5_000_000;

/// The time of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began_us: u64,
}

impl Clock {
    /// Begins now.
    pub(super) fn start() -> Self {
        Self { began_us: clock::now_us() }
    }

    pub(super) fn now(self) -> Moment {
        clock::now_us().saturating_sub(self.began_us)
    }
}

/// How full the record is, shared by all devices.
#[derive(Debug, Default)]
pub(super) struct Room {
    entries: AtomicU64,
    events: AtomicU64,
}

impl Room {
    /// Whether entries had to be left out: there is nothing to judge then.
    pub(super) fn is_exceeded(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > RECORDED_MAX
    }

    /// Events seen so far, on all devices.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.entries.fetch_add(1, Ordering::Relaxed) < RECORDED_MAX
    }
}

/// The record of one device.
#[derive(Debug)]
pub(super) struct Record {
    clock: Clock,
    room: Arc<Room>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    up: bool,
    links: Vec<(Moment, Link)>,
    /// By the stream's name on the wire.
    streams: BTreeMap<String, Vec<(Moment, Saw)>>,
}

impl Record {
    pub(super) fn new(clock: Clock, room: Arc<Room>) -> Arc<Self> {
        Arc::new(Self { clock, room, kept: Mutex::default() })
    }

    /// What tells this record.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let record = Arc::clone(self);
        Arc::new(move |observed| record.observe(observed))
    }

    /// What it has of a stream so far.
    pub(super) fn saw(&self, stream: &str) -> Vec<(Moment, Saw)> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .streams
            .get(stream)
            .cloned()
            .unwrap_or_default()
    }

    /// The device's connections so far.
    pub(super) fn links(&self, device: &str) -> Links {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Links { device: device.to_owned(), links: kept.links.clone() }
    }

    fn observe(&self, observed: &Observed<'_>) {
        let now = self.clock.now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match observed {
            Observed::Ended => {
                // An attempt that failed ends too.
                if std::mem::take(&mut kept.up) && self.room.take() {
                    kept.links.push((now, Link::Down));
                }
            }
            Observed::Message(message) => self.message(&mut kept, now, message),
        }
    }

    fn message(&self, kept: &mut Kept, now: Moment, message: &Value) {
        let payload = &message["payload"];
        match message["type"].as_str().unwrap_or_default() {
            "WELCOME" => {
                kept.up = true;
                if self.room.take() {
                    kept.links.push((now, Link::Up(text(&payload["node"]))));
                }
                if let Some(seq) = payload["seq"].as_u64() {
                    self.follows(kept, now, "user", text(&payload["epoch"]), seq);
                }
            }
            "ACK" => {
                for topic in payload["topics"].as_array().into_iter().flatten() {
                    if let Some((name, seq)) = topic["topic"].as_str().zip(topic["seq"].as_u64()) {
                        let stream = testkit::device::stream_of(name);
                        self.follows(kept, now, &stream, text(&topic["epoch"]), seq);
                    }
                }
            }
            _ => {
                if let Some((stream, saw)) = saw(message) {
                    if matches!(saw, Saw::Event { .. }) {
                        self.room.events.fetch_add(1, Ordering::Relaxed);
                    }
                    self.keep(kept, now, stream, saw);
                }
            }
        }
    }

    /// The first time that a stream is followed is where its events begin; later a cursor does that.
    fn follows(&self, kept: &mut Kept, now: Moment, stream: &str, epoch: Arc<str>, seq: u64) {
        if !kept.streams.contains_key(stream) {
            self.keep(kept, now, stream, Saw::Start { epoch, seq });
        }
    }

    fn keep(&self, kept: &mut Kept, now: Moment, stream: &str, saw: Saw) {
        if self.room.take() {
            kept.streams.entry(stream.to_owned()).or_default().push((now, saw));
        }
    }
}

/// What a message says of a stream; `None` when it moves no follower.
fn saw(message: &Value) -> Option<(&str, Saw)> {
    let stream = message["stream"].as_str()?;
    let seq = message["seq"].as_u64()?;
    let saw = match message["type"].as_str()? {
        "SYNCED" if message.get("missedBefore").is_some() => {
            Saw::Skip { epoch: text(&message["epoch"]), seq }
        }
        "SYNCED" => Saw::Synced { seq },
        "SNAPSHOT" => Saw::Snapshot { epoch: text(&message["epoch"]), seq },
        _ => Saw::Event { seq, content: Content::of(message) },
    };
    Some((stream, saw))
}

fn text(value: &Value) -> Arc<str> {
    value.as_str().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_moves_a_follower_is_kept() {
        let record = Record::new(Clock::start(), Arc::default());
        let tell = record.observer();
        let event = json!({ "type": "CHANGE", "stream": "topic:t", "seq": 8, "origin": "d1", "payload": { "op": 3 } });
        for message in [
            json!({ "type": "WELCOME", "payload": { "node": "n1", "epoch": "e", "seq": 4 } }),
            json!({ "type": "ACK", "id": "t1", "payload": { "topics": [{ "topic": "t", "epoch": "e", "seq": 7 }] } }),
            event.clone(),
            json!({ "type": "SIGNAL", "stream": "topic:t", "payload": {} }),
            json!({ "type": "WELCOME", "payload": { "node": "n2", "epoch": "e", "seq": 5 } }),
            json!({ "type": "SYNCED", "stream": "topic:t", "epoch": "e", "seq": 9, "missedBefore": 10 }),
            json!({ "type": "SYNCED", "stream": "topic:t", "seq": 9 }),
        ] {
            tell(&Observed::Message(&message));
        }
        tell(&Observed::Ended);
        tell(&Observed::Ended);
        let topic: Vec<Saw> = record.saw("topic:t").into_iter().map(|(_, saw)| saw).collect();
        let epoch: Arc<str> = "e".into();
        let content = Content::new("CHANGE", "d1", &Value::Null, &json!({ "op": 3 }));
        assert_eq!(content.op, Some(3));
        let expected = [
            Saw::Start { epoch: Arc::clone(&epoch), seq: 7 },
            Saw::Event { seq: 8, content },
            Saw::Skip { epoch: Arc::clone(&epoch), seq: 9 },
            Saw::Synced { seq: 9 },
        ];
        assert_eq!(topic, expected);
        assert_eq!(record.saw("user").len(), 1, "the cursor says where the second connection begins");
        let links: Vec<Link> = record.links("d").links.into_iter().map(|(_, link)| link).collect();
        assert_eq!(links, [Link::Up("n1".into()), Link::Up("n2".into()), Link::Down]);
    }
}
