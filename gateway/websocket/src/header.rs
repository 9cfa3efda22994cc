//! The head of a frame (RFC 6455 section 5.2). Pure.

use crate::Violation;

/// The longest head: two bytes, a length of eight, a mask.
pub(crate) const HEAD_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// In the first byte: the last frame of its message.
pub(crate) const FIN: u8 = 0x80;

/// In the second byte: a mask follows the length.
pub(crate) const MASKED: u8 = 0x80;

/// A length of two bytes follows.
const LENGTH_16: u8 = 126;

/// A length of eight bytes follows.
const LENGTH_64: u8 = 127;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next part of a message.
    Continuation = 0,
    /// A text message, or its first part.
    Text = 1,
    /// A binary message, or its first part.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// A sign of life that wants an answer.
    Ping = 9,
    /// The answer.
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

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Who sent a frame: clients mask, servers do not (RFC 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Server,
}

/// The head of a frame, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// RSV1: the message that starts here is deflated (RFC 7692 section 6).
    pub(crate) deflated: bool,
    pub(crate) opcode: Opcode,
    /// Bytes of payload that follow.
    pub(crate) length: u64,
    /// Zeros when the sender does not mask.
    pub(crate) mask: [u8; 4],
}

impl Header {
    /// Reads a head that starts at the first byte, as far as it is there. Returns `None` while bytes
    /// are missing, otherwise the head and how many bytes it took. A violation is returned as soon as
    /// it can be seen.
    pub(crate) fn read(bytes: &[u8], sender: Sender) -> Result<Option<(Self, usize)>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x30 != 0 {
            return Err(Violation::ReservedBit);
        }
        let (fin, deflated) = (first & FIN != 0, first & 0x40 != 0);
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::Opcode(first & 0x0f))?;
        if deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Violation::ReservedBit);
        }
        match (sender, second & MASKED != 0) {
            (Sender::Client, true) | (Sender::Server, false) => {}
            (Sender::Client, false) => return Err(Violation::Unmasked),
            (Sender::Server, true) => return Err(Violation::Masked),
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
        let (mask, rest) = match sender {
            Sender::Server => ([0; 4], rest),
            Sender::Client => {
                let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (*mask, rest)
            }
        };
        Ok(Some((Self { fin, deflated, opcode, length, mask }, bytes.len() - rest.len())))
    }
}

/// Appends the first byte of a head and the length of the payload; `masked` is [`MASKED`] or zero.
pub(crate) fn write(first: u8, masked: u8, length: usize, out: &mut Vec<u8>) {
    out.push(first);
    if let Ok(short) = u8::try_from(length)
        && usize::from(short) <= CONTROL_BYTES_MAX
    {
        out.push(masked | short);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(masked | LENGTH_16);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(masked | LENGTH_64);
        out.extend_from_slice(&(length as u64).to_be_bytes());
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
            let (header, used) = Header::read(&bytes, Sender::Client).unwrap().unwrap();
            assert_eq!((header.length, header.mask, used), (length, MASK, bytes.len()));
            for cut in 0..bytes.len() {
                assert_eq!(Header::read(&bytes[..cut], Sender::Client), Ok(None));
            }
        }
        for bytes in [
            head(0x81, 0x80 | 126, &125u16.to_be_bytes()),
            head(0x81, 0x80 | 127, &65_535u64.to_be_bytes()),
            head(0x81, 0x80 | 127, &(1u64 << 63).to_be_bytes()),
        ] {
            assert_eq!(Header::read(&bytes, Sender::Client), Err(Violation::Length));
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
            assert_eq!(
                Header::read(&[first, second], Sender::Client),
                Err(violation),
                "{first:x} {second:x}"
            );
        }
    }
}
