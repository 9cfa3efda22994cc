//! The JSON Schemas of messages and bodies, from all files of docs/schemas.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Where a definition stands in a file of docs/schemas, in a validator and in an OpenAPI document.
const DEFINITIONS: &str = "#/$defs/";
const COMPONENTS: &str = "#/components/schemas/";

pub(super) struct Schemas {
    /// As they are written, with references to `#/$defs/`.
    definitions: BTreeMap<String, Value>,
    /// The same, closed: a field that no schema names is a fault.
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// Reads the files of a folder. Their definitions have one space of names.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut definitions = BTreeMap::new();
        let mut paths: Vec<_> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        {
            let mut file: Value = serde_json::from_str(&fs::read_to_string(path)?)
                .with_context(|| format!("{} is not JSON", path.display()))?;
            let sound = jsonschema::draft202012::meta::validate(&file).map_err(|error| error.to_string());
            ensure!(sound.is_ok(), "{}: {sound:?}", path.display());
            let Value::Object(defined) = file["$defs"].take() else { continue };
            for (name, mut schema) in defined {
                localize(&mut schema, DEFINITIONS);
                let before = definitions.insert(name.clone(), schema);
                ensure!(before.is_none(), "{name} is defined twice");
            }
        }
        let mut closed = Value::Object(definitions.clone().into_iter().collect());
        close(&mut closed);
        let schemas = Self { definitions, closed, validators: Mutex::default() };
        for (name, schema) in &schemas.definitions {
            for reference in references(schema) {
                ensure!(schemas.definitions.contains_key(&reference), "{name} refers to {reference}");
            }
        }
        Ok(schemas)
    }

    /// A definition, as it is written.
    pub(super) fn definition(&self, name: &str) -> &Value {
        self.definitions.get(name).unwrap_or(&Value::Null)
    }

    /// The definitions that a union consists of.
    pub(super) fn members(&self, union: &str) -> Vec<String> {
        let definition = self.definition(union);
        let branches = definition["oneOf"].as_array().or_else(|| definition["anyOf"].as_array());
        branches.into_iter().flatten().flat_map(references).collect()
    }

    /// What is wrong with a value, compared with a schema whose references are local.
    pub(super) fn fault(&self, schema: &Value, value: &Value) -> Option<String> {
        let validator = match self.validator(schema) {
            Ok(validator) => validator,
            Err(error) => return Some(format!("the schema {schema} is unsound: {error:#}")),
        };
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{} at {:?}", error, error.instance_path().to_string()))
            .collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// What is wrong with a value, compared with a definition.
    pub(super) fn fault_by_name(&self, name: &str, value: &Value) -> Option<String> {
        self.fault(&json!({ "$ref": format!("{DEFINITIONS}{name}") }), value)
    }

    fn validator(&self, schema: &Value) -> Result<Arc<Validator>> {
        let key = schema.to_string();
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = validators.get(&key) {
            return Ok(Arc::clone(validator));
        }
        let mut whole = schema.clone();
        close(&mut whole);
        whole["$defs"] = self.closed.clone();
        let built = jsonschema::draft202012::new(&whole).map_err(|error| anyhow::anyhow!("{error}"))?;
        let validator = Arc::new(built);
        validators.insert(key, Arc::clone(&validator));
        Ok(validator)
    }

    /// The definitions that a document refers to, directly or through others, with references as an OpenAPI document
    /// has them.
    pub(super) fn components(&self, document: &Value) -> Map<String, Value> {
        let mut names = BTreeSet::new();
        let mut found: Vec<String> = references(document);
        while let Some(name) = found.pop() {
            if let Some(definition) = self.definitions.get(&name)
                && names.insert(name)
            {
                found.extend(references(definition));
            }
        }
        let schema = |name: String| {
            let mut schema = self.definition(&name).clone();
            localize(&mut schema, COMPONENTS);
            (name, schema)
        };
        names.into_iter().map(schema).collect()
    }
}

/// Rewrites references to definitions of any file, so that they point below `place` of the document itself.
pub(super) fn localize(value: &mut Value, place: &str) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some(name) = name_of(reference)
            {
                *reference = format!("{place}{name}");
            }
            object.values_mut().for_each(|value| localize(value, place));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| localize(value, place)),
        _ => {}
    }
}

/// As [`localize`], for an OpenAPI document.
pub(super) fn localize_components(document: &mut Value) {
    localize(document, COMPONENTS);
}

/// The definition that a reference names, in whatever file it stands.
fn name_of(reference: &str) -> Option<String> {
    let (_, name) = reference.split_once(DEFINITIONS).or_else(|| reference.split_once(COMPONENTS))?;
    Some(name.to_owned())
}

/// The definitions that a value refers to.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str).and_then(name_of);
            own.into_iter().chain(object.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Closes every object schema that leaves open whether it may have more fields. Clients ignore those; here they are
/// something that the documents do not know.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(close);
            let is_object = object.get("type").is_some_and(|kind| kind == "object");
            if is_object && object.contains_key("properties") {
                object.entry("additionalProperties").or_insert(Value::Bool(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}
