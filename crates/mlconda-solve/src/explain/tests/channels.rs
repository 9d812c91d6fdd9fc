//! Conflicts between channels: packages that channel priority hides, and channels that lack the package.

use std::sync::Arc;

use super::*;

/// conda's own channels are one channel for a spec that names them, as for the solver.
#[test]
fn what_defaults_consists_of_is_one_channel_in_a_spec() {
    let (main, r) = ("https://repo.anaconda.com/pkgs/main/", "https://repo.anaconda.com/pkgs/r/");
    let repodata = Repodata::new([vec![record(main, "tool-1.0-0", &[])], vec![record(r, "tool-1.1-0", &[])]]);
    let mut asked = environment("- tool=2");
    let channel = Channel { name: Some("defaults".to_owned()), ..Channel::from_url(main.parse::<url::Url>().unwrap()) };
    asked.requirements[0].spec.channel = Some(Arc::new(channel));
    let explanation =
        explain(&asked, &repodata, &linux(), &[], &SolveOptions::default(), ExplainEffort::default()).unwrap();
    assert_snapshot!(explanation.conflicts[0].reasons, @"line 3 asks for `tool=2`, and the versions are 1.0 and 1.1");
}

#[test]
fn a_version_that_channel_priority_hides() {
    let subdirs = [vec![record(FIRST, "tool-1.0-0", &[])], vec![record(SECOND, "tool-2.0-0", &[])]];
    assert_snapshot!(told(&["tool >=2"], &subdirs, SolveOptions::default()), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    ├─ line 3 asks for `tool >=2`
    └─ tool 2.0 is in `https://second.example/lab`, behind a channel that has `tool`, too
    this line alone has no solution:
      environment.yml:3: tool >=2
    each of these changes gives a solution:
      line 3: `tool` instead of `tool >=2` (gives tool 1.0)
      line 3: `https://second.example/lab::tool >=2` instead of `tool >=2` (gives tool 2.0)
      `--channel-priority flexible` (gives tool 2.0)
    ");
    let subdirs = [
        vec![record(FIRST, "tool-1.0-0", &[])],
        vec![record(SECOND, "tool-2.0-0", &[]), record(SECOND, "user-1.0-0", &["tool >=2"])],
    ];
    assert_snapshot!(told(&["user"], &subdirs, SolveOptions::default()), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    ├─ line 3 asks for `user`
    │  └─ user 1.0 needs `tool >=2`
    └─ tool 2.0 is in `https://second.example/lab`, behind a channel that has `tool`, too
    this line alone has no solution:
      environment.yml:3: user
    this change gives a solution:
      `--channel-priority flexible` (gives user 1.0)
    ");
}

#[test]
fn a_channel_that_lacks_what_is_asked_of_it() {
    let subdirs = [vec![record(FIRST, "tool-2.0-0", &[])], vec![record(SECOND, "tool-1.0-0", &[])]];
    let dependency = format!("{SECOND}::tool=2");
    assert_snapshot!(told(&[&dependency], &subdirs, SolveOptions::default()), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    └─ line 3 asks for `https://second.example/lab/::tool=2`
       └─ tool 2.0 is in `https://first.example/lab`, and that is another channel
    this line alone has no solution:
      environment.yml:3: https://second.example/lab/::tool=2
    each of these changes gives a solution:
      line 3: `https://second.example/lab/::tool` instead of `https://second.example/lab/::tool=2` (gives tool 1.0)
      line 3: `tool=2` instead of `https://second.example/lab/::tool=2` (gives tool 2.0)
    ");
}

/// Only the line that names a channel is reported: its channel does not affect the other lines.
#[test]
fn a_line_that_names_a_channel_in_vain_is_told_once() {
    let first = vec![record(FIRST, "tool-3.0-0", &[]), record(FIRST, "tool-4.0-0", &[])];
    let subdirs = [first, vec![record(SECOND, "tool-1.0-0", &[])]];
    let dependency = format!("{SECOND}::tool >=2");
    assert_snapshot!(told(&[&dependency, "tool", "tool=4", "tool >=3"], &subdirs, SolveOptions::default()), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    └─ line 3 asks for `https://second.example/lab/::tool >=2`
       └─ tool 3.0 and 4.0 are in `https://first.example/lab`, and that is another channel
    this line alone has no solution:
      environment.yml:3: https://second.example/lab/::tool >=2
    this change gives a solution:
      line 3: `tool >=2` instead of `https://second.example/lab/::tool >=2` (gives tool 4.0)
    ");
}

/// The first line takes a package from a later channel, where it is hidden from the other lines. Without this line, the
/// others would have no solution.
#[test]
fn what_a_line_takes_from_a_later_channel_is_there_for_the_others() {
    let first = vec![record(FIRST, "tool-1.0-0", &[]), record(FIRST, "enemy-1.0-0", &["tool <2"])];
    let subdirs = [first, vec![record(SECOND, "tool-2.0-0", &[]), record(SECOND, "user-1.0-0", &["tool >=2"])]];
    let dependency = format!("{SECOND}::tool");
    assert_snapshot!(told(&[&dependency, "user", "enemy"], &subdirs, SolveOptions::default()), @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` satisfies all of this:
    ├─ line 4 asks for `user`
    │  └─ user 1.0 needs `tool >=2`
    └─ line 5 asks for `enemy`
       └─ enemy 1.0 needs `tool <2`
    these 2 lines exclude each other:
      environment.yml:4: user
      environment.yml:5: enemy
    this change gives a solution:
      line 5: without `enemy`
    ");
}
