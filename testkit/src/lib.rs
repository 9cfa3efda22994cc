//! What tests and load runs need around a node: private Postgres, Redis and Nginx on free ports, nodes
//! as real processes, faults between and inside them, and clients that check what they are sent.
//!
//! Nothing here is shared between tests: each starts what it needs, in a temporary folder, and all of
//! it ends when the values are dropped. Every wait has a deadline and says what it waited for.

pub mod clock;
pub mod cluster;
pub mod contract;
pub mod device;
pub mod handshake;
pub mod http;
pub mod monitoring;
pub mod nginx;
pub mod node;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod publisher;
pub mod raw_socket;
pub mod receiver;
pub mod redis;
pub mod service;
pub mod sse;
pub mod token;
pub mod wait;

pub use clock::WallClock;
pub use cluster::{Cluster, ClusterOptions};
pub use device::{Ack, Device, DeviceOptions, Encoding, Refused, Topic, Violation};
pub use monitoring::Monitoring;
pub use nginx::Nginx;
pub use node::{Node, NodeOptions};
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use publisher::{Publisher, Target};
pub use raw_socket::{RawRequest, RawSocket};
pub use receiver::Receiver;
pub use redis::Redis;
pub use service::Service;
pub use sse::{SseFollower, SseOptions};
