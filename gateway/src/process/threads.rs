//! How many threads the process may have.

use rustix::process::{Resource, getrlimit};

use super::control_group::{Controller, limit as limit_of_group};

const PIDS: Controller = Controller { name: "pids", file: "pids.max", file_of_version_1: "pids.max" };

/// The limit of the control group or of the user, whichever is less; `None` where there is none.
pub(super) fn limit() -> Option<u64> {
    limit_of_group(&PIDS).into_iter().chain(getrlimit(Resource::Nproc).current).min()
}
