//! The arguments of `mlconda image`, and the library options that they become.

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use mlconda::{
    Subdir,
    image::{Application, Compression, Copied, Grouping, LATEST, Recipe, Runtime},
    install::{Bytecode, CacheCheck, Options, OutwardLinks, Revision, Scripts, Stop},
    lock::Lock,
    repodata::Access,
};

use crate::{
    bundles,
    commands::sbom::Format,
    context::Context,
    error::CliError,
    lock_selection,
    lock_selection::SelectionArgs,
    locking::LockingArgs,
    settings::{self, PrefixArgs},
    slim::SlimArgs,
};

/// The root prefix in images.
pub(super) const ROOT_PREFIX: &str = "/opt/conda";

/// The default base: the smallest image of Debian with a C library and a shell.
pub(super) const DEFAULT_BASE: &str = "docker.io/library/debian:12-slim";

/// The end of `-h`.
const SHORT: &str = "\
Examples:
  mlconda image env.lock --tag ml --output ml.tar                  then: docker load -i ml.tar
  mlconda image env.lock --tag registry.example.org/ml:1 --push    no daemon, no root
  mlconda image env.lock --dry-run                                 what would be in which layer

`--help` has all options and more examples; docs/image.md has recipes for CI.";

/// Make an OCI image of a lock, without Docker
///
/// The environment is on top of a base, at the path and with the files that `mlconda install` gives it. Large packages have
/// a layer of their own, small ones share some, so that one changed package changes one layer; the others are neither built
/// nor pushed nor pulled again. Same lock, same base, same options: same digest, on any day and machine.
///
/// Nothing of a package runs, so it works for any platform on any machine. If something would have
/// to run (post-link scripts, builds of pip), the error says so, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = SHORT, after_long_help = "\
Examples:
  mlconda image env.lock --tag ml --output ml.tar
  mlconda image env.lock --tag ml --output - | docker load
  mlconda image env.lock --tag registry.example.org/ml:1 --push
  mlconda image env.linux-64.lock env.linux-aarch64.lock --tag registry.example.org/ml:1 --push
  mlconda image env.lock --tag ml --oci-layout images        for skopeo, podman, crane
  mlconda image env.lock --tag ml --output ml.tar --base python:3-slim --copy .:/app --workdir /app --cmd 'python train.py'
  mlconda image env.lock --tag ml:2 --push --like registry.example.org/ml:1

The base is debian:12-slim if none is named: packages need a C library, and a shell is of use. `--base scratch` is an image
of the environment alone, for static programs. `--base docker-archive:FILE` takes what `docker save` writes, `--base oci:DIR`
a layout.

PATH, CONDA_PREFIX and the `variables:` of the environment are set in the image. Where packages bring activation scripts,
the entry point is `mlconda run`, and this program is in the image; else it is not.

Layers are kept in mlconda's cache directory, if that exists (`mlconda info` names it): a second image of almost the same
lock compresses only what has changed.

With --progress json, stderr has the events of `mlconda install --help`, and besides
  layers-started        layers, bytes
  layer-started         number, layers, name
  layer-written         bytes
  push-started          blobs, bytes
  image-write-started   blobs, bytes")]
pub(crate) struct Args {
    /// Lock files (@EXPLICIT, conda-lock.yml or pixi.lock), bundles, or an environment.yml. Locks for several platforms make one
    /// image for all of them
    #[arg(required_unless_present = "files", value_name = "LOCK")]
    pub(super) inputs: Vec<PathBuf>,
    /// The name of the image: `ml`, `ml:1.2`, `registry.example.org/team/ml:1.2`
    #[arg(short, long, value_name = "NAME", required_unless_present = "dry_run")]
    pub(super) tag: Option<String>,
    #[command(flatten)]
    pub(super) destination: Destination,
    /// Ask this registry over `http://`, for the base and the push (repeatable). Registries on this machine need no option
    #[arg(long, value_name = "HOST[:PORT]", hide_short_help = true)]
    pub(super) plain_http: Vec<String>,
    /// Say which package would be in which layer, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) content: Content,
    #[command(flatten)]
    pub(super) runtime: RuntimeArgs,
    /// How many downloads run at once
    #[arg(long, value_name = "N", default_value = "8", hide_short_help = true)]
    downloads: NonZero<usize>,
    /// How many threads unpack and compress [default: one a core]
    #[arg(long, value_name = "N", hide_short_help = true)]
    threads: Option<NonZero<usize>>,
    #[command(flatten)]
    pub(super) slim: SlimArgs,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) locking: LockingArgs,
}

/// Where the image goes
#[derive(Clone, Debug, clap::Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Where it goes")]
pub(crate) struct Destination {
    /// Push it to the registry that its name begins with
    #[arg(long)]
    pub(super) push: bool,
    /// Write it into a tar that `docker load`, `podman load` and skopeo take; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Add it to an OCI layout, which is a directory; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(super) oci_layout: Option<PathBuf>,
}

/// What is in the image
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What is in it")]
pub(crate) struct Content {
    /// The image below: a name in a registry (by tag or digest), `oci:DIR`, `docker-archive:FILE` or `scratch`
    #[arg(long, value_name = "REF", default_value = DEFAULT_BASE)]
    pub(super) base: String,
    #[command(flatten)]
    prefix: PrefixArgs,
    /// Of a lock for several platforms, take these (repeatable) [default: this machine's, or the Linux of its processor]
    #[arg(long = "platform", value_name = "PLATFORM", value_parser = lock_selection::platform)]
    pub(super) platforms: Vec<Subdir>,
    /// How many layers there are at most, without those of the base
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u8).range(4..=127))]
    pub(super) layers: u8,
    /// Keep packages in the layers in which they are in this image: a name in a registry, `oci:DIR` or
    /// `docker-archive:FILE`
    #[arg(long, value_name = "REF")]
    pub(super) like: Option<String>,
    /// Copy a file, or the contents of a directory, into the image, as its top layer (repeatable). `.dockerignore` is respected
    #[arg(long = "copy", value_name = "SRC:DST")]
    copied: Vec<String>,
    /// Who owns what is copied, as numbers
    #[arg(long, value_name = "UID[:GID]", default_value = "0:0", value_parser = owner, hide_short_help = true)]
    chown: (u32, u32),
    /// Leave out packages' scripts, and packages of pip without a wheel, instead of failing
    #[arg(long)]
    skip_scripts: bool,
    /// Leave out byte code: python compiles modules when it imports them
    #[arg(long, hide_short_help = true)]
    no_compile_bytecode: bool,
    /// The `mlconda` for the image, if packages have activation scripts and the image is not for this machine's platform
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(super) mlconda: Option<PathBuf>,
    /// How layers are compressed
    #[arg(long, value_name = "HOW", default_value = "gzip", hide_short_help = true)]
    compression: How,
    /// The time of the image, in seconds since 1970 [default: $SOURCE_DATE_EPOCH, else that of the newest package]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..=LATEST), allow_negative_numbers = true, hide_short_help = true)]
    created: Option<i64>,
    /// Attach an SBOM to the image: CycloneDX 1.6 or SPDX 2.3
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "cyclonedx")]
    sbom: Option<Format>,
}

/// What containers run
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What containers run")]
pub(crate) struct RuntimeArgs {
    /// Set a variable (repeatable)
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// The directory in which they start
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    workdir: Option<String>,
    /// The user, and perhaps the group: names that the base has, or numbers
    #[arg(long, value_name = "USER[:GROUP]", value_parser = user)]
    user: Option<String>,
    /// The entry point: words separated by spaces, or a JSON list
    #[arg(long, value_name = "WORDS", value_parser = words)]
    entrypoint: Option<Words>,
    /// The command: words separated by spaces, or a JSON list
    #[arg(long, value_name = "WORDS", value_parser = words)]
    cmd: Option<Words>,
    /// Set a label (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair, hide_short_help = true)]
    labels: Vec<(String, String)>,
    /// Name a port on which the program listens, as in `8888` or `53/udp` (repeatable)
    #[arg(long = "expose", value_name = "PORT", value_parser = port, hide_short_help = true)]
    ports: Vec<String>,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    Gzip,
    None,
    #[value(hide = true)]
    Zstd,
}

/// A command, split into words.
#[derive(Clone, Debug)]
struct Words(Vec<String>);

fn words(text: &str) -> Result<Words, String> {
    let words = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map_err(|error| format!("it is no JSON list of words: {error}"))?,
        false => text.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
    };
    Ok(Words(words))
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give a name and a value, as in `NAME=VALUE`".to_owned()),
    }
}

fn port(text: &str) -> Result<String, String> {
    let (number, kind) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_known = ["tcp", "udp", "sctp"].contains(&kind);
    let number: Option<u16> = number.parse().ok();
    number
        .filter(|_| is_known)
        .map(|number| format!("{number}/{kind}"))
        .ok_or_else(|| "a port is a number, perhaps with its protocol: `8888`, `53/udp`".to_owned())
}

/// A directory of a container (OCI image specification, `WorkingDir`; the runtime wants an absolute path).
fn absolute(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!("give a path from the root of the image, as in `/{}`", text.trim_start_matches("./"))),
    }
}

/// A user of a container (OCI image specification, `User`). Only the base knows its names.
fn user(text: &str) -> Result<String, String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains([':', '/']) && !name.contains(char::is_whitespace);
    match text.split_once(':').map_or_else(|| is_name(text), |(user, group)| is_name(user) && is_name(group)) {
        true => Ok(text.to_owned()),
        false => Err("give a name or a number, as in `appuser`, `1000` or `1000:1000`".to_owned()),
    }
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    match (user.parse(), group.parse()) {
        (Ok(user), Ok(group)) => Ok((user, group)),
        _ => Err("give numbers, as in `1000:1000`: names are known in the base only".to_owned()),
    }
}

impl Args {
    /// The format of the SBOM to attach.
    pub(super) fn sbom(&self) -> Option<Format> {
        self.content.sbom
    }

    /// Whether the network may be used for facts that the lock does not contain.
    pub(super) fn access(&self) -> Access {
        self.locking.access()
    }

    /// The path of the environment in the image. The root prefix of this machine is not used.
    pub(super) fn prefix(&self, lock: &Lock, file: &Path) -> Result<PathBuf, CliError> {
        let PrefixArgs { prefix, name } = &self.content.prefix;
        if let Some(prefix) = prefix {
            let path = settings::plain(prefix);
            return match path.is_absolute() && path != Path::new("/") {
                true => Ok(path),
                false => Err(CliError::Usage("`-p` is a directory in the image, as in `-p /opt/env`".to_owned())),
            };
        }
        let root = Path::new(ROOT_PREFIX);
        match name.as_ref().or(lock.name.as_ref()).map(String::as_str) {
            Some(name) if settings::is_root(name) => Ok(root.to_owned()),
            Some(name) => Ok(root.join("envs").join(settings::checked_name(name)?)),
            None => Err(CliError::world(
                format!("`{}` does not contain the name of its environment", file.display()),
                "say where it is in the image, with -p DIR or -n NAME",
            )),
        }
    }

    /// The options for installing packages into the image. `is_native` says whether programs of the image's platform
    /// run on this machine.
    pub(super) fn options(&self, is_native: bool, context: &Context) -> Result<Options, CliError> {
        let mut options = Options {
            downloads: self.downloads,
            threads: self.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN),
            time: context.settings.source_date_epoch()?,
            command: "mlconda install".to_owned(),
            revision: Revision::Whole,
            scripts: Scripts::Skip,
            script_variables: Vec::new(),
            bytecode: if is_native && !self.content.no_compile_bytecode { Bytecode::Timestamp } else { Bytecode::Skip },
            access: self.locking.access(),
            outward_links: OutwardLinks::Refuse,
            cache: context.settings.package_cache(),
            cache_check: CacheCheck::Presence,
            stop: Stop::default(),
            ..Options::default()
        };
        bundles::add_archives(&self.inputs, &mut options, context)?;
        Ok(options)
    }

    /// Whether byte code is wanted.
    pub(super) fn wants_bytecode(&self) -> bool {
        !self.content.no_compile_bytecode
    }

    /// The recipe of the image.
    pub(super) fn recipe(
        &self,
        prefix: PathBuf,
        earlier: Grouping,
        program: Option<PathBuf>,
        context: &Context,
    ) -> Result<Recipe, CliError> {
        let content = &self.content;
        let program_size = match &program {
            Some(file) => bundles::program_size(file, context)?,
            None => None,
        };
        Ok(Recipe {
            prefix,
            root_prefix: PathBuf::from(ROOT_PREFIX),
            layers: usize::from(content.layers),
            earlier,
            compression: self.compression()?,
            scripts: if content.skip_scripts { Scripts::Skip } else { Scripts::Run },
            runtime: self.runtime.runtime(),
            application: self.application(context)?,
            program,
            program_size,
            created: content.created,
        })
    }

    /// The compression of layers.
    pub(super) fn compression(&self) -> Result<Compression, CliError> {
        match self.content.compression {
            How::Gzip => Ok(Compression::Gzip),
            How::None => Ok(Compression::None),
            How::Zstd => Err(CliError::world(
                "`--compression zstd`: mlconda cannot write zstd",
                "leave it out: gzip layers are read by all engines. Or write them plain, with `--compression none`, and let \
                 `skopeo copy --dest-compress-format zstd` compress them",
            )),
        }
    }

    fn application(&self, context: &Context) -> Result<Application, CliError> {
        let settings = &context.settings;
        let mut copied = Vec::new();
        for text in &self.content.copied {
            let Some((source, destination)) = text.rsplit_once(':').filter(|(source, _)| !source.is_empty()) else {
                return Err(CliError::Usage(format!("`--copy {text}`: give SRC:DST, as in `app:/app`")));
            };
            let directory = self.runtime.workdir.as_deref().unwrap_or("/");
            let is_below = destination.ends_with('/');
            let mut destination = settings.absolute_in(Path::new(directory), Path::new(destination));
            if is_below {
                destination.push("");
            }
            copied.push(Copied { source: settings.absolute(Path::new(source)), destination });
        }
        let Destination { output, oci_layout, .. } = &self.destination;
        let except = output.iter().chain(oci_layout).map(|path| settings.absolute(path)).collect();
        Ok(Application { copied, owner: self.content.chown, context: settings.directory.clone(), except })
    }
}

impl RuntimeArgs {
    fn runtime(&self) -> Runtime {
        let words = |words: &Option<Words>| words.as_ref().map(|words| words.0.clone());
        Runtime {
            variables: self.variables.clone(),
            working_directory: self.workdir.clone(),
            user: self.user.clone(),
            entrypoint: words(&self.entrypoint),
            command: words(&self.cmd),
            labels: self.labels.clone(),
            ports: self.ports.clone(),
        }
    }
}
