//! Requests to the paths of operators.

use reqwest::{Client, Method, Response, Url, header};
use serde::Deserialize;
use serde_json::Value;

use super::{failure::Failure, request::unreachable, server::Server};

/// The part of an answer that is read. A page of connections that follow a thousand topics each is less.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A refusal, as problem details (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    #[serde(default)]
    detail: String,
}

/// Makes requests one by one. None is repeated: whether one that changes something was carried out is for whoever asks
/// to look at.
#[derive(Debug)]
pub(super) struct AdminClient<'a> {
    server: &'a Server,
    client: Client,
}

impl<'a> AdminClient<'a> {
    pub(super) fn new(server: &'a Server) -> Result<Self, Failure> {
        server.require_token()?;
        let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = builder.build().map_err(|error| unreachable(server, &error))?;
        Ok(Self { server, client })
    }

    /// Makes a request, if need be on the condition of a version.
    ///
    /// # Errors
    /// The server's refusal, or why there is no answer.
    pub(super) async fn request(
        &self,
        method: Method,
        url: Url,
        version: Option<u64>,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let answer = self.server.in_time("no answer", self.send(method, url, version, body));
        let (status, text) = answer.await??;
        if status < 300 {
            return serde_json::from_str(&text).map_err(|_| self.unexpected(status));
        }
        Err(match serde_json::from_str(&text) {
            Ok(Problem { code, detail }) => Failure::refused(code, detail),
            Err(_) => self.unexpected(status),
        })
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        version: Option<u64>,
        body: Option<&Value>,
    ) -> Result<(u16, String), Failure> {
        let mut request = self.client.request(method, url);
        if let Some(token) = self.server.token()? {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(version) = version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| match error.is_builder() {
            true => Failure::Usage("the token has characters that no token has".to_owned()),
            false => unreachable(self.server, &error),
        })?;
        Ok((answer.status().as_u16(), self.text(answer).await?))
    }

    async fn text(&self, mut answer: Response) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(self.server, &error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn unexpected(&self, status: u16) -> Failure {
        let message = format!("it answered with status {status}");
        Failure::Unexpected { url: self.server.url().to_owned(), message }
    }
}
