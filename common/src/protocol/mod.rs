//! The messages of the WebSocket protocol, version 1, as docs/protocol.md describes them.

mod client;
mod server;
mod topics;

pub use client::{Command, DraftCreate, DraftDelete, DraftUpdate, Malformed, Request};
pub use server::{
    Device, Draft, DraftAck, Member, Pong, Presence, Reconnect, ServerMessage, SnapshotBody, Subscribed,
    TokenExpiring, Unsubscribed, Welcome,
};
pub use topics::{Data, NewEvent, Publish, Subscribe, Subscription, Unsubscribe};

/// The subprotocol: the messages of this module as JSON in text frames.
pub const SUBPROTOCOL_JSON: &str = "draftwire.v1.json";

/// The same messages as MessagePack in binary frames.
pub const SUBPROTOCOL_MSGPACK: &str = "draftwire.v1.msgpack";

/// What precedes the token in a subprotocol entry. A browser can set no header on a WebSocket, and a
/// token in the URL ends up in logs.
pub const SUBPROTOCOL_BEARER: &str = "bearer.";
