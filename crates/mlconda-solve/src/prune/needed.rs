//! What every solution has: what the environment asks for, what all that is left of that needs, and so on. Of such a package
//! remains only what one of those that need it allows; and of any package, what one of those leaves that all constrain it.
//! If each python that is left needs openssl 3, then openssl 1.1 goes, and with it all that needs that.

use super::{Field, NameId, Place};
use crate::catalog::{AskId, Places};

/// The names of which every solution has a record.
pub(super) struct Needed {
    names: Vec<NameId>,
    /// By name, whether it is one of them.
    is_one: Vec<bool>,
    /// By name, how many records were left of it when it was looked at.
    looked_at: Vec<usize>,
}

/// How many of some records ask for a name.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// How many need it, and how many need it or constrain it.
    needing: usize,
    asking: usize,
    /// The last one that was counted as needing it, and as asking for it.
    last_needing: usize,
    last_asking: usize,
}

impl Needed {
    /// Those that the environment asks for, of so many names.
    pub(crate) fn new(required: &[NameId], count: usize) -> Self {
        let mut needed = Self { names: Vec::new(), is_one: vec![false; count], looked_at: vec![usize::MAX; count] };
        required.iter().for_each(|name| _ = needed.add(*name));
        needed
    }

    /// Whether it is new.
    fn add(&mut self, name: NameId) -> bool {
        let is_new = !std::mem::replace(&mut self.is_one[name as usize], true);
        self.names.extend(is_new.then_some(name));
        is_new
    }

    pub(super) fn has(&self, name: NameId) -> bool {
        self.is_one[name as usize]
    }
}

impl Field<'_, '_> {
    /// Takes away what none of those allows that need it; whether there was any, or a name was found that is needed.
    pub(super) fn tighten(&mut self, needed: &mut Needed) -> bool {
        let mut tallies = vec![Tally::default(); self.catalog.names.len()];
        let mut has_changed = false;
        let mut next = 0;
        while let Some(name) = needed.names.get(next).copied() {
            next += 1;
            let places = self.catalog.names[name as usize].places.iter();
            let left: Vec<Place> = places.filter(|place| self.possible[*place as usize]).collect();
            // What was taken away does not come back.
            if std::mem::replace(&mut needed.looked_at[name as usize], left.len()) != left.len() {
                has_changed |= self.tighten_by(&left, needed, &mut tallies);
            }
        }
        has_changed
    }

    /// The same by what these records of a needed package ask for.
    fn tighten_by(&mut self, left: &[Place], needed: &mut Needed, tallies: &mut [Tally]) -> bool {
        let mut asks: Vec<(NameId, AskId)> = Vec::new();
        for (index, place) in (1..).zip(left) {
            for id in self.needs(*place) {
                let Some(ask) = self.catalog.ask(*id) else { continue };
                let tally = &mut tallies[ask.name as usize];
                tally.needing += usize::from(std::mem::replace(&mut tally.last_needing, index) != index);
            }
            for id in self.needs(*place).iter().chain(self.bounds(*place)) {
                let Some(ask) = self.catalog.ask(*id) else { continue };
                let tally = &mut tallies[ask.name as usize];
                tally.asking += usize::from(std::mem::replace(&mut tally.last_asking, index) != index);
                asks.push((ask.name, *id));
            }
        }
        asks.sort_unstable();
        asks.dedup();
        let mut has_changed = false;
        for of_name in asks.chunk_by(|one, other| one.0 == other.0) {
            let name = of_name[0].0;
            let Tally { needing, asking, .. } = std::mem::take(&mut tallies[name as usize]);
            let is_asked_by_all = asking == left.len();
            if is_asked_by_all && !self.catalog.names[name as usize].text.starts_with("__") {
                let allowed = of_name.iter().filter_map(|(_, id)| Some(&self.catalog.ask(*id)?.places));
                has_changed |= self.allow(name, &Places::union(allowed));
                has_changed |= needing == left.len() && needed.add(name);
            }
        }
        has_changed
    }

    /// Takes away what of a name is not allowed; whether there was any.
    fn allow(&mut self, name: NameId, allowed: &Places) -> bool {
        let mut has_changed = false;
        for place in self.catalog.names[name as usize].places.iter() {
            let is_out = self.possible[place as usize] && !allowed.contains(place);
            self.possible[place as usize] &= !is_out;
            has_changed |= is_out;
        }
        has_changed
    }
}
