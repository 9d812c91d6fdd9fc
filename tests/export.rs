//! `export`: the installed packages, in a form that installs them again.

use insta::assert_snapshot;
use mlconda_test::context::TestContext;

use crate::world;

/// An environment with packages from two channels, a variable, and a distribution that pip has installed.
fn installed() -> TestContext {
    let world = world();
    world.write(
        "environment.yml",
        "name: ml\nchannels: ['${CHANNELS}/extra', '${CHANNELS}/main']\ndependencies:\n  - where\n  - special=1.0\n  \
         - python=3.11\n  - arrays<1.26\nvariables:\n  SWITCH: 'on'\n",
    );
    world.lock(&[]).success();
    world.mlconda(["install", "env.lock"]).success();
    world
}

/// Installs a distribution as pip does, with these files.
fn pip_install(world: &TestContext, name: &str, files: &[(&str, &str)]) {
    let site = world.named_prefix("ml").join("lib/python3.11/site-packages").join(name);
    fs_err::create_dir_all(&site).unwrap();
    files.iter().for_each(|(file, text)| fs_err::write(site.join(file), text).unwrap());
}

#[test]
fn what_is_installed_is_told_as_conda_does() {
    let world = installed();
    pip_install(&world, "Ruff_Lint-0.4.dist-info", &[("METADATA", "Name: Ruff_Lint\nVersion: 0.4\n\nVersion: 9\n")]);
    pip_install(
        &world,
        "torchlike-2.0.dist-info",
        &[
            ("METADATA", "Metadata-Version: 2.1\nName: torchlike\nVersion: 2.0\n"),
            ("REQUESTED", ""),
            ("direct_url.json", r#"{"url": "https://packages.example.org/torchlike-2.0.whl", "archive_info": {}}"#),
        ],
    );
    let page = include_str!("../docs/environment.md").split("$ mlconda export -n ml\n").nth(1).unwrap();
    let shown = page.split("```").next().unwrap();
    let outcome = world.mlconda(["export", "-n", "ml"]).success();
    let told = world.normal(&outcome.stdout).replace("file://[CHANNELS]", "https://conda.example.org");
    assert_eq!(told, shown);
    assert_snapshot!(world.mlconda(["export", "-n", "ml", "--no-builds"]).success(), @"
    exit code 0
    --- stdout
    name: ml
    channels:
      - file://[CHANNELS]/main
      - file://[CHANNELS]/extra
    dependencies:
      - arrays=1.25.2
      - libarrays=3.2.0
      - pip=24.0
      - python=3.11.9
      - python_abi=3.11
      - file://[CHANNELS]/extra::special=1.0
      - tzdata=2024a
      - file://[CHANNELS]/extra::where=9.0
      - pip:
          - ruff-lint==0.4
          - torchlike @ https://packages.example.org/torchlike-2.0.whl
    variables:
      SWITCH: 'on'
    --- stderr
    ");
    assert_snapshot!(world.mlconda(["export", "-n", "ml", "--from-history", "-o", "asked.yml"]).success(), @"
    exit code 0
    --- stdout
    --- stderr
    `[TEMP]/root/envs/ml` is exported to `asked.yml`.
    ");
    assert_snapshot!(world.normal(&world.read("asked.yml")), @"
    name: ml
    channels:
      - file://[CHANNELS]/main
      - file://[CHANNELS]/extra
    dependencies:
      - arrays<1.26
      - python=3.11
      - file://[CHANNELS]/extra::special=1.0
      - file://[CHANNELS]/extra::where
      - pip:
          - torchlike @ https://packages.example.org/torchlike-2.0.whl
    variables:
      SWITCH: 'on'
    ");
    assert!(
        world.mlconda(["export", "-n", "ml", "--explicit"]).success().stderr.contains("pip has installed 2 packages")
    );
}

/// Every form of export gives the same packages when it is locked and installed again.
#[test]
fn an_export_leads_back_to_what_was_exported() {
    let world = installed();
    let prefix = world.named_prefix("ml");
    for form in ["", "--no-builds", "--from-history", "--explicit"] {
        let file = if form == "--explicit" { "again.lock" } else { "again.yml" };
        let mut arguments = vec!["export", prefix.to_str().unwrap(), "-o", file];
        arguments.extend(Some(form).filter(|form| !form.is_empty()));
        world.mlconda(&arguments).success();
        let outcome = world.mlconda(["install", file, "--dry-run"]).success();
        let nothing = outcome.stderr.contains("Would link 0 packages") && outcome.stderr.contains(" unlink 0 in ");
        assert!(nothing, "{form}: {outcome}");
    }
}

/// A package that was requested as an archive. It is in no channel, and its path was relative to another directory.
#[test]
fn an_archive_of_no_channel_is_told_by_its_url() {
    let world = world();
    let noarch = world.channels().main.path().join("noarch");
    let archives = world.channels().main.archives("noarch").unwrap();
    let archive = archives.iter().find(|archive| archive.starts_with("greet-1")).unwrap();
    let parcel = world.write(&format!("parcels/{archive}"), "");
    fs_err::copy(noarch.join(archive), &parcel).unwrap();
    let text =
        format!("name: ml\nchannels: ['${{CHANNELS}}/main']\ndependencies: [python=3.11, ../parcels/{archive}]\n");
    world.write("project/environment.yml", &text);
    world.lock(&["project/environment.yml"]).success();
    world.mlconda(["install", "env.lock"]).success();
    for form in ["--quiet", "--no-builds", "--from-history"] {
        let outcome = world.mlconda(["export", "-n", "ml", form, "-o", "again.yml"]).success();
        let exported = world.read("again.yml");
        assert!(exported.contains(&format!("  - file://{}\n", parcel.display())), "{form}: {outcome}\n{exported}");
        let outcome = world.mlconda(["install", "again.yml", "--dry-run"]).success();
        assert!(outcome.stderr.contains("Would link 0 packages"), "{form}: {outcome}");
    }
}

/// An environment of archives only can be locked without asking a channel.
#[test]
fn archives_alone_need_no_channel() {
    let world = world();
    let main = &world.channels().main;
    let archives = main.archives("noarch").unwrap();
    let archive = archives.iter().find(|archive| archive.starts_with("tzdata")).unwrap();
    fs_err::copy(main.path().join("noarch").join(archive), world.write(archive, "")).unwrap();
    world.write("environment.yml", &format!("name: ml\nchannels: [nodefaults]\ndependencies: [./{archive}]\n"));
    world.lock(&[]).success();
    world.mlconda(["install", "env.lock"]).success();
    world.mlconda(["export", "-n", "ml", "-o", "again.yml"]).success();
    let outcome = world.mlconda(["install", "again.yml", "--dry-run"]).success();
    assert!(outcome.stderr.contains("Would link 0 packages"), "{outcome}\n{}", world.read("again.yml"));
}

/// As after `pip install --upgrade`: pip's distribution is listed under `pip:`, and conda's package, which was
/// replaced, is not listed.
#[test]
fn what_pip_has_replaced_is_not_condas_any_more() {
    let world = installed();
    let site = world.named_prefix("ml").join("lib/python3.11/site-packages");
    fs_err::remove_dir_all(site.join("pip-24.0.dist-info")).unwrap();
    pip_install(&world, "pip-25.0.dist-info", &[("METADATA", "Name: pip\nVersion: 25.0\n")]);
    let outcome = world.mlconda(["export", "-n", "ml", "--no-builds"]).success();
    assert!(outcome.stdout.contains("- pip:\n      - pip==25.0\n") && !outcome.stdout.contains("pip=24"), "{outcome}");
}

/// A login is masked in mlconda's own records, but not in those of other tools. In both cases, there is a warning about
/// the lock.
#[test]
fn a_lock_with_a_login_or_its_mask_is_warned_of() {
    let world = installed();
    let meta = world.named_prefix("ml").join("conda-meta");
    for (start, channel) in [("where-", "https://********@host/lab"), ("special-", "https://host/t/tk-1/lab")] {
        let mut entries = fs_err::read_dir(&meta).unwrap().map(|entry| entry.unwrap().path());
        let path = entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let file = record["fn"].as_str().unwrap().to_owned();
        record["url"] = format!("{channel}/noarch/{file}").into();
        fs_err::write(&path, record.to_string()).unwrap();
    }
    let outcome = world.mlconda(["export", "-n", "ml", "--explicit", "-o", "again.lock"]).success();
    assert_snapshot!(world.normal(&outcome.stderr), @"
    warning: `********` replaces a login in the URL of `where-9.0-h4bc722e_0.conda`: an installation needs a stored login for the host, or an environment variable there, as in `https://host/t/${TOKEN}/channel`
    warning: the lock shows a login in the URL of `special-1.0-hd8ed1ab_0.conda`: put an environment variable in its place, as in `https://host/t/${TOKEN}/channel`
    `[TEMP]/root/envs/ml` is exported to `again.lock`.
    ");
}

/// Records of older tools have no sha256, and some have no hash at all. The available hash is written, and read back.
#[test]
fn explicit_has_the_md5_where_there_is_no_sha256() {
    let world = world();
    let lock = world.write_lock("env.lock", None, &["tzdata", "where-2.0"]);
    world.mlconda(["install", lock.to_str().unwrap(), "-p", "prefix"]).success();
    let archive = world.channels().main.path().join("noarch/tzdata-2024a-hd8ed1ab_0.conda");
    let md5 = mlconda_test::md5_hex(fs_err::read(archive).unwrap());
    for (file, md5) in [("tzdata-2024a-hd8ed1ab_0", Some(&md5)), ("where-2.0-h4bc722e_0", None)] {
        let path = world.path().join("work/prefix/conda-meta").join(format!("{file}.json"));
        let mut record: serde_json::Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        record.as_object_mut().unwrap().remove("sha256").unwrap();
        record["md5"] = md5.map(String::as_str).into();
        fs_err::write(&path, record.to_string()).unwrap();
    }
    world.mlconda(["export", "prefix", "--explicit", "-o", "again.lock"]).success();
    let text = fs_err::read_to_string(world.path().join("work/again.lock")).unwrap();
    let (_, packages) = text.split_once("@EXPLICIT\n").unwrap();
    assert_snapshot!(world.normal(&packages.replace(&md5, "[MD5]")), @"
    file://[CHANNELS]/main/noarch/tzdata-2024a-hd8ed1ab_0.conda#[MD5]
    file://[CHANNELS]/main/[HOST]/where-2.0-h4bc722e_0.conda
    ");
    world.mlconda(["install", "again.lock", "-p", "another"]).success();
}
