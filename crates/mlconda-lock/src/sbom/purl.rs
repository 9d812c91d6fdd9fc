//! Package URLs (ECMA-427), which scanners for vulnerabilities and licences use to identify packages.

use std::fmt::Write;

use super::public;
use crate::{ArchiveOrigin, LockedPackage, LockedPip, PipSource};

/// Channels on these hosts are written by name in a package URL, as is usual.
const HOSTS: [&str; 3] =
    ["https://conda.anaconda.org/", "https://repo.anaconda.com/pkgs/", "https://repo.continuum.io/pkgs/"];

/// `pkg:conda/NAME@VERSION?build=…&channel=…&subdir=…&type=…`
pub(super) fn conda(package: &LockedPackage) -> String {
    let kind = if package.file_name.ends_with(".conda") { "conda" } else { "tar.bz2" };
    let url = public(&package.url);
    // A directory on this machine is not a channel for anybody else.
    let channel = url.rsplitn(3, '/').nth(2).filter(|_| package.url.scheme() != "file");
    let channel = channel.map(|base| HOSTS.iter().find_map(|host| base.strip_prefix(host)).unwrap_or(base));
    let qualifiers = [
        ("build", Some(package.build.as_str())),
        ("channel", channel),
        ("subdir", Some(package.subdir.as_str())),
        ("type", Some(kind)),
    ];
    purl("conda", &package.name, Some(&package.version), &qualifiers)
}

/// `pkg:pypi/NAME@VERSION`, with the source of the package if that is not an index.
pub(super) fn pypi(package: &LockedPip) -> String {
    let (mut download, mut repository) = (None, None);
    match &package.source {
        PipSource::Archive { url, origin: ArchiveOrigin::Direct, .. } => download = Some(public(url)),
        PipSource::Git { repository: url, commit, .. } => repository = Some(format!("{}@{commit}", public(url))),
        PipSource::Archive { .. } | PipSource::Directory { .. } => {}
    }
    let qualifiers = [("download_url", download.as_deref()), ("vcs_url", repository.as_deref())];
    purl("pypi", &package.name, package.version.as_deref(), &qualifiers)
}

/// Joins the parts. The qualifiers must be sorted by key.
fn purl(kind: &str, name: &str, version: Option<&str>, qualifiers: &[(&str, Option<&str>)]) -> String {
    let mut text = format!("pkg:{kind}/{}", encoded(name));
    if let Some(version) = version {
        text.push('@');
        text.push_str(&encoded(version));
    }
    let told = qualifiers.iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    for (place, (key, value)) in told.enumerate() {
        text.push(if place == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&encoded(value));
    }
    text
}

/// Percent-encodes all characters except those that the reference implementation keeps.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn packages_of_channels_are_named() {
        let named = |url: &str| conda(&LockedPackage::from_url(url.parse().unwrap(), Digest::Unknown).unwrap());
        assert_eq!(
            named("https://conda.anaconda.org/conda-forge/linux-64/Arrow-cpp-1!2.0+cu12-h1_0.conda"),
            "pkg:conda/arrow-cpp@1%212.0%2Bcu12?build=h1_0&channel=conda-forge&subdir=linux-64&type=conda"
        );
        assert_eq!(
            named("https://repo.anaconda.com/pkgs/main/noarch/a-1-0.tar.bz2"),
            "pkg:conda/a@1?build=0&channel=main&subdir=noarch&type=tar.bz2"
        );
        assert_eq!(
            named("https://me:secret@host/t/tk-1/lab/noarch/a-1-0.conda"),
            "pkg:conda/a@1?build=0&channel=https://host/lab&subdir=noarch&type=conda"
        );
        assert_eq!(named("file:///channel/noarch/a-1-0.conda"), "pkg:conda/a@1?build=0&subdir=noarch&type=conda");
    }

    #[test]
    fn packages_of_pip_are_named() {
        let named = |source: PipSource, version: Option<&str>| {
            pypi(&LockedPip {
                name: "typing-extensions".to_owned(),
                version: version.map(str::to_owned),
                source,
                requires: None,
                licence: None,
                requires_python: None,
            })
        };
        let archive = |origin| PipSource::Archive {
            url: "https://host/typing_extensions-4.0-py3-none-any.whl".parse().unwrap(),
            sha256: None,
            size: None,
            origin,
        };
        assert_eq!(named(archive(ArchiveOrigin::Index), Some("4.0")), "pkg:pypi/typing-extensions@4.0");
        assert_eq!(
            named(archive(ArchiveOrigin::Direct), Some("4.0")),
            "pkg:pypi/typing-extensions@4.0?download_url=https://host/typing_extensions-4.0-py3-none-any.whl"
        );
        let git = PipSource::Git {
            repository: "git+https://host/x.git".parse().unwrap(),
            commit: "0a".to_owned(),
            subdirectory: None,
        };
        assert_eq!(named(git, None), "pkg:pypi/typing-extensions?vcs_url=git%2Bhttps://host/x.git%400a");
    }
}
