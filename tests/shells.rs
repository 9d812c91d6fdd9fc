//! `shell-hook`, `init`, `activate` and `deactivate` in each shell. Shells that are not installed are skipped with a
//! message; `.ci/run` installs all of them.

use mlconda_test::context::{Outcome, TestContext};

use crate::world;

/// A shell: its name, the arguments before a script, how conda's hook is evaluated, and the extension of its scripts.
struct Shell {
    name: &'static str,
    arguments: &'static [&'static str],
    hook: &'static str,
    end: &'static str,
}

const SHELLS: [Shell; 5] = [
    Shell { name: "sh", arguments: &["-euc"], hook: "eval \"$(conda shell.posix hook)\"", end: "sh" },
    Shell { name: "dash", arguments: &["-euc"], hook: "eval \"$(conda shell.posix hook)\"", end: "sh" },
    Shell { name: "bash", arguments: &["-euc"], hook: "eval \"$(conda shell.bash hook)\"", end: "sh" },
    Shell { name: "zsh", arguments: &["-f", "-euc"], hook: "eval \"$(conda shell.zsh hook)\"", end: "sh" },
    Shell { name: "fish", arguments: &["--no-config", "-c"], hook: "conda shell.fish hook | source", end: "fish" },
];

/// Whether the shell is installed. Prints a message if it is not.
#[allow(clippy::print_stderr, reason = "who runs the tests is to see that a shell was left out")]
fn is_here(shell: &str) -> bool {
    let is_here = std::env::split_paths("/usr/local/bin:/usr/bin:/bin").any(|place| place.join(shell).exists());
    if !is_here {
        eprintln!("left out: `{shell}` is not installed");
    }
    is_here
}

/// A context with the environments `one` and `two`, whose scripts print that they run.
fn with_environments() -> TestContext {
    let world = world();
    let links = world.path().join("links");
    fs_err::create_dir_all(&links).unwrap();
    fs_err::create_dir_all(world.home()).unwrap();
    for name in ["mlconda", "conda", "mamba", "micromamba"] {
        fs_err::os::unix::fs::symlink(crate::program(), links.join(name)).unwrap();
    }
    for name in ["one", "two"] {
        let prefix = world.named_prefix(name);
        for directory in ["activate.d", "deactivate.d"] {
            let directory = prefix.join("etc/conda").join(directory);
            fs_err::create_dir_all(&directory).unwrap();
            let word = if directory.ends_with("activate.d") { "on" } else { "off" };
            for end in ["sh", "fish"] {
                fs_err::write(directory.join(format!("a.{end}")), format!("echo {word} {name} by {end}\n")).unwrap();
            }
        }
        fs_err::create_dir_all(prefix.join("conda-meta")).unwrap();
        fs_err::write(prefix.join("conda-meta/history"), "").unwrap();
        fs_err::write(prefix.join("conda-meta/state"), format!("{{\"env_vars\": {{\"WHICH\": \"{name}'s $x\"}}}}"))
            .unwrap();
    }
    world
}

fn run(world: &TestContext, shell: &str, arguments: &[&str], script: &str) -> Outcome {
    let mut command = world.command(shell);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", world.path().join("links").display());
    command.args(arguments).arg(script).env("PATH", path).env("WHICH", "mine").env("TERM", "dumb");
    world.outcome(&mut command)
}

const SHOW: &str = "printf '%s %s %s\\n' \"$CONDA_DEFAULT_ENV\" \"$CONDA_SHLVL\" \"$WHICH\"\n";

#[test]
fn every_shell_activates_and_deactivates() {
    let world = with_environments();
    for Shell { name, arguments, hook, end } in SHELLS.iter().filter(|shell| is_here(shell.name)) {
        let script = format!(
            "{hook}\nconda activate one\n{SHOW}conda activate two\n{SHOW}conda activate --stack one\n{SHOW}\
             conda deactivate\nconda deactivate\n{SHOW}conda deactivate\nprintf '%s\\n' \"$CONDA_SHLVL $WHICH\"\n"
        );
        let said = run(&world, name, arguments, &script).success().stdout;
        let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('o') || !line.contains(" by ")).collect();
        assert_eq!(lines, ["one 1 one's $x", "two 2 two's $x", "one 3 one's $x", "one 1 one's $x", "0 mine"], "{name}");
        for script in ["on one", "off one", "on two", "off two"] {
            assert!(said.contains(&format!("{script} by {end}\n")), "{name}: {said}");
        }
    }
}

/// The variable stayed set in a shell in which the environment was active. `WHICH` has a value of the caller's, `ZZ` has
/// none.
#[test]
fn a_variable_that_is_unset_goes_from_an_active_shell() {
    let show = "printf '%s %s\\n' \"${ZZ-none}\" \"$WHICH\"\n";
    let set = "conda env config vars set -n one ZZ=1 WHICH=two >&2\n";
    let unset = "conda env config vars unset -n one ZZ WHICH >&2\n";
    for Shell { name, arguments, hook, .. } in SHELLS.iter().filter(|shell| is_here(shell.name)) {
        let world = with_environments();
        let show = if *name == "fish" { show.replace("${ZZ-none}", "$ZZ") } else { show.to_owned() };
        let none = if *name == "fish" { "" } else { "none" };
        let (on, off) = ("conda activate one >&2\n", "conda deactivate >&2\n");
        let script = format!(
            "{hook}\n{set}{on}{show}{unset}{off}{show}mlconda run -n one printenv ZZ >&2 || echo no\n\
             {set}{on}{unset}{off}{show}{on}{show}conda env config vars list -n one\n{off}{show}"
        );
        let said = run(&world, name, arguments, &script).success().stdout;
        let mine = format!("{none} mine\n");
        assert_eq!(said, format!("1 two\n{mine}no\n{mine}{mine}{mine}"), "{name}");
    }
}

#[test]
fn an_environment_that_is_not_there_leaves_every_shell_as_it_was() {
    let world = with_environments();
    for Shell { name, arguments, hook, .. } in SHELLS.iter().filter(|shell| is_here(shell.name)) {
        let script = format!("{hook}\nconda activate three || echo refused\nprintf '%s\\n' \"$WHICH\"\n");
        let outcome = run(&world, name, arguments, &script).success();
        assert_eq!(outcome.stdout, "refused\nmine\n", "{name}");
        assert!(outcome.stderr.contains("there is no environment in"), "{name}: {outcome}");
    }
}

#[test]
fn what_shell_hook_prints_is_understood_by_every_shell() {
    let world = with_environments();
    for Shell { name, arguments, end, .. } in SHELLS.iter().filter(|shell| is_here(shell.name)) {
        let hook = match *name {
            "fish" => "mlconda shell-hook -n one --shell fish | source".to_owned(),
            "dash" | "sh" => "eval \"$(mlconda shell-hook -n one --shell posix)\"".to_owned(),
            name => format!("eval \"$(mlconda shell-hook -n one --shell {name})\""),
        };
        let said = run(&world, name, arguments, &format!("{hook}\n{SHOW}")).success().stdout;
        assert_eq!(said, format!("on one by {end}\none 1 one's $x\n"), "{name}");
    }
}

#[test]
fn new_shells_know_activate_after_init() {
    let world = with_environments();
    world.mlconda(["conda", "config", "--set", "auto_activate_base", "false"]).success();
    for (name, arguments) in [("bash", ["-ic"]), ("zsh", ["-ic"]), ("fish", ["-c"])] {
        if !is_here(name) {
            continue;
        }
        for tool in ["conda", "mamba", "micromamba"] {
            let words: &[&str] =
                if tool == "micromamba" { &[tool, "shell", "init", "-s", name] } else { &[tool, "init", name] };
            world.mlconda(words).success();
            let script = format!("{tool} activate one >&2; {SHOW}{tool} deactivate >&2; printf '%s\\n' \"$WHICH\"");
            assert_eq!(run(&world, name, &arguments, &script).stdout, "one 1 one's $x\nmine\n", "{name} {tool}");
        }
        world.mlconda(["conda", "init", "--reverse", name]).success();
    }
}

#[test]
fn a_shell_of_another_language_is_refused_with_the_way() {
    let world = with_environments();
    for words in [&["conda", "shell.tcsh", "hook"][..], &["conda", "init", "tcsh"], &["shell-hook", "-n", "one"]] {
        let outcome = world.mlconda_with(words, &[("SHELL", "/bin/tcsh")]).failure(1);
        let words = "error: mlconda has no activation for `tcsh`\nhint: bash, zsh, fish and POSIX shells are supported";
        assert!(outcome.stderr.starts_with(words), "{outcome}");
    }
    world.mlconda_with(["shell-hook", "-n", "one", "--shell", "posix"], &[("SHELL", "/bin/tcsh")]).success();
}
