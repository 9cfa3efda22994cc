//! Where clients arrive: the listener, every route, WebSockets, HTTP and event streams.

pub(crate) mod body;
pub mod connections;
mod content_coding;
mod cors;
pub mod drain;
mod entity_tag;
mod http;
pub(crate) mod identity;
pub mod listener;
pub(crate) mod problem;
mod query;
pub mod router;
mod sse;
mod ws;
