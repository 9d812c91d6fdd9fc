//! A software bill of materials (SBOM) of an environment, for scanners and auditors.
//!
//! Two formats with the same facts: package URLs, versions, hashes, licences and dependencies. They are made from a
//! lock whose packages have records (`mlconda::records::complete`). Unknown facts are left out or marked as unknown,
//! never guessed. The same lock and records give the same bytes: the time is that of the newest package or of the
//! caller, and unique identifiers are derived from the content.

mod cyclonedx;
mod licence;
mod purl;
mod spdx;

use std::collections::BTreeMap;

use mlconda_types::redact;
use rattler_conda_types::PackageRecord;
use rattler_digest::{Sha256, compute_bytes_digest};
use serde::Serialize;
use url::Url;

use self::licence::Licence;
use crate::{Digest, Lock, LockedPackage, LockedPip, PipSource, graph::Graph};

/// The format of an SBOM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CycloneDX 1.6 (ECMA-424), as JSON.
    CycloneDx,
    /// SPDX 2.3 (its 2.2.1 is ISO/IEC 5962), as JSON.
    Spdx,
}

/// The name and the time of an SBOM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The name of the environment, if the lock has none. The default is `environment`.
    pub name: Option<String>,
    /// The time of the SBOM, in seconds since 1970 (`SOURCE_DATE_EPOCH`). The default is the time at which the newest
    /// package was built. If no package has a time, CycloneDX omits the field, and SPDX, which requires it, has
    /// 1970-01-01.
    pub time: Option<i64>,
    /// The parts that were left out of installed packages, by package name. The names of distributions that are from no
    /// channel begin with `pypi:`.
    pub left_out: BTreeMap<String, String>,
}

/// The SBOM of a lock, as the text of a file.
///
/// ```
/// use mlconda_lock::{Expansion, explicit, sbom::{Format, Subject, sbom}};
///
/// let text = "@EXPLICIT\nhttps://conda.anaconda.org/conda-forge/noarch/tzdata-2024a-h0c530f3_0.conda\n";
/// let lock = explicit::parse(text, std::path::Path::new("/env.lock"), &Expansion::default())?;
/// let bill = sbom(&lock, Format::CycloneDx, &Subject::default());
/// assert!(bill.contains("pkg:conda/tzdata@2024a?build=h0c530f3_0&channel=conda-forge&subdir=noarch&type=conda"));
/// # Ok::<(), mlconda_lock::LockError>(())
/// ```
pub fn sbom(lock: &Lock, format: Format, subject: &Subject) -> String {
    let graph = Graph::new(lock);
    let mut components: Vec<Component<'_>> = lock.packages.iter().map(conda).chain(lock.pip.iter().map(pip)).collect();
    for (component, node) in components.iter_mut().zip(&graph.packages) {
        component.needs = node.needs.iter().map(|need| need.package).collect();
        component.is_known = node.is_known;
        let pypi = ["pypi:", component.name].concat();
        let key = if component.purl.starts_with("pkg:pypi/") { pypi.as_str() } else { component.name };
        component.left_out = subject.left_out.get(key).cloned();
    }
    let newest = lock
        .packages
        .iter()
        .filter_map(|package| Some(package.record.as_ref()?.timestamp.as_ref()?.jiff_timestamp().as_second()));
    let bill = Bill {
        name: lock.name.as_deref().or(subject.name.as_deref()).unwrap_or("environment"),
        lock,
        time: subject.time.or_else(|| newest.max()),
        roots: graph.roots.iter().map(|root| root.package).collect(),
        components,
    };
    match format {
        Format::CycloneDx => cyclonedx::render(&bill),
        Format::Spdx => spdx::render(&bill),
    }
}

/// The facts of an SBOM.
struct Bill<'a> {
    name: &'a str,
    lock: &'a Lock,
    /// In seconds since 1970.
    time: Option<i64>,
    /// The requested packages, as indices in `components`.
    roots: Vec<usize>,
    components: Vec<Component<'a>>,
}

/// A package.
struct Component<'a> {
    name: &'a str,
    version: Option<&'a str>,
    purl: String,
    licence: Option<Licence>,
    /// In hex.
    sha256: Option<String>,
    /// In hex.
    md5: Option<String>,
    /// The download URL, without secrets; `None` for a file on this machine.
    url: Option<String>,
    file_name: Option<String>,
    /// Its dependencies, as indices in `components`.
    needs: Vec<usize>,
    /// Whether `needs` is complete.
    is_known: bool,
    /// The parts of the package that were left out.
    left_out: Option<String>,
}

fn conda(package: &LockedPackage) -> Component<'_> {
    let from_record = |hash: fn(&PackageRecord) -> Option<String>| package.record.as_deref().and_then(hash);
    let sha256 = from_record(|record| record.sha256.map(hex::encode));
    let md5 = from_record(|record| record.md5.map(hex::encode));
    let (sha256, md5) = match package.digest {
        Digest::Sha256(hash) => (Some(hex::encode(hash)), md5),
        Digest::Md5(hash) => (sha256, Some(hex::encode(hash))),
        Digest::Unknown => (sha256, md5),
    };
    let licence = package.record.as_ref().and_then(|record| record.license.as_deref());
    Component {
        name: &package.name,
        version: Some(&package.version),
        purl: purl::conda(package),
        licence: licence.and_then(Licence::read),
        sha256,
        md5,
        url: address(&package.url),
        file_name: Some(package.file_name.clone()),
        needs: Vec::new(),
        is_known: false,
        left_out: None,
    }
}

fn pip(package: &LockedPip) -> Component<'_> {
    let (url, sha256) = match &package.source {
        PipSource::Archive { url, sha256, .. } => (address(url), sha256.map(hex::encode)),
        PipSource::Git { repository, commit, .. } => (Some(format!("{}@{commit}", public(repository))), None),
        PipSource::Directory { .. } => (None, None),
    };
    Component {
        name: &package.name,
        version: package.version.as_deref(),
        purl: purl::pypi(package),
        licence: package.licence.as_deref().and_then(Licence::read),
        sha256,
        md5: None,
        url,
        file_name: package.file_name(),
        needs: Vec::new(),
        is_known: false,
        left_out: None,
    }
}

fn address(url: &Url) -> Option<String> {
    ["http", "https"].contains(&url.scheme()).then(|| public(url))
}

/// A URL without its login and the asterisks for it, so that it identifies the same package for every user.
fn public(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    let shown = redact::url(&shown);
    shown.replacen(&format!("{}@", redact::MASK), "", 1).replacen(&format!("/t/{}/", redact::MASK), "/", 1)
}

/// A time as text (RFC 3339), in UTC.
fn timestamp(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Indented JSON.
fn json(document: &impl Serialize) -> String {
    // This fails only for maps with keys that are not text; there are none.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// A UUID that is derived from the content (RFC 9562, version 8).
fn uuid(content: &str) -> String {
    let hash = compute_bytes_digest::<Sha256>(content);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests;
