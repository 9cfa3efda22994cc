//! What clients may do: commands that are checked, committed and read, the same over the socket and over HTTP.

pub(crate) mod access;
pub mod caller;
pub mod drafts;
pub mod failure;
pub mod group_commit;
mod looks;
pub mod pipeline;
pub mod reads;
pub mod topics;
