//! The list of contents of a package in the cache: its paths, with all facts that linking needs.
//!
//! It is written once, when the package is extracted, from `paths.json` and the archive. So linking neither parses JSON
//! nor reads file metadata. The file consists of fields that end with NUL, which no path contains. An end mark shows
//! whether the file is complete.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::package::FileMode;
use rattler_digest::Sha256Hash;

use super::package::{ListedPath, Placeholder, invalid};

/// The path of the file in the package's directory in the cache. It is in `info`, from which nothing is linked.
pub(super) const NAME: &str = "info/mlconda-contents";

/// The version of the format.
pub(super) const FORMAT_VERSION: u32 = 3;

/// The first field: the type of the file. The version of the format follows.
const MAGIC: &str = "mlconda contents";

/// The last field.
const END: &str = "end";

/// The type of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentKind {
    File,
    /// An executable file.
    Program,
    /// A soft link with this target.
    SoftLink(PathBuf),
    /// A hard link to this earlier path.
    HardLink(PathBuf),
    /// An empty directory.
    Directory,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) kind: ContentKind,
    /// The facts about the path in `paths.json`.
    pub(super) listed: ListedPath,
    /// The size of a file, in bytes.
    pub(super) size: u64,
    /// The modification time, in seconds since 1970.
    pub(super) modified: i64,
}

/// The text of the file.
pub(super) fn render(contents: &[Content]) -> io::Result<Vec<u8>> {
    let mut text = format!("{MAGIC} {FORMAT_VERSION}\0");
    for Content { kind, listed, size, modified } in contents {
        let (kind, to) = match kind {
            ContentKind::File => ("file", None),
            ContentKind::Program => ("program", None),
            ContentKind::SoftLink(to) => ("link", Some(to)),
            ContentKind::HardLink(to) => ("same", Some(to)),
            ContentKind::Directory => ("directory", None),
        };
        let (mode, placeholder) = match &listed.placeholder {
            Some(Placeholder { mode: FileMode::Text, text }) => ("text", text.as_str()),
            Some(Placeholder { mode: FileMode::Binary, text }) => ("binary", text.as_str()),
            None => ("", ""),
        };
        let no_link = if listed.no_link { "no" } else { "" };
        let hash = listed.sha256.map(hex::encode).unwrap_or_default();
        let listed_size = listed.size.map(|size| size.to_string()).unwrap_or_default();
        let (path, to) = (utf8(&listed.path)?, to.map_or(Ok(""), |to| utf8(to))?);
        let fields = [path, to, mode, placeholder, no_link, &hash, &listed_size];
        if fields.iter().any(|field| field.contains('\0')) {
            return Err(invalid(format!("`{}` is not a path", path.replace('\0', "?"))));
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{kind}\0{size}\0{modified}\0{}\0", fields.join("\0"));
    }
    text.push_str(END);
    text.push('\0');
    Ok(text.into_bytes())
}

fn utf8(path: &Path) -> io::Result<&str> {
    path.to_str().ok_or_else(|| invalid(format!("`{}` is not UTF-8", path.display())))
}

/// Reads the text of the file.
pub(super) fn parse(text: &[u8]) -> io::Result<Vec<Content>> {
    let damaged = || invalid("its list of contents in the cache is damaged");
    let text = std::str::from_utf8(text).map_err(|_| damaged())?;
    let text = text.strip_prefix(&format!("{MAGIC} {FORMAT_VERSION}\0")).ok_or_else(damaged)?;
    let (mut contents, mut fields) = (Vec::new(), text.split('\0'));
    loop {
        match fields.next().ok_or_else(damaged)? {
            END => break,
            kind => contents.push(read_one(kind, &mut fields).ok_or_else(damaged)?),
        }
    }
    // The text must end after the last NUL.
    if fields.next() == Some("") { Ok(contents) } else { Err(damaged()) }
}

fn read_one<'a>(kind: &str, fields: &mut impl Iterator<Item = &'a str>) -> Option<Content> {
    let (size, modified) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (path, to) = (fields.next()?, fields.next()?);
    let kind = match kind {
        "file" => ContentKind::File,
        "program" => ContentKind::Program,
        "link" => ContentKind::SoftLink(to.into()),
        "same" => ContentKind::HardLink(to.into()),
        "directory" => ContentKind::Directory,
        _ => return None,
    };
    let (mode, text) = (fields.next()?, fields.next()?.to_owned());
    let placeholder = match mode {
        "text" => Some(Placeholder { mode: FileMode::Text, text }),
        "binary" => Some(Placeholder { mode: FileMode::Binary, text }),
        "" => None,
        _ => return None,
    };
    let no_link = fields.next()? == "no";
    let hash = fields.next()?;
    let listed_size = Some(fields.next()?).filter(|size| !size.is_empty());
    let listed = ListedPath {
        path: path.into(),
        is_directory: kind == ContentKind::Directory,
        no_link,
        sha256: if hash.is_empty() { None } else { Some(digest(hash)?) },
        size: listed_size.map(str::parse).transpose().ok()?,
        placeholder,
    };
    Some(Content { kind, listed, size, modified })
}

fn digest(hex: &str) -> Option<Sha256Hash> {
    let mut hash = Sha256Hash::default();
    hex::decode_to_slice(hex, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &str, kind: ContentKind) -> Content {
        let listed = ListedPath {
            path: path.into(),
            is_directory: kind == ContentKind::Directory,
            no_link: false,
            sha256: None,
            size: None,
            placeholder: None,
        };
        Content { kind, listed, size: 0, modified: -1 }
    }

    #[test]
    fn what_is_written_is_read() -> io::Result<()> {
        let mut program = content("bin/a b\n", ContentKind::Program);
        program.listed.sha256 = Some([7; 32].into());
        program.listed.no_link = true;
        program.listed.size = Some(12);
        program.listed.placeholder = Some(Placeholder { mode: FileMode::Binary, text: "/old/prefix".to_owned() });
        let same = content("bin/c", ContentKind::HardLink("bin/a b\n".into()));
        let all = [
            program,
            same,
            content("lib", ContentKind::SoftLink("../lib64".into())),
            content("empty", ContentKind::Directory),
        ];
        for count in 0..=all.len() {
            let text = render(&all[..count])?;
            assert_eq!(parse(&text)?, &all[..count]);
            for cut in 0..text.len() {
                assert!(parse(&text[..cut]).is_err(), "{cut} of {} bytes were taken for all", text.len());
            }
        }
        Ok(())
    }
}
