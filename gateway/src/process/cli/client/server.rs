//! The server that a command talks to, and the token that it shows.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, ArgMatches};
use draftwire_client::{Builder, Client, ConnectionState};
use reqwest::Url;
use tokio::time::timeout;

use super::failure::Failure;
use crate::{
    auth::Secret,
    config::{input, text},
};

/// Where a node of this machine listens unless told otherwise.
const URL: &str = "http://127.0.0.1:8080";

/// The device of commands: the `origin` of what they change, and part of the key under which it is remembered.
const DEVICE: &str = "cli";

const TIMEOUT: &str = "30s";

/// Where the token comes from.
#[derive(Debug, Clone)]
enum TokenSource {
    None,
    Text(Secret),
    /// Read each time that a token is needed, so that somebody may renew it.
    File(PathBuf),
}

/// A server, and how to talk to it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    url: Url,
    token: TokenSource,
    pub(super) device: String,
    /// How long an answer may take, with everything that is repeated until then.
    pub(super) timeout: Duration,
}

/// The arguments of every command on a server.
pub(super) fn arguments() -> [Arg; 5] {
    let heading = "Server";
    [
        Arg::new("url").long("url").value_name("URL").help(format!(
            "The server's address, http or https [env: DRAFTWIRE_URL] [default: {URL}]"
        )),
        Arg::new("token").long("token").value_name("TOKEN").conflicts_with("token-file").help(
            "The token; other users of this machine can read it here, so give it by the environment or a file \
             [env: DRAFTWIRE_TOKEN]",
        ),
        Arg::new("token-file").long("token-file").value_name("FILE").help(
            "A file with the token, which is read again for each connection [env: DRAFTWIRE_TOKEN_FILE]",
        ),
        Arg::new("device")
            .long("device")
            .value_name("NAME")
            .default_value(DEVICE)
            .help("The name of this device: what it changes has it as its origin"),
        Arg::new("timeout")
            .long("timeout")
            .value_name("DURATION")
            .default_value(TIMEOUT)
            .value_parser(|given: &str| text::duration(given).ok_or("give a duration, such as 30s"))
            .help("How long an answer may take; what is refused for the moment is repeated until then"),
    ]
    .map(|argument| argument.help_heading(heading))
}

impl Server {
    /// The server that the arguments, or the environment, name.
    pub(super) fn read(matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let given = |name: &str| matches.get_one::<String>(name).cloned();
        let from_env = |name: &str| env(name).filter(|value| !value.is_empty());
        let url = given("url").or_else(|| from_env("DRAFTWIRE_URL")).unwrap_or_else(|| URL.to_owned());
        let of = |name: &str, text: fn(String) -> TokenSource| given(name).map(text);
        let text = |token: String| TokenSource::Text(Secret::new(token.trim()));
        let file = |path: String| TokenSource::File(path.into());
        let token = of("token", text)
            .or_else(|| of("token-file", file))
            .or_else(|| from_env("DRAFTWIRE_TOKEN").map(text))
            .or_else(|| from_env("DRAFTWIRE_TOKEN_FILE").map(file))
            .unwrap_or(TokenSource::None);
        Ok(Self {
            url: address(&url)?,
            token,
            device: given("device").unwrap_or_else(|| DEVICE.to_owned()),
            timeout: *matches.get_one("timeout").expect("it has a default"),
        })
    }

    /// The server's address, for people.
    pub(super) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The address of a path that takes no device, given by its parts.
    pub(super) fn plain_url(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.clear().extend(path);
        }
        url
    }

    /// The address of a path, given by its parts.
    pub(super) fn http_url(&self, path: &[&str]) -> Url {
        let mut url = self.plain_url(path);
        url.query_pairs_mut().append_pair("device", &self.device);
        url
    }

    /// Refuses to go on without a token, or with a file that holds none.
    pub(super) fn require_token(&self) -> Result<(), Failure> {
        let missing = "no token: give one by DRAFTWIRE_TOKEN or --token-file (draftwire token makes one)";
        self.token()?.map(drop).ok_or_else(|| Failure::Usage(missing.to_owned()))
    }

    /// The token, as it is now.
    pub(super) fn token(&self) -> Result<Option<Secret>, Failure> {
        match &self.token {
            TokenSource::None => Ok(None),
            TokenSource::Text(token) => Ok(Some(token.clone())),
            TokenSource::File(path) => read(path).map(Some),
        }
    }

    /// A client of the server, not connected yet.
    pub(super) fn client(&self) -> Builder {
        let builder = Client::builder(self.url()).device(&self.device);
        match &self.token {
            TokenSource::None => builder,
            TokenSource::Text(token) => builder.token(token.reveal()),
            TokenSource::File(path) => {
                let path = path.clone();
                builder.token_provider(move || {
                    let path = path.clone();
                    async move {
                        let token = tokio::task::spawn_blocking(move || read(&path)).await?;
                        Ok(token?.reveal().to_owned())
                    }
                })
            }
        }
    }

    /// Connects. Why the first attempt failed is said at once.
    pub(super) async fn connect(&self, builder: Builder) -> Result<Client, Failure> {
        Ok(self.connect_with(builder, |_| ()).await?.0)
    }

    /// Starts to connect, and gives the client to `prepare` before anything can have come.
    pub(super) async fn connect_with<T>(
        &self,
        builder: Builder,
        prepare: impl FnOnce(&Client) -> T,
    ) -> Result<(Client, T), Failure> {
        let client = builder.start().map_err(|error| Failure::of_connection(self.url(), &error))?;
        let prepared = prepare(&client);
        let mut state = client.state();
        let is_decided = |state: &ConnectionState| !matches!(state, ConnectionState::Connecting);
        let waiting = self.in_time("no connection", state.wait_for(is_decided)).await?;
        let failure = match waiting.as_deref() {
            Ok(ConnectionState::Waiting { error, .. }) => Some(Failure::of_connection(self.url(), error)),
            Ok(ConnectionState::Closed(closed)) => Some(Failure::of_end(self.url(), closed)),
            _ => None,
        };
        drop(waiting);
        failure.map_or(Ok((client, prepared)), Err)
    }

    /// Waits for an answer as long as it may take.
    pub(super) async fn in_time<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let within = self.timeout;
        timeout(within, answer).await.map_err(|_| Failure::Timeout { what, within })
    }
}

/// The address of a server: `http` or `https`, a host, and no more.
fn address(given: &str) -> Result<Url, Failure> {
    // The text may hold a password: it is not shown.
    let wrong = |what: &str| Failure::Usage(format!("the address of the server (--url) {what}"));
    let mut url = Url::parse(given).map_err(|error| wrong(&format!("is no URL: {error}")))?;
    let scheme = match url.scheme() {
        "http" | "ws" => "http",
        "https" | "wss" => "https",
        _ => return Err(wrong("must begin with http:// or https://")),
    };
    // It fails only between kinds of schemes that are told apart above.
    let _ = url.set_scheme(scheme);
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_bare { Ok(url) } else { Err(wrong("must have nothing but a scheme, a host and a port")) }
}

/// Reads a file with a token in it.
fn read(path: &Path) -> Result<Secret, Failure> {
    let wrong = |what| Failure::Usage(format!("the token in {}: {what}", path.display()));
    Ok(Secret::new(input::read_file(path).map_err(wrong)?.trim()))
}
