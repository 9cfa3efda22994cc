//! The lean client judges what it is sent as the library's session does, and resumes from the same position.
//!
//! Left out is what does not happen where the swarm runs, and what it reports in every case: histories that end, and
//! events that are gone.
#![allow(clippy::unwrap_used)]

use draftwire_client::session::{Effect, Next as Taken, Session, SessionOptions, Wish};
use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::handshake;
use websocket::Opcode;

use super::{
    client::{Client, Next, Shared},
    measures::{Measures, Moment},
    orders::{ClientSpec, Setup, To, Wire},
    track::Tally,
};

const TOPIC: &str = "m";

/// Something that the server sends. Numbers are as far from the right one as is said.
#[derive(Debug, Clone, Copy)]
enum Step {
    Event(i64),
    Synced(i64),
    /// An event of the stream of all, in its order.
    Broadcast,
    Signal,
    /// The connection ends, and both come back.
    Reconnect,
}

/// Both clients, and what the server knows of them.
struct Pair {
    session: Session,
    lean: Client,
    shared: Shared,
    measures: Measures,
    topic: Option<&'static str>,
    batch: bool,
    seq: u64,
    all: u64,
}

/// Whether both take a message, or both object to it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Faulty,
}

impl Verdict {
    fn of(fine: bool) -> Self {
        if fine { Self::Fine } else { Self::Faulty }
    }
}

impl Pair {
    fn new(topic: Option<&'static str>, wire: Wire, batch: bool) -> Self {
        let (device, id_prefix) = ("d".to_owned(), "p".to_owned());
        let mut session = Session::new(SessionOptions { device, id_prefix, replica: None, all: None });
        if let Some(topic) = topic {
            session.follow(topic, Wish::default());
        }
        let streams = vec![topic.map(str::to_owned)];
        let shared = Shared::new(Setup { wire, batch, streams, ..Setup::default() });
        let (device, token) = ("d".to_owned(), "t".to_owned());
        let lean = Client::new(ClientSpec { device, token, stream: 0, source: None });
        Self { session, lean, shared, measures: Measures::new(), topic, batch, seq: 5, all: 0 }
    }

    /// Both connect, and must ask for the same. `early` comes before the answer to `SUBSCRIBE`.
    fn connect(&mut self, early: Option<&Value>) -> Verdict {
        let to = To { address: ([127, 0, 0, 1], 80).into(), host: "h".to_owned(), path: "/ws".to_owned() };
        let request = String::from_utf8(self.lean.request(&self.shared, &to)).unwrap();
        // Of the stream of all the lean client keeps nothing.
        let query = self.session.query();
        let cursor = query.iter().find(|(name, _)| *name == "cursor").map(|(_, cursor)| cursor);
        if self.topic.is_none() {
            let asked = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
            assert!(request.contains(&format!("device=d{asked}")), "{request} does not ask for {asked}");
        }
        let answer = format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: {}\r\n\r\n", handshake::ACCEPT);
        self.lean.upgraded(answer.as_bytes()).unwrap();
        self.session.connected();
        let payload = json!({ "connectionId": "c", "userId": "u", "device": "d", "node": "n", "epoch": "e",
            "seq": self.seq, "allSeq": self.all, "heartbeatMs": 1000, "maxMessageBytes": 1000 });
        let (verdict, next) = self.send(&json!({ "type": "WELCOME", "payload": payload }));
        assert_eq!(verdict, Verdict::Fine);
        let Some(topic) = self.topic else { return Verdict::Fine };
        let Next::Send(frame) = next else { panic!("the lean client follows no topic") };
        let asked: Value = serde_json::from_str(&self.session.next_message().unwrap()).unwrap();
        let subscription = &asked["payload"]["topics"][0];
        if self.shared.setup.wire == Wire::Json {
            assert_eq!(unmasked(&frame)["payload"], *subscription, "both ask for the same");
        }
        if let Some(early) = early
            && self.send(early).0 == Verdict::Faulty
        {
            return Verdict::Faulty;
        }
        let at = json!({ "topic": topic, "epoch": "e", "seq": self.seq });
        let each = json!({ "type": "ACK", "id": "s", "payload": at });
        let list = json!({ "type": "ACK", "id": asked["id"], "payload": { "topics": [at] } });
        self.lean_takes(&each);
        Verdict::of(self.session_takes(&list))
    }

    /// Sends both a message, on which they have to agree.
    fn send(&mut self, message: &Value) -> (Verdict, Next) {
        let session = self.session_takes(message);
        let before = Tally { received: 0, ..self.lean.tally(0) };
        let next = self.lean_takes(message);
        let fault = self.lean.fault.take();
        let after = Tally { received: 0, ..self.lean.tally(0) };
        let lean = fault.is_none() && before == after;
        assert_eq!(Verdict::of(lean), Verdict::of(session), "{message}: {fault:?}, {after:?}");
        (Verdict::of(session), next)
    }

    fn session_takes(&mut self, message: &Value) -> bool {
        let text = if self.batch { format!("[{message}]") } else { message.to_string() };
        let is_taken = self.session.receive(&text).is_ok();
        let effects = std::iter::from_fn(|| self.session.next_effect());
        let strays = effects.filter(|effect| matches!(effect, Effect::Stray(_))).count();
        while let Taken::Item(..) = self.session.take(TOPIC) {}
        is_taken && strays == 0
    }

    fn lean_takes(&mut self, message: &Value) -> Next {
        let text = if self.batch { format!("[{message}]") } else { message.to_string() };
        let (opcode, payload) = match self.shared.setup.wire {
            Wire::Json => (Opcode::Text, text.into_bytes()),
            Wire::Msgpack => (Opcode::Binary, common::msgpack::from_json(text.as_bytes()).to_vec()),
        };
        self.lean.frame(&self.shared, &mut self.measures, Moment::default(), opcode, &payload)
    }

    fn stream(&self) -> String {
        self.topic.map_or_else(|| "user".to_owned(), |topic| format!("topic:{topic}"))
    }

    fn event(&self, off: i64) -> Value {
        let seq = (self.seq + 1).saturating_add_signed(off);
        json!({ "type": "E", "stream": self.stream(), "seq": seq, "timestamp": 7, "payload": { "at": 1 } })
    }

    fn step(&mut self, step: Step) -> Verdict {
        let message = match step {
            Step::Event(off) => {
                let event = self.event(off);
                self.seq += u64::from(off == 0);
                event
            }
            Step::Synced(off) => {
                let seq = self.seq.saturating_add_signed(off);
                json!({ "type": "SYNCED", "stream": self.stream(), "seq": seq })
            }
            Step::Broadcast => {
                self.all += 1;
                json!({ "type": "E", "stream": "all", "seq": self.all, "payload": null })
            }
            Step::Signal => json!({ "type": "SIGNAL", "stream": self.stream(), "event": "E", "origin": "o" }),
            Step::Reconnect => {
                self.session.disconnected();
                return self.connect(None);
            }
        };
        self.send(&message).0
    }
}

/// The payload of a client's frame that is shorter than 64 KiB (RFC 6455 section 5.3).
fn unmasked(frame: &[u8]) -> Value {
    let begin = if frame[1] & 0x7f == 126 { 4 } else { 2 };
    let (mask, masked) = frame[begin..].split_at(4);
    let bytes: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    serde_json::from_slice(&bytes).unwrap()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => Just(Step::Event(0)),
        2 => (-4i64..4).prop_map(Step::Event),
        4 => Just(Step::Synced(0)),
        1 => (-2i64..3).prop_map(Step::Synced),
        3 => Just(Step::Broadcast),
        2 => Just(Step::Signal),
        3 => Just(Step::Reconnect),
    ]
}

proptest! {
    #[test]
    fn the_lean_client_judges_as_the_session(
        own: bool,
        msgpack: bool,
        batch: bool,
        steps in prop::collection::vec(step(), 0..60),
        early: bool,
    ) {
        let wire = if msgpack { Wire::Msgpack } else { Wire::Json };
        let mut pair = Pair::new((!own).then_some(TOPIC), wire, batch);
        pair.connect(None);
        let is_fine = steps.iter().all(|step| pair.step(*step) == Verdict::Fine);
        // Whatever was wrong: they come back from the same position.
        pair.session.disconnected();
        let early = (is_fine && early).then(|| pair.event(0));
        pair.connect(early.as_ref());
    }
}
