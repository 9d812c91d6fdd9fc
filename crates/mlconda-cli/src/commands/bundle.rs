//! `mlconda bundle`: locks with all their archives in one file, for machines without a network.

mod locks;

use std::{num::NonZero, path::PathBuf, process::ExitCode, thread, time::Instant};

use mlconda::{
    Subdir,
    bundle::{BundleError, Contents, Environment, Made, Program, Recipe, contents, make},
    host::Host,
    image::{ImageError, check_program},
    install::{InstallError, Stop},
    network::Client,
    repodata::Access,
};
use serde_json::json;

use crate::{
    bundles,
    context::Context,
    error::CliError,
    lock_selection::{self, SelectionArgs},
    progress::Display,
    signals,
    text::{bytes, count, path_text, path_word},
};

/// The end of `-h`.
const SHORT: &str = "\
Examples:
  mlconda bundle env.lock -o env.bundle            then, where there is no network: mlconda install env.bundle
  mlconda bundle env.lock --self -o env.run        one executable: ./env.run -p /opt/env
  mlconda bundle --verify env.bundle               is it as it was written?

`--help` has all options and more examples; docs/bundle.md goes through it step by step.";

/// Put locks and all their archives into one file, for machines without a network
///
/// `mlconda install FILE` and `mlconda image FILE` take the file in the place of a lock, and need nothing else. Every archive
/// is checked against the lock, when the file is made and when something is installed from it. The same locks give the same
/// bytes.
///
/// The file is a tar. Unpacked, `channel/` in it is a channel, from which conda, mamba and pixi install, and `environment.yml`
/// names the packages.
///
/// If this is stopped or fails, what has arrived stays in `FILE.partial`, and the same command goes on with it.
#[derive(Debug, clap::Args)]
#[command(after_help = SHORT, after_long_help = "\
Examples:
  mlconda bundle env.lock -o env.bundle
  mlconda bundle env.linux-64.lock env.linux-aarch64.lock -o env.bundle
  mlconda bundle pixi.lock --platform linux-64 --platform linux-aarch64 -o env.bundle
  mlconda bundle env.lock --self -o env.run
  mlconda bundle env.lock --self --mlconda mlconda-aarch64 -o env.run
  mlconda bundle env.lock --dry-run
  mlconda bundle --verify env.bundle

On the other machine:
  mlconda install env.bundle -p /opt/env
  mlconda image env.bundle --base scratch --tag ml --output ml.tar
  ./env.run -p /opt/env
  tar xf env.bundle && conda env create -p /opt/env -f environment.yml --offline")]
pub(crate) struct Args {
    /// Lock files (@EXPLICIT, conda-lock.yml or pixi.lock)
    #[arg(value_name = "LOCK", required = true)]
    inputs: Vec<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["dry_run", "verify"])]
    output: Option<PathBuf>,
    /// Put this program in front: one executable, which installs the environment on a machine without mlconda
    #[arg(long = "self")]
    is_executable: bool,
    /// The program to put in front, for another platform: a static mlconda
    #[arg(long, value_name = "FILE", requires = "is_executable", hide_short_help = true)]
    mlconda: Option<PathBuf>,
    /// Of a lock for several platforms, take these (repeatable) [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platforms: Vec<Subdir>,
    /// Check that every byte of bundles is as it was written, and write nothing
    #[arg(long, conflicts_with_all = ["output", "is_executable", "dry_run", "platforms"])]
    verify: bool,
    /// Say what would be in it, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Take archives from an unfinished file and from local files only, not from the network
    #[arg(long)]
    offline: bool,
    /// The number of parallel downloads
    #[arg(long, value_name = "N", default_value = "8", hide_short_help = true)]
    downloads: NonZero<usize>,
    /// The number of threads that copy and hash [default: one per core]
    #[arg(long, value_name = "N", hide_short_help = true)]
    threads: Option<NonZero<usize>>,
    #[command(flatten)]
    selection: SelectionArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    if args.verify {
        return verify(&args, context);
    }
    let start = Instant::now();
    let host = Host::detect(std::path::Path::new("/"));
    let environments = locks::read_all(&args, &host, context)?;
    let Some(output) = args.output.as_ref().filter(|_| !args.dry_run) else {
        tell_contents(&contents(&environments)?, &environments, &args, context)?;
        return Ok(ExitCode::SUCCESS);
    };
    if output.as_os_str() == "-" {
        return Err(CliError::Usage("a bundle cannot be written to stdout: name a file with `-o FILE`".to_owned()));
    }
    if context.settings.absolute(output).is_dir() {
        let message = format!("`{}` is a directory", output.display());
        return Err(CliError::world(
            message,
            format!("name a file in it: `-o {}`", path_word(&output.join("env.bundle"))),
        ));
    }
    let recipe = Recipe {
        archives: bundles::archives(&args.inputs, context)?,
        program: program(&args, &environments, context)?,
        environments,
        output: context.settings.absolute(output),
        downloads: args.downloads,
        threads: threads(args.threads),
        access: if args.offline { Access::Offline } else { Access::Online },
        stop: Stop::default(),
    };
    let made = write(&recipe, context)?;
    tell_made(&made, &recipe, start, &args, context)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn threads(typed: Option<NonZero<usize>>) -> NonZero<usize> {
    typed.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}

/// The program to which the bundle is appended.
fn program(args: &Args, environments: &[Environment], context: &Context) -> Result<Option<Program>, CliError> {
    if !args.is_executable {
        return Ok(None);
    }
    let platform = match environments {
        [first, others @ ..] if others.iter().all(|other| other.lock.platform == first.lock.platform) => {
            first.lock.platform
        }
        _ => {
            let message = "one executable cannot be for several platforms";
            return Err(CliError::world(message, "make one of each lock, or a bundle without `--self`"));
        }
    };
    if !platform.is_linux() && platform != Subdir::NoArch {
        let message = format!("`--self` makes programs for Linux, and the lock is for {platform}");
        return Err(CliError::world(message, "make a bundle without `--self`, and install it with `mlconda install`"));
    }
    let file = args.mlconda.as_ref().map(|file| context.settings.absolute(file));
    let file = file.or_else(|| context.settings.program.clone());
    let file =
        file.ok_or_else(|| CliError::world("mlconda cannot find its own program file", "name it with `--mlconda`"))?;
    check_program(&file, platform).map_err(|error| match error {
        ImageError::WrongProgram { .. } => {
            CliError::world(error.to_string(), "name a static mlconda for that platform with `--mlconda FILE`")
        }
        ImageError::Io(error) => BundleError::File(error).into(),
        error => error.into(),
    })?;
    let program = Program::open(&file)?;
    if let Some(interpreter) = program.interpreter()? {
        context.ui.warn(&format!(
            "`{}` is not static: it runs only where there is the dynamic loader `{interpreter}`",
            file.display()
        ));
    }
    Ok(Some(program))
}

fn write(recipe: &Recipe, context: &Context) -> Result<Made, CliError> {
    let display = Display::new(&context.ui);
    let client = Client::new(&context.settings.network_options()?)?;
    let outcome = context.keep_or_signal(&recipe.stop, make(recipe, &client, &display));
    drop(display);
    let has_begun =
        matches!(outcome, Ok(Err(BundleError::Install(_) | BundleError::File(_))) | Err(CliError::Stopped(_)));
    let outcome = match outcome {
        Ok(Err(BundleError::Install(InstallError::Stopped))) => {
            Err(CliError::Stopped(signals::told().unwrap_or_default()))
        }
        Ok(made) => made.map_err(Into::into),
        Err(error) => Err(error),
    };
    let partial = recipe.partial();
    if !has_begun || !partial.is_file() {
        return outcome;
    }
    let (kept, hint) = (format!("`{}` keeps what has arrived", partial.display()), "the same command goes on with it");
    match outcome {
        Err(CliError::Stopped(signal)) => {
            let (message, hint) = (format!("stopped; {kept}"), Some(hint.to_owned()));
            Err(CliError::StoppedHalfway { signal, message, hint })
        }
        outcome => {
            context.ui.say(&format!("{kept}; {hint}."));
            outcome
        }
    }
}

/// The platforms of the locks, each once.
fn platforms(environments: &[Environment]) -> Vec<&str> {
    let mut names: Vec<&str> = environments.iter().map(|each| each.lock.platform.as_str()).collect();
    mlconda::sorting::sort(&mut names);
    names.dedup();
    names
}

fn tell_contents(
    found: &Contents,
    environments: &[Environment],
    args: &Args,
    context: &Context,
) -> Result<(), CliError> {
    let size: Option<u64> = found.archives.iter().map(|(_, size)| *size).sum();
    if args.json {
        let archives = found.archives.iter().map(|(path, size)| json!({"path": path, "size": size}));
        let archives: Vec<_> = archives.collect();
        return context.ui.json(&json!({"dry_run": true, "platforms": platforms(environments), "archives": archives}));
    }
    let mut text = String::new();
    for (path, size) in &found.archives {
        let size = size.map_or_else(|| "?".to_owned(), bytes);
        text.push_str(&format!("{size:>10}  {path}\n"));
    }
    context.ui.text(&text)?;
    let size = size.map(|size| format!(", {}", bytes(size))).unwrap_or_default();
    let (archives, locks) = (count(found.archives.len(), "archive"), count(environments.len(), "lock"));
    context.ui.say(&format!("A bundle of {locks} would have {archives}{size}."));
    Ok(())
}

fn tell_made(made: &Made, recipe: &Recipe, start: Instant, args: &Args, context: &Context) -> Result<(), CliError> {
    let Made { packages, kept, size } = *made;
    let platforms = platforms(&recipe.environments);
    let shown = args.output.as_deref().unwrap_or(&recipe.output);
    if args.json {
        context.ui.json(&json!({
            "file": path_text(&recipe.output),
            "platforms": platforms,
            "packages": packages,
            "kept": kept,
            "bytes": size,
            "seconds": start.elapsed().as_secs_f64(),
        }))?;
    }
    let before = if kept > 0 { format!(" ({kept} of an earlier run)") } else { String::new() };
    let (packages, locks) = (count(packages, "package"), count(recipe.environments.len(), "lock"));
    context.ui.say(&format!(
        "Put {packages}{before} of {locks} for {} into `{}`: {}, in {:.1} s.",
        mlconda_list(&platforms),
        shown.display(),
        bytes(size),
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn mlconda_list(platforms: &[&str]) -> String {
    crate::text::enumerate(&platforms.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

/// Verifies bundles.
fn verify(args: &Args, context: &Context) -> Result<ExitCode, CliError> {
    let mut reports = Vec::new();
    for file in &args.inputs {
        let start = Instant::now();
        let Some(bundle) = bundles::open(file, context)? else {
            let message = format!("`{}` is not a bundle", file.display());
            return Err(CliError::world(
                message,
                "`mlconda verify` verifies environments; `mlconda bundle` makes bundles",
            ));
        };
        let size = prove(&bundle, threads(args.threads), context)?;
        let packages = count(bundle.packages(), "package");
        let seconds = start.elapsed().as_secs_f64();
        let shown = file.display();
        context.ui.say(&format!("`{shown}` is intact: {packages}, {}, in {seconds:.1} s.", bytes(size)));
        reports
            .push(json!({"file": path_text(file), "packages": bundle.packages(), "bytes": size, "seconds": seconds}));
    }
    if args.json {
        context.ui.json(&reports)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Verifies all bytes of a bundle. Returns its size in bytes.
pub(crate) fn prove(
    bundle: &mlconda::bundle::Bundle,
    threads: NonZero<usize>,
    context: &Context,
) -> Result<u64, CliError> {
    let (stop, display) = (Stop::default(), Display::new(&context.ui));
    let proving = async { bundle.verify(threads, &stop, &display) };
    let outcome = context.keep_or_signal(&stop, proving);
    context.ui.take_bar_away();
    match outcome? {
        Err(BundleError::Install(InstallError::Stopped)) => Err(CliError::Stopped(signals::told().unwrap_or_default())),
        size => Ok(size?),
    }
}
