//! Frames of a client, put together to messages (RFC 6455 sections 5 to 8). No I/O: bytes in, messages
//! out.

use bytes::Bytes;

use crate::{
    Deflate, Violation, deflate,
    frame::Kind,
    header::{HEAD_BYTES_MAX, Header, Opcode, Sender},
    mask::unmask,
};

/// What a client has sent, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A ping, to be answered with its payload.
    Ping(Bytes),
    /// A pong, with the payload of the ping that it answers; or unasked for.
    Pong(Bytes),
    /// The client closes, with this code if it gives one. Nothing may follow.
    Close(Option<u16>),
}

/// Reads one client's frames.
///
/// What it holds is bounded: the unfinished message, which never exceeds the limit by more than a
/// deflated one is allowed to, and a control frame of 125 bytes. Between messages it holds nothing on
/// the heap.
#[derive(Debug)]
pub struct Reader {
    /// Four bytes are enough, and there are many readers.
    message_bytes_max: u32,
    inflates: bool,
    /// A head, as far as it has come.
    head: [u8; HEAD_BYTES_MAX],
    head_length: u8,
    /// The frame whose payload comes.
    frame: Option<Frame>,
    /// The message whose frames come.
    message: Option<Message>,
    bytes: Vec<u8>,
    /// How much of `bytes` is known to be UTF-8, while they are the text itself.
    utf8: usize,
    /// The payload of a control frame, which may come between the frames of a message.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    left: usize,
    /// Turned so that it starts with the next byte.
    mask: [u8; 4],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message {
    kind: Kind,
    deflated: bool,
}

impl Reader {
    /// For a connection with nothing read yet. Messages may have `message_bytes_max` bytes, over all
    /// their fragments and once they are inflated; never more than 4 GiB.
    pub fn new(deflate: Deflate, message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max: u32::try_from(message_bytes_max).unwrap_or(u32::MAX),
            inflates: deflate.is_on(),
            head: [0; HEAD_BYTES_MAX],
            head_length: 0,
            frame: None,
            message: None,
            bytes: Vec::new(),
            utf8: 0,
            control: Vec::new(),
        }
    }

    /// Takes bytes off the front of `input`, up to the end of a message or control frame, which it
    /// answers. `None`: all was taken, and more is needed.
    ///
    /// # Errors
    /// When the client breaks a rule, as soon as that is certain: text is checked while it comes, and
    /// a message that is announced as too large is not waited for. What is read afterwards makes no
    /// sense, so nothing should be.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Violation> {
        loop {
            if self.frame.is_none() {
                let Some(header) = self.header(input)? else { return Ok(None) };
                self.begin(&header)?;
            }
            let Some(frame) = &mut self.frame else { return Ok(None) };
            let taken;
            (taken, *input) = input.split_at(frame.left.min(input.len()));
            frame.left -= taken.len();
            let mask = frame.mask;
            frame.mask.rotate_left(taken.len() % mask.len());
            let (fin, opcode, left) = (frame.fin, frame.opcode, frame.left);
            let into = if opcode.is_control() {
                &mut self.control
            } else {
                let length = self.bytes.len() + taken.len();
                // Where the last frame is known, so is the end of the message.
                let most = if fin { length + left } else { self.bytes_max() };
                make_room(&mut self.bytes, length, most);
                &mut self.bytes
            };
            let start = into.len();
            into.extend_from_slice(taken);
            unmask(&mut into[start..], mask);
            if left > 0 {
                self.check_utf8()?;
                return Ok(None);
            }
            self.frame = None;
            if opcode.is_control() {
                let payload = std::mem::take(&mut self.control);
                return Ok(Some(control(opcode, payload)?));
            }
            if fin {
                return self.finish().map(Some);
            }
            self.check_utf8()?;
        }
    }

    /// Takes a head off the front of `input`, the part of it that came earlier included.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        let had = usize::from(self.head_length);
        let free = &mut self.head[had..];
        let more = free.len().min(input.len());
        free[..more].copy_from_slice(&input[..more]);
        match Header::read(&self.head[..had + more], Sender::Client)? {
            Some((header, used)) => {
                // The rest of what was copied is payload. A head that was incomplete before ends in
                // what is new.
                *input = &input[used.saturating_sub(had)..];
                self.head_length = 0;
                Ok(Some(header))
            }
            None => {
                *input = &input[more..];
                self.head_length = u8::try_from(had + more).unwrap_or(0);
                Ok(None)
            }
        }
    }

    /// Starts on the payload of a frame, if it may come now and is not too large.
    fn begin(&mut self, header: &Header) -> Result<(), Violation> {
        let opcode = header.opcode;
        if header.deflated && !self.inflates {
            return Err(Violation::ReservedBit);
        }
        let kind = match opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        };
        match (kind, self.message) {
            (Some(_), Some(_)) => return Err(Violation::Interleaved),
            (Some(kind), None) => self.message = Some(Message { kind, deflated: header.deflated }),
            (None, None) if opcode == Opcode::Continuation => return Err(Violation::Continuation),
            (None, _) => {}
        }
        let left = usize::try_from(header.length).map_err(|_| Violation::TooLarge)?;
        if !opcode.is_control() && left > self.bytes_max().saturating_sub(self.bytes.len()) {
            return Err(Violation::TooLarge);
        }
        self.frame = Some(Frame { fin: header.fin, opcode, left, mask: header.mask });
        Ok(())
    }

    fn message_bytes_max(&self) -> usize {
        usize::try_from(self.message_bytes_max).unwrap_or(usize::MAX)
    }

    /// How many bytes the message may have as it comes over the wire.
    fn bytes_max(&self) -> usize {
        match self.message {
            Some(Message { deflated: true, .. }) => deflate::deflated_bytes_max(self.message_bytes_max()),
            _ => self.message_bytes_max(),
        }
    }

    /// Checks text that has come so far, the last character only if it is whole. That a sequence cannot
    /// become one is known at its first wrong byte.
    fn check_utf8(&mut self) -> Result<(), Violation> {
        if self.message != Some(Message { kind: Kind::Text, deflated: false }) {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.utf8..]) {
            Ok(_) => self.utf8 = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.utf8 += error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }

    /// Ends the message.
    fn finish(&mut self) -> Result<Incoming, Violation> {
        self.utf8 = 0;
        let mut bytes = std::mem::take(&mut self.bytes);
        let Message { kind, deflated } = self.message.take().ok_or(Violation::Continuation)?;
        if deflated {
            bytes = deflate::inflate(&bytes, self.message_bytes_max())?;
        }
        Ok(match kind {
            Kind::Text => Incoming::Text(String::from_utf8(bytes).map_err(|_| Violation::Utf8)?),
            Kind::Binary => Incoming::Binary(bytes.into()),
        })
    }
}

/// Makes room for `length` bytes in all. It doubles, so that small fragments do not have the whole
/// copied for each of them, but not beyond `most`.
fn make_room(bytes: &mut Vec<u8>, length: usize, most: usize) {
    if length > bytes.capacity() {
        let room = bytes.capacity().saturating_mul(2).clamp(length, most.max(length));
        bytes.reserve_exact(room - bytes.len());
    }
}

fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Incoming, Violation> {
    match opcode {
        Opcode::Ping => Ok(Incoming::Ping(payload.into())),
        Opcode::Pong => Ok(Incoming::Pong(payload.into())),
        _ => closed(&payload).map(Incoming::Close),
    }
}

/// Reads the payload of a close frame (RFC 6455 section 5.5.1).
fn closed(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload.split_first_chunk() {
        Some((code, reason)) => (u16::from_be_bytes(*code), reason),
        None if payload.is_empty() => return Ok(None),
        None => return Err(Violation::CloseCode),
    };
    // Sections 7.4.1 and 7.4.2, and what is registered since: 1012, 1013, 1014.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::UnknownClose(code));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::Utf8),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
