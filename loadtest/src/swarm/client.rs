//! One lean client: what it makes of what it is sent. No I/O.
//!
//! It reads frames where they are, and remembers some numbers, because there are tens of thousands of them. That its
//! verdicts are those of the library's session is a test (`session_tests`).

use common::message::Encoding;
use serde_json::{Value, json};
use websocket::{Opcode, client as frames};

use super::{
    measures::{Measures, Moment},
    message::{self, Head},
    orders::{ClientSpec, Setup, To},
    track::{Tally, Track},
    upgrade,
};

/// The id of the only command that a client sends.
const SUBSCRIBE_ID: &str = "s";

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected.
    Idle,
    /// Waits for its turn.
    Queued,
    /// Has failed, and tries again later.
    Pausing,
    /// TCP connects.
    Connecting,
    /// Waits for the answer to the handshake.
    Upgrading,
    /// Waits for `WELCOME`.
    Joining,
    /// Waits for the `ACK` of `SUBSCRIBE`.
    Subscribing,
    /// Follows its stream.
    Open,
    /// Has said goodbye.
    Closing,
    /// Has failed, and does not try again.
    Failed,
}

impl Phase {
    /// Whether it is on its way to [`Phase::Open`], with a socket.
    pub(crate) fn is_connecting(self) -> bool {
        matches!(self, Self::Connecting | Self::Upgrading | Self::Joining | Self::Subscribing)
    }
}

/// What all clients of a helper share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) setup: Setup,
    /// The names of the streams as they stand in events.
    names: Vec<String>,
}

impl Shared {
    pub(crate) fn new(setup: Setup) -> Self {
        let name = |topic: &Option<String>| match topic {
            Some(topic) => format!("topic:{topic}"),
            None => "user".to_owned(),
        };
        Self { names: setup.streams.iter().map(name).collect(), setup }
    }
}

/// What the socket is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// Send these bytes.
    Send(Vec<u8>),
    /// The connection is over; why, in few words.
    End(String),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) spec: ClientSpec,
    pub(crate) phase: Phase,
    /// When this connection was begun, or was to begin.
    pub(crate) begun_us: u64,
    /// Where it stands, once it has followed.
    track: Option<Track>,
    epoch: String,
    /// Whether it came with a cursor and was not yet told that it is at the head.
    resuming: bool,
    /// What was wrong with what it was sent, the first time.
    pub(crate) fault: Option<String>,
}

impl Client {
    pub(crate) fn new(spec: ClientSpec) -> Self {
        Self {
            spec,
            phase: Phase::Idle,
            begun_us: 0,
            track: None,
            epoch: String::new(),
            resuming: false,
            fault: None,
        }
    }

    /// The handshake. A client that has followed before resumes.
    pub(crate) fn request(&mut self, shared: &Shared, to: &To) -> Vec<u8> {
        self.resuming = self.track.is_some();
        let own = shared.setup.streams.get(self.spec.stream).is_some_and(Option::is_none);
        let cursor = self.cursor().filter(|_| own).map_or_else(String::new, |at| format!("&cursor={at}"));
        upgrade::request(&self.spec, &shared.setup, to, &cursor)
    }

    fn cursor(&self) -> Option<String> {
        self.track.as_ref().map(|track| format!("{}:{}", self.epoch, track.cursor()))
    }

    /// Takes the answer to the handshake from the beginning of `bytes`; returns how many bytes it had.
    /// Zero when it is not all there.
    ///
    /// # Errors
    /// When it is no upgrade.
    pub(crate) fn upgraded(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let length = upgrade::answer(bytes)?;
        if length > 0 {
            self.phase = Phase::Joining;
        }
        Ok(length)
    }

    /// Takes a frame.
    pub(crate) fn frame(
        &mut self,
        shared: &Shared,
        measures: &mut Measures,
        now: Moment,
        opcode: Opcode,
        payload: &[u8],
    ) -> Next {
        match opcode {
            Opcode::Ping => {
                let mut pong = Vec::new();
                frames::write(Opcode::Pong, payload, &mut pong);
                Next::Send(pong)
            }
            Opcode::Close => Next::End(match payload.first_chunk() {
                Some(code) => format!("closed with {}", u16::from_be_bytes(*code)),
                None => "closed".to_owned(),
            }),
            Opcode::Text | Opcode::Binary => {
                let encoding = shared.setup.wire.encoding();
                if (opcode == Opcode::Text) != (encoding == Encoding::Json) {
                    return Next::End("a frame of the wrong kind".to_owned());
                }
                if let Some(head) = measures.memo.find(self.spec.stream, payload) {
                    self.event(measures, now, &head);
                    return Next::Nothing;
                }
                let mut next = Next::Nothing;
                let mut only = None;
                let read = message::read(encoding, payload, |head, whole| {
                    let before = measures.received;
                    let then = self.message(shared, measures, now, &head, whole);
                    only = (measures.received > before).then_some((head.seq, head.timestamp_ms, head.at_us));
                    // Only `WELCOME` is answered, and it comes alone.
                    if then != Next::Nothing {
                        next = then;
                    }
                });
                let Some(batch) = read else { return Next::End("a malformed message".to_owned()) };
                // An event that fills the frame, as it comes to every other follower.
                if let (Some((seq, timestamp_ms, at_us)), false) = (only, batch) {
                    let head = Head { seq, timestamp_ms, at_us, ..Head::default() };
                    measures.memo.keep(self.spec.stream, payload, &head);
                }
                next
            }
            Opcode::Continuation => Next::End("a message in pieces".to_owned()),
            Opcode::Pong => Next::Nothing,
        }
    }

    fn message(
        &mut self,
        shared: &Shared,
        measures: &mut Measures,
        now: Moment,
        head: &Head<'_>,
        whole: &str,
    ) -> Next {
        let Some(name) = shared.names.get(self.spec.stream) else { return Next::Nothing };
        let mine = head.stream == *name;
        match &*head.kind {
            "WELCOME" if self.phase == Phase::Joining => {
                return self.welcome(shared, measures, now, whole);
            }
            "ACK" if self.phase == Phase::Subscribing => {
                self.position(&parsed(whole)["payload"]);
                self.open(measures, now);
            }
            "ERROR" if self.phase == Phase::Subscribing => {
                let code = parsed(whole)["code"].as_str().unwrap_or("without code").to_owned();
                return Next::End(format!("subscribing: {code}"));
            }
            "SYNCED" if mine => {
                let message = parsed(whole);
                if !message["missedBefore"].is_null() {
                    self.found(format!("told that events before {} are gone", message["missedBefore"]));
                }
                let seq = head.seq.unwrap_or_default();
                let at = self.track.as_ref().map_or(0, Track::cursor);
                if at != seq {
                    self.found(format!("told that it has all up to {seq} when it had {at}"));
                }
                if std::mem::take(&mut self.resuming) {
                    measures.synced_clients += 1;
                    measures.synced.record_us(now.us.saturating_sub(self.begun_us));
                }
            }
            "SNAPSHOT" if mine => {
                self.found("a snapshot instead of events".to_owned());
                let message = parsed(whole);
                self.track = None;
                self.position(&message);
            }
            "SYNCED" | "ACK" | "SIGNAL" => {}
            _ if mine => self.event(measures, now, head),
            _ => {}
        }
        Next::Nothing
    }

    fn event(&mut self, measures: &mut Measures, now: Moment, head: &Head<'_>) {
        let Some(seq) = head.seq else { return };
        let Some(track) = self.track.as_mut().filter(|_| !self.phase.is_connecting()) else {
            return self.found(format!("event {seq} before it follows the stream"));
        };
        measures.received += 1;
        // A repetition says nothing about how fast events are.
        if !track.take(seq) {
            return self.found(format!("event {seq} came again"));
        }
        if let Some(at) = head.at_us.filter(|at| *at > 0) {
            measures.measured += 1;
            measures.from_send.record_us(now.us.saturating_sub(at));
            let made = head.timestamp_ms.unwrap_or(now.unix_ms);
            measures.from_commit.record_us(now.unix_ms.saturating_sub(made) * 1000);
        }
    }

    fn welcome(&mut self, shared: &Shared, measures: &mut Measures, now: Moment, whole: &str) -> Next {
        let topic = shared.setup.streams.get(self.spec.stream).and_then(Option::as_ref);
        let Some(topic) = topic else {
            self.position(&parsed(whole)["payload"]);
            self.open(measures, now);
            return Next::Nothing;
        };
        self.phase = Phase::Subscribing;
        let mut payload = json!({ "topic": topic });
        if let Some(cursor) = self.cursor() {
            payload["cursor"] = Value::from(cursor);
        }
        let command = json!({ "type": "SUBSCRIBE", "id": SUBSCRIBE_ID, "payload": payload }).to_string();
        let mut bytes = Vec::new();
        match shared.setup.wire.encoding() {
            Encoding::Json => frames::write(Opcode::Text, command.as_bytes(), &mut bytes),
            Encoding::MessagePack => {
                frames::write(Opcode::Binary, &common::msgpack::from_json(command.as_bytes()), &mut bytes);
            }
        }
        Next::Send(bytes)
    }

    /// Takes its first position from what names one. Later ones follow from the events.
    fn position(&mut self, of: &Value) {
        if self.track.is_none() {
            self.track = Some(Track::after(of["seq"].as_u64().unwrap_or_default()));
            self.epoch = of["epoch"].as_str().unwrap_or_default().to_owned();
        }
    }

    fn open(&mut self, measures: &mut Measures, now: Moment) {
        self.phase = Phase::Open;
        measures.connect.record_us(now.us.saturating_sub(self.begun_us));
    }

    fn found(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    /// Whether it still waits for `SYNCED`.
    pub(crate) fn is_resuming(&self) -> bool {
        self.resuming
    }

    /// What it received, and lost if its stream ends with `head`. Nothing when it never followed.
    pub(crate) fn tally(&self, head: u64) -> Tally {
        self.track.as_ref().map_or_else(Tally::default, |track| track.tally(head))
    }
}

/// The whole message; for the few that are no events.
fn parsed(whole: &str) -> Value {
    serde_json::from_str(whole).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use testkit::handshake;

    use super::*;
    use crate::swarm::orders::Wire;

    fn shared(topic: Option<&str>, wire: Wire) -> Shared {
        Shared::new(Setup { wire, streams: vec![topic.map(str::to_owned)], ..Setup::default() })
    }

    fn client() -> Client {
        Client::new(ClientSpec { device: "d".to_owned(), token: "t".to_owned(), stream: 0, source: None })
    }

    fn to() -> To {
        To { address: ([127, 0, 0, 1], 80).into(), host: "h".to_owned(), path: "/ws".to_owned() }
    }

    fn answer() -> String {
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\n\r\n", handshake::ACCEPT)
    }

    fn sent(client: &mut Client, shared: &Shared, measures: &mut Measures, message: &Value) -> Next {
        let text = message.to_string();
        let (opcode, payload) = match shared.setup.wire {
            Wire::Json => (Opcode::Text, text.into_bytes()),
            Wire::Msgpack => (Opcode::Binary, common::msgpack::from_json(text.as_bytes()).to_vec()),
        };
        let now = Moment { us: 1_500, unix_ms: 1_000_002 };
        client.frame(shared, measures, now, opcode, &payload)
    }

    fn event(seq: u64) -> Value {
        json!({"type": "A", "stream": "topic:m", "seq": seq, "timestamp": 1_000_000, "payload": {"at": 1000}})
    }

    #[test]
    fn it_follows_a_topic_and_measures_what_comes() {
        for wire in [Wire::Json, Wire::Msgpack] {
            let (shared, mut client, mut measures) = (shared(Some("m"), wire), client(), Measures::new());
            client.request(&shared, &to());
            assert_eq!(client.upgraded(&answer().as_bytes()[..20]), Ok(0), "not all is there");
            assert_eq!(client.upgraded(answer().as_bytes()), Ok(answer().len()));
            let welcome = json!({"type": "WELCOME", "payload": {"epoch": "e", "seq": 0}});
            assert!(matches!(sent(&mut client, &shared, &mut measures, &welcome), Next::Send(_)));
            let ack = json!({"type": "ACK", "id": "s", "payload": {"topic": "m", "epoch": "e", "seq": 7}});
            sent(&mut client, &shared, &mut measures, &ack);
            assert_eq!(client.phase, Phase::Open);
            sent(&mut client, &shared, &mut measures, &event(8));
            sent(&mut client, &shared, &mut measures, &json!({"type": "A", "stream": "all", "seq": 1}));
            assert_eq!((measures.received, measures.measured), (1, 1));
            assert_eq!(measures.from_send.percentiles().max_us, 500);
            assert_eq!(measures.from_commit.percentiles().p50_us / 10, 200);
            assert!(!client.tally(8).is_faulty());
            assert_eq!(client.tally(9).lost, 1);
        }
    }

    #[test]
    fn it_comes_back_with_its_cursor_and_checks_what_synced_says() {
        let (shared, mut client, mut measures) = (shared(None, Wire::Json), client(), Measures::new());
        assert!(!String::from_utf8_lossy(&client.request(&shared, &to())).contains("cursor"));
        client.phase = Phase::Joining;
        let welcome = json!({"type": "WELCOME", "payload": {"epoch": "e", "seq": 5}});
        sent(&mut client, &shared, &mut measures, &welcome);
        assert_eq!(client.phase, Phase::Open);

        let request = client.request(&shared, &to());
        assert!(String::from_utf8_lossy(&request).contains("&cursor=e:5 "));
        client.phase = Phase::Joining;
        let welcome = json!({"type": "WELCOME", "payload": {"epoch": "e", "seq": 7}});
        sent(&mut client, &shared, &mut measures, &welcome);
        sent(&mut client, &shared, &mut measures, &json!({"type": "A", "stream": "user", "seq": 6}));
        assert!(client.is_resuming());
        sent(&mut client, &shared, &mut measures, &json!({"type": "SYNCED", "stream": "user", "seq": 7}));
        assert_eq!(measures.synced_clients, 1);
        assert!(client.fault.as_ref().is_some_and(|fault| fault.contains("when it had 6")), "7 was lost");
    }

    #[test]
    fn refusals_are_told_apart() {
        let (shared, mut measures) = (shared(Some("m"), Wire::Json), Measures::new());
        assert_eq!(client().upgraded(b"HTTP/1.1 503 No\r\n\r\n"), Err("status 503".to_owned()));
        assert!(client().upgraded(b"HTTP/1.1 101 Yes\r\n\r\n").is_err(), "whoever answers is no WebSocket");
        let mut frame = |opcode, payload: &[u8]| {
            client().frame(&shared, &mut measures, Moment::default(), opcode, payload)
        };
        assert_eq!(frame(Opcode::Close, &[0x03, 0xF5]), Next::End("closed with 1013".to_owned()));
        assert_eq!(frame(Opcode::Text, b"{"), Next::End("a malformed message".to_owned()));
        assert_eq!(frame(Opcode::Binary, b"{}"), Next::End("a frame of the wrong kind".to_owned()));
        assert_eq!(frame(Opcode::Ping, b"p"), Next::Send(vec![0x8A, 0x81, 0, 0, 0, 0, b'p']));
    }

    #[test]
    fn a_repeated_event_is_a_fault_and_not_measured() {
        let (shared, mut client, mut measures) = (shared(Some("m"), Wire::Json), client(), Measures::new());
        client.track = Some(Track::after(0));
        for _ in 0..2 {
            sent(&mut client, &shared, &mut measures, &event(1));
        }
        assert_eq!((measures.received, measures.measured), (2, 1));
        assert_eq!(client.tally(1).repeated, 1);
        assert_eq!(client.fault.as_deref(), Some("event 1 came again"));
    }
}
