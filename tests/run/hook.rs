//! `shell-hook`: the steps of `run` in the syntax of a shell.

use super::*;

/// Values with every character that has a meaning for a shell.
const NASTY: [&str; 5] = ["it's \"so\" $HOME `id` \\ !x", "two\nlines\n", "''", "\\", " *;&|<>(){}#~ \u{e9}\t"];

#[test]
fn the_hook_survives_any_value() {
    let world = World::new("it's $HOME \"nasty\"\n\\dir");
    let variables: serde_json::Map<_, _> =
        NASTY.iter().enumerate().map(|(index, value)| (format!("V{index}"), (*value).into())).collect();
    world.write("envs/ml/conda-meta/state", &serde_json::json!({ "env_vars": variables }).to_string());
    world.write("envs/ml/etc/conda/activate.d/it's.sh", "export SOURCED=yes\n");
    let hook = stdout(&mut world.command(["shell-hook", "-n", "ml"]));
    let prefix = world.root.join("envs/ml");
    let expected = format!("{}\0{}\0yes\0{}/bin:/usr/bin:/bin", NASTY.join("\0"), prefix.display(), prefix.display());
    let show = r#"printf '%s\0' "$V0" "$V1" "$V2" "$V3" "$V4" "$CONDA_PREFIX" "$SOURCED"; printf %s "$PATH""#;
    for shell in ["sh", "bash"] {
        let mut command = Command::new(shell);
        command.arg("-c").arg(format!("eval \"$1\"; {show}")).arg("sh").arg(&hook);
        assert_eq!(stdout(command.env_clear().env("PATH", "/usr/bin:/bin")), expected, "{shell}");
    }
    // `run` must have the same result in another way.
    assert_eq!(stdout(&mut world.command(["run", "sh", "-c", show])), expected);
}

/// Scripts of packages are not written for `set -eu`. They run without it. Afterwards the shell has its options again,
/// whatever the scripts have set.
#[test]
fn scripts_run_without_the_options_of_the_shell_that_evaluates_the_hook() {
    let world = World::new("hook-options");
    let script = "export SEEN=\"<$NOT_SET>\"\nfalse\nfalse | false\nset -e -u -f\n";
    world.write("envs/ml/etc/conda/activate.d/a.sh", script);
    let script = "export MORE=\"<$NOT_SET_EITHER>\"\necho 1 > out; echo 2 > out\nfor file in /*bin*; do MATCHED=$file; done\n\
                  export MATCHED\nset -e -C\n";
    world.write("envs/ml/etc/conda/activate.d/b.sh", script);
    let hook = stdout(&mut world.command(["shell-hook", "-n", "ml"]));
    let sets = ["-eu", "-e", "-u", "-euC", "-euf", "+e", "-euo pipefail"];
    let shells: [&[&str]; 6] = [&["sh"], &["bash"], &["bash", "--posix"], &["zsh"], &["mksh"], &["busybox", "sh"]];
    for (shell, set) in shells.iter().flat_map(|shell| sets.map(|set| (shell, set))) {
        let knows = |what: &str| {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).arg("-c").arg(what).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !knows(&format!("set {set}")) {
            continue;
        }
        let state = "printf '%s ' \"$-\"; case $(set +o) in *'-o pipefail'*) echo pipefail ;; *) echo ;; esac";
        let line = format!("set {set}; {state}; eval \"$1\"; {state}; echo \"$SEEN$MORE ${{__mlconda_options-gone}}\"");
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg("-c").arg(line).arg("sh").arg(&hook);
        let shown = stdout(command.current_dir(&world.root).env_clear().env("PATH", "/usr/bin:/bin"));
        let lines: Vec<&str> = shown.lines().collect();
        // In zsh, `-f` is another option, which the script has set.
        let after = if shell[0] == "zsh" { lines[1].replace('f', "") } else { lines[1].to_owned() };
        let before = if shell[0] == "zsh" { lines[0].replace('f', "") } else { lines[0].to_owned() };
        assert_eq!((after, lines[2]), (before, "<><> gone"), "{shell:?} {set}");
    }
}

#[test]
fn evaluating_the_hook_again_changes_nothing() {
    let world = World::new("hook-again");
    let program = crate::program();
    let once = format!("eval \"$('{program}' shell-hook)\"; ");
    let show = |times: usize| {
        let line = format!("{}echo $PATH $CONDA_PREFIX $CONDA_SHLVL $CONDA_PREFIX_1", once.repeat(times));
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).env_clear().env("MLCONDA_ROOT", &world.root).env("PATH", "/usr/bin:/bin");
        stdout(&mut command)
    };
    let prefix = world.root.join("envs/ml").display().to_string();
    assert_eq!(show(1), format!("{prefix}/bin:/usr/bin:/bin {prefix} 1\n"));
    assert_eq!(show(2), show(1));
}

#[test]
fn the_hook_in_each_language() {
    let world = World::new("languages");
    world.write("envs/ml/conda-meta/state", r#"{"env_vars": {"A": "it's \\"}}"#);
    world.write("envs/ml/etc/conda/activate.d/both.sh", "");
    world.write("envs/ml/etc/conda/activate.d/both.fish", "");
    world.write("envs/ml/etc/conda/activate.d/only.sh", "");
    insta::assert_snapshot!(world.says(["shell-hook"]), @r#"
    code: 0
    __mlconda_options=$(set +o)
    case $- in *e*) __mlconda_options="-o errexit $__mlconda_options" ;; esac
    case $__mlconda_options in *"-o pipefail"*) set +o pipefail ;; esac
    export PATH='[ROOT]/envs/ml/bin'"${PATH:+:$PATH}"
    export CONDA_PREFIX='[ROOT]/envs/ml'
    export CONDA_SHLVL='1'
    export CONDA_DEFAULT_ENV='ml'
    export CONDA_PROMPT_MODIFIER='(ml) '
    export A='it'\''s \'
    set +o errexit +o nounset +o noclobber +o noglob
    . '[ROOT]/envs/ml/etc/conda/activate.d/both.sh' || :
    set +o errexit +o nounset +o noclobber +o noglob
    . '[ROOT]/envs/ml/etc/conda/activate.d/only.sh' || :
    set +o errexit +o nounset +o noclobber +o noglob
    for __mlconda_option in nounset noclobber noglob pipefail errexit; do
      case $__mlconda_options in
        *"-o $__mlconda_option"*) set -o "$__mlconda_option" ;;
        *"+o $__mlconda_option"*) set +o "$__mlconda_option" ;;
      esac
    done
    unset __mlconda_options __mlconda_option
    "#);
    insta::assert_snapshot!(world.says(["shell-hook", "--shell", "fish"]), @r#"
    code: 0
    set -gx PATH '[ROOT]/envs/ml/bin' $PATH
    set -gx CONDA_PREFIX '[ROOT]/envs/ml'
    set -gx CONDA_SHLVL '1'
    set -gx CONDA_DEFAULT_ENV 'ml'
    set -gx CONDA_PROMPT_MODIFIER '(ml) '
    set -gx A 'it\'s \\'
    source '[ROOT]/envs/ml/etc/conda/activate.d/both.fish'
    # not sourced, as it is for another shell: "[ROOT]/envs/ml/etc/conda/activate.d/only.sh"
    "#);
    insta::assert_snapshot!(world.says(["shell-hook", "--json"]), @r#"
    code: 0
    {
      "environment_variables": {
        "A": "it's \\",
        "CONDA_DEFAULT_ENV": "ml",
        "CONDA_PREFIX": "[ROOT]/envs/ml",
        "CONDA_PROMPT_MODIFIER": "(ml) ",
        "CONDA_SHLVL": "1",
        "PATH": "[ROOT]/envs/ml/bin:/usr/bin:/bin"
      },
      "deactivation_scripts": [],
      "activation_scripts": [
        "[ROOT]/envs/ml/etc/conda/activate.d/both.sh",
        "[ROOT]/envs/ml/etc/conda/activate.d/only.sh"
      ]
    }
    "#);
}
