//! Single packages: packages that a URL names, and packages of a lock.

use super::*;

#[tokio::test]
async fn a_package_named_by_its_url_comes_from_its_channel_or_from_its_archive() {
    let world = World::with_tool();
    let tool = PackageBuilder::new("tool", "3.0")
        .subdir("linux-64")
        .depends("lib")
        .write(&world.directory.path().join("own"))
        .unwrap();
    let foreign =
        PackageBuilder::new("tool", "3.0").subdir("win-64").write(&world.directory.path().join("own")).unwrap();
    let md5 = hex::encode(rattler_digest::compute_file_digest::<rattler_digest::Md5>(&tool).unwrap());
    let server = Server::serve(world.directory.path().join("own")).unwrap();
    let url = server.url(&format!("linux-64/{}", tool.file_name().unwrap().display()));
    let load = async |spec: &str, access: Access| match world.repodata_of(&[spec], access).await {
        Err(error) => error.to_string(),
        Ok(repodata) => {
            let of = |record: &RepoDataRecord| {
                let pinned = record.package_record.sha256.map(|_| "#sha256").unwrap_or_default();
                format!("{}{pinned}", record.url.path().rsplit('/').next().unwrap())
            };
            repodata.records().map(of).collect::<Vec<_>>().join(" ")
        }
    };
    let file = tool.file_name().unwrap().display();
    let found = format!("{file}#sha256 lib-1.0-0.conda lib-2.0-0.conda");
    assert_eq!(load(&url, Access::Online).await, found);
    assert_eq!(load(&format!("{url}#{md5}"), Access::Online).await, found);
    assert_eq!(load(tool.to_str().unwrap(), Access::Offline).await, found);
    // A channel lists the package: its record is used without reading the archive, which does not exist.
    let listed = world.channel().join("noarch/tool-1.0-0.conda");
    assert_eq!(
        load(listed.to_str().unwrap(), Access::Online).await,
        "tool-1.0-0.conda lib-1.0-0.conda lib-2.0-0.conda tool-1.0-0.conda"
    );
    let mut failures = vec![
        load(&format!("{url}#{}", "0".repeat(32)), Access::Online).await,
        load(&url, Access::Offline).await,
        load(&url.replace("tool-", "other-"), Access::Online).await,
        load(foreign.to_str().unwrap(), Access::Online).await,
    ];
    world.write("noarch/broken-1-0.conda", "no package");
    failures.push(load(world.channel().join("noarch/broken-1-0.conda").to_str().unwrap(), Access::Online).await);
    let text = failures.join("\n").replace(&server.url(""), "SERVER/").replace(&md5, "[MD5]");
    let text = text.replace(&*world.directory.path().to_string_lossy(), "");
    insta::assert_snapshot!(text, @"
    cannot take the package `SERVER/linux-64/tool-3.0-h4bc722e_0.conda`: its md5 is [MD5], but its URL has 00000000000000000000000000000000
    cannot take the package `SERVER/linux-64/tool-3.0-h4bc722e_0.conda`: it would have to be downloaded, and network access is disabled
    cannot take the package `SERVER/linux-64/other-3.0-h4bc722e_0.conda`: `SERVER/linux-64/other-3.0-h4bc722e_0.conda` answers 404 Not Found
    cannot take the package `file:///own/win-64/tool-3.0-h4bc722e_0.conda`: it is for `win-64`, and not for `linux-64`
    cannot take the package `file:///channel/noarch/broken-1-0.conda`: invalid zip archive: invalid Zip archive: Could not find EOCD
    ");
}

/// Each package of a lock gets the record of its own URL, never that of another archive.
#[tokio::test]
async fn locked_packages_find_their_records() {
    let world = World::new();
    let mut hashed = record("hashed", "1.0", &["lib"]);
    hashed["sha256"] = "0a".repeat(32).into();
    world.write(
        "noarch/repodata.json",
        repodata(&json!({}), "packages.conda", &[hashed, record("tool", "1.0", &["lib"])]),
    );
    world.write("linux-64/repodata.json", "{}");
    let sharded = World::new();
    sharded.write("linux-64/repodata.json", "{}");
    let (server, gone) = (world.serve(), sharded.serve());
    let urls = [
        server.url("noarch/tool-1.0-0.conda"),
        // The channel has it as `.conda` only, whose record describes both.
        server.url("noarch/tool-1.0-0.tar.bz2"),
        server.url("noarch/hashed-1.0-0.conda"),
        server.url("noarch/tool-2.0-0.conda"),
        server.url("linux-64/tool-1.0-0.conda"),
        server.url("tool-1.0-0.conda"),
        gone.url("noarch/tool-1.0-0.conda"),
    ];
    let urls: Vec<url::Url> = urls.iter().map(|url| url.parse().unwrap()).collect();
    let mut packages: Vec<_> = urls.iter().map(pinned).collect();
    // The archive was replaced under the same name.
    packages.push(PinnedPackage { sha256: Some([1; 32].into()), ..pinned(&urls[2]) });
    let options = RepodataOptions { cache_directory: world.cache(), access: Access::Online, now: SystemTime::now() };
    let client = Client::new(&world.network).unwrap();
    let (found, errors) = pinned_records(&client, &packages, &options, &world).await;
    let found: Vec<String> = found
        .iter()
        .map(|record| record.as_ref().map_or("none".to_owned(), |record| record.depends.join(" ")))
        .collect();
    assert_eq!(found, ["lib", "lib", "lib", "none", "none", "none", "none", "none"]);
    assert!(errors.is_empty(), "{errors:?}");
    // Cached subdirs are enough. Each subdir that is not cached is reported once.
    for (cache, expected) in [(world.cache(), (3, 0)), (world.directory.path().join("empty"), (0, 3))] {
        let options = RepodataOptions { access: Access::Offline, cache_directory: cache, ..options.clone() };
        let (found, errors) = pinned_records(&client, &packages, &options, &()).await;
        assert_eq!((found.iter().flatten().count(), errors.len()), expected, "{errors:?}");
    }
}

/// A package by its URL.
fn pinned(url: &url::Url) -> PinnedPackage<'_> {
    let mut segments = url.path_segments().unwrap().rev();
    let file_name = segments.next().unwrap();
    let subdir = segments.next().and_then(|segment| segment.parse().ok()).unwrap_or(Subdir::NoArch);
    let stem = file_name.strip_suffix(".conda").or_else(|| file_name.strip_suffix(".tar.bz2")).unwrap();
    let mut parts = stem.rsplitn(3, '-');
    let (build, version, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    PinnedPackage { name, version, build, subdir, file_name, url, sha256: None, md5: None }
}
