//! Every setting, once: the flags of `draftwire serve`, its help and docs/config.md follow from here.

use std::time::Duration;

/// One setting: an environment variable and the flag that wins over it.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The flag, without its dashes.
    pub flag: &'static str,
    /// What its text has to be.
    pub kind: Kind,
    /// What holds when it is not set.
    pub default: Fallback,
    /// What it means, in one or two sentences.
    pub help: &'static str,
    /// What it is about; groups the help and the page.
    pub section: &'static str,
}

/// What the text of a setting has to be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Anything that the reading code takes.
    Text,
    /// The same, and never shown: not in errors, not in logs. It is taken to the byte.
    Secret,
    /// A URL that may hold a password or a key, and is never shown whole.
    SecretUrl,
    /// The path of a file that holds the setting of this name.
    FileOf(&'static str),
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A time with its unit, between two bounds, both included.
    Duration(Duration, Duration),
    /// A number of bytes, between two bounds, both included.
    Size(u64, u64),
    /// A number of things, between two bounds, both included.
    Count(u64, u64),
}

/// What holds when a setting is not set.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// This text, read as if it had been given.
    Value(&'static str),
    /// Something that no constant says, described.
    Otherwise(&'static str),
}

impl Fallback {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Otherwise(text) => text,
        }
    }
}

impl Setting {
    /// The setting of this environment variable.
    pub fn of(env: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.env == env)
    }

    /// The setting that names a file which holds this one: for those that hold secrets, and for those that a
    /// node can be given another value of while it runs.
    pub fn file(&self) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| matches!(setting.kind, Kind::FileOf(env) if env == self.env))
    }

    /// What its text has to be, for people; empty for free text.
    pub fn rule(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret | Kind::SecretUrl => String::new(),
            Kind::FileOf(_) => "a path".to_owned(),
            Kind::Choice(words) => words.join(" or "),
            Kind::Duration(min, max) => {
                format!("{} to {}", super::text::show_duration(min), super::text::show_duration(max))
            }
            Kind::Size(min, max) => {
                format!("{} to {}", super::text::show_size(min), super::text::show_size(max))
            }
            Kind::Count(min, max) => format!("{min} to {max}"),
        }
    }
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = DAY.saturating_mul(3650);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

use Fallback::{Otherwise, Value};

const STORE: &str = "Store";
const BUS: &str = "Bus";
const TOKENS: &str = "Tokens";
const LISTENING: &str = "Listening and logging";
const WEBSOCKET: &str = "WebSocket";
const WRITES: &str = "Writes";
const RETENTION: &str = "Retention";
const FANOUT: &str = "Fan-out";

/// A file that holds a setting, as Docker and Kubernetes hand over secrets.
const fn file(
    section: &'static str,
    env: &'static str,
    flag: &'static str,
    of: &'static str,
    help: &'static str,
) -> Setting {
    setting(section, env, flag, Kind::FileOf(of), Otherwise("none"), help)
}

const fn setting(
    section: &'static str,
    env: &'static str,
    flag: &'static str,
    kind: Kind,
    default: Fallback,
    help: &'static str,
) -> Setting {
    Setting { env, flag, kind, default, help, section }
}

/// Every setting, in the order in which help and documentation show them.
pub const SETTINGS: &[Setting] = &[
    setting(
        STORE,
        "DATABASE_URL",
        "database-url",
        Kind::SecretUrl,
        Otherwise("none: an embedded SQLite file in DATA_DIR"),
        "The Postgres database, postgres://user:password@host:5432/database, as libpq takes it: IPv6 addresses in brackets, ?host=/folder for a Unix socket, ?sslmode=verify-full. One host.",
    ),
    file(
        STORE,
        "DATABASE_URL_FILE",
        "database-url-file",
        "DATABASE_URL",
        "A file that holds DATABASE_URL. Line ends at its end are cut off, here and in the other files.",
    ),
    setting(
        STORE,
        "DATABASE_SCHEMA",
        "database-schema",
        Kind::Text,
        Value("draftwire"),
        "The schema of that database that holds every table. Created when missing; clusters that share a database need different ones.",
    ),
    setting(
        STORE,
        "DATA_DIR",
        "data-dir",
        Kind::Text,
        Value("draftwire-data"),
        "The folder of the embedded database and of its token secret, private to the user that runs the node, and used by one process at a time. Made when missing; unused with DATABASE_URL.",
    ),
    setting(
        STORE,
        "HISTORY_SOURCE",
        "history-source",
        Kind::Choice(&["auto", "timeline", "row"]),
        Value("auto"),
        "What notices that Postgres may have lost acknowledged changes: the server's timeline, or a row, which takes every restart for a loss. auto: the timeline where it can be read. The same on all nodes.",
    ),
    setting(
        STORE,
        "DATABASE_POOL_MAX",
        "database-pool-max",
        Kind::Count(1, 1000),
        Value("10"),
        "The most connections that this node holds to Postgres.",
    ),
    setting(
        STORE,
        "STORE_TIMEOUT",
        "store-timeout",
        Kind::Duration(MS.saturating_mul(10), MINUTE),
        Value("900ms"),
        "How long one call to the store may take, waiting for a connection included; then it is unavailable.",
    ),
    setting(
        BUS,
        "REDIS_URL",
        "redis-url",
        Kind::SecretUrl,
        Otherwise("none: no other node is told"),
        "Redis, which carries live copies between nodes: redis://, rediss://, redis-sentinel:// or redis-cluster://. Needs DATABASE_URL. The rights that a user of its own needs: operations.md, Redis rights.",
    ),
    file(BUS, "REDIS_URL_FILE", "redis-url-file", "REDIS_URL", "A file that holds REDIS_URL."),
    setting(
        BUS,
        "REDIS_PREFIX",
        "redis-prefix",
        Kind::Text,
        Value("draftwire"),
        "The first part of every Redis channel name. Give clusters that share a Redis different ones, also when their database numbers differ, which channels do not know; messages of another cluster are rejected.",
    ),
    setting(
        TOKENS,
        "JWT_SECRET",
        "jwt-secret",
        Kind::Secret,
        Otherwise("embedded: a random one, kept in DATA_DIR/jwt-secret"),
        "The secret of HS256 tokens, at least 32 bytes, on one line and taken as it is: it is not decoded. Prefer the environment or a file: other users of the machine see flags.",
    ),
    file(
        TOKENS,
        "JWT_SECRET_FILE",
        "jwt-secret-file",
        "JWT_SECRET",
        "A file that holds JWT_SECRET, such as /run/secrets/jwt.",
    ),
    setting(
        TOKENS,
        "JWT_PUBLIC_KEY",
        "jwt-public-key",
        Kind::Text,
        Otherwise("none"),
        "The public key of RS256, ES256 or EdDSA tokens: PEM text, or the path of a PEM file. The key's kind decides the algorithm.",
    ),
    setting(
        TOKENS,
        "JWT_JWKS_URL",
        "jwt-jwks-url",
        Kind::SecretUrl,
        Otherwise("none"),
        "Where the issuer of the tokens publishes its public keys (RFC 7517), http:// or https://.",
    ),
    file(TOKENS, "JWT_JWKS_URL_FILE", "jwt-jwks-url-file", "JWT_JWKS_URL", "A file that holds JWT_JWKS_URL."),
    setting(
        TOKENS,
        "JWT_AUDIENCE",
        "jwt-audience",
        Kind::Text,
        Otherwise("none: tokens that name an audience are refused"),
        "The audience (aud) that every token must name.",
    ),
    setting(
        TOKENS,
        "JWT_ISSUER",
        "jwt-issuer",
        Kind::Text,
        Otherwise("none: any issuer"),
        "The issuer (iss) that every token must name.",
    ),
    setting(
        TOKENS,
        "JWT_USER_CLAIM",
        "jwt-user-claim",
        Kind::Text,
        Value("sub"),
        "The claim that holds the user, or a path to it (user.id): text, or a whole number, which is taken as its decimal text.",
    ),
    setting(
        TOKENS,
        "JWT_SCOPE_CLAIM",
        "jwt-scope-claim",
        Kind::Text,
        Value("scope"),
        "The claim that holds the rights, or a path to it (scp, realm_access.roles): text with blanks between the words, or a list of words.",
    ),
    setting(
        TOKENS,
        "JWT_LEEWAY",
        "jwt-leeway",
        Kind::Duration(Duration::ZERO, MINUTE.saturating_mul(10)),
        Value("60s"),
        "How far the clocks of the issuer and of this node may differ: a token is taken that much before its nbf and after its exp. A connection ends with it at the latest.",
    ),
    setting(
        LISTENING,
        "LISTEN_ADDR",
        "listen-addr",
        Kind::Text,
        Value("127.0.0.1:8080"),
        "The IP address and port for clients: WebSocket and HTTP. Port 0 takes a free one.",
    ),
    setting(
        LISTENING,
        "PUBLISHED_ADDR",
        "published-addr",
        Kind::Text,
        Otherwise("that of LISTEN_ADDR"),
        "The IP address at which clients reach LISTEN_ADDR where that is another one, as with the published port of a container. Unless it is a loopback address, the demonstration's secret is refused, and DEMO is warned of.",
    ),
    setting(
        LISTENING,
        "METRICS_ADDR",
        "metrics-addr",
        Kind::Text,
        Value("127.0.0.1:9464"),
        "The IP address and port for Prometheus. Never expose it to clients.",
    ),
    setting(
        LISTENING,
        "HTTP_KEEP_ALIVE",
        "http-keep-alive",
        Kind::Duration(SECOND, HOUR),
        Value("75s"),
        "How long an idle HTTP connection is kept for the next request. Longer than proxies in front keep theirs, often 60s: what they send on one that is being closed is lost, a 502.",
    ),
    setting(
        LISTENING,
        "NODE_NAME",
        "node-name",
        Kind::Text,
        Otherwise("the host name"),
        "The name of this node in logs, health and WELCOME; 1 to 64 characters of A-Z a-z 0-9 : _ . -",
    ),
    setting(
        LISTENING,
        "ALLOWED_ORIGINS",
        "allowed-origins",
        Kind::Text,
        Otherwise("the same origin only"),
        "Web pages of which origins may connect, separated by commas (https://app.example.com); * for any. Clients that are no browsers send no origin and are not affected.",
    ),
    setting(
        LISTENING,
        "DEMO",
        "demo",
        Kind::Choice(&["true", "false"]),
        Otherwise("true embedded, false with DATABASE_URL"),
        "Whether the demonstration page hands a token to whoever opens it. Never in production.",
    ),
    setting(
        LISTENING,
        "LOG_LEVEL",
        "log-level",
        Kind::Text,
        Value("info"),
        "What is logged: error, warn, info, debug, trace or off, also per module (info,gateway::ws=debug).",
    ),
    file(
        LISTENING,
        "LOG_LEVEL_FILE",
        "log-level-file",
        "LOG_LEVEL",
        "A file that holds LOG_LEVEL: that of a node that runs can be changed there, and is read again on SIGHUP.",
    ),
    setting(
        LISTENING,
        "LOG_FORMAT",
        "log-format",
        Kind::Choice(&["text", "json"]),
        Value("text"),
        "How log lines are written.",
    ),
    setting(
        WEBSOCKET,
        "WS_PING_INTERVAL",
        "ws-ping-interval",
        Kind::Duration(MS.saturating_mul(10), HOUR),
        Value("25s"),
        "How often a new connection is pinged. From then on the interval follows the connection's health.",
    ),
    setting(
        WEBSOCKET,
        "WS_PING_INTERVAL_MIN",
        "ws-ping-interval-min",
        Kind::Duration(MS.saturating_mul(10), HOUR),
        Otherwise("10s, or WS_PING_INTERVAL if that is less"),
        "How often a connection is pinged whose answers fail to come, or come unsteadily.",
    ),
    setting(
        WEBSOCKET,
        "WS_PING_INTERVAL_MAX",
        "ws-ping-interval-max",
        Kind::Duration(MS.saturating_mul(10), HOUR),
        Otherwise("55s, or WS_PING_INTERVAL if that is more"),
        "How often a connection is pinged that is well. Proxies on the way end connections that are silent, often after 60s.",
    ),
    setting(
        WEBSOCKET,
        "WS_PONG_TIMEOUT",
        "ws-pong-timeout",
        Kind::Duration(MS.saturating_mul(10), DAY),
        Value("60s"),
        "For how long a ping may be followed by no sign of life before the connection is closed with 4408.",
    ),
    setting(
        WEBSOCKET,
        "ANONYMOUS_IDLE",
        "anonymous-idle",
        Kind::Duration(MS.saturating_mul(10), DAY),
        Value("5m"),
        "After how long a connection without a token, that has sent nothing and was sent nothing, is closed with 4408. Heartbeats do not count.",
    ),
    setting(
        WEBSOCKET,
        "PUBLIC_TOPICS",
        "public-topics",
        Kind::Text,
        Otherwise("none: every connection needs a token"),
        "Topics that everybody may follow, with or without a token: names, or beginnings of names followed by *, separated by commas (match:*,news).",
    ),
    setting(
        WEBSOCKET,
        "TOPICS_PER_CONNECTION",
        "topics-per-connection",
        Kind::Count(1, 10_000),
        Value("100"),
        "The most topics that one connection follows.",
    ),
    setting(
        WEBSOCKET,
        "DEFLATE",
        "deflate",
        Kind::Choice(&["true", "false"]),
        Value("true"),
        "Whether permessage-deflate is negotiated with clients that offer it.",
    ),
    setting(
        WEBSOCKET,
        "DEFLATE_MIN_BYTES",
        "deflate-min-bytes",
        Kind::Size(1, 64 * MIB),
        Value("1KiB"),
        "The smallest message that is compressed, for connections that take that. An event is compressed once for all of them.",
    ),
    setting(
        WEBSOCKET,
        "SSE_HEARTBEAT",
        "sse-heartbeat",
        Kind::Duration(MS.saturating_mul(10), HOUR),
        Value("15s"),
        "The longest silence on an event stream (GET /v1/stream); then a comment line is sent.",
    ),
    setting(
        WEBSOCKET,
        "MAX_MESSAGE_BYTES",
        "max-message-bytes",
        Kind::Size(KIB, 64 * MIB),
        Value("1MiB"),
        "The largest message that a client may send; a larger one closes with 1009.",
    ),
    setting(
        WEBSOCKET,
        "COMMANDS_PER_SECOND",
        "commands-per-second",
        Kind::Count(1, 1_000_000),
        Value("50"),
        "How many commands a second are read from one connection on average; twice as many in a burst. What comes faster waits in the socket.",
    ),
    setting(
        WEBSOCKET,
        "CONNECTIONS_PER_USER",
        "connections-per-user",
        Kind::Count(1, 1_000_000),
        Value("50"),
        "The most connections of one user to this node; one more closes with 4429, unless its device has one already, whose place it takes.",
    ),
    setting(
        WEBSOCKET,
        "CONNECTIONS_MAX",
        "connections-max",
        Kind::Count(1, 10_000_000),
        Value("50000"),
        "The most connections to this node; one more closes with 1013.",
    ),
    setting(
        WEBSOCKET,
        "PENDING_COMMANDS_MAX",
        "pending-commands-max",
        Kind::Count(1, 10_000),
        Value("64"),
        "The most commands of one connection that wait for their answer; beyond it the connection is not read.",
    ),
    setting(
        WEBSOCKET,
        "TOKEN_WARNING",
        "token-warning",
        Kind::Duration(MS, HOUR),
        Value("60s"),
        "How long before its token expires a client is told so (TOKEN_EXPIRING).",
    ),
    setting(
        WEBSOCKET,
        "DRAIN_WINDOW",
        "drain-window",
        Kind::Duration(MS, HOUR),
        Value("10s"),
        "Over how long a stopping node sends its clients elsewhere.",
    ),
    setting(
        WRITES,
        "WRITE_SHARDS",
        "write-shards",
        Kind::Count(1, 64),
        Value("1"),
        "How many transactions of collected writes this node runs side by side. Writes to one stream always take the same one. One has the largest batches, and so the least work for the database.",
    ),
    setting(
        WRITES,
        "WRITE_QUEUE_MAX",
        "write-queue-max",
        Kind::Count(1, 1_000_000),
        Value("16384"),
        "The most writes that wait per shard; one more is answered unavailable.",
    ),
    setting(
        WRITES,
        "WRITE_BATCH_MAX",
        "write-batch-max",
        Kind::Count(1, 10_000),
        Value("800"),
        "The most writes in one transaction; an append of several events counts as so many.",
    ),
    setting(
        WRITES,
        "WRITE_WINDOW",
        "write-window",
        Kind::Duration(Duration::ZERO, SECOND),
        Value("5ms"),
        "How far apart the transactions of a shard begin while writes keep coming, so that they share one. A lone write does not wait, and neither does a batch of 16.",
    ),
    setting(
        WRITES,
        "WRITE_WAIT_MAX",
        "write-wait-max",
        Kind::Duration(MS.saturating_mul(10), MINUTE),
        Value("5s"),
        "How long a write may wait for its transaction to begin; then it is answered unavailable. With one STORE_TIMEOUT for the transaction, that is the longest that a client waits for an answer.",
    ),
    setting(
        WRITES,
        "DRAFTS_PER_USER_MAX",
        "drafts-per-user-max",
        Kind::Count(1, 1_000_000),
        Value("500"),
        "The most drafts of one user, deleted ones not counted.",
    ),
    setting(
        WRITES,
        "DRAFT_BYTES_MAX",
        "draft-bytes-max",
        Kind::Size(KIB, 16 * MIB),
        Value("64KiB"),
        "The largest content of one draft, as JSON. All drafts of a user are read together, within STORE_TIMEOUT.",
    ),
    setting(
        WRITES,
        "EVENT_BYTES_MAX",
        "event-bytes-max",
        Kind::Size(KIB, 16 * MIB),
        Value("64KiB"),
        "The largest data of one published event, as JSON.",
    ),
    setting(
        WRITES,
        "COMMAND_MEMORY",
        "command-memory",
        Kind::Duration(MINUTE, DAY.saturating_mul(365)),
        Value("24h"),
        "How long a command is remembered, so that its repetition gets the same answer.",
    ),
    setting(
        RETENTION,
        "RETENTION_USER_AGE",
        "retention-user-age",
        Kind::Duration(Duration::ZERO, TEN_YEARS),
        Value("7d"),
        "How long an event of a user's stream is kept; 0s without end.",
    ),
    setting(
        RETENTION,
        "RETENTION_USER_EVENTS",
        "retention-user-events",
        Kind::Count(0, 1_000_000_000_000),
        Value("10000"),
        "How many of the newest events of a user's stream are kept; 0 for all. What is older or beyond the number goes.",
    ),
    setting(
        RETENTION,
        "RETENTION_TOPIC_AGE",
        "retention-topic-age",
        Kind::Duration(Duration::ZERO, TEN_YEARS),
        Value("7d"),
        "How long an event of a topic is kept; 0s without end.",
    ),
    setting(
        RETENTION,
        "RETENTION_TOPIC_EVENTS",
        "retention-topic-events",
        Kind::Count(0, 1_000_000_000_000),
        Value("100000"),
        "How many of the newest events of a topic are kept; 0 for all. What is older or beyond the number goes.",
    ),
    setting(
        RETENTION,
        "RETENTION_ALL_AGE",
        "retention-all-age",
        Kind::Duration(Duration::ZERO, TEN_YEARS),
        Value("7d"),
        "How long an event of the stream of all connections is kept; 0s without end.",
    ),
    setting(
        RETENTION,
        "RETENTION_ALL_EVENTS",
        "retention-all-events",
        Kind::Count(0, 1_000_000_000_000),
        Value("10000"),
        "How many of the newest events of the stream of all connections are kept; 0 for all. What is older or beyond the number goes.",
    ),
    setting(
        RETENTION,
        "RETENTION_INTERVAL",
        "retention-interval",
        Kind::Duration(MS.saturating_mul(10), DAY),
        Value("1m"),
        "The pause between two rounds in which one of the nodes removes what is no longer kept, and commands older than COMMAND_MEMORY.",
    ),
    setting(
        FANOUT,
        "SWEEP_INTERVAL",
        "sweep-interval",
        Kind::Duration(MS.saturating_mul(10), MINUTE.saturating_mul(10)),
        Value("5s"),
        "How often the heads of followed streams are compared with the store: the bound on how late an event is that no live copy announced.",
    ),
    setting(
        FANOUT,
        "SWEEP_INTERVAL_UNSURE",
        "sweep-interval-unsure",
        Kind::Duration(MS.saturating_mul(10), MINUTE.saturating_mul(10)),
        Value("1s"),
        "The same while the bus is unsure. At most SWEEP_INTERVAL.",
    ),
    setting(
        FANOUT,
        "LINGER",
        "linger",
        Kind::Duration(Duration::ZERO, HOUR),
        Value("30s"),
        "How long a stream with events is kept up after its last follower left, for those that soon come back.",
    ),
    setting(
        FANOUT,
        "STREAMS_MAX",
        "streams-max",
        Kind::Count(1, 10_000_000),
        Value("200000"),
        "The most streams that this node follows at once. Who wants another one is answered that it is unavailable.",
    ),
    setting(
        FANOUT,
        "REORDER_WAIT",
        "reorder-wait",
        Kind::Duration(Duration::ZERO, SECOND),
        Value("30ms"),
        "How long a gap may be only a matter of order before it is read from the store.",
    ),
    setting(
        FANOUT,
        "FILLS_MAX",
        "fills-max",
        Kind::Count(1, 1000),
        Value("3"),
        "The most queries for missed events that this node has under way, each for up to 64 followers or streams.",
    ),
    setting(
        FANOUT,
        "RECENT_EVENTS_MAX",
        "recent-events-max",
        Kind::Count(1, 100_000),
        Value("1024"),
        "The most recent events kept in memory per followed stream.",
    ),
    setting(
        FANOUT,
        "RECENT_BYTES_MAX",
        "recent-bytes-max",
        Kind::Size(64 * KIB, 64 * GIB),
        Value("64MiB"),
        "The most memory that recent events take on this node.",
    ),
    setting(
        FANOUT,
        "PRESENCE_LEASE",
        "presence-lease",
        Kind::Duration(SECOND, HOUR),
        Value("10s"),
        "How long a node that has fallen silent counts as having the members it last announced; heartbeats come three times as often. A bus that has gone deaf is noticed within 4s: with less than 7s members may come and go then.",
    ),
    setting(
        FANOUT,
        "PRESENCE_LIST_MAX",
        "presence-list-max",
        Kind::Count(1, 1000),
        Value("100"),
        "The most members of a topic whose presence is told by name; of more only their number is told.",
    ),
];
