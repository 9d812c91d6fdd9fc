//! Handles unreadable records, for an installation that replaces them.

use std::{collections::BTreeSet, path::Path};

use mlconda_system::files;
use mlconda_types::file_name_parts;
use rattler_conda_types::{
    PackageName, PackageRecord, PrefixRecord, RepoDataRecord, VersionWithSource, package::DistArchiveIdentifier,
};
use url::Url;

use super::{Prefix, PrefixError, STATE, distributions, is_foreign, parse_record};

impl Prefix {
    /// The prefix without its unreadable records and state, and for each of these records a minimal one with the facts
    /// in its file name.
    ///
    /// # Errors
    /// If `conda-meta` cannot be read, or if the file name of an unreadable record does not have the form
    /// NAME-VERSION-BUILD.
    pub fn without_damaged(&self) -> Result<(Self, Vec<PrefixRecord>), PrefixError> {
        let (mut passed_over, mut records) = (BTreeSet::new(), Vec::new());
        for (kind, may_be_foreign) in [("json", true), (distributions::EXTENSION, false)] {
            for path in self.meta_files(kind)? {
                let read = files::read(&path, files::LARGEST_RECORD).and_then(|text| match parse_record(&text) {
                    Err(_) if may_be_foreign && is_foreign(&text) => Ok(()),
                    read => read.map(|_| ()),
                });
                if let Err(source) = read {
                    let Some(record) = by_name(&path) else { return Err(PrefixError::Record { path, source }) };
                    records.push(record);
                    passed_over.insert(path);
                }
            }
        }
        if self.variables().is_err() {
            passed_over.insert(self.path.join(STATE));
        }
        Ok((Self { path: self.path.clone(), passed_over }, records))
    }

    /// Whether the state is ignored because it cannot be read.
    pub fn is_without_state(&self) -> bool {
        self.passed_over.contains(&self.path.join(STATE))
    }
}

/// A minimal record with the facts in a file name.
fn by_name(path: &Path) -> Option<PrefixRecord> {
    let is_distribution = path.extension().is_some_and(|kind| kind == distributions::EXTENSION);
    let stem = path.file_stem()?.to_str()?;
    let mut parts = stem.rsplitn(3, '-');
    let (build, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    file_name_parts::check(name, version, build).ok()?;
    let package = PackageName::try_from(name).ok()?;
    let mut record = PackageRecord::new(package, version.parse::<VersionWithSource>().ok()?, build.parse().ok()?);
    if is_distribution {
        record.subdir = distributions::CHANNEL.to_owned();
    }
    let identifier: DistArchiveIdentifier = format!("{stem}.conda").parse().ok()?;
    let url = Url::parse(&format!("https://example.invalid/{stem}.conda")).ok()?;
    let record = RepoDataRecord { package_record: record, identifier, url, channel: None };
    let record = PrefixRecord::from_repodata_record(record, Vec::new());
    // The file name of the new record must be the same; else an installation would remove another file.
    (Path::new(path.file_name()?) == distributions::record_name(&record)).then_some(record)
}
