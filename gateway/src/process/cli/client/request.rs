//! A request that publishes, repeated under its key until it is answered.

use std::time::Duration;

use rand::RngExt as _;
use reqwest::{Client, Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::{failure::Failure, server::Server};

/// The longest pause before a request is repeated; the first one is at most [`PAUSE_FIRST`], and each is random.
const PAUSE_MOST: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// The part of an answer that is read: the protocol's are far smaller.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The numbers of the events that were published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// Of the first one.
    pub(super) first: u64,
    /// Of the last one.
    pub(super) seq: u64,
}

/// A refusal, as problem details (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

/// Where to publish.
#[derive(Debug)]
pub(super) struct Publisher<'a> {
    server: &'a Server,
    client: Client,
    url: Url,
}

/// Why a request was not carried out.
enum Attempt {
    /// Repeating it may help, but not before this time.
    Again(Failure, Option<Duration>),
    /// Repeating it does not help.
    Final(Failure),
}

impl<'a> Publisher<'a> {
    pub(super) fn new(server: &'a Server, path: &[&str]) -> Result<Self, Failure> {
        let url = server.http_url(path);
        let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = builder.build().map_err(|error| unreachable(server, &error))?;
        Ok(Self { server, client, url })
    }

    /// Publishes events, a line each, and waits until they are committed. Under the same key that happens once,
    /// however often it is asked for.
    pub(super) async fn publish(&self, body: &str, key: &str) -> Result<Numbers, Failure> {
        let deadline = Instant::now() + self.server.timeout;
        let mut longest = PAUSE_FIRST;
        loop {
            let attempt = match timeout_at(deadline, self.attempt(body, key)).await {
                Ok(Ok(numbers)) => return Ok(numbers),
                Ok(Err(attempt)) => attempt,
                Err(_) => {
                    let within = self.server.timeout;
                    return Err(Failure::Timeout { what: "no answer", within });
                }
            };
            let (failure, at_least) = match attempt {
                Attempt::Final(failure) => return Err(failure),
                Attempt::Again(failure, at_least) => (failure, at_least),
            };
            let pause = longest.mul_f64(rand::rng().random::<f64>()).max(at_least.unwrap_or_default());
            if Instant::now() + pause >= deadline {
                return Err(failure);
            }
            if longest == PAUSE_FIRST {
                eprintln!("draftwire: {failure}; trying again");
            }
            sleep(pause).await;
            longest = (2 * longest).min(PAUSE_MOST);
        }
    }

    async fn attempt(&self, body: &str, key: &str) -> Result<Numbers, Attempt> {
        let request = self.client.post(self.url.clone()).body(body.to_owned());
        let mut request =
            request.header(header::CONTENT_TYPE, "application/x-ndjson").header("idempotency-key", key);
        if let Some(token) = self.server.token().map_err(Attempt::Final)? {
            request = request.bearer_auth(token.reveal());
        }
        let sent = request.send().await;
        let answer = sent.map_err(|error| match error.is_builder() {
            true => Attempt::Final(Failure::Usage("the token has characters that no token has".to_owned())),
            false => Attempt::Again(unreachable(self.server, &error), None),
        })?;
        let status = answer.status();
        let after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let text = self.text(answer).await?;
        if status == StatusCode::CREATED {
            return serde_json::from_str(&text).map_err(|_| Attempt::Final(self.unexpected(status)));
        }
        let failure = match serde_json::from_str::<Problem>(&text) {
            Ok(Problem { code, detail }) => Failure::refused(code, detail),
            Err(_) => self.unexpected(status),
        };
        // 502 and 504 are a proxy's, whose node may have gone.
        Err(match status.as_u16() {
            429 | 502..=504 => Attempt::Again(failure, after),
            _ => Attempt::Final(failure),
        })
    }

    /// The beginning of an answer's body.
    async fn text(&self, mut answer: Response) -> Result<String, Attempt> {
        let mut bytes = Vec::new();
        while bytes.len() < ANSWER_BYTES_MAX {
            match answer.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(Attempt::Again(unreachable(self.server, &error), None)),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn unexpected(&self, status: StatusCode) -> Failure {
        let message = format!("it answered with status {}", status.as_u16());
        Failure::Unexpected { url: self.server.url().to_owned(), message }
    }
}

/// Why a server does not answer: the innermost cause says it, the others repeat the address.
pub(super) fn unreachable(server: &Server, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failure::Unreachable { url: server.url().to_owned(), message: cause.to_string() }
}
