//! `size`: which packages and files use the space of a lock or an environment.

use insta::assert_snapshot;
use serde_json::Value;

use crate::world;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_environment_is_measured_by_package_by_kind_and_by_who_asked() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "frames"]);
    world.mlconda(["install", "env.lock"]).success();
    let size = world.mlconda(["size", "-n", "small", "--json"]).success();
    let size = &json(&size.stdout)[0];
    let sum =
        |key: &str| -> u64 { size[key].as_array().unwrap().iter().map(|each| each["bytes"].as_u64().unwrap()).sum() };
    let (total, untracked) = (size["bytes"].as_u64().unwrap(), size["untracked"]["bytes"].as_u64().unwrap());
    assert_eq!(sum("kinds"), total);
    assert_eq!(sum("packages") + untracked, total);
    // The sizes on the disk.
    let du = world.run(
        "sh",
        &[
            "-c",
            &format!(
                "find '{}' -type f -printf '%i %s\\n' | sort -u | awk '{{ s += $2 }} END {{ print s }}'",
                world.named_prefix("small").display()
            ),
        ],
    );
    assert_eq!(du.success().stdout.trim(), total.to_string());
    let package = |name: &str| size["packages"].as_array().unwrap().iter().find(|each| each["name"] == name).unwrap();
    assert_eq!((&package("frames")["asked"], &package("libarrays")["asked"]), (&"frames".into(), &"frames".into()));
    let text = world.mlconda(["size", "-n", "small", "--top", "1"]).success().stdout;
    let heads: Vec<&str> =
        text.lines().filter(|line| line.contains(" size  ")).map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(heads, ["package", "kind of file", "asked for"], "{text}");
    assert!(text.contains("pip (comes with python)"), "{text}");
    assert!(text.contains("\n(the other 6 packages)  "), "{text}");
}

#[test]
fn a_lock_is_measured_by_what_is_to_be_downloaded() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "frames"]);
    let size = json(&world.mlconda(["size", "env.lock", "--json"]).success().stdout);
    let tree = json(&world.mlconda(["tree", "env.lock", "--json"]).success().stdout);
    let archives: u64 = tree["packages"].as_array().unwrap().iter().map(|each| each["size"].as_u64().unwrap()).sum();
    assert_eq!((&size[0]["bytes"], &size[0]["kinds"]), (&archives.into(), &serde_json::json!([])));
    let text = world.mlconda(["size", "env.lock"]).success().stdout;
    assert!(text.starts_with("small: ") && text.contains(" to download, 7 packages\n"), "{text}");
}

/// A lock of another tool has no sizes, and its channel may be out of reach. It had `0 bytes to download`.
#[test]
fn a_size_that_is_not_known_is_not_zero() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "frames"]);
    let whole = world.read("env.lock");
    let url = |line: &str| format!("https://conda.example.org/main/{}", line.split_once("/main/").unwrap().1);
    let far = |name: &str| whole.lines().filter(|line| line.contains(name)).map(url).next().unwrap();
    let near = whole.lines().find(|line| line.contains("/tzdata-")).unwrap();
    world.write("far.lock", &format!("@EXPLICIT\n{}\n", far("/python-")));
    world.write("some.lock", &format!("@EXPLICIT\n{near}\n{}\n", far("/python-")));
    let text = |lock: &str| world.mlconda(["size", "--offline", lock]).success().stdout;
    assert_snapshot!(text("far.lock"), @"
    far.lock: 1 package of unknown size

    package             size  share
    python 3.11.9  not known

    asked for       size  share
    python     not known
    ");
    assert_snapshot!(text("some.lock"), @"
    some.lock: at least 1.3 kB to download, 2 packages, 1 of unknown size

    package             size    share
    tzdata 2024a      1.3 kB  100.0 %
    python 3.11.9  not known

    asked for       size    share
    tzdata        1.3 kB  100.0 %
    python     not known
    ");
    let size = json(&world.mlconda(["size", "--offline", "some.lock", "--json"]).success().stdout);
    let packages = size[0]["packages"].as_array().unwrap();
    assert!(size[0]["bytes"].is_null() && packages.iter().any(|each| each["bytes"].is_null()), "{size}");
    assert!(packages.iter().any(|each| each["bytes"].as_u64() > Some(0)), "{size}");
}

/// The page contains its data, and loads nothing.
#[test]
fn a_page_is_one_file() {
    let world = world();
    world.locked("env.lock", &["python=3.11", "frames"]);
    world.locked("new.lock", &["python=3.11", "frames", "greet"]);
    world.mlconda(["size", "env.lock", "new.lock", "--html", "size.html"]).success();
    let page = world.read("size.html");
    assert!(page.contains("default-src 'none'") && !page.contains("src="), "the page may ask a server");
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let data = json(data.split_once("</script>").unwrap().0);
    let packages = |at: usize| data[at]["packages"].as_array().unwrap().len();
    assert_eq!((data.as_array().unwrap().len(), packages(0), packages(1)), (2, 7, 8));
}

#[test]
fn places_that_are_not_there_are_told() {
    let world = world();
    assert_snapshot!(world.mlconda(["diff", "nothere.lock", "nothere"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: there is no file or directory `nothere.lock`
    hint: name a lock, the prefix of an environment, or an environment.yml
    ");
    assert_snapshot!(world.mlconda(["size", "nothere.lock"]).failure(1), @"
    exit code 1
    --- stdout
    --- stderr
    error: there is no file or directory `nothere.lock`
    hint: make a lock with `mlconda lock environment.yml`
    ");
}
