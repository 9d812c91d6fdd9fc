//! Eliminates records before the solve, among few candidates: records with a dependency that nothing satisfies, and
//! records that a required package excludes. Each of them saves the solver a decision.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mlconda_types::{
    dependency::{is_checkable, is_within_limits, normalized_name},
    sorting::IntoTree,
};
use rattler_conda_types::{MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord};

use super::session::SubdirRecords;

/// A parsed dependency or constraint of a record.
struct RecordDependency {
    name: String,
    /// `None` if it is invalid: then any package of the name satisfies it.
    spec: Option<MatchSpec>,
    is_dependency: bool,
}

impl RecordDependency {
    fn of_record(record: &RepoDataRecord) -> Vec<Self> {
        let package = &record.package_record;
        let taken = |is_dependency: bool, list: &[String]| -> Vec<Self> {
            let dependencies = list.iter().filter(|dependency| is_checkable(dependency));
            let dependency = |dependency: &String| {
                let spec = Some(dependency).filter(|dependency| is_within_limits(dependency));
                let spec = spec.and_then(|dependency| MatchSpec::from_str(dependency, ParseStrictness::Lenient).ok());
                let build = spec.as_ref().and_then(|spec| spec.build.as_ref()).map(ToString::to_string);
                let is_build = build.is_none_or(|build| !build.starts_with(['<', '>', '=', '!', '~']));
                Self { name: normalized_name(dependency), spec: spec.filter(|_| is_build), is_dependency }
            };
            dependencies.map(dependency).collect()
        };
        let (mut dependencies, constrains) = (taken(true, &package.depends), taken(false, &package.constrains));
        dependencies.extend(constrains);
        dependencies
    }

    fn is_met_by(&self, record: &RepoDataRecord) -> bool {
        self.spec.as_ref().is_none_or(|spec| spec.matches(&record.package_record))
    }
}

/// The URLs of the records that may be in a solution for these specs.
pub(super) fn remaining_urls<'a>(
    subdirs: &[SubdirRecords<'a>],
    specs: &[MatchSpec],
    counts: impl Fn(&RepoDataRecord) -> bool,
) -> BTreeSet<&'a str> {
    let mut remaining: BTreeMap<&'a str, Vec<(&'a RepoDataRecord, Vec<RecordDependency>)>> = BTreeMap::new();
    for record in subdirs.iter().flat_map(|subdir| subdir.records.iter().copied()).filter(|record| counts(record)) {
        let name = record.package_record.name.as_normalized();
        remaining.entry(name).or_default().push((record, RecordDependency::of_record(record)));
    }
    let mut required: BTreeSet<String> = BTreeSet::new();
    for spec in specs {
        let Some(name) = spec.name.as_exact().map(PackageName::as_normalized) else { continue };
        required.insert(name.to_owned());
        if let Some(records) = remaining.get_mut(name) {
            records.retain(|(record, _)| spec.matches(*record));
        }
    }
    while eliminate_once(&mut remaining, &mut required) {}
    remaining.into_values().flatten().map(|(record, _)| record.url.as_str()).into_tree()
}

/// Runs one round of elimination. Returns whether it changed anything.
fn eliminate_once<'a>(
    remaining: &mut BTreeMap<&'a str, Vec<(&'a RepoDataRecord, Vec<RecordDependency>)>>,
    required: &mut BTreeSet<String>,
) -> bool {
    let mut eliminated: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut needed: Vec<String> = Vec::new();
    for (name, records) in &*remaining {
        for (record, dependencies) in records {
            let others =
                |dependency: &RecordDependency| remaining.get(dependency.name.as_str()).map_or(&[][..], Vec::as_slice);
            let meets =
                |dependency: &RecordDependency| others(dependency).iter().any(|(other, _)| dependency.is_met_by(other));
            let is_needed =
                |dependency: &RecordDependency| dependency.is_dependency || required.contains(&dependency.name);
            if dependencies.iter().any(|dependency| is_needed(dependency) && !meets(dependency)) {
                eliminated.entry(name).or_default().push(record.url.as_str());
            } else if records.len() == 1 && required.contains(*name) {
                for dependency in dependencies {
                    if dependency.is_dependency && !required.contains(&dependency.name) {
                        needed.push(dependency.name.clone());
                    }
                    let refused = others(dependency).iter().filter(|(other, _)| !dependency.is_met_by(other));
                    let refused: Vec<&str> = refused.map(|(other, _)| other.url.as_str()).collect();
                    if let Some((key, _)) =
                        remaining.get_key_value(dependency.name.as_str()).filter(|_| !refused.is_empty())
                    {
                        eliminated.entry(key).or_default().extend(refused);
                    }
                }
            }
        }
    }
    let is_end = eliminated.is_empty() && needed.is_empty();
    let eliminated: Vec<(String, Vec<String>)> = eliminated
        .into_iter()
        .map(|(name, urls)| (name.to_owned(), urls.into_iter().map(str::to_owned).collect()))
        .collect();
    for (name, urls) in eliminated {
        if let Some(records) = remaining.get_mut(name.as_str()) {
            records.retain(|(record, _)| !urls.iter().any(|url| url == record.url.as_str()));
        }
    }
    required.extend(needed);
    !is_end
}
