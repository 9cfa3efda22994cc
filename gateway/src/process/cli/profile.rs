//! `draftwire profile`: where the processor time of a running node goes.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgMatches, Command};
use reqwest::{StatusCode, Url};

/// Where a node of this machine has its private listener unless told otherwise.
const URL: &str = "http://127.0.0.1:9464";

/// What may pass on top of the time that the profile takes: the node reads its symbols, and those of a large binary.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest profile that is taken from a node.
const PROFILE_BYTES_MAX: usize = 256 << 20;

/// What profile is asked for.
#[derive(Debug)]
pub struct ProfileRequest {
    url: Url,
    seconds: u64,
    out: PathBuf,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The node, or what is at the address, gives none.
    #[error("{url} gives no profile: {status} {text}")]
    Refused {
        /// The address that was asked.
        url: Url,
        /// What it answered.
        status: StatusCode,
        /// The reason that it gave.
        text: String,
    },
    /// It does not answer, or not to the end.
    #[error("no profile: {0}; --url is the address of METRICS_ADDR, not of LISTEN_ADDR")]
    Unreachable(#[source] reqwest::Error),
    /// It is larger than any node's.
    #[error("the answer is larger than {PROFILE_BYTES_MAX} bytes, as no profile is")]
    TooLarge,
    /// The file cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The command.
pub(super) fn command() -> Command {
    Command::new("profile")
        .about("Show where the processor time of a running node goes: a flame graph, or a profile for go tool pprof")
        .next_line_help(true)
        .args([
            Arg::new("seconds")
                .long("seconds")
                .value_name("NUMBER")
                .default_value("10")
                .value_parser(clap::value_parser!(u64).range(1..=60))
                .help("How long to collect"),
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .default_value(URL)
                .value_parser(address)
                .help("The node's private listener, METRICS_ADDR"),
            Arg::new("out")
                .long("out")
                .value_name("FILE")
                .default_value("profile.svg")
                .value_parser(file)
                .help("What to write: a flame graph for browsers (.svg), or a profile (.pb)"),
        ])
}

fn address(given: &str) -> Result<Url, &'static str> {
    let url = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or("give an address such as http://127.0.0.1:9464")
}

fn file(given: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(given);
    let known = matches!(extension(&path), Some("svg" | "pb"));
    known.then_some(path).ok_or("give a file that ends in .svg or .pb")
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

impl ProfileRequest {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        Self {
            url: matches.get_one::<Url>("url").expect("it has a default").clone(),
            seconds: *matches.get_one("seconds").expect("it has a default"),
            out: matches.get_one::<PathBuf>("out").expect("it has a default").clone(),
        }
    }

    /// Collects the profile, writes it, and returns where it is.
    ///
    /// # Errors
    /// When the node gives none, or it cannot be written.
    pub async fn collect(self) -> Result<PathBuf, ProfileError> {
        let Self { mut url, seconds, out } = self;
        let form = if extension(&out) == Some("svg") { "flamegraph" } else { "profile" };
        url.set_path(&format!("{}/debug/pprof/{form}", url.path().trim_end_matches('/')));
        url.set_query(Some(&format!("seconds={seconds}")));
        let profile = fetch(url, Duration::from_secs(seconds) + PATIENCE).await?;
        match tokio::fs::write(&out, profile).await {
            Ok(()) => Ok(out),
            Err(error) => Err(ProfileError::Write { path: out, error }),
        }
    }
}

async fn fetch(url: Url, timeout: Duration) -> Result<Vec<u8>, ProfileError> {
    let client = reqwest::Client::builder().timeout(timeout).build().map_err(ProfileError::Unreachable)?;
    let mut answer = client.get(url.clone()).send().await.map_err(ProfileError::Unreachable)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(ProfileError::Unreachable)? {
        if body.len() + chunk.len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    if status == StatusCode::OK {
        return Ok(body);
    }
    // A page of something else at this address is not for a terminal.
    let text = String::from_utf8_lossy(&body).lines().next().unwrap_or_default().chars().take(200).collect();
    Err(ProfileError::Refused { url, status, text })
}
