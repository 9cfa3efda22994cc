//! Opening a WebSocket.

use std::time::Duration;

use http::{HeaderValue, Uri, header};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream,
    tungstenite::{self, client::IntoClientRequest, protocol::WebSocketConfig},
};

#[cfg(feature = "tls")]
use tokio_tungstenite::connect_async_tls_with_config;
#[cfg(not(feature = "tls"))]
use tokio_tungstenite::connect_async_with_config;

use crate::{address, error::ConnectError};

/// For name resolution, TCP, TLS and the handshake together.
const OPEN_WAIT: Duration = Duration::from_secs(15);

/// The longest message taken: a `SNAPSHOT` has all drafts of a user, by default 500 of 64 KiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Read at once. The library's own 128 KiB are for servers with few connections.
const READ_BUFFER_BYTES: usize = 16 << 10;

const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("draftwire.v1.json");

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a connection, on which `WELCOME` comes next.
pub(super) async fn open(
    url: &Uri,
    query: &[(&'static str, String)],
    token: Option<&str>,
    #[cfg_attr(not(feature = "tls"), expect(unused_variables))] connector: Connector,
) -> Result<Socket, ConnectError> {
    let mut request = address::with_query(url, query).into_client_request().map_err(of_tungstenite)?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    if let Some(token) = token {
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ConnectError::TokenText)?;
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    // Commands are small, and somebody waits for each.
    let at_once = true;
    #[cfg(feature = "tls")]
    let opening = connect_async_tls_with_config(request, Some(config), at_once, Some(connector));
    #[cfg(not(feature = "tls"))]
    let opening = connect_async_with_config(request, Some(config), at_once);
    match timeout(OPEN_WAIT, opening).await {
        Ok(opened) => opened.map(|(socket, _)| socket).map_err(of_tungstenite),
        Err(_) => Err(ConnectError::Timeout(OPEN_WAIT)),
    }
}

pub(super) fn of_tungstenite(error: tungstenite::Error) -> ConnectError {
    match error {
        tungstenite::Error::Http(response) => ConnectError::Status(response.status().as_u16()),
        error => ConnectError::Network(Box::new(error)),
    }
}
