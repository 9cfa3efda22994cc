//! `draftwire token check`: what a node with these settings says of a token, and why.

use std::{
    fmt::Write as _,
    io::Read as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::{
    auth::{self, AuthError, KeySource, Secret, TOKEN_BYTES_MAX, Verifier, VerifierError},
    data_dir,
};

/// The token, and how the server that is to take it is configured.
#[derive(Debug)]
pub struct TokenCheck {
    /// `None`: it is read from the standard input.
    token: Option<Secret>,
    auth: auth::Settings,
}

/// Why nothing can be said of the token.
#[derive(Debug, thiserror::Error)]
pub enum TokenCheckError {
    /// The keys cannot be had.
    #[error(transparent)]
    Keys(#[from] VerifierError),
    /// The keys cannot be fetched.
    #[error("the keys of JWT_JWKS_URL cannot be fetched: {0}")]
    Fetch(String),
    /// An embedded node makes its secret when it starts for the first time.
    #[error("there is no secret in DATA_DIR yet: no node was started there")]
    NoSecret,
    /// The standard input cannot be read.
    #[error("the token cannot be read: {0}")]
    Input(#[from] std::io::Error),
}

/// The command, without its settings.
pub(super) fn command() -> Command {
    let token = Arg::new("checked").value_name("TOKEN").help(
        "The token; - reads it from the standard input, which other users of this machine cannot see \
         [env: DRAFTWIRE_TOKEN]",
    );
    Command::new("check")
        .about("Say what a node with these settings says of a token: whom it is for, what it allows and until when, or why it is refused")
        .next_line_help(true)
        .arg(token)
}

impl TokenCheck {
    pub(super) fn read(
        matches: &ArgMatches,
        env: impl Fn(&str) -> Option<String>,
        auth: auth::Settings,
    ) -> Self {
        let given = matches.get_one::<String>("checked").cloned();
        let token = given.or_else(|| env("DRAFTWIRE_TOKEN")).filter(|token| token != "-");
        Self { token: token.map(|token| Secret::new(token.trim())), auth }
    }

    /// Prints what a node says, and returns whether it would take the token.
    ///
    /// # Errors
    /// When the token or the keys cannot be read or fetched.
    pub async fn run(self) -> Result<bool, TokenCheckError> {
        let token = match self.token {
            Some(token) => token,
            None => from_input()?,
        };
        if let KeySource::Generated { dir } = &self.auth.keys
            && !dir.join(data_dir::SECRET).exists()
        {
            return Err(TokenCheckError::NoSecret);
        }
        let verifier = Verifier::new(&self.auth)?;
        if matches!(self.auth.keys, KeySource::Jwks(_)) {
            verifier.fetch_keys().await.map_err(TokenCheckError::Fetch)?;
        }
        let now = common::time::unix_ms();
        let said = match verifier.verify(token.reveal(), now).await {
            Ok(identity) => Ok(taken(
                &format!("user {}", identity.user),
                identity.scopes.as_str(),
                identity.expires_at,
                now,
            )),
            Err(AuthError::OfTopic) => verifier.verify_topic(token.reveal(), now).await.map(|topic| {
                let bearer = topic.user.map_or("whoever has it".to_owned(), |user| format!("user {user}"));
                let right = if topic.may_publish { "follow and publish to" } else { "follow" };
                let whom = format!("{bearer}, to {right} the topic {}", topic.topic);
                taken(&whom, "", topic.validity.expires_at, now)
            }),
            Err(refused) => Err(refused),
        };
        match said {
            Ok(taken) => println!("{taken}"),
            Err(refused) => {
                println!("refused: {refused}");
                print!("{}", claims(token.reveal(), &self.auth.rules));
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn from_input() -> Result<Secret, std::io::Error> {
    let mut text = String::new();
    // One byte more than any token has.
    std::io::stdin().take(TOKEN_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(Secret::new(text.trim()))
}

fn taken(whom: &str, scopes: &str, expires_at: u64, now: u64) -> String {
    let scopes = match scopes {
        "" => String::new(),
        scopes => format!("\nscopes: {scopes}"),
    };
    let until = match expires_at.checked_sub(now) {
        Some(left) => format!("until {}, for another {} s", date(expires_at), left / 1000),
        None => format!("until {}, which is over: only JWT_LEEWAY lets it in", date(expires_at)),
    };
    format!("accepted: for {whom}\n{until}{scopes}")
}

/// A time in Unix milliseconds, for people.
fn date(unix_ms: u64) -> String {
    let time = SystemTime::checked_add(&UNIX_EPOCH, Duration::from_millis(unix_ms));
    // The year 9999 is as far as dates are written.
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(time.unwrap_or(latest).min(latest))
}

/// What the refused token says of itself beside what is expected of it. Its signature may be anybody's.
fn claims(token: &str, rules: &auth::Rules) -> String {
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&json).ok()
    });
    let (header, payload) = (parts.next().flatten(), parts.next().flatten());
    let mut text = String::new();
    let mut say = |name: &str, object: &Option<Map<String, Value>>, expected: Option<&str>| {
        let Some(value) = object.as_ref().and_then(|object| object.get(name)) else { return };
        let seconds = matches!(name, "exp" | "nbf").then(|| value.as_u64()).flatten();
        let date =
            seconds.map(|seconds| format!(" ({})", date(seconds.saturating_mul(1000)))).unwrap_or_default();
        let expected = expected.map(|expected| format!(", expected is {expected}")).unwrap_or_default();
        // A String takes everything.
        let _ = writeln!(text, "it says: {name} {value}{date}{expected}");
    };
    say("alg", &header, None);
    say("kid", &header, None);
    say("iss", &payload, rules.issuer.as_deref());
    say("aud", &payload, rules.audience.as_deref());
    say("nbf", &payload, None);
    say("exp", &payload, None);
    text
}
