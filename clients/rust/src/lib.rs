//! Client of [Draftwire](https://docs.rs/draftwire-client): a user's drafts on all devices, and topics whose events
//! come all, once and in order, over one WebSocket.
//!
//! ```no_run
//! use draftwire_client::{Client, NewDraft, NewEvent, TopicItem};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://localhost:8080").token("eyJ…").device("desk-2").drafts().connect().await?;
//!
//! // Drafts: the list follows the server; changes are sent in order, and repeated until they are answered.
//! let drafts = client.drafts();
//! drafts.ready().await?;
//! let created = drafts.create(NewDraft::new(&serde_json::json!({ "title": "Lamps" }))?).await?;
//! drafts.update(&created.draft_id, created.version, &serde_json::json!({ "title": "Two lamps" })).await?;
//!
//! // Topics: from the head on, or from a cursor.
//! let mut topic = client.topic("match:1").subscribe().await?;
//! client.publish("match:1", NewEvent::new("GOAL").data(&serde_json::json!({ "minute": 61 }))?).await?;
//! while let TopicItem::Event(event) = topic.next().await? {
//!     println!("{} {} {}", event.seq, event.event, event.data);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Commands** ([`Client::publish`], [`Drafts::create`] and the like) take effect once, in the order in which
//!   they were given, however often the connection breaks in between: they are repeated under their ids until they are
//!   answered. They live in the process's memory; for what must survive a crash, give a key and repeat it.
//! - **Events** of a [`Topic`] come once and in order. Where the server's log no longer has what was missed,
//!   [`TopicItem::Missed`] says so.
//! - **Drafts** are the server's, as of the events that have come.
//! - **Tokens** come from a provider, which is asked before each connection and when a token ends; those of one topic
//!   from a provider of its own ([`TopicRequest::token_provider`]), each time before the topic is followed.
//! - **Connections** are replaced when they break or fall silent, with growing, random pauses, from the cursors at
//!   which the client stands; when a node asks to be left; and with fresh tokens of the token provider.
//! - The client ends ([`ConnectionState::Closed`]) only when the application closes it, or the server's close code
//!   says that coming back unchanged is pointless.
//!
//! # Bounds
//!
//! [`COMMANDS_MAX`] commands wait for answers, of which [`IN_FLIGHT_MAX`](session::IN_FLIGHT_MAX) are on their way;
//! [`TOPIC_ITEMS_MAX`] items of each topic wait for the application; [`DRAFT_CHANGES_MAX`] changes of drafts and
//! [`EVENTS_MAX`] other events for each who listens to them.
//!
//! # Without I/O
//!
//! [`session::Session`] is the protocol's client side as a value, for other runtimes and for tests.

mod address;
mod backoff;
mod client;
mod connection;
mod cursor;
mod draft;
mod drafts;
mod error;
mod handle;
mod json;
mod message;
mod replica;
pub mod session;
mod shared;
mod token;
mod topic;

pub use client::{Builder, Client, Events, NewEvent};
pub use cursor::{Cursor, CursorError};
pub use draft::{Draft, DraftChange};
pub use drafts::{Changed, DraftChanges, Drafts, NewDraft};
pub use error::{
    BoxError, Closed, Code, CommandError, Conflict, ConnectError, Refusal, TopicError, Violation,
};
pub use json::{Content, Json};
pub use message::{Event, Member, MemberChange, Presence, Priority, Signal, Welcome};
pub use replica::Replica;
pub use session::{Ack, TOPIC_BYTES_MAX, TOPIC_ITEMS_MAX, TopicItem};
pub use shared::{COMMANDS_MAX, ConnectionState, DRAFT_CHANGES_MAX, EVENTS_MAX, Notice};
pub use topic::{Topic, TopicRequest};
