//! A channel in a registry, in the layout of conda-oci-mirror: a repository for the repodata of each subdir, and one
//! for each package.

use std::{io, path::Path};

use serde_json::{Value, json};

use super::{Registry, digest};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Registry {
    /// Stores all subdirs of a channel that have a `repodata.json` below a repository.
    ///
    /// # Errors
    /// If a file of the channel cannot be read.
    pub fn put_channel(&self, repository: &str, channel: &Path) -> io::Result<()> {
        for subdir in fs_err::read_dir(channel)? {
            let subdir = subdir?;
            let plain = subdir.path().join("repodata.json");
            if !plain.is_file() {
                continue;
            }
            let place = format!("{repository}/{}", subdir.file_name().to_string_lossy());
            let repodata = fs_err::read(plain)?;
            let compressed = fs_err::read(subdir.path().join("repodata.json.zst"))?;
            let layers = [("repodata.v1+json", repodata), ("repodata.v1+json+zst", compressed)];
            self.put_artifact(&format!("{place}/repodata.json"), "latest", &layers);
            for file in fs_err::read_dir(subdir.path())? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    continue;
                }
                self.put_package(&place, &file.file_name().to_string_lossy(), &fs_err::read(file.path())?);
            }
        }
        Ok(())
    }

    /// Stores a package below a repository. A file that is not a package is ignored.
    pub fn put_package(&self, place: &str, file_name: &str, bytes: &[u8]) {
        let (stem, kind) = match (file_name.strip_suffix(".conda"), file_name.strip_suffix(".tar.bz2")) {
            (Some(stem), _) => (stem, "package.v2"),
            (_, Some(stem)) => (stem, "package.v1"),
            _ => return,
        };
        let parts: Vec<&str> = stem.rsplitn(3, '-').collect();
        let [build, version, name] = parts[..] else { return };
        let tag = format!("{version}-{build}").replace('+', "__p__").replace('!', "__e__").replace('=', "__eq__");
        let prefix = if name.starts_with('_') { "zzz" } else { "" };
        let layers = [("info.v1.tar+gzip", b"info".to_vec()), (kind, bytes.to_vec())];
        self.put_artifact(&format!("{place}/{prefix}{name}"), &tag, &layers);
    }

    /// Stores an artifact with layers of media types `application/vnd.conda.…`, and returns its manifest.
    pub fn put_artifact(&self, repository: &str, tag: &str, layers: &[(&str, Vec<u8>)]) -> Value {
        let entry = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let layer = |(kind, bytes): &(&str, Vec<u8>)| {
            self.put_blob(repository, bytes);
            entry(&format!("application/vnd.conda.{kind}"), bytes)
        };
        self.put_blob(repository, b"{}");
        let manifest = json!({
            "schemaVersion": 2,
            "config": entry("application/vnd.unknown.config.v1+json", b"{}"),
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        self.put_manifest(repository, tag, MANIFEST, manifest.to_string().as_bytes());
        manifest
    }
}
