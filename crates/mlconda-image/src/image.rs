//! Makes an image: packages are staged, grouped and written as layers. The config and the manifest describe the layers.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlconda_channel::network::Client;
use mlconda_install::{
    Clash, Compiled, InstallError, Options, Scripts,
    staged::{EnvironmentFiles, PackageFiles, Staging, stage},
};
use mlconda_lock::{Lock, LockedPackage, LockedPip};
use mlconda_oci::{Blob, Config, Descriptor, Digest, Image, LayerHistory, Platform, annotation};
use mlconda_prefix::activate::Activation;
use mlconda_types::progress::{Event, Progress};

use crate::{
    Application, Compression, Grouping, ImageError, Key, Runtime, Script, Sized, Workspace, application,
    config::{self, PROGRAM},
    layer::{Writing, above, key, relative},
    programs::check_interpreters,
    tar::Attributes,
    workspace::Stored,
};

/// The largest number of layers that engines accept.
const MOST_LAYERS: usize = 127;

/// The annotation of a layer's descriptor that contains its key in the grouping.
pub(crate) const LAYER: &str = "mlconda.layer";
/// The annotation of an image that contains the parts that were left out of its packages.
const SLIM: &str = "mlconda.slim";
/// The annotation of a layer's descriptor that contains its packages, one per line: name, version, build.
pub(crate) const PACKAGES: &str = "mlconda.packages";

/// The image that the new layers are put on.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its name for the annotations: its reference.
    pub name: Option<String>,
    /// The digest of its manifest.
    pub digest: Option<Digest>,
    /// Its config.
    pub config: Config,
    /// Its layers, the lowest first.
    pub layers: Vec<Blob>,
}

impl Base {
    /// No base: the image contains only the environment.
    pub fn scratch(platform: &Platform) -> Self {
        Self { name: None, digest: None, config: Config::new(platform), layers: Vec::new() }
    }
}

/// The options of an image.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The path of the environment in the image.
    pub prefix: PathBuf,
    /// The root prefix in the image. An environment at this path is named `base`.
    pub root_prefix: PathBuf,
    /// The largest number of layers, without those of the base. Three of them are for the environment's own files, the
    /// program and the application.
    pub layers: usize,
    /// The grouping of an earlier image, which is kept. Empty if there is none.
    pub earlier: Grouping,
    /// The compression of layers.
    pub compression: Compression,
    /// Whether to make the image although packages have scripts that cannot run.
    pub scripts: Scripts,
    /// The runtime configuration of containers.
    pub runtime: Runtime,
    /// Files of the user to copy.
    pub application: Application,
    /// A `mlconda` for the platform of the image. It is added to the image if packages have activation scripts.
    pub program: Option<PathBuf>,
    /// The size of the program in bytes without a bundle that is appended to it, if there is one.
    pub program_size: Option<u64>,
    /// The time of the image, in seconds since 1970. `None` means the time of the environment's newest package.
    pub created: Option<i64>,
}

/// The description of a layer, for output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The name of the layer: a package, a group, or one of the last three layers.
    pub name: String,
    /// Its packages, as name, version and build.
    pub packages: Vec<String>,
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
    /// The size of the tar in bytes.
    pub unpacked: u64,
    /// Whether it was in the cache.
    pub is_cached: bool,
}

/// An image, with facts for the user. Its layers are files in the workspace.
#[derive(Debug)]
pub struct Made {
    /// The image.
    pub image: Image,
    /// The layers above the base.
    pub layers: Vec<LayerReport>,
    /// The result of compiling modules.
    pub compiled: Compiled,
    /// Paths that several packages contain.
    pub clashes: Vec<Clash>,
    /// Post-link scripts that were left out.
    pub scripts: Vec<Script>,
    /// Packages of pip that were left out.
    pub unbuilt: Vec<String>,
    /// Activation scripts that were left out, relative to the prefix.
    pub activation: Vec<PathBuf>,
    /// The directory with the files of the layers, which are removed when this is dropped.
    pub workspace: Arc<Workspace>,
}

/// A layer that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLayer {
    /// The key of the layer.
    pub key: Key,
    /// Its packages, as name, version and build.
    pub packages: Vec<String>,
    /// The sum of the known sizes of its archives, in bytes.
    pub size: u64,
    /// The number of archives without a size in the lock. The large ones among them may get a layer of their own.
    pub unknown: usize,
}

/// Plans the layers of a lock's packages, without fetching anything.
pub fn plan_layers(lock: &Lock, layers: usize, earlier: &Grouping) -> Vec<PlannedLayer> {
    let wheels: Vec<LockedPackage> =
        lock.pip.iter().filter(|package| package.is_wheel()).filter_map(LockedPip::as_package).collect();
    let packages: Vec<&LockedPackage> = lock.packages.iter().chain(&wheels).collect();
    let grouping = group(packages.iter().copied(), layers, earlier);
    let by_name: HashMap<String, &LockedPackage> =
        packages.iter().map(|package| (group_name(package), *package)).collect();
    let planned = grouping.layers().into_iter().map(|(key, names)| {
        let packages: Vec<&&LockedPackage> = names.iter().filter_map(|name| by_name.get(*name)).collect();
        PlannedLayer {
            key: key.clone(),
            packages: packages.iter().map(|package| line(package)).collect(),
            size: packages.iter().filter_map(|package| package.size).sum(),
            unknown: packages.iter().filter(|package| package.size.is_none()).count(),
        }
    });
    planned.collect()
}

fn group<'a>(packages: impl Iterator<Item = &'a LockedPackage>, layers: usize, earlier: &Grouping) -> Grouping {
    let sized: Vec<Sized> =
        packages.map(|each| Sized { name: group_name(each), size: each.size.unwrap_or(0) }).collect();
    Grouping::like(&sized, layers.saturating_sub(3).max(1), earlier)
}

/// The name of a package in a grouping. A package of pip may have the same name as a conda package.
fn group_name(package: &LockedPackage) -> String {
    if package.is_distribution() { format!("pip/{}", package.name) } else { package.name.clone() }
}

/// A package in one line: its name in the grouping, its version and its build.
fn line(package: &LockedPackage) -> String {
    let build = if package.is_distribution() { "" } else { &package.build };
    format!("{} {} {build}", group_name(package), package.version).trim_end().to_owned()
}

/// The grouping of an image, from the annotations of its layers, and for each layer the lines of its packages.
pub fn grouping_of(layers: &[Descriptor]) -> (Grouping, HashMap<Key, Vec<String>>) {
    let (mut pairs, mut lines) = (Vec::new(), HashMap::new());
    for layer in layers {
        let (Some(key), Some(packages)) = (layer.annotations.get(LAYER), layer.annotations.get(PACKAGES)) else {
            continue;
        };
        let key = Key::parse(key);
        let names = packages.lines().filter_map(|line| line.split(' ').next());
        pairs.extend(names.map(|name| (name.to_owned(), key.clone())));
        lines.insert(key, packages.lines().map(str::to_owned).collect());
    }
    (pairs.into_iter().collect(), lines)
}

/// Makes the image of a lock.
///
/// If the future is dropped, temporary files are removed, and finished layers stay in the cache.
///
/// # Errors
/// If packages cannot be fetched or staged, if one of them must run a script, or if the disk is full.
pub async fn make(
    lock: &Lock,
    base: &Base,
    workspace: &Arc<Workspace>,
    client: &Client,
    options: &Options,
    recipe: &Recipe,
    progress: &dyn Progress,
) -> Result<Made, ImageError> {
    let making = Making { workspace, options, recipe, progress };
    making.run(lock, base, client).await.map_err(|error| match error {
        // After a stop, any other error may be a consequence of it.
        _ if options.stop.is_requested() => InstallError::Stopped.into(),
        error => error,
    })
}

/// The values that each step needs.
struct Making<'a> {
    workspace: &'a Arc<Workspace>,
    options: &'a Options,
    recipe: &'a Recipe,
    progress: &'a dyn Progress,
}

/// A layer that is finished, before the image is made.
struct Drafted {
    name: String,
    packages: Vec<String>,
    stored: Stored,
    is_cached: bool,
}

impl Drafted {
    fn new(name: impl ToString, stored: Stored) -> Self {
        Self { name: name.to_string(), packages: Vec::new(), stored, is_cached: false }
    }
}

impl Making<'_> {
    async fn run(&self, lock: &Lock, base: &Base, client: &Client) -> Result<Made, ImageError> {
        let Self { options, recipe, progress, .. } = *self;
        // Checks first what needs no download.
        recipe.created.into_iter().chain(options.time).try_for_each(|time| timestamp(time).map(drop))?;
        let entries = recipe.application.entries()?;
        if !base.layers.is_empty() {
            Application::check_places(&entries)?;
        }
        let directory = self.workspace.subdirectory(&format!("stage-{}", lock.platform))?;
        let mut staging = stage(lock, client, &recipe.prefix, &directory, options, progress).await?;
        let packages = staging.packages()?;
        Application::check_environment(&entries, &recipe.prefix, &packages)?;
        let (scripts, unbuilt) = self.check_scripts(&staging, &packages)?;
        if base.layers.is_empty() {
            check_interpreters(&staging, &packages, &recipe.prefix)?;
        }
        let (mut layers, compiled) = self.package_layers(&mut staging, packages).await?;
        let environment = staging.finish()?;
        layers.push(self.environment_layer(&staging, &environment, &layers)?);
        let time = recipe.created.unwrap_or(environment.time);
        let activation =
            config::activation(staging.root(), &base.config, &recipe.root_prefix).map_err(io::Error::other)?;
        let runs_scripts = self.runs_scripts(lock, &activation, staging.root())?;
        if runs_scripts && let Some(program) = &recipe.program {
            layers.push(self.program_layer(program, time)?);
        }
        layers.extend(self.application_layer(&entries, time)?);
        let count = base.layers.len() + layers.len();
        if count > MOST_LAYERS {
            return Err(ImageError::TooManyLayers { count, base: base.layers.len() });
        }
        let mut config = base.config.clone();
        config::configure(&mut config, &recipe.prefix, &recipe.root_prefix, &activation, runs_scripts, &recipe.runtime);
        let image = self.assemble(lock, base, config, &layers, time)?;
        let clashes = staging.clashes().to_vec();
        drop(staging);
        mlconda_system::remove_tree(&directory)?;
        let left = if runs_scripts { Vec::new() } else { relative_scripts(&activation, &directory) };
        let layers = layers.into_iter().map(report).collect();
        let workspace = Arc::clone(self.workspace);
        Ok(Made { image, layers, compiled, clashes, scripts, unbuilt, activation: left, workspace })
    }

    fn writing(&self) -> Writing<'_> {
        Writing {
            workspace: self.workspace,
            compression: self.recipe.compression,
            threads: self.options.threads.get(),
            stop: &self.options.stop,
            progress: &(),
        }
    }

    /// Scripts and packages that would have to run or be built: an error, or a list of what is left out.
    fn check_scripts(
        &self,
        staging: &Staging,
        packages: &[PackageFiles],
    ) -> Result<(Vec<Script>, Vec<String>), ImageError> {
        let unbuilt: Vec<String> = staging.unbuilt().collect();
        let script = |package: &PackageFiles| {
            Some(Script { package: package.package.dist_name(), text: package.post_link.clone()? })
        };
        let scripts: Vec<Script> = packages.iter().filter_map(script).collect();
        match self.recipe.scripts {
            Scripts::Run if !scripts.is_empty() => Err(ImageError::Scripts(scripts)),
            Scripts::Run if !unbuilt.is_empty() => Err(ImageError::Unbuilt(unbuilt)),
            _ => Ok((scripts, unbuilt)),
        }
    }

    /// The layers of the packages. Layers in the cache are reused, and the others are written.
    async fn package_layers(
        &self,
        staging: &mut Staging,
        packages: Vec<PackageFiles>,
    ) -> Result<(Vec<Drafted>, Compiled), ImageError> {
        let grouping = group(packages.iter().map(|each| &each.package), self.recipe.layers, &self.recipe.earlier);
        let python = packages.iter().find(|each| each.package.name == "python" && !each.package.is_distribution());
        let modules = format!("{:?} {:?}", self.options.bytecode, python.map(|python| python.identity));
        let planned: Vec<(String, String, Vec<String>)> = {
            let by_name = by_name(&packages);
            let planned = grouping.layers().into_iter().map(|(name, members)| {
                let files: Vec<&PackageFiles> =
                    members.iter().filter_map(|member| by_name.get(*member)).copied().collect();
                let key = key(&files, &self.recipe.prefix, self.recipe.compression, &modules);
                (name.to_string(), key, members.into_iter().map(str::to_owned).collect())
            });
            planned.collect()
        };
        let found: Vec<Option<Stored>> = planned.iter().map(|(_, key, _)| self.workspace.find(key)).collect();
        let new = planned.iter().zip(&found).filter(|(_, found)| found.is_none());
        let names: HashSet<&String> = new.flat_map(|((_, _, members), _)| members).collect();
        let wanted = packages.iter().map(|each| &each.package).filter(|package| names.contains(&group_name(package)));
        let wanted: HashSet<String> = wanted.map(|package| package.file_name.clone()).collect();
        let compiled = staging.compile(&wanted, self.progress).await?;
        let packages = if wanted.is_empty() { packages } else { staging.packages()? };
        let by_name = by_name(&packages);
        let bytes = packages.iter().filter(|each| wanted.contains(&each.package.file_name)).map(|each| each.bytes);
        let missing = found.iter().filter(|found| found.is_none()).count();
        self.progress.event(Event::LayersStarted { layers: missing, bytes: bytes.sum() });
        let (mut layers, mut begun) = (Vec::new(), 0);
        for (number, ((name, key, members), found)) in planned.into_iter().zip(found).enumerate() {
            let files: Vec<&PackageFiles> =
                members.iter().filter_map(|member| by_name.get(member.as_str())).copied().collect();
            let is_cached = found.is_some();
            let stored = match found {
                Some(stored) => stored,
                None => {
                    begun += 1;
                    let event = Event::LayerStarted { number: begun, layers: missing, name: name.clone() };
                    self.progress.event(event);
                    self.write_packages(number, &key, &files, staging.root(), &compiled)?
                }
            };
            layers.push(Drafted {
                name,
                packages: files.iter().map(|each| line(&each.package)).collect(),
                stored,
                is_cached,
            });
        }
        Ok((layers, compiled))
    }

    fn write_packages(
        &self,
        number: usize,
        key: &str,
        files: &[&PackageFiles],
        root: &Path,
        compiled: &Compiled,
    ) -> io::Result<Stored> {
        let writing = Writing { progress: self.progress, ..self.writing() };
        let stored = writing.packages(&format!("layer-{number}"), files, root, &self.recipe.prefix)?;
        self.progress.event(Event::LayerWritten { bytes: files.iter().map(|each| each.bytes).sum() });
        // Byte code that could not be compiled here might be compiled elsewhere, so such a layer is not cached.
        let is_complete = compiled.unable.is_none() && compiled.broken.is_empty();
        let is_whole = is_complete || !files.iter().any(|package| package.has_modules);
        if is_whole { self.workspace.keep(key, stored) } else { self.workspace.set_aside(stored) }
    }

    /// The layer with files that belong to no package, and with all directories and their times.
    fn environment_layer(
        &self,
        staging: &Staging,
        environment: &EnvironmentFiles,
        layers: &[Drafted],
    ) -> Result<Drafted, ImageError> {
        let time = environment.time;
        let directories =
            environment.directories.iter().chain(layers.iter().flat_map(|layer| &layer.stored.directories));
        let mut paths: Vec<&PathBuf> = directories.chain(&environment.files).collect();
        // Some readers set the time of a directory when they leave it, so its contents must follow it.
        mlconda_types::sorting::sort(&mut paths);
        paths.dedup();
        let inside = relative(&self.recipe.prefix);
        let stored = self.writing().write(&format!("environment-{}", staging.platform()), &mut |tar| {
            tar.parents(&inside.join("-"), &|directory| above(directory, time))?;
            for path in &paths {
                match environment.files.contains(path) {
                    true => tar.file(&inside.join(path), &staging.root().join(path), &|own| own)?,
                    false => tar.directory(&inside.join(path), Attributes::directory(time))?,
                }
            }
            Ok(())
        })?;
        Ok(Drafted::new("environment", self.workspace.set_aside(stored)?))
    }

    /// Whether the entry point is `mlconda run`. It is if packages have activation scripts.
    fn runs_scripts(&self, lock: &Lock, activation: &Activation, root: &Path) -> Result<bool, ImageError> {
        let Some(script) = activation.activate_scripts.first() else { return Ok(false) };
        match (&self.recipe.program, self.recipe.scripts) {
            (Some(_), _) => Ok(true),
            (None, Scripts::Skip) => Ok(false),
            (None, Scripts::Run) => {
                let script = script.strip_prefix(root).unwrap_or(script).to_owned();
                Err(ImageError::NoProgram { script, platform: lock.platform })
            }
        }
    }

    fn program_layer(&self, program: &Path, time: i64) -> Result<Drafted, ImageError> {
        let place = Path::new(relative(Path::new(PROGRAM)));
        let stored = self.writing().write("program", &mut |tar| {
            tar.parents(place, &|directory| above(directory, time))?;
            let size = self.recipe.program_size.unwrap_or(u64::MAX);
            tar.beginning(place, program, size, &|own| Attributes { mode: 0o755, time, ..own })
        })?;
        Ok(Drafted::new("mlconda", self.workspace.set_aside(stored)?))
    }

    fn application_layer(&self, entries: &[application::Entry], time: i64) -> Result<Option<Drafted>, ImageError> {
        let content = &self.recipe.application;
        if content.copied.is_empty() {
            return Ok(None);
        }
        let stored = self.writing().write("application", &mut |tar| content.write(entries, time, tar))?;
        Ok(Some(Drafted::new("application", self.workspace.set_aside(stored)?)))
    }

    fn assemble(
        &self,
        lock: &Lock,
        base: &Base,
        mut config: Config,
        layers: &[Drafted],
        time: i64,
    ) -> Result<Image, ImageError> {
        let created = timestamp(time)?;
        config.set_created(&created);
        let mut blobs = base.layers.clone();
        for layer in layers {
            let mut blob = self.writing().blob(&layer.stored);
            blob.descriptor.annotations.insert(LAYER.to_owned(), layer.name.clone());
            let mut words = format!("mlconda image: {}", layer.name);
            if !layer.packages.is_empty() {
                blob.descriptor.annotations.insert(PACKAGES.to_owned(), layer.packages.join("\n"));
                words = format!("mlconda image: {}", layer.packages.join(", "));
            }
            let history = LayerHistory { created: Some(created.clone()), ..LayerHistory::new(&words) };
            config.add_layer(&layer.stored.diff_id, &history);
            blobs.push(blob);
        }
        let digest = base.digest.map(|digest| digest.to_string());
        let slim = (!lock.slim.is_empty()).then(|| lock.slim.to_string());
        let annotations = [
            (annotation::BASE_NAME, base.name.as_deref()),
            (annotation::BASE_DIGEST, digest.as_deref()),
            (annotation::CREATED, Some(created.as_str())),
            (annotation::TITLE, lock.name.as_deref()),
            (SLIM, slim.as_deref()),
        ];
        let annotations: Vec<(&str, &str)> =
            annotations.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(Image::new(&config, blobs, &annotations)?)
    }
}

/// The latest time of an image, in seconds since 1970: 9999-12-30T22:00:00Z, so that all time zones have a year 9999.
pub const LATEST: i64 = 253_402_207_200;

/// The text of a time in configs (RFC 3339).
fn timestamp(time: i64) -> Result<String, ImageError> {
    let time = Some(time).filter(|time| (0..=LATEST).contains(time)).ok_or(ImageError::Time(time))?;
    jiff::Timestamp::from_second(time).map(|time| time.to_string()).map_err(|_| ImageError::Time(time))
}

fn by_name(packages: &[PackageFiles]) -> HashMap<String, &PackageFiles> {
    packages.iter().map(|each| (group_name(&each.package), each)).collect()
}

fn report(layer: Drafted) -> LayerReport {
    let Drafted { name, packages, stored, is_cached } = layer;
    let Stored { digest, size, unpacked, .. } = stored;
    LayerReport { name, packages, digest, size, unpacked, is_cached }
}

fn relative_scripts(activation: &Activation, root: &Path) -> Vec<PathBuf> {
    let scripts = activation.activate_scripts.iter();
    scripts.map(|script| script.strip_prefix(root).unwrap_or(script).to_owned()).collect()
}
