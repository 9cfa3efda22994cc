//! A wall clock that a test sets, for one process: Debian's libfaketime, loaded into it.
//!
//! The monotonic clock stays as it is, as when an administrator or NTP puts the wall clock right.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The wall clock of a process under test.
#[derive(Debug)]
pub struct WallClock {
    library: PathBuf,
    dir: TempDir,
}

impl WallClock {
    /// A clock that differs from the real one by so many seconds.
    ///
    /// # Errors
    /// When libfaketime is not installed, or a file cannot be written.
    pub fn new(offset_seconds: i64) -> Result<Self> {
        let clock = Self { library: library()?, dir: TempDir::with_prefix("clock-")? };
        clock.set(offset_seconds)?;
        Ok(clock)
    }

    /// Sets the clock of the process while it runs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set(&self, offset_seconds: i64) -> Result<()> {
        // Renamed into place, because the process may read at any moment.
        let aside = self.dir.path().join("aside");
        fs::write(&aside, format!("{offset_seconds:+}\n"))?;
        fs::rename(&aside, self.file()).context("set the clock")
    }

    /// What the process needs in its environment.
    pub fn env(&self) -> [(String, String); 4] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }
}

/// Debian keeps libraries in a folder per architecture.
fn library() -> Result<PathBuf> {
    fs::read_dir("/usr/lib")?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
        .context("libfaketime is not installed: testkit/install")
}
