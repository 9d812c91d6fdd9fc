//! What an unsolvable environment is told with: the smallest set of its own lines that conflict, and changes to them
//! that were checked to help. Both are found by solving again, with fewer lines or with looser ones, so that nothing is
//! proposed that was not tried. How often is bounded by a number, not by a clock: the same input has the same explanation.

mod remedies;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use mlconda_environment::{Environment, Location};
use mlconda_types::{
    host::{Host, Override},
    sorting::InOrder,
};
use rattler_conda_types::{MatchSpec, Subdir};

use super::{
    ChannelPriority, Cutoff, SolveOptions,
    propagation::{self, Premises, Propagation, Records},
    session::{self, SolveFailure, SolverSession},
    tree::{self, ReasonTree},
    wording,
};

/// How many conflicts are sought that have no line in common, and how many are told in full.
const MAX_CONFLICTS: usize = 12;
const MAX_SHOWN_CONFLICTS: usize = 3;
/// How many solves are kept for the remedies.
const RESERVED_SOLVES: usize = 30;
/// For how many systems, each newer than the one before, a contradiction is looked for.
const MAX_SYSTEMS: usize = 3;
/// How many lines of the solver's own reasons are shown, where no better ones are found.
const MAX_REASON_LINES: usize = 20;

/// How much may be tried to explain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainEffort {
    /// How often to solve at most.
    pub solves: usize,
}

impl Default for ExplainEffort {
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
    pub lines: Vec<RequirementLine>,
    /// Whether every smaller set of them was found to have a solution.
    pub is_minimal: bool,
}

/// A match spec of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequirementLine {
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
    pub changes: Vec<RemedyChange>,
    /// The packages that it concerns, as they are chosen then: name and version.
    pub gives: Vec<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemedyChange {
    /// A line to be written otherwise.
    Rewrite(RequirementLine, String),
    /// A line to be left out.
    LeaveOut(RequirementLine),
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
    effort: ExplainEffort,
) -> Option<Explanation> {
    let specs = environment.specs();
    let channel_specs: Vec<MatchSpec> = specs.iter().filter(|spec| spec.channel.is_some()).cloned().collect();
    let session = SolverSession::new(repodata, *options);
    let in_context = session.with_channel_specs(&channel_specs);
    let records = Rc::new(Records::new(environment, repodata, *options));
    let remaining_solves = effort.solves;
    let known = HashMap::new();
    let mut search = ConflictSearch {
        records: &records,
        session: &session,
        in_context: &in_context,
        host,
        pinned,
        specs: &specs,
        remaining_solves,
        known,
    };
    let mut open: Vec<usize> = (0..specs.len()).collect();
    let mut suspects = search.unmatched_requirement(&open);
    if suspects.is_none() {
        let (outcome, newest) = session.solve_for_oldest(&specs, host, pinned);
        let Err(SolveFailure::Unsolvable(_)) = outcome else { return None };
        suspects = Some(search.suspects(&open, newest));
    }
    let mut found: Vec<FoundConflict> = Vec::new();
    while let Some(lines) = suspects {
        let conflict = search.conflict(lines)?;
        open.retain(|line| !conflict.core.contains(line));
        found.push(conflict);
        let is_enough = found.len() >= MAX_CONFLICTS || search.remaining_solves < RESERVED_SOLVES;
        suspects = if is_enough { None } else { search.next_core(&open, &found) };
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
struct FoundConflict {
    core: Vec<usize>,
    premises: Premises,
    told: Conflict,
}

struct ConflictSearch<'q, 'a> {
    records: &'q Rc<Records<'a>>,
    session: &'q SolverSession<'a>,
    /// The same, where the channels that lines name count, whether these lines are asked for or not.
    in_context: &'q SolverSession<'a>,
    /// The declared system.
    host: &'q Host,
    pinned: &'q [Override],
    /// One a requirement.
    specs: &'q [MatchSpec],
    /// How often it may be solved yet.
    remaining_solves: usize,
    /// By line, its remedies, if they were looked for.
    known: HashMap<usize, Vec<Remedy>>,
}

/// A way to look for a contradiction of lines.
type Reason<'a> = fn(&Rc<Records<'a>>, &Host, &[usize]) -> Option<propagation::Contradiction<'a>>;

/// Whether lines have a solution.
enum CoreOutcome {
    /// For this system, the oldest that will do.
    Solvable(Host),
    /// Not even for this one, the newest that was tried.
    Unsolvable(Host),
}

/// Lines without a solution.
struct UnsatCore {
    lines: Vec<usize>,
    /// The newest system that was tried for them.
    newest: Host,
    /// Whether every smaller set of them was found to have a solution.
    is_minimal: bool,
}

impl<'a> ConflictSearch<'_, 'a> {
    /// Whether these lines have a solution, for as new a system as they ask for; `None` if it is not tried any more. Where
    /// another line names a channel, there is more to choose from for these: they are without a solution only if that
    /// does not help.
    fn solves(&mut self, lines: &[usize]) -> Option<CoreOutcome> {
        let questions = [Some(self.session), self.are_in_context(lines).then_some(self.in_context)];
        let (specs, mut oldest) = (self.specs_of(lines), None);
        for session in questions.into_iter().flatten() {
            self.remaining_solves = self.remaining_solves.checked_sub(1)?;
            let (outcome, host) = session.solve_for_oldest(&specs, self.host, self.pinned);
            if outcome.is_ok() {
                return Some(CoreOutcome::Solvable(host));
            }
            oldest.get_or_insert(host);
        }
        oldest.map(CoreOutcome::Unsolvable)
    }

    /// Whether a line that is not among these names a channel.
    fn are_in_context(&self, lines: &[usize]) -> bool {
        let names_channel = |line: &usize| self.specs[*line].channel.is_some();
        (0..self.specs.len()).filter(names_channel).any(|line| !lines.contains(&line))
    }

    /// Lines that ask for what nobody has, which is seen without solving for the others.
    fn unmatched_requirement(&mut self, lines: &[usize]) -> Option<UnsatCore> {
        let mut found = Propagation::unmatched_requirement(self.records, self.host, lines)?;
        let used: Vec<usize> = tree::render(&mut found).lines.into_iter().collect();
        match self.solves(&used)? {
            CoreOutcome::Unsolvable(newest) => Some(UnsatCore { lines: used, newest, is_minimal: false }),
            CoreOutcome::Solvable(_) => None,
        }
    }

    /// Those of these lines that have no solution, besides what was found; `None` if they have one, or it is not tried any
    /// more.
    fn next_core(&mut self, lines: &[usize], found: &[FoundConflict]) -> Option<UnsatCore> {
        if lines.is_empty() {
            return None;
        }
        if let Some(core) = self.unmatched_requirement(lines) {
            return Some(core);
        }
        // If a change of one line is enough for all of them, it is for these: nothing need be solved twice.
        if let [FoundConflict { core, .. }] = found
            && let Some(line) = core.first()
        {
            let remedies = self.line_remedies(*line);
            let is_only = !remedies.is_empty();
            self.known.insert(*line, remedies);
            if is_only {
                return None;
            }
        }
        match self.solves(lines)? {
            CoreOutcome::Unsolvable(newest) => Some(self.suspects(lines, newest)),
            CoreOutcome::Solvable(_) => None,
        }
    }

    fn specs_of(&self, lines: &[usize]) -> Vec<MatchSpec> {
        lines.iter().map(|line| self.specs[*line].clone()).collect()
    }

    /// A conflict among lines that have no solution; `None` if they have one after all.
    fn conflict(&mut self, suspects: UnsatCore) -> Option<FoundConflict> {
        let UnsatCore { lines: core, newest, is_minimal } = self.minimize(suspects);
        let (premises, reasons) = match self.contradiction(&newest, &core) {
            Some((premises, told)) => (premises, told.text),
            None => (Premises::ALL, self.solver_reasons(&core)?),
        };
        let lines = core.iter().map(|line| self.line(*line)).collect();
        Some(FoundConflict { core, premises, told: Conflict { reasons, lines, is_minimal } })
    }

    /// A contradiction of these lines, told. Where it rests on the system, one is sought that a newer system does not change:
    /// nobody is to be told to have a newer one that would not help.
    fn contradiction(&self, system: &Host, lines: &[usize]) -> Option<(Premises, ReasonTree)> {
        if !self.are_in_context(lines) {
            return self.contradiction_by(Propagation::contradiction, system, lines);
        }
        let in_context = self.contradiction_by(Propagation::contradiction_in_context, system, lines);
        // It may follow from the other lines' channels: then it is none of these lines alone.
        in_context.filter(|(_, told)| told.lines.iter().all(|line| lines.contains(line))).or_else(|| {
            let (premises, told) = self.contradiction_by(Propagation::contradiction, system, lines)?;
            // What is hidden from these lines need not be so where others name a channel.
            Some((if premises.order { Premises::ALL } else { premises }, told))
        })
    }

    fn contradiction_by(&self, reason: Reason<'a>, system: &Host, lines: &[usize]) -> Option<(Premises, ReasonTree)> {
        let mut found = reason(self.records, system, lines)?;
        let mut premises = found.premises();
        if premises.system {
            match reason(self.records, &session::newest_host(system, self.pinned), lines) {
                Some(better) if !better.premises().system => (premises, found) = (better.premises(), better),
                // How far the system is raised depends on what else there is.
                _ => premises = Premises::ALL,
            }
        }
        Some((premises, tree::render(&mut found)))
    }

    /// The lines that a contradiction follows from, if one is found, and else all of them. What contradicts only an old
    /// system is no contradiction: it is looked for again in the newer one that these lines are content with.
    fn suspects(&mut self, lines: &[usize], newest: Host) -> UnsatCore {
        let mut system = newest.clone();
        for _ in 0..MAX_SYSTEMS {
            let Some(mut found) = Propagation::contradiction(self.records, &system, lines) else { break };
            let used: Vec<usize> = tree::render(&mut found).lines.into_iter().collect();
            drop(found);
            if used.len() == lines.len() {
                break;
            }
            match self.solves(&used) {
                Some(CoreOutcome::Unsolvable(newest)) => return UnsatCore { lines: used, newest, is_minimal: false },
                Some(CoreOutcome::Solvable(newer)) if newer != system => system = newer,
                _ => break,
            }
        }
        UnsatCore { lines: lines.to_vec(), newest, is_minimal: false }
    }

    /// Leaves lines out as long as the others have no solution: first many at a time, then each.
    fn minimize(&mut self, suspects: UnsatCore) -> UnsatCore {
        let UnsatCore { lines: mut core, mut newest, .. } = suspects;
        let mut size = if core.len() > 8 { core.len() / 2 } else { 1 };
        loop {
            let (mut start, count) = (0, core.len());
            while start < core.len() && core.len() > 1 {
                let end = (start + size).min(core.len());
                let rest = [&core[..start], &core[end..]].concat();
                match self.solves(&rest) {
                    Some(CoreOutcome::Unsolvable(system)) => (core, newest) = (rest, system),
                    Some(CoreOutcome::Solvable(_)) => start = end,
                    None => return UnsatCore { lines: core, newest, is_minimal: false },
                }
            }
            // In the context of lines that name channels, fewer lines may have no solution though more of them have one.
            if size == 1 && (core.len() == count || !self.are_in_context(&core)) {
                return UnsatCore { lines: core, newest, is_minimal: true };
            }
            size = (size / 2).max(1);
        }
    }

    /// What the solver itself has to say.
    fn solver_reasons(&self, lines: &[usize]) -> Option<String> {
        let text = wording::tidy(&self.refusal(lines)?.0, self.session.repodata);
        let count = text.lines().count();
        let shown = text.lines().take(MAX_REASON_LINES).join("\n");
        Some(if count > MAX_REASON_LINES {
            format!("{shown}\n… and {} more lines of reasons", count - MAX_REASON_LINES)
        } else {
            shown
        })
    }

    /// The solver's reasons, of all there is, and the newest system that was tried.
    fn refusal(&self, lines: &[usize]) -> Option<(String, Host)> {
        let specs = self.specs_of(lines);
        let (outcome, host) = self.session.solve_for_oldest(&specs, self.host, self.pinned);
        match outcome.or_else(|_| self.session.solve_unpruned(&specs, &host)) {
            Err(SolveFailure::Unsolvable(reasons) | SolveFailure::Repodata(reasons)) => Some((reasons, host)),
            Ok(_) => None,
        }
    }

    fn line(&self, line: usize) -> RequirementLine {
        RequirementLine::of(self.records.environment(), line)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        write!(formatter, "no set of packages for `{}` satisfies what `{file}` asks for", self.platform)?;
        let apart = if self.conflicts.len() > 1 { ", for several reasons" } else { "" };
        write!(formatter, "{apart}:")?;
        for conflict in self.conflicts.iter().take(MAX_SHOWN_CONFLICTS) {
            write!(formatter, "\n{}\n{conflict}", conflict.reasons)?;
            for line in &conflict.lines {
                write!(formatter, "\n  {}:{}: {}", line.file.display(), line.location.line, line.text)?;
            }
        }
        if self.conflicts.len() > MAX_SHOWN_CONFLICTS {
            let mut texts = self.conflicts.iter().skip(MAX_SHOWN_CONFLICTS).map(|conflict| {
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

impl RequirementLine {
    /// A requirement of an environment, by its place in the list.
    pub(super) fn of(environment: &Environment, line: usize) -> Self {
        let requirement = &environment.requirements[line];
        let (file, location) = (Arc::clone(&requirement.file), requirement.location);
        let is_of_another_file = *file != *environment.file;
        Self { text: requirement.text.trim().to_owned(), file, is_of_another_file, location }
    }
}

impl fmt::Display for RequirementLine {
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

impl fmt::Display for RemedyChange {
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
