//! `mlconda install`: installs locks into prefixes.

mod args;
pub(crate) mod arrivals;
#[cfg(feature = "lock")]
mod environments;
mod locks;
#[cfg(not(feature = "lock"))]
mod no_environments;
mod reinstall;
pub(crate) mod summary;

#[cfg(not(feature = "lock"))]
use no_environments as environments;
use std::{path::Path, process::ExitCode, sync::Arc, time::Instant};

use mlconda::{
    host::Host,
    install::{InstallError, Options, Report, Scripts, Sharing},
    network::Client,
    plan::{Plan, Reinstall},
    prefix::Prefix,
};
use serde_json::{Value, json};

pub(crate) use self::args::Args;
#[cfg(not(feature = "lock"))]
pub(super) use self::args::INPUTS;
use self::locks::Target;
use super::verify::Proof;
use crate::{context::Context, error::CliError, progress::Display, signals, slim, text::list};

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let host = Host::detect(Path::new("/"));
    let platform = args.platform.unwrap_or(host.platform);
    let mut locks = locks::choose(locks::read_all(&args, platform, context)?, platform)?;
    slim::apply(&args.slim, locks.iter_mut().map(|(_, lock)| lock), context);
    let targets = locks::targets(locks, &args, context)?;
    let reinstall = reinstall::chosen(&args, &targets)?;
    let sharing = if args.dry_run { None } else { sharing(&targets, &reinstall, (&host, &args), context)? };
    let (mut reports, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for (number, target) in targets.iter().enumerate() {
        let report = install_one(target, (sharing.clone(), &reinstall), &host, &args, context);
        let mut report = report.map_err(|error| match error {
            CliError::Stopped(signal) => {
                let done = targets[..number].iter().map(|target| &target.prefix);
                summary::stopped(signal, &target.prefix, done)
            }
            error => error,
        })?;
        if let Some(signal) = signals::told()
            && (args.verify || number + 1 < targets.len())
        {
            return Err(summary::stopped_late(signal, &target.prefix));
        }
        if args.verify {
            let proof = Proof::of(&target.prefix, Some(&target.lock), args.threads, context)?;
            report["verified"] = tell_proof(&proof, target, &args, context)?;
            if !proof.report.is_ok() {
                code = ExitCode::from(1);
            }
        }
        reports.push(report);
    }
    summary::tell_total(&reports, context);
    if args.json {
        context.ui.json(&reports)?;
    }
    Ok(code)
}

/// The packages that the environments of one command share; `None` for a single environment.
fn sharing(
    targets: &[Target],
    reinstall: &Reinstall,
    (host, args): (&Host, &Args),
    context: &Context,
) -> Result<Option<Arc<Sharing>>, CliError> {
    if targets.len() < 2 {
        return Ok(None);
    }
    let plans = targets.iter().map(|target| plan(target, reinstall, (host, args), context).map(|(plan, _)| plan));
    let plans: Vec<Plan> = plans.collect::<Result<_, CliError>>()?;
    let plans: Vec<_> = plans.iter().zip(targets).map(|(plan, target)| (plan, &target.prefix)).collect();
    Ok(Sharing::between(&plans, context.settings.package_cache().as_deref()).map(Arc::new))
}

/// The plan for an environment, and the names of packages that are linked again only because scripts did not run.
fn plan(
    Target { lock, prefix, .. }: &Target,
    reinstall: &Reinstall,
    (host, args): (&Host, &Args),
    context: &Context,
) -> Result<(Plan, Vec<String>), CliError> {
    let plan = Plan::reinstalling(lock, prefix, reinstall)?;
    if plan.scripts_not_run.is_empty() || args.scripts(lock, host, context) == Scripts::Skip {
        return Ok((plan, Vec::new()));
    }
    let with_scripts = Plan::reinstalling(lock, prefix, &reinstall.with(&plan.scripts_not_run))?;
    let has = |plan: &Plan, name: &str| plan.link.iter().any(|package| package.name == name);
    let is_for_scripts = |name: &&String| has(&with_scripts, name) && !has(&plan, name);
    let again = plan.scripts_not_run.iter().filter(is_for_scripts).cloned().collect();
    Ok((with_scripts, again))
}

fn install_one(
    target: &Target,
    (sharing, reinstall): (Option<Arc<Sharing>>, &Reinstall),
    host: &Host,
    args: &Args,
    context: &Context,
) -> Result<Value, CliError> {
    let (start, Target { lock, prefix, .. }) = (Instant::now(), target);
    if !args.dry_run {
        mlconda::install::recover(prefix)?;
    }
    let (plan, again) = plan(target, reinstall, (host, args), context)?;
    if !again.is_empty() {
        let what = if again.len() == 1 { "it is" } else { "they are" };
        context.ui.say(&format!("Scripts of {} did not run before; {what} linked again to run them.", list(&again)));
    }
    if args.dry_run {
        return Ok(summary::tell_plan(&plan, prefix, context));
    }
    let report = carry_out(&plan, prefix, &args.options(lock, host, sharing, context)?, context)?;
    let arrivals = arrivals::of(&plan, lock);
    summary::tell_report(&report, &arrivals, prefix, start, context);
    let mut event = summary::report_as_json(&report, &arrivals, prefix, start);
    event["event"] = json!("finished");
    context.ui.event(&event);
    event.as_object_mut().map(|fields| fields.remove("event"));
    Ok(event)
}

/// Installs by a plan, if it changes anything.
pub(crate) fn carry_out(
    plan: &Plan,
    prefix: &Prefix,
    options: &Options,
    context: &Context,
) -> Result<Report, CliError> {
    if mlconda::install::has_nothing_to_do(plan, prefix, options) {
        return Ok(Report { unchanged: plan.unchanged, ..Report::default() });
    }
    let display = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    let installing = mlconda::install::install(plan, &client, prefix, options, &display);
    match context.install_or_signal(&options.stop, installing) {
        // The change is complete, although the signal came before the last messages.
        Err(CliError::Stopped(signal)) if options.stop.is_too_late() && prefix.is_environment() => {
            Err(summary::stopped_late(signal, prefix))
        }
        Ok(Err(InstallError::Stopped)) => Err(CliError::Stopped(signals::told().unwrap_or_default())),
        outcome => Ok(outcome??),
    }
}

fn tell_proof(proof: &Proof, target: &Target, args: &Args, context: &Context) -> Result<Value, CliError> {
    proof.tell(context);
    proof.tell_remedy(target.file.as_deref(), context);
    let mut event = proof.json();
    event["event"] = json!("verified");
    context.ui.event(&event);
    if !args.json {
        context.ui.text(&proof.lines())?;
    }
    Ok(proof.json())
}
