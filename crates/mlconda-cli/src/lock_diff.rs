//! Differences between two locks as lines, JSON and Markdown, for `lock` and `diff`.

use std::collections::BTreeMap;

use mlconda::{
    lock::{
        Lock,
        diff::{ChangeKind, Diff, Manager, PackageChange, PinnedPackage, SettingChange},
    },
    solve::ChangeReason,
};
use serde_json::{Value, json};

use crate::{
    escape,
    text::{bytes, count, enumerate},
};

/// Why each package changed, by name.
pub(crate) type Reasons = BTreeMap<String, String>;

/// The differences from the previous lock, with reasons; `None` without one. In a merge, the first side is compared.
pub(crate) fn since(before: &[Lock], lock: &Lock, why: &BTreeMap<String, ChangeReason>) -> Option<(Diff, Reasons)> {
    let mut reasons: Reasons = why.iter().map(|(name, why)| (name.clone(), why.to_string())).collect();
    if let [_, ours, theirs] = before {
        for package in lock.packages.iter().filter(|package| theirs.packages.iter().any(|it| it.url == package.url)) {
            reasons.insert(package.name.clone(), "taken from the other side".to_owned());
        }
        return Some((Diff::between(ours, lock), reasons));
    }
    before.first().map(|old| (Diff::between(old, lock), reasons))
}

/// One line for each change, with its reason if it is known.
pub(crate) fn lines(diff: &Diff, reasons: &Reasons) -> Vec<String> {
    let width = diff.changes.iter().map(|change| change.name.chars().count()).max().unwrap_or_default();
    let line = |change: &PackageChange| {
        let mark = match change.kind() {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            _ => ' ',
        };
        let reason = reasons.get(&change.name).filter(|_| change.manager == Manager::Conda);
        let reason = reason.map(|why| format!(": {why}")).unwrap_or_default();
        let pip = if change.manager == Manager::Pip { " (pip)" } else { "" };
        let line = format!("{mark} {:width$}  {}{pip}{reason}", change.name, between(change));
        escape::line(line.trim_end()).into_owned()
    };
    let packages = diff.changes.iter().map(line);
    packages.chain(diff.settings.iter().map(|setting| format!("  {}", escape::line(&in_words(setting))))).collect()
}

/// The old and the new state of a package: `1.26.4 → 2.0.1`.
fn between(change: &PackageChange) -> String {
    let (old, new) = match (&change.old, &change.new) {
        (Some(old), Some(new)) => (old, new),
        (Some(only), None) | (None, Some(only)) => return version(only),
        (None, None) => return String::new(),
    };
    match change.kind() {
        ChangeKind::Build => format!("{} {} → {}", version(old), build(old), build(new)),
        ChangeKind::Channel => format!("{} from `{}` → `{}`", version(old), channel(old), channel(new)),
        ChangeKind::Hash => format!("{} {}: another archive of the same name", version(old), build(old)),
        _ => format!("{} → {}", version(old), version(new)),
    }
}

fn version(pinned: &PinnedPackage) -> String {
    pinned.version.clone().unwrap_or_else(|| "any version".to_owned())
}

fn build(pinned: &PinnedPackage) -> &str {
    pinned.build.as_deref().unwrap_or_default()
}

/// The short name of a channel.
fn channel(pinned: &PinnedPackage) -> &str {
    pinned.channel.strip_prefix("https://conda.anaconda.org/").unwrap_or(&pinned.channel)
}

fn in_words(SettingChange { kind, name, old, new }: &SettingChange) -> String {
    let what = name.as_ref().map_or((*kind).to_owned(), |name| format!("{kind} `{name}`"));
    let shown = |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |value| format!("`{value}`"));
    format!("{what}: {} → {}", shown(old), shown(new))
}

/// A summary in one sentence.
pub(crate) fn summary(diff: &Diff) -> String {
    if diff.is_empty() {
        return format!("No differences: {}.", count(diff.unchanged, "package"));
    }
    let kinds: [(&str, &[ChangeKind]); 6] = [
        ("added", &[ChangeKind::Added]),
        ("removed", &[ChangeKind::Removed]),
        ("upgraded", &[ChangeKind::Upgraded]),
        ("downgraded", &[ChangeKind::Downgraded]),
        ("changed", &[ChangeKind::Changed]),
        ("of another build, channel or archive", &[ChangeKind::Build, ChangeKind::Channel, ChangeKind::Hash]),
    ];
    let counts = kinds.iter().map(|(words, kinds)| (diff.count(kinds), words)).filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts.map(|(number, words)| format!("{number} {words}")).collect();
    let size = match diff.sizes() {
        (Some(old), Some(new)) if old != new && !diff.changes.is_empty() => {
            let (difference, word) = if new > old { (new - old, "more") } else { (old - new, "less") };
            format!("; {} {word} to download", bytes(difference))
        }
        _ => String::new(),
    };
    let packages = match diff.changes.len() {
        0 => "No package differs".to_owned(),
        1 => format!("1 package differs ({})", enumerate(&counts)),
        number => format!("{} differ ({})", count(number, "package"), enumerate(&counts)),
    };
    let settings = match diff.settings.len() {
        0 => String::new(),
        number => format!(", and {}", count(number, "setting")),
    };
    format!("{packages}{settings}; {} the same{size}.", diff.unchanged)
}

/// The differences as Markdown, for a comment on a pull request.
pub(crate) fn markdown(diff: &Diff) -> String {
    let mut text = format!("{}\n", summary(diff));
    if !diff.changes.is_empty() {
        text.push_str("\n| | package | before | after |\n|---|---|---|---|\n");
    }
    for change in &diff.changes {
        let side = |pinned: &Option<PinnedPackage>| match (pinned, change.kind()) {
            (None, _) => String::new(),
            (Some(pinned), ChangeKind::Build | ChangeKind::Hash) => format!("{} {}", version(pinned), build(pinned)),
            (Some(pinned), ChangeKind::Channel) => format!("{} from {}", version(pinned), channel(pinned)),
            (Some(pinned), _) => version(pinned),
        };
        let pip = if change.manager == Manager::Pip { " (pip)" } else { "" };
        let cells = [format!("`{}`{pip}", change.name), side(&change.old), side(&change.new)];
        let cells: Vec<String> =
            cells.iter().map(|cell| escape::line(&cell.replace('|', "\\|")).into_owned()).collect();
        text.push_str(&format!("| {} | {} |\n", kind(change.kind()), cells.join(" | ")));
    }
    if !diff.settings.is_empty() {
        text.push('\n');
    }
    diff.settings.iter().for_each(|setting| text.push_str(&format!("- {}\n", escape::line(&in_words(setting)))));
    text
}

fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Upgraded => "upgraded",
        ChangeKind::Downgraded => "downgraded",
        ChangeKind::Changed => "changed",
        ChangeKind::Build => "build",
        ChangeKind::Channel => "channel",
        ChangeKind::Hash => "hash",
    }
}

/// The differences as JSON.
pub(crate) fn to_json(diff: &Diff, reasons: &Reasons) -> Value {
    let (old_size, new_size) = diff.sizes();
    json!({
        "changes": diff.changes.iter().map(|change| change_json(change, reasons)).collect::<Vec<_>>(),
        "settings": diff.settings.iter().map(setting_json).collect::<Vec<_>>(),
        "unchanged": diff.unchanged,
        "old_size": old_size,
        "new_size": new_size,
    })
}

fn change_json(change: &PackageChange, reasons: &Reasons) -> Value {
    let side = |pinned: &Option<PinnedPackage>| {
        pinned.as_ref().map(|PinnedPackage { version, build, channel, hash, size }| {
            json!({"version": version, "build": build, "channel": channel, "hash": hash, "size": size})
        })
    };
    let reason = reasons.get(&change.name).filter(|_| change.manager == Manager::Conda);
    json!({
        "name": change.name,
        "manager": match change.manager { Manager::Conda => "conda", Manager::Pip => "pip" },
        "kind": kind(change.kind()),
        "old": side(&change.old),
        "new": side(&change.new),
        "why": reason,
    })
}

fn setting_json(SettingChange { kind, name, old, new }: &SettingChange) -> Value {
    json!({"kind": kind, "name": name, "old": old, "new": new})
}
