//! Frames from the client's side, read where they stand in the buffer. Pure.
//!
//! For load generators: no extension is negotiated, so nothing is inflated, and the mask is zero.

use crate::{
    Opcode, Violation,
    header::{self, FIN, Header, MASKED, Sender},
};

/// A server's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub opcode: Opcode,
    /// The last frame of its message.
    pub fin: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Reads the first frame of what a server has sent. Returns it and how many bytes it took, or `None`
/// while bytes are missing.
///
/// # Errors
/// When the server breaks a rule, or announces a payload of more than `payload_bytes_max`.
pub fn read(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, Violation> {
    let Some((header, taken)) = Header::read(bytes, Sender::Server)? else { return Ok(None) };
    if header.deflated {
        return Err(Violation::ReservedBit);
    }
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    if length > payload_bytes_max {
        return Err(Violation::TooLarge);
    }
    let Header { opcode, fin, .. } = header;
    let frame = |payload| (Frame { opcode, fin, payload }, taken + length);
    Ok(bytes.get(taken..taken + length).map(frame))
}

/// Appends a client's frame, the only one of its message. Masks protect proxies from what scripts of
/// strangers send; this one is zero, so it is not for a client that sends what others wrote.
pub fn write(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    header::write(FIN | opcode as u8, MASKED, payload.len(), out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Deflate,
        frame::{self, Kind},
        reader::{Incoming, Reader},
    };

    const MAX: usize = 1 << 20;

    fn frames(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
        let mut found = Vec::new();
        while let Ok(Some((frame, taken))) = read(bytes, MAX) {
            assert!(frame.fin && frame.opcode == Opcode::Binary);
            found.push(frame.payload.to_vec());
            bytes = &bytes[taken..];
        }
        (found, bytes)
    }

    #[test]
    fn lengths_take_all_three_forms() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let bytes = frame::message(Kind::Binary, &vec![b'x'; length]);
            assert_eq!(frames(&bytes), (vec![vec![b'x'; length]], &[][..]), "{length}");
            assert_eq!(read(&bytes[..bytes.len() - 1], MAX), Ok(None), "{length}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for (bytes, violation) in [
            (&[0xc1, 0][..], Violation::ReservedBit),
            (&[0x81, 0x80, 0, 0, 0, 0], Violation::Masked),
            (&[0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Violation::TooLarge),
            (&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Violation::Length),
        ] {
            assert_eq!(read(bytes, MAX), Err(violation), "{bytes:?}");
        }
    }

    #[test]
    fn a_client_says_that_it_masks() {
        let mut bytes = Vec::new();
        write(Opcode::Pong, b"ab", &mut bytes);
        assert_eq!(bytes, [0x8a, 0x82, 0, 0, 0, 0, b'a', b'b']);
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut: prop::sample::Index,
        ) {
            let sent: Vec<u8> =
                payloads.iter().flat_map(|payload| frame::message(Kind::Binary, payload)).collect();
            let cut = cut.index(sent.len() + 1);
            let (mut found, rest) = frames(&sent[..cut]);
            let (more, rest) = frames(&sent[cut - rest.len()..]);
            found.extend(more);
            prop_assert_eq!((found, rest), (payloads, &[][..]));
        }

        #[test]
        fn the_server_reads_what_a_client_writes(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let mut bytes = Vec::new();
            write(Opcode::Binary, &payload, &mut bytes);
            let read = Reader::new(Deflate::OFF, MAX).read(&mut &bytes[..]);
            prop_assert_eq!(read, Ok(Some(Incoming::Binary(payload.into()))));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = read(&bytes, MAX);
        }
    }
}
