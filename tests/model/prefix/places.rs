//! The part of the model that says where lies what is installed.

use std::cell::RefCell;

use super::{
    super::rules::{follow, linking_order, place_of},
    Content, Installed, Node, PlacesOfPackages, Prefix,
};

impl Prefix {
    /// The places of what is installed, by package and path, if links are followed like this.
    pub(super) fn places(&self, link: &dyn Fn(&str) -> Option<String>) -> PlacesOfPackages {
        let places = |installed: &Installed| {
            let place = |path: &String, content| place_of(path, content, link).unwrap_or_else(|| path.clone());
            installed.contents.iter().map(|(path, content)| (path.clone(), place(path, content))).collect()
        };
        self.installed.iter().map(|(name, installed)| (name.clone(), places(installed))).collect()
    }

    /// The places of what is installed. Links are followed as packages made them: whatever the user has put in the place of a
    /// link, what is named below it is where the link led.
    pub(super) fn places_made(&self) -> PlacesOfPackages {
        self.places(&|place| self.link_made(place))
    }

    /// The links by which a path leads to its place.
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

    /// Where the link of installed packages at a place leads.
    fn link_made(&self, place: &str) -> Option<String> {
        self.link_of(&|_| true, place)
    }

    /// Where the link of these packages at a place leads: of several, the one that is there, or that which was made last.
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
