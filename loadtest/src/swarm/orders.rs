//! What the load generator and its helper processes say to each other: a line of JSON each.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use common::{message::Encoding, protocol};
use serde::{Deserialize, Serialize};

use super::track::Tally;
use crate::measure::latency::Counts;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wire {
    #[default]
    Json,
    Msgpack,
}

impl Wire {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Msgpack => Encoding::MessagePack,
        }
    }

    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => protocol::SUBPROTOCOL_JSON,
            Self::Msgpack => protocol::SUBPROTOCOL_MSGPACK,
        }
    }
}

/// Everything that a helper has to know before its first order; the first line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) wire: Wire,
    /// Whether events may come as arrays.
    pub(crate) batch: bool,
    /// The topics that are followed; `None` is each client's own stream.
    pub(crate) streams: Vec<Option<String>>,
    pub(crate) clients: Vec<ClientSpec>,
}

/// One client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientSpec {
    pub(crate) device: String,
    pub(crate) token: String,
    /// Which of the streams it follows.
    pub(crate) stream: usize,
    /// The address that it connects from; the system's choice when `None`.
    pub(crate) source: Option<IpAddr>,
}

/// Where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct To {
    pub(crate) address: SocketAddr,
    /// The `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
}

/// An order with its number, by which statuses say how far they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) order: Order,
}

/// What helpers are told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connects the first `count` clients that are not connected, in turn to these addresses. Clients
    /// that were connected before resume from their cursors. Failures, and how long it took, are
    /// counted from zero.
    Connect {
        count: usize,
        to: Vec<To>,
        /// How many connect at one time. Clients that do not wait for others begin together: their
        /// times count from the order.
        window: Option<usize>,
        /// Whether a failure is tried again, as devices do, with growing pauses.
        retry: bool,
    },
    /// Ends all connections: with a word, or without.
    Close { abrupt: bool },
    /// Reports what was received, given the last event of each stream.
    Judge { heads: Vec<u64> },
}

/// What helpers answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// A few times a second.
    Status(Status),
    /// To [`Order::Judge`].
    Judged(Box<Judged>),
}

/// How the clients stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The number of the last order that was taken.
    pub(crate) handled: u64,
    /// Clients that are to connect and have not come to it.
    pub(crate) queued: usize,
    /// Clients that are connecting, or pause before the next attempt.
    pub(crate) connecting: usize,
    /// Clients that are connected and follow their stream.
    pub(crate) ready: usize,
    /// Of those that came back with a cursor: who was told that nothing is missing any more.
    pub(crate) synced: usize,
    /// Clients that say goodbye.
    pub(crate) closing: usize,
    /// Clients that gave up connecting.
    pub(crate) failed: usize,
    /// Connections that were ready and ended without having been told to.
    pub(crate) ended: usize,
    /// Attempts to connect that were repeated.
    pub(crate) retries: u64,
    /// Events received.
    pub(crate) received: u64,
    /// What the helper has cost, in seconds on processors.
    pub(crate) cpu_seconds: f64,
}

impl Status {
    pub(crate) fn add(&mut self, other: &Self) {
        self.handled = self.handled.min(other.handled);
        self.queued += other.queued;
        self.connecting += other.connecting;
        self.ready += other.ready;
        self.synced += other.synced;
        self.closing += other.closing;
        self.failed += other.failed;
        self.ended += other.ended;
        self.retries += other.retries;
        self.received += other.received;
        self.cpu_seconds += other.cpu_seconds;
    }
}

/// What was received, and how fast things were.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) tally: Tally,
    /// Events with a sending time: those that are measured.
    pub(crate) measured: u64,
    /// Clients that something was wrong with; and of the first ones what.
    pub(crate) faulty: u64,
    pub(crate) told: Vec<String>,
    /// Failures by what went wrong, attempts that were repeated included.
    pub(crate) failures: BTreeMap<String, u64>,
    /// From the beginning of a connection until it followed its stream.
    pub(crate) connect: Counts,
    /// From the order to connect until `SYNCED`.
    pub(crate) synced: Counts,
    /// From the intended moment of sending.
    pub(crate) from_send: Counts,
    /// From the moment that the event itself names, in whole milliseconds.
    pub(crate) from_commit: Counts,
}

/// Faults that are told one by one.
pub(crate) const TOLD_MAX: usize = 10;

impl Judged {
    pub(crate) fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.measured += other.measured;
        self.faulty += other.faulty;
        self.told.extend(other.told);
        self.told.truncate(TOLD_MAX);
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
        self.connect.0.extend(other.connect.0);
        self.synced.0.extend(other.synced.0);
        self.from_send.0.extend(other.from_send.0);
        self.from_commit.0.extend(other.from_commit.0);
    }
}
