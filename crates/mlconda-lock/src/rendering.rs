//! Common parts of the writers of conda-lock.yml and pixi.lock: conversions, and the facts that the formats cannot
//! contain.

use indexmap::IndexSet;
use mlconda_types::redact;
use rattler_digest::{Md5Hash, Sha256Hash};
use url::Url;

use super::{
    Digest, Lock, LockedPackage,
    file::{DEFAULT_ENVIRONMENT, MAIN_CATEGORY, Part},
};

/// The newest version of pixi.lock, which has fields for virtual packages.
pub(super) const PIXI_7: &str = "pixi.lock of version 7";

/// The sha256 and the md5 of a package, from its digest and its record.
pub(super) fn hashes(package: &LockedPackage) -> (Option<Sha256Hash>, Option<Md5Hash>) {
    let record = package.record.as_deref();
    let (sha256, md5) = (record.and_then(|record| record.sha256), record.and_then(|record| record.md5));
    match package.digest {
        Digest::Sha256(digest) => (Some(digest), md5),
        // Hashes that do not pin the package are from its record.
        Digest::Md5(digest) => (sha256, Some(digest)),
        Digest::Unknown => (sha256, md5),
    }
}

/// Adds the facts that a format cannot contain, so that they are kept in comments of mlconda.
pub(super) fn comment_losses(parts: &[Part], file: &str, losses: &mut Vec<String>) {
    let any = |has: fn(&Lock) -> bool| parts.iter().any(|part| has(&part.lock));
    let found = [
        ("the environment's name", any(|lock| lock.name.is_some())),
        ("variables", any(|lock| !lock.variables.is_empty())),
        ("virtual packages", file != PIXI_7 && any(|lock| !lock.virtual_packages.is_empty())),
    ];
    let found: Vec<&str> = found.into_iter().filter_map(|(what, found)| found.then_some(what)).collect();
    if let [others @ .., last] = found.as_slice() {
        let and = if others.is_empty() { "" } else { " and " };
        losses.push(format!("{file} cannot contain {}{and}{last}: mlconda keeps them in comments", others.join(", ")));
    }
}

/// Adds the number of packages without a record: their dependencies are missing in the file.
pub(super) fn record_losses(parts: &[Part], losses: &mut Vec<String>) {
    let locks = || parts.iter().map(|part| &part.lock);
    let all: usize = locks().map(|lock| lock.packages.len() + lock.pip.len()).sum();
    let conda = locks().flat_map(|lock| &lock.packages).filter(|package| package.record.is_none()).count();
    let without = conda + locks().flat_map(|lock| &lock.pip).filter(|package| package.requires.is_none()).count();
    if without > 0 {
        losses.push(format!("what packages depend on is not known for {without} of {all} packages, and left out"));
    }
}

/// A string as YAML: unquoted if no reader can misunderstand it.
pub(super) fn scalar(text: &str) -> String {
    let is_hash = matches!(text.len(), 32 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // `1e5` is a number.
    if is_hash && text.bytes().filter(u8::is_ascii_alphabetic).count() > 1 {
        return text.to_owned();
    }
    mlconda_environment::yaml::scalar(text)
}

/// The channels of parts for other tools: without logins, and without the asterisks that replace them.
pub(super) fn channels(parts: &[&Part]) -> IndexSet<String> {
    let mut channels: IndexSet<String> = parts.iter().flat_map(|part| part.lock.channels.iter().cloned()).collect();
    if channels.is_empty() {
        channels.extend(parts.iter().flat_map(|part| &part.lock.packages).filter_map(channel_of));
    }
    let plain = |channel: &String| Url::parse(channel).map_or_else(|_| channel.clone(), |url| without_login(&url));
    channels.iter().map(plain).collect()
}

/// The channel of a package, from its URL, without secrets.
pub(super) fn channel_of(package: &LockedPackage) -> Option<String> {
    let mut url = package.url.clone();
    url.path_segments_mut().ok()?.pop().pop().push("");
    Some(redact::url(&url))
}

/// A URL without user, password, and the token at the beginning of its path. If there are several tokens, all are
/// removed, so that none is found in the output. If the file name begins with the segment, it is not a token:
/// `/t/tool/tool-1.0.tar.gz`.
pub(super) fn without_login(url: &Url) -> String {
    let mut url = url.clone();
    // These only fail for URLs that cannot have a login.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    let (path, file) = (url.path(), url.path().rsplit('/').next().unwrap_or_default());
    let mut rest = path;
    while url.scheme() != "file"
        && let Some((token, behind)) = rest.strip_prefix("/t/").and_then(|rest| rest.split_once('/'))
        && (token.is_empty() || !file.starts_with(token))
    {
        rest = &rest[rest.len() - behind.len() - 1..];
    }
    if rest.len() < path.len() {
        let rest = rest.to_owned();
        url.set_path(&rest);
    }
    url.into()
}

/// Whether comments that name no part refer to this part.
pub(super) fn is_default(part: &Part) -> bool {
    part.environment == DEFAULT_ENVIRONMENT && part.category == MAIN_CATEGORY && part.platform_name.is_none()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Expansion, LockFile, LockFormat, Selection};

    #[test]
    fn a_lost_size_of_a_python_package_is_told() {
        let text = |size: &str| {
            format!("# mlconda lock: 1\n{size}# pip six @ https://h/six-1.0-py3-none-any.whl\n@EXPLICIT\n")
        };
        let losses = |size: &str| {
            let file = LockFile::parse(&text(size), Path::new("/project/env.lock"), &Expansion::default()).unwrap();
            file.render(LockFormat::Pixi, &Selection::default(), None).unwrap().losses.join("\n")
        };
        let told = "a pixi.lock has no sizes of python packages";
        assert!(losses("# size: 7 six-1.0-py3-none-any.whl\n").contains(told));
        assert!(!losses("").contains(told));
    }

    #[test]
    fn no_token_is_left_where_a_path_begins() {
        for (url, expected) in [
            ("https://me:pw@h/c/linux-64/a.conda", "https://h/c/linux-64/a.conda"),
            ("https://h/t/secret/c/a.conda", "https://h/c/a.conda"),
            ("https://h/source/t/tool/tool-1.0.tar.gz", "https://h/source/t/tool/tool-1.0.tar.gz"),
            ("https://h/t/tool/tool-1.0.tar.gz", "https://h/t/tool/tool-1.0.tar.gz"),
            ("https://h/t//c/a.conda", "https://h/c/a.conda"),
            ("https://h/t/secret/t/other/c/a.conda", "https://h/c/a.conda"),
            ("https://h/t/a.conda", "https://h/t/a.conda"),
            ("file:///t/directory/a.conda", "file:///t/directory/a.conda"),
            ("https://h/c%20d/a.conda", "https://h/c%20d/a.conda"),
        ] {
            assert_eq!(without_login(&Url::parse(url).unwrap()), expected);
        }
    }
}
