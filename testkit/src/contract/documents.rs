//! The documents as they are written, and what they name.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

use super::schemas::{Schemas, localize, localize_components};

/// The methods of OpenAPI's path items that operations have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The API documents.
pub struct Documents {
    openapi: Value,
    asyncapi: Value,
    pub(super) schemas: Schemas,
    operations: Vec<Operation>,
}

/// A method at a path, as docs/openapi.yaml describes it.
pub struct Operation {
    /// The name, `operationId`.
    pub id: String,
    /// The method, in capitals.
    pub method: String,
    /// The path, with names in braces.
    pub path: String,
    /// The statuses that are described.
    pub statuses: BTreeSet<u16>,
    /// With everything resolved but schemas.
    pub(super) description: Value,
    /// Those of the path included.
    pub(super) parameters: Vec<Value>,
}

impl Documents {
    pub(super) fn read() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let schemas = Schemas::read(&folder.join("schemas"))?;
        let yaml = |name: &str| -> Result<Value> {
            let text = fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
            serde_saphyr::from_str(&text).with_context(|| format!("{name} is not YAML"))
        };
        let openapi = yaml("openapi.yaml")?;
        let asyncapi = yaml("asyncapi.yaml")?;
        let operations = operations(&openapi)?;
        Ok(Self { openapi, asyncapi, schemas, operations })
    }

    /// docs/openapi.yaml.
    pub fn openapi(&self) -> &Value {
        &self.openapi
    }

    /// docs/asyncapi.yaml.
    pub fn asyncapi(&self) -> &Value {
        &self.asyncapi
    }

    /// A definition of docs/schemas, by its name; null when there is none.
    pub fn definition(&self, name: &str) -> &Value {
        self.schemas.definition(name)
    }

    /// The commands of clients, by the names of their definitions.
    pub fn commands(&self) -> Vec<String> {
        self.schemas.members("Command")
    }

    /// The messages of the server, by the names of their definitions.
    pub fn messages(&self) -> Vec<String> {
        self.schemas.members("ServerMessage")
    }

    /// Every operation of the HTTP API.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// docs/openapi.yaml as one JSON document, its schemas included.
    pub fn openapi_json(&self) -> String {
        let mut document = self.openapi.clone();
        let components = self.schemas.components(&document);
        document["components"]["schemas"] = Value::Object(components);
        localize_components(&mut document);
        format!("{document:#}\n")
    }

    /// The definition that a message of the server matches.
    ///
    /// # Errors
    /// What is wrong with it, when it matches none.
    pub fn name_of_message(&self, message: &Value) -> Result<String, String> {
        self.name_of("ServerMessage", message)
    }

    /// The definition that a command matches.
    ///
    /// # Errors
    /// What is wrong with it, when it matches none.
    pub fn name_of_command(&self, command: &Value) -> Result<String, String> {
        self.name_of("Command", command)
    }

    /// What is wrong with a command that was carried out, or with its answer: docs/asyncapi.yaml says which messages
    /// answer it.
    pub(super) fn reply_fault(&self, command: &Value, answer: &Value) -> Option<String> {
        let name = match self.name_of_command(command) {
            Ok(name) => name,
            Err(fault) => return Some(format!("carried out, and {fault}")),
        };
        // What is wrong with the answer itself is found where it comes.
        let reply = self.name_of_message(answer).ok()?;
        let names = |messages: &Value, name: &str| {
            let mut messages = messages.as_array().into_iter().flatten();
            messages
                .any(|message| message["$ref"].as_str().is_some_and(|to| to.ends_with(&format!("/{name}"))))
        };
        let mut operations = self.asyncapi["operations"].as_object().into_iter().flatten();
        let (_, operation) = operations.find(|(_, operation)| names(&operation["messages"], &name))?;
        let is_known = names(&operation["reply"]["messages"], &reply);
        (!is_known).then(|| format!("{command} is not answered by {reply}: {answer}"))
    }

    fn name_of(&self, union: &str, message: &Value) -> Result<String, String> {
        let kind = &message["type"];
        let members = self.schemas.members(union);
        let of_type = |name: &&String| self.definition(name)["properties"]["type"]["const"] == *kind;
        let mut candidates: Vec<&String> = members.iter().filter(of_type).collect();
        if candidates.is_empty() {
            // What is published has the publisher's own types.
            let is_open = |name: &&String| self.definition(name)["properties"]["type"]["const"].is_null();
            candidates = members.iter().filter(is_open).collect();
        }
        let mut faults = Vec::new();
        for name in candidates {
            match self.schemas.fault_by_name(name, message) {
                None => return Ok(name.clone()),
                Some(fault) => faults.push(format!("{name}: {fault}")),
            }
        }
        Err(format!("not documented: {message}\n{}", faults.join("\n")))
    }

    /// The operation that a request asks for; none when the documents do not have the path, or not with this method.
    /// HEAD is answered as GET.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        self.operations.iter().find(|operation| operation.method == method && operation.is_at(path))
    }

    pub(super) fn has_path(&self, path: &str) -> bool {
        self.operations.iter().any(|operation| operation.is_at(path))
    }
}

impl Operation {
    /// The names of the parameters in its path, as they are declared.
    pub fn path_parameters(&self) -> BTreeSet<String> {
        let in_path = self.parameters.iter().filter(|parameter| parameter["in"] == "path");
        in_path.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
    }

    fn is_at(&self, path: &str) -> bool {
        let (mut template, mut segments) = (self.path.split('/'), path.split('/'));
        loop {
            match (template.next(), segments.next()) {
                (None, None) => return true,
                (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {}
                (Some(name), Some(segment)) if name == segment => {}
                _ => return false,
            }
        }
    }
}

fn operations(openapi: &Value) -> Result<Vec<Operation>> {
    let mut operations = Vec::new();
    for (path, item) in openapi["paths"].as_object().context("there are paths")? {
        let shared = item["parameters"].as_array().cloned().unwrap_or_default();
        for (method, described) in item.as_object().context("a path item")? {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            let own = described["parameters"].as_array().cloned().unwrap_or_default();
            let parameters = shared.iter().cloned().chain(own);
            let parameters =
                parameters.map(|parameter| resolved(openapi, parameter)).collect::<Result<_>>()?;
            let description = resolved(openapi, described.clone())?;
            let statuses = description["responses"].as_object().context("responses")?;
            operations.push(Operation {
                id: described["operationId"].as_str().context("operationId")?.to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                statuses: statuses.keys().map(|status| Ok(status.parse()?)).collect::<Result<_>>()?,
                description,
                parameters,
            });
        }
    }
    Ok(operations)
}

/// The value with references into the document itself replaced by what they point at, and those to schemas made local.
fn resolved(document: &Value, mut value: Value) -> Result<Value> {
    match &mut value {
        Value::Object(object) => {
            if let Some(pointer) =
                object.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix('#'))
                && !pointer.starts_with("/$defs/")
            {
                let target = document.pointer(pointer).with_context(|| format!("nothing is at {pointer}"))?;
                return resolved(document, target.clone());
            }
            for value in object.values_mut() {
                *value = resolved(document, value.take())?;
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = resolved(document, value.take())?;
            }
        }
        _ => {}
    }
    localize(&mut value, "#/$defs/");
    Ok(value)
}
