//! Draftwire's vocabulary, shared by every crate: what streams, events, cursors and drafts are, what
//! clients and servers say to each other, and the rules that need no I/O to be decided.
//!
//! Nothing here opens a socket, a file or a task, so every rule can be tested as a function.

pub mod close;
pub mod error;
pub mod event;
pub mod ids;
pub mod json;
pub mod merge;
pub mod message;
pub mod msgpack;
pub mod operations;
pub mod protocol;
pub mod regressions;
pub mod signal;
pub mod stream;
pub mod text;
pub mod time;
pub mod trace;

pub use error::Code;
pub use event::{Event, Priority};
pub use ids::{CommandId, ConnectionId, Cursor, DeviceId, DraftId, Epoch, Seq, UserId, Version};
pub use message::Message;
pub use signal::Signal;
pub use stream::{Pattern, Stream, TopicName};
pub use trace::TraceContext;
