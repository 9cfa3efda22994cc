//! Gives memory back to the system once a crowd has left.
//!
//! The allocator keeps what is freed for whoever comes next, and that is right while people come and go. But
//! the memory of ten thousand connections that have moved to other nodes would stay with this one for good.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::edge::connections::Connections;

/// How often it is looked whether a crowd has left.
const INTERVAL: Duration = Duration::from_secs(3);

/// How long it may take, besides the linger of streams, until all is freed that a crowd has used: streams
/// are let go by the sweep.
const SWEPT: Duration = Duration::from_secs(10);

/// Connections that are a crowd: below, there is little to give back.
const CROWD_MIN: usize = 256;

/// Looks after the memory of connections until these are gone. Streams that nobody follows any more stay for
/// `linger`.
pub(crate) async fn look_after(connections: Weak<Connections>, linger: Duration) {
    let mut until = Instant::now();
    loop {
        sleep(INTERVAL).await;
        let Some(connections) = connections.upgrade() else { return };
        if crowd_has_left(&connections) {
            connections.forget_peak();
            until = Instant::now() + linger + SWEPT;
        }
        if Instant::now() < until {
            // It takes a moment: every free piece of memory is looked at.
            let _ = spawn_blocking(trim).await;
        }
    }
}

/// Whether a quarter of the most that there were has left, so that the effort is in proportion. Where as
/// many come as leave, it never is.
fn crowd_has_left(connections: &Arc<Connections>) -> bool {
    let (now, peak) = (connections.total(), connections.peak());
    peak - now >= CROWD_MIN.max(peak / 4)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn trim() {
    // SAFETY: malloc_trim(3) takes any number, keeps what is in use, and may be called by any thread.
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_left_when_a_quarter_has_and_that_is_many() {
        let connections = Connections::new(10_000, 10_000);
        let enter = |_| connections.enter(None, None, tokio::time::Instant::now()).ok().unwrap();
        let mut guard: Vec<_> = (0..2000).map(enter).collect();
        assert!(!crowd_has_left(&connections));
        guard.truncate(1501);
        assert!(!crowd_has_left(&connections));
        guard.truncate(1500);
        assert!(crowd_has_left(&connections));
        connections.forget_peak();
        assert!(!crowd_has_left(&connections), "that was for the others");
        guard.truncate(1300);
        connections.forget_peak();
        guard.truncate(1300 - 200);
        assert!(!crowd_has_left(&connections), "a few are no crowd");
    }
}
