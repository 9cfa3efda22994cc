//! Keeps what devices are sent, without their code: what they make of it is not asked.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;
use testkit::device::{Observed, Observer};

use super::ledger::Clock;
use crate::check::history::{Content, Moment, Saw};

/// How full the record is, shared by all devices; an entry takes about 100 bytes.
#[derive(Debug)]
pub(crate) struct Room {
    most: u64,
    entries: AtomicU64,
    events: AtomicU64,
}

impl Room {
    /// With room for `most` entries, on all devices together.
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, entries: AtomicU64::new(0), events: AtomicU64::new(0) })
    }

    /// Whether entries had to be left out: there is nothing to judge then.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.entries.load(Ordering::Relaxed) > self.most
    }

    /// Events seen so far, on all devices.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.entries.fetch_add(1, Ordering::Relaxed) < self.most
    }
}

/// What became of a device's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// `WELCOME`, from this node.
    Up(Arc<str>),
    Down,
}

/// The connections of one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    pub(crate) device: String,
    pub(crate) links: Vec<(Moment, Link)>,
}

/// The record of one device.
#[derive(Debug)]
pub(crate) struct Record {
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
    pub(crate) fn new(clock: Clock, room: Arc<Room>) -> Arc<Self> {
        Arc::new(Self { clock, room, kept: Mutex::default() })
    }

    /// What tells this record.
    pub(crate) fn observer(self: &Arc<Self>) -> Observer {
        let record = Arc::clone(self);
        Arc::new(move |observed| record.observe(observed))
    }

    /// What it has of a stream so far.
    pub(crate) fn saw(&self, stream: &str) -> Vec<(Moment, Saw)> {
        self.kept().streams.get(stream).cloned().unwrap_or_default()
    }

    /// Gives the events of the user's stream from place `next` on: the change that each names, and when it came.
    pub(crate) fn events_from(&self, next: &mut usize, mut take: impl FnMut(u64, Moment)) {
        let kept = self.kept();
        let saw = kept.streams.get("user").map_or(&[][..], Vec::as_slice);
        for (at, saw) in &saw[*next..] {
            if let Saw::Event { content: Content { op: Some(op), .. }, .. } = saw {
                take(*op, *at);
            }
        }
        *next = saw.len();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device's connections so far.
    pub(crate) fn links(&self, device: &str) -> Links {
        Links { device: device.to_owned(), links: self.kept().links.clone() }
    }

    fn observe(&self, observed: &Observed<'_>) {
        let now = self.clock.now();
        let mut kept = self.kept();
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
        let record = Record::new(Clock::start(), Room::new(100));
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
