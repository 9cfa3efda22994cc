//! The Draftwire server: WebSocket and HTTP in front of the store and the fan-out.
//!
//! A library, so that tests can start whole nodes in their own process; the binary is thin.

pub mod auth;
mod cluster;
pub mod commands;
pub mod config;
mod control;
mod data_dir;
pub mod edge;
pub mod node;
mod notices;
pub mod operations;
pub mod process;
pub mod retention;
pub mod settings;
pub mod store;
mod subscriptions;
mod traces;
mod webhooks;
