//! Plain HTTP requests to nodes.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context, Result};
use reqwest::{
    Body, Client, ClientBuilder, Method, Request,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::Value;

use crate::contract::{self, Exchange};

/// No answer takes longer, unless the node is frozen.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub text: String,
    /// The body, when it is JSON; `null` otherwise.
    pub json: Value,
}

impl Answer {
    /// A header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// GET, without a token.
///
/// # Errors
/// When no answer comes.
pub async fn get(url: &str) -> Result<Answer> {
    send(Method::GET, url, &[], None).await
}

/// GET with a token.
///
/// # Errors
/// When no answer comes.
pub async fn get_as(token: &str, url: &str) -> Result<Answer> {
    send(Method::GET, url, &[("authorization", &format!("Bearer {token}"))], None).await
}

/// Any request. The method is in capitals.
///
/// # Errors
/// When no answer comes, or the request is not one.
pub async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<Answer> {
    send(Method::from_bytes(method.as_bytes())?, url, headers, body).await
}

/// Any request with any body, said to be JSON unless the headers say otherwise.
///
/// # Errors
/// When no answer comes, or the request is not one.
pub async fn request_text(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let json = [("content-type", "application/json")];
    let given = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let headers = [headers, if given { &[] } else { &json }].concat();
    let mut request = client()?.request(Method::from_bytes(method.as_bytes())?, url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    answer(request, url).await
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
    let mut request = client()?.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    answer(request, url).await
}

pub(crate) async fn answer(request: reqwest::RequestBuilder, url: &str) -> Result<Answer> {
    let (client, request) = request.build_split();
    let request = request?;
    let sent = contract::is_enforced().then(|| request.try_clone()).flatten();
    let response = client.execute(request).await.with_context(|| format!("no answer from {url}"))?;
    let status = response.status().as_u16();
    let headers = fields(response.headers());
    let text = response.text().await?;
    if let Some(sent) = sent {
        contract::check(fault(&sent, status, &headers, Some(&text)));
    }
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Answer { status, headers, text, json })
}

/// The header fields, names in lower case.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// What is wrong with an answer by the API documents. Without the body where that is not read as a whole.
pub(crate) fn fault(
    sent: &Request,
    status: u16,
    headers: &[(String, String)],
    body: Option<&str>,
) -> Option<String> {
    let media_type = sent.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let bytes = sent.body().and_then(Body::as_bytes);
    let exchange = Exchange {
        method: sent.method().as_str(),
        path: sent.url().path(),
        query: sent.url().query().unwrap_or_default(),
        sent: bytes.map(|bytes| (media_type.unwrap_or_default(), bytes)),
        status,
        headers,
        body,
    };
    contract::exchange_fault(&exchange)
}

/// One client for all. It keeps no connection between calls: a connection belongs to the runtime that
/// opened it, and each test has its own.
fn client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Option<Client>> = OnceLock::new();
    let client = CLIENT.get_or_init(|| builder().pool_max_idle_per_host(0).timeout(ANSWER_WAIT).build().ok());
    client.as_ref().context("an HTTP client cannot be made")
}

/// The beginnings of a client.
pub fn builder() -> ClientBuilder {
    // Fails only where a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}
