//! Where the users' tokens come from.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use common::time::unix_ms;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use testkit::{device::TokenSource, http, token};
use tokio::{process::Command, task::JoinHandle, time::timeout};

/// How long tokens signed here are valid; a new one is signed for each connection.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How often tokens that come from elsewhere are renewed: well within the demo page's quarter hour.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// Tokens fetched at one time.
const FETCHES_MAX: usize = 8;

/// How long the token command may run.
const COMMAND_WAIT: Duration = Duration::from_secs(10);

/// Where tokens come from. Without any of these: from the environment's JWT_SECRET.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct TokenArgs {
    /// Signs tokens with the servers' JWT_SECRET. Prefer the environment: arguments show in `ps`.
    #[arg(long)]
    secret: Option<String>,
    /// Runs this in a shell for each user, whose name is in $DRAFTWIRE_USER and whose rights are in
    /// $DRAFTWIRE_SCOPE, and reads the token from its output.
    #[arg(long, value_name = "COMMAND")]
    token_command: Option<String>,
    /// Takes tokens from the demo page's /demo/token.
    #[arg(long)]
    demo: bool,
}

/// Who signs.
#[derive(Debug, Clone)]
pub(crate) enum Signer {
    Secret(String),
    Command(String),
    /// The address of the demo's tokens.
    Demo(String),
}

/// The tokens of all users.
#[derive(Debug)]
pub(crate) struct Tokens {
    signer: Signer,
    /// What the tokens allow, as in [`Signer::token`].
    scope: Arc<str>,
    /// By user; those that were fetched.
    fetched: Arc<RwLock<HashMap<String, String>>>,
    renewal: Option<JoinHandle<()>>,
}

impl Tokens {
    /// Fetches what has to be fetched, with a `scope`.
    pub(crate) async fn of(signer: Signer, users: &[String], scope: &str) -> Result<Self> {
        let mut tokens = Self { signer, scope: scope.into(), fetched: Arc::default(), renewal: None };
        if !matches!(tokens.signer, Signer::Secret(_)) {
            let fetched = fetch_all(&tokens.signer, users, scope).await?;
            store(&tokens.fetched, fetched);
            let (signer, scope) = (tokens.signer.clone(), Arc::clone(&tokens.scope));
            tokens.renewal =
                Some(tokio::spawn(renew(signer, Arc::clone(&tokens.fetched), users.to_vec(), scope)));
        }
        Ok(tokens)
    }

    /// Gives `user`'s token for each new connection.
    pub(crate) fn source(&self, user: &str) -> TokenSource {
        let user = user.to_owned();
        match &self.signer {
            Signer::Secret(secret) => {
                let (secret, scope) = (secret.clone(), Arc::clone(&self.scope));
                Arc::new(move || sign(&user, &scope, &secret))
            }
            Signer::Command(_) | Signer::Demo(_) => {
                let fetched = Arc::clone(&self.fetched);
                Arc::new(move || {
                    let fetched = fetched.read().unwrap_or_else(PoisonError::into_inner);
                    fetched.get(&user).cloned().unwrap_or_default()
                })
            }
        }
    }
}

impl Signer {
    /// Finds out who signs.
    pub(crate) fn of(args: &TokenArgs, http: &str) -> Result<Self> {
        signer(args, http, std::env::var("JWT_SECRET").ok())
    }

    /// A token with a `scope`, good for an hour.
    pub(crate) async fn token(&self, user: &str, scope: &str) -> Result<String> {
        fetch(self, user, scope).await
    }

    /// As [`Signer::token`], one for each of these users.
    pub(crate) async fn tokens(&self, users: &[String], scope: &str) -> Result<Vec<String>> {
        stream::iter(users).map(|user| self.token(user, scope)).buffered(FETCHES_MAX).try_collect().await
    }
}

fn sign(user: &str, scope: &str, secret: &str) -> String {
    let expires = unix_ms() / 1000 + LIFETIME.as_secs();
    token::sign(&json!({ "sub": user, "scope": scope, "exp": expires }), secret)
}

impl Drop for Tokens {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

fn signer(args: &TokenArgs, http: &str, environment: Option<String>) -> Result<Signer> {
    if args.demo {
        return Ok(Signer::Demo(format!("{http}/demo/token")));
    }
    if let Some(command) = &args.token_command {
        return Ok(Signer::Command(command.clone()));
    }
    let secret = args.secret.clone().or(environment).filter(|secret| !secret.is_empty());
    secret.map(Signer::Secret).context(
        "no tokens: set JWT_SECRET as the servers have it, or give --demo, --token-command or --secret",
    )
}

fn store(to: &RwLock<HashMap<String, String>>, fetched: HashMap<String, String>) {
    *to.write().unwrap_or_else(PoisonError::into_inner) = fetched;
}

async fn renew(
    signer: Signer,
    to: Arc<RwLock<HashMap<String, String>>>,
    users: Vec<String>,
    scope: Arc<str>,
) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // The old ones may serve until the next time; a node may be down on purpose.
        if let Ok(fetched) = fetch_all(&signer, &users, &scope).await {
            store(&to, fetched);
        }
    }
}

async fn fetch_all(signer: &Signer, users: &[String], scope: &str) -> Result<HashMap<String, String>> {
    let fetches = users.iter().cloned().map(|user| async move {
        let token = fetch(signer, &user, scope).await?;
        anyhow::Ok((user, token))
    });
    stream::iter(fetches).buffer_unordered(FETCHES_MAX).try_collect().await
}

async fn fetch(signer: &Signer, user: &str, scope: &str) -> Result<String> {
    match signer {
        Signer::Secret(secret) => Ok(sign(user, scope, secret)),
        Signer::Demo(url) => {
            // Of what a scope consists of, only the space has a meaning in a query.
            let scope = scope.replace(' ', "+");
            let answer = http::get(&format!("{url}?user={user}&scope={scope}")).await?;
            ensure!(answer.status == 200, "{url} answers {}: is DEMO on?", answer.status);
            let token = answer.json["token"].as_str().context("the demo's answer has no token")?;
            Ok(token.to_owned())
        }
        Signer::Command(command) => {
            let child = Command::new("sh")
                .args(["-c", command])
                .env("DRAFTWIRE_USER", user)
                .env("DRAFTWIRE_SCOPE", scope)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .kill_on_drop(true)
                .output();
            let output = timeout(COMMAND_WAIT, child)
                .await
                .with_context(|| format!("the token command still runs after {COMMAND_WAIT:?}"))?
                .context("run the token command")?;
            ensure!(output.status.success(), "the token command failed: {}", output.status);
            let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ensure!(!token.is_empty(), "the token command printed nothing");
            Ok(token)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(secret: Option<&str>, command: Option<&str>, demo: bool) -> TokenArgs {
        TokenArgs { secret: secret.map(str::to_owned), token_command: command.map(str::to_owned), demo }
    }

    #[test]
    fn what_is_said_wins_over_the_environment() {
        let of = |args| signer(&args, "http://h:1", Some("env".to_owned()));
        assert!(matches!(of(args(None, None, false)), Ok(Signer::Secret(s)) if s == "env"));
        assert!(matches!(of(args(Some("said"), None, false)), Ok(Signer::Secret(s)) if s == "said"));
        assert!(matches!(of(args(None, Some("c"), false)), Ok(Signer::Command(c)) if c == "c"));
        assert!(matches!(of(args(None, None, true)), Ok(Signer::Demo(u)) if u == "http://h:1/demo/token"));
        assert!(signer(&args(None, None, false), "", Some(String::new())).is_err());
    }

    #[tokio::test]
    async fn a_command_is_told_the_user_and_its_output_is_the_token() {
        let command = |text: &str| Signer::Command(text.to_owned());
        let token =
            fetch(&command("echo token-of-$DRAFTWIRE_USER-$DRAFTWIRE_SCOPE"), "alice", "service").await;
        assert_eq!(token.ok().as_deref(), Some("token-of-alice-service"));
        assert!(fetch(&command("exit 3"), "alice", "").await.is_err());
        assert!(fetch(&command("true"), "alice", "").await.is_err(), "no output is no token");
    }
}
