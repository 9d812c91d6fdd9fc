//! Files in a prefix: records of any tool, lists of files of distributions, and the journal of an interrupted change.

use std::path::Path;

use mlconda_install::recover;
use mlconda_prefix::{Prefix, distributions, foreign_records, is_foreign, on_disk, parse_record, slim};

use crate::bits;

/// A record that is read can be written and read again without a change; a record of another tool is normalized once.
pub(crate) fn record(data: &[u8]) {
    let _ = is_foreign(data);
    let _ = slim::own_fields(data);
    let _ = slim::is_ours(data);
    let _ = on_disk::OwnFields::of_record(data);
    // `serde_json` may read the last digit of a number with a fraction differently.
    if let Some(normal) = foreign_records::normalize(data)
        && !has_fraction(&normal)
    {
        let text = serde_json::to_vec(&normal).expect("a value is JSON");
        assert_eq!(foreign_records::normalize(&text), Some(normal), "normalized twice");
    }
    let Ok(record) = parse_record(data) else { return };
    let _ = distributions::is_distribution(&record.repodata_record.package_record);
    let text = serde_json::to_vec(&record).expect("a record can be written");
    let again = parse_record(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
    let text_again = serde_json::to_vec(&again).expect("a record can be written");
    assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&text_again));
}

fn has_fraction(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(has_fraction),
        serde_json::Value::Object(fields) => fields.values().any(has_fraction),
        value => value.is_f64(),
    }
}

/// All paths of a `RECORD` are in the prefix; a written field is read back.
pub(crate) fn record_list(data: &[u8]) {
    let Some(text) = bits::text(data) else { return };
    for path in distributions::paths(Path::new("/p"), Path::new("lib/python3.11/site-packages"), text) {
        assert!(mlconda_system::beneath::is_contained(&path), "{} leads out", path.display());
    }
    let _ = distributions::name_of(Path::new(text));
    let plain: Vec<&str> = text.split('\u{1}').filter(|field| !field.contains(['\n', '\r'])).collect();
    let line = plain.iter().map(|field| distributions::quoted(field)).collect::<Vec<_>>().join(",");
    if !plain.is_empty() {
        assert_eq!(distributions::fields(&line), plain, "{line}");
    }
}

/// A journal in a prefix changes nothing outside of the prefix, whatever its content.
pub(crate) fn journal(data: &[u8]) {
    let directory = bits::directory("journal");
    let (prefix, outside) = (directory.join("prefix"), directory.join("outside"));
    let write = |path: &str, content: &[u8]| {
        let path = directory.join(path);
        let parent = path.parent().expect("a path in a directory");
        std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, content)).expect("a file can be made");
    };
    write("outside/file", b"outside");
    write("prefix/conda-meta/history", b"");
    write("prefix/bin/tool", b"new");
    write(&format!("prefix/{}/bin/tool", on_disk::BACKUP), b"old");
    write(&format!("prefix/{}/journal.json", on_disk::BACKUP), data);
    let _ = std::os::unix::fs::symlink(&outside, prefix.join("way"));
    if let Ok(opened) = Prefix::open(&prefix) {
        let _ = recover(&opened);
    }
    let mut names = bits::names(&directory);
    names.retain(|name| name != "prefix");
    assert_eq!(names, ["outside"]);
    assert_eq!(bits::names(&outside), ["file"]);
    assert_eq!(std::fs::read(outside.join("file")).expect("the file is there"), b"outside");
    let _ = std::fs::remove_dir_all(&directory);
}
