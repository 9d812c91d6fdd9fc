//! Explains why an environment has no solution: the smallest set of its lines that conflict, and changes that help.
//! Both are found by solving again, with fewer or looser lines, so every proposed change was tried. The number of
//! solves is limited by a count, not by a clock: the same input gives the same explanation.

mod remedies;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
};

use itertools::Itertools;
use mlconda_channel::repodata::Repodata;
use mlconda_environment::{COMMAND_LINE, Environment};
use mlconda_types::{
    host::{Host, Override},
    sorting::InOrder,
};
use rattler_conda_types::{MatchSpec, Subdir};

use super::{
    ChannelPriority, Cutoff, SolveOptions,
    conflict::Reasons,
    propagation::{self, Premises, Propagation, Records},
    raise::newest_host,
    request::SolveFailure,
    requirement_line::RequirementLine,
    session::SolverSession,
    tree::{self, ReasonTree},
};

/// The most disjoint conflicts that are searched for, and the most that are shown in full.
const MAX_CONFLICTS: usize = 12;
const MAX_SHOWN_CONFLICTS: usize = 3;
/// The number of solves that are reserved for the remedies.
const RESERVED_SOLVES: usize = 30;
/// The most systems, each newer than the last, for which a contradiction is searched for.
const MAX_SYSTEMS: usize = 3;
/// The most lines of the solver's own reasons that are shown if no better ones are found.
const MAX_REASON_LINES: usize = 20;

/// How much effort an explanation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainEffort {
    /// The most solves.
    pub solves: usize,
}

impl Default for ExplainEffort {
    /// The default is enough for a hundred lines with a conflict of a few of them.
    fn default() -> Self {
        Self { solves: 80 }
    }
}

/// Why an environment has no solution, and which changes give it one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The environment's file.
    pub file: PathBuf,
    /// The platform.
    pub platform: Subdir,
    /// The conflicts: disjoint sets of lines.
    pub conflicts: Vec<Conflict>,
    /// Changes that give a solution. Each of them was tried.
    pub remedies: Vec<Remedy>,
}

/// Lines of an environment that conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The reasons, as a tree of text.
    pub reasons: String,
    /// The lines, in the order of the file.
    pub lines: Vec<RequirementLine>,
    /// Whether every smaller set of the lines has a solution.
    pub is_minimal: bool,
}

/// A change that gives a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// All that has to be changed.
    pub changes: Vec<RemedyChange>,
    /// The name and version of the affected packages in the new solution.
    pub gives: Vec<String>,
}

/// A single change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemedyChange {
    /// Write a line in another way.
    Rewrite(RequirementLine, String),
    /// Leave out a line.
    LeaveOut(RequirementLine),
    /// `--channel-priority`
    ChannelPriority(ChannelPriority),
    /// `--virtual-package`
    VirtualPackage(String),
    /// The earliest later cutoff for `--exclude-newer` that gives a solution.
    ExcludeNewer(Cutoff),
}

/// Explains why there is no solution for the oldest possible system ([`super::solve()`]). The repodata should
/// have all records of the requested packages, also of versions that no spec allows ([`Repodata::add_any_version`]):
/// missing records cannot be proposed.
///
/// Returns `None` if there is a solution, or if no conflict of lines is the reason. Lines are reported as a conflict
/// only if the reasons prove it, or if the unpruned solver found no solution for them.
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
    // A remedy has to resolve all of the conflicts.
    let premises = found.iter().fold(Premises::ALL, |premises, conflict| premises.and(conflict.premises));
    let remedies = search.remedies(&cores, found.len(), premises);
    let conflicts = found.into_iter().in_order_by_key(|found| found.core.first().copied());
    let conflicts = conflicts.map(|found| found.told).collect();
    Some(Explanation { file: environment.file.clone(), platform: host.platform, conflicts, remedies })
}

/// A conflict, with its other premises besides its lines.
struct FoundConflict {
    core: Vec<usize>,
    premises: Premises,
    told: Conflict,
}

struct ConflictSearch<'q, 'a> {
    records: &'q Rc<Records<'a>>,
    session: &'q SolverSession<'a>,
    /// The same session, in which the channels of all lines count.
    in_context: &'q SolverSession<'a>,
    /// The declared system.
    host: &'q Host,
    pinned: &'q [Override],
    /// One spec for each requirement.
    specs: &'q [MatchSpec],
    /// How many solves are left.
    remaining_solves: usize,
    /// For each line, its remedies, if they were searched for.
    known: HashMap<usize, Vec<Remedy>>,
}

/// A function that searches for a contradiction of lines.
type Reason<'a> = fn(&Rc<Records<'a>>, &Host, &[usize]) -> Option<propagation::Contradiction<'a>>;

/// Whether lines have a solution.
enum CoreOutcome {
    /// For this system, the oldest possible one.
    Solvable(Host),
    /// Not even for this system, the newest that was tried.
    Unsolvable(Host),
}

/// Lines without a solution.
struct UnsatCore {
    lines: Vec<usize>,
    /// The newest system that was tried for them.
    newest: Host,
    /// Whether every smaller set of the lines has a solution.
    is_minimal: bool,
}

impl<'a> ConflictSearch<'_, 'a> {
    /// Whether these lines have a solution, for a system as new as they ask for; `None` if no solves are left. If
    /// another line names a channel, there are more candidates: then these lines count as unsolvable only if that does
    /// not help.
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

    /// Whether a line outside of this set names a channel.
    fn are_in_context(&self, lines: &[usize]) -> bool {
        let names_channel = |line: &usize| self.specs[*line].channel.is_some();
        (0..self.specs.len()).filter(names_channel).any(|line| !lines.contains(&line))
    }

    /// Lines with a requirement that nothing matches, found without solving for the others.
    fn unmatched_requirement(&mut self, lines: &[usize]) -> Option<UnsatCore> {
        let mut found = Propagation::unmatched_requirement(self.records, self.host, lines)?;
        let used: Vec<usize> = tree::render(&mut found).lines.into_iter().collect();
        match self.solves(&used)? {
            CoreOutcome::Unsolvable(newest) => Some(UnsatCore { lines: used, newest, is_minimal: false }),
            CoreOutcome::Solvable(_) => None,
        }
    }

    /// Lines of this set without a solution, besides the found conflicts; `None` if they have one, or no solves are
    /// left.
    fn next_core(&mut self, lines: &[usize], found: &[FoundConflict]) -> Option<UnsatCore> {
        if lines.is_empty() {
            return None;
        }
        if let Some(core) = self.unmatched_requirement(lines) {
            return Some(core);
        }
        // If changing one line is enough for the whole environment, these lines have a solution.
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

    /// A conflict among lines without a solution; `None` if they have one after all.
    fn conflict(&mut self, suspects: UnsatCore) -> Option<FoundConflict> {
        let UnsatCore { lines: core, newest, is_minimal } = self.minimize(suspects);
        let (premises, reasons) = match self.contradiction(&newest, &core) {
            Some((premises, told)) => (premises, told.text),
            None => (Premises::ALL, self.solver_reasons(&core)?),
        };
        let lines = core.iter().map(|line| self.line(*line)).collect();
        Some(FoundConflict { core, premises, told: Conflict { reasons, lines, is_minimal } })
    }

    /// A rendered contradiction of these lines. If it depends on the system, one that does not is preferred, so that
    /// users are not told to use a newer system that would not help.
    fn contradiction(&self, system: &Host, lines: &[usize]) -> Option<(Premises, ReasonTree)> {
        if !self.are_in_context(lines) {
            return self.contradiction_by(Propagation::contradiction, system, lines);
        }
        let in_context = self.contradiction_by(Propagation::contradiction_in_context, system, lines);
        // It may depend on the channels of the other lines.
        in_context.filter(|(_, told)| told.lines.iter().all(|line| lines.contains(line))).or_else(|| {
            let (premises, told) = self.contradiction_by(Propagation::contradiction, system, lines)?;
            // A hidden channel may count if another line names it.
            Some((if premises.order { Premises::ALL } else { premises }, told))
        })
    }

    fn contradiction_by(&self, reason: Reason<'a>, system: &Host, lines: &[usize]) -> Option<(Premises, ReasonTree)> {
        let mut found = reason(self.records, system, lines)?;
        let mut premises = found.premises();
        if premises.system {
            match reason(self.records, &newest_host(system, self.pinned), lines) {
                Some(better) if !better.premises().system => (premises, found) = (better.premises(), better),
                // How far the system is raised depends on other packages, too.
                _ => premises = Premises::ALL,
            }
        }
        Some((premises, tree::render(&mut found)))
    }

    /// The lines of a contradiction, if one is found, else all of these lines. A contradiction that only holds for an
    /// old system is searched for again with the newer system that these lines accept.
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

    /// Removes lines while the others still have no solution: first many at a time, then one by one.
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
            // If other lines name channels, fewer lines may be unsolvable though more of them are solvable.
            if size == 1 && (core.len() == count || !self.are_in_context(&core)) {
                return UnsatCore { lines: core, newest, is_minimal: true };
            }
            size = (size / 2).max(1);
        }
    }

    /// The solver's own reasons, as text.
    fn solver_reasons(&self, lines: &[usize]) -> Option<String> {
        let text = self.refusal(lines)?.0.text(self.session.repodata);
        let count = text.lines().count();
        let shown = text.lines().take(MAX_REASON_LINES).join("\n");
        Some(if count > MAX_REASON_LINES {
            format!("{shown}\n… and {} more lines of reasons", count - MAX_REASON_LINES)
        } else {
            shown
        })
    }

    /// The solver's reasons without pruning, and the newest system that was tried.
    fn refusal(&self, lines: &[usize]) -> Option<(Reasons, Host)> {
        let specs = self.specs_of(lines);
        let (outcome, host) = self.session.solve_for_oldest(&specs, self.host, self.pinned);
        match outcome.or_else(|_| self.session.solve_unpruned(&specs, &host)) {
            Err(SolveFailure::Unsolvable(reasons)) => Some((reasons, host)),
            Err(SolveFailure::Exceeded(_)) | Ok(_) => None,
        }
    }

    fn line(&self, line: usize) -> RequirementLine {
        RequirementLine::of(self.records.environment(), line)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no set of packages for `{}` satisfies what ", self.platform)?;
        if self.file == Path::new(COMMAND_LINE) {
            write!(formatter, "is asked for")?;
        } else {
            write!(formatter, "`{}` asks for", self.file.display())?;
        }
        let apart = if self.conflicts.len() > 1 { ", for several reasons" } else { "" };
        write!(formatter, "{apart}:")?;
        for conflict in self.conflicts.iter().take(MAX_SHOWN_CONFLICTS) {
            write!(formatter, "\n{}\n{conflict}", conflict.reasons)?;
            for line in &conflict.lines {
                write!(formatter, "\n  {}", line.file.display())?;
                if line.has_line() {
                    write!(formatter, ":{}", line.location.line)?;
                }
                write!(formatter, ": {}", line.text)?;
            }
        }
        if self.conflicts.len() > MAX_SHOWN_CONFLICTS {
            let mut texts = self.conflicts.iter().skip(MAX_SHOWN_CONFLICTS).map(|conflict| {
                let together = if conflict.lines.len() > 1 { " together" } else { "" };
                let lines = conflict.lines.iter().map(|line| format!("`{}` ({line})", line.text)).join(" and ");
                format!("{lines}{together}")
            });
            let texts = texts.join(", ");
            write!(formatter, "\nand the same is true for {texts}")?;
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

impl fmt::Display for Conflict {
    /// The sentence above the lines.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.lines.len();
        let what = if self.lines.iter().all(RequirementLine::has_line) { "line" } else { "spec" };
        match (count, self.is_minimal) {
            (1, _) => write!(formatter, "this {what} alone has no solution:"),
            (2, true) => write!(formatter, "these 2 {what}s exclude each other:"),
            (_, true) => {
                write!(formatter, "these {count} {what}s cannot go together; without any one of them, the others can:")
            }
            (_, false) => {
                write!(
                    formatter,
                    "these {count} {what}s cannot go together (perhaps fewer do it: the search was cut short):"
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
