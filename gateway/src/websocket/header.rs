//! The head of a client's frame (RFC 6455 section 5.2). Pure.

use super::Violation;

/// The longest head: two bytes, a length of eight, a mask.
pub(super) const HEAD_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// A length of two bytes follows.
const LENGTH_16: u8 = 126;

/// A length of eight bytes follows.
const LENGTH_64: u8 = 127;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The head of a frame, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The last frame of its message.
    pub(super) fin: bool,
    /// RSV1: the message that starts here is deflated (RFC 7692 section 6).
    pub(super) deflated: bool,
    pub(super) opcode: Opcode,
    /// Bytes of payload that follow.
    pub(super) length: u64,
    pub(super) mask: [u8; 4],
}

impl Header {
    /// Reads a head that starts at the first byte, as far as it is there. Answers `None` while bytes
    /// are missing, otherwise the head and how many bytes it took. What is wrong is said as soon as it
    /// is there to see.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x30 != 0 {
            return Err(Violation::ReservedBit);
        }
        let (fin, deflated) = (first & 0x80 != 0, first & 0x40 != 0);
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Opcode(first & 0x0f))?;
        if deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Violation::ReservedBit);
        }
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(Violation::Control);
        }
        let (length, rest) = match short {
            LENGTH_16 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u16::from_be_bytes(*length);
                if length < u16::from(LENGTH_16) {
                    return Err(Violation::Length);
                }
                (u64::from(length), rest)
            }
            LENGTH_64 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let length = u64::from_be_bytes(*length);
                if length <= u64::from(u16::MAX) || length > u64::MAX / 2 {
                    return Err(Violation::Length);
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Self { fin, deflated, opcode, length, mask }, bytes.len() - rest.len())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    fn head(first: u8, second: u8, more: &[u8]) -> Vec<u8> {
        [&[first, second], more, &MASK].concat()
    }

    #[test]
    fn lengths_are_read_in_their_shortest_form_only() {
        for (bytes, length) in [
            (head(0x81, 0x80, &[]), 0),
            (head(0x81, 0x80 | 125, &[]), 125),
            (head(0x81, 0x80 | 126, &126u16.to_be_bytes()), 126),
            (head(0x81, 0x80 | 126, &u16::MAX.to_be_bytes()), 65_535),
            (head(0x81, 0x80 | 127, &65_536u64.to_be_bytes()), 65_536),
            (head(0x81, 0x80 | 127, &(u64::MAX / 2).to_be_bytes()), u64::MAX / 2),
        ] {
            let (header, used) = Header::read(&bytes).unwrap().unwrap();
            assert_eq!((header.length, header.mask, used), (length, MASK, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..cut]), Ok(None));
            }
        }
        for bytes in [
            head(0x81, 0x80 | 126, &125u16.to_be_bytes()),
            head(0x81, 0x80 | 127, &65_535u64.to_be_bytes()),
            head(0x81, 0x80 | 127, &(1u64 << 63).to_be_bytes()),
        ] {
            assert_eq!(Header::read(&bytes), Err(Violation::Length));
        }
    }

    #[test]
    fn the_first_two_bytes_tell_what_is_wrong() {
        for (first, second, violation) in [
            (0x81, 0x00, Violation::Unmasked),
            (0xa1, 0x80, Violation::ReservedBit),
            (0x91, 0x80, Violation::ReservedBit),
            (0xc9, 0x80, Violation::ReservedBit),
            (0x40, 0x80, Violation::ReservedBit),
            (0x83, 0x80, Violation::Opcode(3)),
            (0x8f, 0x80, Violation::Opcode(15)),
            (0x09, 0x80, Violation::Control),
            (0x88, 0x80 | 126, Violation::Control),
        ] {
            assert_eq!(Header::read(&[first, second]), Err(violation), "{first:x} {second:x}");
        }
    }
}
