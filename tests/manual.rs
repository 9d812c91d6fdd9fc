//! The manual: runs the commands of `docs/commands.md` and `docs/inspect.md`, and checks `--help`, completions and
//! manual pages.

use std::collections::BTreeSet;

use mlconda_test::context::TestContext;

use crate::world;

/// The directory of the test channels, as the manual calls it.
const CHANNELS: &str = "file:///srv/channels";

/// A context with the environment of the manual.
fn story() -> TestContext {
    let world = world();
    let page = docs("commands.md");
    let yaml = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    world.write("environment.yml", &yaml.replace(CHANNELS, "${CHANNELS}"));
    world
}

fn docs(name: &str) -> String {
    fs_err::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// The output of a command in the manual. For a pipe into `head`, its first lines.
fn told(world: &TestContext, line: &str) -> String {
    let (command, lines) = match line.split_once(" | head -") {
        Some((command, lines)) => (command, lines.parse().unwrap()),
        None => (line, usize::MAX),
    };
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!(words[0], "mlconda", "{line}");
    let outcome = world.mlconda(&words[1..]);
    let text: String = outcome.stdout.lines().take(lines).map(|line| format!("{line}\n")).collect();
    let channels = format!("file://{}", world.channels().directory().display());
    let text = (text + &outcome.stderr).replace(&channels, CHANNELS);
    text.replace(world.root_prefix().to_str().unwrap(), "/opt/conda").replace(world.work().to_str().unwrap(), "/work")
}

/// The page with the current output of its commands.
fn rewritten(world: &TestContext, page: &str) -> String {
    let (mut new, mut is_console) = (String::new(), false);
    for line in page.lines() {
        match line.strip_prefix("$ ").filter(|_| is_console) {
            Some(command) => new.push_str(&format!("$ {command}\n{}", told(world, command))),
            None if is_console && line != "```" => {}
            None => new.push_str(&format!("{line}\n")),
        }
        is_console = if line.starts_with("```") { line == "```console" } else { is_console };
    }
    new
}

/// With `MLCONDA_TEST_WRITE_DOCS=1`, the pages are updated.
#[test]
#[allow(clippy::disallowed_methods, reason = "whoever runs the tests says whether the pages are written")]
fn what_the_manual_shows_is_what_is_said() {
    let world = story();
    for name in ["commands.md", "inspect.md"] {
        let (page, new) = (docs(name), rewritten(&world, &docs(name)));
        if std::env::var_os("MLCONDA_TEST_WRITE_DOCS").is_some() {
            fs_err::write(path(name), &new).unwrap();
        }
        let normal = |text: &str| text.lines().map(|line| format!("{}\n", world.normal(line))).collect::<String>();
        let (told, shown) = (normal(&new), normal(&page));
        let first = told.lines().zip(shown.lines()).find(|(told, shown)| told != shown);
        assert!(told == shown, "docs/{name} shows something else than is said, first: {first:?}");
    }
}

/// The names under `Commands:` of `mlconda --help`.
fn commands(world: &TestContext) -> BTreeSet<String> {
    let help = world.mlconda(["--help"]).success().stdout;
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names =
        listed.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_its_place_in_the_manual() {
    let world = world();
    let page = docs("commands.md");
    let headings: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(commands(&world), headings);
    for command in &headings {
        assert!(page.contains(&format!("[{command}](#{command})")), "the table of docs/commands.md lacks `{command}`");
    }
}

#[test]
fn completions_and_pages_know_every_command() {
    let world = world();
    let commands = commands(&world);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.mlconda(["completions", shell]).success().stdout;
        let lacking: Vec<&String> = commands.iter().filter(|command| !script.contains(command.as_str())).collect();
        assert!(lacking.is_empty() && script.contains("override-channels"), "{shell} lacks {lacking:?}");
    }
    world.mlconda(["man", "--directory", "pages"]).success();
    for command in &commands {
        let page = world.read(&format!("pages/mlconda-{command}.1"));
        assert!(page.contains(&format!("mlconda\\-{}", command.replace('-', "\\-"))), "{page}");
    }
    let (program, lock) = (world.read("pages/mlconda.1"), world.read("pages/mlconda-lock.1"));
    assert!(
        commands.iter().all(|command| program.contains(&format!("\n.B {}\n", command.replace('-', "\\-")))),
        "{program}"
    );
    assert!(lock.contains("\n.B \\-o, \\-\\-output <"), "{lock}");
    assert_eq!(world.mlconda(["man", "lock"]).success().stdout, world.read("pages/mlconda-lock.1"));
    world.mlconda(["man", "nothing"]).failure(2);
}
