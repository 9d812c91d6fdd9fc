//! What an unsolvable environment is told with: the smallest set of its own lines that conflict, and changes to them
//! that were checked to help. Both are found by solving again, with fewer lines or with looser ones, so that nothing is
//! proposed that was not tried. How often is bounded by a number, not by a clock: the same input has the same explanation.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
    str::FromStr,
    sync::Arc,
};

use itertools::Itertools;
use rattler_conda_types::{
    EqualityOperator, MatchSpec, Matches, PackageName, RepoDataRecord, StrictRangeOperator, Subdir, Version,
    VersionSpec,
};

use super::{
    ChannelPriority, Cutoff, SolveOptions, VirtualDemand,
    options::{cutoff_at, time},
    question::{Question, Refusal},
    reasoning::{Premises, Reasoning, Records},
    tree, wording,
};
use crate::{
    environment::{Environment, Location},
    host::{Host, Override},
    repodata::Repodata,
    sorting::InOrder,
};

/// How many conflicts are sought that have no line in common, and how many are told in full.
const CONFLICTS: usize = 12;
const TOLD: usize = 3;
/// How many solves are kept for the remedies.
const KEPT: usize = 30;
/// For how many systems, each newer than the one before, a contradiction is looked for.
const SYSTEMS: usize = 3;
/// How many shorter forms of a version are tried.
const SHORTENED: usize = 2;
/// How many versions of a virtual package are tried.
const DECLARED: usize = 4;
/// How many lines of the solver's own reasons are shown, where no better ones are found.
const SHOWN: usize = 20;

/// How much may be tried to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// How often to solve at most.
    pub solves: usize,
}

impl Default for Effort {
    /// Enough for a hundred lines with a conflict of a few.
    fn default() -> Self {
        Self { solves: 80 }
    }
}

/// Why an environment has no solution, and what would give it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The environment's file.
    pub file: PathBuf,
    /// The platform.
    pub platform: Subdir,
    /// Sets of lines that conflict, each for itself; no line is in two of them.
    pub conflicts: Vec<Conflict>,
    /// Changes each of which gives a solution: all of them were tried.
    pub remedies: Vec<Remedy>,
}

/// Lines of an environment that cannot go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Why, as a tree in plain words.
    pub reasons: String,
    /// The lines, in the order of the file.
    pub lines: Vec<Line>,
    /// Whether every smaller set of them was found to have a solution.
    pub is_minimal: bool,
}

/// A match spec of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The spec as written.
    pub text: String,
    /// The file that it stands in.
    pub file: Arc<Path>,
    /// Whether that is another file than the environment's first.
    pub is_of_another_file: bool,
    /// Where it stands.
    pub location: Location,
}

/// A change that gives a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What to do, all of it.
    pub changes: Vec<Change>,
    /// The packages that it concerns, as they are chosen then: name and version.
    pub gives: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A line to be written otherwise.
    Rewrite(Line, String),
    /// A line to be left out.
    LeaveOut(Line),
    /// `--channel-priority`
    ChannelPriority(ChannelPriority),
    /// `--virtual-package`
    VirtualPackage(String),
    /// A later `--exclude-newer`; the first that will do.
    ExcludeNewer(Cutoff),
}

/// Explains why there is no solution for the oldest system that will do ([`super::solve_for_oldest`]). The repodata
/// should have all records of the packages that are asked for, also of versions that no spec allows
/// ([`Repodata::add_any_version`]): what is not there cannot be proposed.
///
/// `None` if there is a solution, or if the reason is not that lines conflict. There is no solution for lines that are said
/// to conflict: either the reasons are the proof of it, or the solver has looked at all there is, and they are its own.
pub fn explain(
    environment: &Environment,
    repodata: &Repodata,
    host: &Host,
    pinned: &[Override],
    options: &SolveOptions,
    effort: Effort,
) -> Option<Explanation> {
    let question = Question::new(repodata, *options);
    let specs = environment.specs();
    let records = Rc::new(Records::new(environment, repodata, *options));
    let left = effort.solves;
    let mut search =
        Search { records: &records, question: &question, host, pinned, specs: &specs, left, known: HashMap::new() };
    let mut open: Vec<usize> = (0..specs.len()).collect();
    let mut suspects = search.in_vain(&open);
    if suspects.is_none() {
        let (outcome, newest) = question.ask_for_oldest(&specs, host, pinned);
        let Err(Refusal::Unsolvable(_)) = outcome else { return None };
        suspects = Some(search.suspects(&open, newest));
    }
    let mut found: Vec<Found> = Vec::new();
    while let Some(lines) = suspects {
        let conflict = search.conflict(lines)?;
        open.retain(|line| !conflict.core.contains(line));
        found.push(conflict);
        let is_enough = found.len() >= CONFLICTS || search.left < KEPT;
        suspects = if is_enough { None } else { search.further(&open, &found) };
    }
    let cores: Vec<usize> = found.iter().flat_map(|conflict| &conflict.core).copied().in_order().collect();
    // A remedy has to do for all of them.
    let premises = found.iter().fold(Premises::ALL, |premises, conflict| premises.and(conflict.premises));
    let remedies = search.remedies(&cores, found.len(), premises);
    let conflicts = found.into_iter().in_order_by_key(|found| found.core.first().copied());
    let conflicts = conflicts.map(|found| found.told).collect();
    Some(Explanation { file: environment.file.clone(), platform: host.platform, conflicts, remedies })
}

/// A conflict, with what it may rest on besides its lines.
struct Found {
    core: Vec<usize>,
    premises: Premises,
    told: Conflict,
}

struct Search<'q, 'a> {
    records: &'q Rc<Records<'a>>,
    question: &'q Question<'a>,
    /// The declared system.
    host: &'q Host,
    pinned: &'q [Override],
    /// One a requirement.
    specs: &'q [MatchSpec],
    /// How often it may be solved yet.
    left: usize,
    /// By line, its remedies, if they were looked for.
    known: HashMap<usize, Vec<Remedy>>,
}

/// Whether lines have a solution.
enum Answer {
    /// For this system, the oldest that will do.
    For(Host),
    /// Not even for this one, the newest that was tried.
    NoneFor(Host),
}

/// Lines without a solution.
struct Core {
    lines: Vec<usize>,
    /// The newest system that was tried for them.
    newest: Host,
    /// Whether every smaller set of them was found to have a solution.
    is_minimal: bool,
}

impl Search<'_, '_> {
    /// Whether these lines have a solution, for as new a system as they ask for; `None` if it is not tried any more.
    fn solves(&mut self, lines: &[usize]) -> Option<Answer> {
        self.left = self.left.checked_sub(1)?;
        let (outcome, host) = self.question.ask_for_oldest(&self.specs_of(lines), self.host, self.pinned);
        Some(if outcome.is_ok() { Answer::For(host) } else { Answer::NoneFor(host) })
    }

    /// Lines that ask for what nobody has, which is seen without solving for the others.
    fn in_vain(&mut self, lines: &[usize]) -> Option<Core> {
        let mut found = Reasoning::in_vain(self.records, self.host, lines)?;
        let used: Vec<usize> = tree::tell(&mut found).lines.into_iter().collect();
        match self.solves(&used)? {
            Answer::NoneFor(newest) => Some(Core { lines: used, newest, is_minimal: false }),
            Answer::For(_) => None,
        }
    }

    /// Those of these lines that have no solution, besides what was found; `None` if they have one, or it is not tried any
    /// more.
    fn further(&mut self, lines: &[usize], found: &[Found]) -> Option<Core> {
        if lines.is_empty() {
            return None;
        }
        if let Some(core) = self.in_vain(lines) {
            return Some(core);
        }
        // If a change of one line is enough for all of them, it is for these: nothing need be solved twice.
        if let [Found { core, .. }] = found
            && let Some(line) = core.first()
        {
            let remedies = self.of_line(*line);
            let is_only = !remedies.is_empty();
            self.known.insert(*line, remedies);
            if is_only {
                return None;
            }
        }
        match self.solves(lines)? {
            Answer::NoneFor(newest) => Some(self.suspects(lines, newest)),
            Answer::For(_) => None,
        }
    }

    fn specs_of(&self, lines: &[usize]) -> Vec<MatchSpec> {
        lines.iter().map(|line| self.specs[*line].clone()).collect()
    }

    /// A conflict among lines that have no solution; `None` if they have one after all.
    fn conflict(&mut self, suspects: Core) -> Option<Found> {
        let Core { lines: core, newest, is_minimal } = self.minimize(suspects);
        let (premises, reasons) = match Reasoning::conflict(self.records, &newest, &core) {
            Some(mut found) => (found.premises(), tree::tell(&mut found).text),
            None => (Premises::ALL, self.solver_reasons(&core)?),
        };
        let lines = core.iter().map(|line| self.line(*line)).collect();
        Some(Found { core, premises, told: Conflict { reasons, lines, is_minimal } })
    }

    /// The lines that a contradiction follows from, if one is found, and else all of them. What contradicts only an old
    /// system is no contradiction: it is looked for again in the newer one that these lines are content with.
    fn suspects(&mut self, lines: &[usize], newest: Host) -> Core {
        let mut system = newest.clone();
        for _ in 0..SYSTEMS {
            let Some(mut found) = Reasoning::conflict(self.records, &system, lines) else { break };
            let used: Vec<usize> = tree::tell(&mut found).lines.into_iter().collect();
            drop(found);
            if used.len() == lines.len() {
                break;
            }
            match self.solves(&used) {
                Some(Answer::NoneFor(newest)) => return Core { lines: used, newest, is_minimal: false },
                Some(Answer::For(newer)) if newer != system => system = newer,
                _ => break,
            }
        }
        Core { lines: lines.to_vec(), newest, is_minimal: false }
    }

    /// Leaves lines out as long as the others have no solution: first many at a time, then each.
    fn minimize(&mut self, suspects: Core) -> Core {
        let Core { lines: mut core, mut newest, .. } = suspects;
        let mut size = if core.len() > 8 { core.len() / 2 } else { 1 };
        loop {
            let mut start = 0;
            while start < core.len() && core.len() > 1 {
                let end = (start + size).min(core.len());
                let rest = [&core[..start], &core[end..]].concat();
                match self.solves(&rest) {
                    Some(Answer::NoneFor(system)) => (core, newest) = (rest, system),
                    Some(Answer::For(_)) => start = end,
                    None => return Core { lines: core, newest, is_minimal: false },
                }
            }
            if size == 1 {
                return Core { lines: core, newest, is_minimal: true };
            }
            size = (size / 2).max(1);
        }
    }

    /// What the solver itself has to say.
    fn solver_reasons(&self, lines: &[usize]) -> Option<String> {
        let text = wording::tidy(&self.refusal(lines)?.0, self.question.repodata);
        let count = text.lines().count();
        let shown = text.lines().take(SHOWN).join("\n");
        Some(if count > SHOWN { format!("{shown}\n… and {} more lines of reasons", count - SHOWN) } else { shown })
    }

    /// The solver's reasons, of all there is, and the newest system that was tried.
    fn refusal(&self, lines: &[usize]) -> Option<(String, Host)> {
        let specs = self.specs_of(lines);
        let (outcome, host) = self.question.ask_for_oldest(&specs, self.host, self.pinned);
        match outcome.or_else(|_| self.question.ask_of_all(&specs, &host)) {
            Err(Refusal::Unsolvable(reasons) | Refusal::Repodata(reasons)) => Some((reasons, host)),
            Ok(_) => None,
        }
    }

    fn line(&self, line: usize) -> Line {
        Line::of(self.records.environment(), line)
    }

    /// Solves a changed environment as it would be solved then.
    fn tries(&mut self, specs: &[MatchSpec], host: &Host, options: SolveOptions) -> Option<Vec<RepoDataRecord>> {
        self.left = self.left.checked_sub(1)?;
        self.question.with(options).ask_for_oldest(specs, host, self.pinned).0.ok()
    }

    fn remedies(&mut self, cores: &[usize], conflicts: usize, premises: Premises) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if conflicts == 1 {
            for line in cores {
                remedies.extend(self.of_line(*line));
            }
        }
        if premises.order {
            remedies.extend(self.of_channels(cores));
        }
        if premises.system {
            remedies.extend(self.of_machine(cores));
        }
        if premises.time {
            remedies.extend(self.of_time(cores));
        }
        if remedies.is_empty() {
            remedies.extend(self.of_several(cores, self.question.options));
        }
        if remedies.is_empty() && self.has_hidden() {
            let options = SolveOptions { channel_priority: ChannelPriority::Flexible, ..self.question.options };
            remedies.extend(self.of_several(cores, options));
        }
        remedies
    }

    /// Of each way to loosen a line, the first form that gives a solution; without any, the line is left out.
    fn of_line(&mut self, line: usize) -> Vec<Remedy> {
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

    /// Tries a line in another form, or without it.
    fn with_line(&mut self, line: usize, form: Option<&MatchSpec>) -> Option<Remedy> {
        let mut specs = self.specs.to_vec();
        match form {
            Some(form) => specs[line] = form.clone(),
            None => _ = specs.remove(line),
        }
        let records = self.tries(&specs, self.host, self.question.options)?;
        let (change, gives) = match form {
            Some(form) => (self.rewrite(line, form), self.chosen(&records, &[line])),
            None => (Change::LeaveOut(self.line(line)), Vec::new()),
        };
        Some(Remedy { changes: vec![change], gives })
    }

    /// Ways to loosen a line's spec: without its build string, then without the end of its version, then without its
    /// version; from another channel; from any.
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
        } else if self.question.options.channel_priority == ChannelPriority::Strict {
            elsewhere = self.other_channels(line);
        }
        [free, elsewhere, anywhere]
    }

    /// A spec that asks for one version, with the end of it left open: `3.11.99` as `3.11`, and as `3`. Each of these forms
    /// allows records that the one before does not, and the last does not allow all there are.
    fn with_shorter_versions(&self, spec: &MatchSpec) -> Vec<MatchSpec> {
        // `==3.11` asks for 3.11.0 alone, and all of it left open is looser already.
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
        let allows_more = |form: &MatchSpec| {
            let count = allowed(form);
            count > std::mem::replace(&mut last, count) && count < all
        };
        forms.filter(allows_more).take(SHORTENED).collect()
    }

    /// Nothing but the name of a line's package, if there is more.
    fn loosest(&self, line: usize) -> Option<MatchSpec> {
        let form = MatchSpec { channel: None, subdir: None, ..bare(&self.specs[line]) };
        (form != self.specs[line]).then_some(form)
    }

    /// A line's spec with each of the later channels that have what it asks for.
    fn other_channels(&self, line: usize) -> Vec<MatchSpec> {
        let spec = &self.specs[line];
        let having = self.records.by_channel(name(spec)).filter_map(|records| {
            let found = records.into_iter().find(|record| spec.matches(&record.package_record));
            found.and_then(|record| record.channel.as_deref())
        });
        let having: Vec<&str> = having.collect();
        let channels = self.records.environment().all_channels();
        let known = channels.iter().filter(|channel| having.contains(&channel.canonical_name().as_str()));
        known.map(|channel| MatchSpec { channel: Some(Arc::new(channel.clone())), ..spec.clone() }).collect()
    }

    /// A looser form of a line as one would write it.
    fn written(&self, line: usize, form: &MatchSpec) -> String {
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

    /// The packages of these lines, as they are chosen.
    fn chosen(&self, records: &[RepoDataRecord], lines: &[usize]) -> Vec<String> {
        let name = |line: &usize| self.specs[*line].name.as_exact().map(|name| name.as_normalized().to_owned());
        let names: Vec<String> = lines.iter().filter_map(name).unique().collect();
        let of = |name: &String| {
            let record = records.iter().find(|record| record.package_record.name.as_normalized() == name)?;
            Some(format!("{name} {}", record.package_record.version))
        };
        names.iter().filter_map(of).collect()
    }

    /// Whether there can be packages that an earlier channel hides.
    fn has_hidden(&self) -> bool {
        let strict = self.question.options.channel_priority == ChannelPriority::Strict;
        strict && self.records.environment().all_channels().len() > 1
    }

    /// A later channel, where an earlier one hides it.
    fn of_channels(&mut self, cores: &[usize]) -> Option<Remedy> {
        if !self.has_hidden() {
            return None;
        }
        let channel_priority = ChannelPriority::Flexible;
        let records = self.tries(self.specs, self.host, SolveOptions { channel_priority, ..self.question.options })?;
        Some(Remedy { changes: vec![Change::ChannelPriority(channel_priority)], gives: self.chosen(&records, cores) })
    }

    /// A virtual package, declared.
    fn of_machine(&mut self, cores: &[usize]) -> Vec<Remedy> {
        let Some((reasons, newest)) = self.refusal(cores) else { return Vec::new() };
        let demands = wording::virtual_demands(&reasons, &newest);
        let mut remedies = Vec::new();
        for (name, demands) in &demands
            .into_iter()
            .into_group_map_by(|demand| demand.name.clone())
            .into_iter()
            .in_order_by(|a, b| a.0.cmp(&b.0))
            .collect_vec()
        {
            let versions: Vec<Version> =
                demands.iter().filter_map(declared).in_order().dedup().take(DECLARED).collect();
            remedies.extend(versions.into_iter().find_map(|version| {
                let text = format!("{name}={version}");
                let host = self.host.clone().with(&[Override::from_str(&text).ok()?]);
                let records = self.tries(self.specs, &host, self.question.options)?;
                Some(Remedy { changes: vec![Change::VirtualPackage(text)], gives: self.chosen(&records, cores) })
            }));
        }
        remedies
    }

    /// The first later date that will do.
    fn of_time(&mut self, cores: &[usize]) -> Option<Remedy> {
        let now = self.question.options.exclude_newer?;
        let everything = SolveOptions { exclude_newer: None, ..self.question.options };
        let records = self.tries(self.specs, self.host, everything)?;
        let latest = records.iter().filter_map(|record| time(&record.package_record)).max().and_then(cutoff_at)?;
        let of_records = self.question.repodata.subdirs.iter().flatten();
        let times = of_records.filter_map(|record| cutoff_at(time(&record.package_record)?));
        let times = times.filter(|time| (now..latest).contains(time)).in_order().dedup().collect_vec();
        // What has a solution at one time has one later, too, but for packages that a new channel hides.
        let (mut first, mut last, mut best) = (0, times.len(), (latest, records));
        while first < last {
            let middle = first + (last - first) / 2;
            let options = SolveOptions { exclude_newer: Some(times[middle]), ..everything };
            match self.tries(self.specs, self.host, options) {
                Some(records) => (last, best) = (middle, (times[middle], records)),
                None => first = middle + 1,
            }
        }
        let (cutoff, records) = best;
        Some(Remedy { changes: vec![Change::ExcludeNewer(cutoff)], gives: self.chosen(&records, cores) })
    }

    /// Several lines at once, and no more of them than must be.
    fn of_several(&mut self, cores: &[usize], options: SolveOptions) -> Option<Remedy> {
        let loosest = |search: &Self, line: &usize| search.loosest(*line).map(|form| (*line, form));
        let mut changes: Vec<(usize, MatchSpec)> = cores.iter().filter_map(|line| loosest(self, line)).collect();
        let changed = |search: &Self, changes: &[(usize, MatchSpec)]| {
            let mut specs = search.specs.to_vec();
            changes.iter().for_each(|(line, form)| specs[*line] = form.clone());
            specs
        };
        let mut records = self.tries(&changed(self, &changes), self.host, options)?;
        let mut place = 0;
        while place < changes.len() {
            let fewer = [&changes[..place], &changes[place + 1..]].concat();
            match self.tries(&changed(self, &fewer), self.host, options) {
                Some(found) => (changes, records) = (fewer, found),
                None => place += 1,
            }
        }
        let lines: Vec<usize> = changes.iter().map(|(line, _)| *line).collect();
        let mut changes: Vec<Change> = changes.iter().map(|(line, form)| self.rewrite(*line, form)).collect();
        if options != self.question.options {
            changes.push(Change::ChannelPriority(options.channel_priority));
        }
        Some(Remedy { changes, gives: self.chosen(&records, &lines) })
    }

    fn rewrite(&self, line: usize, form: &MatchSpec) -> Change {
        Change::Rewrite(self.line(line), self.written(line, form))
    }
}

fn name(spec: &MatchSpec) -> &str {
    spec.name.as_exact().map_or("", PackageName::as_normalized)
}

/// A spec without version, build and hashes.
fn bare(spec: &MatchSpec) -> MatchSpec {
    MatchSpec { version: None, build: None, build_number: None, md5: None, sha256: None, ..spec.clone() }
}

/// The version of a virtual package to declare for a demand.
fn declared(demand: &VirtualDemand) -> Option<Version> {
    let version = demand.wanted.trim_start_matches(|first: char| !first.is_ascii_digit());
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    match (version.trim_matches('.'), demand.name.as_str()) {
        ("", "__cuda") => Version::from_str("12.4").ok(),
        ("", _) => None,
        (version, _) => Version::from_str(version).ok(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(formatter, "no set of packages for `{}` satisfies what `{file}` asks for", self.platform)?;
        let apart = if self.conflicts.len() > 1 { ", for several reasons" } else { "" };
        write!(formatter, "{apart}:")?;
        for conflict in self.conflicts.iter().take(TOLD) {
            write!(formatter, "\n{}\n{conflict}", conflict.reasons)?;
            for line in &conflict.lines {
                write!(formatter, "\n  {}:{}: {}", line.file.display(), line.location.line, line.text)?;
            }
        }
        if self.conflicts.len() > TOLD {
            let mut texts = self.conflicts.iter().skip(TOLD).map(|conflict| {
                let together = if conflict.lines.len() > 1 { " together" } else { "" };
                let lines = conflict.lines.iter().map(|line| format!("`{}` ({line})", line.text)).join(" and ");
                format!("{lines}{together}")
            });
            let texts = texts.join(", ");
            write!(formatter, "\nand so it is with {texts}")?;
        }
        match self.remedies.as_slice() {
            [] => {}
            [remedy] => write!(formatter, "\nthis change gives a solution:\n  {remedy}")?,
            remedies => {
                let lines = remedies.iter().map(|remedy| format!("\n  {remedy}")).join("");
                write!(formatter, "\neach of these changes gives a solution:{lines}")?;
            }
        }
        Ok(())
    }
}

impl Line {
    /// A requirement of an environment, by its place in the list.
    pub(super) fn of(environment: &Environment, line: usize) -> Self {
        let requirement = &environment.requirements[line];
        let (file, location) = (Arc::clone(&requirement.file), requirement.location);
        let is_of_another_file = *file != *environment.file;
        Self { text: requirement.text.trim().to_owned(), file, is_of_another_file, location }
    }
}

impl fmt::Display for Line {
    /// Where it stands.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}", self.location.line)?;
        if self.is_of_another_file { write!(formatter, " of `{}`", self.file.display()) } else { Ok(()) }
    }
}

impl fmt::Display for Conflict {
    /// The sentence above the lines.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.lines.len();
        match (count, self.is_minimal) {
            (1, _) => formatter.write_str("this line alone has no solution:"),
            (2, true) => formatter.write_str("these 2 lines exclude each other:"),
            (_, true) => {
                write!(formatter, "these {count} lines cannot go together; without any one of them, the others can:")
            }
            (_, false) => {
                write!(
                    formatter,
                    "these {count} lines cannot go together (perhaps fewer do it: the search was cut short):"
                )
            }
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.changes.len() > 2 { ",\n  and " } else { ", and " };
        write!(formatter, "{}", self.changes.iter().join(between))?;
        if self.gives.is_empty() { Ok(()) } else { write!(formatter, " (gives {})", self.gives.join(", ")) }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rewrite(line, form) => {
                write!(formatter, "{line}: `{form}` instead of `{}`", line.text)
            }
            Self::LeaveOut(line) => write!(formatter, "{line}: without `{}`", line.text),
            Self::ChannelPriority(priority) => write!(formatter, "`--channel-priority {priority}`"),
            Self::VirtualPackage(package) => {
                write!(formatter, "`--virtual-package {package}`, if the machine has it")
            }
            Self::ExcludeNewer(cutoff) => write!(formatter, "`--exclude-newer {cutoff}` or later"),
        }
    }
}
