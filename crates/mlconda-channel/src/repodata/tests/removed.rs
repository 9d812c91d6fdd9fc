//! Packages that a channel has taken back (`removed`): they are as if they had never been, also for whoever names them.

use super::*;
use mlconda_solve as solve;
use mlconda_solve::{Effort, SolveOptions};

/// What comes of locking with these dependencies: the packages, or the explanation.
async fn outcome(world: &World, dependencies: &[&str]) -> String {
    let url = url::Url::from_directory_path(world.channel()).unwrap();
    let text = format!("channels: [\"{url}\"]\ndependencies: {dependencies:?}");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
    let host = Host::baseline(Subdir::Linux64);
    let repodata = world.repodata_of(dependencies, Access::Online).await.unwrap();
    let options = SolveOptions::default();
    match solve::solve(&environment, &repodata, &host, &options) {
        Ok(solution) => {
            let files = solution.records.iter().map(|record| record.identifier.to_file_name());
            mlconda_types::sorting::InOrder::in_order(files).collect::<Vec<_>>().join(" ")
        }
        Err(_) => {
            // An explanation is to know of the versions that no spec allows.
            let client = Client::new(&world.network).unwrap();
            let mut repodata = repodata;
            repodata.add_any_version(&client, &environment).await.unwrap();
            let explanation = solve::explain(&environment, &repodata, &host, &[], &options, Effort::default());
            explanation.unwrap().to_string()
        }
    }
}

#[tokio::test]
async fn what_a_channel_has_taken_back_is_not_chosen_and_not_found() {
    let world = World::new();
    let records = [record("tool", "1.0", &[]), record("tool", "2.0", &[]), record("user", "1.0", &["tool >=2"])];
    let rest = json!({"removed": ["tool-2.0-0.conda"]});
    world.write("noarch/repodata.json", repodata(&rest, "packages.conda", &records));
    assert_eq!(outcome(&world, &["tool"]).await, "tool-1.0-0.conda");
    insta::assert_snapshot!(outcome(&world, &["tool=2"]).await, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    line 2 asks for `tool=2`, and the only version is 1.0
    this line alone has no solution:
      environment.yml:2: tool=2
    this change gives a solution:
      line 2: `tool` instead of `tool=2` (gives tool 1.0)
    ");
    insta::assert_snapshot!(outcome(&world, &["user"]).await, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    └─ line 2 asks for `user`
       └─ user 1.0 needs `tool >=2`
    this line alone has no solution:
      environment.yml:2: user
    ");
}
