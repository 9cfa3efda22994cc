//! Serving a router on a TCP listener, with what `axum::serve` leaves out: a time limit on request
//! headers, no delay on small writes, and a stop that lets requests under way finish.

use std::{io, pin::pin, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt;
use tracing::{debug, warn};

/// How long a client may take to send its request line and headers. Without it, clients that send a
/// byte a minute hold connections for nothing.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take to finish once the listener stops.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// For how long a client may take nothing of what was sent to it before the kernel ends the connection
/// (RFC 5482). What reads an answer, or an event stream, and stops, is found by nobody else.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The pause after a failed accept: when the process is out of file descriptors, the next one fails too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Request headers, in bytes: a token of 16 KiB fits.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Serves until `stop` becomes true, then lets what is under way finish.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    // Every connection holds a sender; when the last is gone, receiving ends.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, _)) => spawn(stream, router.clone(), stop.clone(), alive.clone()),
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

fn spawn(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>, alive: mpsc::Sender<()>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "small writes may be delayed");
    }
    let stall_ms = u32::try_from(STALL_MAX.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, stall_ms) {
        debug!(%error, "a client that does not read may hold its connection");
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    tokio::spawn(async move {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIMEOUT)
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
