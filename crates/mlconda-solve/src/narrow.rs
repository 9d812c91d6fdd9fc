//! What can be ruled out without search among records of which there are few: a record whose need nothing meets, and
//! whatever does not meet the need of one that must be there. Each of these saves the solver a question that it answers
//! with no.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mlconda_types::dependency::{is_judged, is_within_reason, name as name_of};
use rattler_conda_types::{MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord};

use super::question::Bucket;

/// A need of a record, taken apart once.
struct Need {
    name: String,
    /// `None` if it makes no sense: then any package of the name meets it.
    spec: Option<MatchSpec>,
    is_dependency: bool,
}

impl Need {
    fn all(record: &RepoDataRecord) -> Vec<Self> {
        let package = &record.package_record;
        let taken = |is_dependency: bool, list: &[String]| -> Vec<Self> {
            let needs = list.iter().filter(|need| is_judged(need));
            let need = |need: &String| {
                let spec = Some(need).filter(|need| is_within_reason(need));
                let spec = spec.and_then(|need| MatchSpec::from_str(need, ParseStrictness::Lenient).ok());
                let build = spec.as_ref().and_then(|spec| spec.build.as_ref()).map(ToString::to_string);
                let is_build = build.is_none_or(|build| !build.starts_with(['<', '>', '=', '!', '~']));
                Self { name: name_of(need), spec: spec.filter(|_| is_build), is_dependency }
            };
            needs.map(need).collect()
        };
        let (mut needs, constrains) = (taken(true, &package.depends), taken(false, &package.constrains));
        needs.extend(constrains);
        needs
    }

    fn is_met_by(&self, record: &RepoDataRecord) -> bool {
        self.spec.as_ref().is_none_or(|spec| spec.matches(&record.package_record))
    }
}

/// The URLs of the records that may be in a solution for these specs.
pub(super) fn possible<'a>(
    buckets: &[Bucket<'a>],
    specs: &[MatchSpec],
    counts: impl Fn(&RepoDataRecord) -> bool,
) -> BTreeSet<&'a str> {
    let mut open: BTreeMap<&'a str, Vec<(&'a RepoDataRecord, Vec<Need>)>> = BTreeMap::new();
    for record in buckets.iter().flat_map(|bucket| bucket.records.iter().copied()).filter(|record| counts(record)) {
        let name = record.package_record.name.as_normalized();
        open.entry(name).or_default().push((record, Need::all(record)));
    }
    let mut required: BTreeSet<String> = BTreeSet::new();
    for spec in specs {
        let Some(name) = spec.name.as_exact().map(PackageName::as_normalized) else { continue };
        required.insert(name.to_owned());
        if let Some(records) = open.get_mut(name) {
            records.retain(|(record, _)| spec.matches(*record));
        }
    }
    while narrowed(&mut open, &mut required) {}
    open.into_values().flatten().map(|(record, _)| record.url.as_str()).collect()
}

/// Rules out what it can, once; whether that was anything.
fn narrowed<'a>(
    open: &mut BTreeMap<&'a str, Vec<(&'a RepoDataRecord, Vec<Need>)>>,
    required: &mut BTreeSet<String>,
) -> bool {
    let mut doomed: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut needed: Vec<String> = Vec::new();
    for (name, records) in &*open {
        for (record, needs) in records {
            let others = |need: &Need| open.get(need.name.as_str()).map_or(&[][..], Vec::as_slice);
            let meets = |need: &Need| others(need).iter().any(|(other, _)| need.is_met_by(other));
            let is_needed = |need: &Need| need.is_dependency || required.contains(&need.name);
            if needs.iter().any(|need| is_needed(need) && !meets(need)) {
                doomed.entry(name).or_default().push(record.url.as_str());
            } else if records.len() == 1 && required.contains(*name) {
                for need in needs {
                    if need.is_dependency && !required.contains(&need.name) {
                        needed.push(need.name.clone());
                    }
                    let refused = others(need).iter().filter(|(other, _)| !need.is_met_by(other));
                    let refused: Vec<&str> = refused.map(|(other, _)| other.url.as_str()).collect();
                    if let Some((key, _)) = open.get_key_value(need.name.as_str()).filter(|_| !refused.is_empty()) {
                        doomed.entry(key).or_default().extend(refused);
                    }
                }
            }
        }
    }
    let is_end = doomed.is_empty() && needed.is_empty();
    let doomed: Vec<(String, Vec<String>)> = doomed
        .into_iter()
        .map(|(name, urls)| (name.to_owned(), urls.into_iter().map(str::to_owned).collect()))
        .collect();
    for (name, urls) in doomed {
        if let Some(records) = open.get_mut(name.as_str()) {
            records.retain(|(record, _)| !urls.iter().any(|url| url == record.url.as_str()));
        }
    }
    required.extend(needed);
    !is_end
}
