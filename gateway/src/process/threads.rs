//! How many threads the process may have.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// The limit of the control group or of the user, whichever is less; `None` where there is none.
pub(super) fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_group = fs::read_to_string(pids_max_path(&groups)).ok().and_then(|text| text.trim().parse().ok());
    of_group.into_iter().chain(getrlimit(Resource::Nproc).current).min()
}

/// The file with the limit of a process's control group (cgroups(7)): of version 2, or of the controller `pids` of version
/// 1. A container sees its own group as the root.
fn pids_max_path(groups: &str) -> String {
    let mut path = "/sys/fs/cgroup/pids.max".to_owned();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let folder = if controllers.is_empty() {
            "/sys/fs/cgroup"
        } else if controllers.split(',').any(|controller| controller == "pids") {
            "/sys/fs/cgroup/pids"
        } else {
            continue;
        };
        path = format!("{folder}{}/pids.max", group.trim_end_matches('/'));
        if fs::exists(&path).unwrap_or(false) {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_either_version_is_found() {
        assert_eq!(pids_max_path("0::/\n"), "/sys/fs/cgroup/pids.max");
        assert_eq!(pids_max_path("0::/no such group\n"), "/sys/fs/cgroup/no such group/pids.max");
        let first = "5:cpu,cpuacct:/a\n4:devices,pids:/no such group\n";
        assert_eq!(pids_max_path(first), "/sys/fs/cgroup/pids/no such group/pids.max");
        assert_eq!(pids_max_path(""), "/sys/fs/cgroup/pids.max");
    }
}
