//! The part of the model with the places of installed files.

use std::cell::RefCell;

use super::{
    super::rules::{follow, linking_order, place_of},
    Content, Installed, Node, PlacesOfPackages, Prefix,
};

impl Prefix {
    /// The places of installed files, by package and path, if `link` returns the targets of links.
    pub(super) fn places(&self, link: &dyn Fn(&str) -> Option<String>) -> PlacesOfPackages {
        let places = |installed: &Installed| {
            let place = |path: &String, content| place_of(path, content, link).unwrap_or_else(|| path.clone());
            installed.contents.iter().map(|(path, content)| (path.clone(), place(path, content))).collect()
        };
        self.installed.iter().map(|(name, installed)| (name.clone(), places(installed))).collect()
    }

    /// The places of installed files. Links are followed as packages made them: paths below a link are in its old
    /// target, even if the user has replaced the link.
    pub(super) fn places_made(&self) -> PlacesOfPackages {
        self.places(&|place| self.link_made(place))
    }

    /// The links that are followed from a path to its place.
    pub(super) fn way(&self, path: &str) -> Vec<String> {
        let way = RefCell::new(Vec::new());
        let link = |place: &str| {
            let to = self.link_made(place);
            way.borrow_mut().extend(to.is_some().then(|| place.to_owned()));
            to
        };
        let _ = follow(path, &link);
        way.into_inner()
    }

    /// The target of the installed packages' link at a place.
    fn link_made(&self, place: &str) -> Option<String> {
        self.link_of(&|_| true, place)
    }

    /// The target of these packages' link at a place. Of several links, this is the one on the disk, or else the last
    /// one.
    pub(super) fn link_of(&self, names: &dyn Fn(&String) -> bool, place: &str) -> Option<String> {
        let installed = self.installed.iter().filter(|(name, _)| names(name));
        let order = linking_order(&installed.map(|(name, it)| (name.clone(), &it.package)).collect());
        let made = order.iter().filter_map(|name| match self.installed[name].contents.get(place) {
            Some(Content::Link(to)) => Some(to.clone()),
            _ => None,
        });
        let made: Vec<String> = made.collect();
        let is_there = |to: &&String| self.tree.get(place) == Some(&Node::Link((*to).clone()));
        made.iter().find(is_there).or(made.last()).cloned()
    }
}
