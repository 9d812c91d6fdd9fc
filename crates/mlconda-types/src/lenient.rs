//! Parses records that have invalid fields. Repodata, shards, `info/index.json` and `conda-meta` share this one rule.
//!
//! Fields such as the time, the licence or the origin of a package are informational: nothing is decided by them. An
//! informational field that is invalid is ignored. All other fields must be valid.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields that are only informational.
const INFORMATIONAL_FIELDS: [&str; 13] = [
    "timestamp",
    "license",
    "license_family",
    "size",
    "legacy_bz2_size",
    "legacy_bz2_md5",
    "arch",
    "platform",
    "purls",
    "run_exports",
    "package_type",
    "preferred_env",
    "date",
];

/// Parses a record from JSON, and ignores invalid informational fields.
///
/// # Errors
/// If another field is invalid. The error is the one for the original text.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| {
        let read = |record: &Map<String, Value>| {
            let text = serde_json::to_vec(record).ok()?;
            serde_json::from_slice::<T>(&text).ok()
        };
        serde_json::from_slice(text).ok().and_then(|record| without_invalid_fields(record, &read)).ok_or(error)
    })
}

/// Parses a record from a JSON value.
///
/// # Errors
/// As for [`from_slice`].
pub fn from_value<T: DeserializeOwned>(value: Value) -> serde_json::Result<T> {
    from_slice(&serde_json::to_vec(&value)?)
}

/// Removes informational fields, one after the other, until the record can be parsed; then puts the valid ones back.
fn without_invalid_fields<T>(
    mut record: Map<String, Value>,
    read: &dyn Fn(&Map<String, Value>) -> Option<T>,
) -> Option<T> {
    let mut taken = Vec::new();
    for field in INFORMATIONAL_FIELDS {
        let Some(value) = record.remove(field) else { continue };
        taken.push((field, value));
        if read(&record).is_some() {
            break;
        }
    }
    let mut best = read(&record)?;
    // The last removed field was invalid.
    taken.pop();
    for (field, value) in taken {
        record.insert(field.to_owned(), value);
        match read(&record) {
            Some(better) => best = better,
            None => _ = record.remove(field),
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::{PackageRecord, PrefixRecord, package::IndexJson};
    use serde_json::json;

    use super::*;

    fn record(fields: &Value) -> Vec<u8> {
        let mut record = json!({
            "name": "tool", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch",
            "fn": "tool-1.0-0.conda", "url": "https://host/noarch/tool-1.0-0.conda", "channel": "https://host", "files": [],
            "license": "MIT", "license_family": "MIT",
        });
        record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::to_vec(&record).unwrap()
    }

    #[test]
    fn an_odd_field_that_only_tells_is_passed_over_wherever_it_stands() {
        for odd in [
            json!({"timestamp": u64::MAX}),
            json!({"timestamp": -1e300}),
            json!({"timestamp": "yesterday"}),
            json!({"size": "large"}),
            json!({"timestamp": [], "size": -1, "purls": 7}),
        ] {
            let text = record(&odd);
            let of_repodata: PackageRecord = from_slice(&text).unwrap();
            assert_eq!(of_repodata.license.as_deref(), Some("MIT"), "the others count: {odd}");
            assert_eq!(from_slice::<IndexJson>(&text).unwrap().license.as_deref(), Some("MIT"));
            let of_prefix: PrefixRecord = from_slice(&text).unwrap();
            assert_eq!(of_prefix.repodata_record.package_record.license.as_deref(), Some("MIT"));
            assert!(from_value::<PackageRecord>(serde_json::from_slice(&text).unwrap()).is_ok());
        }
    }

    #[test]
    fn what_names_a_package_or_says_what_it_needs_must_make_sense() {
        for odd in [json!({"version": "!"}), json!({"depends": 7}), json!({"build_number": "x"}), json!({"name": []})] {
            let text = record(&odd);
            let error = from_slice::<PackageRecord>(&text).unwrap_err().to_string();
            assert_eq!(error, serde_json::from_slice::<PackageRecord>(&text).unwrap_err().to_string());
        }
    }
}
