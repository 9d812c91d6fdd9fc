//! Shells get `conda activate`: from `init`, from a hook, or from the files of the root prefix.

use insta::assert_snapshot;
use mlconda_test::context::{Outcome, TestContext};

use crate::world;

/// A context with hand-made environments. Each has a program of its own name, which prints the name.
fn with_environments(names: &[&str]) -> TestContext {
    let world = world();
    for name in names {
        let prefix = if *name == "base" { world.root_prefix() } else { world.named_prefix(name) };
        fs_err::create_dir_all(prefix.join("conda-meta")).unwrap();
        fs_err::create_dir_all(prefix.join("etc/conda/activate.d")).unwrap();
        fs_err::create_dir_all(prefix.join("etc/conda/deactivate.d")).unwrap();
        fs_err::write(prefix.join("conda-meta/history"), "").unwrap();
        let state = format!("{{\"env_vars\": {{\"WHICH\": \"{name}\"}}}}");
        fs_err::write(prefix.join("conda-meta/state"), state).unwrap();
        fs_err::write(prefix.join("etc/conda/activate.d/a.sh"), format!("echo on {name}$UNSET_HERE\n")).unwrap();
        fs_err::write(prefix.join("etc/conda/deactivate.d/a.sh"), format!("echo off {name}\n")).unwrap();
    }
    world
}

/// A link to the program with another name.
fn link(world: &TestContext, name: &str) -> std::path::PathBuf {
    let directory = world.path().join("links");
    fs_err::create_dir_all(&directory).unwrap();
    let link = directory.join(name);
    if !link.exists() {
        fs_err::os::unix::fs::symlink(crate::program(), &link).unwrap();
    }
    link
}

/// Runs a script, with the program on the `PATH` under all its names.
fn script_in(world: &TestContext, shell: &[&str], text: &str) -> Outcome {
    for name in ["mlconda", "conda", "mamba", "micromamba"] {
        link(world, name);
    }
    let mut command = world.command(shell[0]);
    let path = format!("{}:/usr/bin:/bin", world.path().join("links").display());
    command.args(&shell[1..]).arg(text).env("PATH", path);
    world.outcome(&mut command)
}

const SHOW: &str =
    "echo \"${CONDA_DEFAULT_ENV-none} $CONDA_SHLVL ${WHICH-unset} $(echo $PATH | tr : '\\n' | grep -c envs)\"\n";

#[test]
fn a_hook_gives_the_shell_activate_and_deactivate() {
    let world = with_environments(&["one", "two"]);
    let text = format!(
        "export WHICH=mine\neval \"$(conda shell.bash hook)\"\n{SHOW}conda activate one\n{SHOW}\
         conda activate two\n{SHOW}conda deactivate\n{SHOW}conda deactivate\n{SHOW}conda deactivate\n{SHOW}"
    );
    for shell in [&["bash", "-euo", "pipefail", "-c"][..], &["bash", "-c"], &["dash", "-euc"], &["sh", "-c"]] {
        let outcome = script_in(&world, shell, &text).success();
        assert_eq!(
            outcome.stdout,
            "none 0 mine 0\non one\none 1 one 1\noff one\non two\ntwo 2 two 1\noff two\non one\none 1 one 1\n\
             off one\nnone 0 mine 0\nnone 0 mine 0\n",
            "{shell:?} {outcome}"
        );
    }
}

#[test]
fn every_way_to_the_functions_leads_to_them() {
    let world = with_environments(&["base", "ml"]);
    let root = world.root_prefix().display().to_string();
    world.mlconda(["conda", "init", "bash"]).success();
    let ways = [
        "eval \"$(conda shell.bash hook)\"; conda activate ml".to_owned(),
        "eval \"$(conda shell.posix hook)\" && mamba activate ml".to_owned(),
        "eval \"$(micromamba shell hook --shell bash)\"; micromamba activate ml".to_owned(),
        "eval \"$(micromamba shell hook -s posix)\"; micromamba activate -n ml".to_owned(),
        "eval \"$(mamba shell hook --shell=bash)\"; mamba activate ml".to_owned(),
        "eval \"$(mlconda conda shell.bash hook)\"; mlconda activate ml".to_owned(),
        "eval \"$(mlconda shell.bash activate ml)\"".to_owned(),
        "eval \"$(micromamba shell activate -s bash ml)\"".to_owned(),
        format!(". {root}/etc/profile.d/conda.sh && conda activate ml"),
        format!(". {root}/etc/profile.d/mamba.sh && mamba activate ml"),
        format!("source {root}/bin/activate ml"),
        format!("PATH={root}/bin:$PATH; source activate ml"),
        format!(". {root}/etc/profile.d/conda.sh && conda activate {root}/envs/ml"),
        ". ~/.bashrc && conda activate ml".to_owned(),
    ];
    for way in ways {
        let outcome = script_in(&world, &["bash", "-c"], &format!("{way}; echo at $CONDA_PREFIX $WHICH"));
        assert!(outcome.stdout.ends_with(&format!("at {root}/envs/ml ml\n")), "{way}: {outcome}");
    }
}

#[test]
fn a_login_shell_activates_what_a_dockerfile_writes_into_its_file() {
    let world = with_environments(&["base", "ml"]);
    world.mlconda(["conda", "init", "bash"]).success();
    let file = world.home().join(".bashrc");
    let text = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, format!("{text}conda activate ml\n")).unwrap();
    fs_err::write(world.home().join(".bash_profile"), ". ~/.bashrc\n").unwrap();
    let outcome = script_in(&world, &["bash", "--login", "-c"], SHOW).success();
    assert_eq!(outcome.stdout, "on base\noff base\non ml\nml 2 ml 1\n");
    world.mlconda(["conda", "config", "--set", "auto_activate_base", "false"]).success();
    let outcome = script_in(&world, &["bash", "--login", "-c"], SHOW).success();
    assert_eq!(outcome.stdout, "on ml\nml 1 ml 1\n");
}

/// A limit of the file size simulates a full disk.
#[test]
fn a_file_of_a_shell_stays_whole_on_a_full_disk() {
    let world = with_environments(&[]);
    let file = world.home().join(".bashrc");
    let text = "alias l=ls\n".repeat(400);
    fs_err::create_dir_all(world.home()).unwrap();
    fs_err::write(&file, &text).unwrap();
    let program = crate::program().to_owned();
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" init bash";
    let outcome = world.run("/bin/sh", &["-c", script, &program]).failure(1);
    assert!(outcome.stderr.contains("cannot write"), "{outcome}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
    let names: Vec<_> = fs_err::read_dir(world.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".bashrc"]);
}

#[test]
fn init_writes_a_block_once_and_takes_it_out_again() {
    let mut world = with_environments(&[]);
    let program = crate::program().to_owned();
    let home = world.home().display().to_string();
    world.filter(&program, "[PROGRAM]");
    world.filter(&home, "[HOME]");
    let file = world.home().join(".bashrc");
    fs_err::create_dir_all(world.home()).unwrap();
    fs_err::write(&file, "alias l=ls").unwrap();
    assert_snapshot!(world.mlconda(["init", "bash"]), @r"
    exit code 0
    --- stdout
    --- stderr
    modified      [HOME]/.bashrc
    For changes to take effect, open a new shell.
    ");
    let text = fs_err::read_to_string(&file).unwrap();
    let root = world.root_prefix().display().to_string();
    assert_snapshot!(world.normal(&text.replace(&root, "[ROOT]")), @r#"
    alias l=ls
    # >>> conda initialize >>>
    # This block is written by `conda init`.
    export MLCONDA_ROOT='[ROOT]'
    export MAMBA_ROOT_PREFIX='[ROOT]'
    if [ -x '[PROGRAM]' ]; then
        eval "$('[PROGRAM]' conda shell.posix hook)"
    fi
    # <<< conda initialize <<<
    "#);
    world.mlconda(["conda", "init"]).success();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
    world.mlconda(["conda", "init", "--all", "--reverse"]).success();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "alias l=ls\n");
    world.mlconda(["micromamba", "shell", "init", "-s", "bash", "-r", &root]).success();
    assert!(fs_err::read_to_string(&file).unwrap().contains("micromamba shell.posix hook"));
    let before = world.tree();
    world.mlconda(["conda", "init", "--all", "--dry-run"]).success();
    assert_eq!(world.tree(), before);
    assert_snapshot!(world.mlconda(["conda", "init", "xonsh"]), @r"
    exit code 1
    --- stdout
    --- stderr
    error: mlconda has no activation for `xonsh`
    hint: bash, zsh, fish and POSIX shells are supported; `mlconda run -n NAME COMMAND` needs no shell
    ");
}

#[test]
fn the_prompt_has_the_name_of_the_active_environment() {
    let world = with_environments(&["one", "two"]);
    let text = "PS1='\\w \"$ '\\''x'; eval \"$(conda shell.bash hook)\"; conda activate one >&2; echo \"$PS1\"
        conda activate two >&2; echo \"$PS1\"; conda deactivate >&2; echo \"$PS1\"; conda deactivate >&2; echo \"$PS1\"";
    let outcome = script_in(&world, &["bash", "-c"], text).success();
    assert_eq!(outcome.stdout, "(one) \\w \"$ 'x\n(two) \\w \"$ 'x\n(one) \\w \"$ 'x\n\\w \"$ 'x\n");
    world.mlconda(["conda", "config", "--set", "changeps1", "false"]).success();
    let outcome = script_in(&world, &["bash", "-c"], text).success();
    assert_eq!(outcome.stdout, "\\w \"$ 'x\n".repeat(4));
}

#[test]
fn an_activation_that_fails_changes_nothing_and_says_so() {
    let world = with_environments(&["ml"]);
    let text = format!("eval \"$(conda shell.bash hook)\"\nconda activate mll; echo $?\n{SHOW}");
    let outcome = script_in(&world, &["bash", "-c"], &text).success();
    assert_eq!(outcome.stdout, "1\nnone 0 unset 0\n");
    assert!(outcome.stderr.contains("there is no environment in"), "{outcome}");
    assert_snapshot!(world.mlconda(["conda", "activate", "ml"]), @r#"
    exit code 1
    --- stdout
    --- stderr
    error: `conda activate` changes the shell that runs it, and this shell has no function for it
    hint: run `eval "$(conda shell.posix hook)"` in this shell first, or `conda init bash` for all new shells
    "#);
}

/// A word too many is a typing error, such as a missing `&&`.
#[test]
fn what_activate_does_not_take_is_refused() {
    let world = with_environments(&["ml"]);
    let refused = |line: &str| {
        let text = format!("eval \"$(conda shell.bash hook)\"\nconda activate ml\n{line}; echo $?\n{SHOW}");
        let outcome = script_in(&world, &["bash", "-c"], &text).success();
        assert_eq!(outcome.stdout, "on ml\n2\nml 1 ml 1\n", "{outcome}");
        outcome.stderr
    };
    assert_snapshot!(refused("conda activate ml python app.py"), @"error: `activate` takes one environment; `python` is one too many");
    assert_snapshot!(refused("conda deactivate ml"), @"error: `deactivate` takes no environment, and `ml` is given");
}

#[test]
fn there_is_a_base_from_the_first_init_on() {
    let world = with_environments(&[]);
    let text = "source activate base && echo $CONDA_DEFAULT_ENV $CONDA_PREFIX";
    world.mlconda(["micromamba", "shell", "init", "-s", "bash"]).success();
    let root = world.root_prefix().display().to_string();
    let outcome = script_in(&world, &["bash", "-c"], &format!("PATH={root}/bin:$PATH; {text}")).success();
    assert_eq!(outcome.stdout, format!("base {root}\n"));
    let base = format!("file://{}/main", world.channels().directory().display());
    world.mlconda(["conda", "install", "-y", "-c", &base, "where"]).success();
    let outcome = script_in(&world, &["bash", "-c"], &format!("PATH={root}/bin:$PATH; {text}; where-am-i")).success();
    assert!(outcome.stdout.starts_with(&format!("base {root}\nprefix: {root}\n")), "{outcome}");
}

#[test]
fn environments_can_be_stacked() {
    let world = with_environments(&["one", "two"]);
    let text = format!(
        "eval \"$(conda shell.bash hook)\"\nconda activate one >&2\nconda activate --stack two >&2\n{SHOW}\
         conda deactivate >&2\n{SHOW}conda deactivate >&2\n{SHOW}"
    );
    let outcome = script_in(&world, &["bash", "-c"], &text).success();
    assert_eq!(outcome.stdout, "two 2 two 2\none 1 one 1\nnone 0 unset 0\n");
}

/// Downloads have names such as `mlconda-x86_64`.
#[test]
fn a_program_with_another_file_name_activates() {
    let world = with_environments(&["ml"]);
    let links = world.path().join("links");
    fs_err::create_dir_all(&links).unwrap();
    crate::copy_program(&world, &links.join("mlconda-x86_64"));
    fs_err::os::unix::fs::symlink(links.join("mlconda-x86_64"), links.join("conda")).unwrap();
    let listed = world.run(links.join("mlconda-x86_64"), &["conda", "info", "--base"]).success();
    assert_eq!(listed.stdout.trim_end(), world.root_prefix().display().to_string());
    let mut command = world.command("bash");
    let path = format!("{}:/usr/bin:/bin", links.display());
    let text = format!("eval \"$(conda shell.bash hook)\"\nconda activate ml\n{SHOW}echo $CONDA_EXE");
    let outcome = world.outcome(command.args(["-c", &text]).env("PATH", path)).success();
    assert_eq!(outcome.stdout, format!("on ml\nml 1 ml 1\n{}\n", links.join("conda").display()));
}
