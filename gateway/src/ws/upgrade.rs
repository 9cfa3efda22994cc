//! The handshake: from an HTTP request to a session.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    Code, ConnectionId, Cursor, DeviceId,
    close::Close,
    protocol::{SUBPROTOCOL_BEARER, SUBPROTOCOL_JSON},
};
use hyper::upgrade::OnUpgrade;
use tracing::{Instrument, debug, info_span};

use super::{
    session::{self, Client},
    socket::{Socket, accept_key},
};
use crate::{
    auth::Identity,
    config::Origins,
    connections::Crowded,
    failure::Failure,
    http::{bearer, problem::Problem},
    node::Node,
};

/// `GET /ws/realtime`. Whatever is wrong with the token or the parameters is said after the upgrade,
/// with a close code: a browser cannot see the status of a failed one.
pub(crate) async fn upgrade(
    State(node): State<Arc<Node>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    mut request: Request,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return Problem::bad_request(error.body_text()).into_response(),
    };
    let headers = request.headers();
    if node.drain.is_stopping() {
        // Nginx tries the next node on a 503.
        return Problem::unavailable("this node is stopping").into_response();
    }
    if !origin_is_allowed(headers, &node.settings.listen.origins) {
        return Problem::from(Failure::new(Code::Forbidden, "this Origin is not in ALLOWED_ORIGINS"))
            .into_response();
    }
    let Some(key) = handshake_key(headers) else {
        return Problem::upgrade_required().into_response();
    };
    let accept = accept_key(key.as_bytes());
    let offered = Offered::of(headers);
    let client = match bearer::identify(&node, headers, offered.bearer.as_deref(), &query).await {
        Err(refused) => Err((refused.close(), refused.to_string())),
        Ok(identity) => client(identity, &query, &offered),
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Problem::upgrade_required().into_response();
    };
    tokio::spawn(async move {
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(%error, "the connection broke during the handshake"),
        };
        let socket = Socket::new(upgraded, node.settings.websocket.message_bytes_max).await;
        serve(node, client, socket).await;
    });
    switching(&accept, offered.json)
}

async fn serve(node: Arc<Node>, client: Result<Client, (Close, String)>, socket: Socket) {
    let (close, reason) = match client {
        Err(refused) => refused,
        Ok(client) => match node.connections.enter(&client.identity.user) {
            Ok(entered) => {
                let span = info_span!(
                    "connection",
                    id = %client.connection,
                    user = %client.identity.user,
                    device = %client.device,
                );
                session::run(node, client, socket).instrument(span).await;
                drop(entered);
                return;
            }
            Err(Crowded::Node) => {
                (Close::Overloaded, "this node has all the connections it takes".to_owned())
            }
            Err(Crowded::User) => (Close::TooMany, "too many connections of this user".to_owned()),
        },
    };
    socket.close(close, &reason).await;
}

/// Reads the parameters of the connection.
fn client(
    identity: Identity,
    query: &HashMap<String, String>,
    offered: &Offered,
) -> Result<Client, (Close, String)> {
    let misuse = |reason: String| (Close::Misuse, reason);
    if offered.only_unknown {
        return Err(misuse(format!("the only subprotocol is {SUBPROTOCOL_JSON}")));
    }
    let made_up = || format!("{:016x}", rand::random::<u64>());
    let device: DeviceId = match query.get("device") {
        Some(device) => device.parse().map_err(|error| misuse(format!("{error}")))?,
        None => made_up().parse().map_err(|error| misuse(format!("{error}")))?,
    };
    let cursor: Option<Cursor> = match query.get("cursor") {
        Some(cursor) => Some(cursor.parse().map_err(|error| misuse(format!("{error}")))?),
        None => None,
    };
    let connection: ConnectionId = made_up().parse().map_err(|error| misuse(format!("{error}")))?;
    Ok(Client { identity, connection, device, cursor })
}

/// The subprotocols that a client offers (RFC 6455 section 1.9).
struct Offered {
    json: bool,
    bearer: Option<String>,
    /// Offers subprotocols of ours, but none that we have.
    only_unknown: bool,
}

impl Offered {
    fn of(headers: &HeaderMap) -> Self {
        let mut offered = Self { json: false, bearer: None, only_unknown: false };
        let entries = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for entry in entries.map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == SUBPROTOCOL_JSON {
                offered.json = true;
            } else if let Some(token) = entry.strip_prefix(SUBPROTOCOL_BEARER) {
                offered.bearer.get_or_insert_with(|| token.to_owned());
            } else {
                offered.only_unknown = true;
            }
        }
        offered.only_unknown &= !offered.json;
        offered
    }
}

/// The client's key, when this is a WebSocket handshake (RFC 6455 section 4.2.1).
fn handshake_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let says = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let handshake = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| handshake).cloned()
}

fn switching(accept: &str, json: bool) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if json {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL_JSON));
    }
    response
}

/// Whether a page of this origin may connect. What sends no `Origin` is no browser, and holds its
/// token by itself; the check keeps other sites' pages from using a visitor's network position.
fn origin_is_allowed(headers: &HeaderMap, allowed: &Origins) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    match allowed {
        Origins::Any => true,
        Origins::These(origins) => origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        Origins::Same => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn origins_are_held_against_the_list() {
        let same = headers(&[("origin", "https://app.example"), ("host", "app.example")]);
        let other = headers(&[("origin", "https://evil.example"), ("host", "app.example")]);
        assert!(origin_is_allowed(&same, &Origins::Same));
        assert!(!origin_is_allowed(&other, &Origins::Same));
        assert!(origin_is_allowed(&headers(&[("host", "app.example")]), &Origins::Same));
        assert!(origin_is_allowed(&other, &Origins::Any));
        assert!(!origin_is_allowed(&other, &Origins::These(vec!["https://app.example".to_owned()])));
        assert!(!origin_is_allowed(&headers(&[("origin", "null"), ("host", "null")]), &Origins::Same));
    }

    #[test]
    fn subprotocols_are_told_apart() {
        let offered =
            Offered::of(&headers(&[("sec-websocket-protocol", "draftwire.v1.json, bearer.abc.def")]));
        assert!(offered.json && !offered.only_unknown);
        assert_eq!(offered.bearer.as_deref(), Some("abc.def"));
        assert!(Offered::of(&headers(&[("sec-websocket-protocol", "graphql-ws")])).only_unknown);
        assert!(!Offered::of(&HeaderMap::new()).only_unknown);
        assert!(!Offered::of(&headers(&[("sec-websocket-protocol", "bearer.x")])).only_unknown);
    }
}
