//! Messages as the frames of a socket.

use bytes::{BufMut, Bytes, BytesMut};
use common::{
    Epoch, Stream,
    message::{Encoding, Form, Message},
    msgpack,
};
use fanout::{Block, Delivery};
use websocket::{
    Deflate,
    frame::{self, Kind},
};

use crate::{
    edge::traffic,
    subscriptions::{At, Outbox},
};

/// Frames for the next write. Those of events are the same bytes for every connection that takes them
/// in the same form.
pub(super) struct Frames {
    encoding: Encoding,
    deflate: Deflate,
    /// Messages from this size on are deflated, where the connection takes that. The same for all
    /// connections of a node, because frames are shared.
    deflate_bytes_min: usize,
    frames: Vec<Bytes>,
    bytes: usize,
    batch: Option<Batch>,
}

/// Messages for one frame, of a client that takes arrays.
#[derive(Default)]
struct Batch {
    /// The first one's frame, in case it stays alone.
    first: Bytes,
    messages: Vec<Bytes>,
}

/// What is handed to the socket at a time. The kernel's own buffer comes on top.
const OUTBOUND_BYTES_MAX: usize = 64 * 1024;

/// Places for frames that an idle connection keeps.
const FRAMES_KEPT: usize = 4;

impl Frames {
    pub(super) fn new(encoding: Encoding, deflate: Deflate, deflate_bytes_min: usize, batch: bool) -> Self {
        let batch = batch.then(Batch::default);
        Self { encoding, deflate, deflate_bytes_min, frames: Vec::new(), bytes: 0, batch }
    }

    /// How the connection reads and writes messages.
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes that the kernel has not taken, of messages that were handed out.
    pub(super) fn waiting_bytes(&self) -> usize {
        let batch: usize = self.batch.iter().flat_map(|batch| &batch.messages).map(Bytes::len).sum();
        self.frames.iter().map(Bytes::len).sum::<usize>() + batch
    }

    /// The frames to write; the writer takes them out.
    pub(super) fn frames(&mut self) -> &mut Vec<Bytes> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if let Some(batch) = &mut self.batch {
            let first = std::mem::take(&mut batch.first);
            match batch.messages.len() {
                0 => {}
                1 => self.frames.push(first),
                _ => {
                    let array = array(self.encoding, &batch.messages);
                    let frame = frame::message(kind(self.encoding), &array);
                    bytes = frame.len();
                    self.frames.push(frame);
                }
            }
            batch.messages.clear();
        }
        traffic::WEBSOCKET.sent(bytes as u64);
        &mut self.frames
    }

    /// Gives back the memory that a replay has taken: an idle connection holds nothing large.
    pub(super) fn shrink(&mut self) {
        if self.frames.capacity() > FRAMES_KEPT {
            self.frames = Vec::new();
        }
        if let Some(batch) = &mut self.batch
            && batch.messages.capacity() > FRAMES_KEPT
        {
            batch.messages = Vec::new();
        }
    }

    /// The frames of events one behind the other. `None` where one of them may be deflated: then it depends
    /// on more than the form.
    fn frames_of(&self, events: &[Delivery]) -> Option<Bytes> {
        let mut frames = BytesMut::new();
        for Delivery { event, .. } in events {
            let message = event.message();
            if self.deflate.is_on() && message.encoded(self.encoding).len() >= self.deflate_bytes_min {
                return None;
            }
            frames.put_slice(&self.frame(message));
        }
        Some(frames.freeze())
    }

    fn frame(&self, message: &Message) -> Bytes {
        let bytes = message.encoded(self.encoding).len();
        let deflate = bytes >= self.deflate_bytes_min && self.deflate.may_send(bytes);
        let form = Form { encoding: self.encoding, deflate };
        let encode = if deflate { frame::deflated } else { frame::message };
        message.frame(form, |encoded| encode(kind(self.encoding), encoded)).clone()
    }
}

impl Outbox for Frames {
    fn push(&mut self, message: &Message, _at: Option<At<'_>>) {
        let alone = self.batch.as_ref().is_none_or(|batch| batch.messages.is_empty());
        let frame = if alone { self.frame(message) } else { Bytes::new() };
        let encoding = self.encoding;
        match &mut self.batch {
            None => {
                self.bytes += frame.len();
                self.frames.push(frame);
            }
            Some(batch) => {
                if alone {
                    batch.first = frame;
                }
                let encoded = message.encoded(encoding).clone();
                self.bytes += encoded.len();
                batch.messages.push(encoded);
            }
        }
    }

    fn push_block(&mut self, block: &Block, stream: &Stream, epoch: &Epoch) {
        let form = Form { encoding: self.encoding, deflate: self.deflate.is_on() };
        let together =
            if self.batch.is_none() { block.bytes(form, |events| self.frames_of(events)) } else { None };
        if let Some(bytes) = together {
            self.bytes += bytes.len();
            self.frames.push(bytes.clone());
            return;
        }
        self.push_each(block, stream, epoch);
    }

    fn is_full(&self) -> bool {
        self.bytes >= OUTBOUND_BYTES_MAX
    }
}

fn kind(encoding: Encoding) -> Kind {
    match encoding {
        Encoding::Json => Kind::Text,
        Encoding::MessagePack => Kind::Binary,
    }
}

/// Encoded messages as one array of them.
fn array(encoding: Encoding, messages: &[Bytes]) -> Bytes {
    let bytes: usize = messages.iter().map(|message| message.len() + 1).sum();
    let mut array = BytesMut::with_capacity(bytes + 5);
    match encoding {
        Encoding::Json => {
            for (index, message) in messages.iter().enumerate() {
                array.put_u8(if index == 0 { b'[' } else { b',' });
                array.put_slice(message);
            }
            array.put_u8(b']');
        }
        Encoding::MessagePack => {
            array.put_slice(&msgpack::array_header(messages.len()));
            for message in messages {
                array.put_slice(message);
            }
        }
    }
    array.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &'static str) -> Message {
        Message::new(Bytes::from_static(json.as_bytes()))
    }

    #[test]
    fn followers_in_one_form_share_the_bytes() {
        let event = message(r#"{"a":1}"#);
        let written = [(); 2].map(|()| {
            let mut frames = Frames::new(Encoding::Json, Deflate::OFF, 1024, false);
            frames.push(&event, None);
            frames.frames()[0].as_ptr()
        });
        assert_eq!(written[0], written[1]);
    }

    #[test]
    fn what_waits_goes_into_one_frame_where_that_is_wanted() {
        let mut frames = Frames::new(Encoding::Json, Deflate::OFF, 1024, true);
        let (one, two) = (message(r#"{"a":1}"#), message(r#"{"a":2}"#));
        frames.push(&one, None);
        assert_eq!(frames.frames().drain(..).collect::<Vec<_>>(), [&b"\x81\x07{\"a\":1}"[..]]);
        frames.push(&one, None);
        frames.push(&two, None);
        assert_eq!(frames.frames().drain(..).collect::<Vec<_>>(), [&b"\x81\x11[{\"a\":1},{\"a\":2}]"[..]]);
        assert!(frames.is_empty() && frames.frames().is_empty());
        let mut frames = Frames::new(Encoding::MessagePack, Deflate::OFF, 1024, true);
        frames.push(&one, None);
        frames.push(&two, None);
        assert_eq!(frames.frames()[0], &b"\x82\x09\x92\x81\xa1a\x01\x81\xa1a\x02"[..]);
    }
}
