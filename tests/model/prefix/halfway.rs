//! The part of the model that says what is left of an installation that ends with an error halfway.
//!
//! On an overlay file system, old files are removed at once (`docs/DESIGN.md`), so there is no way back. A script that fails
//! leaves a prefix that says that it is none, with the new packages, each of which the next installation links anew.

use super::{How, Layout, MADE, Made, Node, Package, Prefix, Way};

/// What was done of an installation that ended halfway.
#[derive(Default)]
pub(super) struct Halfway {
    /// What scripts have made, in their order.
    pub(super) ran: Vec<Made>,
    /// What it is then, if there is no way back from it.
    pub(super) placed: Option<Prefix>,
}

impl Prefix {
    /// What the prefix may be after an installation that ends with an error halfway: what it was. But where it is changed in
    /// place, new files of the scripts that ran before stay: nobody knows whose they are. They ran in their order.
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

    /// Leaves what a script has made, if the prefix is changed in place. What it wrote into files of the user is undone.
    fn leave(&mut self, (path, text): Made) {
        if self.way != Way::Swapped {
            self.tree.entry(MADE.to_owned()).or_insert(Node::Directory { mode: 0o755 });
            self.tree.entry(path).or_insert(Node::File { text, mode: 0o644 });
            self.is_begun = !self.is_environment;
        }
    }

    /// Whether it says itself that it is none.
    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// Whether something that an installation takes away is lost: the history alone is enough.
    pub(super) fn loses_what_goes(&self, after: &Layout) -> bool {
        let mut places = after.winners.keys().chain(after.directories.keys());
        let is_file = |place: &String| matches!(self.tree.get(place), Some(Node::File { .. } | Node::Link(_)));
        self.way == Way::Overlay && (self.is_environment || self.is_marked || places.any(is_file))
    }

    /// What an installation leaves that ended halfway.
    pub(super) fn end_halfway(&mut self, half: Halfway) {
        match half.placed {
            Some(placed) => *self = Self { is_environment: false, is_begun: true, is_marked: true, ..placed },
            None => half.ran.into_iter().for_each(|made| self.leave(made)),
        }
    }
}
