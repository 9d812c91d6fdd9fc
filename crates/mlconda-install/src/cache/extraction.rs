//! Extracts a package into the cache: first its files, unchanged; then the list of contents, and the checksums.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use mlconda_system::{self as system, Linker, beneath::Root, files};
use rattler_digest::{Sha256, compute_bytes_digest};
use serde::{Deserialize, Serialize};

use crate::{
    cache::Cached,
    contents::{self, Content, ContentKind},
    deviations::Deviations,
    package::{InfoFiles, ListedPath, invalid},
    package_paths::{PathMap, is_inside},
    unpack::{Entry, EntryKind, Sink},
};

/// The directory with the metadata of a package.
const INFO: &str = "info";

/// The checksums of the files in `info/`. One of these files is the list of contents, which contains the hashes of all
/// other files.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Checksums {
    /// The sha256 of each file in hex, by its path.
    pub(super) info: BTreeMap<String, String>,
    /// The size of all files in bytes.
    pub(super) bytes: u64,
}

impl Checksums {
    /// The path of the checksums. No package can have a file with this name, because only the files of `info/` that
    /// linking reads are written.
    const NAME: &str = "info/mlconda.json";

    pub(super) fn read(place: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&files::read(&place.join(Self::NAME), files::LARGEST_RECORD)?)?)
    }
}

/// Writes the entries of an archive, unchanged.
pub(super) struct Extraction<'a> {
    root: Root,
    /// The permission bits that the umask of the process removes. They are restored, because other users may use the
    /// cache.
    umask: u32,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
    /// The paths in `paths.json` that have not arrived yet. `None` before `paths.json` was read.
    listed: Option<PathMap<ListedPath>>,
    /// The entries that have arrived, by path.
    contents: BTreeMap<PathBuf, Content>,
    /// Directories that exist, relative to the root. None of them is ever replaced by a link.
    made: PathMap<()>,
    copies: Linker,
    checksums: Checksums,
    deviations: Deviations,
}

impl Sink for Extraction<'_> {
    type Error = io::Error;

    fn begin(&mut self, info: &InfoFiles) -> io::Result<()> {
        self.checksums = Checksums::default();
        for (name, content) in info.files() {
            self.write_info(name, content)?;
        }
        self.listed = Some(info.read()?.paths);
        self.deviations = Deviations::default();
        self.contents.clear();
        Ok(())
    }

    fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let listed = self.listed.as_mut().and_then(|listed| listed.remove(&entry.path));
        let Some(listed) = listed.filter(|listed| !listed.is_directory) else {
            if self.contents.contains_key(&entry.path) {
                return Err(invalid(format!("it has two members `{}`", entry.path.display())));
            }
            self.deviations.unlisted(&entry.path);
            return Ok(());
        };
        self.enter(&entry.path)?;
        let (path, root) = (entry.path.as_path(), &self.root);
        let (mut size, mut modified) = (entry.size, entry.modified);
        let kind = match entry.kind {
            EntryKind::File(content) => {
                let mode = if entry.executable { 0o755 } else { 0o644 };
                let file = create_again(root, path, || root.create(path, mode))?;
                if self.umask & mode != 0 {
                    system::set_mode(file.file(), mode)?;
                }
                self.write(content, entry.size, &file)?;
                system::set_time(file.file(), entry.modified)?;
                self.checksums.bytes += entry.size;
                if let Some(other) = listed.size.filter(|listed| *listed != entry.size) {
                    self.deviations.size(&entry.path, other, entry.size);
                }
                if entry.executable { ContentKind::Program } else { ContentKind::File }
            }
            // The target of a link is checked when the link is made in a prefix. Here, nothing is written through a
            // link.
            EntryKind::SoftLink(to) => {
                create_again(root, path, || root.soft_link(&to, path))?;
                ContentKind::SoftLink(to)
            }
            EntryKind::HardLink(to) => {
                let other = self.contents.get(&to).filter(|other| !matches!(other.kind, ContentKind::SoftLink(_)));
                let other = other.ok_or_else(|| invalid(format!("`{}` is not a file of the package", to.display())))?;
                create_again(root, path, || root.hard_link(&to, root, path))?;
                (size, modified) = (other.size, other.modified);
                match &other.kind {
                    ContentKind::HardLink(first) => ContentKind::HardLink(first.clone()),
                    _ => ContentKind::HardLink(to),
                }
            }
        };
        self.contents.insert(entry.path, Content { kind, listed, size, modified });
        Ok(())
    }
}

impl<'a> Extraction<'a> {
    /// # Errors
    /// If nothing can be created in the directory.
    pub(crate) fn new(root: Root, stop: &'a AtomicBool) -> io::Result<Self> {
        let (buffer, contents, copies) = (vec![0; 1 << 20], BTreeMap::new(), Linker::copies_only());
        let (umask, info) = (root.umask()?, Path::new(INFO));
        make_directory(&root, umask, info)?;
        let made = PathMap::from_iter([(info.to_owned(), ())]);
        Ok(Self {
            root,
            umask,
            stop,
            buffer,
            listed: None,
            contents,
            made,
            copies,
            checksums: Checksums::default(),
            deviations: Deviations::default(),
        })
    }

    /// Copies all contents of a package from another cache.
    pub(super) fn copy(&mut self, cached: &Cached) -> io::Result<()> {
        for name in InfoFiles::NAMES.into_iter().chain([InfoFiles::WHEEL]) {
            if cached.root.lookup(Path::new(name))?.is_some() {
                let content = cached.root.read_all(Path::new(name), files::LARGEST_TEXT)?;
                self.write_info(name, &content)?;
            }
        }
        for content in &cached.contents {
            let path = &content.listed.path;
            if content.kind != ContentKind::Directory {
                self.enter(path)?;
            }
            let root = &self.root;
            match &content.kind {
                ContentKind::Directory => {}
                ContentKind::SoftLink(to) => create_again(root, path, || root.soft_link(to, path))?,
                ContentKind::HardLink(to) => create_again(root, path, || root.hard_link(to, root, path))?,
                ContentKind::File | ContentKind::Program => {
                    create_again(root, path, || self.copies.copy(&cached.root, path, root, path, self.stop))?;
                    self.checksums.bytes += content.size;
                }
            }
            self.contents.insert(path.clone(), content.clone());
        }
        Ok(())
    }

    /// Writes the list of contents and the checksums. Listed paths that have not arrived can only be directories.
    pub(super) fn finish(mut self) -> io::Result<Deviations> {
        for (path, listed) in self.listed.take().into_iter().flatten() {
            if !listed.is_directory {
                return Err(invalid(format!("`{}` is listed but missing", path.display())));
            }
            self.contents.insert(path, Content { kind: ContentKind::Directory, listed, size: 0, modified: 0 });
        }
        self.sort_hard_links();
        let contents: Vec<Content> = std::mem::take(&mut self.contents).into_values().collect();
        self.write_info(contents::NAME, &contents::render(&contents)?)?;
        self.put(Checksums::NAME, &serde_json::to_vec(&self.checksums)?)?;
        Ok(self.deviations)
    }

    /// Writes a file of `info/`.
    pub(super) fn write_info(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.checksums.info.insert(name.to_owned(), hex::encode(compute_bytes_digest::<Sha256>(content)));
        self.put(name, content)
    }

    fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let name = Path::new(name);
        let mut file = create_again(&self.root, name, || self.root.create(name, 0o644))?;
        if self.umask & 0o644 != 0 {
            system::set_mode(file.file(), 0o644)?;
        }
        file.write_all(content)
    }

    /// If several paths are one file, the first path becomes the file, and the others become hard links to it, because
    /// they are linked in this order. The facts in `paths.json` about the archive's file move to the first path,
    /// because they are true for all paths.
    fn sort_hard_links(&mut self) {
        let mut groups: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for (path, content) in &self.contents {
            if let ContentKind::HardLink(to) = &content.kind {
                groups.entry(to.clone()).or_insert_with(|| vec![to.clone()]).push(path.clone());
            }
        }
        for (file, mut paths) in groups {
            let Some(Content { kind, listed, .. }) = self.contents.get(&file).cloned() else { continue };
            mlconda_types::sorting::sort(&mut paths);
            let first = paths.remove(0);
            if let Some(content) = self.contents.get_mut(&first) {
                let (path, no_link) = (first.clone(), content.listed.no_link);
                content.listed = ListedPath { path, no_link, ..listed };
            }
            let linked = paths.into_iter().map(|path| (path, ContentKind::HardLink(first.clone())));
            for (path, kind) in linked.chain([(first.clone(), kind)]).collect::<Vec<_>>() {
                if let Some(content) = self.contents.get_mut(&path) {
                    content.kind = kind;
                }
            }
        }
    }

    /// Fails if the installation was asked to stop.
    fn check_stop(&self) -> io::Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(invalid("the installation was stopped")),
            false => Ok(()),
        }
    }

    /// Checks a path, and creates its parent directories.
    fn enter(&mut self, path: &Path) -> io::Result<()> {
        self.check_stop()?;
        if !is_inside(path) {
            return Err(invalid(format!("`{}` is not a path that a package may write", path.display())));
        }
        self.make_parent(path)
    }

    /// Creates the parent directories of a path. None of them may be a link.
    fn make_parent(&mut self, path: &Path) -> io::Result<()> {
        let missing = |parent: &&Path| !parent.as_os_str().is_empty() && !self.made.contains_key(*parent);
        let mut missing: Vec<&Path> = path.ancestors().skip(1).take_while(missing).collect();
        while let Some(parent) = missing.pop() {
            match self.root.lookup(parent)? {
                Some(there) if there.is_directory() => {}
                Some(_) => return Err(invalid(format!("`{}` is a file and a directory", path.display()))),
                None => make_directory(&self.root, self.umask, parent)?,
            }
            self.made.insert(parent.to_owned(), ());
        }
        Ok(())
    }

    fn write(&mut self, content: &mut dyn Read, size: u64, file: &fs_err::File) -> io::Result<()> {
        let (mut left, mut ends_with_hole) = (size, false);
        while left > 0 {
            self.check_stop()?;
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            content.read_exact(&mut self.buffer[..piece])?;
            ends_with_hole = system::write_piece(file, &self.buffer[..piece])?;
            left -= piece as u64;
        }
        if ends_with_hole { system::end_with_hole(file) } else { Ok(()) }
    }
}

fn make_directory(root: &Root, umask: u32, path: &Path) -> io::Result<()> {
    root.make_directory(path, 0o755)?;
    if umask & 0o755 != 0 {
        root.set_directory_mode(path, 0o755)?;
    }
    Ok(())
}

/// Creates something at a path, and first removes a file there. An archive whose `info/` comes late is read twice, and
/// the first reading may have left the file.
fn create_again<T>(root: &Root, path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            root.remove_file(path)?;
            make()
        }
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::package::FileMode;

    use super::*;
    use crate::package::Placeholder;

    #[test]
    fn what_is_listed_of_a_file_goes_with_it() -> io::Result<()> {
        let (directory, stop) = (tempfile::tempdir()?, AtomicBool::new(false));
        let mut extraction = Extraction::new(Root::open(directory.path())?, &stop)?;
        let placeholder = Some(Placeholder { mode: FileMode::Text, text: "/old/prefix".to_owned() });
        for (path, kind, placeholder) in [
            ("b", ContentKind::File, placeholder.clone()),
            ("a", ContentKind::HardLink("b".into()), None),
            ("c", ContentKind::HardLink("b".into()), None),
        ] {
            let (is_directory, no_link, sha256, size) = (false, false, None, None);
            let listed = ListedPath { path: path.into(), is_directory, no_link, sha256, size, placeholder };
            extraction.contents.insert(path.into(), Content { kind, listed, size: 0, modified: 0 });
        }
        extraction.sort_hard_links();
        let of = |path: &str| extraction.contents.get(Path::new(path)).map(|content| (&content.kind, &content.listed));
        let (kind, listed) = of("a").ok_or(io::ErrorKind::NotFound)?;
        assert_eq!((kind, &listed.path, &listed.placeholder), (&ContentKind::File, &"a".into(), &placeholder));
        for path in ["b", "c"] {
            assert_eq!(of(path).map(|(kind, _)| kind), Some(&ContentKind::HardLink("a".into())));
        }
        Ok(())
    }
}
