//! WebSockets (RFC 6455) with permessage-deflate (RFC 7692), the server's side; and of the client's as
//! much as a load generator needs ([`client`]).
//!
//! Knows nothing of what is said over them. It is our own because of what a server with many quiet
//! connections needs and libraries do not give together:
//!
//! - A message is encoded once, deflated if that is wanted, and the same bytes are written to all who
//!   get it, from where they are ([`frame`]).
//! - A connection that is idle holds no buffer: bytes are read into one of the thread and kept only
//!   while a message is incomplete ([`socket`], [`reader`]).
//! - Compression has no context (`no_context_takeover` both ways), so it has no state per connection
//!   ([`deflate`]).
//!
//! What reads and what encodes does no I/O.

pub mod client;
pub mod deflate;
pub mod extensions;
pub mod frame;
pub mod handshake;
mod header;
mod mask;
pub mod reader;
pub mod socket;
mod violation;

pub use extensions::Deflate;
pub use handshake::Handshake;
pub use header::Opcode;
pub use socket::{Ended, Received, Socket};
pub use violation::Violation;
