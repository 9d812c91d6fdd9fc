//! rattler's contender: a bare program on its library.

use std::path::Path;

use mlconda::{PrefixRecord, RepoDataRecord};
use rattler::{install::Installer, package_cache::PackageCache};

use crate::{Outcome, client::client};

/// Installs what `records` (a directory of records) says into `prefix`, through `cache`.
pub(crate) fn install(arguments: &[String]) -> Outcome<()> {
    let [records, prefix, cache] = arguments else {
        return Err("--bare RECORDS PREFIX CACHE".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let installer = Installer::new()
            .with_package_cache(PackageCache::new(Path::new(cache)))
            .with_download_client(client()?)
            .with_execute_link_scripts(true);
        installer.install(prefix, read(Path::new(records))?).await?;
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
