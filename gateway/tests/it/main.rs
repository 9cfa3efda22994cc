//! Whole nodes in this process, over the embedded store, met through real sockets: a file per behaviour.

#![allow(clippy::unwrap_used)]

mod admin;
mod anonymous;
mod backend_auth;
mod bad_input;
mod batches;
mod clock;
mod cluster;
mod command_line;
mod conditional;
mod content_coding;
mod contract;
mod cors;
mod cpu_profile;
mod data_dir;
mod decoding;
mod deflate;
mod demo;
mod disconnect;
mod docs;
mod doctor;
mod drafts;
mod edge;
mod encodings;
mod event_stream;
mod failing_store;
mod group_commit;
mod handshake;
mod harness;
mod headers;
mod history;
mod http;
mod layers;
mod limits;
mod live;
mod load_test_size;
mod monitoring;
mod numbers;
mod order;
mod panics;
mod presence;
mod presence_list;
mod publish;
mod redis_rights;
mod reread;
mod resume;
mod retention;
mod rights;
mod rust_client;
mod session;
mod settings;
mod shutdown;
mod sources;
mod tidy;
mod token_check;
mod tokens;
mod topic_tokens;
mod topics;
mod traces;
mod troubleshooting;
mod two_clusters;
mod unavailable;
mod visibility;
mod watching;
mod webhooks;

use std::time::Duration;

/// For every wait. It only decides how long a failing test takes.
const DEADLINE: Duration = Duration::from_secs(20);
