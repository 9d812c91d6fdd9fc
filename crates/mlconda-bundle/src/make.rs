//! Writes a bundle.
//!
//! The size of each member is known before anything is written, so each member has a fixed place. The space for the
//! whole file is reserved first, and archives can be written in any order. Archives from an earlier run are recognized
//! by their hashes. The list of members is written last. Until then, no reader takes the file for a bundle. When the
//! file is complete, it is renamed to its name.

use std::{
    fs::Permissions,
    io,
    num::NonZero,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
};

use mlconda_channel::{network::Client, repodata::Access};
use mlconda_install::{InstallError, PackedArchives, Stop};
use mlconda_types::progress::{Event, Progress};
use rattler_digest::{Sha256, Sha256Hash, compute_bytes_digest};

use crate::{
    BundleError, Environment, Executable, Program,
    documents::{self, Document, Known},
    fill::{Filled, Filler},
    format::{BLOCK, END, INDEX, Index, LockEntry, Member, header},
    items::{self, Item},
    partial::Partial,
};

/// The suffix of an unfinished file.
const PARTIAL: &str = ".partial";

/// The contents of a bundle, and how to make it.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The locks. The names of the environments become file names.
    pub environments: Vec<Environment>,
    /// Other bundles to copy archives from.
    pub archives: Vec<Arc<PackedArchives>>,
    /// The program in front of the tar; `None` for a bundle without a program.
    pub program: Option<Program>,
    /// The path of the bundle. Until the bundle is finished, the name has the suffix `.partial`.
    pub output: PathBuf,
    /// The number of downloads at once.
    pub downloads: NonZero<usize>,
    /// The number of threads that copy and hash.
    pub threads: NonZero<usize>,
    /// Whether archives may be downloaded.
    pub access: Access,
    /// The handle that stops the work.
    pub stop: Stop,
}

impl Recipe {
    /// The path of the unfinished file.
    pub fn partial(&self) -> PathBuf {
        let mut name = self.output.clone().into_os_string();
        name.push(PARTIAL);
        name.into()
    }
}

/// The result of making a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The number of archives.
    pub packages: usize,
    /// The number of archives that were kept from an earlier run.
    pub kept: usize,
    /// The size of the file in bytes.
    pub size: u64,
}

/// The contents that a bundle of some locks would have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The paths of all archives, with their sizes in bytes if known.
    pub archives: Vec<(String, Option<u64>)>,
}

/// Determines the contents of a bundle. Nothing is downloaded.
///
/// # Errors
/// If a package has no archive, if two archives have the same path, or if two locks have the same environment and
/// platform.
pub fn contents(environments: &[Environment]) -> Result<Contents, BundleError> {
    check_names(environments)?;
    let items = items::collect(environments)?;
    Ok(Contents { archives: items.into_iter().map(|item| (item.path, item.package.size)).collect() })
}

/// Makes a bundle. If this fails or is stopped, the unfinished file is kept, and the next call continues it.
///
/// If the future is dropped, the file at [`Recipe::output`] stays as it was, and the next call continues the unfinished
/// file.
///
/// # Errors
/// If an archive cannot be fetched or is not the one of its lock, if the file cannot be written, or if the work was
/// stopped.
pub async fn make(recipe: &Recipe, client: &Client, progress: &dyn Progress) -> Result<Made, BundleError> {
    let made = make_all(recipe, client, progress).await;
    made.map_err(|error| match error {
        // After a stop, other errors may be consequences of it.
        _ if recipe.stop.is_requested() => InstallError::Stopped.into(),
        BundleError::File(error) | BundleError::Install(InstallError::File(error)) => named(error, recipe).into(),
        error => error,
    })
}

/// Adds the path of the unfinished file to errors of system calls on it. Errors of other files contain a path already.
fn named(error: io::Error, recipe: &Recipe) -> io::Error {
    match error.raw_os_error().is_some() && error.get_ref().is_none() {
        true => io::Error::new(error.kind(), format!("cannot write `{}`: {error}", recipe.partial().display())),
        false => error,
    }
}

async fn make_all(recipe: &Recipe, client: &Client, progress: &dyn Progress) -> Result<Made, BundleError> {
    check_names(&recipe.environments)?;
    let mut items = items::collect(&recipe.environments)?;
    let sizes = items::find_sizes(&mut items, &recipe.archives, client, recipe.access, recipe.downloads);
    client.report_waits(progress, sizes).await?;
    let draft = Draft::new(&recipe.environments, &items)?;
    let base = recipe.program.as_ref().map_or(0, |program| Executable::base_of(program.size()));
    let places = draft.index.layout()?.places;
    let archives: Vec<u64> = places[draft.documents..][..items.len()].iter().map(|place| base + place).collect();
    let room = archives.last().zip(items.last()).map_or(base, |(place, item)| place + item.size());
    let bytes = items.iter().map(Item::size).sum();
    let partial = Partial::open(recipe.partial())?;
    partial.allocate(room)?;
    progress.event(Event::BundleStarted { packages: items.len(), bytes });
    let filler = Filler {
        file: &partial.file,
        items: &items,
        places: archives,
        packed: &recipe.archives,
        may_keep: partial.had_content,
        arrived: &partial.arrived,
        stop: &recipe.stop,
        progress,
    };
    let filled = filler.fill(client, recipe.access, recipe.threads, recipe.downloads).await?;
    let size = draft.finish(recipe, &items, &filled, base, &partial)?;
    fs_err::rename(&partial.path, &recipe.output)?;
    let kept = filled.iter().filter(|filled| filled.is_kept).count();
    Ok(Made { packages: items.len(), kept, size })
}

/// Refuses two locks with the same environment and platform.
fn check_names(environments: &[Environment]) -> Result<(), BundleError> {
    let paths = documents::lock_paths(environments);
    match (1..paths.len()).find(|number| paths[..*number].contains(&paths[*number])) {
        None => Ok(()),
        Some(number) => {
            let Environment { name, lock } = &environments[number];
            Err(BundleError::SameEnvironment { environment: name.clone(), platform: lock.platform.to_string() })
        }
    }
}

/// The list of members before the hashes are known.
struct Draft {
    index: Index,
    /// The number of documents in front of the archives.
    documents: usize,
}

impl Draft {
    fn new(environments: &[Environment], items: &[Item]) -> Result<Self, BundleError> {
        let unknown = items.iter().map(|item| (item.path.as_str(), (item.size(), Sha256Hash::default()))).collect();
        let documents = documents::before(environments, &unknown)?;
        let paths = documents::lock_paths(environments);
        let lock = |(each, path): (&Environment, String)| LockEntry {
            environment: each.name.clone(),
            platform: each.lock.platform,
            path,
        };
        let locks = environments.iter().zip(paths).map(lock).collect();
        let member = |path: &str, size| Member { path: path.to_owned(), size, sha256: Sha256Hash::default() };
        let mut members: Vec<Member> = documents.iter().map(|(path, text)| member(path, text.len() as u64)).collect();
        members.extend(items.iter().map(|item| member(&item.path, item.size())));
        members.extend(documents::repodata_paths(environments, items).iter().map(|(_, path)| member(path, 0)));
        Ok(Self { index: Index { locks, members }, documents: documents.len() })
    }

    /// Writes all members except archives. Returns the size of the file, in bytes.
    fn finish(
        mut self,
        recipe: &Recipe,
        items: &[Item],
        filled: &[Filled],
        base: u64,
        partial: &Partial,
    ) -> Result<u64, BundleError> {
        let environments = &recipe.environments;
        let sized = |(item, filled): (&Item, &Filled)| (item.size(), filled.sha256);
        let facts: Vec<(u64, Sha256Hash)> = items.iter().zip(filled).map(sized).collect();
        let known: Known<'_> = items.iter().map(|item| item.path.as_str()).zip(facts).collect();
        let mut documents = documents::before(environments, &known)?;
        let (behind, first) = (documents::repodata_paths(environments, items), self.documents);
        documents.extend(
            behind.into_iter().map(|(subdir, path)| (path, documents::repodata(subdir, environments, items, filled))),
        );
        let members = &mut self.index.members;
        for (member, filled) in members[first..].iter_mut().zip(filled) {
            member.sha256 = filled.sha256;
        }
        let is_document = |number: &usize| !(first..first + items.len()).contains(number);
        let numbers: Vec<usize> = (0..members.len()).filter(is_document).collect();
        for (number, (_, text)) in numbers.iter().zip(&documents) {
            let member = &mut members[*number];
            (member.size, member.sha256) = (text.len() as u64, compute_bytes_digest::<Sha256>(text));
        }
        self.write(recipe, &numbers, &documents, base, partial)
    }

    fn write(
        &self,
        recipe: &Recipe,
        numbers: &[usize],
        documents: &[Document],
        base: u64,
        Partial { file, .. }: &Partial,
    ) -> Result<u64, BundleError> {
        let (layout, text) = (self.index.layout()?, self.index.render());
        let end = base + layout.end;
        file.set_len(end)?;
        let zeros =
            |place: u64, size: u64| file.write_all_at(&vec![0; usize::try_from(size).unwrap_or(0)], base + place);
        let padding = |place: u64, size: u64| zeros(place + size, size.next_multiple_of(BLOCK) - size);
        for (member, place) in self.index.members.iter().zip(&layout.places) {
            let header = header(&member.path, member.size)?;
            file.write_all_at(&header, base + place - header.len() as u64)?;
            padding(*place, member.size)?;
        }
        for (number, (_, text)) in numbers.iter().zip(documents) {
            file.write_all_at(text.as_bytes(), base + layout.places[*number])?;
        }
        zeros(layout.end - END, END)?;
        padding(layout.index, text.len() as u64)?;
        file.write_all_at(text.as_bytes(), base + layout.index)?;
        let head = header(INDEX, text.len() as u64)?;
        file.write_all_at(&head, base)?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        let Some(program) = &recipe.program else { return Ok(end) };
        let hash = program.copy(&mut |bytes, place| file.write_all_at(bytes, place))?;
        let begin = program.size().next_multiple_of(BLOCK);
        file.write_all_at(&vec![0; usize::try_from(begin - program.size()).unwrap_or(0)], program.size())?;
        file.write_all_at(&Executable::new(program.size(), hash, layout.end, &text).render(), begin)?;
        file.set_permissions(Permissions::from_mode(mode | mode >> 2 & 0o111))?;
        Ok(end)
    }
}
