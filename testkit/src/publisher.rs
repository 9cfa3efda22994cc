//! A backend that publishes over HTTP, repeats what was not answered, and keeps account of what was.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use reqwest::{Client, RequestBuilder, header};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    device::{digest, stream_of},
    http::{self, Answer},
    token,
};

/// How long one attempt may take.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// The wait before the first repetition; doubled with each further one, and spread by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest wait between repetitions.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How long a request is repeated until it is acknowledged.
const PATIENCE: Duration = Duration::from_secs(60);

/// For whom something is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The followers of a topic.
    Topic(String),
    /// One user.
    User(String),
    /// Everybody.
    All,
}

impl Target {
    /// A topic by its name.
    pub fn topic(name: &str) -> Self {
        Self::Topic(name.to_owned())
    }

    /// The path of the route.
    pub fn path(&self) -> String {
        match self {
            Self::Topic(name) => format!("/v1/topics/{name}/events"),
            Self::User(user) => format!("/v1/users/{user}/events"),
            Self::All => "/v1/broadcast".to_owned(),
        }
    }

    /// The name of the stream as a store has it.
    pub fn stream(&self) -> String {
        match self {
            Self::Topic(name) => stream_of(name),
            Self::User(user) => format!("user:{user}"),
            Self::All => "all".to_owned(),
        }
    }
}

/// How events stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An object; of exactly one event.
    One,
    /// An array.
    Array,
    /// A line each, `application/x-ndjson`.
    Lines,
}

/// One event that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its stream.
    pub stream: String,
    /// Its number there.
    pub seq: u64,
    /// What it was, as [`digest`] has it.
    pub digest: u64,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublisherCounters {
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Attempts without an answer.
    pub unanswered: u64,
    /// Answers that asked to come back: 429, 502, 503 and 504.
    pub deferred: u64,
}

/// A publisher. Clones are publishers of their own with a common account and common connections.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: Client,
    urls: Vec<String>,
    token: String,
    device: String,
    shared: Arc<Account>,
}

#[derive(Debug, Default)]
struct Account {
    published: Mutex<Vec<Published>>,
    next_key: AtomicU64,
    turn: AtomicU64,
    acknowledged: AtomicU64,
    unanswered: AtomicU64,
    deferred: AtomicU64,
}

impl Publisher {
    /// A publisher as `device` of the user `backend`, with all rights, to the nodes at `urls`
    /// (`http://<host>:<port>`) in turn.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(urls: Vec<String>, device: &str) -> Result<Self> {
        ensure!(!urls.is_empty(), "a publisher needs somebody to publish to");
        let client = http::builder().timeout(ANSWER_WAIT).build().context("an HTTP client")?;
        Ok(Self {
            client,
            urls,
            token: token::scoped("backend", "service"),
            device: device.to_owned(),
            shared: Arc::default(),
        })
    }

    /// With another token.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// Publishes one event, and repeats that under the same key until it is acknowledged: with its
    /// number.
    ///
    /// # Errors
    /// When it is refused, or not acknowledged in time.
    pub async fn publish(&self, to: &Target, event: &str, data: &Value) -> Result<u64> {
        let events = [json!({ "event": event, "data": data })];
        self.publish_all(to, &events, Form::One).await
    }

    /// Publishes events together, and repeats that under the same key until they are acknowledged: with
    /// the number of the first.
    ///
    /// # Errors
    /// When they are refused, not acknowledged in time, or the numbers are not as many.
    pub async fn publish_all(&self, to: &Target, events: &[Value], form: Form) -> Result<u64> {
        let key = format!("k{}", self.shared.next_key.fetch_add(1, Ordering::Relaxed));
        let end = Instant::now() + PATIENCE;
        let mut backoff = BACKOFF_MIN;
        let answer = loop {
            match self.post(to, events, form, &key).await {
                Ok(answer) if !matches!(answer.status, 429 | 502 | 503 | 504) => break answer,
                Ok(answer) => {
                    self.shared.deferred.fetch_add(1, Ordering::Relaxed);
                    ensure!(Instant::now() < end, "still {} after {PATIENCE:?}", answer.status);
                }
                Err(error) => {
                    self.shared.unanswered.fetch_add(1, Ordering::Relaxed);
                    ensure!(Instant::now() < end, "no answer within {PATIENCE:?}: {error:#}");
                }
            }
            sleep(backoff.mul_f64(rand::random_range(0.5..=1.0))).await;
            backoff = (2 * backoff).min(BACKOFF_MAX);
        };
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.text);
        self.note(to, events, &answer)
    }

    /// One attempt, under a key.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, to: &Target, events: &[Value], form: Form, key: &str) -> Result<Answer> {
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let url = &self.urls[usize::try_from(turn).unwrap_or(0) % self.urls.len()];
        let url = format!("{url}{}?device={}", to.path(), self.device);
        let request = self.client.post(&url).bearer_auth(&self.token).header("idempotency-key", key);
        http::answer(with_body(request, events, form)?, &url).await
    }

    fn note(&self, to: &Target, events: &[Value], answer: &Answer) -> Result<u64> {
        let numbers = answer.json["first"].as_u64().zip(answer.json["seq"].as_u64());
        let (first, last) = numbers.with_context(|| format!("no numbers: {}", answer.text))?;
        ensure!(last + 1 == first + events.len() as u64, "{} events: {}", events.len(), answer.text);
        let stream = to.stream();
        let published = events.iter().zip(first..).map(|(event, seq)| {
            let digest = digest(event["event"].as_str().unwrap_or_default(), &event["data"]);
            Published { stream: stream.clone(), seq, digest }
        });
        self.shared.published.lock().unwrap_or_else(PoisonError::into_inner).extend(published);
        self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(first)
    }

    /// Everything that was acknowledged so far, in the order of the answers.
    pub fn published(&self) -> Vec<Published> {
        self.shared.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened so far.
    pub fn counters(&self) -> PublisherCounters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PublisherCounters {
            acknowledged: count(&self.shared.acknowledged),
            unanswered: count(&self.shared.unanswered),
            deferred: count(&self.shared.deferred),
        }
    }
}

fn with_body(request: RequestBuilder, events: &[Value], form: Form) -> Result<RequestBuilder> {
    Ok(match form {
        Form::One => {
            ensure!(events.len() == 1, "{} events are not one", events.len());
            request.json(&events[0])
        }
        Form::Array => request.json(events),
        Form::Lines => {
            let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
            request.header(header::CONTENT_TYPE, "application/x-ndjson").body(lines)
        }
    })
}
