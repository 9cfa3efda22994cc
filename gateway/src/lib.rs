//! The Draftwire server: WebSocket and HTTP in front of the store and the fan-out.
//!
//! A library, so that tests can start whole nodes in their own process; the binary is thin.

pub mod auth;
pub mod caller;
pub mod cli;
pub mod commit;
pub mod config;
pub mod connections;
mod data_dir;
pub mod drafts;
pub mod drain;
pub mod failure;
mod following;
pub mod http;
pub mod listener;
mod memory;
pub mod metrics;
pub mod node;
mod open_files;
pub mod pipeline;
mod process;
pub mod reads;
pub mod retention;
pub mod serve;
pub mod store;
pub mod topics;
mod underway;
mod ws;
