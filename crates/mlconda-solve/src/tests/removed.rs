//! Packages that a channel has removed (`removed`): they are treated as if they had never existed, even if a spec names
//! them.

use std::{path::Path, time::SystemTime};

use mlconda_channel::{
    network::{Client, NetworkOptions},
    repodata::{self, Access, RepodataOptions},
};
use mlconda_environment::{Environment, ReadOptions};
use mlconda_types::{host::Host, sorting::InOrder};
use rattler_conda_types::Subdir;
use serde_json::{Value, json};

use crate::{ExplainEffort, SolveOptions, explain, solve_for_host};

/// A package of the channel: its file name, and its record.
fn record(name: &str, version: &str, depends: &[&str]) -> (String, Value) {
    let record = json!({
        "name": name, "version": version, "build": "0", "build_number": 0, "depends": depends, "subdir": "noarch",
    });
    (format!("{name}-{version}-0.conda"), record)
}

/// The result of locking with these dependencies: the packages, or the explanation.
async fn outcome(directory: &Path, dependencies: &[&str]) -> String {
    let url = url::Url::from_directory_path(directory.join("channel")).unwrap();
    let text = format!("channels: [\"{url}\"]\ndependencies: {dependencies:?}");
    let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
    let environment = Environment::parse(&text, Path::new("environment.yml"), &options).unwrap();
    let host = Host::baseline(Subdir::Linux64);
    let client = Client::new(&NetworkOptions::default()).unwrap();
    let cache = directory.join("repodata");
    let how = RepodataOptions { cache_directory: cache, access: Access::Online, now: SystemTime::now() };
    let mut repodata = repodata::load(&client, &environment, &host, &how, &()).await.unwrap();
    let options = SolveOptions::default();
    match solve_for_host(&environment, &repodata, &host, &options) {
        Ok(solution) => {
            let files = solution.records.iter().map(|record| record.identifier.to_file_name());
            files.in_order().collect::<Vec<_>>().join(" ")
        }
        Err(_) => {
            // The explanation has to know the versions that no spec allows.
            repodata.add_any_version(&client, &environment).await.unwrap();
            let explanation = explain(&environment, &repodata, &host, &[], &options, ExplainEffort::default());
            explanation.unwrap().to_string()
        }
    }
}

#[tokio::test]
async fn what_a_channel_has_taken_back_is_not_chosen_and_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let records = [record("tool", "1.0", &[]), record("tool", "2.0", &[]), record("user", "1.0", &["tool >=2"])];
    let packages: serde_json::Map<_, _> = records.into_iter().collect();
    let noarch = json!({"packages.conda": packages, "removed": ["tool-2.0-0.conda"]});
    for (subdir, text) in [("noarch", noarch.to_string()), ("linux-64", "{}".to_owned())] {
        let subdir = directory.path().join("channel").join(subdir);
        fs_err::create_dir_all(&subdir).unwrap();
        fs_err::write(subdir.join("repodata.json"), text).unwrap();
    }
    assert_eq!(outcome(directory.path(), &["tool"]).await, "tool-1.0-0.conda");
    insta::assert_snapshot!(outcome(directory.path(), &["tool=2"]).await, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    line 2 asks for `tool=2`, and the only version is 1.0
    this line alone has no solution:
      environment.yml:2: tool=2
    this change gives a solution:
      line 2: `tool` instead of `tool=2` (gives tool 1.0)
    ");
    insta::assert_snapshot!(outcome(directory.path(), &["user"]).await, @"
    no set of packages for `linux-64` satisfies what `environment.yml` asks for:
    no version of `tool` will do:
    └─ line 2 asks for `user`
       └─ user 1.0 needs `tool >=2`
    this line alone has no solution:
      environment.yml:2: user
    ");
}
