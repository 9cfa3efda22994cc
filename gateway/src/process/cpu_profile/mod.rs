//! CPU profiles of this process: where its processor time goes, function by function.
//!
//! Collected when asked for, over HTTP on the private listener, as the profile that `go tool pprof` and Pyroscope read,
//! or as a flame graph.

mod encoding;
mod flame_graph;
mod routes;
mod sampling;

pub(super) use self::routes::router;
