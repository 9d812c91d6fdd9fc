//! @EXPLICIT files (CEP-23): one line with a URL and a hash for each package.
//!
//! All other facts of mlconda are in `# key: value` comments *before* the line `@EXPLICIT`, because micromamba takes
//! every line after it for a package. The hash is written as `#sha256:…`, the form that conda, mamba 1 and 2 and
//! rattler all read. `docs/lockfile.md` has the grammar.

use std::{collections::HashSet, fmt::Write, path::Path};

use mlconda_types::redact;
use rattler_digest::{Md5, Sha256, parse_digest_from_hex};
use url::Url;

use super::{
    Digest, Expansion, Lock, LockError, LockedPackage, PipSource,
    comments::{self, LockComments},
    expansions::{address, expand},
    pip,
};

/// The version of the grammar of the comments that this module writes.
pub const FORMAT: u32 = comments::FORMAT;

/// The lock as text. Paths below `directory`, the directory of the file, are written as relative paths.
pub fn render(lock: &Lock, directory: Option<&Path>) -> String {
    let mut text = comments::render(lock);
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {key}: {value}");
    };
    for package in &lock.packages {
        if let Some(size) = package.size {
            line("size", &format!("{size} {}", package.file_name));
        }
    }
    for package in &lock.pip {
        if let (PipSource::Archive { size: Some(size), .. }, Some(file)) = (&package.source, package.file_name()) {
            line("size", &format!("{size} {file}"));
        }
    }
    for package in &lock.pip {
        let _ = writeln!(text, "# pip {}", pip::render(package, directory, &lock.expansions));
    }
    text.push_str("@EXPLICIT\n");
    for package in &lock.packages {
        text.push_str(&address(&package.url, &lock.expansions));
        match &package.digest {
            Digest::Sha256(hash) => text.push_str(&format!("#sha256:{}", hex::encode(hash))),
            Digest::Md5(hash) => text.push_str(&format!("#{}", hex::encode(hash))),
            Digest::Unknown => {}
        }
        text.push('\n');
    }
    text
}

/// Reads a lock from text. A plain list of package URLs is accepted, as in conda.
///
/// # Errors
/// If the text is not an @EXPLICIT file, or a line is invalid.
pub fn parse(text: &str, file: &Path, expansion: &Expansion) -> Result<Lock, LockError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut facts = LockComments::default();
    let directory = file.parent().unwrap_or(Path::new("/"));
    let fail = |line: usize, text: &str, message: String| LockError::Line {
        file: file.to_owned(),
        line,
        text: shown(text),
        message,
    };
    let marked = text.lines().any(|line| line.trim() == MARK);
    if !marked && !is_bare(text) {
        // A line that is not a comment is reported by its number, which helps more than the missing `@EXPLICIT`.
        if let Some((index, line)) = text.lines().enumerate().find(|(_, line)| !is_comment(line)) {
            return Err(fail(index + 1, line, "only comments may stand before the line `@EXPLICIT`".to_owned()));
        }
        let reason = "it has no line `@EXPLICIT`".to_owned();
        return Err(LockError::NotALock { file: file.to_owned(), reason });
    }
    let (mut packages, mut names, mut above) = (Vec::new(), HashSet::new(), marked);
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    while let Some((number, line)) = lines.next() {
        if line == MARK {
            above = false;
        } else if let Some(text) = line.strip_prefix("# pip ").filter(|text| is_package(text)) {
            let mut text = text.to_owned();
            // As in pip, a backslash continues a line.
            while let Some(begun) = text.strip_suffix('\\') {
                let next = lines.next().map(|(_, line)| line.trim_start_matches(['#', ' '])).unwrap_or_default();
                text = format!("{} {}", begun.trim_end(), next.strip_prefix("pip ").unwrap_or(next).trim_start());
            }
            let package = pip::parse(&text, directory, expansion).map_err(|message| fail(number, line, message))?;
            if let Some(clash) = package.clash(&mut names) {
                return Err(fail(number, line, format!("`{}` {clash}", package.name)));
            }
            facts.lock.pip.push(package);
        } else if above {
            facts.line(line).map_err(|message| fail(number, line, message))?;
        } else if !is_comment(line) {
            let package = package(line, file, expansion).map_err(|message| fail(number, line, message))?;
            if !names.insert(package.name.clone()) {
                return Err(fail(number, line, format!("`{}` is named twice", package.name)));
            }
            facts.check_platform(&package).map_err(|message| fail(number, line, message))?;
            packages.push(package);
        }
    }
    if let Some(found) = facts.format.filter(|found| *found > FORMAT) {
        return Err(LockError::Format { file: file.to_owned(), found });
    }
    facts.lock.expansions.clone_from(&expansion.variables);
    facts.lock.packages = packages;
    Ok(with_sizes(facts))
}

/// The line before the packages.
const MARK: &str = "@EXPLICIT";

fn is_comment(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Whether a text is a list of package URLs without the line `@EXPLICIT`.
pub(super) fn is_bare(text: &str) -> bool {
    let is_package = |line: &str| {
        let place = line.split('#').next().unwrap_or_default().trim();
        place.contains("://") && !place.contains(' ') && (place.ends_with(".conda") || place.ends_with(".tar.bz2"))
    };
    let mut lines = text.lines().filter(|line| !is_comment(line)).peekable();
    lines.peek().is_some() && lines.all(is_package)
}

/// Whether the text after `# pip ` is a package (NAME @ URL). A comment with a key may also contain ` @ `.
fn is_package(text: &str) -> bool {
    text.split_once(" @ ").is_some_and(|(name, _)| !name.contains(": "))
}

/// A line without its login.
pub fn shown(line: &str) -> String {
    Url::parse(line).map_or_else(|_| line.to_owned(), |url| redact::url(&url))
}

/// The lock, with the sizes from its comments.
fn with_sizes(LockComments { mut lock, sizes, .. }: LockComments) -> Lock {
    for package in &mut lock.packages {
        package.size = sizes.get(&package.file_name).copied();
    }
    for package in &mut lock.pip {
        let known = package.file_name().and_then(|file| sizes.get(&file).copied());
        if let PipSource::Archive { size, .. } = &mut package.source {
            *size = known;
        }
    }
    lock
}

/// Parses a line after `@EXPLICIT`: a URL or a path, `#`, and a hash.
fn package(line: &str, file: &Path, expansion: &Expansion) -> Result<LockedPackage, String> {
    let (place, hash) = line.split_once('#').unwrap_or((line, ""));
    let url = locate(place, file.parent().unwrap_or(Path::new("/")), expansion)?;
    LockedPackage::from_url(url, digest(hash.trim())?)
}

/// A URL, or the URL of a path, with `~` and variables expanded. Relative paths refer to `directory`.
pub(super) fn locate(place: &str, directory: &Path, expansion: &Expansion) -> Result<Url, String> {
    // `conda list --explicit` shows this instead of a token. The installing user has the token as a stored login.
    let place = expand(place.trim(), expansion)?.replace("/t/<TOKEN>/", "/");
    match Url::parse(&place) {
        Ok(url) if place.contains("://") => Ok(url),
        _ => {
            let path = std::path::absolute(directory.join(&place)).map_err(|error| error.to_string())?;
            super::expansions::file_url(&path).ok_or_else(|| format!("`{place}` is neither a URL nor a path"))
        }
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    let (kind, hash) = text.split_once(':').unwrap_or(("", text));
    match (kind, hash.len()) {
        ("", 0) => Some(Digest::Unknown),
        ("" | "md5", 32) => parse_digest_from_hex::<Md5>(hash).map(Digest::Md5),
        ("" | "sha256", 64) => parse_digest_from_hex::<Sha256>(hash).map(Digest::Sha256),
        _ => None,
    }
    .ok_or_else(|| format!("`{text}` is neither a sha256 (64 hex digits) nor an md5 (32)"))
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::Subdir;

    use super::*;

    const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(text: &str) -> Result<Lock, LockError> {
        let variables = vec![("TOKEN".to_owned(), "secret".to_owned())];
        parse(text, Path::new("/project/env.lock"), &Expansion { home: Some("/home/me".into()), variables })
    }

    fn complaint(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = format!(
            "# mlconda lock: 1\n# name: ml\n# platform: linux-64\n# input: sha256:{SHA}\n# channel: https://c/f/\n\
             # virtual package: __glibc=2.28=0\n# channel priority: flexible\n# pip: not added\n\
             # exclude newer: 2024-05-31T23:59:59Z\n# spec: python 3.11.*\n# pip requirement: w>=1\n\
             # pip requirement: w @ https://h/w-1.0-py3-none-any.whl\n\
             # variable: A=\"line\\nline = #\"\n# size: 12 a-1-0.conda\n# size: 34 w-1.0-py3-none-any.whl\n\
             # pip w @ https://h/w-1.0-py3-none-any.whl --hash=sha256:{SHA}\n@EXPLICIT\nhttps://c/f/linux-64/a-1-0.conda#sha256:{SHA}\n\
             https://c/f/noarch/b-1%212-0.tar.bz2#d41d8cd98f00b204e9800998ecf8427e\n"
        );
        let lock = read(&text).unwrap();
        assert_eq!(lock.packages[0].size, Some(12));
        assert_eq!(lock.packages[1].version, "1!2");
        assert_eq!(lock.options.exclude_newer, "2024-05-31".parse().ok());
        assert_eq!(lock.variables["A"], "line\nline = #");
        assert_eq!(lock.to_text(), text);
    }

    #[test]
    fn a_comment_has_no_character_that_no_other_format_could_have() {
        let text = |value: &str| format!("# mlconda lock: 1\n# platform: linux-64\n# {value}\n@EXPLICIT\n");
        for value in ["input: sha256:e3\0b", "spec: a\u{1}b", "channel: https://c/\u{ffff}", "name: a\u{85}b"] {
            let complaint = complaint(&text(value));
            let said = complaint.lines().next();
            assert_eq!(said, Some("/project/env.lock:3: the line has a character that cannot be seen"));
        }
        assert_eq!(read(&text("spec: a\tb")).unwrap().specs, ["a\tb"]);
        let mut lock = read(&text("spec: a")).unwrap();
        lock.specs = vec!["a\0b\nc".to_owned()];
        assert_eq!(read(&lock.to_text()).unwrap().specs, ["a b c"]);
    }

    #[test]
    fn locks_of_other_tools_are_read() {
        let lock = read(&format!(
            "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n\
             # name: not ours\n# platform: osx-arm64\n@EXPLICIT\n~/p/a-1-0.conda#{SHA}\n\
             https://h/t/$TOKEN/c/osx-arm64/b-1-0.conda\n./d/c-1-0.conda\n"
        ))
        .unwrap();
        let urls: Vec<_> = lock.packages.iter().map(|package| package.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "file:///home/me/p/a-1-0.conda",
                "https://h/t/secret/c/osx-arm64/b-1-0.conda",
                "file:///project/d/c-1-0.conda"
            ]
        );
        assert_eq!((lock.platform, lock.name), (Subdir::OsxArm64, None));
    }

    #[test]
    fn a_secret_is_written_as_the_variable_that_it_came_from() {
        let line = "https://me:${TOKEN}@h/t/${TOKEN}/secret/linux-64/a-1-0.conda";
        let lock = read(&format!("@EXPLICIT\n{line}\n")).unwrap();
        assert_eq!(lock.packages[0].url.password(), Some("secret"));
        assert!(lock.to_text().ends_with(&format!("\n{line}\n")), "{}", lock.to_text());
        assert_eq!(lock.exposed(), ["a-1-0.conda"], "the user `me` has no variable");
    }

    #[test]
    fn a_path_with_two_points_is_the_same_when_its_url_is_read() {
        for place in ["../pkgs/linux-64/a-1-0.conda", "here/../../pkgs/linux-64/a-1-0.conda"] {
            let lock = read(&format!("@EXPLICIT\n{place}\n")).unwrap();
            assert_eq!(lock.packages[0].url.as_str(), "file:///pkgs/linux-64/a-1-0.conda");
        }
        let lock = read("# pip w @ ../w-1-py3-none-any.whl\n@EXPLICIT\n").unwrap();
        assert!(matches!(&lock.pip[0].source, PipSource::Archive { url, .. } if url.path() == "/w-1-py3-none-any.whl"));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(
            complaint("name: ml\n"),
            "/project/env.lock:1: only comments may stand before the line `@EXPLICIT`\n  name: ml"
        );
        assert_eq!(complaint("# nothing\n"), "`/project/env.lock` is not a lock: it has no line `@EXPLICIT`");
        assert!(complaint("# mlconda lock: 99\n@EXPLICIT\n").contains("lock format 99"));
        let bad = |line: &str| complaint(&format!("@EXPLICIT\n{line}\n"));
        assert!(bad("https://h/linux-64/a-1-0.zip").contains("ends with `.conda` or `.tar.bz2`"));
        assert!(bad("https://h/linux-64/a-1-0.conda#123").contains("neither a sha256"));
        for line in ["file://host/linux-64/a-1-0.conda", "# pip a @ file://host/a-1.tar.gz"] {
            assert!(bad(line).contains(":2: its URL names a host, but files are on this machine"), "{line}");
        }
        assert!(read("@EXPLICIT\nfile://localhost/linux-64/a-1-0.conda\n").is_ok(), "this machine (RFC 8089)");
        assert!(bad("https://h/linux-64/..%2F..-1-0.conda").contains("cannot be part"));
        assert!(bad("https://h/$NONE/a-1-0.conda").contains("`NONE` is not set"));
        assert!(bad("https://h/a-1-0.conda\nhttps://h/a-2-0.conda").contains(":3: `a` is named twice"));
        let wheel = |name: &str| format!("# pip {name} @ https://h/a_b-1-py3-none-any.whl");
        assert!(bad(&[wheel("a-b"), wheel("A_b")].join("\n")).contains(":3: `a-b` is locked twice"));
        assert!(read(&format!("@EXPLICIT\n{}\nhttps://h/a-b-1-0.conda\n", wheel("a-b"))).is_ok(), "a conda package");
        assert!(
            bad("https://h/linux-64/a-1-0.conda\nhttps://h/win-64/b-1-0.conda")
                .contains("for win-64, the lock for linux-64")
        );
    }

    #[test]
    fn a_version_that_no_package_can_have_is_refused_in_every_format() {
        for version in ["1..2", &"4".repeat(22)] {
            let said = complaint(&format!("@EXPLICIT\nhttps://h/linux-64/a-{version}-0.conda\n"));
            assert!(said.contains(&format!("`{version}` in `a-{version}-0.conda` is not a version")), "{said}");
        }
    }
}
