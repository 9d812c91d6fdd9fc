//! Stores the variables that activation scripts set, for images without a shell. This is done when an environment is
//! installed, where a shell exists.
//!
//! `conda-meta/activation.mlconda` contains the variables, and the inputs of the scripts: the sha256 of each script and the
//! variables of the environment. The snapshot is ignored if any input has changed. If a variable depends on something
//! else, such as the home directory, the inputs are stored without variables: the scripts need not run again to find
//! that out.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{ffi::OsStringExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use mlconda_system::{beneath::Root, files, process};
use mlconda_types::sorting::IntoTree;
use rattler_digest::{Sha256, compute_bytes_digest};
use serde::{Deserialize, Serialize};

use super::{Activation, CallerEnvironment, Dialect, compute, contents::Contents};
use crate::Prefix;

/// The name of the file in `conda-meta`. It is not a record, so its extension is not that of records.
pub const FILE: &str = "activation.mlconda";

/// The `PATH` that scripts see while the snapshot is made.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The time limit for the scripts.
const LONGEST: Duration = Duration::from_secs(10);

/// A home directory that cannot exist. If a value contains it, the value depends on the user.
const NOBODY: &str = "/dev/null/mlconda-home";

/// The variables that the scripts of an environment set.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    /// The inputs of the scripts.
    seen: SnapshotInputs,
    /// The text that is added before and after `PATH`. `None` if the effect of the scripts is not the same for all
    /// users.
    path: Option<(String, String)>,
    /// The variables that the scripts set.
    set: BTreeMap<String, String>,
    /// The variables that the scripts unset.
    unset: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotInputs {
    prefix: PathBuf,
    /// The sha256 of each script in hex, by file name.
    scripts: BTreeMap<String, String>,
    /// The variables of the environment.
    variables: BTreeMap<String, String>,
}

impl SnapshotInputs {
    fn new(prefix: &Path, contents: &Contents) -> io::Result<Self> {
        let hash = |script: &PathBuf| {
            let text = files::read(script, files::LARGEST_TEXT)?;
            let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
            io::Result::Ok((name, hex::encode(compute_bytes_digest::<Sha256>(text))))
        };
        let mut scripts = BTreeMap::new();
        for script in &contents.activate_scripts {
            let (name, hash) = hash(script)?;
            scripts.insert(name, hash);
        }
        Ok(Self { prefix: prefix.to_owned(), scripts, variables: contents.variables.clone() })
    }
}

impl Activation {
    /// The activation with the variables of the snapshot instead of the scripts, and the names of the variables to
    /// unset. `None` if there is no snapshot, or if it is outdated.
    pub fn from_snapshot(&self, prefix: &Prefix) -> Option<(Self, Vec<OsString>)> {
        let file = prefix.path().join("conda-meta").join(FILE);
        let kept: Snapshot = serde_json::from_slice(&files::read(&file, files::LARGEST_TEXT).ok()?).ok()?;
        let contents = Contents::read(prefix.path(), Dialect::Posix).ok()?;
        let is_same = SnapshotInputs::new(prefix.path(), &contents).ok()? == kept.seen;
        if !is_same || !self.deactivate_scripts.is_empty() {
            return None;
        }
        let (before, behind) = kept.path?;
        let mut activation = Self { activate_scripts: Vec::new(), ..self.clone() };
        let (before, behind) = (OsString::from(before), OsString::from(behind));
        if !before.is_empty() || !behind.is_empty() {
            let parts = [before, self.path.value(), behind].map(OsString::into_vec);
            activation.path = super::SearchPath::Replaced(OsString::from_vec(parts.concat()));
        }
        activation.variables.retain(|(name, _)| {
            let name = name.to_str().unwrap_or_default();
            !kept.set.contains_key(name) && !kept.unset.iter().any(|unset| unset == name)
        });
        activation.variables.extend(kept.set.into_iter().map(|(name, value)| (name.into(), value.into())));
        Some((activation, kept.unset.into_iter().map(OsString::from).collect()))
    }
}

/// Whether [`write()`] would improve the snapshot: either it is missing, because a process was killed before it was
/// written, or its inputs have changed since. `false` if there is no shell, or if other users can have written the
/// scripts. Runs nothing.
pub fn is_outdated(prefix: &Prefix) -> bool {
    let Ok(contents) = Contents::read(prefix.path(), Dialect::Posix) else { return false };
    let there = files::read(&prefix.path().join("conda-meta").join(FILE), files::LARGEST_TEXT);
    if contents.activate_scripts.is_empty() {
        return there.is_ok();
    }
    if process::shell(prefix.path()).is_none() || !are_trusted(prefix.path(), &contents.activate_scripts) {
        return false;
    }
    match there {
        Ok(text) => {
            let there = serde_json::from_slice(&text).ok().map(|Snapshot { seen, .. }| seen);
            SnapshotInputs::new(prefix.path(), &contents).is_ok_and(|seen| there != Some(seen))
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether only root and this user can have written these scripts: no other user owns or may write to the scripts or
/// the directories above them in the prefix.
fn are_trusted(prefix: &Path, scripts: &[PathBuf]) -> bool {
    let Ok(root) = Root::open(prefix) else { return false };
    let is_trusted = |path: &Path| {
        root.lookup(path).is_ok_and(|found| found.is_some_and(|found| found.untrusted_reason().is_none()))
    };
    scripts.iter().all(|script| script.strip_prefix(prefix).is_ok_and(|script| script.ancestors().all(is_trusted)))
}

/// Runs the activation scripts of a new environment in a shell, and stores the variables that they set. `seconds` is
/// the modification time of the file, in seconds since 1970. Returns the scripts that ran, as paths relative to the
/// prefix.
///
/// If the future is dropped, the shell is stopped, and the file stays as it was.
///
/// # Errors
/// If a file cannot be read or written. It is no error if there is no shell (then no snapshot is stored) or if a script
/// fails (then a snapshot without variables is stored).
pub async fn write(prefix: &Prefix, seconds: i64) -> io::Result<Vec<PathBuf>> {
    let contents = Contents::read(prefix.path(), Dialect::Posix).map_err(io::Error::other)?;
    let root = Root::open(prefix.path())?;
    let place = Path::new("conda-meta").join(FILE);
    let there = root.lookup(&place)?.is_some();
    if !there && contents.activate_scripts.is_empty() {
        return Ok(Vec::new());
    }
    let relative = |script: &PathBuf| script.strip_prefix(prefix.path()).unwrap_or(script).to_owned();
    let scripts: Vec<PathBuf> = contents.activate_scripts.iter().map(relative).collect();
    let (ran, text) = match process::shell(prefix.path()) {
        Some(shell) if !scripts.is_empty() => (scripts, observe(&shell, prefix.path(), contents).await?),
        _ => (Vec::new(), None),
    };
    match text {
        Some(text) => root.put(&place, &text, seconds)?,
        None => root.remove_file(&place)?,
    }
    root.set_time(Path::new("conda-meta"), seconds)?;
    Ok(ran)
}

/// Runs the scripts, and returns the text of the snapshot.
async fn observe(shell: &Path, prefix: &Path, contents: Contents) -> io::Result<Option<Vec<u8>>> {
    let seen = SnapshotInputs::new(prefix, &contents)?;
    let caller = [("PATH", PATH), ("HOME", NOBODY)].map(|(name, value)| (name.into(), value.into()));
    let surroundings = CallerEnvironment { variables: &caller, root_prefix: Path::new("/") };
    let activation = compute(prefix, contents, Vec::new(), surroundings);
    let mut output = process::unnamed_file(&prefix.join("conda-meta"))?;
    let mut command = Command::new(shell);
    command.arg("-c").arg(activation.print_variables_program()).current_dir("/").env_clear().envs(caller.clone());
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null()).process_group(0);
    let Ok(process) = command.spawn() else { return Ok(None) };
    // On timeout, the future is dropped, and the script is killed.
    let ended = tokio::time::timeout(LONGEST, process::ChildGroup::new(process).wait()).await;
    let mut text = Vec::new();
    if ended.is_ok_and(|status| status.as_ref().is_ok_and(ExitStatus::success)) {
        output.seek(SeekFrom::Start(0))?;
        output.take(files::LARGEST_TEXT).read_to_end(&mut text)?;
    }
    let found = Some(text).filter(|text| !text.is_empty()).and_then(|text| String::from_utf8(text).ok());
    let differs = found.and_then(|text| compare(&text, &activation));
    let (path, set, unset) = differs.map_or_else(Default::default, |(path, set, unset)| (Some(path), set, unset));
    Ok(Some(serde_json::to_vec_pretty(&Snapshot { seen, path, set, unset })?))
}

/// The text before and after `PATH`, the variables that are set, and the names of those that are unset.
type Differences = ((String, String), BTreeMap<String, String>, Vec<String>);

/// Compares the variables of a shell with those of an activation. `text` is the output of `env -0`.
fn compare(text: &str, activation: &Activation) -> Option<Differences> {
    let found: BTreeMap<&str, &str> = text.split_terminator('\0').filter_map(|line| line.split_once('=')).into_tree();
    let mut path = (String::new(), String::new());
    let expected: BTreeMap<OsString, OsString> = activation.all_variables().into_tree();
    let mut set = BTreeMap::new();
    for (name, value) in &found {
        let was = expected.get(OsStr::new(name));
        match *name {
            "PATH" => {
                let (before, behind) = value.split_once(was?.to_str()?)?;
                path = (before.to_owned(), behind.to_owned());
            }
            "HOME" if *value == NOBODY => {}
            // Shells set these themselves.
            "_" | "SHLVL" | "PWD" | "OLDPWD" => {}
            _ if value.contains(NOBODY) || value.contains(PATH) => return None,
            _ if was.is_some_and(|was| was == value) => {}
            _ => _ = set.insert((*name).to_owned(), (*value).to_owned()),
        }
    }
    let gone = expected.keys().filter_map(|name| name.to_str()).filter(|name| !found.contains_key(name));
    let unset = gone.map(str::to_owned).collect();
    Some((path, set, unset))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::{
        super::{DEFAULT_PATH, activate},
        *,
    };

    fn write(prefix: &Path, path: &str, text: &str) {
        let place = prefix.join(path);
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::write(&place, text).unwrap();
        // The modes must not depend on the umask.
        for path in place.ancestors().take_while(|path| path.starts_with(prefix)) {
            fs_err::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn keep_now(prefix: &Prefix) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(super::write(prefix, 1_700_000_000)).unwrap();
    }

    /// The effect of the snapshot: one line for each variable, and `-` before variables that are unset.
    fn kept(prefix: &Prefix) -> Option<String> {
        let caller = CallerEnvironment { variables: &[], root_prefix: Path::new("/") };
        let (activation, unset) = activate(prefix, caller, Dialect::Posix).unwrap().from_snapshot(prefix)?;
        assert!(!activation.needs_shell());
        let line = |(name, value): (OsString, OsString)| format!("{}={}\n", name.display(), value.display());
        let mut lines: Vec<String> = activation.all_variables().map(line).collect();
        lines.extend(unset.iter().map(|name| format!("-{}\n", name.display())));
        Some(lines.concat().replace(prefix.path().to_str().unwrap(), "[PREFIX]").replace(DEFAULT_PATH, "[PATH]"))
    }

    #[test]
    fn what_scripts_set_is_kept_as_long_as_it_is_sure() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = Prefix::open(directory.path().canonicalize().unwrap()).unwrap();
        write(prefix.path(), "conda-meta/history", "");
        write(prefix.path(), "conda-meta/state", r#"{"env_vars": {"LEVEL": "one", "GOES": "1"}}"#);
        keep_now(&prefix);
        assert!(!prefix.path().join("conda-meta").join(FILE).exists(), "there is nothing to keep");
        let script = "echo noise\nexport DATA=\"$CONDA_PREFIX/share/it's\" LINES='a\nb' LEVEL=\"$LEVEL.two\"\nunset GOES\n\
                      export PATH=\"$CONDA_PREFIX/tools:$PATH:/more\"\nNOT_EXPORTED=1\nfalse\n";
        write(prefix.path(), "etc/conda/activate.d/a.sh", script);
        assert_eq!(kept(&prefix), None);
        keep_now(&prefix);
        insta::assert_snapshot!(kept(&prefix).unwrap(), @"
        PATH=[PREFIX]/tools:[PREFIX]/bin:[PATH]:/more
        CONDA_PREFIX=[PREFIX]
        CONDA_SHLVL=1
        CONDA_DEFAULT_ENV=[PREFIX]
        CONDA_PROMPT_MODIFIER=([PREFIX]) 
        DATA=[PREFIX]/share/it's
        LEVEL=one.two
        LINES=a
        b
        -GOES
        ");
        // After other variables, a changed script or a further script, the snapshot is outdated.
        write(prefix.path(), "conda-meta/state", r#"{"env_vars": {"LEVEL": "three"}}"#);
        assert_eq!(kept(&prefix), None);
        keep_now(&prefix);
        assert!(kept(&prefix).unwrap().contains("LEVEL=three.two"));
        write(prefix.path(), "etc/conda/activate.d/b.sh", "export MORE=1\n");
        assert_eq!(kept(&prefix), None);
        keep_now(&prefix);
        assert!(kept(&prefix).unwrap().contains("MORE=1"));
        // A variable that depends on the user is not stored, nor are the variables of a script that ends the shell.
        for script in ["export MORE=$HOME/x\n", "export MORE=1\nexit 1\n"] {
            write(prefix.path(), "etc/conda/activate.d/b.sh", script);
            assert!(is_outdated(&prefix), "{script}");
            keep_now(&prefix);
            assert_eq!(kept(&prefix), None, "{script}");
            assert!(!is_outdated(&prefix), "{script} need not run again");
        }
        // Root must not run scripts that other users can have written.
        write(prefix.path(), "etc/conda/activate.d/b.sh", "export MORE=2\n");
        assert!(is_outdated(&prefix));
        for path in ["etc/conda/activate.d/b.sh", "etc/conda/activate.d", "etc", ""] {
            let before = fs_err::metadata(prefix.path().join(path)).unwrap().permissions();
            fs_err::set_permissions(prefix.path().join(path), Permissions::from_mode(0o777)).unwrap();
            assert!(!is_outdated(&prefix), "{path}");
            fs_err::set_permissions(prefix.path().join(path), before).unwrap();
        }
        fs_err::remove_dir_all(prefix.path().join("etc/conda/activate.d")).unwrap();
        assert!(is_outdated(&prefix));
        keep_now(&prefix);
        assert!(!is_outdated(&prefix));
        assert!(!prefix.path().join("conda-meta").join(FILE).exists());
    }
}
