//! A client's connection, as the HTTP layer reads and writes it: what is late is cut off, and the end comes
//! in good order.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink},
    net::TcpStream,
    runtime::Handle,
    time::{Sleep, sleep, timeout},
};

use super::exchange::Exchanges;
use crate::edge::traffic;

/// How long a client may go on sending after the server has said its last word.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// A connection. Dropping it closes it in good order, unless [`Stream::into_tcp`] has taken it.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None` once it was taken.
    tcp: Option<TcpStream>,
    exchanges: Arc<Exchanges>,
    /// How many exchanges had begun when it was last read.
    begun: usize,
    headers_max: Duration,
    /// When the headers that are awaited have to be there; `None` while none are: in an exchange, and
    /// between two, when the client has sent nothing yet.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// A new connection, on which headers are awaited.
    pub(super) fn new(tcp: TcpStream, exchanges: Arc<Exchanges>, headers_max: Duration) -> Self {
        let overdue = Some(Box::pin(sleep(headers_max)));
        Self { tcp: Some(tcp), exchanges, begun: 0, headers_max, overdue }
    }

    /// The connection itself, from then on the caller's.
    pub(super) fn into_tcp(mut self) -> Option<TcpStream> {
        self.tcp.take()
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.tcp.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let begun = self.exchanges.begun();
        if begun != self.begun {
            // The headers that were awaited have come.
            self.begun = begun;
            self.overdue = None;
        }
        let before = buffer.filled().len();
        if self.tcp()?.poll_read(context, buffer)?.is_ready() {
            traffic::HTTP.received((buffer.filled().len() - before) as u64);
            let begins = buffer.filled().len() > before && !self.exchanges.any_open();
            if begins && self.overdue.is_none() {
                self.overdue = Some(Box::pin(sleep(self.headers_max)));
            }
            return Poll::Ready(Ok(()));
        }
        match &mut self.overdue {
            Some(overdue) => {
                ready!(overdue.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write(context, bytes).map(counted)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tcp()?.poll_write_vectored(context, parts).map(counted)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_shutdown(context)
    }
}

/// Counts what was written.
fn counted(written: io::Result<usize>) -> io::Result<usize> {
    written.inspect(|bytes| traffic::HTTP.sent(*bytes as u64))
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let (Some(tcp), Ok(runtime)) = (self.tcp.take(), Handle::try_current()) {
            runtime.spawn(close(tcp));
        }
    }
}

/// Closes a connection on which the client may still be sending. Closed with anything unread, it would be
/// reset, and the client, or a proxy before it, could lose the answer that it was about to read.
async fn close(mut tcp: TcpStream) {
    let end = async {
        tcp.shutdown().await?;
        copy(&mut tcp, &mut sink()).await
    };
    // However that ends, nothing is left to be done.
    let _ = timeout(LINGER_MAX, end).await;
}
