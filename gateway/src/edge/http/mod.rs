//! Plain HTTP: a file per resource.

mod asset;
pub(super) mod caller;
pub(super) mod cluster;
pub(super) mod connections;
pub(super) mod console;
pub(crate) mod demo;
pub(super) mod disconnect;
pub(super) mod drafts;
pub(crate) mod health;
pub(super) mod history;
pub(super) mod live;
pub(super) mod openapi;
pub(super) mod operations;
pub(super) mod path;
pub(super) mod presence;
pub(super) mod publish;
pub(super) mod settings;
pub(super) mod streams;
pub(super) mod webhooks;
