//! Evaluates our statements in each shell that is installed. The shell's variables must change exactly as `run` changes
//! them, byte for byte, whatever bytes they contain.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
    process::Command,
};

use proptest::prelude::*;

use super::{Activation, CallerEnvironment, Dialect, activate};
use crate::Prefix;

type Variables = BTreeMap<OsString, OsString>;

const SHELLS: [(&str, &[&str], Dialect); 4] = [
    ("bash", &["--norc", "-c"], Dialect::Posix),
    ("dash", &["-c"], Dialect::Posix),
    ("zsh", &["-f", "-c"], Dialect::Posix),
    ("fish", &["--no-config", "-c"], Dialect::Fish),
];

/// The variables that each shell sets for itself.
const OWN: [&str; 4] = ["_", "SHLVL", "PWD", "OLDPWD"];

/// Names of variables: usual ones, and names that some shells treat in a special way (lists of paths, separators).
/// `CDPATH` is not among them: fish writes `.` for an empty entry of it, which means the same.
const NAMES: [&str; 8] = ["OWN", "lower", "_X9", "LD_LIBRARY_PATH", "MANPATH", "IFS", "PS1", "CONDA_PROMPT_MODIFIER"];

fn without_own(mut variables: Variables) -> Variables {
    variables.retain(|name, _| !OWN.iter().any(|own| name == own));
    variables
}

/// The given variables after the changes that `run` makes.
fn changed(activation: &Activation, variables: Variables) -> Variables {
    let mut wanted = variables;
    wanted.retain(|name, _| !activation.unset.contains(name));
    wanted.extend(activation.all_variables());
    without_own(wanted)
}

/// The variables of a shell after it has evaluated the statements; `None` if the shell is not installed.
fn found(shell: &str, options: &[&str], statements: &[u8], caller: &[(OsString, OsString)]) -> Option<Variables> {
    let script = OsString::from_vec([statements, b"\n/usr/bin/env -0\n"].concat());
    let mut command = Command::new(shell);
    command.args(options).arg(script).env_clear().envs(caller.iter().cloned()).current_dir("/");
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{shell}: {said}\n{}", String::from_utf8_lossy(statements));
    let pairs = output.stdout.split(|byte| *byte == 0).filter_map(|line| {
        let middle = line.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((text(&line[..middle]), text(&line[middle + 1..])))
    });
    Some(without_own(pairs.collect()))
}

/// Bytes that a variable can contain. Bytes with a meaning in shells are frequent.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b"'\"\\$`!*?[]{}()~#&|;<> \t\n\r:=-%^@,\x01\x7f\x80\xc3\xff".to_vec());
    prop::collection::vec(prop_oneof![3 => special, 1 => 1_u8..=255], 0..12)
}

/// Text that a JSON file can contain, without NUL.
fn text() -> impl Strategy<Value = String> {
    bytes().prop_map(|bytes| bytes.into_iter().map(char::from).collect())
}

fn named<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeMap<&'static str, T>> {
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), value, 0..6)
}

fn check(of_state: &BTreeMap<&str, String>, of_caller: &BTreeMap<&str, Vec<u8>>, is_active: bool) {
    let directory = tempfile::tempdir().unwrap();
    let meta = directory.path().join("conda-meta");
    fs_err::create_dir_all(&meta).unwrap();
    fs_err::write(meta.join("history"), "").unwrap();
    fs_err::write(meta.join("state"), serde_json::json!({ "env_vars": of_state }).to_string()).unwrap();
    let mut caller: Vec<(OsString, OsString)> = vec![("PATH".into(), "/usr/bin:/bin".into())];
    caller.extend(of_caller.iter().map(|(name, value)| ((*name).into(), OsString::from_vec(value.clone()))));
    if is_active {
        caller.extend(
            [("CONDA_PREFIX", "/opt/it's"), ("CONDA_SHLVL", "1")].map(|(name, value)| (name.into(), value.into())),
        );
    }
    let mut shells = 0;
    for (shell, options, dialect) in SHELLS {
        let surroundings = CallerEnvironment { variables: &caller, root_prefix: Path::new("/opt/conda") };
        let activation = activate(&Prefix::open(directory.path()).unwrap(), surroundings, dialect).unwrap();
        let after = |statements: &[u8]| found(shell, options, statements, &caller);
        let (Some(without), Some(with)) = (after(b""), after(&activation.statements(dialect))) else { continue };
        assert_eq!(with, changed(&activation, without), "{shell}");
        shells += 1;
    }
    assert!(shells > 0, "there is no shell");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_shell_has_the_variables_that_run_sets_byte_for_byte(
        of_state in named(text()),
        of_caller in named(bytes()),
        is_active in any::<bool>(),
    ) {
        check(&of_state, &of_caller, is_active);
    }
}
