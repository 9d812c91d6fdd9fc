//! The part of the model with the result of an installation that ends with an error halfway.
//!
//! On an overlay file system, old files are removed at once (`docs/DESIGN.md`), so the change cannot be undone. A
//! script that fails leaves a prefix that is marked as no environment, with the new packages. The next installation
//! links each of them again.

use super::{How, Layout, MADE, Made, Node, Package, Prefix, Way};

/// The finished part of an installation that ended halfway.
#[derive(Default)]
pub(super) struct Halfway {
    /// The files that scripts have made, in the order of the scripts.
    pub(super) ran: Vec<Made>,
    /// The resulting prefix, if the change cannot be undone.
    pub(super) placed: Option<Prefix>,
}

impl Prefix {
    /// The possible prefixes after an installation that ends with an error halfway: the old prefix. But if it is
    /// changed in place, new files of the scripts that ran before also stay, because their owner is unknown. The
    /// scripts run in their order.
    pub(crate) fn undone(&self, lock: &[Package], how: &How) -> Vec<Self> {
        let (mut all, mut half) = (vec![self.clone()], Halfway::default());
        let _ = self.changed(lock, how, &mut half);
        if self.way != Way::Swapped {
            for made in half.ran {
                let mut next = all[all.len() - 1].clone();
                next.leave(made);
                all.push(next);
            }
        }
        all
    }

    /// Adds the file that a script has made, if the prefix is changed in place. Edits of files of the user are undone.
    fn leave(&mut self, (path, text): Made) {
        if self.way != Way::Swapped {
            self.tree.entry(MADE.to_owned()).or_insert(Node::Directory { mode: 0o755 });
            self.tree.entry(path).or_insert(Node::File { text, mode: 0o644 });
            self.is_begun = !self.is_environment;
        }
    }

    /// Whether it is marked as no environment.
    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Whether an installation loses a removed file: the history alone is enough.
    pub(super) fn loses_what_goes(&self, after: &Layout) -> bool {
        let mut places = after.winners.keys().chain(after.directories.keys());
        let is_file = |place: &String| matches!(self.tree.get(place), Some(Node::File { .. } | Node::Link(_)));
        self.way == Way::Overlay && (self.is_environment || self.is_marked || places.any(is_file))
    }

    /// Changes the prefix to the result of an installation that ended halfway.
    pub(super) fn end_halfway(&mut self, half: Halfway) {
        match half.placed {
            Some(placed) => *self = Self { is_environment: false, is_begun: true, is_marked: true, ..placed },
            None => half.ran.into_iter().for_each(|made| self.leave(made)),
        }
    }
}
