//! `run` replaces itself by the command, and `shell-hook` prints the same steps for a shell.

mod hook;

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// A root prefix of its own with hand-made environments, and a command with an empty process environment.
struct World {
    root: PathBuf,
}

impl World {
    /// A world with the environment `ml`.
    fn new(test: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("run").join(test);
        let _ = fs_err::remove_dir_all(&root);
        let world = Self { root };
        world.environment("ml");
        world
    }

    fn environment(&self, name: &str) -> PathBuf {
        let prefix = self.root.join("envs").join(name);
        self.write(&format!("envs/{name}/conda-meta/history"), "");
        fs_err::create_dir_all(prefix.join("bin")).unwrap();
        prefix
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text).unwrap();
        path
    }

    fn program(&self, path: &str, text: &str) -> PathBuf {
        let path = self.write(path, text);
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(crate::program());
        command.args(arguments).current_dir(&self.root).env_clear();
        command.env("MLCONDA_ROOT", &self.root).env("HOME", &self.root).env("PATH", "/usr/bin:/bin");
        command
    }

    /// The output of a command on stdout and stderr, with the root as `[ROOT]`, and its exit code.
    fn says<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.told(&self.command(arguments).output().unwrap())
    }

    fn told(&self, output: &Output) -> String {
        let text = format!(
            "code: {}\n{}{}",
            output.status.code().map_or("none".to_owned(), |code| code.to_string()),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        text.replace(self.root.to_str().unwrap(), "[ROOT]")
    }
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_command_has_the_pid_of_mlconda() {
    let world = World::new("pid");
    // The same with a shell.
    for _ in 0..2 {
        let child = world.command(["run", "sh", "-c", "echo $$"]).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        assert_eq!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim(), pid);
        world.write("envs/ml/etc/conda/activate.d/a.sh", "export A=1\n");
    }
}

#[test]
fn signals_reach_the_command() {
    let world = World::new("signals");
    let mut child =
        world.command(["run", "sh", "-c", "echo ready; exec sleep 100"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn a_broken_pipe_kills_the_command_as_it_would_without_us() {
    let world = World::new("broken-pipe");
    let output = world.command(["run", "sh", "-c", "kill -PIPE $$; echo survived"]).output().unwrap();
    assert_eq!(output.status.signal(), Some(13), "{}", world.told(&output));
}

#[test]
fn exit_codes_are_the_commands_own_or_those_of_shells() {
    let world = World::new("codes");
    let code = |arguments: &[&str]| world.command(arguments).output().unwrap().status.code();
    assert_eq!(code(&["run", "sh", "-c", "exit 37"]), Some(37));
    assert_eq!(code(&["run", "nothing-of-this-name"]), Some(127));
    world.write("envs/ml/bin/data", "no program");
    assert_eq!(code(&["run", "data"]), Some(126));
    assert_eq!(code(&["run"]), Some(2));
    assert_eq!(code(&["run", "-n", "other", "true"]), Some(1));
}

#[test]
fn standard_input_is_the_commands() {
    let world = World::new("stdin");
    let mut child =
        world.command(["run", "-n", "ml", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"one\ntwo");
}

#[test]
fn the_commands_options_are_its_own() {
    let world = World::new("options");
    let expected = "-q --help -n x -- -p\n";
    for before in [&["run"][..], &["run", "--"], &["run", "-n", "ml", "--no-capture-output"], &["run", "--live-stream"]]
    {
        let arguments = [before, &["echo", "-q", "--help", "-n", "x", "--", "-p"]].concat();
        assert_eq!(stdout(&mut world.command(arguments)), expected);
    }
}

#[test]
fn argv0_stays_as_typed() {
    let world = World::new("argv0");
    assert_eq!(
        stdout(&mut world.command(["run", "sh", "-c", "tr '\\0' ' ' < /proc/$$/cmdline"])).split(' ').next(),
        Some("sh")
    );
}

#[test]
fn no_shell_is_needed_without_scripts() {
    let world = World::new("no-shell");
    fs_err::os::unix::fs::symlink("/usr/bin/env", world.root.join("envs/ml/bin/env")).unwrap();
    world.write("envs/ml/conda-meta/state", r#"{"env_vars": {"data_dir": "/a b", "GONE": "***unset***"}}"#);
    world.write("envs/ml/etc/conda/env_vars.d/x.json", r#"{"FROM_PACKAGE": "1", "DATA_DIR": "package's"}"#);
    let mut command = world.command(["run", "env"]);
    let shown = stdout(command.env("PATH", "/nowhere")).replace(world.root.to_str().unwrap(), "[ROOT]");
    let mut lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @"
    CONDA_DEFAULT_ENV=ml
    CONDA_PREFIX=[ROOT]/envs/ml
    CONDA_PROMPT_MODIFIER=(ml)
    CONDA_SHLVL=1
    DATA_DIR=/a b
    FROM_PACKAGE=1
    HOME=[ROOT]
    MLCONDA_ROOT=[ROOT]
    PATH=[ROOT]/envs/ml/bin:/nowhere
    ");
}

#[test]
fn scripts_are_sourced_in_order_and_do_not_see_the_command() {
    let world = World::new("scripts");
    world.write("envs/ml/etc/conda/activate.d/b.sh", "export ORDER=\"$ORDER b$#\"; set -- lost; false\n");
    world.write("envs/ml/etc/conda/activate.d/a.sh", "export ORDER=\"a$#:$CONDA_DEFAULT_ENV\"\n");
    world.write("envs/ml/etc/conda/activate.d/c.csh", "nonsense (\n");
    let show = ["run", "sh", "-c", "echo \"$ORDER|$*\"", "sh", "x", "y  z"];
    assert_eq!(stdout(&mut world.command(show)), "a0:ml b0|x y  z\n");
    let show = ["run", "--no-scripts", "sh", "-c", "echo \"$ORDER|$CONDA_DEFAULT_ENV\""];
    assert_eq!(stdout(&mut world.command(show)), "|ml\n");
}

#[test]
fn nested_runs_switch_environments() {
    let world = World::new("nested");
    let program = crate::program();
    world.environment("other");
    for name in ["ml", "other"] {
        for way in ["activate", "deactivate"] {
            let script = format!("export TRACE=\"$TRACE {way}-{name}@$(basename $CONDA_PREFIX)\"\n");
            world.write(&format!("envs/{name}/etc/conda/{way}.d/x.sh"), &script);
        }
    }
    let show = "echo $PATH $CONDA_SHLVL $CONDA_PREFIX_1 $TRACE";
    let other = stdout(&mut world.command(["run", "-n", "ml", program, "run", "-n", "other", "sh", "-c", show]));
    let same = stdout(&mut world.command(["run", "-n", "ml", program, "run", "sh", "-c", show]));
    insta::assert_snapshot!(format!("{other}{same}").replace(world.root.to_str().unwrap(), "[ROOT]"), @"
    [ROOT]/envs/other/bin:/usr/bin:/bin 2 [ROOT]/envs/ml activate-ml@ml deactivate-ml@ml activate-other@other
    [ROOT]/envs/ml/bin:/usr/bin:/bin 1 activate-ml@ml deactivate-ml@ml activate-ml@ml
    ");
}

#[test]
fn works_as_the_shell_of_a_dockerfile() {
    let world = World::new("shell-of-dockerfile");
    world.program("envs/ml/bin/tool", "#!/bin/sh\necho tool of the environment\n");
    let line = ["run", "-n", "ml", "/bin/sh", "-c", "tool && echo done"];
    assert_eq!(stdout(&mut world.command(line)), "tool of the environment\ndone\n");
}

#[test]
fn the_directory_is_changed_first() {
    let world = World::new("cwd");
    world.program("sub/here", "#!/bin/sh\npwd -P\n");
    let shown = stdout(&mut world.command(["run", "--cwd", "sub", "./here"]));
    assert_eq!(Path::new(shown.trim()), fs_err::canonicalize(world.root.join("sub")).unwrap());
    insta::assert_snapshot!(world.says(["run", "--cwd", "none", "true"]), @"
    code: 1
    error: `[ROOT]/none` is not a directory
    ");
}

#[test]
fn what_cannot_be_run_says_why() {
    let world = World::new("why");
    world.program("envs/ml/bin/jupyter-lab", "#!/gone/bin/python\n");
    insta::assert_snapshot!(world.says(["run", "jupyter-la"]), @"
    code: 127
    error: there is no command `jupyter-la` in the environment `[ROOT]/envs/ml` or around it
    hint: there is `jupyter-lab`; searched in `[ROOT]/envs/ml/bin`, `/usr/bin` and `/bin`
    ");
    insta::assert_snapshot!(world.says(["run", "jupyter-lab"]), @"
    code: 126
    error: cannot execute `[ROOT]/envs/ml/bin/jupyter-lab`: No such file or directory (os error 2)
    hint: its interpreter `/gone/bin/python` does not exist
    ");
    insta::assert_snapshot!(world.says(["run", "./conda-meta"]), @"
    code: 127
    error: there is no file `[ROOT]/./conda-meta`
    ");
}

#[test]
fn without_a_name_the_choice_is_told() {
    let world = World::new("choice");
    assert_eq!(stdout(&mut world.command(["run", "sh", "-c", "echo $CONDA_DEFAULT_ENV"])), "ml\n");
    world.environment("other");
    insta::assert_snapshot!(world.says(["run", "true"]), @"
    code: 1
    error: no environment is given, none is active, and there are several
    hint: `[ROOT]/envs` holds `ml` and `other`: choose one with `-n NAME`, or another directory with `-p DIR`
    ");
    insta::assert_snapshot!(world.says(["run", "-n", "mll", "true"]), @"
    code: 1
    error: there is no environment in `[ROOT]/envs/mll`
    hint: `[ROOT]/envs` holds `ml` and `other`: choose one with `-n NAME`, or another directory with `-p DIR`
    ");
    let mut active = world.command(["run", "sh", "-c", "echo $CONDA_DEFAULT_ENV"]);
    assert_eq!(stdout(active.env("CONDA_PREFIX", world.root.join("envs/other"))), "other\n");
}

/// If there are scripts, a shell runs the command, but the message for a missing command must be the same.
#[test]
fn a_command_that_is_not_there_is_told_of_in_the_same_words_with_scripts() {
    let world = World::new("why-with-scripts");
    let script = "export PATH=\"$CONDA_PREFIX/tools:$PATH\"\n";
    world.write("envs/ml/etc/conda/activate.d/a.sh", script);
    world.program("envs/ml/tools/extra", "#!/bin/sh\necho \"extra $*\"\n");
    world.program("envs/ml/bin/jupyter-lab", "#!/gone/bin/python\n");
    insta::assert_snapshot!(world.says(["run", "extra", "--help", "a b"]), @"
    code: 0
    extra --help a b
    ");
    insta::assert_snapshot!(world.says(["run", "jupyter-la"]), @"
    code: 127
    error: there is no command `jupyter-la` in the environment `[ROOT]/envs/ml` or around it
    hint: there is `jupyter-lab`; searched in `[ROOT]/envs/ml/tools`, `[ROOT]/envs/ml/bin`, `/usr/bin` and `/bin`
    ");
    insta::assert_snapshot!(world.says(["run", "jupyter-lab"]), @"
    code: 126
    error: cannot execute `[ROOT]/envs/ml/bin/jupyter-lab`: No such file or directory (os error 2)
    hint: its interpreter `/gone/bin/python` does not exist
    ");
    insta::assert_snapshot!(world.says(["run", "./conda-meta"]), @"
    code: 127
    error: there is no file `[ROOT]/./conda-meta`
    ");
}

#[test]
fn list_shows_what_an_environment_holds() {
    let world = World::new("list");
    for (name, depends) in [("zlib", ""), ("app", "\"zlib\"")] {
        let record = format!(
            r#"{{"name": "{name}", "version": "1.0", "build": "h1_0", "build_number": 0, "subdir": "linux-64",
                "depends": [{depends}], "fn": "{name}-1.0-h1_0.conda", "files": [], "channel": "conda-forge",
                "sha256": "{digest}", "url": "https://conda.anaconda.org/conda-forge/linux-64/{name}-1.0-h1_0.conda"}}"#,
            digest = "ab".repeat(32),
        );
        world.write(&format!("envs/ml/conda-meta/{name}-1.0-h1_0.json"), &record);
    }
    insta::assert_snapshot!(world.says(["list"]), @"
    code: 0
    # Name  Version  Build  Channel
    app     1.0      h1_0   conda-forge
    zlib    1.0      h1_0   conda-forge
    ");
    insta::assert_snapshot!(world.says(["list", "--json", "app"]), @r#"
    code: 0
    [
      {
        "base_url": "https://conda.anaconda.org/conda-forge",
        "build_number": 0,
        "build_string": "h1_0",
        "channel": "conda-forge",
        "dist_name": "app-1.0-h1_0",
        "name": "app",
        "platform": "linux-64",
        "version": "1.0"
      }
    ]
    "#);
    insta::assert_snapshot!(world.says(["list", "--explicit"]), @"
    code: 0
    # mlconda lock: 1
    # platform: linux-64
    @EXPLICIT
    https://conda.anaconda.org/conda-forge/linux-64/zlib-1.0-h1_0.conda#sha256:abababababababababababababababababababababababababababababababab
    https://conda.anaconda.org/conda-forge/linux-64/app-1.0-h1_0.conda#sha256:abababababababababababababababababababababababababababababababab
    ");
}

#[test]
fn a_prefix_is_named_by_a_plain_path() {
    let world = World::new("plain-path");
    let show = ["run", "-p", "./envs/x/../ml/", "sh", "-c", "echo $CONDA_PREFIX $CONDA_DEFAULT_ENV"];
    let shown = stdout(&mut world.command(show));
    assert_eq!(shown, format!("{} ml\n", world.root.join("envs/ml").display()));
}

#[test]
fn info_shows_the_world_around() {
    let world = World::new("info");
    let info: serde_json::Value = serde_json::from_str(&stdout(&mut world.command(["info", "--json"]))).unwrap();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["root_prefix"], world.root.to_str().unwrap());
    assert_eq!(info["environments"], serde_json::json!(["ml"]));
    assert_eq!(info["cache_directory"]["exists"], false);
    assert!(info["virtual_packages"].as_array().unwrap().iter().any(|each| each == "__unix=0=0"), "{info}");
    let text = stdout(&mut world.command(["info"]));
    assert!(text.contains("environments: ml\n") && text.contains("(does not exist"), "{text}");
}

/// A shell that reads a FIFO waits for ever, and one that reads `/dev/zero` never ends.
#[test]
fn what_is_no_file_among_the_scripts_is_passed_over() {
    let world = World::new("irregular");
    world.write("envs/ml/etc/conda/activate.d/a.sh", "export A=1\n");
    let scripts = world.root.join("envs/ml/etc/conda/activate.d");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, scripts.join("b.sh"), fifo, 0o600.into(), 0).unwrap();
    fs_err::os::unix::fs::symlink("/dev/zero", scripts.join("c.sh")).unwrap();
    let said = world.says(["shell-hook"]);
    assert!(said.contains("activate.d/a.sh") && !said.contains("b.sh") && !said.contains("c.sh"), "{said}");
}
