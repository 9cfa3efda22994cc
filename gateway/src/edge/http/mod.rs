//! Plain HTTP: a file per resource.

pub(super) mod caller;
pub(super) mod demo;
pub(super) mod drafts;
pub(super) mod health;
pub(super) mod history;
pub(super) mod path;
pub(super) mod publish;
