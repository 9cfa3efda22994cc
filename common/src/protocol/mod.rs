//! The messages of the WebSocket protocol, version 1, as docs/protocol.md describes them.

mod client;
mod server;

pub use client::{Command, DraftCreate, DraftDelete, DraftUpdate, Malformed, Request};
pub use server::{Draft, DraftAck, Pong, Reconnect, ServerMessage, SnapshotBody, TokenExpiring, Welcome};

/// The subprotocol: the messages of this module as JSON in text frames.
pub const SUBPROTOCOL_JSON: &str = "draftwire.v1.json";

/// What precedes the token in a subprotocol entry. A browser can set no header on a WebSocket, and a
/// token in the URL ends up in logs.
pub const SUBPROTOCOL_BEARER: &str = "bearer.";
