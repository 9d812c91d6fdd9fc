//! The index and the resolver: logins, missing responses, and the origin of `uv`.

use insta::assert_snapshot;

use super::*;

#[test]
fn logins_reach_the_index_and_nothing_else() {
    let world = world();
    let server =
        serve(&world, &[Wheel::new("a", "1.0").requires("no-such-project").into(), Wheel::new("b", "1.0").into()]);
    let url = Index::url(&server).replace("http://", "http://me:${TOKEN}@");
    let attempt = |line: &str| {
        write(&world, &[&format!("--index-url {url}"), line]);
        let (uv, path) = resolver();
        let mut command = world.mlconda_command(["lock", "--json"]);
        command.env("MLCONDA_UV", uv).env("PATH", path).env("TOKEN", "s3cret").env("HOME", world.developer());
        world.outcome(&mut command)
    };
    let told = attempt("b").success();
    assert!(!format!("{}{}", told.stdout, told.stderr).contains("s3cret"), "{told}");
    assert!(world.read("env.lock").contains("# pip b @ http://me:${TOKEN}@127.0.0.1"), "{}", world.read("env.lock"));
    let asked = server.requests();
    let login =
        asked.iter().find(|request| request.path == "simple/b/" && request.headers.contains_key("authorization"));
    // `me:s3cret`, in base64.
    assert_eq!(login.map(|request| request.headers["authorization"].as_str()), Some("Basic bWU6czNjcmV0"));
    let told = attempt("a").failure(1);
    assert!(told.stderr.contains("no-such-project") && !told.stderr.contains("s3cret"), "{told}");
    server.fail("simple", Fault::Status(401));
    let told = attempt("c").failure(1);
    assert!(told.stderr.contains("401") && !told.stderr.contains("s3cret"), "{told}");
}

#[test]
fn an_index_that_does_not_answer_is_named() {
    let world = world();
    write(&world, &["a"]);
    let url = unreachable_url().unwrap().replace("http://", "http://me:s3cret@");
    assert_snapshot!(lock(&world, &format!("{url}/simple"), &[]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: the `pip:` list cannot be locked for [HOST]:
      Failed to fetch: http://127.0.0.1:[PORT]/simple/a/
      error sending request for url (http://127.0.0.1:[PORT]/simple/a/)
      client error (Connect)
      tcp connect error
      Connection refused (os error [NUMBER])
      asked for: `a` (environment.yml:9)
    hint: check the network, the index (`PIP_INDEX_URL`, `pip.conf`, `--index-url` in the list), `HTTPS_PROXY` and `NO_PROXY`; `--offline` uses cached data
    ");
}

/// The channel's uv and python are scripts that call those of the machine. The test checks that the channel's are used.
#[test]
fn without_uv_it_comes_from_the_channels() {
    let world = world();
    let (uv, path) = resolver();
    let python =
        std::env::split_paths(&path).map(|directory| directory.join("python3")).find(|python| python.is_file());
    let script = |program: &Path| format!("#!/bin/sh\nexec {} \"$@\"\n", program.display());
    let python = PackageBuilder::new("python", "3.11.9").executable("bin/python", script(&python.unwrap()));
    let uv = PackageBuilder::new("uv", "0.13.9").executable("bin/uv", script(&uv));
    let tool = PackageBuilder::new("tool", "1.0").noarch(Noarch::Python).depends("python");
    let server = serve(&world, &[Wheel::new("a", "1.0").requires("tool").into()]);
    let attempt = |packages: &[PackageBuilder], name: &str| {
        Channel::write(world.work().join(name), packages, &[]).unwrap();
        world.write(
            "environment.yml",
            &format!("channels: [./{name}]\ndependencies:\n  - python\n  - tool\n  - pip: [a]\n"),
        );
        let mut command = world.mlconda_command(["lock", "--no-pip"]);
        command.env("PATH", "/nowhere").env("PIP_INDEX_URL", Index::url(&server));
        world.outcome(&mut command)
    };
    let pip = PackageBuilder::new("pip", "24.0").noarch(Noarch::Python).depends("python");
    let packages = [python.clone(), tool.clone(), pip.clone()];
    assert_snapshot!(attempt(&packages, "without").failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    warning: environment.yml:5:11: there is a `pip:` list, and `pip` is not among the dependencies; it is added, as conda does
    error: the `pip:` list is resolved by `uv`, which is not on this machine, nor in the environment's channels: none has `uv` for `[HOST]`
    hint: install uv so that it is on `PATH`, or set `MLCONDA_UV` to its path, or add a channel that has it, such as conda-forge
    ");
    attempt(&[python, tool, pip, uv], "with").success();
    assert!(pip_lines(&world, "env.lock").contains("# pip a @ "));
    let tools: Vec<_> = fs_err::read_dir(world.home().join(".cache/mlconda/tools")).unwrap().collect();
    assert_eq!(tools.len(), 1);
}

/// A page on a server links to a local wheel: neither `lock` nor a later `install` may read it.
#[test]
fn an_index_leads_to_no_file_of_this_machine() {
    let world = world();
    let server = serve(&world, &[Wheel::new("app", "1.0").into()]);
    let page = world.path().join("index/simple/app");
    fs_err::remove_file(page.join("index.json")).unwrap();
    let files = format!("file://{}/", world.path().join("index/files").display());
    let html = fs_err::read_to_string(page.join("index.html")).unwrap();
    fs_err::write(page.join("index.html"), html.replace("../../files/", &files)).unwrap();
    write(&world, &["app"]);
    let outcome = lock(&world, &Index::url(&server), &[]).failure(1).to_string();
    assert!(outcome.contains("app"), "{outcome}");
    assert!(!world.work().join("env.lock").exists());
    // A directory that the user names is trusted.
    write(&world, &["app", &format!("--find-links {}", world.path().join("index/files").display())]);
    lock(&world, &Index::url(&server), &[]).success();
}
