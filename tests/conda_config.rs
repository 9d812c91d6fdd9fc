//! `config`: `.condarc` files are read from the same places as by conda. A change keeps the rest of a file.

use insta::assert_snapshot;
use mlconda_test::context::TestContext;

use crate::world;

/// The text of the `.condarc` in the home directory.
fn condarc(world: &TestContext) -> String {
    fs_err::read_to_string(world.home().join(".condarc")).unwrap_or_default()
}

fn write(world: &TestContext, text: &str) {
    fs_err::create_dir_all(world.home()).unwrap();
    fs_err::write(world.home().join(".condarc"), text).unwrap();
}

#[track_caller]
fn config(world: &TestContext, words: &str) -> mlconda_test::context::Outcome {
    world.mlconda(["conda", "config"].into_iter().chain(words.split_whitespace()))
}

#[test]
fn a_condarc_is_made_and_changed_as_dockerfiles_ask() {
    let world = world();
    config(&world, "--add channels conda-forge").success();
    config(&world, "--append channels bioconda").success();
    config(&world, "--prepend channels lab --set always_yes yes --set changeps1 no").success();
    config(&world, "--set channel_priority strict").success();
    config(&world, "--set auto_activate_base false").success();
    config(&world, "--set remote_read_timeout_secs 60.0").success();
    config(&world, "--set proxy_servers.http http://proxy:3128").success();
    assert_snapshot!(condarc(&world), @r"
    channels:
      - lab
      - conda-forge
      - bioconda
    always_yes: true
    changeps1: false
    channel_priority: strict
    auto_activate_base: false
    remote_read_timeout_secs: '60.0'
    proxy_servers:
      http: http://proxy:3128
    ");
    assert_snapshot!(config(&world, "--get channels always_yes"), @r"
    exit code 0
    --- stdout
    --add channels 'bioconda'   # lowest priority
    --add channels 'conda-forge'
    --add channels 'lab'   # highest priority
    --set always_yes True
    --- stderr
    ");
    config(&world, "--remove channels bioconda").success();
    config(&world, "--remove-key always_yes --remove-key proxy_servers").success();
    assert_snapshot!(config(&world, "--show channels channel_priority"), @r"
    exit code 0
    --- stdout
    channels:
      - lab
      - conda-forge
    channel_priority: strict
    --- stderr
    ");
}

#[test]
fn the_last_channel_that_is_added_is_the_first() {
    let world = world();
    config(&world, "--add channels defaults --add channels lab --add channels conda-forge").success();
    assert_eq!(condarc(&world), "channels:\n  - conda-forge\n  - lab\n  - defaults\n");
    let outcome = config(&world, "--add channels defaults").success();
    assert_snapshot!(outcome.stderr, @"warning: `defaults` is already in the list `channels`, and moves to its top");
    assert_eq!(condarc(&world), "channels:\n  - defaults\n  - conda-forge\n  - lab\n");
}

#[test]
fn what_a_file_says_besides_stays() {
    let world = world();
    write(
        &world,
        "# ours\nchannels: # in order\n- lab   # first\n\n# unknown to everybody\nx_y: {a: 1}\nssl_verify: false # no\n",
    );
    config(&world, "--append channels conda-forge --set ssl_verify /ca.pem").success();
    assert_eq!(
        condarc(&world),
        "# ours\nchannels: # in order\n- lab   # first\n- conda-forge\n\n# unknown to everybody\nx_y: {a: 1}\nssl_verify: /ca.pem # no\n"
    );
}

#[test]
fn mamba_has_words_for_it() {
    let world = world();
    for words in ["append channels conda-forge", "prepend channels lab", "set channel_priority strict"] {
        world.mlconda(["micromamba", "config"].into_iter().chain(words.split(' '))).success();
    }
    assert_eq!(condarc(&world), "channels:\n  - lab\n  - conda-forge\nchannel_priority: strict\n");
    let outcome = world.mlconda(["mamba", "config", "list", "channels", "--json"]).success();
    let told: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(told, serde_json::json!({"channels": ["lab", "conda-forge"]}));
}

#[test]
fn files_and_variables_are_merged_as_by_conda() {
    let mut world = world();
    let root = world.root_prefix().display().to_string();
    world.filter(&root, "[ROOT]");
    config(&world, "--system --add channels of-all").success();
    config(&world, "--system --set always_yes true").success();
    config(&world, "--add channels mine --set always_yes no").success();
    let file = world.write("more.yml", "channels: [named]\n");
    let variables = [("CONDARC", file.to_str().unwrap()), ("CONDA_CHANNELS", "typed,mine")];
    let outcome = world.mlconda_with(["conda", "config", "--show", "channels", "always_yes"], &variables);
    assert_snapshot!(outcome, @r"
    exit code 0
    --- stdout
    channels:
      - typed
      - mine
      - named
      - of-all
    always_yes: False
    --- stderr
    ");
    let outcome = world.mlconda_with(["conda", "config", "--show-sources"], &variables).success();
    let names: Vec<&str> = outcome.stdout.lines().filter(|line| line.starts_with("==>")).collect();
    assert_eq!(names.len(), 4, "{outcome}");
    assert!(names[0].ends_with("/root/.condarc <==") && names[3] == "==> envvars <==", "{outcome}");
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_the_file() {
    let world = world();
    write(&world, "channels: [a]\n");
    let said = |words: &str, code: i32| config(&world, words).failure(code).stderr;
    assert_snapshot!(said("--set channels x", 2), @"error: `channels` is a list: `config --add channels x` adds `x`");
    assert_snapshot!(said("--add always_yes true", 2), @"error: `always_yes` has one value: `config --set always_yes true` sets it");
    assert_snapshot!(said("--add chanels x", 2), @"error: `chanels` is not a key of conda's; there is `channels`");
    assert_snapshot!(said("--set channel_priority high", 2), @"error: `high` is not a channel priority: there are `strict`, `flexible` and `disabled`");
    assert_snapshot!(said("--remove channels x", 1), @r"
    error: the list `channels` does not have `x`
    hint: it has `a`
    ");
    assert_snapshot!(said("--remove-key offline", 1), @"error: the key `offline` is not set");
    assert_snapshot!(said("--describe", 1), @r"
    error: `config --describe` is not supported
    hint: `config --show` shows the settings; conda's documentation describes the keys
    ");
    assert_snapshot!(said("", 2), @"error: `config` needs an action; `config --help` lists them");
    assert_eq!(condarc(&world), "channels: [a]\n");
    write(&world, "channels: [\n");
    assert_eq!(config(&world, "--show").code, 1);
    assert_eq!(condarc(&world), "channels: [\n");
    let outcome = config(&world, "--file own.yml --set unknown_key 1").success();
    assert_snapshot!(outcome.stderr, @"warning: `unknown_key` is written, but has no effect: mlconda does not use this key");
    let outcome = config(&world, "--file own.yml --set ssl_verify false").success();
    assert_snapshot!(outcome.stderr, @"warning: `ssl_verify` is written, but has no effect: certificates are checked; `ssl_verify` can give a file of trusted certificates");
}

#[test]
fn channels_of_a_condarc_count_for_the_words_of_conda_and_for_no_lock() {
    let world = world();
    let base = format!("file://{}", world.channels().directory().display());
    write(&world, &format!("channels: [main]\ncustom_channels:\n  main: {base}\n"));
    world.mlconda(["conda", "create", "-y", "-n", "x", "where"]).success();
    assert!(world.root_prefix().join("etc/profile.d/conda.sh").is_file());
    world.write("own.yml", "dependencies: [where]\nchannels: [main]\n");
    world.mlconda(["conda", "env", "create", "-n", "y", "-f", "own.yml"]).success();
    world.mlconda(["lock", "own.yml"]).failure(1);
    let outcome = world.mlconda(["conda", "create", "-y", "--no-rc", "--offline", "-n", "z", "where"]);
    assert_ne!(outcome.code, 0, "{outcome}");
}

#[test]
fn what_is_to_be_removed_and_is_not_there_is_removed_already() {
    let world = world();
    config(&world, "--add channels conda-forge").success();
    let said = config(&world, "--remove channels defaults").success().stderr;
    assert!(said.contains("does not name `defaults`"), "{said}");
    assert_snapshot!(condarc(&world), @r"
    channels:
      - conda-forge
    ");
}
