//! Records of packages that an `environment.yml` names by the URL or path of an archive that no channel lists. The
//! archive is downloaded and hashed, and its `info/index.json` is read. The lock pins the archive by that hash.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
    sync::Arc,
};

use mlconda_system::{Slice, files};
use mlconda_types::{host::Host, lenient};
use rattler_conda_types::{
    MatchSpec, PackageRecord, RepoDataRecord, Subdir,
    package::{DistArchiveIdentifier, IndexJson, PackageFile},
};
use rattler_digest::{HashingReader, Md5, Sha256};
use url::Url;

use super::{Access, RepodataError, RepodataOptions, reachable};
use crate::{
    conda_archive::{self, Part},
    network::{self, BodyKind, Client, NetworkError},
};

/// The largest `info/index.json`, in bytes.
const INDEX_LIMIT: u64 = 16 << 20;

/// The size of the read buffer, in bytes.
const BUFFER: usize = 16 << 10;

/// The most unpacked bytes that are read to find `info/index.json`. Package builders put it near the beginning.
const SCAN_LIMIT: u64 = 4 << 30;

/// Reads the record of the package that a spec names by its URL.
///
/// # Errors
/// If the archive cannot be read, its hash differs from the spec's, or it is for another platform.
pub(super) async fn record_from_archive(
    client: &Client,
    spec: &MatchSpec,
    url: &Url,
    host: &Host,
    options: &RepodataOptions,
) -> Result<RepoDataRecord, RepodataError> {
    let shown = network::redact(url);
    let broken = |reason: String| RepodataError::Package { url: shown.clone(), reason, cause: None };
    let file = match files::of_url(url) {
        Some(path) => files::open(&path).map_err(|error| broken(error.to_string()))?.into_parts().0,
        None if options.access == Access::Offline => {
            return Err(broken("it would have to be downloaded, and network access is disabled".to_owned()));
        }
        None => download(client, url, &options.cache_directory).await?,
    };
    let identifier = url.path_segments().and_then(|mut segments| segments.next_back());
    let identifier = identifier.and_then(DistArchiveIdentifier::try_from_filename);
    let identifier = identifier.ok_or_else(|| broken("its name is not that of a package".to_owned()))?;
    let is_conda = url.path().ends_with(".conda");
    let read = tokio::task::spawn_blocking(move || hash_and_read(file, is_conda));
    let record = reachable::join_result(read.await).map_err(|error| broken(error.to_string()))?;
    check_matches(&record, spec, host.platform).map_err(broken)?;
    Ok(RepoDataRecord { url: url.clone(), channel: None, package_record: record, identifier })
}

/// Downloads a URL into an unnamed temporary file.
async fn download(client: &Client, url: &Url, directory: &Path) -> Result<File, RepodataError> {
    let broken = |error: NetworkError| RepodataError::Package {
        url: network::redact(url),
        reason: error.to_string(),
        cause: Some(error.cause()),
    };
    let cache = |source| RepodataError::Cache { directory: directory.to_owned(), source };
    let mut response = client.get(url, BodyKind::Package(None)).await.map_err(broken)?;
    fs_err::create_dir_all(directory).map_err(cache)?;
    let mut file = tempfile::tempfile_in(directory).map_err(cache)?;
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        file.write_all(&piece).map_err(cache)?;
    }
    file.rewind().map_err(cache)?;
    Ok(file)
}

/// Hashes an archive, and reads its record.
fn hash_and_read(mut file: File, is_conda: bool) -> io::Result<PackageRecord> {
    let mut reader = HashingReader::<_, Sha256>::new(HashingReader::<_, Md5>::new(&mut file));
    let size = io::copy(&mut reader, &mut io::sink())?;
    let (reader, sha256) = reader.finalize();
    let (_, md5) = reader.finalize();
    let index = read_index_json(&Slice::new(Arc::new(file), 0, size), is_conda)?;
    let record =
        PackageRecord::from_index_json(index, Some(size), Some(sha256), Some(md5)).map_err(io::Error::other)?;
    match super::records::oversized_spec(&record) {
        Some(_) => Err(io::Error::other("a dependency of it is too long or too deeply nested for a match spec")),
        None => Ok(record),
    }
}

/// Reads `info/index.json` of an archive, which can be a part of a file.
///
/// # Errors
/// If the archive cannot be read, or has no such file.
pub fn read_index_json(archive: &Slice, is_conda: bool) -> io::Result<IndexJson> {
    let reader = io::BufReader::with_capacity(BUFFER, archive.reader());
    let content: Box<dyn Read> = if is_conda {
        Box::new(conda_archive::part(Box::new(reader), Part::Info)?)
    } else {
        Box::new(bzip2::read::BzDecoder::new(reader))
    };
    find_index_json(tar::Archive::new(content))
}

fn find_index_json(mut archive: tar::Archive<Box<dyn Read + '_>>) -> io::Result<IndexJson> {
    let mut scanned = 0_u64;
    for entry in archive.entries()? {
        let entry = entry?;
        scanned = scanned.saturating_add(entry.size());
        if scanned > SCAN_LIMIT {
            break;
        }
        if entry.path()? == IndexJson::package_path() {
            let mut text = Vec::new();
            entry.take(INDEX_LIMIT).read_to_end(&mut text)?;
            return Ok(lenient::from_slice(&text)?);
        }
    }
    Err(io::Error::other("it has no `info/index.json`"))
}

/// Checks that a package is the one that the spec asks for.
fn check_matches(record: &PackageRecord, spec: &MatchSpec, platform: Subdir) -> Result<(), String> {
    let name = record.name.as_normalized();
    if !spec.name.matches(&record.name) {
        return Err(format!("it says that it is `{name}`"));
    }
    if ![platform.as_str(), Subdir::NoArch.as_str()].contains(&record.subdir.as_str()) {
        return Err(format!("it is for `{}`, and not for `{platform}`", record.subdir));
    }
    let differ =
        |kind, expected: String, found: String| Err(format!("its {kind} is {found}, but its URL has {expected}"));
    match (spec.sha256.map(hex::encode), record.sha256.map(hex::encode)) {
        (Some(expected), Some(found)) if expected != found => return differ("sha256", expected, found),
        _ => {}
    }
    match (spec.md5.map(hex::encode), record.md5.map(hex::encode)) {
        (Some(expected), Some(found)) if expected != found => differ("md5", expected, found),
        _ => Ok(()),
    }
}
