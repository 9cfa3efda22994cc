//! Frames from the server to a client (RFC 6455 section 5.2): not masked, not fragmented, head and
//! payload together in one allocation, to be written to as many sockets as want them. Pure.

use std::cell::RefCell;

use bytes::Bytes;

use crate::{
    deflate,
    header::{self, CONTROL_BYTES_MAX, FIN, Opcode},
};

/// What a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// The message is deflated (RFC 7692 section 6).
const RSV1: u8 = 0x40;

/// The longest reason of a close frame, in bytes: the code takes 2 (RFC 6455 section 5.5).
pub const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The longest head of a frame without a mask: two bytes and a length of eight.
const HEAD_BYTES_MAX: usize = 10;

/// Deflated output that a thread keeps room for. What a larger message needed is given back.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A message as it is. The caller sees to it that text is UTF-8.
pub fn message(kind: Kind, payload: &[u8]) -> Bytes {
    encode(FIN | kind.opcode() as u8, payload)
}

/// A message, deflated, for clients that take it ([`crate::Deflate::may_send`]). One that does not get
/// smaller stays as it is, which those clients take as well (RFC 7692 section 6).
///
/// Takes CPU time, in the order of 20 µs for a small message and 10 ms per MiB.
pub fn deflated(kind: Kind, payload: &[u8]) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        let smaller = deflate::deflate(payload, scratch).is_ok() && scratch.len() < payload.len();
        let frame =
            if smaller { encode(FIN | RSV1 | kind.opcode() as u8, scratch) } else { message(kind, payload) };
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        frame
    })
}

/// A ping (RFC 6455 section 5.5.2). Its payload comes back in the pong; it is cut after 125 bytes.
pub fn ping(payload: &[u8]) -> Bytes {
    control(Opcode::Ping, payload)
}

/// A pong (RFC 6455 section 5.5.3), with the ping's payload; cut after 125 bytes.
pub fn pong(payload: &[u8]) -> Bytes {
    control(Opcode::Pong, payload)
}

/// A close frame (RFC 6455 section 5.5.1), with a code and a reason that is cut after 123 bytes, or
/// with neither.
pub fn close(why: Option<(u16, &str)>) -> Bytes {
    match why {
        None => control(Opcode::Close, &[]),
        Some((code, reason)) => {
            control(Opcode::Close, &[&code.to_be_bytes(), fit_reason(reason).as_bytes()].concat())
        }
    }
}

/// Cuts a reason to what a close frame holds, at a character's border.
fn fit_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

impl Kind {
    fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    encode(FIN | opcode as u8, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
}

fn encode(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(head_bytes(payload.len()) + payload.len());
    header::write(first, 0, payload.len(), &mut frame);
    frame.extend_from_slice(payload);
    frame.into()
}

fn head_bytes(length: usize) -> usize {
    match length {
        0..=CONTROL_BYTES_MAX => 2,
        126..=0xffff => 4,
        _ => HEAD_BYTES_MAX,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{FrameSocket, coding::OpCode};

    use super::*;

    /// Reads one frame with another implementation: whether it is deflated, its opcode, its payload.
    fn read(frame: &[u8]) -> (bool, OpCode, Vec<u8>) {
        let mut socket = FrameSocket::new(std::io::Cursor::new(frame.to_vec()));
        let frame = socket.read(None).unwrap().unwrap();
        assert!(frame.header().is_final && frame.header().mask.is_none());
        assert!(socket.read(None).unwrap().is_none());
        let (deflated, opcode) = (frame.header().rsv1, frame.header().opcode);
        (deflated, opcode, frame.into_payload().to_vec())
    }

    #[test]
    fn frames_are_what_the_rfc_shows() {
        // Section 5.7.
        assert_eq!(message(Kind::Text, b"Hello")[..], [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(ping(b"Hello")[..], [0x89, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(message(Kind::Binary, &[0; 256])[..4], [0x82, 126, 1, 0]);
        assert_eq!(message(Kind::Binary, &[0; 65_536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(close(None)[..], [0x88, 0]);
        assert_eq!(close(Some((1000, "ok")))[..], [0x88, 4, 0x03, 0xe8, b'o', b'k']);
    }

    #[test]
    fn frames_take_no_more_than_they_need() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let frame = message(Kind::Binary, &vec![0; length]);
            assert_eq!(frame.len(), head_bytes(length) + length);
        }
    }

    #[test]
    fn control_frames_are_cut_to_what_they_hold() {
        assert_eq!(ping(&[7; 200])[..2], [0x89, 125]);
        let closed = close(Some((4400, &"é".repeat(100))));
        assert_eq!(closed[..4], [0x88, 124, 0x11, 0x30]);
        assert!(std::str::from_utf8(&closed[4..]).is_ok());
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        assert_eq!(deflated(Kind::Text, b"a"), message(Kind::Text, b"a"));
        assert_eq!(deflated(Kind::Text, b""), message(Kind::Text, b""));
        let (is_deflated, opcode, payload) = read(&deflated(Kind::Text, &[b'a'; 100_000]));
        assert!(is_deflated && payload.len() < 1000);
        assert_eq!(opcode, OpCode::from(1));
    }

    proptest! {
        #[test]
        fn others_read_our_frames(payload: Vec<u8>, long in 0usize..70_000) {
            let payload = payload.into_iter().cycle().take(long).collect::<Vec<_>>();
            prop_assert_eq!(read(&message(Kind::Binary, &payload)), (false, OpCode::from(2), payload.clone()));
            let (is_deflated, opcode, sent) = read(&deflated(Kind::Text, &payload));
            prop_assert_eq!(opcode, OpCode::from(1));
            let inflated = if is_deflated { deflate::inflate(&sent, payload.len()).unwrap() } else { sent };
            prop_assert_eq!(inflated, payload);
        }
    }
}
