//! The programs that tests run.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The program under test.
pub(crate) const LOADTEST: &str = env!("CARGO_BIN_EXE_draftwire-loadtest");

/// The server beside this package's binary. Tests of the workspace build it; for those of this package
/// alone it is built here, once.
pub(crate) fn built() -> PathBuf {
    let dir = Path::new(LOADTEST).parent().unwrap();
    let server = dir.join("draftwire");
    if !server.exists() {
        let profile = match dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "gateway", "--bin", "draftwire", "--profile", profile])
            .arg("--target-dir")
            .arg(dir.parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success());
    }
    server
}
