//! References: the names of images, in the notation of docker and podman.
//!
//! `debian` means `docker.io/library/debian:latest`. A reference with a digest, such as `localhost:5000/x@sha256:…`,
//! always names the same image. Exactly the grammar of the distribution project is accepted, because the parts become
//! parts of URL paths.

use std::{fmt, str::FromStr};

use crate::{Digest, OciError};

/// The registry of names without a registry.
const DOCKER_HUB: &str = "docker.io";

/// The name of an image in a registry.
///
/// ```
/// # use mlconda_oci::Reference;
/// let debian: Reference = "debian:12".parse()?;
/// assert_eq!(debian.to_string(), "docker.io/library/debian:12");
/// # Ok::<(), mlconda_oci::OciError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry: a host, with its port if given.
    pub registry: String,
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest. If there is a tag, too, the digest is used.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The registry and the repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name to request in the repository: the digest, or else the tag, or else `latest`.
    pub fn selector(&self) -> String {
        self.digest.map_or_else(|| self.tag_or_latest().to_owned(), |digest| digest.to_string())
    }

    /// The tag, or `latest`.
    pub fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// The host, with its port, that serves the registry.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }

    /// Whether the registry is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = host_name(&self.registry);
        host == "localhost" || host.ends_with(".localhost") || host == "[::1]" || {
            host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// A host name without its port.
pub(crate) fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|each| each.is_ascii_digit()) => name,
        _ => host,
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())?;
        self.tag.iter().try_for_each(|tag| write!(formatter, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(formatter, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        let wrong = |reason: &str| OciError::Reference { text: text.to_owned(), reason: reason.to_owned() };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DOCKER_HUB, rest),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
        if !is_host(registry) {
            return Err(wrong("its registry is no host name"));
        }
        let library = registry == DOCKER_HUB && !repository.contains('/');
        let repository = if library { format!("library/{repository}") } else { repository.to_owned() };
        if repository.bytes().any(|each| each.is_ascii_uppercase()) {
            return Err(wrong("a repository is written in lower case"));
        }
        if repository.len() > 255 || !repository.split('/').all(is_component) {
            return Err(wrong("a repository is made of letters, digits, and `.`, `_`, `-` and `/` between them"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("a tag is made of at most 128 letters, digits, `_`, `.` and `-`"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether the first part of a name is a registry, by docker's rules.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|each| each.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    let name = host_name(host);
    let port = &host[name.len()..];
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|each| each.is_ascii_alphanumeric() || each == b'-' || each == b'_')
            && !label.starts_with('-')
    };
    (is_address || name.split('.').all(is_label)) && (port.is_empty() || port[1..].parse::<u16>().is_ok())
}

fn is_component(part: &str) -> bool {
    let is_word = |each: u8| each.is_ascii_lowercase() || each.is_ascii_digit();
    let separators = part.split(|each: char| each.is_ascii() && is_word(each as u8)).filter(|gap| !gap.is_empty());
    let ends = [part.bytes().next(), part.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(is_word))
        && separators.into_iter().all(|gap| [".", "_", "__"].contains(&gap) || gap.bytes().all(|each| each == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |each: u8| each.is_ascii_alphanumeric() || each == b'_';
    tag.bytes().next().is_some_and(is_word)
        && tag.len() <= 128
        && tag.bytes().all(|each| is_word(each) || each == b'.' || each == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_of_docker_hub_and_others_name_their_registry() {
        let digest = Digest::of(b"").to_string();
        for (text, whole) in [
            ("debian", "docker.io/library/debian"),
            ("debian:12", "docker.io/library/debian:12"),
            ("me/app", "docker.io/me/app"),
            ("index.docker.io/me/app", "docker.io/me/app"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/a/b-c/d__e:V1.0_x", "localhost:5000/a/b-c/d__e:V1.0_x"),
            ("ghcr.io/me/app:1", "ghcr.io/me/app:1"),
            ("[::1]:5000/app", "[::1]:5000/app"),
            (&format!("debian@{digest}"), &format!("docker.io/library/debian@{digest}")),
            (&format!("r.io/x:1@{digest}"), &format!("r.io/x:1@{digest}")),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), whole);
            assert_eq!(whole.parse::<Reference>().unwrap(), reference);
        }
        let asked = |text: &str| text.parse::<Reference>().unwrap().selector();
        assert_eq!((asked("a"), asked("a:1"), asked(&format!("a:1@{digest}"))), ("latest".into(), "1".into(), digest));
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_reason() {
        let reason = |text: &str| match text.parse::<Reference>() {
            Err(OciError::Reference { reason, .. }) => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(reason("me/App"), "a repository is written in lower case");
        for text in ["", "a//b", "-a", "a-", "a..b", "a___b", "localhost:5000/../x", "a?b", "a b", "r.io/"] {
            assert!(reason(text).starts_with("a repository is made of"), "{text}: {}", reason(text));
        }
        for text in ["a:", "a:-x", "a:b c", &format!("a:{}", "x".repeat(129))] {
            assert!(reason(text).starts_with("a tag is made of"), "{text}");
        }
        for text in ["../x", "me@host.io/x/y", "host:port/x", "a..b/x", "localhost:99999/x"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_name() {
        for (text, is) in [("localhost/x", true), ("localhost:5000/x", true), ("127.0.0.9:1/x", true)] {
            assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), is, "{text}");
        }
        for text in ["debian", "localhost.example.org/x", "127.0.0.1.example.org/x", "10.0.0.1:5000/x"] {
            assert!(!text.parse::<Reference>().unwrap().is_loopback(), "{text}");
        }
        assert!("[::1]:5000/x".parse::<Reference>().unwrap().is_loopback());
    }
}
