//! Finds out for which platforms a channel has packages, if it has none for the requested one.

use futures::future::join_all;
use mlconda_environment::Environment;
use mlconda_system::files;
use rattler_conda_types::{Channel, Subdir};
use serde_json::Value;

use super::{Access, LoadedSubdir, RepodataError, load::Loader};
use crate::network::{self, BodyKind};

/// The platforms that are checked.
const PLATFORMS: [Subdir; 8] = [
    Subdir::Linux64,
    Subdir::LinuxAarch64,
    Subdir::LinuxPpc64le,
    Subdir::Osx64,
    Subdir::OsxArm64,
    Subdir::Win64,
    Subdir::WinArm64,
    Subdir::Linux32,
];

/// Repodata without packages is smaller than this, in bytes.
const EMPTY_REPODATA_LIMIT: u64 = 4 << 10;

impl Loader<'_> {
    /// Checks that some channel has packages for the platform, if the environment asks for unknown packages. If all
    /// channels are empty for this platform and one has packages for other platforms, the error says so instead of
    /// suggesting names.
    pub(super) async fn check_platform(
        &self,
        environment: &Environment,
        channels: &[Channel],
        loaded: &[Vec<Option<LoadedSubdir>>],
    ) -> Result<(), RepodataError> {
        let platform = self.host.platform;
        let has_none = |sources: &Vec<Option<LoadedSubdir>>| {
            sources.len() == 2 && sources[0].as_ref().is_none_or(|subdir| subdir.names().next().is_none())
        };
        let names = environment.requirements.iter().filter_map(|requirement| requirement.spec.name.as_exact());
        let has = |name: &str| loaded.iter().flatten().flatten().any(|subdir| subdir.has(name));
        let mut names = names.map(|name| name.as_normalized()).filter(|name| !name.starts_with("__"));
        if !loaded.iter().all(has_none) || names.all(has) || self.options.access == Access::Offline {
            return Ok(());
        }
        for channel in channels {
            let others = PLATFORMS.into_iter().filter(|other| *other != platform);
            let table = join_all(others.map(async |other| self.has_packages(channel, other).await.then_some(other)));
            let others: Vec<Subdir> = table.await.into_iter().flatten().collect();
            if !others.is_empty() {
                let channel = network::redact(channel.base_url.url());
                return Err(RepodataError::NoPlatform { channel, platform, others });
            }
        }
        Ok(())
    }

    /// Whether a channel has packages for a platform, according to its server. Some channels have an empty
    /// `repodata.json` for every platform. These are short, so only the beginning is read.
    async fn has_packages(&self, channel: &Channel, platform: Subdir) -> bool {
        let Ok(url) = channel.platform_url(platform).join("repodata.json") else { return false };
        if let Some(path) = files::of_url(&url) {
            return match files::read(&path, EMPTY_REPODATA_LIMIT) {
                Ok(text) => !has_no_packages(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    ["json.zst", "json.bz2"].iter().any(|end| path.with_extension(end).is_file())
                }
                // It is larger than the limit.
                Err(_) => true,
            };
        }
        let Ok(mut response) = self.client.get(&url, BodyKind::Repodata).await else { return false };
        let mut text = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            text.extend_from_slice(&piece);
            if text.len() as u64 > EMPTY_REPODATA_LIMIT {
                return true;
            }
        }
        !has_no_packages(&text)
    }
}

/// Whether a text is repodata without packages, or not repodata at all.
fn has_no_packages(text: &[u8]) -> bool {
    let Ok(Value::Object(repodata)) = serde_json::from_slice(text) else { return true };
    let has = |section: &str| repodata.get(section).and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    !["packages", "packages.conda", "v3"].into_iter().any(has)
}
