//! Limits of the process's control group (cgroups(7)): of version 2, or of version 1 where that has the controller. A
//! container sees its own group as the root.

use std::fs;

/// Where a limit is found.
pub(super) struct Controller {
    /// As version 1 calls the controller.
    pub(super) name: &'static str,
    /// The file of version 2.
    pub(super) file: &'static str,
    pub(super) file_of_version_1: &'static str,
}

/// The limit that the process's own group has; `None` where there is none.
pub(super) fn limit(controller: &Controller) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    fs::read_to_string(path(&groups, controller)).ok()?.trim().parse().ok()
}

/// The file with the limit, given the text of `/proc/self/cgroup`.
fn path(groups: &str, controller: &Controller) -> String {
    let mut path = format!("/sys/fs/cgroup/{}", controller.file);
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (folder, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup".to_owned(), controller.file)
        } else if controllers.split(',').any(|name| name == controller.name) {
            (format!("/sys/fs/cgroup/{}", controller.name), controller.file_of_version_1)
        } else {
            continue;
        };
        path = format!("{folder}{}/{file}", group.trim_end_matches('/'));
        if fs::exists(&path).unwrap_or(false) {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIDS: Controller = Controller { name: "pids", file: "pids.max", file_of_version_1: "pids.max" };
    const MEMORY: Controller =
        Controller { name: "memory", file: "memory.max", file_of_version_1: "memory.limit_in_bytes" };

    #[test]
    fn the_group_of_either_version_is_found() {
        assert_eq!(path("0::/\n", &PIDS), "/sys/fs/cgroup/pids.max");
        assert_eq!(path("0::/no such group\n", &PIDS), "/sys/fs/cgroup/no such group/pids.max");
        let first = "5:cpu,cpuacct:/a\n4:devices,pids:/no such group\n";
        assert_eq!(path(first, &PIDS), "/sys/fs/cgroup/pids/no such group/pids.max");
        assert_eq!(path("", &PIDS), "/sys/fs/cgroup/pids.max");
    }

    #[test]
    fn the_file_is_that_of_the_version() {
        assert_eq!(path("0::/no such group\n", &MEMORY), "/sys/fs/cgroup/no such group/memory.max");
        let first = "4:memory:/no such group\n";
        assert_eq!(path(first, &MEMORY), "/sys/fs/cgroup/memory/no such group/memory.limit_in_bytes");
    }
}
