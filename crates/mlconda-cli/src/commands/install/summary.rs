//! The messages and the JSON of `mlconda install` about a plan and its result.

use std::time::Instant;

use mlconda::{
    install::{Compiled, Forecast, LinkScript, MetadataOutcome, Report, ScriptAudit, UnmetVirtualPackage, forecast},
    plan::Plan,
    prefix::Prefix,
    slim::Part,
};
use serde_json::{Value, json};

use super::arrivals::{self, Arrival};
use crate::{
    context::Context,
    error::CliError,
    slim,
    text::{bytes, count, list, path_text},
    ui::Ui,
};

pub(crate) fn report_as_json(report: &Report, arrivals: &[Arrival], prefix: &Prefix, start: Instant) -> Value {
    let Compiled { modules, failed, unable, .. } = &report.compiled;
    json!({
        "prefix": path_text(prefix.path()),
        "linked": report.linked,
        "unlinked": report.unlinked,
        "unchanged": report.unchanged,
        "changes": arrivals.iter().map(Arrival::json).collect::<Vec<_>>(),
        "files": report.files,
        "bytes": report.bytes,
        "cached": report.cached,
        "shared_bytes": report.shared,
        "left_out": slim::to_json(&report.left_out),
        "clashes": report.clashes.iter().map(|clash| json!({"path": path_text(&clash.path), "packages": clash.packages})).collect::<Vec<_>>(),
        "replaced": report.replaced.iter().map(|path| path_text(path)).collect::<Vec<_>>(),
        "foreign_links": report.foreign_links.iter().map(|path| path_text(path)).collect::<Vec<_>>(),
        "outside": report.outside.iter().map(|(record, path)| json!({"record": path_text(record), "path": path_text(path)})).collect::<Vec<_>>(),
        "messages": report.messages.iter().map(|(package, text)| json!({"package": package, "text": text})).collect::<Vec<_>>(),
        "scripts": scripts_as_json(&report.scripts),
        "compiled": modules,
        "not_compiled": failed.iter().map(|(path, reason)| json!({"path": path_text(path), "reason": reason})).collect::<Vec<_>>(),
        "no_compiler": unable,
        "seconds": start.elapsed().as_secs_f64(),
    })
}

/// The scripts of packages that ran, and those that did not.
fn scripts_as_json(scripts: &ScriptAudit) -> Value {
    let link_scripts = |scripts: &[LinkScript]| -> Vec<Value> {
        scripts.iter().map(|LinkScript { package, kind }| json!({"package": package, "script": kind})).collect()
    };
    json!({
        "ran": link_scripts(&scripts.ran),
        "not_run": link_scripts(&scripts.not_run),
        "activation": scripts.activation.iter().map(|path| path_text(path)).collect::<Vec<_>>(),
        "built": scripts.built,
    })
}

/// Prints the scripts that ran, and those that did not.
fn tell_scripts(scripts: &ScriptAudit, ui: &Ui) {
    let packages = |scripts: &[LinkScript]| {
        let mut names: Vec<&str> = Vec::new();
        for LinkScript { package, .. } in scripts {
            if !names.contains(&package.as_str()) {
                names.push(package);
            }
        }
        (count(names.len(), "package"), list(&names))
    };
    if !scripts.ran.is_empty() {
        let (packages, names) = packages(&scripts.ran);
        ui.say(&format!("{packages} ran scripts: {names}."));
    }
    if !scripts.built.is_empty() {
        let packages = count(scripts.built.len(), "package");
        ui.say(&format!("{packages} ran code to be built by pip: {}.", list(&scripts.built)));
    }
    if !scripts.activation.is_empty() {
        let paths: Vec<String> = scripts.activation.iter().map(|path| path.display().to_string()).collect();
        ui.say(&format!("{} ran once: {}.", count(paths.len(), "activation script"), list(&paths)));
    }
    if !scripts.not_run.is_empty() {
        let (packages, names) = packages(&scripts.not_run);
        ui.say(&format!("{packages} brought scripts that were not run: {names}."));
    }
}

pub(crate) fn tell_plan(plan: &Plan, prefix: &Prefix, context: &Context) -> Value {
    let old: Vec<String> = plan
        .unlink
        .iter()
        .chain(&plan.pip.unlink)
        .map(|record| &record.repodata_record.package_record)
        .map(|record| format!("{}-{}-{}", record.name.as_normalized(), record.version, record.build))
        .collect();
    let mut new: Vec<String> = plan.link.iter().map(mlconda::lock::LockedPackage::dist_name).collect();
    new.extend(plan.pip.link.iter().chain(&plan.pip.build).map(mlconda::lock::LockedPip::dist_name));
    old.iter().for_each(|package| context.ui.say(&format!("- {package}")));
    new.iter().for_each(|package| context.ui.say(&format!("+ {package}")));
    let size = plan.download_size().map_or_else(String::new, |size| format!(" ({})", bytes(size)));
    context.ui.say(&format!(
        "Would link {}{size} and unlink {} in `{}`; {} would stay.",
        count(new.len(), "package"),
        old.len(),
        prefix.path().display(),
        plan.unchanged
    ));
    let forecast = tell_forecast(plan, prefix, context);
    json!({
        "prefix": path_text(prefix.path()), "dry_run": true, "link": new, "unlink": old, "unchanged": plan.unchanged,
        "slim": plan.slim.to_string(), "left_out": slim::to_json(&forecast.left_out), "left_out_unknown": forecast.unknown,
    })
}

/// Prints what would be left out, as far as it is known.
fn tell_forecast(plan: &Plan, prefix: &Prefix, context: &Context) -> Forecast {
    if plan.slim.is_empty() {
        return Forecast::default();
    }
    let forecast = forecast(plan, prefix, context.settings.package_cache().as_deref());
    if let Some(words) = slim::in_words(&forecast.left_out, forecast.bytes) {
        let more = if plan.slim.has(Part::Debug) { "; symbols are told when they are left out" } else { "" };
        context.ui.say(&format!("Would leave out {words}{more}."));
    }
    if forecast.unknown > 0 {
        let packages = count(forecast.unknown, "package");
        context.ui.say(&format!("What would be left out of {packages} is not known before the download."));
    }
    forecast
}

fn tell_compiled(compiled: &Compiled, context: &Context) {
    if let Some(reason) = &compiled.unable {
        context
            .ui
            .warn(&format!("modules are not compiled, because the environment's python does not run here: {reason}"));
    }
    // Templates have the name of a module, but are not python code: that they do not compile is expected.
    if let [(path, reason), others @ ..] = compiled.failed.as_slice() {
        let path = path.display();
        context.ui.say(&match others.len() {
            0 => format!("`{path}` has no byte code: {reason}"),
            others => format!("{} have no byte code, `{path}` for one: {reason}", count(1 + others, "module")),
        });
    }
}

/// How many replaced files are named without `-v`.
const MOST_REPLACED: usize = 10;

pub(crate) fn tell_report(report: &Report, arrivals: &[Arrival], prefix: &Prefix, start: Instant, context: &Context) {
    let ui = &context.ui;
    warn(report, ui);
    tell_compiled(&report.compiled, context);
    for (package, text) in &report.messages {
        ui.say(&format!("`{package}` says: {}", text.trim()));
    }
    let place = prefix.path().display();
    if report.linked == 0 && report.unlinked == 0 {
        let packages = count(report.unchanged, "package");
        ui.say(&match report.meta {
            MetadataOutcome::Unchanged => format!("`{place}` is up to date: {packages}."),
            MetadataOutcome::Written => {
                format!("The variables of `{place}` are updated; its packages are up to date: {packages}.")
            }
        });
        tell_scripts(&report.scripts, ui);
        return;
    }
    arrivals::tell(arrivals, ui);
    let others = match (report.unlinked, report.unchanged) {
        (0, 0) => String::new(),
        (unlinked, unchanged) => format!(", unlinked {unlinked}, kept {unchanged}"),
    };
    ui.say(&format!(
        "Linked {} in `{place}`{others}: {}, {}{}, in {:.1} s.",
        count(report.linked, "package"),
        count(report.files, "file"),
        bytes(report.bytes),
        saved(report),
        start.elapsed().as_secs_f64()
    ));
    if let Some(words) = slim::in_words(&report.left_out, report.bytes) {
        ui.say(&format!("Left out {words}."));
    }
    tell_scripts(&report.scripts, ui);
}

/// Prints which activation scripts ran, and why their variables are not stored, if an installation had nothing else to
/// do.
pub(crate) fn tell_activation(report: &Report, ui: &Ui) {
    tell_scripts(&report.scripts, ui);
    warn(report, ui);
}

/// Prints warnings about an installation.
fn warn(report: &Report, ui: &Ui) {
    for clash in &report.clashes {
        let (path, winner) = (clash.path.display(), clash.packages.last().map_or("", String::as_str));
        ui.warn(&format!("{} hold `{path}`; the file of `{winner}` is there", list(&clash.packages)));
    }
    for path in &report.foreign_links {
        let path = path.display();
        ui.warn(&format!(
            "`{path}` is a link that belongs to no package; files of packages behind the link were not removed"
        ));
    }
    for (record, path) in &report.outside {
        let (record, path) = (record.display(), path.display());
        ui.warn(&format!(
            "the record `{record}` names `{path}`, which is outside the prefix; that file was not removed"
        ));
    }
    // If the record is missing, all files of the package are untracked.
    let shown = if ui.is_verbose() { report.replaced.len() } else { report.replaced.len().min(MOST_REPLACED) };
    for path in &report.replaced[..shown] {
        ui.warn(&format!("`{}` belonged to no package, and was replaced by a file of a package", path.display()));
    }
    if shown < report.replaced.len() {
        let others = count(report.replaced.len() - shown, "other file");
        ui.warn(&format!("the same is true for {others}; `-v` lists all"));
    }
    for unmet in &report.unmet {
        let UnmetVirtualPackage { package, need, found } = unmet;
        ui.warn(&format!("`{package}` needs `{need}`, and this machine has {found}"));
    }
    if let Some(copy) = &report.damaged_state {
        ui.warn(&format!(
            "the variables of the environment could not be read, and are those of the lock now; the old file is `{}`",
            copy.display()
        ));
    }
    if let Some(reason) = &report.activation_error {
        ui.warn(&format!("variables of activation scripts are not recorded for images without a shell: {reason}"));
    }
}

/// The error after a signal: it stopped the installation into `prefix`, after those into `done` were complete.
pub(crate) fn stopped<'a>(signal: u8, prefix: &Prefix, done: impl Iterator<Item = &'a Prefix>) -> CliError {
    let done: Vec<String> = done.map(|prefix| prefix.path().display().to_string()).collect();
    let installed = match done.len() {
        0 => String::new(),
        1 => format!("{} is installed", list(&done)),
        _ => format!("{} are installed", list(&done)),
    };
    // A prefix that could not be restored has records, but is not an environment, because its history is missing.
    let is_whole = prefix.is_environment() || prefix.installed().is_ok_and(|installed| installed.is_empty());
    let (message, hint) = match (is_whole, done.is_empty()) {
        (true, true) => return CliError::Stopped(signal),
        (true, false) => (format!("stopped; {installed}, and nothing else was changed"), None),
        (false, is_first) => {
            let others = if is_first { String::new() } else { format!("; {installed}") };
            let message = format!("stopped; `{}` is incomplete{others}", prefix.path().display());
            (message, Some("run the command again: it completes the prefix".to_owned()))
        }
    };
    CliError::StoppedHalfway { signal, message, hint }
}

/// The same, for a signal after the last step.
pub(crate) fn stopped_late(signal: u8, prefix: &Prefix) -> CliError {
    let message = format!("stopped after `{}` was installed", prefix.path().display());
    CliError::StoppedHalfway { signal, message, hint: None }
}

/// The bytes that an installation did not have to download or write.
fn saved(report: &Report) -> String {
    let shared = (report.shared > 0).then(|| format!("{} of it shared by hard link", bytes(report.shared)));
    let cached = (report.cached > 0).then(|| format!("{} from the cache", count(report.cached, "package")));
    let saved: Vec<String> = shared.into_iter().chain(cached).collect();
    if saved.is_empty() { String::new() } else { format!(" ({})", saved.join(", ")) }
}

/// Prints how many bytes several environments share.
pub(super) fn tell_total(reports: &[Value], context: &Context) {
    let shared: u64 = reports.iter().filter_map(|report| report["shared_bytes"].as_u64()).sum();
    if reports.len() > 1 && shared > 0 {
        let environments = count(reports.len(), "environment");
        context.ui.say(&format!("{environments} share files by hard link, which saves {}.", bytes(shared)));
    }
}
