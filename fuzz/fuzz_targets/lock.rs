//! Locks: @EXPLICIT, conda-lock.yml and pixi.lock, of mlconda and of other tools.

use std::path::Path;

use mlconda_lock::{
    Expansion, Lock, LockFile, LockFormat, LockedPip, PipSource, Selection,
    diff::Diff,
    graph::Graph,
    kind_of, linking_order, merge,
    sbom::{Format, Subject, sbom},
};

use crate::bits;

const FILE: &str = "/project/env.lock";

/// The value of the variable `TOKEN`.
const SECRET: &str = "secret";

fn expansion() -> Expansion {
    Expansion { home: Some("/home/me".into()), variables: vec![("TOKEN".to_owned(), SECRET.to_owned())] }
}

fn read(text: &str) -> Option<LockFile> {
    LockFile::parse(text, Path::new(FILE), &expansion()).map_err(|error| error.to_string()).ok()
}

/// The packages that a lock pins, as text.
fn pinned(lock: &Lock) -> Vec<String> {
    let conda = lock.packages.iter().map(|package| format!("{} {} {:?}", package.name, package.url, package.digest));
    let pip = lock.pip.iter().map(|package| format!("{} {:?} {:?}", package.name, package.version, package.source));
    conda.chain(pip).collect()
}

/// Removes the login of a URL, which is not written to a lock unless it is the value of a variable.
fn without_login(package: &mut LockedPip) {
    let (PipSource::Archive { url, .. } | PipSource::Git { repository: url, .. }) = &mut package.source else { return };
    if url.password().unwrap_or(url.username()) != SECRET {
        // Neither call fails for a URL with a login.
        let _ = (url.set_password(None), url.set_username(""));
    }
}

/// A lock is written and read again, until the text does not change any more; the packages stay the same.
pub(crate) fn lock(data: &[u8]) {
    let Some(text) = bits::text(data) else { return };
    let _ = (kind_of(text), merge::sides(text), merge::each_once(text));
    let Some(file) = read(text) else { return };
    for part in &file.parts {
        each(&part.lock);
    }
    for format in [LockFormat::Explicit, LockFormat::CondaLock, LockFormat::Pixi] {
        for platform in std::iter::once(None).chain(file.platforms().into_iter().map(Some).take(2)) {
            let selection = Selection { platform, ..Selection::default() };
            let Ok(first) = file.render(format, &selection, Some(Path::new("/project"))) else { continue };
            // A format may need facts that the lock does not have, such as a channel. The first reading adds them.
            let (again, second) = repeated(&first.text, format, &selection);
            let (_, third) = repeated(&second, format, &selection);
            assert_eq!(second, third, "{format}");
            if let (LockFormat::Explicit, Ok(mut one)) = (format, file.select(&selection)) {
                one.pip.iter_mut().for_each(without_login);
                let other = again.select(&selection).expect("one lock is there");
                assert_eq!(pinned(&one), pinned(&other), "{}", first.text);
                assert!(Diff::between(&one, &other).is_empty(), "{}", first.text);
            }
        }
    }
}

/// Reads a text and writes it again.
fn repeated(text: &str, format: LockFormat, selection: &Selection) -> (LockFile, String) {
    let again = LockFile::parse(text, Path::new(FILE), &expansion());
    let again = again.unwrap_or_else(|error| panic!("{format} is not read back: {error}\n{text}"));
    let rendered = again.render(format, selection, Some(Path::new("/project")));
    let rendered = rendered.unwrap_or_else(|error| panic!("{format} is not written again: {error}\n{text}"));
    (again, rendered.text)
}

/// All reports about a lock work for any lock.
fn each(lock: &Lock) {
    let _ = (lock.exposed(), lock.masked(), lock.download_size(), lock.requested());
    let graph = Graph::new(lock);
    let _ = (graph.weights(), graph.only_root());
    for format in [Format::CycloneDx, Format::Spdx] {
        let bill = sbom(lock, format, &Subject::default());
        assert!(serde_json::from_str::<serde_json::Value>(&bill).is_ok(), "{bill}");
    }
    assert!(Diff::between(lock, lock).is_empty());
    let records: Vec<_> = lock
        .packages
        .iter()
        .filter_map(|package| {
            Some(rattler_conda_types::RepoDataRecord {
                package_record: package.record.as_deref()?.clone(),
                identifier: package.file_name.parse().ok()?,
                url: package.url.clone(),
                channel: None,
            })
        })
        .collect();
    assert_eq!(linking_order(&records).len(), records.len());
}
