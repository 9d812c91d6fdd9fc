//! Remedies: changes that give an environment a solution. Each of them is solved for before it is proposed.

use std::{str::FromStr, sync::Arc};

use itertools::Itertools;
use mlconda_types::{
    host::{Host, Override},
    solution::{cutoff_at, record_time},
    sorting::InOrder,
};
use rattler_conda_types::{
    EqualityOperator, MatchSpec, Matches, PackageName, RepoDataRecord, StrictRangeOperator, Version, VersionSpec,
};

use super::{ConflictSearch, Remedy, RemedyChange};
use crate::{ChannelPriority, SolveOptions, VirtualDemand, propagation::Premises, wording};

/// The most shortened versions that are tried.
const MAX_SHORTENED: usize = 2;
/// The most versions of a virtual package that are tried.
const MAX_DECLARED: usize = 4;

impl ConflictSearch<'_, '_> {
    /// Solves a changed environment.
    fn try_solve(&mut self, specs: &[MatchSpec], host: &Host, options: SolveOptions) -> Option<Vec<RepoDataRecord>> {
        self.remaining_solves = self.remaining_solves.checked_sub(1)?;
        self.session.with_options(options).solve_for_oldest(specs, host, self.pinned).0.ok()
    }

    /// Remedies for these lines, and for the other premises of their conflicts.
    pub(super) fn remedies(&mut self, cores: &[usize], conflicts: usize, premises: Premises) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if conflicts == 1 {
            for line in cores {
                remedies.extend(self.line_remedies(*line));
            }
        }
        if premises.order {
            remedies.extend(self.channel_priority_remedy(cores));
        }
        if premises.system {
            remedies.extend(self.virtual_package_remedies(cores));
        }
        if premises.time {
            remedies.extend(self.cutoff_remedy(cores));
        }
        if remedies.is_empty() {
            remedies.extend(self.combined_remedy(cores, self.session.options));
        }
        if remedies.is_empty() && self.has_hidden() {
            let options = SolveOptions { channel_priority: ChannelPriority::Flexible, ..self.session.options };
            remedies.extend(self.combined_remedy(cores, options));
        }
        remedies
    }

    /// For each way to loosen a line, the first form that gives a solution. If there is none, tries to leave out the
    /// line.
    pub(super) fn line_remedies(&mut self, line: usize) -> Vec<Remedy> {
        if let Some(known) = self.known.remove(&line) {
            return known;
        }
        let mut remedies: Vec<Remedy> = Vec::new();
        for forms in self.looser(line) {
            remedies.extend(forms.iter().find_map(|form| self.with_line(line, Some(form))));
        }
        if remedies.is_empty() {
            remedies.extend(self.loosest(line).and_then(|form| self.with_line(line, Some(&form))));
        }
        if remedies.is_empty() && self.specs.len() > 1 {
            remedies.extend(self.with_line(line, None));
        }
        remedies
    }

    /// Tries another form of a line, or leaves it out.
    fn with_line(&mut self, line: usize, form: Option<&MatchSpec>) -> Option<Remedy> {
        let mut specs = self.specs.to_vec();
        match form {
            Some(form) => specs[line] = form.clone(),
            None => _ = specs.remove(line),
        }
        let records = self.try_solve(&specs, self.host, self.session.options)?;
        let (change, gives) = match form {
            Some(form) => (self.rewrite(line, form), self.chosen(&records, &[line])),
            None => (RemedyChange::LeaveOut(self.line(line)), Vec::new()),
        };
        Some(Remedy { changes: vec![change], gives })
    }

    /// Ways to loosen a spec: without its build string, with a shorter version, without its version; from another
    /// channel; from any channel.
    fn looser(&self, line: usize) -> [Vec<MatchSpec>; 3] {
        let spec = &self.specs[line];
        let [mut free, mut elsewhere, mut anywhere] = [const { Vec::new() }; 3];
        if spec.build.is_some() || spec.build_number.is_some() {
            let version = spec.version.clone().filter(|version| *version != VersionSpec::Any);
            free.push(MatchSpec { version, build: None, build_number: None, ..spec.clone() });
        }
        free.extend(self.with_shorter_versions(spec));
        let bare = bare(spec);
        if bare != *spec && free.last() != Some(&bare) {
            free.push(bare);
        }
        if spec.channel.is_some() {
            anywhere.push(MatchSpec { channel: None, subdir: None, ..spec.clone() });
        } else if self.session.options.channel_priority == ChannelPriority::Strict {
            elsewhere = self.other_channels(line);
        }
        [free, elsewhere, anywhere]
    }

    /// Shorter versions of a spec for one version: `3.11.99` as `3.11`, and as `3`. Each of these allows more records
    /// than the one before, and none of them allows all records.
    fn with_shorter_versions(&self, spec: &MatchSpec) -> Vec<MatchSpec> {
        // `==3.11` allows 3.11.0 only.
        let (version, open) = match &spec.version {
            Some(VersionSpec::StrictRange(StrictRangeOperator::StartsWith, version)) => (version.as_ref(), 0),
            Some(VersionSpec::Exact(EqualityOperator::Equals, version)) => (version, 1),
            _ => return Vec::new(),
        };
        let allowed = |spec: &MatchSpec| {
            let records = self.records.by_channel(name(spec)).flatten();
            records.filter(|record| spec.matches(&record.package_record)).count()
        };
        let bare = bare(spec);
        let all = allowed(&bare);
        let mut last = allowed(&MatchSpec { version: spec.version.clone(), ..bare.clone() });
        let counts = (1..version.segment_count() + open).rev();
        let forms = counts.filter_map(|count| version.with_segments(..count)).map(|version| {
            let version = VersionSpec::StrictRange(StrictRangeOperator::StartsWith, version.into());
            MatchSpec { version: Some(version), ..bare.clone() }
        });
        // For `==3.11`, `3.11` is proposed even if it allows all records.
        let is_nearest = |index: usize| open == 1 && index == 0;
        let allows_more = |(index, form): &(usize, MatchSpec)| {
            let count = allowed(form);
            count > std::mem::replace(&mut last, count) && (count < all || is_nearest(*index))
        };
        forms.enumerate().filter(allows_more).map(|(_, form)| form).take(MAX_SHORTENED).collect()
    }

    /// The bare name of a line's package, unless that is the whole line.
    fn loosest(&self, line: usize) -> Option<MatchSpec> {
        let form = MatchSpec { channel: None, subdir: None, ..bare(&self.specs[line]) };
        (form != self.specs[line]).then_some(form)
    }

    /// A line's spec with each later channel that has a matching record.
    fn other_channels(&self, line: usize) -> Vec<MatchSpec> {
        let spec = &self.specs[line];
        // The first channel with the package counts anyway, so naming it changes nothing.
        let mut all = self.records.by_channel(name(spec));
        let first = all.find_map(|records| records.first().map(|record| record.channel.as_deref()));
        let having = self.records.by_channel(name(spec)).filter_map(|records| {
            let found = records.into_iter().find(|record| spec.matches(&record.package_record));
            found.filter(|record| Some(record.channel.as_deref()) != first).and_then(|record| record.channel.as_deref())
        });
        let having: Vec<&str> = having.collect();
        let channels = self.records.environment().all_channels();
        let known = channels.iter().filter(|channel| having.contains(&channel.canonical_name().as_str()));
        known.map(|channel| MatchSpec { channel: Some(Arc::new(channel.clone())), ..spec.clone() }).collect()
    }

    /// A looser form of a line, as users would write it.
    fn spec_text(&self, line: usize, form: &MatchSpec) -> String {
        let text = self.line(line).text;
        let own = self.specs[line].channel == form.channel;
        let bare = MatchSpec { channel: None, subdir: None, ..form.clone() };
        let bare = match &bare.version {
            Some(VersionSpec::StrictRange(StrictRangeOperator::StartsWith, version))
                if (MatchSpec { version: None, ..bare.clone() })
                    == (MatchSpec { name: bare.name.clone(), ..MatchSpec::default() }) =>
            {
                format!("{}={version}", name(&bare))
            }
            _ => bare.to_string(),
        };
        match (&form.channel, text.rsplit_once("::")) {
            (Some(_), Some((channel, _))) if own => format!("{channel}::{bare}"),
            (Some(channel), _) => {
                let name = wording::channel(channel);
                let unchanged = MatchSpec { channel: None, ..form.clone() } == self.specs[line];
                format!("{name}::{}", if unchanged { text } else { bare })
            }
            (None, Some((_, rest))) if form.version == self.specs[line].version => rest.to_owned(),
            (None, _) => bare,
        }
    }

    /// The chosen versions of the packages of these lines.
    fn chosen(&self, records: &[RepoDataRecord], lines: &[usize]) -> Vec<String> {
        let name = |line: &usize| self.specs[*line].name.as_exact().map(|name| name.as_normalized().to_owned());
        let names: Vec<String> = lines.iter().filter_map(name).unique().collect();
        let of = |name: &String| {
            let record = records.iter().find(|record| record.package_record.name.as_normalized() == name)?;
            Some(format!("{name} {}", record.package_record.version))
        };
        names.iter().filter_map(of).collect()
    }

    /// Whether an earlier channel may hide packages.
    fn has_hidden(&self) -> bool {
        let strict = self.session.options.channel_priority == ChannelPriority::Strict;
        strict && self.records.environment().all_channels().len() > 1
    }

    /// Flexible channel priority, if an earlier channel hides the package.
    fn channel_priority_remedy(&mut self, cores: &[usize]) -> Option<Remedy> {
        if !self.has_hidden() {
            return None;
        }
        let channel_priority = ChannelPriority::Flexible;
        let records =
            self.try_solve(self.specs, self.host, SolveOptions { channel_priority, ..self.session.options })?;
        Some(Remedy {
            changes: vec![RemedyChange::ChannelPriority(channel_priority)],
            gives: self.chosen(&records, cores),
        })
    }

    /// Declares a virtual package.
    fn virtual_package_remedies(&mut self, cores: &[usize]) -> Vec<Remedy> {
        let Some((reasons, newest)) = self.refusal(cores) else { return Vec::new() };
        let demands = reasons.virtual_demands(&newest);
        let mut remedies = Vec::new();
        for (name, demands) in &demands
            .into_iter()
            .into_group_map_by(|demand| demand.name.clone())
            .into_iter()
            .in_order_by(|a, b| a.0.cmp(&b.0))
            .collect_vec()
        {
            let versions: Vec<Version> =
                demands.iter().filter_map(declared).in_order().dedup().take(MAX_DECLARED).collect();
            remedies.extend(versions.into_iter().find_map(|version| {
                let text = format!("{name}={version}");
                let host = self.host.clone().with(&[Override::from_str(&text).ok()?]);
                let records = self.try_solve(self.specs, &host, self.session.options)?;
                Some(Remedy { changes: vec![RemedyChange::VirtualPackage(text)], gives: self.chosen(&records, cores) })
            }));
        }
        remedies
    }

    /// The earliest later cutoff that gives a solution.
    fn cutoff_remedy(&mut self, cores: &[usize]) -> Option<Remedy> {
        let now = self.session.options.exclude_newer?;
        let everything = SolveOptions { exclude_newer: None, ..self.session.options };
        let records = self.try_solve(self.specs, self.host, everything)?;
        let latest =
            records.iter().filter_map(|record| record_time(&record.package_record)).max().and_then(cutoff_at)?;
        let of_records = self.session.repodata.subdirs.iter().flatten();
        let times = of_records.filter_map(|record| cutoff_at(record_time(&record.package_record)?));
        let times = times.filter(|time| (now..latest).contains(time)).in_order().dedup().collect_vec();
        // A solution for one cutoff also exists for later ones, except if a new channel hides packages.
        let (mut first, mut last, mut best) = (0, times.len(), (latest, records));
        while first < last {
            let middle = first + (last - first) / 2;
            let options = SolveOptions { exclude_newer: Some(times[middle]), ..everything };
            match self.try_solve(self.specs, self.host, options) {
                Some(records) => (last, best) = (middle, (times[middle], records)),
                None => first = middle + 1,
            }
        }
        let (cutoff, records) = best;
        Some(Remedy { changes: vec![RemedyChange::ExcludeNewer(cutoff)], gives: self.chosen(&records, cores) })
    }

    /// Changes several lines at once, as few as possible.
    fn combined_remedy(&mut self, cores: &[usize], options: SolveOptions) -> Option<Remedy> {
        let loosest = |search: &Self, line: &usize| search.loosest(*line).map(|form| (*line, form));
        let mut changes: Vec<(usize, MatchSpec)> = cores.iter().filter_map(|line| loosest(self, line)).collect();
        if changes.is_empty() && options == self.session.options {
            // These are the specs that failed.
            return None;
        }
        let changed = |search: &Self, changes: &[(usize, MatchSpec)]| {
            let mut specs = search.specs.to_vec();
            changes.iter().for_each(|(line, form)| specs[*line] = form.clone());
            specs
        };
        let mut records = self.try_solve(&changed(self, &changes), self.host, options)?;
        let mut index = 0;
        while index < changes.len() {
            let fewer = [&changes[..index], &changes[index + 1..]].concat();
            match self.try_solve(&changed(self, &fewer), self.host, options) {
                Some(found) => (changes, records) = (fewer, found),
                None => index += 1,
            }
        }
        let lines: Vec<usize> = changes.iter().map(|(line, _)| *line).collect();
        let mut changes: Vec<RemedyChange> = changes.iter().map(|(line, form)| self.rewrite(*line, form)).collect();
        if options != self.session.options {
            changes.push(RemedyChange::ChannelPriority(options.channel_priority));
        }
        Some(Remedy { changes, gives: self.chosen(&records, &lines) })
    }

    fn rewrite(&self, line: usize, form: &MatchSpec) -> RemedyChange {
        RemedyChange::Rewrite(self.line(line), self.spec_text(line, form))
    }
}

fn name(spec: &MatchSpec) -> &str {
    spec.name.as_exact().map_or("", PackageName::as_normalized)
}

/// A spec without version, build and hashes.
fn bare(spec: &MatchSpec) -> MatchSpec {
    MatchSpec { version: None, build: None, build_number: None, md5: None, sha256: None, ..spec.clone() }
}

/// The version to declare for a virtual package.
fn declared(demand: &VirtualDemand) -> Option<Version> {
    let version = demand.wanted.trim_start_matches(|first: char| !first.is_ascii_digit());
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    match (version.trim_matches('.'), demand.name.as_str()) {
        ("", "__cuda") => Version::from_str("12.4").ok(),
        ("", _) => None,
        (version, _) => Version::from_str(version).ok(),
    }
}
