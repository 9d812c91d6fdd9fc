//! Resolves clashes after all packages are in the stage. Decides which file is installed if several packages contain a
//! path, and where files belong that packages name below a link.
//!
//! The result does not depend on the order of unpacking. Files in slots are moved to their final paths in the order of
//! their depth, so that nothing is written through a link.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
};

use mlconda_inspect::links::{self, PackageLinks, Replaced};
use mlconda_prefix::on_disk::resolve;
use mlconda_system::{
    self as system,
    beneath::{PathKind, Root},
};
use rattler_conda_types::PrefixRecord;

use super::{CLASH_DIRECTORY, Claims, Clash, Directory, Stage, WaitingPackage, slot};
use crate::{
    InstallError,
    layout::{Layout, parents, resolved_paths},
    package_paths::is_reserved,
    record_file,
};

/// The number that stands for a kept package, for its files that move to another path.
const KEPT_PACKAGE: usize = usize::MAX;

/// A package, by its rank in the linking order and its file name without extension.
pub(crate) type Ranked = (usize, String);

/// The packages in the prefix.
pub(crate) struct InstalledPackages<'a> {
    pub(crate) prefix: &'a Root,
    /// Records of packages to remove.
    pub(crate) unlink: Vec<&'a PrefixRecord>,
    /// Records of kept packages, with their ranks.
    pub(crate) keep: Vec<(&'a PrefixRecord, Ranked)>,
}

/// A file of a kept package that moves to another path, with the number and the rank of the package.
struct Move {
    package: usize,
    rank: usize,
    from: PathBuf,
    to: PathBuf,
}

struct ClashResolution<'a> {
    stage: &'a Stage,
    claims: Claims,
    packages: &'a [Ranked],
    /// The links of kept packages.
    kept: Option<PackageLinks<'a>>,
    /// The records of kept packages, with their ranks.
    keep: &'a [(&'a PrefixRecord, Ranked)],
    report: BTreeMap<PathBuf, Vec<Ranked>>,
    /// Whether a path leads through a link of a package.
    has_links: bool,
}

impl Stage {
    /// Resolves and returns all clashes. `packages` contains the rank and the name of each package, by the package's
    /// number.
    pub(crate) fn resolve_clashes(
        &self,
        packages: &[Ranked],
        there: Option<&InstalledPackages<'_>>,
    ) -> Result<(Vec<Clash>, Option<Layout>), InstallError> {
        let claims = std::mem::take(&mut *self.claims());
        let (kept, keep, report) = (None, there.map_or(&[][..], |there| &there.keep), BTreeMap::new());
        let mut resolution = ClashResolution { stage: self, claims, packages, kept, keep, report, has_links: false };
        let settled = resolution.resolve(there);
        let ClashResolution { claims, report, .. } = resolution;
        *self.claims() = claims;
        let layout = settled?;
        self.remove_slots()?;
        let clash = |(path, mut packages): (PathBuf, Vec<Ranked>)| {
            mlconda_types::sorting::sort(&mut packages);
            packages.dedup();
            Clash { path, packages: packages.into_iter().map(|(_, name)| name).collect() }
        };
        Ok((report.into_iter().map(clash).filter(|clash| clash.packages.len() > 1).collect(), layout))
    }
}

impl Stage {
    /// Removes the files that are left in slots.
    fn remove_slots(&self) -> io::Result<()> {
        let slots = Path::new(CLASH_DIRECTORY);
        if self.root.lookup(slots)?.is_none() {
            return Ok(());
        }
        for (name, _) in self.root.entries(slots)? {
            self.root.remove_file(&slots.join(name))?;
        }
        self.root.remove_directory(slots)
    }

    /// Whether there is a link at a path in the stage.
    fn has_link(&self, path: &Path) -> bool {
        self.root.lookup(path).is_ok_and(|there| there.is_some_and(|there| there.kind == PathKind::Link))
    }
}

impl<'a> ClashResolution<'a> {
    fn resolve(&mut self, there: Option<&'a InstalledPackages<'_>>) -> Result<Option<Layout>, InstallError> {
        let linked = there.map_or_else(Vec::new, |there| self.linked(there));
        if let Some(there) = there.filter(|_| !linked.is_empty() || !self.claims.waiting.is_empty()) {
            let keep = there.keep.iter().map(|(record, _)| *record);
            self.kept = Some(PackageLinks::new(there.prefix, keep, Replaced::NotFollowed));
        }
        self.has_links = !linked.is_empty();
        for path in linked {
            // The stage has a directory at the path of a kept package's link.
            let is_link = self.kept.as_ref().map_or(Ok(None), |kept| kept.at(&path))?.is_some();
            if is_link && self.claims.directories.contains_key(&path) {
                self.move_out_directory(&path)?;
            }
        }
        while let Some(path) = self.next() {
            self.stage.stop.check()?;
            let waiting = self.claims.waiting.remove(&path).unwrap_or_default();
            self.put(&path, waiting)?;
        }
        for path in std::mem::take(&mut self.claims.wanted_directories) {
            let place = self.place(&path.join("-"))?.ok_or_else(|| self.clash(&path, &[], "link"))?;
            self.directory(place.parent().unwrap_or(Path::new("")))?;
        }
        let Some(there) = there else { return Ok(None) };
        if self.has_links {
            return self.move_kept(there).map(Some);
        }
        for (record, stays) in &there.keep {
            self.stage.stop.check()?;
            for path in record_file::files(record) {
                self.resolve_with_kept(path, stays)?;
            }
        }
        Ok(None)
    }

    /// Paths that are a file or a link for one package and a directory for another, if at least one of the two is in
    /// the prefix.
    fn linked(&self, there: &InstalledPackages<'_>) -> Vec<PathBuf> {
        let keep = || there.keep.iter().map(|(record, _)| *record);
        let all = || keep().chain(there.unlink.iter().copied());
        let (above_kept, above) = (parents(keep()), parents(all()));
        let links = all().flat_map(links::of_record).filter(|path| above.contains(path.as_path()));
        let mut found: Vec<PathBuf> = links.cloned().collect();
        let kept = keep().flat_map(links::of_record);
        found.extend(kept.filter(|path| self.claims.directories.contains_key(*path)).cloned());
        if !above_kept.is_empty() {
            found.extend(self.claims.files.keys().filter(|path| above_kept.contains(path.as_path())).cloned());
        }
        mlconda_types::sorting::sort_by_key(&mut found, |path| path.components().count());
        found
    }

    /// The path with the fewest components that packages wait for.
    fn next(&self) -> Option<PathBuf> {
        self.claims.waiting.keys().min_by_key(|path| (path.components().count(), path.as_path())).cloned()
    }

    /// The target of a package's link. If several packages have one at this path, it is that of the package that is
    /// linked last.
    fn link(&self, place: &Path) -> io::Result<Option<PathBuf>> {
        if self.claims.files.get(place).is_some_and(|holder| !self.is_covered(place, *holder)) {
            return Ok(self.stage.root.read_link(place).ok());
        }
        match &self.kept {
            Some(kept) if !self.claims.directories.contains_key(place) => kept.at(place),
            _ => Ok(None),
        }
    }

    /// Whether a kept package that is linked later has a link at the path of a new package's file.
    fn is_covered(&self, place: &Path, holder: usize) -> bool {
        let records = self.kept.iter().flat_map(|kept| kept.records(place));
        let mut ranks = records.filter_map(|one| self.keep.iter().find(|(record, _)| std::ptr::eq(*record, *one)));
        self.packages.get(holder).is_some_and(|(new, _)| ranks.any(|(_, (rank, _))| rank > new))
    }

    /// The real path of a package's path. `None` also if a link leads to a reserved path.
    fn place(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let place = resolve(path, &|path| self.link(path))?;
        Ok(place.filter(|place| place == path || !is_reserved(place)))
    }

    fn name(&self, package: usize) -> Option<String> {
        self.packages.get(package).map(|(_, name)| name.clone())
    }

    /// The error for a path that is a directory for one package and something else for others.
    fn clash(&self, path: &Path, others: &[WaitingPackage], kind: &'static str) -> InstallError {
        let below = self.claims.files.iter().find(|(file, _)| file.starts_with(path) && *file != path);
        let directory = below.and_then(|(_, package)| self.name(*package));
        let other = others.first().and_then(|waiting| self.name(waiting.package));
        InstallError::PathTypeClash { path: path.to_owned(), directory, other, kind }
    }

    /// The error for a path below a file or a link.
    fn clash_above(&self, path: &Path, waiting: &[WaitingPackage]) -> InstallError {
        let new = path.ancestors().skip(1).find(|path| self.claims.files.contains_key(*path));
        let records = |path| self.kept.as_ref().map_or(&[][..], |kept| kept.records(path));
        let kept = path.ancestors().skip(1).find(|path| !records(path).is_empty());
        let (above, other, is_link) = match (new, kept) {
            (Some(above), _) => (above, self.name(self.claims.files[above]), self.stage.has_link(above)),
            // A link of a kept package leads out of the prefix, or in a circle.
            (None, Some(above)) => (above, records(above).first().map(|record| record_file::dist_name(record)), true),
            (None, None) => (path, None, false),
        };
        InstallError::PathTypeClash {
            path: above.to_owned(),
            directory: waiting.first().and_then(|waiting| self.name(waiting.package)),
            other,
            kind: if is_link { "link" } else { "file" },
        }
    }

    /// Moves the winning file of a path from its slot to its real path.
    fn put(&mut self, path: &Path, waiting: Vec<WaitingPackage>) -> Result<(), InstallError> {
        let Some(place) = self.place(path)? else { return Err(self.clash_above(path, &waiting)) };
        if place != path {
            self.has_links = true;
            self.claims.resolved_paths.insert(path.to_owned(), place.clone());
        }
        let is_link = |waiting: &WaitingPackage| self.stage.has_link(&slot(waiting.slot));
        if self.claims.directories.contains_key(&place) {
            if !waiting.iter().all(is_link) {
                return Err(self.clash(&place, &waiting, "file"));
            }
            self.has_links = true;
            self.move_out_directory(&place)?;
        }
        let above = place.parent().unwrap_or(Path::new("")).to_owned();
        if self.directory(&above).is_err() {
            // For the message, the link above is more helpful than its target.
            return Err(self.clash_above(if place == path { &place } else { path }, &waiting));
        }
        let holder = self.claims.files.get(&place).copied();
        let mut all: Vec<Ranked> = waiting.iter().map(|waiting| self.packages[waiting.package].clone()).collect();
        let best = waiting.iter().max_by_key(|waiting| self.packages[waiting.package].0);
        if let Some(best) =
            best.filter(|best| holder.is_none_or(|holder| self.packages[holder].0 < self.packages[best.package].0))
        {
            self.stage.root.rename(&slot(best.slot), &self.stage.root, &place)?;
            self.claims.files.insert(place.clone(), best.package);
        }
        all.extend(holder.map(|holder| self.packages[holder].clone()));
        if all.len() > 1 {
            self.report.entry(place).or_default().extend(all);
        }
        Ok(())
    }

    /// Moves the contents of a directory of the stage into slots, and removes the directory, to make room for a
    /// package's link.
    fn move_out_directory(&mut self, directory: &Path) -> Result<(), InstallError> {
        let root = &self.stage.root;
        let is_below = |path: &&PathBuf| path.starts_with(directory) && path.as_path() != directory;
        let files: Vec<PathBuf> = self.claims.files.keys().filter(is_below).cloned().collect();
        for path in files {
            let Some(package) = self.claims.files.remove(&path) else { continue };
            let number = self.claims.wait(&path, package);
            root.make_directories(Path::new(CLASH_DIRECTORY), 0o755)?;
            root.rename(&path, root, &slot(number))?;
        }
        let mut directories: Vec<PathBuf> = self.claims.directories.keys().filter(is_below).cloned().collect();
        mlconda_types::sorting::sort_by_key(&mut directories, |path| std::cmp::Reverse(path.components().count()));
        for path in directories {
            self.claims.directories.remove(&path);
            root.remove_directory(&path)?;
            self.claims.wanted_directories.push(path);
        }
        self.claims.directories.remove(directory);
        Ok(root.remove_directory(directory)?)
    }

    /// Creates a directory of the stage, and its parents.
    fn directory(&mut self, path: &Path) -> Result<(), InstallError> {
        if path.as_os_str().is_empty() || self.claims.directories.contains_key(path) {
            return Ok(());
        }
        if self.claims.files.contains_key(path) {
            return Err(self.clash_above(&path.join("-"), &[]));
        }
        self.directory(path.parent().unwrap_or(Path::new("")))?;
        self.stage.root.make_directory(path, 0o755)?;
        self.stage.root.set_directory_mode(path, 0o755)?;
        self.claims.directories.insert(path.to_owned(), Directory::Made);
        Ok(())
    }

    /// Resolves a clash of a new file with a file of a kept package: the package that is linked later wins.
    fn resolve_with_kept(&mut self, place: &Path, stays: &Ranked) -> Result<(), InstallError> {
        let Some(holder) = self.claims.files.get(place).copied().filter(|holder| *holder != KEPT_PACKAGE) else {
            return Ok(());
        };
        if stays.0 > self.packages[holder].0 {
            self.claims.files.remove(place);
            self.stage.root.remove_file(place)?;
        }
        let new = || vec![self.packages[holder].clone()];
        self.report.entry(place.to_owned()).or_insert_with(new).push(stays.clone());
        Ok(())
    }

    /// Moves files of kept packages into the stage if a link above them is added or removed, because their real path
    /// changes.
    fn move_kept(&mut self, there: &'a InstalledPackages<'_>) -> Result<Layout, InstallError> {
        let keep = || there.keep.iter().map(|(record, _)| *record);
        let records = keep().chain(there.unlink.iter().copied());
        let old = PackageLinks::new(there.prefix, records, Replaced::AsMade);
        self.kept = Some(PackageLinks::new(there.prefix, keep(), Replaced::AsMade));
        let (mut layout, mut moves) = (Layout::default(), Vec::new());
        for (number, (record, stays)) in there.keep.iter().enumerate() {
            self.stage.stop.check()?;
            for path in record_file::files(record) {
                let (from, to) = (old.place(path)?, self.place(path)?);
                let Some(to) = to else { continue };
                self.resolve_with_kept(&to, stays)?;
                if let Some(from) = from.filter(|from| *from != to) {
                    moves.push(Move { package: number, rank: stays.0, from, to });
                }
            }
            for entry in record_file::directories(record) {
                let (from, to) = (old.place(&entry.relative_path)?, self.place(&entry.relative_path)?);
                if let (Some(from), Some(to)) = (from, to)
                    && from != to
                {
                    self.directory(&to)?;
                    layout.emptied.push(from);
                    layout.arrivals.insert(to);
                }
            }
            // If a new link leads out of the prefix, and this package has a directory at its path, the two packages
            // clash.
            let place = |path: &Path| match self.place(path)? {
                None => Ok(old.place(path)?.map(|_| path.to_owned())),
                place => Ok(place),
            };
            layout.keep.push(resolved_paths(record, &place)?);
        }
        self.move_files(there, moves, &mut layout)?;
        for record in &there.unlink {
            layout.unlink.push(resolved_paths(record, &|path| old.place(path))?);
        }
        Ok(layout)
    }

    /// Moves these files into the stage. If several kept packages share a path from now on, the file of the package
    /// that is linked last is used, as in a first installation.
    fn move_files(
        &mut self,
        there: &InstalledPackages<'_>,
        mut moves: Vec<Move>,
        layout: &mut Layout,
    ) -> Result<(), InstallError> {
        mlconda_types::sorting::sort_by_key(&mut moves, |it| std::cmp::Reverse(it.rank));
        let mut moved: Vec<(usize, &PathBuf)> = moves.iter().map(|it| (it.package, &it.to)).collect();
        mlconda_types::sorting::sort(&mut moved);
        let targets: HashSet<&PathBuf> = moves.iter().map(|it| &it.to).collect();
        // For each path: the rank of the package whose file is there already.
        let mut holders: HashMap<&PathBuf, usize> = HashMap::new();
        for (number, (record, (_, stays))) in layout.keep.iter().zip(&there.keep).enumerate() {
            for path in record_file::files(record) {
                if targets.contains(path) && moved.binary_search(&(number, path)).is_err() {
                    let rank = holders.entry(path).or_default();
                    *rank = stays.0.max(*rank);
                }
            }
        }
        for Move { rank, from, to, .. } in &moves {
            self.stage.stop.check()?;
            let is_later = holders.get(to).is_some_and(|holder| holder > rank);
            let is_file = || there.prefix.lookup(to).map(|there| there.is_some_and(|there| !there.is_directory()));
            if !is_later || !is_file()? {
                self.move_into_stage(there.prefix, from, to)?;
            }
        }
        let arrivals = moves.iter().map(|it| &it.to).filter(|to| !holders.contains_key(to));
        layout.arrivals.extend(arrivals.cloned());
        layout.vacated.extend(moves.into_iter().map(|it| it.from));
        Ok(())
    }

    /// Brings a file of the prefix into the stage, as a hard link or a copy.
    fn move_into_stage(&mut self, prefix: &Root, from: &Path, to: &Path) -> Result<(), InstallError> {
        let Some(there) = prefix.lookup(from)? else { return Ok(()) };
        if self.claims.files.contains_key(to) || there.is_directory() {
            return Ok(());
        }
        if self.claims.directories.contains_key(to) {
            return Err(self.clash(to, &[], if there.kind == PathKind::Link { "link" } else { "file" }));
        }
        self.directory(to.parent().unwrap_or(Path::new("")))?;
        let stage = &self.stage.root;
        match prefix.hard_link(from, stage, to) {
            Err(error) if system::is_hard_link_unsupported(&error) && there.kind == PathKind::Link => {
                stage.soft_link(&prefix.read_link(from)?, to)?;
            }
            Err(error) if system::is_hard_link_unsupported(&error) => {
                prefix.copy(from, stage, to, self.stage.stop.flag())?
            }
            other => other?,
        }
        self.claims.files.insert(to.to_owned(), KEPT_PACKAGE);
        Ok(())
    }
}
