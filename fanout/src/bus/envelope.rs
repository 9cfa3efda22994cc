//! What nodes send each other over a stream's channel.
//!
//! Version 4, all numbers big-endian; the stream is the channel's and is not repeated:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version |
//! | 1 + n | process that sent the copy: length, text |
//! | 1 + n | epoch that the sender last saw: length, text |
//! | 1 | what it holds: 1 events, 2 a signal, 3 presence, 4 what a node says of itself, 5 events of which some belong to a trace |
//!
//! then of events, which are consecutive,
//!
//! | bytes | |
//! |---|---|
//! | 8 | seq of the first |
//! | 8 | when their commit had ended, Unix microseconds |
//!
//! and for each of them
//!
//! | bytes | |
//! |---|---|
//! | 8 | timestamp, Unix milliseconds |
//! | 1 | priority |
//! | 1 + n | event type: length, text |
//! | 2 + n | origin: length, UTF-8 |
//! | 4 + n | payload: length, JSON |
//!
//! where some belong to a trace, each is preceded by
//!
//! | bytes | |
//! |---|---|
//! | 1 | 1 if it has a trace, otherwise 0 |
//! | 16 + 8 | of its trace: the id of the trace, the id of the span of its commit |
//!
//! of a signal
//!
//! | bytes | |
//! |---|---|
//! | 8 | its number among the sender's signals, which tells repeats |
//! | 1 + n | event type: length, text |
//! | 2 + n | origin: length, UTF-8 |
//! | rest | payload, JSON |
//!
//! of presence an announcement, and of a node what the gateway puts there.
//!
//! The epoch names the history that events count in, and tells clusters apart that share channels: a Redis has
//! one space of channels for all of its databases. What comes from a history that is not the node's own is
//! rejected, whatever it holds (see `repair::histories`).
//!
//! Version 3 is the same without the time at which commits had ended. A node reads it too, so that in a cluster that is
//! updated node by node the new ones lose nothing.
//!
//! A node that meets a version or a kind that it does not know drops the copy and counts it: its
//! followers get events by the sweep. So nodes of different versions can run side by side, slower but
//! right.

use std::{str::FromStr, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use common::{
    Epoch, Event, Priority, Seq, Signal, Stream, TraceContext,
    ids::{InvalidId, NodeId},
};
use serde_json::value::RawValue;

/// The version that this node writes.
const VERSION: u8 = 4;

/// The one before, which it reads as well.
const VERSION_BEFORE: u8 = 3;

const EVENTS: u8 = 1;
const SIGNAL: u8 = 2;
const PRESENCE: u8 = 3;
const NODE: u8 = 4;
const TRACED_EVENTS: u8 = 5;

/// A copy on its way between nodes.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The process that sent the copy.
    pub sender: NodeId,
    /// The history that the sender last saw; of events, the one that their `seq` counts in.
    pub epoch: Epoch,
    /// What it holds.
    pub body: Body<'a>,
}

/// What a copy holds.
#[derive(Debug)]
pub enum Body<'a> {
    /// Committed events.
    Events {
        /// Consecutive, at least one.
        events: Vec<Arc<Event>>,
        /// When their commit had ended, Unix microseconds, by the sender's clock; `None` from a node of the version
        /// before, which does not say it.
        committed_at: Option<u64>,
    },
    /// A signal.
    Signal {
        /// Its number among the sender's signals.
        number: u64,
        /// The signal.
        signal: Arc<Signal>,
    },
    /// Who is here through the sender; not read yet, because most nodes have nobody to tell.
    Presence(&'a [u8]),
    /// What a node says to the others, on the channel of the control stream. The fan-out does not read it.
    Node(&'a [u8]),
}

/// Why bytes are no envelope. The copy is dropped; the sweep finds what an event would have said.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Written by a node of another version.
    #[error("unknown version {0}")]
    Version(u8),
    /// It holds something that a newer node knows.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// It ends too early.
    #[error("truncated")]
    Truncated,
    /// It goes on where it should end.
    #[error("{0} trailing bytes")]
    TooLong(usize),
    /// More is listed than any node lists.
    #[error("a list of {0} devices is too long")]
    List(usize),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// A text breaks the rule of what it names.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Events are numbered from 1, and no further than numbers go.
    #[error("the seq is out of range")]
    Seq,
    /// The payload is not JSON.
    #[error("the payload is not JSON: {0}")]
    Payload(#[source] serde_json::Error),
}

impl EnvelopeError {
    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Kind(_) => "kind",
            Self::Truncated
            | Self::TooLong(_)
            | Self::List(_)
            | Self::Utf8(_)
            | Self::Id(_)
            | Self::Seq
            | Self::Payload(_) => "malformed",
        }
    }
}

/// Bytes after which a copy takes no more events: what is lost with one copy, and what a subscriber's
/// connection holds of it, stay small.
const COPY_BYTES_MAX: usize = 64 * 1024;

/// Writes copies of consecutive events of one stream: few, each of as many as fit, because what a copy
/// costs the bus depends little on its size. Their commit ended at `committed_at`, Unix microseconds.
pub fn events<'a>(
    sender: &'a NodeId,
    epoch: &'a Epoch,
    committed_at: u64,
    events: &'a [Arc<Event>],
) -> impl Iterator<Item = Bytes> + use<'a> {
    let mut left = events;
    std::iter::from_fn(move || {
        let first = left.first()?;
        let mut bytes = 0;
        let fitting = left.iter().take_while(|event| {
            let fits = bytes < COPY_BYTES_MAX;
            bytes += size(event);
            fits
        });
        let (copied, rest) = left.split_at(fitting.count());
        left = rest;
        let is_traced = copied.iter().any(|event| event.trace().is_some());
        let of_trace = if is_traced { 1 + TRACE_BYTES } else { 0 };
        let room = 8 + 8 + copied.iter().map(|event| size(event) + of_trace).sum::<usize>();
        let mut out = begin(sender, epoch, if is_traced { TRACED_EVENTS } else { EVENTS }, room);
        out.put_u64(first.seq.0);
        out.put_u64(committed_at);
        for event in copied {
            if is_traced {
                put_trace(&mut out, event);
            }
            put_event(&mut out, event);
        }
        Some(out.freeze())
    })
}

/// Bytes that one event takes in a copy: a number, a priority, three lengths, texts.
fn size(event: &Event) -> usize {
    let texts = event.kind.as_str().len() + event.origin.as_str().len() + event.payload.get().len();
    8 + 1 + 1 + 2 + 4 + texts
}

/// Bytes of the ids of a trace and of a span.
const TRACE_BYTES: usize = 16 + 8;

fn put_trace(out: &mut BytesMut, event: &Event) {
    match event.trace() {
        Some(trace) => {
            out.put_u8(1);
            out.put_slice(&trace.context.trace);
            out.put_slice(&trace.context.span);
        }
        None => out.put_u8(0),
    }
}

fn put_event(out: &mut BytesMut, event: &Event) {
    out.put_u64(event.timestamp);
    out.put_u8(event.priority.number());
    put_short(out, event.kind.as_str());
    put_text(out, event.origin.as_str());
    let payload = event.payload.get();
    out.put_u32(u32::try_from(payload.len()).expect("messages are at most 64 MiB"));
    out.put_slice(payload.as_bytes());
}

/// Writes a copy of a signal. `number` grows with each signal of the sender.
pub fn signal(sender: &NodeId, epoch: &Epoch, number: u64, signal: &Signal) -> Bytes {
    let (kind, origin, payload) = (signal.kind.as_str(), signal.origin.as_str(), signal.payload.get());
    // A number, a short length, a long one.
    let fixed = 8 + 1 + 2;
    let mut out = begin(sender, epoch, SIGNAL, fixed + kind.len() + origin.len() + payload.len());
    out.put_u64(number);
    put_short(&mut out, kind);
    put_text(&mut out, origin);
    out.put_slice(payload.as_bytes());
    out.freeze()
}

/// Writes a copy that says who is here through the sender.
pub(crate) fn presence(sender: &NodeId, epoch: &Epoch, body: &[u8]) -> Bytes {
    let mut out = begin(sender, epoch, PRESENCE, body.len());
    out.put_slice(body);
    out.freeze()
}

/// Writes what a node says to the others.
pub(crate) fn node(sender: &NodeId, epoch: &Epoch, body: &[u8]) -> Bytes {
    let mut out = begin(sender, epoch, NODE, body.len());
    out.put_slice(body);
    out.freeze()
}

/// What every copy begins with, and room for so many bytes more.
fn begin(sender: &NodeId, epoch: &Epoch, kind: u8, room: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(4 + sender.as_str().len() + epoch.as_str().len() + room);
    out.put_u8(VERSION);
    put_short(&mut out, sender.as_str());
    put_short(&mut out, epoch.as_str());
    out.put_u8(kind);
    out
}

/// Reads a copy that arrived on the stream's channel. Any bytes may be given.
///
/// # Errors
/// When they are no copy that this version knows.
pub fn decode<'a>(bytes: &'a [u8], stream: &Stream) -> Result<Envelope<'a>, EnvelopeError> {
    let mut rest = Reader(bytes);
    let version = version(&mut rest)?;
    let sender = rest.short_id()?;
    let epoch = rest.short_id()?;
    let body = match rest.u8()? {
        EVENTS => decode_events(rest, stream, version, |_| Ok(None))?,
        TRACED_EVENTS => decode_events(rest, stream, version, decode_trace)?,
        SIGNAL => decode_signal(rest, stream)?,
        PRESENCE => Body::Presence(rest.0),
        NODE => Body::Node(rest.0),
        other => return Err(EnvelopeError::Kind(other)),
    };
    Ok(Envelope { sender, epoch, body })
}

/// Reads events, each behind what `trace` reads.
fn decode_events(
    mut rest: Reader<'_>,
    stream: &Stream,
    version: u8,
    trace: fn(&mut Reader<'_>) -> Result<Option<TraceContext>, EnvelopeError>,
) -> Result<Body<'static>, EnvelopeError> {
    let mut seq = rest.u64()?;
    let committed_at = if version == VERSION_BEFORE { None } else { Some(rest.u64()?) };
    let mut events = Vec::new();
    while events.is_empty() || !rest.0.is_empty() {
        if seq == 0 {
            return Err(EnvelopeError::Seq);
        }
        let trace = trace(&mut rest)?;
        let mut event = decode_event(&mut rest, stream, Seq(seq))?;
        if let Some(trace) = trace {
            event.set_trace(trace);
        }
        events.push(Arc::new(event));
        // Past the last number comes zero, which is none.
        seq = seq.wrapping_add(1);
    }
    Ok(Body::Events { events, committed_at })
}

fn decode_trace(rest: &mut Reader<'_>) -> Result<Option<TraceContext>, EnvelopeError> {
    match rest.u8()? {
        0 => Ok(None),
        _ => Ok(Some(TraceContext { trace: rest.array()?, span: rest.array()? })),
    }
}

fn decode_event(rest: &mut Reader<'_>, stream: &Stream, seq: Seq) -> Result<Event, EnvelopeError> {
    let timestamp = rest.u64()?;
    let priority = Priority::from_number(rest.u8()?);
    let kind = rest.short_id()?;
    let origin = rest.text()?.parse()?;
    let len = usize::try_from(rest.u32()?).unwrap_or(usize::MAX);
    let payload = Reader(rest.take(len)?).json()?;
    Ok(Event::new(stream.clone(), seq, kind, origin, timestamp, payload).with_priority(priority))
}

fn decode_signal(mut rest: Reader<'_>, stream: &Stream) -> Result<Body<'static>, EnvelopeError> {
    let number = rest.u64()?;
    let kind = rest.short_id()?;
    let origin = rest.text()?.parse()?;
    let signal = Signal::new(stream.clone(), kind, origin, rest.json()?);
    Ok(Body::Signal { number, signal: Arc::new(signal) })
}

/// Who sent the copy, without reading the rest: a node skips its own. `None` when that cannot be told.
pub fn sender(bytes: &[u8]) -> Option<&str> {
    let mut rest = Reader(bytes);
    version(&mut rest).ok()?;
    std::str::from_utf8(rest.short().ok()?).ok()
}

fn version(rest: &mut Reader<'_>) -> Result<u8, EnvelopeError> {
    match rest.u8()? {
        version @ (VERSION | VERSION_BEFORE) => Ok(version),
        other => Err(EnvelopeError::Version(other)),
    }
}

/// Writes a text of at most 255 bytes: a name.
pub(crate) fn put_short(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("names between nodes are at most 64 ASCII characters"));
    out.put_slice(text.as_bytes());
}

/// Writes a text of any characters, which do not fit a one-byte length: 64 of them take up to 256 bytes.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("ids are at most 255 characters of 4 bytes"));
    out.put_slice(text.as_bytes());
}

/// What is left to read. Nothing is taken for granted of the bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(EnvelopeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(EnvelopeError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, EnvelopeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, EnvelopeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, EnvelopeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, EnvelopeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn short(&mut self) -> Result<&'a [u8], EnvelopeError> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// What [`put_short`] wrote.
    pub(crate) fn short_id<T: FromStr<Err = InvalidId>>(&mut self) -> Result<T, EnvelopeError> {
        Ok(std::str::from_utf8(self.short()?)?.parse()?)
    }

    /// What [`put_text`] wrote.
    pub(crate) fn text(&mut self) -> Result<&'a str, EnvelopeError> {
        let len = self.u16()?;
        Ok(std::str::from_utf8(self.take(len.into())?)?)
    }

    /// All that is left, as JSON.
    pub(crate) fn json(&mut self) -> Result<Box<RawValue>, EnvelopeError> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0))?.to_owned();
        RawValue::from_string(text).map_err(EnvelopeError::Payload)
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
