//! A server's end of a WebSocket (RFC 6455) on a TCP connection.
//!
//! Nothing is buffered per connection. What is read goes through a buffer of the thread, and what is
//! sent is written from where it is, many frames at once. All that changes the state happens between
//! two awaits, so every call that does not end the connection can be cancelled at any time and goes
//! on where it was.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    mem,
    task::Poll,
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    task::coop::consume_budget,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Deflate, Violation, frame,
    reader::{Incoming, Reader},
};

/// What is read at a time; a buffer per thread.
const READ_BYTES: usize = 16 * 1024;

/// Frames that are written at a time.
const FRAMES_AT_ONCE: usize = 64;

/// How long a client that is done, or that sent nonsense, may be silent before the connection is
/// dropped.
const QUIET: Duration = Duration::from_millis(250);

/// How long a client that closes may take to read the answer and go.
const PART_MAX: Duration = Duration::from_secs(2);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A server's end of a WebSocket after the handshake.
///
/// Dropping it drops the connection without a word.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// Read, but not yet looked at: messages behind the one that was given out last.
    unread: Bytes,
    phase: Phase,
    /// Only while there is something that has to go out before anything else.
    owed: Option<Box<Owed>>,
}

/// What has to go out before anything else, in this order.
#[derive(Debug, Default)]
struct Owed {
    /// The rest of a frame whose beginning the kernel has.
    begun: Bytes,
    /// A pong, or the answer to a close frame. Of several pings the last is answered (RFC 6455 section
    /// 5.5.3), so there is never more than one.
    answer: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages go both ways.
    Open,
    /// The client has broken a rule: what it sends is no longer read as frames.
    Garbled,
    /// We have sent a close frame.
    Closing,
    /// Both have closed, but for what is owed; the connection is still there.
    Closed,
    /// The connection broke.
    Broken,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// An answer to a ping, with its payload, or one that was not asked for.
    Pong(Bytes),
    /// A ping, which is answered here: a sign of life.
    Alive,
}

/// Why nothing more comes, or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The client has closed, or the connection broke.
    #[error("the client has gone")]
    Gone,
    /// The client takes nothing any more.
    #[error("the client has stopped reading")]
    Stalled,
    /// The client has broken a rule; [`Violation::code`] is what to close with.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl Socket {
    /// On a connection after the handshake. `unread` is what came behind the request.
    pub fn new(stream: TcpStream, unread: &[u8], deflate: Deflate, message_bytes_max: usize) -> Self {
        let reader = Reader::new(deflate, message_bytes_max);
        // The listener bounds how long a client may take nothing; here the caller of `send` does, and
        // closes with a reason. An error means that the connection is gone, which shows by itself.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, 0);
        // A copy: nearly always of nothing, and it must not keep the buffer that the request was read
        // into.
        let unread = Bytes::copy_from_slice(unread);
        Self { stream, reader, unread, phase: Phase::Open, owed: None }
    }

    /// Waits for the next message. Pings and the client's close frame are answered by the way.
    /// Cancel-safe.
    ///
    /// # Errors
    /// - [`Ended::Gone`]: nobody has to be told; [`Socket::part`] should follow.
    /// - [`Ended::Violation`]: once; [`Socket::close`] should follow.
    pub async fn receive(&mut self) -> Result<Received, Ended> {
        loop {
            // A client that sends without a pause must not have the thread to itself.
            consume_budget().await;
            if !matches!(self.phase, Phase::Open | Phase::Closing) {
                return Err(Ended::Gone);
            }
            let received = if self.unread.is_empty() {
                if self.ready().await.is_err() {
                    return Err(self.gone());
                }
                // Whichever is not possible asks the kernel for nothing.
                self.write_owed()?;
                self.read()?
            } else {
                self.read_on()?
            };
            if let Some(received) = received {
                return Ok(received);
            }
        }
    }

    /// Sends frames, together: what fits goes out in one write. Returns once the kernel has taken all
    /// of them. Cancel-safe: `frames` keeps those that have not been begun, and one that has is ended
    /// by whatever is called next.
    ///
    /// # Errors
    /// - [`Ended::Stalled`]: the kernel took not one byte for `stall_max`.
    /// - [`Ended::Gone`]: the connection broke, or one side has closed.
    pub async fn send(&mut self, frames: &mut Vec<Bytes>, stall_max: Duration) -> Result<(), Ended> {
        if self.phase != Phase::Open {
            return Err(Ended::Gone);
        }
        self.write_all(frames, stall_max).await
    }

    /// Bytes that the kernel has not taken, of frames that it has taken a part of, and of answers to pings.
    pub fn owed_bytes(&self) -> usize {
        self.owed.as_ref().map_or(0, |owed| owed.begun.len() + owed.answer.len())
    }

    /// Sends what the kernel takes at once. Returns whether that was all; `frames` keeps those that have not
    /// been begun, for [`Socket::send`].
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn try_send(&mut self, frames: &mut Vec<Bytes>) -> Result<bool, Ended> {
        if self.phase != Phase::Open {
            return Err(Ended::Gone);
        }
        // What a session hands out at a time is bounded, so that this ends soon.
        while self.owed.is_some() || !frames.is_empty() {
            match self.write(frames) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(true)
    }

    /// Sends a ping with a payload of up to 125 bytes, which comes back as [`Received::Pong`].
    /// Cancel-safe; a ping that is cancelled before it is begun is not sent.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub async fn ping(&mut self, payload: &[u8], stall_max: Duration) -> Result<(), Ended> {
        self.send(&mut vec![frame::ping(payload)], stall_max).await
    }

    /// Closes: says why, waits for the other side to have read it, and drops the connection. After
    /// `wait` it is dropped in any case, so that a client that neither reads nor closes ends too.
    pub async fn close(mut self, code: u16, reason: &str, wait: Duration) {
        // On the heap, because every connection would hold the room for it.
        let _ = timeout(wait, Box::pin(self.shake_hands(frame::close(Some((code, reason))), wait))).await;
    }

    /// Ends the connection of a client that has closed, once it has read the answer; or drops one that broke.
    /// It takes two seconds at most, however the client behaves.
    pub async fn part(mut self) {
        // On the heap, because every connection would hold the room for it.
        let _ = timeout(PART_MAX, Box::pin(self.end())).await;
    }

    async fn shake_hands(&mut self, close: Bytes, wait: Duration) {
        if matches!(self.phase, Phase::Open | Phase::Garbled) {
            if let Some(owed) = &mut self.owed {
                owed.answer = Bytes::new();
            }
            if self.write_all(&mut vec![close], wait).await.is_err() {
                return;
            }
        }
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
        // Until the client has closed as well, or sends what is no frame.
        while self.receive().await.is_ok() {}
        self.end().await;
    }

    /// Ends the connection once nothing is read from it any more as frames.
    async fn end(&mut self) {
        // It is the server that closes first (RFC 6455 section 7.1.1).
        let done = match self.phase {
            Phase::Closed => {
                self.write_all(&mut Vec::new(), PART_MAX).await.is_ok()
                    && self.stream.shutdown().await.is_ok()
            }
            Phase::Garbled => true,
            Phase::Open | Phase::Closing | Phase::Broken => false,
        };
        if done {
            self.discard().await;
        }
    }

    /// Throws away what still comes, until the client goes or is quiet. A socket that is closed with
    /// unread bytes is reset, and a reset may overtake the close frame.
    async fn discard(&mut self) {
        while let Ok(Ok(())) = timeout(QUIET, self.stream.readable()).await {
            consume_budget().await;
            match READ.with_borrow_mut(|buffer| self.stream.try_read(buffer)) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Waits until something can be read, or written where something is owed. Asked at every turn of a
    /// session, and nearly always in vain: so it takes the socket's one place for readers, where
    /// [`TcpStream::ready`] would enter a list and leave it.
    async fn ready(&self) -> io::Result<()> {
        poll_fn(|context| {
            if self.owed.is_some()
                && let Poll::Ready(ready) = self.stream.poll_write_ready(context)
            {
                return Poll::Ready(ready);
            }
            self.stream.poll_read_ready(context)
        })
        .await
    }

    /// Reads once, and answers the first message that is whole with it.
    fn read(&mut self) -> Result<Option<Received>, Ended> {
        let incoming = READ.with_borrow_mut(|buffer| {
            let length = match self.stream.try_read(buffer) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Ok(None)),
                Ok(0) | Err(_) => return Err(Ended::Gone),
            };
            let mut input = &buffer[..length];
            let incoming = self.reader.read(&mut input);
            if !input.is_empty() {
                self.unread = Bytes::copy_from_slice(input);
            }
            Ok(incoming)
        });
        match incoming {
            Ok(incoming) => self.taken(incoming),
            Err(_) => Err(self.gone()),
        }
    }

    /// Goes on with what was read before.
    fn read_on(&mut self) -> Result<Option<Received>, Ended> {
        let mut input = &self.unread[..];
        let incoming = self.reader.read(&mut input);
        let taken = self.unread.len() - input.len();
        if input.is_empty() {
            // The last of it gives the memory back.
            self.unread = Bytes::new();
        } else {
            self.unread.advance(taken);
        }
        self.taken(incoming)
    }

    fn taken(&mut self, incoming: Result<Option<Incoming>, Violation>) -> Result<Option<Received>, Ended> {
        match incoming {
            Ok(None) => Ok(None),
            Ok(Some(Incoming::Text(text))) => Ok(Some(Received::Text(text))),
            Ok(Some(Incoming::Binary(bytes))) => Ok(Some(Received::Binary(bytes))),
            Ok(Some(Incoming::Pong(payload))) => Ok(Some(Received::Pong(payload))),
            Ok(Some(Incoming::Ping(payload))) => {
                if self.phase == Phase::Open {
                    self.answer(frame::pong(&payload))?;
                }
                Ok(Some(Received::Alive))
            }
            Ok(Some(Incoming::Close(code))) => {
                self.unread = Bytes::new();
                let answers = self.phase == Phase::Open;
                self.phase = Phase::Closed;
                if answers {
                    self.answer(frame::close(code.map(|code| (code, ""))))?;
                }
                Ok(None)
            }
            Err(violation) => {
                self.phase = Phase::Garbled;
                // What is kept of an unfinished message is of no use any more.
                self.reader = Reader::new(Deflate::OFF, 0);
                self.unread = Bytes::new();
                Err(violation.into())
            }
        }
    }

    /// Owes a control frame, and pays at once if the kernel takes it.
    fn answer(&mut self, frame: Bytes) -> Result<(), Ended> {
        self.owed.get_or_insert_default().answer = frame;
        self.write_owed()
    }

    fn write_owed(&mut self) -> Result<(), Ended> {
        while self.owed.is_some() {
            match self.write(&mut Vec::new()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(())
    }

    async fn write_all(&mut self, frames: &mut Vec<Bytes>, stall_max: Duration) -> Result<(), Ended> {
        let mut stalled_at = None;
        while self.owed.is_some() || !frames.is_empty() {
            consume_budget().await;
            match self.write(frames) {
                Ok(()) => stalled_at = None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stalled_at = *stalled_at.get_or_insert_with(|| Instant::now() + stall_max);
                    match timeout_at(stalled_at, self.stream.writable()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Err(self.gone()),
                        Err(_) => return Err(Ended::Stalled),
                    }
                }
                Err(_) => return Err(self.gone()),
            }
        }
        Ok(())
    }

    /// Writes once: what is owed, then frames, as much as the kernel takes. What it took is taken off;
    /// the rest of a frame that it took a part of is owed.
    fn write(&mut self, frames: &mut Vec<Bytes>) -> io::Result<()> {
        let mut written = self.attempt(frames)?;
        if let Some(owed) = &mut self.owed {
            written = owed.paid(written);
            if owed.begun.is_empty() && owed.answer.is_empty() {
                self.owed = None;
            }
        }
        let whole = frames.iter().take_while(|frame| {
            let left = written.checked_sub(frame.len());
            written = left.unwrap_or(written);
            left.is_some()
        });
        let mut done = whole.count();
        if written > 0
            && let Some(frame) = frames.get(done)
        {
            self.owed.get_or_insert_default().begun = frame.slice(written..);
            done += 1;
        }
        frames.drain(..done);
        Ok(())
    }

    /// Gives the kernel what is owed and what comes first of `frames`. Returns how many bytes it took.
    fn attempt(&self, frames: &[Bytes]) -> io::Result<usize> {
        let written = if let (None, [frame]) = (&self.owed, frames) {
            // One event at a time is what a follower that keeps pace gets, and a plain write is cheaper.
            self.stream.try_write(frame)?
        } else {
            let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
            let owed = self.owed.iter().flat_map(|owed| [&owed.begun, &owed.answer]);
            let pending = owed.chain(frames).filter(|bytes| !bytes.is_empty());
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(pending) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            if count == 0 {
                return Ok(0);
            }
            self.stream.try_write_vectored(&slices[..count])?
        };
        if written == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    fn gone(&mut self) -> Ended {
        self.phase = Phase::Broken;
        Ended::Gone
    }
}

impl Owed {
    /// Takes off what was written. Returns how much of it was of something else.
    fn paid(&mut self, written: usize) -> usize {
        let begun = written.min(self.begun.len());
        self.begun.advance(begun);
        let answer = (written - begun).min(self.answer.len());
        if answer > 0 {
            // Whole or in part, it is no longer one that a newer answer may replace.
            self.begun = mem::take(&mut self.answer).slice(answer..);
        }
        written - begun - answer
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
