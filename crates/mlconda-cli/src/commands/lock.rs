//! `mlconda lock`: what an environment.yml means today, pinned in a file.

pub(crate) mod check;
mod formats;
mod previous;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use mlconda::{
    Subdir,
    environment::Environment,
    lock::{
        ArchiveOrigin, Digest, DirectoryMode, Lock, LockError, LockFormat, LockedPackage, LockedPip, PipSource, Written,
    },
    solve::Upgrade,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    lock_diff, lock_selection,
    locking::{self, Cache, Locked, LockingArgs},
    signals,
    text::{bytes, count, list, path_text},
};

/// The largest file that is looked at for dependencies, in bytes, how many files are looked at, and how many are named.
const LARGEST_LOOKED_AT: u64 = 1 << 20;
const LOOKED_AT: usize = 100;
const SHOWN: usize = 3;

/// Solve an environment.yml and pin the answer
///
/// Reads the environment, loads the repodata of its channels, solves, and writes a lock: every package by
/// its URL and sha256, dependencies first, for one platform. The same input and the same channels give the
/// same bytes. The lock is an @EXPLICIT file: mlconda, conda and mamba install it without solving.
///
/// Where there is a lock already, as little of it changes as must: a package stays as it was locked for as long as that
/// answers the environment. `--update` renews packages, or all of them.
///
/// The answer depends on the platform, never on the machine that locks: what is assumed of the target (its
/// glibc, kernel, macOS, processor) is declared, and written in the lock. A GPU is never assumed; declare it
/// with `--virtual-package`.
///
/// A `pip:` list is locked with it, for the same platform and the python that was solved for. uv resolves it: the one that
/// `MLCONDA_UV` names or `PATH` has, else the package `uv` of the channels, which is put into the cache. Indexes are
/// those of the list, of uv's and pip's variables, and of `pip.conf`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = SHORT, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The environment [default: environment.yml or environment.yaml here]; several files are merged into one
    #[arg(value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The lock to write; with several platforms, `env.lock` stands for `env.linux-64.lock` and so on. conda-lock and pixi
    /// have one file for all, `conda-lock.yml` and `pixi.lock` if none is named
    #[arg(short, long, value_name = "FILE", default_value = "env.lock")]
    #[arg(default_value_ifs = [("format", "conda-lock", "conda-lock.yml"), ("format", "pixi", "pixi.lock")])]
    output: PathBuf,
    /// The format of the lock: `explicit`, `conda-lock` or `pixi`; what it cannot hold is said [default: that of the lock
    /// that is there, else explicit]
    #[arg(long, value_name = "FORMAT", hide_short_help = true)]
    format: Option<LockFormat>,
    /// Lock what is installed in this directory, instead of solving
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["inputs", "files", "platforms"], hide_short_help = true)]
    from_prefix: Option<PathBuf>,
    /// Lock for this platform (repeatable) [default: the `platforms:` of the file, else this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platforms: Vec<Subdir>,
    /// Renew these packages, and what they force to change; without a name, everything. FILE stands before it
    #[arg(short, long, value_name = "NAME", num_args = 0.., conflicts_with = "from_prefix")]
    update: Option<Vec<String>>,
    /// Lock nothing: say whether the lock still answers the file, with exit code 0, or 1 and the reasons. No network is
    /// asked
    #[arg(long, conflicts_with_all = ["update", "dry_run", "resolve_conflict", "from_prefix"])]
    check: bool,
    /// The lock holds git's conflict markers: lock anew, and keep what both sides have, or else the newer, where it can
    #[arg(long, hide_short_help = true)]
    resolve_conflict: bool,
    #[command(flatten)]
    locking: LockingArgs,
    /// Print the lock instead of writing it
    #[arg(long)]
    dry_run: bool,
    /// Print the locks as JSON
    #[arg(long)]
    json: bool,
}

/// What `-h` ends with.
const SHORT: &str = "\
Examples:
  mlconda lock                                     environment.yml to env.lock
  mlconda lock --platform linux-64                 on a Mac, for a container
  mlconda lock --update numpy pandas               the newest of these; others only where they must

`--help` has all options and more examples.";

const EXAMPLES: &str = "\
Examples:
  mlconda lock                                     environment.yml to env.lock
  mlconda lock --platform linux-64                 on a Mac, for a container
  mlconda lock --platform linux-64 --platform linux-aarch64
  mlconda lock --virtual-package __cuda=12.4       for machines with a GPU
  mlconda lock gpu.yml -o gpu.lock -c https://conda.example.org/lab
  mlconda lock base.yml train.yml                  both as one environment; -f base.yml -f train.yml as well
  mlconda lock --update                            the newest of everything
  mlconda lock --update numpy pandas               the newest of these; others only where they must
  mlconda lock --check                             does env.lock still answer environment.yml? 1 if not
  mlconda lock --resolve-conflict                  after a merge that both sides have locked for
  mlconda lock --format pixi                       a pixi.lock; `mlconda convert` makes one of a lock that is there
  mlconda lock --from-prefix /opt/conda/envs/ml    what is installed there
  mlconda lock --dry-run                           see what it would pin";

pub(crate) fn run(mut args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let start = Instant::now();
    args.format = args.format.or_else(|| formats::of_file(&args.output, context));
    if let Some(prefix) = &args.from_prefix {
        return formats::of_prefix(prefix, &args, context);
    }
    let files = input(&args, context)?;
    let environment = locking::read(&files, &args.locking, context)?;
    if args.check {
        return check::run(&args, &files, &environment, context);
    }
    make(&args, &environment, start, None, context)?;
    // Whoever locks on another system than Linux mostly does so for a container.
    if args.platforms.is_empty() && environment.platforms.is_empty() && !cfg!(target_os = "linux") {
        context.ui.hint("this is a lock for the machine at hand; for a container, add `--platform linux-64`");
    }
    Ok(ExitCode::SUCCESS)
}

/// Locks an environment whose file is being changed, for the platforms that it names, else those of the lock that is there.
/// `write` writes the file, when all is solved and before any lock is written. The locks' files are told.
pub(super) fn of_edited(
    environment: &Environment,
    output: &Path,
    locking: LockingArgs,
    dry_run: bool,
    write: &dyn Fn() -> Result<(), CliError>,
    context: &Context,
) -> Result<Vec<PathBuf>, CliError> {
    let mut args = Args { output: output.to_owned(), locking, dry_run, ..Args::default() };
    args.format = formats::of_file(output, context);
    if environment.platforms.is_empty() && context.settings.absolute(output).is_file() {
        args.platforms = lock_selection::read(output, context).map(|locks| locks.platforms()).unwrap_or_default();
        args.platforms.retain(|platform| *platform != Subdir::NoArch);
    }
    make(&args, environment, Instant::now(), Some(write), context)
}

/// Solves, writes the locks and tells of them; their files are the value.
fn make(
    args: &Args,
    environment: &Environment,
    start: Instant,
    first: Option<&dyn Fn() -> Result<(), CliError>>,
    context: &Context,
) -> Result<Vec<PathBuf>, CliError> {
    let platforms = platforms(&args.platforms, environment)?;
    let before = previous::read(args, environment, &platforms, context)?;
    let locked = locking::lock(environment, &platforms, &before, &args.locking, Cache::Make, context)?;
    first.filter(|_| !args.dry_run).map_or(Ok(()), |first| first())?;
    let one_each = formats::is_one_each(args.format());
    let of_all = if one_each { None } else { formats::write(&locked, args, context)? };
    let mut printed = Vec::new();
    let outputs = args.outputs(&platforms);
    for (index, (Locked { lock, why }, output)) in locked.iter().zip(&outputs).enumerate() {
        let written = match args.dry_run || !one_each {
            true => of_all,
            false => Some(write(lock, output, context)?),
        };
        let mut value = to_json(lock, output, written);
        if let Some((diff, reasons)) = lock_diff::since(before.of(index), lock, why) {
            lock_diff::lines(&diff, &reasons).iter().for_each(|line| context.ui.say_change(line));
            value["changes"] = lock_diff::to_json(&diff, &reasons)["changes"].take();
        }
        printed.push(value);
        if args.dry_run && !args.json && one_each && first.is_none() {
            context.ui.data(lock.to_text())?;
        }
        context.ui.say(&summary(lock, output, written, start));
    }
    if args.json {
        context.ui.json(&json!({ "locks": printed }))?;
    }
    Ok(outputs)
}

impl Args {
    fn format(&self) -> LockFormat {
        self.format.unwrap_or(LockFormat::Explicit)
    }

    /// The lock's file of each platform: where the format holds one lock, one each.
    fn outputs(&self, platforms: &[Subdir]) -> Vec<PathBuf> {
        let count = if formats::is_one_each(self.format()) { platforms.len() } else { 1 };
        platforms.iter().map(|platform| output(&self.output, *platform, count)).collect()
    }

    /// What is to be renewed.
    fn renew(&self) -> Result<Upgrade, CliError> {
        match &self.update {
            None => Ok(Upgrade::AsNeeded),
            Some(names) if names.is_empty() => Ok(Upgrade::All),
            Some(names) => match names.iter().find(|name| name.ends_with(".yml") || name.ends_with(".yaml")) {
                Some(file) => Err(CliError::Usage(format!(
                    "`{file}` behind `--update` is taken for a package: put the file before it"
                ))),
                None => Ok(Upgrade::Packages(names.iter().map(|name| name.to_lowercase()).collect())),
            },
        }
    }
}

fn write(lock: &Lock, output: &Path, context: &Context) -> Result<Written, CliError> {
    signals::whole(|| lock.write(&context.settings.absolute(output))).map_err(|error| match error {
        // It names a temporary file, which says nothing to anyone.
        LockError::File(error) => CliError::world(
            format!("cannot write the lock `{}`: {}", output.display(), error.kind()),
            "name a file in a directory that can be written to, with `-o`",
        ),
        other => other.into(),
    })
}

/// The files that were typed, else the one that is here.
fn input(args: &Args, context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let typed: Vec<PathBuf> = args.inputs.iter().chain(&args.locking.files).cloned().collect();
    // The name tells nothing: the usual name of one kind of lock ends as that of an environment does.
    let is_lock = |file: &&PathBuf| lock_selection::kind_of_file(&context.settings.absolute(file)).is_some();
    if let Some(lock) = typed.iter().find(is_lock) {
        let name = lock.display();
        return Err(CliError::world(
            format!("`{name}` is a lock, and an environment is what is locked"),
            format!("name the environment.yml, and the lock with `-o {name}`; `mlconda convert` converts locks"),
        ));
    }
    if !typed.is_empty() {
        return Ok(typed);
    }
    let usual = ["environment.yml", "environment.yaml"].map(PathBuf::from);
    let here = usual.into_iter().find(|file| context.settings.absolute(file).is_file());
    here.map(|file| vec![file]).ok_or_else(|| {
        let directory = &context.settings.directory;
        let like = environments_in(directory);
        let named = like.first().map_or("path/to/environment.yml", String::as_str);
        let found = match like.as_slice() {
            [] | [_] => String::new(),
            several => format!("{} look like one; ", list(several)),
        };
        CliError::world(
            format!("there is no `environment.yml` in `{}`", directory.display()),
            format!("{found}name the file: `mlconda lock {named}`"),
        )
    })
}

/// The YAML files of a directory that list dependencies, by their names. Those that no shell takes as they stand are left
/// out: the names become part of a command.
fn environments_in(directory: &Path) -> Vec<String> {
    let is_word = |name: &str| {
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | ',');
        name.chars().all(is_plain) && !name.starts_with('-')
    };
    let is_yaml = |name: &str| name.ends_with(".yml") || name.ends_with(".yaml");
    let lists_dependencies = |name: &String| {
        let path = directory.join(name);
        let text = mlconda::files::read(&path, LARGEST_LOOKED_AT).unwrap_or_default();
        text.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"dependencies:"))
    };
    let entries = fs_err::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_yaml(name) && is_word(name))
        .collect();
    mlconda::sorting::sort(&mut names);
    names.into_iter().take(LOOKED_AT).filter(lists_dependencies).take(SHOWN).collect()
}

/// The platforms to lock for, each once.
fn platforms(typed: &[Subdir], environment: &Environment) -> Result<Vec<Subdir>, CliError> {
    let mut platforms: Vec<Subdir> = Vec::new();
    let declared = if typed.is_empty() { &environment.platforms } else { typed };
    for platform in declared {
        if !platforms.contains(platform) {
            platforms.push(*platform);
        }
    }
    if platforms.is_empty() {
        platforms.extend(Subdir::current());
    }
    if platforms.is_empty() {
        return Err(CliError::Usage(
            "conda has no name for this machine: say which `--platform` to lock for".to_owned(),
        ));
    }
    Ok(platforms)
}

/// The lock's file: with several of them, the platform stands before the extension.
fn output(output: &Path, platform: Subdir, count: usize) -> PathBuf {
    if count == 1 {
        return output.to_owned();
    }
    let extension = output.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}.{platform}{}", extension.unwrap_or_default()))
}

fn summary(lock: &Lock, output: &Path, written: Option<Written>, start: Instant) -> String {
    let packages = packages(lock);
    let size = lock.download_size().map(|size| format!(" ({} to download)", bytes(size))).unwrap_or_default();
    let outcome = match written {
        Some(Written::Changed) => format!("locked in `{}`", output.display()),
        Some(Written::UpToDate) => format!("locked; `{}` is up to date", output.display()),
        None => "solved; nothing is written".to_owned(),
    };
    format!("{packages}{size} for {} {outcome}, in {:.1} s", lock.platform, start.elapsed().as_secs_f64())
}

/// How many packages a lock has.
fn packages(lock: &Lock) -> String {
    let packages = count(lock.packages.len(), "package");
    if lock.pip.is_empty() { packages } else { format!("{packages} and {} of pip", lock.pip.len()) }
}

fn to_json(lock: &Lock, output: &Path, written: Option<Written>) -> Value {
    let virtual_packages: Vec<String> = lock.virtual_packages.iter().map(ToString::to_string).collect();
    json!({
        "file": path_text(output),
        "written": written == Some(Written::Changed),
        "name": lock.name,
        "platform": lock.platform.as_str(),
        "input": lock.input,
        "channels": lock.channels,
        "specs": lock.specs,
        "virtual_packages": virtual_packages,
        "variables": lock.variables,
        "download_size": lock.download_size(),
        "packages": lock.packages.iter().map(|package| package_json(package, &lock.channels)).collect::<Vec<_>>(),
        "pip_requirements": lock.pip_requirements.iter().map(|line| mlconda::redact::text(line)).collect::<Vec<_>>(),
        "pip": lock.pip.iter().map(pip_json).collect::<Vec<_>>(),
    })
}

fn pip_json(package: &LockedPip) -> Value {
    let mut json = json!({"name": package.name, "version": package.version});
    let told = match &package.source {
        PipSource::Archive { url, sha256, size, origin } => json!({
            "url": mlconda::network::redact(url),
            "sha256": sha256.map(hex),
            "size": size,
            "direct": *origin == ArchiveOrigin::Direct,
        }),
        PipSource::Git { repository, commit, subdirectory } => json!({
            "git": mlconda::network::redact(repository),
            "commit": commit,
            "subdirectory": subdirectory,
        }),
        PipSource::Directory { path, mode } => {
            json!({"path": path_text(path), "editable": *mode == DirectoryMode::Editable})
        }
    };
    if let (Some(json), Value::Object(told)) = (json.as_object_mut(), told) {
        json.extend(told);
    }
    json
}

fn hex(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn package_json(package: &LockedPackage, channels: &[String]) -> Value {
    let url = mlconda::network::redact(&package.url);
    let sha256 = match package.digest {
        Digest::Sha256(hash) => Some(hex(hash)),
        Digest::Md5(_) | Digest::Unknown => None,
    };
    let channel = channels.iter().find(|channel| url.starts_with(channel.as_str()));
    json!({
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "subdir": package.subdir.as_str(),
        "channel": channel,
        "url": url,
        "sha256": sha256,
        "size": package.size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_locks_have_their_platform_before_the_extension() {
        let named = |path: &str, count| output(Path::new(path), Subdir::LinuxAarch64, count);
        assert_eq!(named("env.lock", 1), Path::new("env.lock"));
        assert_eq!(named("locks/gpu.v2.lock", 2), Path::new("locks/gpu.v2.linux-aarch64.lock"));
        assert_eq!(named("lock", 2), Path::new("lock.linux-aarch64"));
    }
}
