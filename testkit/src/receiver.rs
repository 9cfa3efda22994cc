//! A receiver of webhooks: checks signatures and order as docs/webhooks.md tells receivers to, and misbehaves when a
//! test wants it so.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{contract, wait};

/// How long it waits for its port when it comes back.
const BIND_WAIT: Duration = Duration::from_secs(10);

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// 204.
    Takes,
    /// This status, with these header fields.
    Answers(u16, Vec<(&'static str, String)>),
    /// 204 to bodies of up to this many bytes, and 413 to others.
    TakesUpTo(usize),
    /// 200, and a body that never ends: a byte at a time.
    Drips,
    /// 200, and a body of 64 MiB.
    Floods,
    /// Nothing.
    Hangs,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: u64,
    /// `webhook-signature`.
    pub signatures: String,
    /// The body as it came.
    pub body: String,
    /// The body.
    pub json: Value,
    /// Whether it was answered with a status that takes it.
    pub taken: bool,
}

impl Delivery {
    /// How many of the signatures are valid by this secret.
    pub fn valid_by(&self, secret: &str) -> usize {
        let key = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok()).unwrap_or_default();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return 0 };
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.signatures.split(' ').filter(|signature| *signature == expected).count()
    }
}

/// What an application has made of the deliveries that it took.
#[derive(Debug, Default)]
struct Account {
    deliveries: Vec<Delivery>,
    /// The last event of each stream, and the history that it is of.
    positions: BTreeMap<String, (String, u64)>,
    seen: BTreeMap<String, Vec<u64>>,
    repeated: u64,
    wrong: Vec<String>,
}

impl Account {
    fn take(&mut self, body: &Value) {
        self.wrong.extend(contract::batch_fault(body));
        let epoch = body["epoch"].as_str().unwrap_or_default();
        let restarts: BTreeSet<&str> = body["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|part| part["restored"] == true || part["missedBefore"].is_u64())
            .filter_map(|part| part["stream"].as_str())
            .collect();
        for stream in restarts {
            self.positions.remove(stream);
        }
        for event in body["events"].as_array().into_iter().flatten() {
            let (stream, seq) =
                (event["stream"].as_str().unwrap_or_default(), event["seq"].as_u64().unwrap_or(0));
            let last = self.positions.get(stream).filter(|(of, _)| of == epoch).map(|(_, last)| *last);
            match last {
                Some(last) if seq <= last => {
                    self.repeated += 1;
                    continue;
                }
                // Of a user's stream only drafts come.
                Some(last) if seq != last + 1 && stream.starts_with("topic:") => {
                    self.wrong.push(format!("{stream}: {seq} comes behind {last}"));
                }
                _ => {}
            }
            self.positions.insert(stream.to_owned(), (epoch.to_owned(), seq));
            self.seen.entry(stream.to_owned()).or_default().push(seq);
        }
    }
}

#[derive(Clone)]
struct Shared {
    behaviour: watch::Receiver<Behaviour>,
    account: Arc<Mutex<Account>>,
}

impl Shared {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver on a port of its own. Dropping it ends it.
pub struct Receiver {
    addr: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    shared: Shared,
    serving: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts one that takes everything.
    ///
    /// # Errors
    /// When it gets no port.
    pub async fn start() -> Result<Self> {
        let behaviour = watch::Sender::new(Behaviour::Takes);
        let shared = Shared { behaviour: behaviour.subscribe(), account: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for a receiver")?;
        let addr = listener.local_addr()?;
        let mut receiver = Self { addr, behaviour, shared, serving: None };
        receiver.serve(listener);
        Ok(receiver)
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = Router::new().route("/hook", any(receive)).with_state(self.shared.clone());
        self.serving = Some(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("a receiver has ended: {error}");
            }
        }));
    }

    /// Where it takes deliveries.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// What it answers from now on.
    pub fn behaves(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Stops listening: connections are refused.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // The port is free once the task has gone.
            let _ = serving.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When somebody else has the port.
    pub async fn start_again(&mut self) -> Result<()> {
        let bind = || async { TcpListener::bind(self.addr).await };
        let listener: Result<_, io::Error> = wait::poll(BIND_WAIT, bind).await;
        self.serve(listener.context("the port of a receiver")?);
        Ok(())
    }

    /// All requests so far, those that were not taken included.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.account().deliveries.clone()
    }

    /// The numbers of the events of a stream, each once, in the order in which they were taken.
    pub fn seen(&self, stream: &str) -> Vec<u64> {
        self.shared.account().seen.get(stream).cloned().unwrap_or_default()
    }

    /// Events that came again.
    pub fn repeated(&self) -> u64 {
        self.shared.account().repeated
    }

    /// What was not as it has to be: a gap in a topic, or a body that the API documents do not describe.
    pub fn wrong(&self) -> Vec<String> {
        self.shared.account().wrong.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

async fn receive(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let behaviour = shared.behaviour.borrow().clone();
    let taken = match behaviour {
        Behaviour::Takes | Behaviour::Drips | Behaviour::Floods => true,
        Behaviour::TakesUpTo(bytes) => body.len() <= bytes,
        Behaviour::Answers(..) | Behaviour::Hangs => false,
    };
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    {
        let mut account = shared.account();
        if taken {
            account.take(&json);
        }
        let timestamp = field("webhook-timestamp").parse().unwrap_or(0);
        let (id, signatures) = (field("webhook-id"), field("webhook-signature"));
        account.deliveries.push(Delivery { id, timestamp, signatures, body, json, taken });
    }
    match behaviour {
        Behaviour::Takes => StatusCode::NO_CONTENT.into_response(),
        Behaviour::TakesUpTo(_) if taken => StatusCode::NO_CONTENT.into_response(),
        Behaviour::TakesUpTo(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Behaviour::Answers(status, fields) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, "a test wants it so").into_response();
            for (name, value) in fields {
                if let Ok(value) = value.parse() {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Behaviour::Drips => {
            let drops = stream::unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Some((Ok::<_, io::Error>(" "), ()))
            });
            Body::from_stream(drops.boxed()).into_response()
        }
        Behaviour::Floods => {
            let parts = stream::iter((0..1024).map(|_| Ok::<_, io::Error>(vec![b' '; 64 * 1024])));
            Body::from_stream(parts).into_response()
        }
        Behaviour::Hangs => std::future::pending().await,
    }
}
