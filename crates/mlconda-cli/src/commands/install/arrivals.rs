//! Lists the packages that an installation adds, changes and removes, one per line, requested packages first.

use std::collections::{BTreeMap, BTreeSet};

use mlconda::{PrefixRecord, lock::Lock, plan::Plan, sorting::IntoTree};
use serde_json::{Value, json};

use crate::ui::Ui;

/// How many lines are printed without `-v`.
const SHOWN: usize = 12;

/// The change of a package.
pub(crate) struct Arrival {
    name: String,
    is_of_pip: bool,
    is_asked_for: bool,
    /// The old and the new package; at least one of them is set.
    old: Option<Pinned>,
    new: Option<Pinned>,
}

#[derive(PartialEq, Eq)]
struct Pinned {
    version: String,
    build: String,
}

/// All changes of a plan, those of requested packages first.
pub(crate) fn of(plan: &Plan, lock: &Lock) -> Vec<Arrival> {
    let asked: BTreeSet<String> = lock.specs.iter().map(|spec| name(spec)).into_tree();
    let mut found: BTreeMap<(bool, String), (Option<Pinned>, Option<Pinned>)> = BTreeMap::new();
    let old = |records: &[PrefixRecord]| -> Vec<(String, Pinned)> {
        let package = |record: &PrefixRecord| {
            let package = &record.repodata_record.package_record;
            let pinned = Pinned { version: package.version.to_string(), build: package.build.to_string() };
            (package.name.as_normalized().to_owned(), pinned)
        };
        records.iter().map(package).collect()
    };
    for (is_of_pip, records) in [(false, &plan.unlink), (true, &plan.pip.unlink)] {
        old(records)
            .into_iter()
            .for_each(|(name, pinned)| found.entry((is_of_pip, name)).or_default().0 = Some(pinned));
    }
    for package in &plan.link {
        let pinned = Pinned { version: package.version.clone(), build: package.build.clone() };
        found.entry((false, package.name.clone())).or_default().1 = Some(pinned);
    }
    for package in plan.pip.link.iter().chain(&plan.pip.build) {
        let pinned = Pinned { version: package.version.clone().unwrap_or_default(), build: String::new() };
        found.entry((true, package.name.clone())).or_default().1 = Some(pinned);
    }
    let mut arrivals: Vec<Arrival> = found
        .into_iter()
        .map(|((is_of_pip, name), (old, new))| {
            let asked = if is_of_pip { lock.pip_requested.contains(&name) } else { asked.contains(&name) };
            Arrival { is_of_pip, is_asked_for: asked && new.is_some(), name, old, new }
        })
        .collect();
    // Then changes and removals, then the other new packages.
    mlconda::sorting::sort_by_key(&mut arrivals, |arrival| (!arrival.is_asked_for, arrival.old.is_none()));
    arrivals
}

/// Prints the first changes, or with `-v` all.
pub(crate) fn tell(arrivals: &[Arrival], ui: &Ui) {
    if ui.wants_events() {
        return;
    }
    let is_short = !ui.is_verbose() && arrivals.len() > SHOWN + 1;
    let shown = if is_short { SHOWN } else { arrivals.len() };
    arrivals[..shown].iter().for_each(|arrival| ui.say_change(&arrival.line()));
    if is_short {
        ui.say(&format!("  and {} more; `-v` lists all", arrivals.len() - shown));
    }
}

impl Arrival {
    fn line(&self) -> String {
        let pip = if self.is_of_pip { " (pip)" } else { "" };
        let (mark, what) = match (&self.old, &self.new) {
            (None, Some(Pinned { version, .. })) => ('+', version.clone()),
            (Some(Pinned { version, .. }), None) => ('-', version.clone()),
            (Some(old), Some(new)) if old.version != new.version => {
                ('~', format!("{} -> {}", old.version, new.version))
            }
            (Some(old), Some(new)) if old.build != new.build && !self.is_of_pip => {
                ('~', format!("{} {} -> {}", new.version, old.build, new.build))
            }
            (_, new) => ('~', format!("{}, linked again", new.as_ref().map_or("", |new| &new.version))),
        };
        format!("{mark} {} {what}{pip}", self.name)
    }

    pub(crate) fn json(&self) -> Value {
        let side = |pinned: &Option<Pinned>| {
            pinned.as_ref().map(|Pinned { version, build }| json!({"version": version, "build": build}))
        };
        let kind = match (&self.old, &self.new) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        json!({
            "name": self.name,
            "manager": if self.is_of_pip { "pip" } else { "conda" },
            "kind": kind,
            "old": side(&self.old),
            "new": side(&self.new),
            "requested": self.is_asked_for,
        })
    }
}

/// The package name of a match spec.
fn name(spec: &str) -> String {
    let spec = spec.rsplit("::").next().unwrap_or(spec);
    let end = spec.find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(spec.len());
    spec[..end].to_lowercase()
}
