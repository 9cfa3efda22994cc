//! What a device has seen, compared with what it may see.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use common::{Cursor, Event, Seq, Signal, Stream, protocol};
use serde_json::Value;

use crate::log::priority;

#[derive(Default)]
pub(crate) struct Seen {
    /// Where it stands in each of its streams.
    pub(crate) places: [Place; 3],
    /// The signals that this connection has brought.
    pub(crate) signals: HashSet<u64>,
    pub(crate) view: View,
}

#[derive(Default)]
pub(crate) struct Place {
    pub(crate) cursor: Option<Cursor>,
    /// Word that everything missed has been sent is still to come.
    pub(crate) awaits_synced: bool,
    /// The events that came since the last fresh start, by number.
    pub(crate) events: BTreeMap<Seq, String>,
}

/// Who is here, as a client knows it.
#[derive(Default)]
pub(crate) struct View {
    /// `None` before the first state, and while only numbers are told.
    pub(crate) members: Option<BTreeSet<protocol::Device>>,
    pub(crate) users: u64,
    pub(crate) devices: u64,
}

/// The body of a signal.
pub(crate) fn signal_body(stream: &Stream, number: u64) -> String {
    serde_json::json!({ "stream": stream.key(), "number": number }).to_string()
}

impl Seen {
    /// A new connection: it resumes where there is a cursor, nothing is known of who is here, and another
    /// node may bring a signal again.
    pub(crate) fn connects(&mut self) {
        for place in &mut self.places {
            place.awaits_synced = place.cursor.is_some();
        }
        self.signals.clear();
        self.view = View::default();
    }

    /// Every event is the next one, and of the history that the device is in.
    pub(crate) fn event(&mut self, slot: usize, event: &Event) {
        let cursor = self.places[slot].cursor.as_mut().unwrap();
        assert_eq!(event.seq, cursor.seq.next(), "the event after {cursor}");
        assert_eq!(event.priority, priority(event.seq));
        // An event of an earlier epoch that survived the failover is as good as one of this epoch.
        let body: Value = serde_json::from_str(event.payload.get()).unwrap();
        let epoch: u64 = cursor.epoch.as_str()[1..].parse().unwrap();
        assert!(body["epoch"].as_u64().unwrap() <= epoch, "{body} in the history of {cursor}");
        cursor.seq = event.seq;
        self.places[slot].events.insert(event.seq, event.payload.get().to_owned());
    }

    /// Every signal is one that was sent to this stream, comes once, and to one that is live.
    pub(crate) fn signal(&mut self, slot: usize, signal: &Signal, stream: &Stream) {
        let body: Value = serde_json::from_str(signal.payload.get()).unwrap();
        assert_eq!(body["stream"], stream.key(), "it is of another stream");
        let number = body["number"].as_u64().unwrap();
        assert!(self.signals.insert(number), "signal {number} came twice");
        assert!(!self.places[slot].awaits_synced, "signal {number} came before all events");
    }

    /// Whoever comes was not here, and whoever leaves was; the numbers are those of the list.
    pub(crate) fn presence(&mut self, message: &[u8]) {
        let message: Value = serde_json::from_slice(message).unwrap();
        let payload = &message["payload"];
        let view = &mut self.view;
        let device = || serde_json::from_value::<protocol::Device>(payload.clone()).unwrap();
        match message["type"].as_str().unwrap() {
            "PRESENCE" => {
                let members = payload.get("members").cloned();
                view.members = members.map(|members| serde_json::from_value(members).unwrap());
            }
            "JOIN" => assert!(view.members.as_mut().unwrap().insert(device()), "came twice"),
            "LEAVE" => assert!(view.members.as_mut().unwrap().remove(&device()), "left twice"),
            other => panic!("{other}"),
        }
        (view.users, view.devices) =
            (payload["users"].as_u64().unwrap(), payload["devices"].as_u64().unwrap());
        if let Some(members) = &view.members {
            assert_eq!((view.users, view.devices), (users(members), members.len() as u64));
        }
    }
}

/// How many users these devices have.
pub(crate) fn users(devices: &BTreeSet<protocol::Device>) -> u64 {
    devices.iter().map(|device| &device.user_id).collect::<BTreeSet<_>>().len() as u64
}

impl Place {
    pub(crate) fn synced(&mut self, seq: Seq) {
        assert_eq!(self.cursor.as_ref().map(|cursor| cursor.seq), Some(seq), "synced where it stands");
        assert!(std::mem::take(&mut self.awaits_synced), "synced once");
    }

    /// Goes on elsewhere, and is to be told when that is complete; the log's floor is `floor`.
    pub(crate) fn reset(&mut self, cursor: Cursor, floor: Seq) {
        let stood = self.cursor.take().unwrap();
        // Once there are several histories a node may learn late which is the present one, and reset
        // followers that need not be. While there is one, it must not.
        let lost = cursor.epoch.as_str() != "e1" || stood.seq < floor;
        assert!(lost, "reset at {stood} for nothing, now at {cursor}");
        self.cursor = Some(cursor);
        self.awaits_synced = true;
        self.events.clear();
    }
}
