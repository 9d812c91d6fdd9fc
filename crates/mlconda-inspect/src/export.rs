//! Exports an installed environment as an `environment.yml`, like `conda env export`.
//!
//! The file must lead to the same packages again. So a package names its channel if this is not the first channel
//! of the list: with strict priority, the first channel would hide it otherwise. There is no `prefix:`, which only has
//! a meaning on this machine and which no tool uses.

mod history;
mod pip;
mod revisions;
mod yaml;

pub use self::revisions::{PastRevision, packages_after, revisions};

use indexmap::IndexMap;
use mlconda_environment::is_name;
use mlconda_prefix::{Prefix, PrefixError, slim};
use mlconda_types::{dependency::dependency_name, redact, slim::Slim};
use rattler_conda_types::{PrefixRecord, Subdir};

/// The level of detail of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// `name=version=build`: exactly the installed package, on this platform only.
    #[default]
    Builds,
    /// `name=version`: a version that other platforms may have, too.
    Versions,
    /// The requested match specs, without their dependencies.
    History,
}

/// The contents of an exported `environment.yml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// `name:`, the last part of the prefix's path, if that is a possible name.
    pub name: Option<String>,
    /// `channels:`. The channel of the most packages comes first. The list is `nodefaults` if no package came from a
    /// channel.
    pub channels: Vec<String>,
    /// `dependencies:`, sorted by name.
    pub dependencies: Vec<String>,
    /// The `pip:` list: distributions without a record, sorted by name.
    pub pip: Vec<String>,
    /// `variables:`
    pub variables: IndexMap<String, String>,
    /// `slim:` in `x-mlconda:`, if something was left out.
    pub slim: Option<Slim>,
}

/// Exports a prefix.
///
/// # Errors
/// If a record or a file of the environment cannot be read.
pub fn export(prefix: &Prefix, detail: Detail) -> Result<Export, PrefixError> {
    let mut records = prefix.records()?;
    let pip = pip::lines(prefix, &mut records, detail)?;
    mlconda_types::sorting::sort_by(&mut records, |one, other| name(one).cmp(name(other)));
    let channels = channels(&records);
    let qualified = |record: &PrefixRecord, spec: String| match channel(record) {
        None => redact::url(&record.repodata_record.url),
        Some(channel) if channels.first() == Some(&channel) => spec,
        Some(channel) => format!("{channel}::{spec}"),
    };
    let dependencies = match detail {
        Detail::Builds => records.iter().map(|record| qualified(record, with_build(record))).collect(),
        Detail::Versions => records.iter().map(|record| qualified(record, with_version(record))).collect(),
        Detail::History => {
            let requested = history::requested(prefix, &records)?;
            let spec = |record: &PrefixRecord| {
                let spec = requested.get(name(record))?.clone();
                Some(match stem(&spec) {
                    // The spec may be a path, relative to a directory that is unknown now. So the URL of the record is
                    // written.
                    Some(_) => redact::url(&record.repodata_record.url),
                    None if spec.contains("::") => spec,
                    None => qualified(record, spec),
                })
            };
            records.iter().filter_map(spec).collect()
        }
    };
    let file_name = prefix.path().file_name().and_then(|name| name.to_str());
    // An empty list would mean `defaults`.
    let is_of_none = channels.is_empty() && !records.is_empty();
    Ok(Export {
        name: file_name.filter(|name| is_name(name)).map(str::to_owned),
        channels: if is_of_none { vec!["nodefaults".to_owned()] } else { channels },
        dependencies,
        pip,
        variables: prefix.variables()?,
        slim: slim::of_prefix(prefix)?,
    })
}

/// The requested match specs of a prefix, sorted by package name. They are read from `conda-meta/history`, or else from
/// the records.
///
/// # Errors
/// If the history exists and cannot be read.
pub fn requested_specs(prefix: &Prefix, records: &[PrefixRecord]) -> Result<Vec<String>, PrefixError> {
    Ok(requested_specs_in(&history::read(prefix)?, records))
}

/// Like [`requested_specs`], for a prefix at another place. `history` is the text of its `conda-meta/history`.
pub fn requested_specs_in(history: &str, records: &[PrefixRecord]) -> Vec<String> {
    let mut requested = history::requested_in(history, records);
    requested.sort_unstable_keys();
    requested.into_values().collect()
}

impl Export {
    /// The text of the `environment.yml`. The same prefix always gives the same text.
    pub fn to_yaml(&self) -> String {
        yaml::render(self)
    }

    /// Whether the URL of a channel contained a secret, which is replaced by asterisks.
    pub fn is_masked(&self) -> bool {
        self.channels.iter().chain(&self.dependencies).any(|text| text.contains(redact::MASK))
    }
}

fn name(record: &PrefixRecord) -> &str {
    record.repodata_record.package_record.name.as_normalized()
}

fn with_version(record: &PrefixRecord) -> String {
    format!("{}={}", name(record), record.repodata_record.package_record.version)
}

fn with_build(record: &PrefixRecord) -> String {
    format!("{}={}", with_version(record), record.repodata_record.package_record.build)
}

/// The channel of a record, without secrets. `None` if the archive is not in a channel.
fn channel(record: &PrefixRecord) -> Option<String> {
    let url = redact::url(&record.repodata_record.url);
    let mut parts = url.rsplitn(3, '/').skip(1);
    parts.next()?.parse::<Subdir>().ok()?;
    let base = parts.next()?;
    Some(
        match (base.strip_prefix("https://conda.anaconda.org/"), base.strip_prefix("https://repo.anaconda.com/pkgs/")) {
            (Some(name), _) if !name.starts_with("t/") => name.to_owned(),
            (_, Some("main" | "r" | "msys2")) => "defaults".to_owned(),
            (_, Some(name)) => format!("pkgs/{name}"),
            _ => base.to_owned(),
        },
    )
}

/// Each channel once. The channel with the most packages comes first.
fn channels(records: &[PrefixRecord]) -> Vec<String> {
    let mut counted: IndexMap<String, usize> = IndexMap::new();
    for channel in records.iter().filter_map(channel) {
        *counted.entry(channel).or_default() += 1;
    }
    counted.sort_by(|one, count, other, others| others.cmp(count).then(one.cmp(other)));
    counted.into_keys().collect()
}

/// The file name without extension, if a spec is the URL or the path of an archive.
fn stem(spec: &str) -> Option<&str> {
    let place = spec.split('#').next()?.trim();
    let path = place.strip_suffix(".conda").or_else(|| place.strip_suffix(".tar.bz2"))?;
    path.rsplit(['/', '\\']).next().filter(|_| !place.contains("::"))
}

/// The name of the package that a spec requests.
fn package_of(spec: &str) -> String {
    if let Some(name) = stem(spec).and_then(|stem| stem.rsplitn(3, '-').nth(2)) {
        return name.to_lowercase();
    }
    let bare = spec.rsplit_once("::").map_or(spec, |(_, bare)| bare);
    dependency_name(bare.trim()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlconda_environment::{Environment, ReadOptions};

    /// Each written text is read back unchanged, also if YAML would read it as something other than a string.
    #[test]
    #[allow(clippy::too_many_lines, reason = "a snapshot is as long as what it shows")]
    fn every_text_is_read_back() {
        let texts = [
            "plain",
            "1.0",
            "true",
            "No",
            "~",
            "",
            " a",
            "a: b",
            "a #b",
            "a:",
            "'",
            "\"",
            "a\nb\t\u{7}",
            "-e x",
            "*a",
            "é",
        ];
        let variables: IndexMap<String, String> =
            texts.iter().enumerate().map(|(place, text)| (format!("V{place}"), (*text).to_owned())).collect();
        let export = Export {
            name: Some("2024".into()),
            channels: vec!["conda-forge".into(), "https://host/t/********/lab".into()],
            dependencies: vec!["7zip=1".into(), "numpy[version='>=1']".into(), "lab::a=1=h_0".into(), "pip".into()],
            pip: vec!["-e /src/a b".into(), "x @ git+https://host/x@1#egg=x".into(), "y==1".into()],
            variables,
            slim: None,
        };
        let text = export.to_yaml();
        let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
        let read = Environment::parse(&text, std::path::Path::new("e.yml"), &options).unwrap();
        assert_eq!(read.name, export.name);
        assert_eq!(read.requirements.iter().map(|r| r.text.clone()).collect::<Vec<_>>(), export.dependencies, "{text}");
        assert_eq!(read.pip.iter().map(|line| line.text.clone()).collect::<Vec<_>>(), export.pip, "{text}");
        assert_eq!(read.variables, export.variables, "{text}");
        assert!(export.is_masked());
        insta::assert_snapshot!(text, @r#"
        name: '2024'
        channels:
          - conda-forge
          - https://host/t/********/lab
        dependencies:
          - '7zip=1'
          - numpy[version='>=1']
          - lab::a=1=h_0
          - pip
          - pip:
              - '-e /src/a b'
              - x @ git+https://host/x@1#egg=x
              - y==1
        variables:
          V0: plain
          V1: '1.0'
          V2: 'true'
          V3: 'No'
          V4: '~'
          V5: ''
          V6: ' a'
          V7: 'a: b'
          V8: 'a #b'
          V9: 'a:'
          V10: ''''
          V11: '"'
          V12: "a\nb\t\u0007"
          V13: '-e x'
          V14: '*a'
          V15: 'é'
        "#);
    }
}
