//! Messages as the lines of an event stream (HTML Standard, section 9.2.6).

use bytes::{Bytes, BytesMut};
use common::message::Message;

use super::position::Position;
use crate::subscriptions::{At, Outbox};

/// Lines for the next write.
#[derive(Default)]
pub(super) struct Lines {
    text: BytesMut,
    /// Where the client stands after them.
    position: Position,
}

/// What is handed out at a time.
const LINES_BYTES_MAX: usize = 64 * 1024;

impl Lines {
    /// Says after how many milliseconds to come back.
    pub(super) fn retry(&mut self, ms: u64) {
        self.text.extend_from_slice(format!("retry: {ms}\n\n").as_bytes());
    }

    /// A line that means nothing: a sign of life.
    pub(super) fn comment(&mut self) {
        self.text.extend_from_slice(b":\n\n");
    }

    /// Moves the position without a message: where the client begins.
    pub(super) fn begin(&mut self, at: At<'_>) {
        self.position.advance(at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.text.split().freeze()
    }
}

impl Outbox for Lines {
    fn push(&mut self, message: &Message, at: Option<At<'_>>) {
        if let Some(at) = at {
            self.position.advance(at);
        }
        self.text.extend_from_slice(b"event: ");
        self.text.extend_from_slice(message.kind().as_bytes());
        self.text.extend_from_slice(format!("\nid: {}", self.position).as_bytes());
        // JSON as its publisher wrote it may have line breaks between its parts, where they mean nothing.
        for line in message.json().split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.text.extend_from_slice(b"\ndata: ");
            self.text.extend_from_slice(line);
        }
        self.text.extend_from_slice(b"\n\n");
    }

    fn is_full(&self) -> bool {
        self.text.len() >= LINES_BYTES_MAX
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::{Seq, Stream};

    use super::*;

    #[test]
    fn a_message_is_an_event_whose_id_is_the_position() {
        let mut lines = Lines::default();
        let message = Message::new(Bytes::from_static(b"{\"type\":\"GOAL\",\n\"seq\":3}"));
        let at = At { stream: &Stream::All, epoch: &"e".parse().unwrap(), seq: Seq(3) };
        lines.push(&message, Some(at));
        assert_eq!(lines.take(), "event: GOAL\nid: e/all=3\ndata: {\"type\":\"GOAL\",\ndata: \"seq\":3}\n\n");
        assert!(lines.is_empty());
    }
}
