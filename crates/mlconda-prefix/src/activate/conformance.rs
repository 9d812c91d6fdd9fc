//! Compares our shell statements with those of the crate `rattler_shell`: both are run, and the resulting variables are
//! compared.

use std::{collections::BTreeMap, path::Path, process::Command};

use rattler_conda_types::Subdir;
use rattler_shell::{
    activation::{ActivationVariables, Activator, PathModificationBehavior},
    shell::{self, Shell},
};
use tempfile::TempDir;

use super::{CallerEnvironment, Dialect, activate};
use crate::Prefix;

type Variables = BTreeMap<String, String>;

/// A prefix with variables and scripts. All of them contain `word`.
fn prefix(word: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = directory.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text.replace("WORD", word)).unwrap();
    };
    put("conda-meta/history", "");
    put("conda-meta/state", r#"{"env_vars": {"OWN": "WORD's own", "both": "of the environment"}}"#);
    put("etc/conda/env_vars.d/a.json", r#"{"PACKAGE": "two  words \"and\" more", "BOTH": "of a", "LAST": "of a"}"#);
    put("etc/conda/env_vars.d/b.json", r#"{"LAST": "of b", "GLOB": "*?[a]; & | < > ~ # !"}"#);
    put("etc/conda/activate.d/a.sh", "export BY_A=WORD\nexport ORDER=\"$ORDER a-$OWN\"\n");
    put("etc/conda/activate.d/b.sh", "export ORDER=\"$ORDER b-$CONDA_PREFIX\"\n");
    put("etc/conda/activate.d/a.fish", "set -gx BY_A WORD\nset -gx ORDER \"$ORDER a-$OWN\"\n");
    put("etc/conda/deactivate.d/a.sh", "unset BY_A\nexport LEFT=\"$LEFT WORD\"\n");
    put("etc/conda/deactivate.d/a.fish", "set -e BY_A\nset -gx LEFT \"$LEFT WORD\"\n");
    directory
}

/// The variables of a shell after it has run some statements.
fn after(shell: &[&str], statements: &str, variables: &Variables) -> Variables {
    let script = format!("{statements}\n/usr/bin/env -0\n");
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).env_clear().envs(variables);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{shell:?}: {}\n{statements}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.split('\0').filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn ours(shell: &[&str], dialect: Dialect, directory: &Path, variables: &Variables) -> Variables {
    let caller: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let caller = CallerEnvironment { variables: &caller, root_prefix: Path::new("/opt/conda") };
    let activation = activate(&Prefix::open(directory).unwrap(), caller, dialect).unwrap();
    after(shell, &String::from_utf8(activation.statements(dialect)).unwrap(), variables)
}

fn theirs<T: Shell + Clone + 'static>(shell: &[&str], kind: T, directory: &Path, variables: &Variables) -> Variables {
    let caller = ActivationVariables {
        conda_prefix: variables.get("CONDA_PREFIX").map(Into::into),
        path: None,
        path_modification_behavior: PathModificationBehavior::Prepend,
        current_env: variables.clone().into_iter().collect(),
    };
    let activator = Activator::from_path(directory, kind, Subdir::Linux64).unwrap();
    after(shell, &activator.activation(caller).unwrap().script.contents().unwrap(), variables)
}

/// Variables that only one of the two sets, with the reasons. A final `*` stands for any text.
const DIFFERENCES: &[(&str, &str)] = &[
    ("CONDA_DEFAULT_ENV", "conda sets it, and prompts and tools read it"),
    ("CONDA_PROMPT_MODIFIER", "conda sets it, and prompts read it"),
    ("CONDA_PREFIX_1", "conda keeps the prefix before under this name"),
    ("__CONDA_SHLVL_*", "conda keeps the values before under these names"),
    ("CONDA_ENV_SHLVL_*", "the library's own names for the same"),
    ("_", "the program that a shell ran last"),
    ("SHLVL", "how many shells there are"),
];

fn compared(mut variables: Variables) -> Variables {
    variables.retain(|name, _| {
        !DIFFERENCES.iter().any(|(known, _)| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == known,
        })
    });
    variables
}

/// Runs a comparison in each shell that is installed.
fn in_every_shell(directory: &Path, variables: &Variables) {
    let is_here = |name: &str| Command::new(name).args(["-c", "true"]).output().is_ok();
    let both = |name: &str, arguments: &[&str]| {
        let shell: Vec<&str> = [name].iter().chain(arguments).copied().collect();
        let (dialect, theirs) = match name {
            "fish" => (Dialect::Fish, theirs(&shell, shell::Fish, directory, variables)),
            "zsh" => (Dialect::Posix, theirs(&shell, shell::Zsh, directory, variables)),
            _ => (Dialect::Posix, theirs(&shell, shell::Bash::default(), directory, variables)),
        };
        assert_eq!(compared(ours(&shell, dialect, directory, variables)), compared(theirs), "{name}");
    };
    for (name, arguments) in [("bash", &["--norc", "-c"][..]), ("zsh", &["-f", "-c"]), ("fish", &["--no-config", "-c"])]
    {
        if is_here(name) {
            both(name, arguments);
        }
    }
}

fn variables(more: &[(&str, &str)]) -> Variables {
    let usual = [("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("OWN", "the caller's"), ("BY_A", "nobody")];
    usual.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_first_activation_sets_what_the_library_sets() {
    let one = prefix("one");
    in_every_shell(one.path(), &variables(&[]));
    in_every_shell(one.path(), &variables(&[("CONDA_SHLVL", "0")]));
}

#[test]
fn a_second_activation_sets_what_the_library_sets() {
    let (one, two) = (prefix("one"), prefix("two"));
    let name = one.path().to_str().unwrap();
    let more = [("CONDA_PREFIX", name), ("CONDA_SHLVL", "1"), ("PACKAGE", "of one")];
    in_every_shell(two.path(), &variables(&more));
}
