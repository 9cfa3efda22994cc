//! What the doctor finds out about this machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};

use super::finding::Finding;
use crate::{
    config::{Config, Database},
    data_dir::{self, LockError},
    edge::listener,
    process::open_files,
};

/// Below this much room, bytes, an embedded node is soon out of it.
const ROOM_LOW: u64 = 1 << 30;

/// Below this much, bytes, it is about to be.
const ROOM_MIN: u64 = 64 << 20;

pub(super) fn check(settings: &Config, findings: &mut Vec<Finding>) {
    findings.push(files(settings.websocket.connections_max));
    if let Database::Embedded { dir } = &settings.store.database {
        folder(settings, dir, findings);
    }
    findings.push(port("ports", "LISTEN_ADDR", settings.listen.addr));
    findings.push(port("ports", "METRICS_ADDR", settings.listen.metrics_addr));
}

fn files(connections_max: usize) -> Finding {
    let needed = open_files::needed(connections_max);
    match open_files::hard_limit() {
        Some(limit) if limit < needed => Finding::warning(
            "files",
            format!(
                "{limit} open files are allowed, and CONNECTIONS_MAX={connections_max} needs {needed}; raise the hard \
                 limit (LimitNOFILE= of systemd, --ulimit nofile= of docker), or lower CONNECTIONS_MAX"
            ),
        ),
        Some(limit) => {
            Finding::ok("files", format!("{limit} open files are allowed, and {needed} are needed"))
        }
        None => Finding::ok("files", "open files are not limited"),
    }
}

fn folder(settings: &Config, dir: &Path, findings: &mut Vec<Finding>) {
    // A folder that is missing is made in the nearest one that exists.
    let Some(existing) = nearest(dir) else {
        findings.push(Finding::failed(
            "data",
            format!("DATA_DIR {} cannot be made; choose another folder", dir.display()),
        ));
        return;
    };
    let shown = dir.display();
    if let Err(error) = access(&existing, Access::WRITE_OK | Access::EXEC_OK) {
        let mend = "let this user write there, or choose another folder";
        findings
            .push(Finding::failed("data", format!("DATA_DIR {shown} cannot be written: {error}; {mend}")));
    } else if let Some(holder) = holder(settings, dir) {
        let mend = "stop that one, or choose another folder";
        findings.push(Finding::failed("data", format!("DATA_DIR {shown} is used by {holder}; {mend}")));
    } else {
        findings.push(Finding::ok("data", format!("DATA_DIR {shown} can be written")));
    }
    let Ok(room) = statvfs(&existing) else { return };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let sentence = format!("{} MiB are free in DATA_DIR", free >> 20);
    findings.push(if free < ROOM_MIN {
        Finding::failed("disk", format!("{sentence}; make room, or choose another folder"))
    } else if free < ROOM_LOW {
        Finding::warning("disk", format!("{sentence}; make room, or shorten RETENTION_*"))
    } else {
        Finding::ok("disk", sentence)
    });
}

/// The folder, or the nearest above it that exists; `None` where something else is in the way.
fn nearest(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find(|dir| dir.exists()).filter(|dir| dir.is_dir()).map(Path::to_owned)
}

/// Which process uses the folder.
fn holder(settings: &Config, dir: &Path) -> Option<String> {
    if !data_dir::was_used(dir) {
        return None;
    }
    match data_dir::lock(dir, &settings.listen.node) {
        Err(LockError::Held(holder)) => Some(holder),
        Ok(_) | Err(LockError::Io(_)) => None,
    }
}

fn port(check: &'static str, setting: &str, addr: SocketAddr) -> Finding {
    match listener::bind(addr) {
        Ok(_) => Finding::ok(check, format!("{setting} {addr} is free")),
        Err(error) => Finding::failed(
            check,
            format!("{setting}: cannot listen on {addr}: {error}; free it or choose another address"),
        ),
    }
}
