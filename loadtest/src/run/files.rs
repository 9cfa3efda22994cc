//! How many files may be open: each connection is one.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open besides the connections of a process.
pub(crate) const OTHER_FILES: u64 = 256;

/// Raises the soft limit to what is allowed at most, and answers that. Shells give a thousand. What is
/// started from here inherits it.
pub(crate) fn raise() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    // `None` is without limit.
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .context("raise the limit of open files")?;
    }
    Ok(most)
}

/// As [`raise`], for what needs this many.
pub(crate) fn allow(needed: u64) -> Result<()> {
    let most = raise()?;
    ensure!(most >= needed, "{needed} open files are needed and {most} allowed: raise `ulimit -n`");
    Ok(())
}
