//! rattler's contender: a minimal program with its library.

use std::{collections::HashSet, path::Path};

use mlconda::{PrefixRecord, RepoDataRecord};
use rattler::{install::Installer, package_cache::PackageCache};

use crate::{Outcome, client::client};

/// Installs the records of a directory into `prefix`, with the package cache `cache`. With one more argument, all
/// packages are linked again.
pub(crate) fn install(arguments: &[String]) -> Outcome<()> {
    let [records, prefix, cache, anew @ ..] = arguments else {
        return Err("--bare RECORDS PREFIX CACHE [--reinstall]".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let records = read(Path::new(records))?;
        let names = records.iter().filter(|_| !anew.is_empty()).map(|record| record.package_record.name.clone());
        let installer = Installer::new()
            .with_reinstall_packages(names.collect::<HashSet<_>>())
            .with_package_cache(PackageCache::new(Path::new(cache)))
            .with_download_client(client()?)
            .with_execute_link_scripts(true);
        installer.install(prefix, records).await?;
        Ok(())
    })
}

fn read(records: &Path) -> Outcome<Vec<RepoDataRecord>> {
    let mut all = Vec::new();
    for entry in fs_err::read_dir(records)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            all.push(PrefixRecord::from_path(path)?.repodata_record);
        }
    }
    Ok(all)
}
