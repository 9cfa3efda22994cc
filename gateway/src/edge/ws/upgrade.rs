//! The handshake: from an HTTP request to a session.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use axum::{
    Extension,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{
    Code, ConnectionId, Cursor, DeviceId,
    close::Close,
    ids::InvalidId,
    message::Encoding,
    protocol::{SUBPROTOCOL_BEARER, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK},
    time::unix_ms,
};
use hyper::upgrade::OnUpgrade;
use reqwest::Url;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, debug_span};
use websocket::{Deflate, Handshake, Socket};

use super::{
    client::Client,
    close,
    parking::Parking,
    session::{self, Session},
};
use crate::{
    commands::{access, failure::Failure},
    config::Origins,
    edge::{
        connection_log::{connected, refused},
        connections::{Described, Inspect, LimitReached, random_id},
        context::ConnectionContext,
        identity::Authenticator,
        listener,
        problem::Problem,
        request_id::RequestId,
        traffic::Transport,
    },
};

/// `GET /ws/realtime`. Whatever is wrong with the token or the parameters is said after the upgrade,
/// with a close code: a browser cannot see the status of a failed one.
pub(crate) async fn upgrade(
    State(context): State<Arc<ConnectionContext>>,
    State(authenticator): State<Authenticator>,
    Extension(name): Extension<RequestId>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
    mut request: Request,
) -> Response {
    let Ok(Query(query)) = query else {
        return Problem::bad_request("the query cannot be read").into_response();
    };
    let headers = request.headers();
    if context.drain.is_stopping() {
        // Nginx tries the next node on a 503.
        return Problem::unavailable("this node is stopping").into_response();
    }
    if !origin_is_allowed(headers, &context.listen.origins) {
        return Problem::from(Failure::new(Code::Forbidden, "this Origin is not in ALLOWED_ORIGINS"))
            .into_response();
    }
    let Some(handshake) = Handshake::of(&request) else {
        return Problem::upgrade_required().into_response();
    };
    Transport::WebSocket.count_attempt();
    let verified = Instant::now();
    let offered = Offered::of(headers);
    let identified = authenticator.identify(headers, offered.bearer.as_deref(), &query).await;
    let connection: ConnectionId = match random_id() {
        Ok(connection) => connection,
        Err(error) => return Problem::bad_request(error.to_string()).into_response(),
    };
    let user = identified.as_ref().ok().and_then(Option::as_ref).map(|identity| &identity.user);
    let settings = context.live.connection(user, connection.as_str());
    let handshake = if settings.websocket.deflate { handshake } else { handshake.without_deflate() };
    let deflate = handshake.deflate();
    let client = match identified {
        Err(refused) => Err((refused.close(), refused.to_string())),
        Ok(identity) => read_parameters(&query, &offered, identity.is_some()).map(
            |Parameters { device, batch, cursor, all }| {
                let encoding = offered.chosen.unwrap_or_default();
                Client { identity, connection, device, cursor, all, encoding, deflate, batch, settings }
            },
        ),
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Problem::upgrade_required().into_response();
    };
    let beginning = Box::pin(begin(context, name, on_upgrade, client, verified, deflate));
    tokio::spawn(async move {
        if let Some((session, parking, span)) = beginning.await {
            session::run(session, parking).instrument(span).await;
        }
    });
    switching(&handshake, offered.chosen)
}

/// Makes a session of the connection once the handshake is over; `None` when it had to be closed.
async fn begin(
    context: Arc<ConnectionContext>,
    request: RequestId,
    on_upgrade: OnUpgrade,
    client: Result<Client, (Close, String)>,
    verified: Instant,
    deflate: Deflate,
) -> Option<(Box<Session>, Arc<Parking<Session>>, Span)> {
    let upgraded = on_upgrade
        .await
        .inspect_err(|error| debug!(%error, "the connection broke during the handshake"))
        .ok()?;
    let has_token = client.as_ref().is_ok_and(|client| client.identity.is_some());
    let message_bytes_max = context.live.node().websocket.connection_message_bytes_max(has_token);
    let Some((stream, unread)) = listener::take_over(upgraded) else {
        debug!("the connection is not one of the listener's");
        return None;
    };
    let socket = Socket::new(stream, &unread, deflate, message_bytes_max);
    let guard = client.and_then(|client| {
        let user = client.identity.as_ref().map(|identity| &identity.user);
        let guard = context.connections.enter(user, Some(&client.device), verified);
        Ok((client, guard.map_err(limit_reached)?))
    });
    let (client, guard) = match guard {
        Ok(guard) => guard,
        Err((code, reason)) => {
            refused(Transport::WebSocket, &request, code.label(), &reason);
            close(socket, code, &reason).await;
            return None;
        }
    };
    let encoding = match client.encoding {
        Encoding::Json => "json",
        Encoding::MessagePack => "msgpack",
    };
    guard.describe(Described {
        connection: client.connection.clone(),
        user: client.identity.as_ref().map(|identity| identity.user.clone()),
        device: client.device.clone(),
        transport: Transport::WebSocket,
        encoding,
        since: unix_ms(),
    });
    // After the guard, which bounds the connections that wait for this.
    let admitted = access::check_connect(&context.backend, client.identity.as_ref(), &client.device).await;
    if let Err(Failure { code, message, .. }) = admitted {
        let code = if code == Code::Unavailable { Close::Overloaded } else { Close::Revoked };
        refused(Transport::WebSocket, &request, code.label(), &message);
        close(socket, code, &message).await;
        return None;
    }
    // Entered at each delivery, so it exists only where somebody looks that closely.
    let span = debug_span!(
        "connection",
        id = %client.connection,
        user = client.identity.as_ref().map(|identity| identity.user.as_str()),
        device = client.device.as_str(),
    );
    let has_cursor = client.cursor.is_some() || client.all.is_some();
    let begun = session::begin(context, client, socket, guard).instrument(span.clone()).await;
    let Some((session, parking)) = begun else {
        refused(Transport::WebSocket, &request, Close::Overloaded.label(), "the streams could not be joined");
        return None;
    };
    session.guard.inspect_through(Arc::downgrade(&parking) as Weak<dyn Inspect>);
    connected(Transport::WebSocket, session.who(), &request, has_cursor);
    Some((session, parking, span))
}

fn limit_reached(limit_reached: LimitReached) -> (Close, String) {
    match limit_reached {
        LimitReached::Node => (Close::Overloaded, "this node has all the connections it takes".to_owned()),
        LimitReached::User => (Close::TooMany, "too many connections of this user".to_owned()),
    }
}

/// The parameters of the connection.
struct Parameters {
    device: DeviceId,
    batch: bool,
    cursor: Option<Cursor>,
    all: Option<Cursor>,
}

fn read_parameters(
    query: &HashMap<String, String>,
    offered: &Offered,
    has_token: bool,
) -> Result<Parameters, (Close, String)> {
    let misuse = |reason: String| (Close::Misuse, reason);
    let invalid = |error: InvalidId| misuse(error.to_string());
    if offered.only_unknown {
        return Err(misuse(format!("the subprotocols are {SUBPROTOCOL_JSON} and {SUBPROTOCOL_MSGPACK}")));
    }
    let cursor = |name| query.get(name).map(|text| text.parse::<Cursor>()).transpose().map_err(invalid);
    let device: DeviceId =
        query.get("device").map_or_else(random_id, |device| device.parse()).map_err(invalid)?;
    let batch = match query.get("batch").map(String::as_str) {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(misuse("batch must be 0 or 1".to_owned())),
    };
    if !has_token && query.contains_key("cursor") {
        return Err(misuse("`cursor` requires a token".to_owned()));
    }
    let (cursor, all) = (cursor("cursor")?, cursor("all")?);
    Ok(Parameters { device, batch, cursor, all })
}

/// The subprotocols that a client offers (RFC 6455 section 1.9).
struct Offered {
    /// The first one of ours.
    chosen: Option<Encoding>,
    bearer: Option<String>,
    /// Offers subprotocols of ours, but none that we have.
    only_unknown: bool,
}

impl Offered {
    fn of(headers: &HeaderMap) -> Self {
        let mut offered = Self { chosen: None, bearer: None, only_unknown: false };
        let entries = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        for entry in entries.map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == SUBPROTOCOL_JSON {
                offered.chosen.get_or_insert(Encoding::Json);
            } else if entry == SUBPROTOCOL_MSGPACK {
                offered.chosen.get_or_insert(Encoding::MessagePack);
            } else if let Some(token) = entry.strip_prefix(SUBPROTOCOL_BEARER) {
                offered.bearer.get_or_insert_with(|| token.to_owned());
            } else {
                offered.only_unknown = true;
            }
        }
        offered.only_unknown &= offered.chosen.is_none();
        offered
    }
}

fn switching(handshake: &Handshake, chosen: Option<Encoding>) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    handshake.answer(headers);
    let chosen = chosen.map(|encoding| match encoding {
        Encoding::Json => SUBPROTOCOL_JSON,
        Encoding::MessagePack => SUBPROTOCOL_MSGPACK,
    });
    if let Some(chosen) = chosen {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
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
            host.is_some_and(|host| is_of_host(origin, host))
        }
    }
}

/// Whether a page of the origin was served under the host. Both may be written in several ways: an IPv6
/// address, and the scheme's own port, which browsers leave out and proxies may add.
fn is_of_host(origin: &str, host: &str) -> bool {
    let Ok(page) = Url::parse(origin) else { return false };
    let Ok(own) = Url::parse(&format!("{}://{host}", page.scheme())) else { return false };
    page.has_host()
        && page.host() == own.host()
        && page.port_or_known_default() == own.port_or_known_default()
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
        for (origin, host, same) in [
            ("https://app.example", "app.example:443", true),
            ("https://app.example", "APP.example", true),
            ("https://app.example", "app.example:80", false),
            ("http://app.example", "app.example:443", false),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", true),
            ("http://[::1]:8080", "[::1]", false),
            ("https://app.example", "", false),
        ] {
            let headers = headers(&[("origin", origin), ("host", host)]);
            assert_eq!(origin_is_allowed(&headers, &Origins::Same), same, "{origin} {host}");
        }
    }

    #[test]
    fn subprotocols_are_told_apart() {
        let offered =
            Offered::of(&headers(&[("sec-websocket-protocol", "draftwire.v1.json, bearer.abc.def")]));
        assert!(offered.chosen == Some(Encoding::Json) && !offered.only_unknown);
        assert_eq!(offered.bearer.as_deref(), Some("abc.def"));
        let both = headers(&[("sec-websocket-protocol", "other, draftwire.v1.msgpack, draftwire.v1.json")]);
        let offered = Offered::of(&both);
        assert!(offered.chosen == Some(Encoding::MessagePack) && !offered.only_unknown);
        assert!(Offered::of(&headers(&[("sec-websocket-protocol", "graphql-ws")])).only_unknown);
        assert!(!Offered::of(&HeaderMap::new()).only_unknown);
        assert!(!Offered::of(&headers(&[("sec-websocket-protocol", "bearer.x")])).only_unknown);
    }
}
