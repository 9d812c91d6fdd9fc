//! `mlconda lock`: solves an environment.yml, and writes the lock.

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
    slim::SlimArgs,
    text::{bytes, count, list, path_text, path_word, word},
};

/// Limits for the hint about similar files: the largest file that is read, in bytes, and how many files are read and
/// named.
const LARGEST_LOOKED_AT: u64 = 1 << 20;
const LOOKED_AT: usize = 100;
const SHOWN: usize = 3;

/// Solve an environment.yml and write a lock
///
/// Reads the environment, loads the repodata of its channels, solves, and writes a lock: every package with its URL and
/// sha256, dependencies first, for one platform. The same input and the same channels give the same bytes. The lock is an
/// @EXPLICIT file: mlconda, conda and mamba install it without solving.
///
/// An existing lock changes as little as possible: a locked package stays as long as it satisfies the environment.
/// `--update` updates some packages, or all.
///
/// The result depends on the platform, not on the machine that locks. The assumed virtual packages of the target (glibc,
/// kernel, macOS, processor) are written into the lock. A GPU is never assumed; declare it with `--virtual-package`.
///
/// A `pip:` list is locked too, for the same platform and the solved python. uv resolves it: the program of `MLCONDA_UV` or
/// `PATH`, else the package `uv` of the channels, which is installed into the cache. Indexes come from the list, from the
/// variables of uv and pip, and from `pip.conf`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = SHORT, after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The environment file; several are merged [default: environment.yml or environment.yaml in this directory]
    #[arg(value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The lock to write. With several platforms, `env.lock` becomes `env.linux-64.lock` and so on. For the formats
    /// conda-lock and pixi, the default is `conda-lock.yml` and `pixi.lock`, one file for all platforms
    #[arg(short, long, value_name = "FILE", default_value = "env.lock")]
    #[arg(default_value_ifs = [("format", "conda-lock", "conda-lock.yml"), ("format", "pixi", "pixi.lock")])]
    output: PathBuf,
    /// The format of the lock: `explicit`, `conda-lock` or `pixi` [default: the format of the existing lock, else
    /// explicit]
    #[arg(long, value_name = "FORMAT", hide_short_help = true)]
    format: Option<LockFormat>,
    /// Lock the packages that are installed in this prefix, without a solve
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["inputs", "files", "platforms"], hide_short_help = true)]
    from_prefix: Option<PathBuf>,
    /// Lock for this platform (repeatable) [default: the `platforms:` of the file, else this machine's platform]
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = lock_selection::platform)]
    platforms: Vec<Subdir>,
    /// Update these packages, and others only where needed; without a name, update all. Give FILE before this option
    #[arg(short, long, value_name = "NAME", num_args = 0.., conflicts_with = "from_prefix")]
    update: Option<Vec<String>>,
    /// Write nothing: check whether the lock satisfies the file. The exit code is 0, or 1 with the reasons. The network is
    /// not used
    #[arg(long, conflicts_with_all = ["update", "dry_run", "resolve_conflict", "from_prefix"])]
    check: bool,
    /// Solve again for a lock with git's conflict markers: keep the packages that both sides have, else the newer ones
    #[arg(long, hide_short_help = true)]
    resolve_conflict: bool,
    #[command(flatten)]
    slim: SlimArgs,
    #[command(flatten)]
    locking: LockingArgs,
    /// Print the lock instead of writing it
    #[arg(long)]
    dry_run: bool,
    /// Print the locks as JSON
    #[arg(long)]
    json: bool,
}

/// The end of `-h`.
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
    if args.is_printed() {
        let other = if args.check { Some("--check") } else { args.json.then_some("--json") };
        if let Some(other) = other {
            return Err(CliError::Usage(format!("`-o -` prints the lock, and `{other}` does not: leave one out")));
        }
        args.dry_run = true;
    } else {
        args.format = args.format.or_else(|| formats::of_file(&args.output, context));
    }
    if let Some(prefix) = &args.from_prefix {
        return formats::of_prefix(prefix, &args, context);
    }
    let files = input(&args, context)?;
    let environment = locking::read(&files, &args.locking, context)?;
    if args.check {
        return check::run(&args, &files, &environment, context);
    }
    make(&args, &environment, start, None, context)?;
    // A lock made on another system than Linux is usually for a container.
    if args.platforms.is_empty() && environment.platforms.is_empty() && !cfg!(target_os = "linux") {
        context.ui.hint("this lock is for this machine; for a container, add `--platform linux-64`");
    }
    Ok(ExitCode::SUCCESS)
}

/// Locks an environment whose file is being changed, for its platforms, else for those of the existing lock. `write`
/// writes the file, after the solve and before any lock is written. Returns the paths of the locks.
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

/// Solves, writes the locks and prints a summary. Returns the paths of the locks.
fn make(
    args: &Args,
    environment: &Environment,
    start: Instant,
    first: Option<&dyn Fn() -> Result<(), CliError>>,
    context: &Context,
) -> Result<Vec<PathBuf>, CliError> {
    let platforms = platforms(&args.platforms, environment)?;
    if args.is_printed() && platforms.len() > 1 && formats::is_one_each(args.format()) {
        let message = "locks for several platforms are several files: with `-o -`, give one `--platform`, or a `--format` \
                       that has all platforms in one file";
        return Err(CliError::Usage(message.to_owned()));
    }
    let before = previous::read(args, environment, &platforms, context)?;
    let mut locked = locking::lock(environment, &platforms, &before, &args.locking, Cache::Make, context)?;
    let of_file = args.slim.typed().or_else(|| environment.slim.clone());
    for (index, locked) in locked.iter_mut().enumerate() {
        let kept = || before.of(index).first().map(|lock| lock.slim.clone());
        locked.lock.slim = of_file.clone().or_else(kept).unwrap_or_default();
    }
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
    /// Whether the lock goes to stdout.
    fn is_printed(&self) -> bool {
        self.output.as_os_str() == "-"
    }

    fn format(&self) -> LockFormat {
        self.format.unwrap_or(LockFormat::Explicit)
    }

    /// The lock file of each platform: the same for all, or one each, depending on the format.
    fn outputs(&self, platforms: &[Subdir]) -> Vec<PathBuf> {
        let count = if formats::is_one_each(self.format()) { platforms.len() } else { 1 };
        platforms.iter().map(|platform| output(&self.output, *platform, count)).collect()
    }

    /// The packages that `--update` names.
    fn renew(&self) -> Result<Upgrade, CliError> {
        match &self.update {
            None => Ok(Upgrade::AsNeeded),
            Some(names) if names.is_empty() => Ok(Upgrade::All),
            Some(names) => match names.iter().find(|name| name.ends_with(".yml") || name.ends_with(".yaml")) {
                Some(file) => Err(CliError::Usage(format!(
                    "`{file}` after `--update` is read as a package name: put the file before `--update`"
                ))),
                None => Ok(Upgrade::Packages(names.iter().map(|name| name.to_lowercase()).collect())),
            },
        }
    }
}

fn write(lock: &Lock, output: &Path, context: &Context) -> Result<Written, CliError> {
    signals::whole(|| lock.write(&context.settings.absolute(output))).map_err(|error| match error {
        // The error names a temporary file, so only its kind is shown.
        LockError::File(error) => CliError::world(
            format!("cannot write the lock `{}`: {}", output.display(), error.kind()),
            "name a file in a directory that can be written to, with `-o`",
        ),
        other => other.into(),
    })
}

/// The given files, else the environment file of the current directory.
fn input(args: &Args, context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let typed: Vec<PathBuf> = args.inputs.iter().chain(&args.locking.files).cloned().collect();
    // The content decides: `conda-lock.yml` has the extension of an environment file.
    let is_lock = |file: &&PathBuf| lock_selection::kind_of_file(&context.settings.absolute(file)).is_some();
    if let Some(lock) = typed.iter().find(is_lock) {
        let name = lock.display();
        return Err(CliError::world(
            format!("`{name}` is a lock; `mlconda lock` needs an environment file"),
            format!(
                "give the environment.yml, and the lock with `-o {}`; `mlconda convert` converts locks",
                path_word(lock)
            ),
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
            format!("{found}name the file: `mlconda lock {}`", word(named)),
        )
    })
}

/// The YAML files of a directory that list dependencies. Names that a shell would have to quote are left out, because
/// the hint shows them in a command.
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
            "conda has no name for this machine's platform: give one with `--platform`".to_owned(),
        ));
    }
    Ok(platforms)
}

/// The path of the lock. If there are several locks, the platform is inserted before the extension.
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
        None if output.as_os_str() == "-" => "locked".to_owned(),
        None => "solved; nothing written".to_owned(),
    };
    format!("{packages}{size} for {} {outcome}, in {:.1} s", lock.platform, start.elapsed().as_secs_f64())
}

/// The number of packages of a lock.
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
        "slim": lock.slim.to_string(),
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
