//! How much clients send and are sent, and how many of them come.

use std::sync::LazyLock;

use common::operations::Tally;
use metrics::{Counter, counter};

/// The ways in which clients are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    EventStream,
}

impl Transport {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event_stream",
        }
    }

    /// Counts a connection that a client tries to open.
    pub(super) fn count_attempt(self) {
        Tally::Attempts.add(1);
        counter!("draftwire_connection_attempts_total", "transport" => self.label()).increment(1);
    }

    /// Counts one that was opened, and whether its client came with a cursor, because it had been connected before.
    pub(super) fn count_opened(self, has_cursor: bool) {
        Tally::Connections.add(1);
        Tally::Reconnections.add(has_cursor.into());
        counter!("draftwire_connections_opened_total", "transport" => self.label()).increment(1);
        if has_cursor {
            counter!("draftwire_reconnections_total", "transport" => self.label()).increment(1);
        }
    }
}

/// Bytes in both directions. They are counted at each message, so each counter is looked up once.
pub(super) struct Traffic {
    received: Counter,
    sent: Counter,
}

/// The traffic of WebSockets.
pub(super) static WEBSOCKET: LazyLock<Traffic> = LazyLock::new(|| Traffic::of("websocket"));

/// The traffic of HTTP, event streams included.
pub(super) static HTTP: LazyLock<Traffic> = LazyLock::new(|| Traffic::of("http"));

impl Traffic {
    pub(super) fn received(&self, bytes: u64) {
        self.received.increment(bytes);
        Tally::BytesIn.add(bytes);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.increment(bytes);
        Tally::BytesOut.add(bytes);
    }

    fn of(transport: &'static str) -> Self {
        Self {
            received: counter!("draftwire_received_bytes_total", "transport" => transport),
            sent: counter!("draftwire_sent_bytes_total", "transport" => transport),
        }
    }
}
