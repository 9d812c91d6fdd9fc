//! Reads the requested match specs from `conda-meta/history`. conda, mamba and mlconda append to this file in slightly
//! different forms, so it is parsed leniently. If the history has no specs, those in the records are used.

use indexmap::IndexMap;
use mlconda_prefix::{Prefix, PrefixError};
use mlconda_system::files;
use rattler_conda_types::PrefixRecord;

use super::{name, package_of};

/// The requested specs by package name, of installed packages only.
pub(crate) fn requested(prefix: &Prefix, records: &[PrefixRecord]) -> Result<IndexMap<String, String>, PrefixError> {
    Ok(requested_in(&read(prefix)?, records))
}

/// Like [`requested`], with the text of the history.
pub(super) fn requested_in(history: &str, records: &[PrefixRecord]) -> IndexMap<String, String> {
    let mut requested = parse(history);
    requested.retain(|package, _| records.iter().any(|record| name(record) == package));
    if requested.is_empty() {
        let of_record =
            |record: &PrefixRecord| Some((name(record).to_owned(), record.requested_specs.first()?.clone()));
        requested = records.iter().filter_map(of_record).collect();
    }
    requested
}

/// The text of the history; empty if there is no such file.
pub(super) fn read(prefix: &Prefix) -> Result<String, PrefixError> {
    let path = prefix.path().join("conda-meta").join("history");
    let text = match files::read(&path, files::LARGEST_TEXT) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The requested specs after the whole history.
fn parse(text: &str) -> IndexMap<String, String> {
    let mut requested = RequestedSpecs::default();
    text.lines().for_each(|line| requested.line(line));
    requested.specs
}

/// The requested specs after the lines that were read so far.
#[derive(Default)]
pub(super) struct RequestedSpecs {
    /// The specs, by the name of the package.
    pub(super) specs: IndexMap<String, String>,
    is_whole: bool,
}

impl RequestedSpecs {
    /// Reads the next line.
    pub(super) fn line(&mut self, line: &str) {
        let Some(comment) = line.trim().strip_prefix('#').map(str::trim) else {
            self.is_whole &= !line.starts_with("==>");
            return;
        };
        if let Some(command) = comment.strip_prefix("cmd:") {
            // mlconda installs whole locks. So the specs of its next line replace all earlier ones.
            self.is_whole = command.trim().starts_with("mlconda");
        }
        let Some((action, specs)) = comment.split_once("specs:") else { return };
        let specs = list(specs.trim());
        match action.trim() {
            "remove" | "uninstall" => specs.iter().for_each(|spec| _ = self.specs.shift_remove(&package_of(spec))),
            "update" | "install" | "create" | "neutered" => {
                if std::mem::take(&mut self.is_whole) {
                    self.specs.clear();
                }
                self.specs.extend(specs.into_iter().map(|spec| (package_of(&spec), spec)));
            }
            _ => {}
        }
    }
}

/// The strings of a list as Python prints it. Very old versions of conda wrote the strings with only commas between
/// them.
fn list(text: &str) -> Vec<String> {
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        return text.split(',').map(str::trim).filter(|spec| !spec.is_empty()).map(str::to_owned).collect();
    };
    let mut specs = Vec::new();
    let mut characters = inner.chars();
    while let Some(quote) = characters.find(|c| matches!(c, '\'' | '"')) {
        let mut spec = String::new();
        while let Some(c) = characters.next().filter(|c| *c != quote) {
            spec.extend(if c == '\\' { characters.next() } else { Some(c) });
        }
        specs.push(spec);
    }
    specs.retain(|spec| !spec.is_empty());
    specs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        parse(text).values().cloned().collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_history_of_conda_is_followed_to_its_end() {
        let history = "==> 2024-01-01 00:00:00 <==\n# cmd: conda create -n x python=3.11\n# conda version: 24.1\n+a::b-1-0\n\
                       # update specs: ['python=3.11', \"numpy[version='>=1.2']\", 'conda-forge::Zlib']\n\
                       ==> 2024-01-02 00:00:00 <==\n# cmd: conda install numpy\n# install specs: [\"numpy\", \"scipy >=1,<2\"]\n\
                       ==> 2024-01-03 00:00:00 <==\n# remove specs: ['zlib']\n# neutered specs: ['scipy']\n# cmd: x\n\
                       # update specs: flask,gunicorn\n";
        assert_eq!(left(history), "python=3.11; numpy; scipy; flask; gunicorn");
    }

    #[test]
    fn an_archive_is_known_by_the_package_in_it() {
        let archive = "https://host/channel/noarch/Font-ttf-x-1.0-h_0.conda#0123456789abcdef0123456789abcdef";
        let history = format!("# update specs: ['{archive}', '/srv/a-1-0.tar.bz2', 'file:///srv/channel::wheel']\n");
        let packages: Vec<String> = parse(&history).into_keys().collect();
        assert_eq!(packages, ["font-ttf-x", "a", "wheel"]);
    }

    #[test]
    fn what_mlconda_installs_is_all_that_is_asked_for() {
        let history = "==> 2024-01-01 00:00:00 <==\n# cmd: mlconda install\n+a\n# update specs: ['a', 'b']\n\
                       ==> 2024-01-02 00:00:00 <==\n# cmd: mlconda install\n# update specs: ['b[version=\">=1\"]']\n\
                       ==> 2024-01-03 00:00:00 <==\n# cmd: conda install c\n# update specs: ['c']\n";
        assert_eq!(left(history), "b[version=\">=1\"]; c");
    }
}
