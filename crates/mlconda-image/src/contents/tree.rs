//! The files of an image, as layer comes upon layer: what is later wins, whiteouts remove what is below, links are followed
//! within the image.

use std::collections::BTreeMap;

use super::Limits;

/// How many links lead from one path to another at most. More are a circle.
const MOST_LINKS: usize = 40;

/// What hides a path of lower layers: `.wh.NAME`.
const WHITEOUT: &[u8] = b".wh.";

/// What hides all that lower layers have in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// An entry of a layer.
pub(super) enum Entry<'a> {
    Directory,
    File,
    /// A symbolic link to this.
    Link(&'a [u8]),
    /// Another name of this file.
    HardLink(&'a [u8]),
    /// A device, a FIFO.
    Other,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory,
    /// A file, by its number.
    File(usize),
    Link(Vec<u8>),
    Other,
}

/// A file, which may have several paths.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) bytes: u64,
    /// How many bytes of it are debug symbols.
    pub(super) symbols: u64,
    pub(super) layer: usize,
    /// Its content, of records.
    pub(super) content: Option<Vec<u8>>,
}

/// All that is there. A path is its parts with NUL between them: in this order, what is in a directory follows it.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) limits: &'a Limits,
    pub(super) nodes: BTreeMap<Vec<u8>, (usize, Node)>,
    pub(super) files: Vec<File>,
    /// The size of the layers so far without compression, in bytes.
    pub(super) unpacked: u64,
    /// The size of the records so far, in bytes.
    pub(super) records: u64,
    entries: usize,
    paths: usize,
    /// How much was done for links and whiteouts: paths that were looked up, long ones several times, and removed ones.
    steps: usize,
    /// The parent that was found last, and where it is. It holds while no link comes or goes.
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

    /// Puts an entry of a layer. Gives the number of the file, if it is a new one. The path is as in the tar.
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

    /// The parts of a path that stays in the image, without `.` and empty ones.
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

    /// Where a directory is, once links are followed. What is not there is made by engines.
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

    /// What a hard link leads to.
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

    /// Counts the bytes of a path.
    fn count(&mut self, path: usize) -> Result<(), String> {
        self.paths += path;
        match self.paths > self.limits.paths {
            true => Err(format!("the paths have more than {} bytes together, which is the limit", self.limits.paths)),
            false => Ok(()),
        }
    }

    /// Counts what is done for links and whiteouts, of which a few can stand for much work.
    fn step(&mut self, steps: usize) -> Result<(), String> {
        self.steps += steps;
        match self.steps > self.limits.entries.saturating_mul(50) {
            true => Err("its links and whiteouts want more work than any image needs".to_owned()),
            false => Ok(()),
        }
    }

    /// Makes the directories above a path, or makes them the layer's. So a directory is never of a lower layer than what is in
    /// it.
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
        // The parent that is remembered may be another one now.
        if was_link || was_directory && !is_directory || matches!(node, Node::Link(_)) {
            self.parent = None;
        }
        self.nodes.insert(place, (layer, node));
        Ok(())
    }

    /// Removes what lower layers have at a path, or in a directory.
    fn white_out(&mut self, layer: usize, parent: &[u8], name: &[u8]) -> Result<(), String> {
        self.parent = None;
        let is_lower = |other: usize| other < layer;
        if name == OPAQUE {
            return self.remove_below(parent, is_lower);
        }
        let name = &name[WHITEOUT.len()..];
        // Other names with `.wh.` twice are notes of a file system.
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

    /// Removes what is in a directory, of the layers that are told.
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

/// A path as people write it, relative to the root.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace('\0', "/")
}
