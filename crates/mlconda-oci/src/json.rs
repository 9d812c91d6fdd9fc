//! Helpers for JSON documents.

use mlconda_types::sorting::IntoTree;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::OciError;

/// The largest size of a document (manifest, index, config, referrers), in bytes. Registries refuse larger manifests.
pub(crate) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// An object of key-value pairs. Pairs without a value are left out.
pub(crate) fn object<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Map<String, Value> {
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Parses a document that must be an object.
pub(crate) fn parse_object(bytes: &[u8], what: &str) -> Result<Map<String, Value>, OciError> {
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        return Err(OciError::invalid(what, "it has more than 4 MiB, which is the limit"));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(OciError::invalid(what, "it is not a JSON object")),
        Err(error) => Err(OciError::invalid(what, format!("it is no JSON ({error})"))),
    }
}

/// The text under a key. `None` if it is missing or not a text.
pub(crate) fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key)?.as_str().map(str::to_owned)
}

/// The texts in the object under a key. Values that are not texts are left out.
pub(crate) fn texts(object: &Map<String, Value>, key: &str) -> BTreeMap<String, String> {
    let Some(Value::Object(inside)) = object.get(key) else { return BTreeMap::new() };
    inside.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).into_tree()
}

/// Converts texts to an object; `None` if there are none.
pub(crate) fn from_texts(texts: &BTreeMap<String, String>) -> Option<Value> {
    let pairs = texts.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
    (!texts.is_empty()).then(|| Value::Object(pairs.collect()))
}

/// Converts texts to an array.
pub(crate) fn from_list(list: &[String]) -> Value {
    Value::Array(list.iter().cloned().map(Value::String).collect())
}

/// The texts in the array under a key. Empty if there is no array.
pub(crate) fn list(object: &Map<String, Value>, key: &str) -> Vec<String> {
    let Some(Value::Array(items)) = object.get(key) else { return Vec::new() };
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
