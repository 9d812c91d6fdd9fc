//! An index of wheels in a directory, as pip reads it: a page for each project, in HTML (PEP 503) and in JSON (PEP
//! 691), for [`Server`] to serve.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    server::Server,
    sha256_hex,
    wheel::{Sdist, Wheel},
};

/// An archive, and its entry in the index.
#[derive(Clone, Debug)]
pub struct Release {
    project: String,
    file_name: String,
    bytes: Vec<u8>,
    metadata: Option<String>,
    requires_python: Option<String>,
    yanked: Option<String>,
    upload_time: Option<String>,
    sha256: Option<String>,
}

impl From<Wheel> for Release {
    fn from(wheel: Wheel) -> Self {
        Self {
            project: wheel.name().to_owned(),
            file_name: wheel.file_name(),
            bytes: wheel.bytes(),
            metadata: Some(wheel.metadata_text()),
            requires_python: wheel.python().map(str::to_owned),
            yanked: None,
            upload_time: None,
            sha256: None,
        }
    }
}

impl From<Sdist> for Release {
    fn from(sdist: Sdist) -> Self {
        Self {
            project: sdist.name().to_owned(),
            file_name: sdist.file_name(),
            bytes: sdist.bytes(),
            metadata: None,
            requires_python: None,
            yanked: None,
            upload_time: None,
            sha256: None,
        }
    }
}

impl Release {
    /// Marks it as yanked, for this reason (PEP 592).
    pub fn yanked(mut self, reason: &str) -> Self {
        self.yanked = Some(reason.to_owned());
        self
    }

    /// Its upload time, such as `2024-05-31T12:00:00Z` (PEP 700).
    pub fn upload_time(mut self, time: &str) -> Self {
        self.upload_time = Some(time.to_owned());
        self
    }

    /// The sha256 in the index, instead of the right one.
    pub fn sha256(mut self, hash: &str) -> Self {
        self.sha256 = Some(hash.to_owned());
        self
    }

    fn digest(&self) -> String {
        self.sha256.clone().unwrap_or_else(|| sha256_hex(&self.bytes))
    }

    fn html(&self) -> String {
        let mut attributes = String::new();
        let mut attribute = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(attributes, " {name}=\"{}\"", value.replace('>', "&gt;").replace('<', "&lt;"));
        };
        if let Some(python) = &self.requires_python {
            attribute("data-requires-python", python);
        }
        if let Some(reason) = &self.yanked {
            attribute("data-yanked", reason);
        }
        if let Some(metadata) = &self.metadata {
            attribute("data-core-metadata", &format!("sha256={}", sha256_hex(metadata)));
        }
        let name = &self.file_name;
        format!("<a href=\"../../files/{name}#sha256={}\"{attributes}>{name}</a><br>\n", self.digest())
    }

    fn json(&self) -> Value {
        let mut file = json!({
            "filename": self.file_name,
            "url": format!("../../files/{}", self.file_name),
            "hashes": {"sha256": self.digest()},
            "size": self.bytes.len(),
            "yanked": self.yanked.as_ref().map_or(json!(false), |reason| json!(reason)),
            "core-metadata": self.metadata.as_ref().map_or(json!(false), |text| json!({"sha256": sha256_hex(text)})),
        });
        for (key, value) in [("requires-python", &self.requires_python), ("upload-time", &self.upload_time)] {
            if let Some(value) = value {
                file[key] = json!(value);
            }
        }
        file
    }
}

/// The formats of an index's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// HTML only, without sizes and upload times.
    Html,
    /// HTML and JSON.
    HtmlAndJson,
}

/// An index in a directory.
#[derive(Clone, Debug)]
pub struct Index {
    directory: PathBuf,
}

impl Index {
    /// Writes archives and pages into the subdirectories `files/` and `simple/` of a directory.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn write(directory: impl Into<PathBuf>, releases: &[Release], pages: Pages) -> io::Result<Self> {
        let index = Self { directory: directory.into() };
        let files = index.directory.join("files");
        fs_err::create_dir_all(&files)?;
        let mut projects: BTreeMap<String, Vec<&Release>> = BTreeMap::new();
        for release in releases {
            fs_err::write(files.join(&release.file_name), &release.bytes)?;
            if let Some(metadata) = &release.metadata {
                fs_err::write(files.join(format!("{}.metadata", release.file_name)), metadata)?;
            }
            projects.entry(release.project.to_lowercase().replace(['_', '.'], "-")).or_default().push(release);
        }
        for (project, releases) in projects {
            let page = index.directory.join("simple").join(&project);
            fs_err::create_dir_all(&page)?;
            let links: String = releases.iter().map(|release| release.html()).collect();
            let html = format!("<!DOCTYPE html>\n<html><body>\n<h1>Links for {project}</h1>\n{links}</body></html>\n");
            fs_err::write(page.join("index.html"), html)?;
            if pages == Pages::HtmlAndJson {
                let files: Vec<Value> = releases.iter().map(|release| release.json()).collect();
                let json = json!({"meta": {"api-version": "1.1"}, "name": project, "files": files});
                fs_err::write(page.join("index.json"), serde_json::to_vec_pretty(&json)?)?;
            }
        }
        Ok(index)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The directory of the archives: for `--find-links`.
    pub fn files(&self) -> PathBuf {
        self.directory.join("files")
    }

    /// The URL of the index, for `--index-url`, on a server for its directory.
    pub fn url(server: &Server) -> String {
        server.url("simple/")
    }
}
