//! The files of an image, after its layers were applied in order. Later files replace earlier ones, whiteouts remove
//! files of lower layers, and links are followed within the image. These are the rules of the OCI image spec, section
//! "Image Layer Filesystem Changeset".

use std::collections::BTreeMap;

use super::Limits;

/// The largest number of links in a path. More links are taken for a circle.
const MOST_LINKS: usize = 40;

/// The prefix of a file name that removes a path of lower layers: `.wh.NAME`.
const WHITEOUT: &[u8] = b".wh.";

/// The name of a file that removes all contents of its directory in lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// An entry of a layer.
pub(super) enum Entry<'a> {
    Directory,
    File,
    /// A symbolic link with this target.
    Link(&'a [u8]),
    /// A hard link to this path.
    HardLink(&'a [u8]),
    /// A device or a FIFO.
    Other,
}

/// The entry at a path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory,
    /// A file, by its index.
    File(usize),
    Link(Vec<u8>),
    Other,
}

/// A file, which may have several paths (hard links).
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) bytes: u64,
    /// How many of its bytes are debug symbols.
    pub(super) symbols: u64,
    pub(super) layer: usize,
    /// Its content, if it is a record.
    pub(super) content: Option<Vec<u8>>,
}

/// All entries of the image. In a path, NUL separates the parts. So in sorted order, the contents of a directory
/// directly follow it.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) limits: &'a Limits,
    pub(super) nodes: BTreeMap<Vec<u8>, (usize, Node)>,
    pub(super) files: Vec<File>,
    /// The size of all uncompressed layers so far, in bytes.
    pub(super) unpacked: u64,
    /// The size of all records so far, in bytes.
    pub(super) records: u64,
    entries: usize,
    paths: usize,
    /// The work for links and whiteouts so far: looked up paths, which count more if they are long, and removed paths.
    steps: usize,
    /// The parent that was resolved last, as given and as resolved. It is valid until a link is added or removed.
    parent: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            nodes: BTreeMap::new(),
            files: Vec::new(),
            unpacked: 0,
            records: 0,
            entries: 0,
            paths: 0,
            steps: 0,
            parent: None,
        }
    }

    /// Adds an entry of a layer. The path is as in the tar. Returns the index of the file if a new file was added.
    pub(super) fn put(&mut self, layer: usize, path: &[u8], entry: &Entry<'_>) -> Result<Option<usize>, String> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(format!("the layers have more than {} entries, which is the limit", self.limits.entries));
        }
        let parts = self.parts(path)?;
        let Some((name, above)) = parts.split_last() else { return Ok(None) };
        let parent = self.parent(above, path)?;
        if name.starts_with(WHITEOUT) {
            return self.white_out(layer, &parent, name).map(|()| None);
        }
        let place = join(&parent, name);
        let mut file = None;
        let node = match entry {
            Entry::Directory => Node::Directory,
            Entry::File => {
                file = Some(self.files.len());
                self.files.push(File { layer, ..File::default() });
                Node::File(self.files.len() - 1)
            }
            Entry::Link(target) if target.len() > self.limits.path => {
                let (length, limit) = (target.len(), self.limits.path);
                return Err(format!("a link in it leads to a path of {length} bytes, and {limit} is the limit"));
            }
            Entry::Link(target) => Node::Link(target.to_vec()),
            Entry::HardLink(target) => self.linked(target, path)?,
            Entry::Other => Node::Other,
        };
        self.replace(layer, place, node)?;
        Ok(file)
    }

    /// The parts of a path, without `.` and empty parts. The path must not lead out of the image.
    fn parts<'b>(&self, path: &'b [u8]) -> Result<Vec<&'b [u8]>, String> {
        if path.len() > self.limits.path {
            let (length, limit) = (path.len(), self.limits.path);
            return Err(format!("a path in it has {length} bytes, and {limit} is the limit"));
        }
        if path.contains(&0) {
            return Err("a path in it has a NUL".to_owned());
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if parts.pop().is_none() => {
                    return Err(format!("it has `{}`, which leads out of the image", String::from_utf8_lossy(path)));
                }
                b".." => {}
                part => parts.push(part),
            }
        }
        Ok(parts)
    }

    /// The path of a directory after following links. A missing directory counts as one, because engines create it.
    fn parent(&mut self, above: &[&[u8]], path: &[u8]) -> Result<Vec<u8>, String> {
        let typed = above.join(&0);
        if let Some((last, place)) = &self.parent
            && *last == typed
        {
            return Ok(place.clone());
        }
        let mut todo: Vec<Vec<u8>> = above.iter().rev().map(|part| part.to_vec()).collect();
        let (mut place, mut links): (Vec<u8>, usize) = (Vec::new(), 0);
        while let Some(part) = todo.pop() {
            self.step(1 + place.len() / 64)?;
            if part == b".." {
                let end = place.iter().rposition(|byte| *byte == 0).unwrap_or(0);
                place.truncate(end);
                continue;
            }
            let next = join(&place, &part);
            match self.nodes.get(&next) {
                Some((_, Node::Link(target))) => {
                    links += 1;
                    self.steps += target.len() / 16;
                    if links > MOST_LINKS {
                        let path = String::from_utf8_lossy(path);
                        return Err(format!("it has `{path}`, where links lead in a circle"));
                    }
                    if target.starts_with(b"/") {
                        place.clear();
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    todo.extend(parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
                    if todo.len() > self.limits.path {
                        return Err("links in it lead to a path that is too long".to_owned());
                    }
                }
                Some((_, Node::File(_) | Node::Other)) => {
                    let (path, file) = (String::from_utf8_lossy(path), shown(&next));
                    return Err(format!("it has `{path}`, and `{file}` is no directory"));
                }
                _ => place = next,
            }
        }
        self.parent = Some((typed, place.clone()));
        Ok(place)
    }

    /// The entry that a hard link leads to.
    fn linked(&mut self, target: &[u8], path: &[u8]) -> Result<Node, String> {
        let parts = self.parts(target)?;
        let found = match parts.split_last() {
            Some((name, above)) => {
                let parent = self.parent(above, target)?;
                self.nodes.get(&join(&parent, name)).map(|(_, node)| node.clone())
            }
            None => None,
        };
        match found {
            Some(node @ (Node::File(_) | Node::Link(_) | Node::Other)) => Ok(node),
            _ => {
                let (path, target) = (String::from_utf8_lossy(path), String::from_utf8_lossy(target));
                Err(format!("it has `{path}` as a link to the file `{target}`, which is not there"))
            }
        }
    }

    /// Counts the bytes of a path, and checks the limit.
    fn count(&mut self, path: usize) -> Result<(), String> {
        self.paths += path;
        match self.paths > self.limits.paths {
            true => Err(format!("the paths have more than {} bytes together, which is the limit", self.limits.paths)),
            false => Ok(()),
        }
    }

    /// Counts the work for links and whiteouts, and checks the limit: a few of them can cause much work.
    fn step(&mut self, steps: usize) -> Result<(), String> {
        self.steps += steps;
        match self.steps > self.limits.entries.saturating_mul(50) {
            true => Err("it has too many links and whiteouts".to_owned()),
            false => Ok(()),
        }
    }

    /// Makes the layer the owner of all directories above a path, and adds missing ones. So the layer of a directory is
    /// never below that of its contents.
    fn make_parents(&mut self, layer: usize, place: &[u8]) -> Result<(), String> {
        let mut end = place.len();
        while let Some(slash) = place[..end].iter().rposition(|byte| *byte == 0) {
            end = slash;
            self.count(end)?;
            match self.nodes.get_mut(&place[..end]) {
                Some((of, _)) if *of == layer => return Ok(()),
                Some((of, _)) => *of = layer,
                None => _ = self.nodes.insert(place[..end].to_vec(), (layer, Node::Directory)),
            }
        }
        Ok(())
    }

    fn replace(&mut self, layer: usize, place: Vec<u8>, node: Node) -> Result<(), String> {
        let link = if let Node::Link(target) = &node { target.len() } else { 0 };
        self.count(place.len() + link)?;
        self.make_parents(layer, &place)?;
        let is_directory = matches!(node, Node::Directory);
        let (was_directory, was_link) = match self.nodes.get(&place) {
            Some((_, Node::Directory)) => (true, false),
            Some((_, Node::Link(_))) => (false, true),
            _ => (false, false),
        };
        if was_directory && !is_directory {
            self.remove_below(&place, |_| true)?;
        }
        // The remembered parent may not be valid any more.
        if was_link || was_directory && !is_directory || matches!(node, Node::Link(_)) {
            self.parent = None;
        }
        self.nodes.insert(place, (layer, node));
        Ok(())
    }

    /// Removes the entries that lower layers have at a path, or in a directory.
    fn white_out(&mut self, layer: usize, parent: &[u8], name: &[u8]) -> Result<(), String> {
        self.parent = None;
        let is_lower = |other: usize| other < layer;
        if name == OPAQUE {
            return self.remove_below(parent, is_lower);
        }
        let name = &name[WHITEOUT.len()..];
        // Names that begin with `.wh..wh.` are internal to a file system.
        if name.is_empty() || name.starts_with(WHITEOUT) {
            return Ok(());
        }
        let place = join(parent, name);
        self.remove_below(&place, is_lower)?;
        if self.nodes.get(&place).is_some_and(|(other, _)| is_lower(*other)) {
            self.nodes.remove(&place);
        }
        Ok(())
    }

    /// Removes the contents of a directory from the layers for which `is_meant` is true.
    fn remove_below(&mut self, directory: &[u8], is_meant: impl Fn(usize) -> bool) -> Result<(), String> {
        let begin = if directory.is_empty() { Vec::new() } else { join(directory, b"") };
        let (mut gone, mut steps) = (Vec::new(), 0);
        for (path, (layer, _)) in self.nodes.range(begin.clone()..).take_while(|(path, _)| path.starts_with(&begin)) {
            steps += 1;
            if is_meant(*layer) {
                gone.push(path.clone());
            }
        }
        gone.iter().for_each(|path| _ = self.nodes.remove(path));
        self.step(steps)
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"\0", name].concat() }
}

/// A path for messages, relative to the root.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', "/")
}
