//! rattler's contender: a bare program on its library.

use std::{path::Path, sync::Arc};

use mlconda::{PrefixRecord, RepoDataRecord};
use rattler::{install::Installer, package_cache::PackageCache};

use crate::Outcome;

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

fn client() -> Outcome<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?)
}
