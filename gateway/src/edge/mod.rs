//! Where clients arrive: the listener, every route, WebSockets, HTTP and event streams.

mod activity;
pub(crate) mod body;
mod connection_log;
pub mod connections;
mod content_coding;
pub(crate) mod context;
mod cors;
pub mod drain;
mod entity_tag;
mod forced_end;
pub(crate) mod here;
pub(crate) mod http;
pub(crate) mod identity;
pub mod listener;
mod measure;
mod place;
pub(crate) mod problem;
mod query;
mod request_id;
pub mod router;
mod sse;
pub(crate) mod state;
mod traced;
mod traffic;
mod welcome;
mod ws;

use axum::http::HeaderName;

/// Which node answered: for operators, and for checks of stickiness.
pub(crate) const NODE_HEADER: HeaderName = HeaderName::from_static("draftwire-node");
