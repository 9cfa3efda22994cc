//! What tests and load runs need around a node: private Postgres, Redis and Nginx on free ports, nodes
//! as real processes, faults between and inside them, and a device that checks what it is sent.
//!
//! Nothing here is shared between tests: each starts what it needs, in a temporary folder, and all of
//! it ends when the values are dropped. Every wait has a deadline and says what it waited for.

pub mod cluster;
pub mod device;
pub mod handshake;
pub mod http;
pub mod nginx;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw_socket;
pub mod redis;
pub mod token;
pub mod wait;

pub use cluster::{Cluster, ClusterOptions};
pub use device::{Ack, Device, DeviceOptions, Refused, Violation};
pub use nginx::Nginx;
pub use node::{Node, NodeOptions};
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use raw_socket::{RawRequest, RawSocket};
pub use redis::Redis;
