//! The number and the size of files that an installation leaves out, or would leave out as far as that is known.

use std::path::{Path, PathBuf};

use mlconda_inspect::plan::Plan;
use mlconda_prefix::{
    Prefix, distributions,
    slim::{self, LeftOut, PackageFile},
};
use mlconda_system::files;
use mlconda_types::slim::{Part, Slim};
use rattler_conda_types::{PrefixRecord, prefix_record::PathsEntry};

use rattler_digest::Sha256Hash;

use super::{cache, record_file};

/// The number of bytes of one hash in a record: its name, the hash in hex, and the characters between them.
const HASH_IN_RECORD: u64 = 76;

/// A part that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOutSize {
    /// The part.
    pub part: Part,
    /// The number of files that were left out. For a part within files, the number of these files.
    pub files: u64,
    /// The size in bytes.
    pub bytes: u64,
}

/// The parts that were left out of a package with these paths.
pub(super) fn of_package(left: LeftOut, paths: &[PathsEntry]) -> Vec<LeftOutSize> {
    let of_part = |part: Part| match part {
        Part::Debug => (left.stripped.len() as u64, left.stripped.values().sum()),
        Part::Records if left.has(Part::Records) => {
            (0, HASH_IN_RECORD * paths.iter().filter(|entry| record_file::is_twofold(entry)).count() as u64)
        }
        part => left.parts.get(part.name()).map_or((0, 0), |told| (told.files, told.bytes)),
    };
    let sizes = Part::ALL.into_iter().map(|part| (part, of_part(part)));
    sizes.map(|(part, (files, bytes))| LeftOutSize { part, files, bytes }).filter(|size| size.bytes > 0).collect()
}

/// The sum for each part, the largest first.
pub(super) fn sum<'a>(sizes: impl Iterator<Item = &'a LeftOutSize>) -> Vec<LeftOutSize> {
    let mut sums: Vec<LeftOutSize> = Vec::new();
    for size in sizes {
        match sums.iter_mut().find(|sum| sum.part == size.part) {
            Some(sum) => (sum.files, sum.bytes) = (sum.files + size.files, sum.bytes + size.bytes),
            None => sums.push(*size),
        }
    }
    mlconda_types::sorting::sort_by(&mut sums, |one, other| other.bytes.cmp(&one.bytes));
    sums
}

/// The parts that a plan would leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The parts, the largest first. Parts within files are not known before.
    pub left_out: Vec<LeftOutSize>,
    /// The size of the files that would be installed, in bytes.
    pub bytes: u64,
    /// The number of packages for which this is unknown: they are neither in the cache nor completely in the prefix.
    pub unknown: usize,
}

/// Computes the parts that a plan would leave out, from the package cache, and from the records of packages that are
/// linked again.
pub fn forecast(plan: &Plan, prefix: &Prefix, package_cache: Option<&Path>) -> Forecast {
    let mut forecast = Forecast::default();
    let mut all = Vec::new();
    for package in plan.archives() {
        let is_it = |record: &&PrefixRecord| {
            let known = &record.repodata_record.package_record;
            known.name.as_normalized() == package.name
                && known.version.as_str() == package.version
                && known.build.as_str() == package.build
        };
        let files = package_cache.and_then(|place| cache::file_sizes(place, &package)).or_else(|| {
            let record = plan.unlink.iter().chain(&plan.pip.unlink).find(is_it)?;
            let place = prefix.path().join("conda-meta").join(distributions::record_name(record));
            let text = files::read(&place, files::LARGEST_RECORD).ok()?;
            // The sizes of parts that were left out before are unknown.
            if slim::own_fields(&text).ok()?.left_out.is_some_and(|left| !left.sizes().is_empty()) {
                return None;
            }
            let known = &record.repodata_record.package_record;
            let entries = record.paths_data.paths.iter();
            let files = entries.map(|entry| {
                (entry.relative_path.clone(), entry.sha256.or(entry.sha256_in_prefix), entry.size_in_bytes.unwrap_or(0))
            });
            Some((slim::depends(known).map(<[String]>::to_vec), files.collect()))
        });
        match files {
            Some((depends, files)) => {
                add(&plan.slim, &package.name, depends.as_deref(), &files, &mut forecast, &mut all)
            }
            None => forecast.unknown += 1,
        }
    }
    forecast.left_out = sum(all.iter());
    forecast
}

/// A path, its hash and its size in bytes.
pub(super) type SizedFile = (PathBuf, Option<Sha256Hash>, u64);

fn add(
    slim: &Slim,
    name: &str,
    depends: Option<&[String]>,
    files: &[SizedFile],
    forecast: &mut Forecast,
    all: &mut Vec<LeftOutSize>,
) {
    let paths: Vec<PackageFile<'_>> =
        files.iter().map(|(path, sha256, _)| PackageFile { path, sha256: *sha256 }).collect();
    let selected = slim::select(slim, name, depends, &paths);
    for (path, _, bytes) in files {
        match selected.get(path) {
            Some(part) => all.push(LeftOutSize { part: *part, files: 1, bytes: *bytes }),
            None => forecast.bytes += bytes,
        }
    }
}
