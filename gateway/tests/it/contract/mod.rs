//! The API documents (docs/openapi.yaml, docs/asyncapi.yaml, docs/schemas): that they are sound, that they name what
//! the code has, and that what they name is met. That nothing else is met is checked by every test: all requests
//! and sockets of the testkit are compared with them (testkit/src/contract).

mod messages;
mod operations;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use common::Code;
use serde_json::{Value, json};
use testkit::contract::documents;

use crate::sources;

#[test]
fn the_served_document_is_the_one_in_yaml() {
    let path = sources::root().join("docs/openapi.json");
    let expected = documents().openapi_json();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/openapi.json is stale: UPDATE_DOCS=1 cargo test -p gateway --test it contract"
    );
}

/// The paths of the routes in a part of edge/router.rs, with their methods.
fn routes(source: &str, prefix: &str) -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once('"').expect("a path in quotes");
        for method in ["get", "post", "put", "patch", "delete"] {
            if handlers.contains(&format!(" {method}(")) || handlers.contains(&format!(".{method}(")) {
                routes.insert((method.to_uppercase(), unnamed(&format!("{prefix}{path}"))));
            }
        }
    }
    routes
}

/// The path without the names of its parameters, which the router and the document may choose for themselves.
fn unnamed(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_is_described_and_no_other() {
    let source = fs::read_to_string(sources::root().join("gateway/src/edge/router.rs")).unwrap();
    let (api, rest) = source.split_once(".nest(\"/v1\", api)").expect("the API is below /v1");
    let expected: BTreeSet<_> = routes(api, "/v1").into_iter().chain(routes(rest, "")).collect();
    let described = documents().operations().iter();
    let described: BTreeSet<_> =
        described.map(|operation| (operation.method.clone(), unnamed(&operation.path))).collect();
    assert_eq!(described, expected);
    assert!(described.len() >= 15, "the search finds what there is");
}

/// Every `$ref` within a document, and to the schemas.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let served: Value = serde_json::from_str(&documents().openapi_json()).unwrap();
    for document in [documents().openapi(), documents().asyncapi(), &served] {
        let mut checked = 0;
        for reference in references(document) {
            let found = match reference.split_once('#') {
                Some(("", pointer)) => document.pointer(pointer).is_some(),
                Some((file, pointer)) => {
                    let text = fs::read_to_string(sources::root().join("docs").join(file)).unwrap();
                    serde_json::from_str::<Value>(&text).unwrap().pointer(pointer).is_some()
                }
                None => false,
            };
            assert!(found, "{reference} leads nowhere");
            checked += 1;
        }
        assert!(checked >= 50, "the search finds what there is");
    }
    assert!(references(&served).iter().all(|reference| reference.starts_with('#')), "it is in one piece");
}

#[test]
fn operations_have_names_of_their_own_and_declare_their_paths() {
    let mut ids = BTreeSet::new();
    for operation in documents().operations() {
        assert!(ids.insert(&operation.id), "{} is there twice", operation.id);
        let in_path = operation.path.split('/').filter_map(|segment| segment.strip_prefix('{'));
        let in_path: BTreeSet<_> = in_path.map(|name| name.trim_end_matches('}').to_owned()).collect();
        assert_eq!(operation.path_parameters(), in_path, "{}", operation.id);
    }
}

#[test]
fn the_messages_are_those_of_the_schemas() {
    let asyncapi = documents().asyncapi();
    let described: BTreeMap<String, &Value> = asyncapi["components"]["messages"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, message)| (name.clone(), message))
        .collect();
    let expected: BTreeSet<String> =
        documents().commands().into_iter().chain(documents().messages()).collect();
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (name, message) in &described {
        let schema = message["payload"]["schema"]["$ref"].as_str().unwrap();
        assert!(schema.ends_with(&format!("#/$defs/{name}")), "{name} has the payload {schema}");
        let own_type = &documents().definition(name)["properties"]["type"]["const"];
        assert_eq!(message["name"], *own_type.as_str().unwrap_or(name), "{name}");
        assert_eq!(message["title"], **name);
    }
    // Each is received, sent, or a reply.
    let operations = references(&asyncapi["operations"]);
    let used: BTreeSet<_> =
        operations.iter().filter_map(|to| to.strip_prefix("#/channels/socket/messages/")).collect();
    assert_eq!(used, expected.iter().map(String::as_str).collect());
}

#[test]
fn closed_sets_are_those_of_the_code() {
    assert_eq!(documents().definition("ErrorCode")["enum"], json!(Code::ALL.map(Code::as_str)));
    // What the code reserves for the server; that list is private to it.
    let source = fs::read_to_string(sources::root().join("common/src/event.rs")).unwrap();
    let list = source.split("const RESERVED").nth(1).and_then(|rest| rest.split("];").next()).unwrap();
    let reserved: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    let described = documents().definition("EventType")["not"]["enum"].as_array().unwrap();
    assert_eq!(described.iter().filter_map(Value::as_str).collect::<BTreeSet<_>>(), reserved);
}
