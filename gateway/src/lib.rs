//! The Draftwire server: WebSocket and HTTP in front of the store and the fan-out.

pub mod store;
