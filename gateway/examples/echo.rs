//! An echo server made of the WebSocket layer alone, for the Autobahn test suite
//! (`gateway/tests/autobahn`).
//!
//! `cargo run -p gateway --example echo -- 127.0.0.1:9001`; port 0 is a free one. Prints its address.

use std::time::Duration;

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use gateway::edge::listener;
use hyper::upgrade::OnUpgrade;
use tokio::{net::TcpListener, sync::watch};
use websocket::{Deflate, Ended, Handshake, Received, Socket, frame};

/// The largest message of the suite has 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

const STALL_MAX: Duration = Duration::from_secs(30);

const CLOSE_WAIT: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).context("give an address, such as 127.0.0.1:9001")?;
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let (_stop, stopped) = watch::channel(false);
    let router = Router::new().route("/", get(upgrade));
    listener::serve(listener, router, listener::Patience::default(), stopped).await;
    Ok(())
}

async fn upgrade(mut request: Request) -> Response {
    let Some(handshake) = Handshake::of(&request) else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let deflate = handshake.deflate();
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else { return };
        if let Some((stream, unread)) = listener::take_over(upgraded) {
            echo(Socket::new(stream, &unread, deflate, MESSAGE_BYTES_MAX), deflate).await;
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    handshake.answer(response.headers_mut());
    response
}

async fn echo(mut socket: Socket, deflate: Deflate) {
    let ended = loop {
        let (kind, payload) = match socket.receive().await {
            Ok(Received::Text(text)) => (frame::Kind::Text, text.into()),
            Ok(Received::Binary(bytes)) => (frame::Kind::Binary, bytes),
            Ok(Received::Pong(_) | Received::Alive) => continue,
            Err(ended) => break ended,
        };
        let encode = if deflate.may_send(payload.len()) { frame::deflated } else { frame::message };
        if let Err(ended) = socket.send(&mut vec![encode(kind, &payload)], STALL_MAX).await {
            break ended;
        }
    };
    match ended {
        Ended::Gone => socket.part().await,
        Ended::Stalled => socket.close(1008, &ended.to_string(), CLOSE_WAIT).await,
        Ended::Violation(violation) => {
            socket.close(violation.code(), &ended.to_string(), CLOSE_WAIT).await;
        }
    }
}
