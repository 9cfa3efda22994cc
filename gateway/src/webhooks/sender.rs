//! Sends one delivery. Whatever the receiver does, an attempt takes bounded time and room.

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use common::text::{cut, printable};
use reqwest::{
    Client, Response, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header, redirect,
};
use tokio::time::timeout;

use super::{address, backoff, signature};
use crate::{auth::install_crypto, config, store::webhooks::Webhook};

/// How much of an answer is read, in bytes: it only spares the next delivery a connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an answer may take to end once its status is known.
pub(super) const ANSWER_END: Duration = Duration::from_millis(500);

/// How much of what was wrong is kept for operators, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// How long a connection is kept that nothing is sent over.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// An attempt at a batch.
pub(super) struct Delivery<'a> {
    /// The batch's name.
    pub(super) id: &'a str,
    pub(super) body: Vec<u8>,
    /// When it is made, Unix milliseconds.
    pub(super) now: u64,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has taken the batch.
    Taken,
    /// It has not, or nobody knows.
    Failed(Failure),
}

/// Why an attempt has failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// What was wrong.
    pub(super) error: String,
    /// How long the receiver asks to be left alone.
    pub(super) asked: Option<Duration>,
    /// It says that it is gone for good.
    pub(super) gone: bool,
    /// It says that the body is too large.
    pub(super) too_large: bool,
}

impl Outcome {
    fn failed(error: impl AsRef<str>) -> Self {
        let error = cut(error.as_ref(), ERROR_BYTES_MAX).into_owned();
        Self::Failed(Failure { error, ..Failure::default() })
    }

    /// For the metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Failed(Failure { gone: true, .. }) => "gone",
            Self::Failed(Failure { too_large: true, .. }) => "too_large",
            Self::Failed(_) => "failed",
        }
    }
}

/// Sends deliveries, each within the time limit and [`ANSWER_END`]. Shared by all webhooks of a node.
pub(super) struct Sender {
    client: Client,
    allow_private: bool,
    timeout: Duration,
}

impl Sender {
    /// Makes a client with these settings.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(super) fn new(settings: &config::Webhooks) -> Result<Self, reqwest::Error> {
        install_crypto();
        // A proxy or a redirect would lead to addresses that nobody has checked.
        let client = Client::builder()
            .connect_timeout(settings.timeout)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(CheckingResolver { allow_private: settings.allow_private }))
            .user_agent(concat!("draftwire/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, allow_private: settings.allow_private, timeout: settings.timeout })
    }

    /// Sends a body to the endpoint of a webhook, signed.
    pub(super) async fn send(&self, webhook: &Webhook, delivery: Delivery<'_>) -> Outcome {
        let Delivery { id, body, now } = delivery;
        let url = match address::endpoint(&webhook.url, self.allow_private) {
            Ok(url) => url,
            Err(rule) => return Outcome::failed(format!("the URL {rule}")),
        };
        let timestamp = now / 1000;
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature::header(&webhook.secrets, id, timestamp, &body, now))
            .body(body);
        match timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => read(response, now).await,
            Ok(Err(error)) => Outcome::failed(causes(&error.without_url())),
            Err(_) => Outcome::failed(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// Reads an answer. Its status counts; the rest may be long, slow or never end.
async fn read(mut response: Response, now: u64) -> Outcome {
    let status = response.status();
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|field| field.to_str().ok());
    let asked =
        asked.and_then(|field| backoff::asked(field, SystemTime::UNIX_EPOCH + Duration::from_millis(now)));
    let mut answer = Vec::new();
    let _ = timeout(ANSWER_END, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            answer.extend_from_slice(&chunk);
            if answer.len() > ANSWER_BYTES_MAX {
                return;
            }
        }
    })
    .await;
    if status.is_success() {
        return Outcome::Taken;
    }
    let says = match printable(&String::from_utf8_lossy(&answer)) {
        says if says.is_empty() => says,
        says => format!(": {says}"),
    };
    let error = if status.is_redirection() {
        format!("it redirects with status {}, which is not followed", status.as_u16())
    } else {
        format!("it answers with status {}{says}", status.as_u16())
    };
    let waits = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    Outcome::Failed(Failure {
        error: cut(&error, ERROR_BYTES_MAX).into_owned(),
        asked: asked.filter(|_| waits),
        gone: status == StatusCode::GONE,
        too_large: status == StatusCode::PAYLOAD_TOO_LARGE,
    })
}

/// An error with its causes: the outer ones say little.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Resolves names to public addresses. The connection goes to one of those that were checked, so a name that changes
/// meanwhile leads nowhere else.
struct CheckingResolver {
    allow_private: bool,
}

impl Resolve for CheckingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = |found: &SocketAddr| allow_private || address::is_public(found.ip());
            let first = found.first().copied();
            let found: Vec<SocketAddr> = found.into_iter().filter(allowed).collect();
            match (found.is_empty(), first) {
                (true, Some(first)) => Err(address::refusal(first.ip()).into()),
                (true, None) => Err("the name has no address".into()),
                (false, _) => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}
