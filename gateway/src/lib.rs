//! The Draftwire server: WebSocket and HTTP in front of the store and the fan-out.

pub mod auth;
pub mod cli;
pub mod config;
pub mod store;
