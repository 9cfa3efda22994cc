//! WebSocket frames (RFC 6455 section 5.2) from the client's side: read where they stand in the buffer,
//! written without a mask worth the name.

/// A text message.
pub(crate) const TEXT: u8 = 0x1;
/// A binary message.
pub(crate) const BINARY: u8 = 0x2;
/// The end of the connection.
pub(crate) const CLOSE: u8 = 0x8;
/// A sign of life that wants an answer.
pub(crate) const PING: u8 = 0x9;
/// The answer.
pub(crate) const PONG: u8 = 0xA;

/// The longest frame that is taken, in bytes: a page of the log is far below it.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan<'a> {
    /// A whole frame, and how many bytes it takes.
    Frame { opcode: u8, payload: &'a [u8], bytes: usize },
    /// The beginning of a frame.
    Incomplete,
    /// Nothing that a server may send to a client that has agreed to no extensions. Ours sends every
    /// message in one frame.
    Bad(&'static str),
}

/// Looks at the first frame of what a server has sent.
pub(crate) fn scan(bytes: &[u8]) -> Scan<'_> {
    let [first, second, rest @ ..] = bytes else { return Scan::Incomplete };
    if first & 0x70 != 0 {
        return Scan::Bad("a frame with an extension that was not agreed on");
    }
    if second & 0x80 != 0 {
        return Scan::Bad("a masked frame from the server");
    }
    let opcode = first & 0x0F;
    if first & 0x80 == 0 || opcode == 0 {
        return Scan::Bad("a message in pieces");
    }
    let (header, length) = match second & 0x7F {
        126 => match rest.first_chunk() {
            Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
            None => return Scan::Incomplete,
        },
        127 => match rest.first_chunk() {
            Some(length) => (10, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX)),
            None => return Scan::Incomplete,
        },
        short => (2, usize::from(short)),
    };
    if length > PAYLOAD_BYTES_MAX {
        return Scan::Bad("a frame without measure");
    }
    match bytes.get(header..header + length) {
        Some(payload) => Scan::Frame { opcode, payload, bytes: header + length },
        None => Scan::Incomplete,
    }
}

/// Appends a client's frame. Its mask is zero: masks protect proxies from what scripts of strangers
/// send, and there are none here.
pub(crate) fn write_client(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    header(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends a server's frame.
pub(crate) fn write_server(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    header(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

fn header(opcode: u8, length: usize, mask: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(mask | short),
        (_, Ok(middle)) => {
            out.push(mask | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let Scan::Frame { opcode, payload, bytes: taken } = scan(bytes) {
            found.push((opcode, payload.to_vec()));
            bytes = &bytes[taken..];
        }
        found
    }

    #[test]
    fn lengths_take_all_three_forms() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let mut bytes = Vec::new();
            write_server(TEXT, &vec![b'x'; length], &mut bytes);
            assert_eq!(frames(&bytes), [(TEXT, vec![b'x'; length])], "{length}");
            assert_eq!(scan(&bytes[..bytes.len() - 1]), Scan::Incomplete, "{length}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_bad() {
        for bytes in [&[0xC1, 0][..], &[0x81, 0x80, 0, 0, 0, 0], &[0x01, 0], &[0x80, 0]] {
            assert!(matches!(scan(bytes), Scan::Bad(_)), "{bytes:?}");
        }
        let endless = [0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(matches!(scan(&endless), Scan::Bad(_)));
    }

    #[test]
    fn a_client_says_that_it_masks() {
        let mut bytes = Vec::new();
        write_client(PONG, b"ab", &mut bytes);
        assert_eq!(bytes, [0x8A, 0x82, 0, 0, 0, 0, b'a', b'b']);
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_cut(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 0usize..1000,
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                write_server(BINARY, payload, &mut bytes);
            }
            let cut = cut.min(bytes.len());
            let mut first = frames(&bytes[..cut]);
            let taken: usize =
                first.iter().map(|(_, payload)| payload.len() + if payload.len() < 126 { 2 } else { 4 }).sum();
            first.extend(frames(&bytes[taken..]));
            let got: Vec<Vec<u8>> = first.into_iter().map(|(_, payload)| payload).collect();
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = scan(&bytes);
        }
    }
}
