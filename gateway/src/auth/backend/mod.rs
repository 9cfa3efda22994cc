//! Asks the application's backend, over HTTP, whether a user may connect or follow a topic.
//!
//! Equal questions that come together are asked once, answers are remembered for as long as the backend says, and
//! questions at once are bounded. What is no answer is never taken for a yes.

mod answers;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{DeviceId, TopicName, UserId, operations::Tally};
use metrics::{counter, histogram};
use reqwest::{Client, StatusCode, Url, header, redirect};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use self::answers::{Answers, Found};
pub(crate) use self::answers::{Unanswered, Verdict};
use super::{
    Identity, install_crypto,
    secret::{Secret, redacted},
};

/// Requests to the backend at once.
const REQUESTS_MAX: usize = 64;

/// Questions that are asked or wait for that.
const QUESTIONS_MAX: usize = 4096;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// How much of a reason clients are shown, in bytes: it fits a close frame.
const REASON_BYTES_MAX: usize = 120;

/// How long a no without `ttlMs` is remembered.
const DENIED_TTL: Duration = Duration::from_secs(5);

/// The bounds of an answer's own `ttlMs`. Below the lower one, live subscriptions would ask all the time.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// What an operator sets about the backend.
#[derive(Clone)]
pub struct BackendSettings {
    /// Where it is asked about topics.
    pub subscribe: Option<Url>,
    /// Where it is asked about connections.
    pub connect: Option<Url>,
    /// What it knows this server by.
    pub secret: Option<Secret>,
    /// How long a question may take.
    pub timeout: Duration,
    /// For how long a yes holds that does not say so itself.
    pub ttl: Duration,
    /// For how long a yes holds on where the backend cannot be asked again.
    pub grace: Duration,
}

impl fmt::Debug for BackendSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Their queries may hold keys of their own.
        let shown = |url: &Option<Url>| url.as_ref().map(|url| redacted(url.as_str()));
        f.debug_struct("BackendSettings")
            .field("subscribe", &shown(&self.subscribe))
            .field("connect", &shown(&self.connect))
            .finish_non_exhaustive()
    }
}

/// What is asked about, as it is sent.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Question<'a> {
    Connect { user: &'a str, device: &'a str, scope: &'a str },
    Subscribe { user: &'a str, topic: &'a str, scope: &'a str },
}

/// An answer of the backend. What else is in it is ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    allow: bool,
    ttl_ms: Option<u64>,
    reason: Option<String>,
}

/// Why there is no answer; for the log.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("it answers with status {0}")]
    Status(StatusCode),
    #[error("its answer is over {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer is no JSON object with `allow`: {0}")]
    Format(#[from] serde_json::Error),
    #[error("it does not answer in time")]
    Late,
}

/// The application's backend. Shared by all connections of a node.
pub(crate) struct Backend {
    settings: BackendSettings,
    client: Client,
    answers: Mutex<Answers>,
    /// Bounds the requests under way.
    requests: Semaphore,
    /// Bounds the questions that wait.
    questions: Arc<Semaphore>,
    /// Whether the last question had no answer; it is logged when that changes.
    failing: AtomicBool,
}

impl Backend {
    /// Creates a client with these settings. Nothing is asked yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub(crate) fn new(settings: BackendSettings) -> Result<Arc<Self>, reqwest::Error> {
        install_crypto();
        // A redirect could lead the secret to anybody.
        let client =
            Client::builder().timeout(settings.timeout).redirect(redirect::Policy::none()).build()?;
        Ok(Arc::new(Self {
            settings,
            client,
            answers: Mutex::default(),
            requests: Semaphore::new(REQUESTS_MAX),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            failing: AtomicBool::new(false),
        }))
    }

    /// Returns whether topics are asked about.
    pub(crate) fn decides_topics(&self) -> bool {
        self.settings.subscribe.is_some()
    }

    /// Returns for how long a yes holds on where the backend cannot be asked again.
    pub(crate) fn grace(&self) -> Duration {
        self.settings.grace
    }

    /// Asks whether the user may connect; `None` where the backend is not asked about that.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn may_connect(
        self: &Arc<Self>,
        identity: &Identity,
        device: &DeviceId,
    ) -> Option<Result<Verdict, Unanswered>> {
        let url = self.settings.connect.clone()?;
        let (user, scope) = (identity.user.as_str(), identity.scopes.as_str());
        let question = Question::Connect { user, device: device.as_str(), scope };
        Some(self.ask(url, &identity.user, &question).await)
    }

    /// Asks whether the user may follow the topic; `None` where the backend is not asked about that.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn may_subscribe(
        self: &Arc<Self>,
        identity: &Identity,
        topic: &TopicName,
    ) -> Option<Result<Verdict, Unanswered>> {
        let url = self.settings.subscribe.clone()?;
        let (user, scope) = (identity.user.as_str(), identity.scopes.as_str());
        let question = Question::Subscribe { user, topic: topic.as_str(), scope };
        Some(self.ask(url, &identity.user, &question).await)
    }

    /// How many answers are remembered.
    pub(crate) fn cached(&self) -> usize {
        self.answers().len()
    }

    /// Forgets what was answered about a user: rights may have changed, and are asked for anew.
    pub(crate) fn forget(&self, user: &UserId) {
        self.answers().forget(user);
    }

    /// Forgets what was answered about anybody.
    pub(crate) fn forget_all(&self) {
        self.answers().forget_all();
    }

    async fn ask(
        self: &Arc<Self>,
        url: Url,
        user: &UserId,
        question: &Question<'_>,
    ) -> Result<Verdict, Unanswered> {
        let body = serde_json::to_vec(question).map_err(|_| Unanswered)?;
        let digest = Sha256::digest(&body);
        let key = std::array::from_fn(|at| digest[at]);
        let mut asking = {
            let mut answers = self.answers();
            match answers.find(&key, Instant::now()) {
                Found::Known(verdict) => {
                    Tally::AnswerHits.add(1);
                    counter!("draftwire_backend_cache_hits_total").increment(1);
                    return Ok(verdict);
                }
                Found::Asking(asking) => asking,
                Found::Unknown => {
                    Tally::AnswerMisses.add(1);
                    counter!("draftwire_backend_cache_misses_total").increment(1);
                    let Ok(place) = self.questions.clone().try_acquire_owned() else {
                        count("overloaded");
                        return Err(Unanswered);
                    };
                    let (answered, asking) = watch::channel(None);
                    let number = answers.begin(key, user.clone(), asking.clone());
                    let this = self.clone();
                    // A task of its own: whoever asks may go, and others wait for the same answer.
                    tokio::spawn(async move {
                        let verdict = this.request(url, body).await;
                        this.answers().settle(&key, number, verdict.as_ref().ok().cloned());
                        answered.send_replace(Some(verdict));
                        drop(place);
                    });
                    asking
                }
            }
        };
        let answered = asking.wait_for(Option::is_some).await;
        answered.ok().and_then(|verdict| verdict.clone()).unwrap_or(Err(Unanswered))
    }

    async fn request(&self, url: Url, body: Vec<u8>) -> Result<Verdict, Unanswered> {
        let began = Instant::now();
        let shown = redacted(url.as_str());
        let answer = timeout(self.settings.timeout, async {
            // Never closed.
            let _turn = self.requests.acquire().await;
            self.fetch(url, body).await
        });
        let answer = answer.await.unwrap_or(Err(AskError::Late));
        histogram!("draftwire_backend_seconds").record(began.elapsed().as_secs_f64());
        let was_failing = self.failing.swap(answer.is_err(), Ordering::Relaxed);
        match answer {
            Ok(answer) => {
                if was_failing {
                    tracing::info!(url = shown, "the backend that decides on rights answers again");
                }
                count(if answer.allow { "allowed" } else { "denied" });
                Ok(self.verdict(answer))
            }
            Err(error) => {
                if was_failing {
                    tracing::debug!(url = shown, %error, "no answer of the backend");
                } else {
                    tracing::warn!(url = shown, %error, "the backend that decides on rights gives no answer");
                }
                count("unavailable");
                Err(Unanswered)
            }
        }
    }

    async fn fetch(&self, url: Url, body: Vec<u8>) -> Result<Answer, AskError> {
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        let request = match &self.settings.secret {
            Some(secret) => request.bearer_auth(secret.reveal()),
            None => request,
        };
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        // Any other status may come from a proxy, or be about the question and not about the user.
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(AskError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }

    fn verdict(&self, answer: Answer) -> Verdict {
        let otherwise = if answer.allow { self.settings.ttl } else { DENIED_TTL };
        let ttl = answer.ttl_ms.map_or(otherwise, |ms| Duration::from_millis(ms).clamp(TTL.0, TTL.1));
        let reason = || {
            let reason = answer.reason.as_deref().unwrap_or_default();
            common::text::cut(&common::text::printable(reason), REASON_BYTES_MAX).as_ref().into()
        };
        Verdict { denied: (!answer.allow).then(reason), until: Instant::now() + ttl }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(answer: &'static str) {
    counter!("draftwire_backend_answers_total", "answer" => answer).increment(1);
}
