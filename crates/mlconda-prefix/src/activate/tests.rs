//! Tests of the computation, one case each.

use super::*;

const ROOT: &str = "/opt/conda";

fn contents(variables: &[(&str, &str)]) -> Contents {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Contents { variables, ..Contents::default() }
}

/// The activation of a prefix with the variables `own`, if the caller has the variables `caller`: a line for each
/// variable that is set.
fn activated(prefix: &str, own: &[(&str, &str)], caller: &[(&str, &str)]) -> String {
    let caller: Vec<(OsString, OsString)> = caller.iter().map(|(key, value)| (key.into(), value.into())).collect();
    let caller = CallerEnvironment { variables: &caller, root_prefix: Path::new(ROOT) };
    let activation = compute(Path::new(prefix), contents(own), Vec::new(), caller);
    let mut lines: Vec<String> = activation
        .all_variables()
        .map(|(name, value)| format!("{}={}", name.display(), value.display()).trim_end().to_owned())
        .collect();
    lines.extend(activation.ignored.iter().map(|name| format!("ignored: {name}")));
    lines.join("\n")
}

#[test]
fn nothing_active() {
    insta::assert_snapshot!(activated("/opt/conda/envs/ml", &[], &[("PATH", "/usr/bin:/bin")]), @"
    PATH=/opt/conda/envs/ml/bin:/usr/bin:/bin
    CONDA_PREFIX=/opt/conda/envs/ml
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=ml
    CONDA_PROMPT_MODIFIER=(ml)
    ");
}

#[test]
fn the_root_prefix_and_a_prefix_elsewhere_have_other_names() {
    insta::assert_snapshot!(activated("/opt/conda", &[], &[("PATH", "/bin")]), @"
    PATH=/opt/conda/bin:/bin
    CONDA_PREFIX=/opt/conda
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=base
    CONDA_PROMPT_MODIFIER=(base)
    ");
    insta::assert_snapshot!(activated("/srv/app", &[], &[("PATH", "/bin")]), @"
    PATH=/srv/app/bin:/bin
    CONDA_PREFIX=/srv/app
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=/srv/app
    CONDA_PROMPT_MODIFIER=(/srv/app)
    ");
}

#[test]
fn path_has_the_prefix_first_and_once() {
    let path = |caller: &[(&str, &str)]| {
        let shown = activated("/e/envs/new", &[], caller);
        shown.lines().next().unwrap_or_default().to_owned()
    };
    for (before, prefix, after) in [
        ("/bin", "", "/e/envs/new/bin:/bin"),
        ("/bin:/e/envs/new/bin/", "", "/e/envs/new/bin:/bin"),
        ("/my:/e/envs/old/bin:/bin", "/e/envs/old", "/e/envs/new/bin:/my:/bin"),
        ("/my:/e/envs/old/bin:/bin", "", "/e/envs/new/bin:/my:/e/envs/old/bin:/bin"),
        ("/e/envs/old/bin", "/e/envs/old/", "/e/envs/new/bin"),
        ("", "", "/e/envs/new/bin:/usr/local/bin:/usr/bin:/bin"),
        ("::/bin", "", "/e/envs/new/bin:::/bin"),
    ] {
        let caller = [("PATH", before), ("CONDA_PREFIX", prefix)];
        assert_eq!(path(&caller), format!("PATH={after}"), "{before} with {prefix:?} active");
    }
    assert_eq!(path(&[]), "PATH=/e/envs/new/bin:/usr/local/bin:/usr/bin:/bin");
}

#[test]
fn another_environment_is_active() {
    let caller = [
        ("PATH", "/opt/conda/envs/old/bin:/bin"),
        ("CONDA_PREFIX", "/opt/conda/envs/old"),
        ("CONDA_SHLVL", "1"),
        ("LEVEL", "outer"),
    ];
    insta::assert_snapshot!(activated("/opt/conda/envs/ml", &[("LEVEL", "inner")], &caller), @"
    PATH=/opt/conda/envs/ml/bin:/bin
    CONDA_PREFIX=/opt/conda/envs/ml
    CONDA_SHLVL=2
    CONDA_DEFAULT_ENV=ml
    CONDA_PROMPT_MODIFIER=(ml)
    CONDA_PREFIX_1=/opt/conda/envs/old
    __CONDA_SHLVL_1_LEVEL=outer
    LEVEL=inner
    ");
}

#[test]
fn the_same_environment_is_active() {
    let caller = [
        ("PATH", "/opt/conda/envs/ml/bin:/bin"),
        ("CONDA_PREFIX", "/opt/conda/envs/ml"),
        ("CONDA_SHLVL", " 1\n"),
        ("LEVEL", "inner"),
    ];
    insta::assert_snapshot!(activated("/opt/conda/envs/ml", &[("LEVEL", "inner")], &caller), @"
    PATH=/opt/conda/envs/ml/bin:/bin
    CONDA_PREFIX=/opt/conda/envs/ml
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=ml
    CONDA_PROMPT_MODIFIER=(ml)
    LEVEL=inner
    ");
}

#[test]
fn a_prefix_baked_into_an_image_is_not_active_yet() {
    let caller = [("PATH", "/opt/conda/envs/ml/bin:/bin"), ("CONDA_PREFIX", "/opt/conda/envs/ml")];
    insta::assert_snapshot!(activated("/opt/conda/envs/ml", &[], &caller), @"
    PATH=/opt/conda/envs/ml/bin:/bin
    CONDA_PREFIX=/opt/conda/envs/ml
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=ml
    CONDA_PROMPT_MODIFIER=(ml)
    ");
}

#[test]
fn variables_are_capitals_unless_taken_back_or_activations_own() {
    let own = [("lower", "1"), ("GONE", "***unset***"), ("PATH", "/x"), ("conda_prefix", "/y")];
    insta::assert_snapshot!(activated("/e", &own, &[("PATH", "/bin"), ("GONE", "stays")]), @"
    PATH=/e/bin:/bin
    CONDA_PREFIX=/e
    CONDA_SHLVL=1
    CONDA_DEFAULT_ENV=/e
    CONDA_PROMPT_MODIFIER=(/e)
    __CONDA_SHLVL_0_GONE=stays
    LOWER=1
    ignored: PATH
    ignored: conda_prefix
    ");
}

#[test]
fn bytes_that_are_no_text_stay() {
    let path = OsString::from_vec(b"/caf\xe9:/e/bin".to_vec());
    let caller = [("PATH".into(), path)];
    let caller = CallerEnvironment { variables: &caller, root_prefix: Path::new(ROOT) };
    let activation = compute(Path::new("/e"), contents(&[]), Vec::new(), caller);
    assert_eq!(activation.path.value().as_bytes(), b"/e/bin:/caf\xe9");
}

fn prefix_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Prefix) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [("conda-meta/history", "")].iter().chain(files) {
        let path = directory.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let prefix = Prefix::open(directory.path()).unwrap();
    (directory, prefix)
}

fn activate_alone(prefix: &Prefix) -> Result<Activation, ActivateError> {
    activate(prefix, CallerEnvironment { variables: &[], root_prefix: Path::new(ROOT) }, Dialect::Posix)
}

#[test]
fn the_environments_variables_win_over_its_packages() {
    let (_directory, prefix) = prefix_with(&[
        ("conda-meta/state", r#"{"version": 1, "env_vars": {"A": "state", "N": 4, "T": true}}"#),
        ("etc/conda/env_vars.d/2.json", r#"{"A": "two", "B": "two"}"#),
        ("etc/conda/env_vars.d/1.json", r#"{"B": "one", "C": "one"}"#),
    ]);
    let activation = activate_alone(&prefix).unwrap();
    let own: Vec<String> = activation
        .variables
        .iter()
        .filter(|(name, _)| name.len() == 1)
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect();
    assert_eq!(own, ["A=state", "B=two", "C=one", "N=4", "T=True"]);
}

#[test]
fn broken_files_of_variables_are_named() {
    let (directory, prefix) = prefix_with(&[("conda-meta/state", "[1")]);
    let shown = |error: ActivateError| error.to_string().replace(directory.path().to_str().unwrap(), "[PREFIX]");
    insta::assert_snapshot!(shown(activate_alone(&prefix).unwrap_err()), @"`[PREFIX]/conda-meta/state` is not a JSON object of variables");
    fs_err::write(directory.path().join("conda-meta/state"), r#"{"env_vars": {"a=b": "1"}}"#).unwrap();
    insta::assert_snapshot!(shown(activate_alone(&prefix).unwrap_err()), @r#"`[PREFIX]/conda-meta/state` sets a variable with an invalid name: "a=b""#);
    fs_err::remove_dir_all(directory.path().join("conda-meta")).unwrap();
    insta::assert_snapshot!(shown(activate_alone(&prefix).unwrap_err()), @"there is no environment in `[PREFIX]`: it has no file `conda-meta/history`");
}
