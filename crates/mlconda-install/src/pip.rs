//! The steps for packages that do not come from a channel: checks, builds by pip, and their records.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io::{self, Write},
    path::{Path, PathBuf},
};

use mlconda_channel::{network::Client, repodata::Access};
use mlconda_inspect::{
    links::{PackageLinks, Replaced},
    plan::Plan,
};
use mlconda_lock::{ArchiveOrigin, DirectoryMode, LockedPip, PipSource};
use mlconda_prefix::{
    Prefix, distributions,
    on_disk::{self, OwnFields},
};
use mlconda_python::tags::WheelName;
use mlconda_system::{
    Attributes,
    beneath::{PathKind, Root},
};
use mlconda_types::{
    progress::{Event, Progress, Task},
    redact,
    sorting::IntoTree,
};
use rattler_conda_types::{
    NoArchType, PrefixRecord,
    prefix_record::{Link, LinkType, PathType, PathsEntry},
};
use rattler_digest::{HashingWriter, Sha256};
use serde_json::json;

use super::{
    Bytecode, InstallError, Options, Scripts,
    bytecode::{Compiled, compile_built},
    fetch,
    link::wheel::{self, Request},
    packed, record_file,
    script::{self, ScriptContext},
    stage::Stage,
    unpack::Archive,
};
use crate::python_info::PythonInfo;

/// Runs pip with umask 022, so that all users can read its files. Python ignores the user's own modules.
const PIP: &str =
    "import os, sys, runpy; os.umask(18); sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')";

/// Facts of the lock about a wheel.
pub(super) fn request(wheel: &LockedPip, requested: &BTreeSet<String>) -> Request {
    Request { requested: requested.contains(&wheel.name), direct_url: direct_url(wheel) }
}

/// The text of `direct_url.json` (PEP 610) for a package that did not come from an index.
fn direct_url(wheel: &LockedPip) -> Option<String> {
    let PipSource::Archive { url, sha256, origin: ArchiveOrigin::Direct, .. } = &wheel.source else { return None };
    let hash = sha256.map(hex::encode);
    let archive =
        hash.map_or_else(|| json!({}), |hash| json!({"hash": format!("sha256={hash}"), "hashes": {"sha256": hash}}));
    Some(json!({"archive_info": archive, "url": redact::url(url)}).to_string())
}

/// Checks that no conda package and wheel are the same distribution, which would have two sets of metadata.
pub(super) fn check_distributions(plan: &Plan, stage: &Stage) -> Result<(), InstallError> {
    let wheels: HashMap<&str, &LockedPip> = plan.pip.link.iter().map(|wheel| (wheel.name.as_str(), wheel)).collect();
    let same = |path: &Path, package: &dyn Fn() -> String| {
        let name = distributions::name_of(path)?;
        let wheel = wheels.get(name.as_str())?;
        let (package, wheel) = (package(), wheel.file_name().unwrap_or_default());
        Some(InstallError::SameDistribution { name, package, wheel })
    };
    for path in stage.paths().iter().filter(|path| distributions::is_metadata(path)) {
        let Some(package) = stage.owner(path).and_then(|number| plan.link.get(number)) else { continue };
        if let Some(error) = same(path, &|| package.dist_name()) {
            return Err(error);
        }
    }
    let dist_name = |record: &PrefixRecord| {
        let package = &record.repodata_record.package_record;
        format!("{}-{}-{}", package.name.as_normalized(), package.version, package.build)
    };
    for record in &plan.keep {
        let paths = record.files.iter().filter(|path| distributions::is_metadata(path));
        if let Some(error) = paths.filter_map(|path| same(path, &|| dist_name(record))).next() {
            return Err(error);
        }
    }
    Ok(())
}

/// Checks that each wheel fits the python and the platform of the lock.
pub(super) fn check_tags(plan: &Plan) -> Result<(), InstallError> {
    let Some((tags, machine)) = &plan.pip.tags else { return Ok(()) };
    for wheel in &plan.pip.link {
        let file = wheel.file_name().unwrap_or_default();
        if WheelName::parse(&file).is_none_or(|name| tags.rank(&name).is_none()) {
            return Err(InstallError::WrongTags { wheel: file, machine: machine.clone() });
        }
    }
    Ok(())
}

/// The verified source archives for pip to build; `None` for a package that pip fetches itself.
pub(super) type SourceArchives = Vec<Option<Archive>>;

/// Checks that pip can build the packages, and fetches their source archives.
pub(super) async fn prepare(
    plan: &Plan,
    client: &Client,
    stage: &Stage,
    python: Option<&PythonInfo>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<SourceArchives, InstallError> {
    let mut sources = Vec::with_capacity(plan.pip.build.len());
    for package in &plan.pip.build {
        let name = package.name.clone();
        if options.scripts == Scripts::Skip {
            return Err(InstallError::BuildSkipped { package: name });
        }
        let Some(python) = python else { return Err(InstallError::NoPython { package: name }) };
        let pip = python.site_packages_path.join("pip").join("__main__.py");
        if stage.owner(&pip).is_none() && !plan.keep.iter().any(|record| record.files.contains(&pip)) {
            return Err(InstallError::NoPip { package: name });
        }
        let Some(archive) = package.as_package() else {
            if matches!(package.source, PipSource::Git { .. }) && options.access == Access::Offline {
                return Err(InstallError::GitOffline { package: name });
            }
            sources.push(None);
            continue;
        };
        if let Some((file, slice)) = packed::find(&options.archives, &archive) {
            sources.push(Some(fetch::packed(&archive, file, slice, options.stop.flag())?.0));
            continue;
        }
        sources.push(Some(match mlconda_system::files::of_url(&archive.url) {
            Some(path) => fetch::local(&archive, &path, options.stop.flag())?.0,
            _ if options.access == Access::Offline => return Err(fetch::not_asked(&archive)),
            _ => fetch::download(client, &archive, &stage.root, progress).await?.0,
        }));
    }
    Ok(sources)
}

/// Builds and installs packages in the prefix with pip, writes their records, and compiles their modules.
pub(super) async fn build(
    plan: &Plan,
    prefix: &Prefix,
    python: &PythonInfo,
    sources: &SourceArchives,
    context: ScriptContext<'_>,
    bytecode: Bytecode,
    progress: &dyn Progress,
) -> Result<Compiled, InstallError> {
    let (mut compiled, mut done) = (Compiled::default(), Built { prefix, records: Vec::new() });
    let since = script::start_time(prefix.path())?;
    for (package, source) in plan.pip.build.iter().zip(sources) {
        progress.event(Event::Building { package: package.name.clone() });
        // If this process is killed, the next one removes this directory.
        let (root, directory) = (Root::open(prefix.path())?, Path::new(on_disk::STAGE));
        root.make_directories(directory, 0o755)?;
        let built = build_one(package, source.as_ref(), &root, prefix, python, context).await;
        let file = package.file_name().map(|name| directory.join(name));
        file.map_or(Ok(()), |file| root.remove_file(&file))?;
        // In a change in place, this directory is also the stage, which the transaction removes.
        let _ = root.remove_directory(directory);
        built?;
        let record = write_record(package, plan.pip.requested.contains(&package.name), prefix, context.time)?;
        done.records.push(record.clone());
        compiled.count(compile_built(&record, prefix, python, context, bytecode).await?);
    }
    script::set_times_since(prefix.path(), since, context.time)?;
    done.records.clear();
    Ok(compiled)
}

/// The packages that pip has built so far. Dropping this value removes them, because they are not in the journal.
struct Built<'a> {
    prefix: &'a Prefix,
    records: Vec<PathBuf>,
}

impl Drop for Built<'_> {
    fn drop(&mut self) {
        let Ok(root) = Root::open(self.prefix.path()) else { return };
        for place in &self.records {
            let files = record_file::read(&root, place).map(|(record, _)| record.files);
            for path in files.unwrap_or_default() {
                let _ = root.remove_file(&path);
                let mut parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
                // A directory with other contents is kept, and so are those above it.
                let _ = parents.try_for_each(|parent| root.remove_directory(parent));
            }
            let _ = root.remove_file(place);
        }
    }
}

async fn build_one(
    package: &LockedPip,
    source: Option<&Archive>,
    root: &Root,
    prefix: &Prefix,
    python: &PythonInfo,
    context: ScriptContext<'_>,
) -> Result<(), InstallError> {
    let mut command = script::command(&prefix.path().join(python.path()), prefix.path(), context);
    // An isolated python ignores PYTHONDONTWRITEBYTECODE.
    command.args(["-I", "-B", "-c", PIP, "install", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]);
    command.args(["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--no-warn-script-location"]);
    command.args(["--root-user-action", "ignore", "--quiet"]);
    match (&package.source, source) {
        (PipSource::Archive { .. }, Some(archive)) => {
            let place = Path::new(on_disk::STAGE).join(package.file_name().unwrap_or_default());
            root.remove_file(&place)?;
            let mut file = root.create(&place, 0o644)?;
            archive.copy_to(&mut file)?;
            file.flush()?;
            command.arg(prefix.path().join(place));
        }
        (PipSource::Directory { path, mode }, _) => {
            command.args((*mode == DirectoryMode::Editable).then_some("--editable")).arg(path);
        }
        _ => {
            let url = package.identity().map(String::from).unwrap_or_default();
            command.arg(format!("{} @ {url}", package.name));
        }
    }
    let (status, output) = script::run_to_end(command, prefix.path(), context, Task::Build, &package.name).await?;
    if let Some(status) = status {
        return Err(InstallError::Build { package: package.name.clone(), status: status.to_string(), output });
    }
    Ok(())
}

/// Writes the record of a package that pip has installed, and returns the path of the record in the prefix. Also
/// corrects `direct_url.json`, in which pip has written the path of the local file that it was given.
fn write_record(package: &LockedPip, requested: bool, prefix: &Prefix, time: i64) -> Result<PathBuf, InstallError> {
    let nothing = || InstallError::Build {
        package: package.name.clone(),
        status: "success".to_owned(),
        output: "but has installed nothing of that name".to_owned(),
    };
    let root = Root::open(prefix.path())?;
    let records = prefix.distributions().map_err(io::Error::other)?;
    let known: HashSet<&PathBuf> = records.iter().flat_map(|record| &record.files).collect();
    let names = HashSet::from([package.name.as_str()]);
    let found = distributions::untracked_by_name(prefix.path(), &names, &known).map_err(io::Error::other)?;
    let mut record = found.into_iter().next().ok_or_else(nothing)?;
    let list = record.files.iter().find(|path| distributions::is_record_file(path)).cloned().ok_or_else(nothing)?;
    let info = list.parent().unwrap_or(Path::new("")).to_owned();
    let (direct, asked) = (info.join("direct_url.json"), info.join("REQUESTED"));
    let mut files: BTreeSet<PathBuf> = record.files.drain(..).filter(|path| *path != list).into_tree();
    if package.file_name().is_some() {
        match direct_url(package) {
            Some(text) => {
                root.put(&direct, text.as_bytes(), time)?;
                files.insert(direct);
            }
            None => {
                root.remove_file(&direct)?;
                files.remove(&direct);
            }
        }
    }
    if !requested {
        root.remove_file(&asked)?;
        files.remove(&asked);
    }
    let mut own = OwnFields { prefix: Some(prefix.path().to_owned()), ..OwnFields::default() };
    let mut entries = entries(&root, files, prefix, &mut own)?;
    let text = wheel::list(&entries, &list);
    root.put(&list, text.as_bytes(), time)?;
    entries.push(wheel::written(list, text.as_bytes()));
    record.paths_data = entries.into();
    record_file::list_files(&mut record);
    record.link = Some(Link { source: PathBuf::new(), link_type: Some(LinkType::Copy) });
    record.requested_specs = requested.then(|| package.name.clone()).into_iter().collect();
    let repodata = &mut record.repodata_record;
    repodata.package_record.noarch = NoArchType::python();
    repodata.package_record.sha256 = match &package.source {
        PipSource::Archive { sha256, .. } => *sha256,
        PipSource::Git { .. } | PipSource::Directory { .. } => None,
    };
    if let Some(url) = package.identity().and_then(|url| redact::url(&url).parse().ok()) {
        repodata.url = url;
    }
    let place = Path::new("conda-meta").join(distributions::record_name(&record));
    root.put(&place, &record_file::render(&record, &own)?, time)?;
    Ok(place)
}

/// The record's entries for the files of a distribution. pip writes through links. Links of packages are followed to
/// the file. Files behind a link of the user are not recorded.
fn entries(
    root: &Root,
    files: BTreeSet<PathBuf>,
    prefix: &Prefix,
    own: &mut OwnFields,
) -> Result<Vec<PathsEntry>, InstallError> {
    let (mut entries, mut others) = (Vec::new(), Vec::new());
    for path in files {
        match root.lookup(&path)? {
            Some(_) => entries.extend(entry(root, &path, path.clone(), own)?),
            None => others.push(path),
        }
    }
    if !others.is_empty() {
        let records = prefix.records().map_err(io::Error::other)?;
        let links = PackageLinks::new(root, records.iter(), Replaced::NotFollowed);
        for path in others {
            if let Some(place) = links.place(&path)? {
                entries.extend(entry(root, &place, path, own)?);
            }
        }
    }
    Ok(entries)
}

/// The entry of a path as it is on disk; `None` if it does not exist.
fn entry(prefix: &Root, place: &Path, path: PathBuf, own: &mut OwnFields) -> io::Result<Option<PathsEntry>> {
    let Some(there) = prefix.lookup(place)? else { return Ok(None) };
    if there.kind == PathKind::Link {
        own.links.insert(path.clone(), prefix.read_link(place)?);
        return Ok(Some(PathsEntry { path_type: PathType::SoftLink, ..wheel::written(path, b"") }));
    }
    let executable = there.mode & 0o111 != 0;
    let mut attributes = Attributes::from(&there);
    attributes.set_mode(if executable { 0o755 } else { 0o644 });
    prefix.set_attributes(place, &attributes)?;
    if executable {
        own.executable.insert(path.clone());
    }
    let mut hash = HashingWriter::<_, Sha256>::new(io::sink());
    io::copy(&mut prefix.read(place)?, &mut hash)?;
    let hash = Some(hash.finalize().1);
    let size = Some(there.size);
    Ok(Some(PathsEntry { sha256: hash, sha256_in_prefix: hash, size_in_bytes: size, ..wheel::written(path, b"") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlconda_lock::normalize;

    #[test]
    fn names_are_compared_in_their_normal_form() {
        let path = Path::new("lib/python3.11/site-packages/Foo_Bar-1.0.dist-info/METADATA");
        assert_eq!(distributions::name_of(path), Some(normalize("foo.bar")));
    }
}
