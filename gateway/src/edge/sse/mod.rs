//! `GET /v1/stream`: the same streams as over the socket, for clients that cannot use WebSockets.

mod lines;
mod position;

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use common::{
    Code, ConnectionId, DeviceId, Stream, TopicName, UserId,
    ids::InvalidId,
    operations::{Operation, Outcome},
    time::unix_ms,
};
use fanout::log::LogError;
use futures_util::{future::try_join_all, stream};
use metrics::{counter, gauge};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use self::{lines::Lines, position::Position};
use super::{
    connection_log::{Who, connected, disconnected, refused},
    connections::{ConnectionGuard, Described, LimitReached, Standing, random_id},
    context::ConnectionContext,
    identity::Authenticator,
    problem::Problem,
    query::Parameters,
    request_id::RequestId,
    traffic::Transport,
    welcome::welcome,
};
use crate::{
    auth::{Expiry, Identity},
    commands::{access, failure::Failure},
    config::{self, Changeable},
    subscriptions::{At, InitialStreams, Subscriptions},
};

/// Tells Nginx, in whatever configuration, to pass on what comes when it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// After how long clients come back, on average.
const RETRY: Duration = Duration::from_secs(2);

/// One client.
struct EventStream {
    connection: ConnectionId,
    user: Option<UserId>,
    device: DeviceId,
    connected_at: Instant,
    subscriptions: Subscriptions,
    lines: Lines,
    heartbeat: Duration,
    /// When a sign of life is due.
    quiet_until: Instant,
    /// When its token ends; `None` without one.
    expiry: Option<Expiry>,
    /// When the client has to come back, because the node stops or a yes of the backend has ended.
    leave_at: Option<Instant>,
    /// Without a token: when nothing but heartbeats was said to the client for too long, and how long that is.
    idle: Option<(Instant, Duration)>,
    stopping: watch::Receiver<bool>,
    live: Arc<config::Live>,
    guard: ConnectionGuard,
}

/// Set by a proxy that tries another node when one answers 503.
const FAILOVER: HeaderName = HeaderName::from_static("draftwire-failover");

pub(super) async fn follow(
    State(context): State<Arc<ConnectionContext>>,
    State(authenticator): State<Authenticator>,
    Extension(request): Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let elsewhere = context.drain.is_stopping() && headers.contains_key(FAILOVER);
    let opened = begin(context, &authenticator, &request, &uri, &headers).await;
    opened.or_else(|problem| {
        let failure = problem.failure();
        refused(Transport::EventStream, &request, failure.code.as_str(), &failure.message);
        if problem.is_unavailable() && !elsewhere && is_event_source(&headers) {
            return Ok(come_back());
        }
        Err(problem)
    })
}

/// Whether the client says that it takes nothing but event streams, as a browser's `EventSource` does.
fn is_event_source(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept == "text/event-stream")
}

/// An event stream that ends at once, and says when to come back. Any status but 200 would end an
/// `EventSource` for good (HTML Standard, section 9.2.3), over trouble that passes.
fn come_back() -> Response {
    counter!("draftwire_errors_total", "code" => Code::Unavailable.as_str()).increment(1);
    let mut lines = Lines::default();
    lines.retry(retry_ms());
    (head(), lines.take()).into_response()
}

/// The header fields of every event stream.
pub(super) fn head() -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that compressed it, or collected it into buffers, would hold events back.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ]
}

fn retry_ms() -> u64 {
    u64::try_from(RETRY.mul_f64(rand::random_range(0.5..1.5)).as_millis()).unwrap_or(u64::MAX)
}

async fn begin(
    context: Arc<ConnectionContext>,
    authenticator: &Authenticator,
    request: &RequestId,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let verified = Instant::now();
    let identity = authenticator.visitor(headers, uri).await;
    if context.drain.is_stopping() {
        return Err(identity.err().unwrap_or_else(|| Problem::unavailable("this node is stopping")));
    }
    Transport::EventStream.count_attempt();
    let identity = identity?;
    let parameters = Parameters::of(uri, &["topics", "device", "cursor"])?;
    let connection: ConnectionId = random_id().map_err(invalid)?;
    let user = identity.as_ref().map(|identity| &identity.user);
    let settings = context.live.connection(user, connection.as_str());
    // Names, separated by commas.
    let topics = topics(&settings.websocket, parameters.text("topics").unwrap_or_default())?;
    let position = match headers.get("last-event-id") {
        Some(id) => id.to_str().map_err(|_| invalid(position::INVALID))?,
        None => parameters.text("cursor").unwrap_or_default(),
    };
    let has_cursor = !position.is_empty();
    let position = match position {
        "" => Position::default(),
        text => text.parse().map_err(invalid)?,
    };
    let guard = context.connections.enter(user, None, verified).map_err(limit_reached)?;
    let device = parameters.get("device")?.map_or_else(random_id, Ok).map_err(invalid)?;
    access::check_connect(&context.backend, identity.as_ref(), &device).await?;
    let allowed = topics.iter().map(|topic| context.topics.authorize_follow(identity.as_ref(), topic));
    let allowed_until = try_join_all(allowed).await?.into_iter().flatten().min();
    let visitor = Visitor { connection, identity, device, settings };
    let mut events = open(context, visitor, topics, &position, guard).await?;
    // The backend is asked again when the client comes back.
    events.leave_at = allowed_until;
    connected(Transport::EventStream, events.who(), request, has_cursor);
    let body = Body::from_stream(stream::unfold(events, |mut events| async move {
        let bytes = events.next().await?;
        events.stand();
        Some((Ok::<Bytes, Infallible>(bytes), events))
    }));
    Ok((head(), body).into_response())
}

/// Who asks for an event stream.
struct Visitor {
    connection: ConnectionId,
    identity: Option<Identity>,
    device: DeviceId,
    /// The settings that held when it asked.
    settings: Arc<Changeable>,
}

/// Joins all streams and queues what comes first.
async fn open(
    context: Arc<ConnectionContext>,
    Visitor { connection, identity, device, settings }: Visitor,
    topics: Vec<TopicName>,
    position: &Position,
    guard: ConnectionGuard,
) -> Result<EventStream, Problem> {
    guard.describe(Described {
        connection: connection.clone(),
        user: identity.as_ref().map(|identity| identity.user.clone()),
        device: device.clone(),
        transport: Transport::EventStream,
        encoding: "json",
        since: unix_ms(),
    });
    let limits = &settings.websocket;
    let user = identity.as_ref().map(|identity| identity.user.clone());
    let mut subscriptions = Subscriptions::new(context.sources.clone(), user.clone(), None);
    let permit = context.admission.admit().await.map_err(Problem::unavailable)?;
    let unavailable = |error: LogError| {
        debug!(%error, "cannot follow");
        Problem::unavailable("the store does not answer; come back later")
    };
    let began = Instant::now();
    let first =
        InitialStreams::join(&mut subscriptions, position.cursor("user"), position.cursor("all")).await;
    Operation::Join.meter().record(Outcome::of(&first), began.elapsed());
    let first = first.map_err(unavailable)?;
    let joins: Vec<_> = topics
        .into_iter()
        .map(|topic| {
            let stream = Stream::Topic(topic);
            let cursor = position.cursor(&stream.wire_name());
            subscriptions.join(stream, cursor)
        })
        .collect();
    let joined = try_join_all(joins).await.map_err(unavailable)?;
    drop(permit);
    let mut lines = Lines::default();
    lines.retry(retry_ms());
    let starts = first.iter().chain(&joined);
    for joined in starts {
        // Where each stream begins stands in the first id: a client that loses the connection before
        // the first event must not come back without a position.
        let start = joined.start();
        lines.begin(At { stream: joined.stream(), epoch: &start.epoch, seq: start.seq });
    }
    {
        use crate::subscriptions::Outbox;
        lines
            .push(&welcome(&context, limits, &first, user.clone(), connection.clone(), device.clone()), None);
    }
    first.add_to(&mut subscriptions);
    for joined in joined {
        subscriptions.add(joined, None, None);
    }
    gauge!("draftwire_event_streams").increment(1.0);
    Ok(EventStream {
        connection,
        user,
        device,
        connected_at: Instant::now(),
        subscriptions,
        lines,
        heartbeat: limits.sse_heartbeat,
        quiet_until: Instant::now() + limits.sse_heartbeat,
        expiry: identity.as_ref().map(|identity| Expiry::of(identity, limits.token_warning, unix_ms())),
        leave_at: None,
        idle: identity.is_none().then(|| (Instant::now() + limits.anonymous_idle, limits.anonymous_idle)),
        stopping: context.drain.subscribe(),
        live: context.live.clone(),
        guard,
    })
}

impl EventStream {
    /// Whose connection it is, for the log.
    fn who(&self) -> Who<'_> {
        Who { connection: &self.connection, user: self.user.as_ref(), device: &self.device }
    }

    /// Says where it stands. Between two writes nobody could ask it.
    fn stand(&self) {
        let (cursors, more_cursors) = self.subscriptions.standing();
        self.guard.stand(Some(Standing { round_trip: None, bytes_waiting: None, cursors, more_cursors }));
    }

    /// The next bytes to write; `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Before anything is handed out: to a client that is behind, something always is.
            if self.stopping.has_changed().unwrap_or(false) {
                self.stopping.mark_unchanged();
                // A moment of its own for every client, so that the other nodes are not met by all.
                let moment = Instant::now()
                    + self.live.node().websocket.drain_window.mul_f64(rand::random_range(0.0..0.9));
                self.leave_at = Some(self.leave_at.map_or(moment, |leave_at| leave_at.min(moment)));
            }
            // By the wall clock, and at each heartbeat at the latest.
            if self.expiry.as_ref().is_some_and(|expiry| expiry.has_ended(unix_ms())) {
                return None;
            }
            let token_ends =
                self.expiry.as_ref().map(|expiry| Instant::now() + expiry.wait_for_end(unix_ms()));
            let idle_until = self.idle.map(|(until, _)| until);
            let ends_at = self.leave_at.into_iter().chain(idle_until).min();
            if ends_at.is_some_and(|ends_at| ends_at <= Instant::now()) || self.guard.forced_end().is_some() {
                return None;
            }
            // A state that cannot be read ends the stream: the client may find a node that does better.
            self.subscriptions.advance(&mut self.lines).ok()?;
            if !self.lines.is_empty() {
                self.quiet_until = Instant::now() + self.heartbeat;
                if let Some((until, most)) = &mut self.idle {
                    *until = Instant::now() + *most;
                }
                return Some(self.lines.take());
            }
            let wake_at = ends_at.into_iter().chain(token_ends).min();
            tokio::select! {
                () = poll_fn(|context| self.subscriptions.poll_changed(context)) => {}
                () = sleep_until(self.quiet_until) => {
                    self.quiet_until = Instant::now() + self.heartbeat;
                    self.lines.comment();
                    return Some(self.lines.take());
                }
                () = sleep_until(wake_at.unwrap_or(self.quiet_until)), if wake_at.is_some() => {}
                _ = self.guard.until_forced_end() => {}
                Ok(()) = self.stopping.changed() => self.stopping.mark_changed(),
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        gauge!("draftwire_event_streams").decrement(1.0);
        // Its client sees no reason: it comes back whatever it was.
        disconnected(Transport::EventStream, self.who(), "ended", self.connected_at.elapsed());
    }
}

/// The topics that are asked for.
fn topics(limits: &config::WebSocket, names: &str) -> Result<Vec<TopicName>, Problem> {
    let mut topics: Vec<TopicName> = Vec::new();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let topic = name.parse().map_err(invalid)?;
        if !topics.contains(&topic) {
            topics.push(topic);
        }
        let topics_max = limits.topics_per_connection;
        if topics.len() > topics_max {
            let message = format!("a connection may follow {topics_max} topics");
            return Err(Failure::new(Code::TooLarge, message).into());
        }
    }
    Ok(topics)
}

fn invalid(error: InvalidId) -> Problem {
    Problem::bad_request(error.to_string())
}

fn limit_reached(limit_reached: LimitReached) -> Problem {
    match limit_reached {
        LimitReached::Node => Problem::unavailable("this node has all the connections it takes"),
        LimitReached::User => Failure::new(Code::RateLimited, "too many connections of this user").into(),
    }
}
