//! A request over HTTP and its answer, compared with docs/openapi.yaml.

use serde_json::{Value, json};

use super::documents::{Documents, Operation};

/// A request and its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    /// The path and the query, still encoded.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The body that was sent, with its media type.
    pub(crate) sent: Option<(&'a str, &'a [u8])>,
    pub(crate) status: u16,
    /// Of the answer, names in lower case.
    pub(crate) headers: &'a [(String, String)],
    /// Of the answer; `None` where nobody has read it.
    pub(crate) body: Option<&'a str>,
}

/// Set by every node in every answer. What has none was said by a proxy, or by the listener about a request that it
/// could not read.
const NODE_HEADER: &str = "draftwire-node";

/// The demo page and its files, which are no part of the API.
const DEMO: &str = "/demo/";

impl Exchange<'_> {
    /// What is wrong with the answer, or with a request that the node has accepted.
    pub(crate) fn fault(&self, documents: &Documents) -> Option<String> {
        let is_demo = self.path == "/" || self.path.starts_with(DEMO);
        // A preflight is the browser's; tests of their own look at it.
        if self.header(NODE_HEADER).is_none() || is_demo || self.method == "OPTIONS" {
            return None;
        }
        let fault = match documents.operation(self.method, self.path) {
            Some(operation) => self.fault_of(operation, documents),
            None => {
                let expected = if documents.has_path(self.path) { 405 } else { 404 };
                if self.status == expected {
                    self.problem_fault(documents)
                } else {
                    Some("the document has no such operation".to_owned())
                }
            }
        };
        fault.map(|fault| format!("{} {} was answered {}: {fault}", self.method, self.path, self.status))
    }

    fn fault_of(&self, operation: &Operation, documents: &Documents) -> Option<String> {
        let answer = &operation.description["responses"][self.status.to_string()];
        if answer.is_null() {
            return Some(format!("{} does not have this status", operation.id));
        }
        self.header_fault(answer, documents).or_else(|| self.body_fault(answer, documents)).or_else(|| {
            if (200..300).contains(&self.status) { self.request_fault(operation, documents) } else { None }
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn header_fault(&self, answer: &Value, documents: &Documents) -> Option<String> {
        answer["headers"].as_object().into_iter().flatten().find_map(|(name, described)| {
            let Some(value) = self.header(name) else {
                return (described["required"] == true).then(|| format!("the header {name} is missing"));
            };
            let is_number = described["schema"]["type"] == "integer";
            let value = if is_number { value.parse().unwrap_or(Value::Null) } else { json!(value) };
            let fault = documents.schemas.fault(&described["schema"], &value);
            fault.map(|fault| format!("the header {name}: {fault}"))
        })
    }

    fn media_type(&self) -> String {
        essence(self.header("content-type").unwrap_or_default())
    }

    fn body_fault(&self, answer: &Value, documents: &Documents) -> Option<String> {
        let body = self.body?;
        // Neither has a body that could be read here.
        if self.method == "HEAD" || self.header("content-encoding").is_some() {
            return None;
        }
        let Some(content) = answer["content"].as_object() else {
            return (!body.is_empty()).then(|| format!("a body comes that is not described: {body}"));
        };
        let Some(described) = content.get(&self.media_type()) else {
            return Some(format!("the content type {:?} is not described", self.media_type()));
        };
        if self.media_type() == "application/problem+json" {
            return self.problem_fault(documents);
        }
        if !self.media_type().ends_with("json") {
            return None;
        }
        self.json_fault(body, &described["schema"], documents)
    }

    fn json_fault(&self, body: &str, schema: &Value, documents: &Documents) -> Option<String> {
        match serde_json::from_str(body) {
            Ok(value) => documents.schemas.fault(schema, &value).map(|fault| format!("{body}: {fault}")),
            Err(error) => Some(format!("the body is not JSON: {error}")),
        }
    }

    fn problem_fault(&self, documents: &Documents) -> Option<String> {
        if self.method == "HEAD" || self.header("content-encoding").is_some() {
            return None;
        }
        let body = self.body?;
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        if problem["status"] != self.status {
            return Some(format!("the problem has another status: {body}"));
        }
        documents.schemas.fault_by_name("Problem", &problem).map(|fault| format!("{body}: {fault}"))
    }

    /// What is wrong with the request: it was accepted, so the document must describe it.
    fn request_fault(&self, operation: &Operation, documents: &Documents) -> Option<String> {
        let is_known = |name: &&str| {
            let mut parameters = operation.parameters.iter();
            *name == "token" || parameters.any(|known| known["in"] == "query" && known["name"] == **name)
        };
        let mut names = self.query.split('&').filter_map(|pair| pair.split('=').next());
        if let Some(unknown) = names.find(|name| !name.is_empty() && !is_known(name)) {
            return Some(format!("the query parameter {unknown} was accepted, and is not described"));
        }
        let (media_type, sent) = self.sent?;
        let request_body = &operation.description["requestBody"];
        let content = request_body["content"].as_object()?;
        if sent.is_empty() && request_body["required"] != true {
            return None;
        }
        // The node takes JSON under whatever media type.
        let described = content.get(&essence(media_type)).or_else(|| content.get("application/json"))?;
        if described["schema"]["type"] == "string" {
            return None;
        }
        let body = String::from_utf8_lossy(sent);
        let fault = self.json_fault(&body, &described["schema"], documents);
        fault.map(|fault| format!("the body was accepted, and {fault}"))
    }
}

/// A media type without its parameters (RFC 9110 section 8.3.1).
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
