//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// What a node needs besides its connections: the pool, Redis, listeners, files, and requests over HTTP.
const RESERVE: u64 = 512;

/// Raises the soft limit to the hard one, and says so in the log where that does not suffice for all
/// connections. The soft limit is low for the sake of programs that use `select`; nothing here does.
pub(crate) fn raise(connections_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        debug!(%error, "the soft limit of open files stays as it is");
    }
    let needed = needed(connections_max);
    if let Some(files) = limit()
        && files < needed
    {
        warn!(
            "{files} open files are allowed, and CONNECTIONS_MAX={connections_max} needs {needed}: raise the hard \
             limit (LimitNOFILE= of systemd, --ulimit nofile= of docker), or lower CONNECTIONS_MAX"
        );
    }
}

/// How many files a node opens that has as many connections.
pub(crate) fn needed(connections_max: usize) -> u64 {
    u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(RESERVE)
}

/// The limit that the soft one can be raised to; `None` where there is none.
pub(crate) fn hard_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// The soft limit; `None` where there is none.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
