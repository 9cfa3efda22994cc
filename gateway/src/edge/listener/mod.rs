//! Serving a router on a TCP listener, with what `axum::serve` leaves out: time limits on request headers
//! and on idle connections, no delay on small writes, answers that a client can read to their end, and a
//! stop that lets requests under way finish.

mod exchange;
mod stream;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use hyper::{Request, body::Incoming, server::conn::http1, upgrade::Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::{debug, warn};

use self::{
    exchange::{AnswerBody, Exchanges, RequestBody},
    stream::Stream,
};

/// For how long clients may keep a connection waiting.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the headers of a request, from the moment of connecting, or from their first byte. Without it,
    /// clients that send a byte a minute hold connections for nothing.
    pub headers: Duration,
    /// For the next request. Proxies keep idle connections too, often for 60 s, and must be the first to
    /// close them: what they send on one that is being closed here is lost, and a 502 to their client.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { headers: Duration::from_secs(10), idle: Duration::from_secs(75) }
    }
}

/// How many connections may wait to be accepted: as many as the kernel allows (`net.core.somaxconn`), which
/// cuts this to its own bound. A whole audience comes in one instant when a page is reloaded for everybody,
/// and whom the queue has no room for tries again only after a second.
const BACKLOG: u32 = i32::MAX as u32;

/// How long requests under way may take to finish once the listener stops.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// For how long a client may take nothing of what was sent to it before the kernel ends the connection
/// (RFC 5482). What reads an answer, or an event stream, and stops, is found by nobody else.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The pause after a failed accept: when the process is out of file descriptors, the next one fails too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Request headers, in bytes: a token of 16 KiB fits.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Listens on an address.
///
/// # Errors
/// When it is taken, or not one of this machine's.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that starts again finds connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` becomes true, then lets what is under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    // Every connection holds a sender; when the last is gone, receiving ends.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, _)) => spawn(stream, router.clone(), patience, stop.clone(), alive.clone()),
            Err(error) => {
                if !is_of_the_peer(&error) {
                    warn!(%error, "cannot accept connections for a moment");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop((listener, alive));
    if timeout(FINISH_MAX, all_gone.recv()).await.is_err() {
        warn!("some requests did not finish in time");
    }
}

/// The connection of a request that [`serve`] has passed on and that was upgraded, and what came behind the
/// request; `None` if it is not of that kind.
pub fn take_over(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    Some((parts.io.into_inner().into_tcp()?, parts.read_buf))
}

fn spawn(
    stream: TcpStream,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "small writes may be delayed");
    }
    let stall_ms = u32::try_from(STALL_MAX.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, stall_ms) {
        debug!(%error, "a client that does not read may hold its connection");
    }
    let exchanges = Arc::new(Exchanges::default());
    let stream = Stream::new(stream, exchanges.clone(), patience.headers);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, exchange) = (router.clone(), exchanges.begin());
        async move {
            let (head, body) = request.into_parts();
            let body = RequestBody::new(body, &head.headers, exchange.clone());
            let answer = router.oneshot(Request::from_parts(head, axum::body::Body::new(body))).await;
            answer.map(|answer| answer.map(|body| AnswerBody::new(body, exchange)))
        }
    });
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Counted from the end of the exchange before; the stream counts from the first byte.
            .header_read_timeout(patience.idle)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "an HTTP connection broke");
        }
        drop(alive);
    });
}

/// Waits until the process stops serving; a sender that is gone means the same.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await.is_ok();
}

/// Errors of the connection that was about to be accepted, not of the listener (accept(2)).
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
