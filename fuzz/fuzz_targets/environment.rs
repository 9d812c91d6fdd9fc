//! Files that people write: environment.yml, which is read and edited, and requirements files.

use std::{io, path::Path, str::FromStr};

use mlconda_environment::{
    Environment, ReadOptions, decode,
    edit::{InsertPosition, YamlEditor},
    requirements, yaml,
};
use pep508_rs::{Requirement, VerbatimUrl};
use rattler_conda_types::Subdir;

use crate::bits;

const PLATFORMS: [Subdir; 4] = [Subdir::Linux64, Subdir::LinuxAarch64, Subdir::OsxArm64, Subdir::Win64];

fn options() -> ReadOptions {
    ReadOptions {
        directory: "/project".into(),
        home: Some("/home/me".into()),
        variables: vec![("TOKEN".to_owned(), "secret".to_owned())],
        custom_channels: vec![("lab".to_owned(), vec!["https://lab.example/conda".to_owned()])],
        ..ReadOptions::default()
    }
}

/// Every error in a text has a message, and an environment keeps its meaning if it is narrowed again or merged.
pub(crate) fn environment(data: &[u8]) {
    let file = Path::new("/project/environment.yml");
    let text = match decode::decode(data, file) {
        Ok(text) => text,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let environment = match Environment::parse(&text, file, &options()) {
        Ok(environment) => environment,
        Err(error) => {
            for diagnostic in error.diagnostics() {
                assert!(!diagnostic.to_string().is_empty());
            }
            return assert!(!error.to_string().is_empty());
        }
    };
    let digest = environment.digest();
    for warning in &environment.warnings {
        let _ = warning.to_string();
    }
    for platform in PLATFORMS {
        let narrowed = environment.for_platform(platform);
        assert_eq!(narrowed.digest(), narrowed.for_platform(platform).digest());
        let _ = (environment.platform_warnings(platform), narrowed.specs(), narrowed.all_channels());
    }
    let merged = Environment::merge(vec![environment.clone()]).expect("one environment is one environment");
    assert_eq!(merged.digest(), digest);
    if let Ok(twice) = Environment::merge(vec![environment.clone(), environment]) {
        let _ = twice.digest();
    }
}

/// An edit keeps the rest of a file; an inserted item is in the list, and can be removed again.
pub(crate) fn edit(data: &[u8]) {
    let (flags, rest) = bits::flags(data);
    let (item, rest) = bits::part(rest);
    let Some(item) = bits::text(item).filter(|item| !item.contains('\0')) else { return };
    let file = Path::new("/project/environment.yml");
    let Ok(mut editor) = YamlEditor::new(rest, file) else { return };
    assert_eq!(editor.to_text().as_bytes(), rest);
    let before = editor.to_json().expect("what was read can be told");
    if flags & 8 != 0 {
        return set(&mut editor, item);
    }
    let path: &[&str] = match flags & 3 {
        0 => &["dependencies"],
        1 => &["dependencies", "pip"],
        2 => &["channels"],
        _ => &["x-mlconda", "list"],
    };
    let place = if flags & 4 == 0 { InsertPosition::Last } else { InsertPosition::First };
    if editor.insert(path, item, place).is_err() {
        return;
    }
    let text = editor.to_text();
    let again = YamlEditor::new(text.as_bytes(), file).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let after = again.to_json().expect("what was read can be told");
    assert_eq!(after, editor.to_json().expect("what was read can be told"));
    let list = path.iter().fold(Some(&after), |value, key| match value {
        Some(serde_json::Value::Array(items)) => items.iter().find_map(|item| item.get(key)),
        value => value.and_then(|value| value.get(key)),
    });
    let list = list.and_then(|list| list.as_array()).unwrap_or_else(|| panic!("there is no list\n{text}"));
    let number = list.iter().rposition(|there| there.as_str() == Some(item));
    let number = number.unwrap_or_else(|| panic!("`{item}` is not there: {list:?}\n{text}"));
    let mut again = again;
    if list.iter().filter(|there| there.as_str() == Some(item)).count() == 1 && again.remove(path, number).is_ok() {
        let text = again.to_text();
        let last = YamlEditor::new(text.as_bytes(), file).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let last = last.to_json().expect("what was read can be told");
        // The list stays, and is empty, even if there was none before.
        let keys = |value: &serde_json::Value| {
            let object = value.as_object().cloned().unwrap_or_default();
            object.into_iter().filter(|(key, _)| !path.contains(&key.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(keys(&last), keys(&before), "{text}");
    }
}

/// After a value is set, it can be read back.
fn set(editor: &mut YamlEditor, key: &str) {
    for path in [&[key][..], &["variables", key]] {
        if editor.set(path, &"x: y".into()).is_ok() {
            let after = editor.to_json().expect("what was read can be told");
            // In a list, a key selects the mapping that has this key.
            let found = path.iter().try_fold(&after, |value, key| match value {
                serde_json::Value::Array(items) => items.iter().find_map(|item| item.get(key)),
                value => value.get(key),
            });
            assert_eq!(found.and_then(|value| value.as_str()), Some("x: y"), "{}", editor.to_text());
        }
    }
}

/// A `pip:` list with the files that it names; a single requirement is read as `pep508_rs` reads it.
pub(crate) fn requirements(data: &[u8]) {
    let (list, files) = bits::part(data);
    let (Some(list), Some(files)) = (bits::text(list), bits::text(files)) else { return };
    let mut text = String::from("dependencies:\n  - pip\n  - pip:\n");
    for line in list.lines() {
        text.push_str(&format!("    - {}\n", yaml::scalar(line)));
    }
    let Ok(environment) = Environment::parse(&text, Path::new("/project/environment.yml"), &options()) else { return };
    let mut count = 0;
    let mut read = |_: &Path| {
        count += 1;
        if count > 50 { Err(io::Error::other("there are too many")) } else { Ok(files.to_owned()) }
    };
    let found = match requirements::collect(&environment.pip, &options().variables, &mut read) {
        Ok(found) => found,
        Err(mistakes) => return assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty())),
    };
    for entry in &found.entries {
        let _ = (entry.display(), entry.diagnostic("wrong", "mend it"));
    }
    let _ = (found.first_lines(), found.indexes.urls().count());
    let ([line], [entry]) = (environment.pip.as_slice(), found.entries.as_slice()) else { return };
    // The library panics at some wrong names and markers that are not ASCII, so it gets only requirements in ASCII in
    // which mlconda found a name.
    let Some(name) = entry.name.as_deref().filter(|_| !entry.direct && line.text.is_ascii()) else { return };
    let Ok(theirs) = Requirement::<VerbatimUrl>::from_str(&line.text) else { return };
    assert_eq!(name, theirs.name.as_ref(), "{}", line.text);
    if let Some(pep508_rs::VersionOrUrl::VersionSpecifier(versions)) = &theirs.version_or_url {
        assert_eq!(entry.versions.to_string(), versions.to_string(), "{}", line.text);
    }
}
