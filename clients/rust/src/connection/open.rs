//! Opening a WebSocket.

use std::time::Duration;

use http::{HeaderValue, Uri, header};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{self, client::IntoClientRequest, protocol::WebSocketConfig},
};

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
    let connector = if url.scheme_str() == Some("wss") { tls()? } else { None };
    // Commands are small, and somebody waits for each.
    let opening = connect_async_tls_with_config(request, Some(config), true, connector);
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

/// TLS by rustls with ring, whatever the process has chosen as its default.
#[cfg(feature = "tls")]
fn tls() -> Result<Option<Connector>, ConnectError> {
    use std::sync::Arc;

    use rustls::{ClientConfig, RootCertStore, crypto::ring};

    let mut roots = RootCertStore::empty();
    // Certificates that cannot be read are those that nothing is signed with; none at all shows in handshakes.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Network(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Connector::Rustls(Arc::new(config))))
}

#[cfg(not(feature = "tls"))]
fn tls() -> Result<Option<Connector>, ConnectError> {
    // Addresses that need it are refused before.
    Ok(Some(Connector::Plain))
}
