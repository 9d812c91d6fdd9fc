//! Errors to words, hints and exit codes, in one place: 1 the user or the world, 2 usage, 255 our bug.

use std::{error::Error, io::ErrorKind, process::ExitCode};

use mlconda::{
    environment::{Environment, EnvironmentError},
    install::InstallError,
    lock::LockError,
    network::{Cause, NetworkError},
    pip::PipError,
    prefix::PrefixError,
    repodata::RepodataError,
    solve::{SolveError, VirtualDemand},
};
use serde_json::json;

use crate::{
    foreign,
    remedy::{self, Transfer},
    settings::Context,
    signals,
    ui::Ui,
};

/// What a command can fail with.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The library said so.
    Library(mlconda::Error),
    /// The command line asks for something that makes no sense here.
    Usage(String),
    /// The world is not as the command needs it: what happened, and what to do.
    World { message: String, hint: Option<String> },
    /// A command could not be run; the exit code is the one that shells give for it.
    Command { message: String, hint: Option<String>, code: u8 },
    /// A signal asked us to stop, and nothing has changed.
    Stopped(u8),
    /// A signal asked us to stop, and this has changed.
    StoppedHalfway { signal: u8, message: String, hint: Option<String> },
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        let message = error.to_string();
        let hint = message.contains(MANY_OPEN).then(|| MORE_OPEN.to_owned());
        Self::World { message, hint }
    }
}

/// What the system says of too many open files, for which the standard library has no kind, and what to do about it.
const MANY_OPEN: &str = "oo many open files";
const MORE_OPEN: &str = "raise the limit with `ulimit -n`, or give fewer `--threads` and `--downloads`";

/// Every stage's error is the library's error.
macro_rules! from_stages {
    ($($stage:path),*) => {
        $(impl From<$stage> for CliError {
            fn from(error: $stage) -> Self {
                Self::Library(error.into())
            }
        })*
    };
}

from_stages!(
    mlconda::Error,
    mlconda::activate::ActivateError,
    mlconda::edit::EditError,
    EnvironmentError,
    InstallError,
    LockError,
    NetworkError,
    PipError,
    PrefixError,
    RepodataError,
    SolveError
);

impl CliError {
    /// A message with a hint.
    pub(crate) fn world(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::World { message: message.into(), hint: Some(hint.into()) }
    }
}

/// Says that we are at fault, and ends the process with 255. What an installation had put together aside, the next
/// one removes.
pub(crate) fn bug(panic: &std::panic::PanicHookInfo<'_>) {
    let text = format!("this is a bug in mlconda: {panic}");
    Ui::of_words().error(&text, Some("please report it with the command that you ran"));
    std::process::exit(255);
}

/// Says what is wrong with the command line, and what was meant; or what was asked for with `--help` and `--version`. Ends
/// the process.
pub(crate) fn usage(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    let ui = Ui::of_words();
    match foreign::hint(error) {
        Some((message, hint)) => ui.error(&message, Some(&hint)),
        None => ui.usage(&error.render().to_string()),
    }
    std::process::exit(2);
}

/// Prints an error and gives the exit code.
pub(crate) fn report(error: &CliError, context: &Context) -> ExitCode {
    signals::give_way();
    let (message, hint, code) = parts(error);
    context.ui.error(&message, hint.as_deref());
    ExitCode::from(code)
}

/// Prints an error for people, and on stdout as conda does with `--json`; gives the exit code.
pub(crate) fn report_as_json(error: &CliError, context: &Context) -> ExitCode {
    signals::give_way();
    let (message, ..) = parts(error);
    let value = json!({ "success": false, "error": message, "message": message, "exception_name": "CondaError" });
    match context.ui.json(&value) {
        Ok(()) => report(error, context),
        // Both are told on stderr.
        Err(other) => {
            report(error, context);
            report(&other, context)
        }
    }
}

/// The message, what to do, and the exit code.
fn parts(error: &CliError) -> (String, Option<String>, u8) {
    match error {
        CliError::Library(error) => (chain(error), hint(error), 1),
        CliError::Usage(message) => (message.clone(), None, 2),
        CliError::World { message, hint } => (message.clone(), hint.clone(), 1),
        // As a shell reports a program that a signal ended.
        CliError::Stopped(signal) => ("stopped; nothing has changed".to_owned(), None, 128 + signal),
        CliError::StoppedHalfway { signal, message, hint } => (message.clone(), hint.clone(), 128 + signal),
        CliError::Command { message, hint, code } => (message.clone(), hint.clone(), *code),
    }
}

/// An error and its causes, one a line; a cause that the line above already tells is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !last.contains(&words) {
            text.push_str(&format!("\n  because: {words}"));
            last = words;
        }
        source = cause.source();
    }
    text
}

/// What to do about it.
fn hint(error: &mlconda::Error) -> Option<String> {
    match error {
        mlconda::Error::Environment(EnvironmentError::Read(error)) => reading_hint(error),
        mlconda::Error::Repodata(error) => repodata_hint(error),
        mlconda::Error::Solve(error) => solve_hint(error),
        mlconda::Error::Install(error) => install_hint(error),
        mlconda::Error::Lock(error) => lock_hint(error),
        mlconda::Error::Pip(error) => pip_hint(error),
        mlconda::Error::Prefix(error) => prefix_hint(error),
        _ => None,
    }
}

fn prefix_hint(error: &PrefixError) -> Option<String> {
    match error {
        PrefixError::Read(error) => io_hint(error),
        PrefixError::Record { .. } => {
            Some("the prefix is damaged: `mlconda verify PREFIX LOCK --repair` writes the record anew".to_owned())
        }
        _ => None,
    }
}

fn lock_hint(error: &LockError) -> Option<String> {
    let hint = match error {
        LockError::File(error) if error.kind() == ErrorKind::NotFound => {
            "make a lock with `mlconda lock environment.yml`; `mlconda install` takes an environment.yml as well"
        }
        LockError::File(error) => return reading_hint(error),
        LockError::Prefix(error) => return prefix_hint(error),
        LockError::NotALock { .. } => {
            "an environment is recognised by its file's name: `.yml` or `.yaml`; `mlconda lock` makes a lock of one"
        }
        LockError::Conflict { file } => {
            let format = match file.extension() {
                _ if file.ends_with("pixi.lock") => " --format pixi",
                Some(kind) if kind == "yml" => " --format conda-lock",
                _ => "",
            };
            return Some(format!(
                "`mlconda lock{format} --resolve-conflict` locks anew, and keeps what both sides have where it can"
            ));
        }
        LockError::Selection { help, .. } => help,
        LockError::Format { .. } => "use the mlconda that wrote it, or a newer one",
        LockError::NoDigest { .. } => "index the channel again: newer indexers write sha256 sums",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn pip_hint(error: &PipError) -> Option<String> {
    let hint = match error {
        PipError::NoPython { .. } => "add `python` to the dependencies, with its version: `- python=3.12`",
        PipError::Conflict(_) => {
            "conda's packages are chosen first: change one of the two lines, or move pip's line up to the conda dependencies"
        }
        PipError::NoUv { .. } => {
            "install uv and have it on `PATH`, or name it with `MLCONDA_UV`; or add a channel that has it, as conda-forge does"
        }
        PipError::NoInterpreter => "install a python, or add a channel that has `uv` and `python` for this machine",
        PipError::OldUv { .. } => "name a newer one with `MLCONDA_UV`; without any, mlconda takes uv from the channels",
        PipError::Tools(error) => return hint(error.downcast_ref()?),
        PipError::Unsolvable { message, .. } if message.contains("404 Not Found") => {
            "correct the URL: its server has no such file"
        }
        PipError::Unsolvable { message, .. } if ["401 Un", "403 Forb"].iter().any(|code| message.contains(code)) => {
            "the index wants a login: in its URL, as `https://${USER}:${PASSWORD}@host/simple`, or in `~/.netrc`"
        }
        PipError::Unsolvable { message, .. } if message.contains("UnknownIssuer") => {
            remedy::of(Cause::UnknownIssuer, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("407 Proxy") => {
            remedy::of(Cause::ProxyLogin, Transfer::Package)
        }
        PipError::Unsolvable { message, .. } if message.contains("Git operation failed") => {
            "check the URL, the branch or tag, the network, and whether git has a login for it"
        }
        PipError::Unsolvable { message, .. } if message.contains("Failed to fetch") || message.contains("Connect") => {
            "check the network, the index (`PIP_INDEX_URL`, `pip.conf`, `--index-url` in the list), `HTTPS_PROXY` and \
             `NO_PROXY`; `--offline` uses what is cached"
        }
        PipError::Unsolvable { message, lines, .. } if names_unknown_project(message, lines) => {
            "correct the name: a project is not always called as the module that is imported, nor as conda's package; what only conda has, belongs above `pip:`"
        }
        PipError::UntrustedLocation { .. } => {
            "an index leads to its own scheme or to https, and not to files of this machine. If you trust the place, name it: \
             `NAME @ URL` in the list, or its directory with `--find-links`"
        }
        PipError::Python { .. } => {
            "ask for CPython: `- python=3.12=*_cpython`, or move what pip is to install up to the conda dependencies"
        }
        PipError::Platform { .. } => "move what pip is to install up to the conda dependencies",
        PipError::NoFittingFile { why, .. } if why.contains("hash") => {
            "if the index has replaced the file and that is as it should be, correct the hash; else somebody has changed it"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Whether a line asks for a project that is not there itself, and not something else that needs it.
fn names_unknown_project(message: &str, lines: &str) -> bool {
    let before: Vec<&str> = message.split(" was not found in the").collect();
    let names = before.iter().rev().skip(1).filter_map(|text| text.rsplit(' ').next());
    let mut names = names.map(|name| format!("asked for: `{}", name.trim()));
    names.any(|start| lines.to_lowercase().replace(['_', '.'], "-").contains(&start))
}

fn install_hint(error: &InstallError) -> Option<String> {
    let hint = match error {
        InstallError::File(error) => return io_hint(error),
        InstallError::Parent { source, .. } => return io_hint(source),
        InstallError::Changed { .. } => "run the command again: it will see what is there now",
        InstallError::Replaced { .. } => {
            "somebody else can rename directories there: find out who, before you install into it again"
        }
        InstallError::PartlyChanged { .. } => {
            "once the cause is gone, run the command again: it makes the prefix whole"
        }
        InstallError::Busy { .. } => "wait until it has finished, and try again",
        InstallError::Occupied { .. } => "choose a directory that does not exist yet, or an empty one",
        InstallError::Download { source, .. } => {
            let error = source.downcast_ref::<NetworkError>();
            let remedy = remedy::of(error.map_or(Cause::Other, NetworkError::cause), Transfer::Package);
            return Some(format!("the prefix is as it was; {remedy}"));
        }
        InstallError::Digest { .. } => {
            "nothing of it was used. If its server has replaced the package and that is as it should be, lock anew; \
             else somebody between you and the server has changed it"
        }
        InstallError::Damaged { .. } => "install once without `--offline`: then it is fetched again",
        InstallError::Unusable { .. } => "choose another directory, with `-p DIR`",
        InstallError::Package { source, .. } if source.kind() == ErrorKind::InvalidFilename => {
            "the prefix is as it was. Choose a shorter prefix; if that does not help, the package is at fault: tell its maintainers"
        }
        InstallError::Expired { .. } => {
            "the prefix is as it was. `--script-timeout SECONDS` waits longer (0: for ever); `--no-scripts` installs \
             without running packages' scripts"
        }
        InstallError::Package { .. } => "the prefix is as it was. The package is at fault: tell its maintainers",
        InstallError::ForeignLink { .. } => {
            "what is behind the link is yours: put a directory in its place, or move the link away, and run the command again"
        }
        InstallError::Untrusted { .. } => {
            "if you do not know who wrote it, look at the prefix before you use it; once it is removed (a journal with its \
             directory `.mlconda-old`), the next installation goes on, and links every package anew"
        }
        InstallError::RecordName { .. } => {
            "no tool has written such a record: look at the prefix before you use it, and remove the record"
        }
        InstallError::DirectoryInTheWay { .. } => "move your files out of the directory, and run the command again",
        InstallError::PathTypeClash { .. } => "the packages, or your own files in the prefix, do not go together",
        InstallError::OutwardLink { .. } => "if you trust the package, `--allow-outward-links` makes the link",
        InstallError::PrefixTooLong { .. } => "choose a shorter prefix",
        InstallError::SameDistribution { .. } => {
            "lock anew: what a channel has is not to be installed by pip as well. Or take it out of one of the two lists"
        }
        InstallError::WrongTags { .. } => "lock anew, for this python and platform",
        InstallError::NoPip { .. } => {
            "add `pip` to the environment.yml, and what builds the package, and lock it again"
        }
        InstallError::BuildSkipped { .. } => "leave out `--no-scripts`, or take a version that has a wheel",
        InstallError::GitOffline { .. } => "install without `--offline`",
        InstallError::Build { .. } => {
            "the prefix is as it was. What a package needs to be built is a package of the environment: `setuptools`, say"
        }
        InstallError::NoPython { .. } => "add `python` to the environment.yml and lock it again",
        InstallError::Script { .. } | InstallError::NoShell { .. } => {
            "`--no-scripts` installs without running packages' scripts"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a file that was named and cannot be read.
fn reading_hint(error: &std::io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::NotFound => "check the path, and the directory in which the command runs",
        ErrorKind::InvalidFilename => "the name is longer than the file system allows: give the file a shorter one",
        ErrorKind::PermissionDenied => "you may not read the file: `chmod` or `chown` changes that",
        _ if error.to_string().to_lowercase().contains("is a directory") => {
            "name the file in it, as in `DIR/environment.yml`; a prefix is locked with `mlconda lock --from-prefix DIR`"
        }
        _ => return io_hint(error),
    };
    Some(hint.to_owned())
}

fn io_hint(error: &std::io::Error) -> Option<String> {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: nothing has changed; make room",
        ErrorKind::InvalidFilename => "choose a shorter name: file systems allow 255 bytes, and 4,095 for a whole path",
        ErrorKind::FileTooLarge if error.raw_os_error().is_some() || error.to_string().contains("os error") => {
            "a limit of the shell or the container (`ulimit -f`) or of the file system does not allow such a file"
        }
        ErrorKind::PermissionDenied => "choose a prefix that you may write to, with `-p DIR`",
        ErrorKind::ReadOnlyFilesystem => "the file system can only be read; choose another prefix, with `-p DIR`",
        _ if error.to_string().contains(MANY_OPEN) => MORE_OPEN,
        // The standard library has no kind for this one either.
        _ if error.to_string().contains("nput/output error") => {
            "the disk or its file system is at fault, and the system's log may tell more"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The error with the line of the environment that it comes from: that of the channel.
pub(crate) fn at_its_line(error: RepodataError, environment: &Environment) -> CliError {
    let channel = match &error {
        RepodataError::NoSuchChannel { channel, .. } => channel,
        RepodataError::Denied { subdir, .. }
        | RepodataError::Unreachable { subdir, .. }
        | RepodataError::Broken { subdir, .. } => {
            let end = subdir.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
            &subdir[..end]
        }
        _ => return error.into(),
    };
    match (environment.channel_line(channel), repodata_hint(&error)) {
        (Some(line), Some(help)) => {
            CliError::World { message: line.diagnostic(error.to_string(), help).to_string(), hint: None }
        }
        _ => error.into(),
    }
}

fn repodata_hint(error: &RepodataError) -> Option<String> {
    let hint = match error {
        RepodataError::NoChannels(_) => "name one under `channels:`, or with `-c conda-forge`",
        RepodataError::NoSuchChannel { near, .. } if !near.is_empty() => {
            let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
            return Some(format!("did you mean {}?", near.join(" or ")));
        }
        RepodataError::NoSuchChannel { .. } => {
            "check the spelling; a channel that is private may say so by this answer"
        }
        RepodataError::NoPlatform { .. } => {
            "lock for a platform that the channel has (`--platform`), or add a channel that has packages for this one"
        }
        RepodataError::Denied { .. } => {
            "put the login into the channel's URL, by a variable: `https://host/t/$TOKEN/channel` or \
             `https://$USER:$PASSWORD@host/channel`; or store it, in `~/.netrc` or with `pixi auth login`"
        }
        RepodataError::Unreachable { cause, .. } => {
            let remedy = remedy::of(*cause, Transfer::Repodata);
            let no_answer =
                [Cause::NoHost, Cause::NameServer, Cause::Refused, Cause::NoRoute, Cause::TimedOut].contains(cause);
            let offline = if no_answer { "; `--offline` uses what is cached" } else { "" };
            return Some(format!("{remedy}{offline}"));
        }
        RepodataError::Package { cause: Some(cause), .. } => remedy::of(*cause, Transfer::Package),
        RepodataError::Broken { .. } => {
            "the channel may be in the middle of an update: try again with `--refresh`, or index it again"
        }
        RepodataError::NotCached { .. } | RepodataError::PackageNotCached { .. } => {
            "lock once without `--offline`: what it loads is kept"
        }
        RepodataError::Cache { .. } => "name another directory with `MLCONDA_CACHE_DIR`",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn solve_hint(error: &SolveError) -> Option<String> {
    match error {
        SolveError::Unsolvable { virtual_packages, platform, .. } => {
            let lines: Vec<String> =
                virtual_packages.iter().filter_map(|demand| demand_hint(demand, platform.as_str())).collect();
            (!lines.is_empty()).then(|| lines.join("\n      "))
        }
        _ => None,
    }
}

/// What to do about a virtual package. One of another system cannot be had by declaring it.
fn demand_hint(demand: &VirtualDemand, platform: &str) -> Option<String> {
    let VirtualDemand { name, wanted, assumed } = demand;
    let version = wanted.trim_start_matches(|first: char| !first.is_ascii_digit());
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    let version = match (version.trim_matches('.'), name.as_str()) {
        ("", "__cuda") => "12.4",
        ("", _) => return None,
        (version, _) => version,
    };
    let what = match assumed {
        Some(assumed) => format!("the lock assumes `{name}={assumed}` of {platform}; if the machine has more"),
        None => format!("`{name}` is not assumed of {platform}; if the machine has it"),
    };
    Some(format!("{what}, say so: `--virtual-package {name}={version}`"))
}
