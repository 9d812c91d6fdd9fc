//! `mlconda info`: the machine as mlconda detects it, the directories, and the build.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::{host::Host, install::CacheContents};
use serde::Serialize;

use crate::{
    context::Context,
    error::CliError,
    escape,
    text::{bytes, count, optional_path_field, path_field},
};

/// Show the platform, virtual packages, directories, versions and build features
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
To see what an environment can depend on, for example in an image:
  mlconda info
  mlconda info --json | jq -r '.virtual_packages[]'";

#[derive(Serialize)]
struct Info {
    version: &'static str,
    platform: &'static str,
    virtual_packages: Vec<String>,
    #[serde(serialize_with = "path_field")]
    root_prefix: PathBuf,
    environments: Vec<String>,
    #[serde(serialize_with = "optional_path_field")]
    active_prefix: Option<PathBuf>,
    cache_directory: Option<Cache>,
    build: Build,
}

#[derive(Serialize)]
struct Cache {
    #[serde(serialize_with = "path_field")]
    path: PathBuf,
    /// Whether it exists: `install` uses only an existing cache.
    exists: bool,
    /// The number of packages in it.
    packages: usize,
    /// The size of their files.
    bytes: u64,
}

impl Cache {
    fn new(path: PathBuf) -> Self {
        let CacheContents { packages, bytes } = CacheContents::read(&path);
        Self { exists: path.is_dir(), path, packages, bytes }
    }
}

/// How the program was built.
#[derive(Serialize)]
struct Build {
    target: String,
    linking: &'static str,
    tls: &'static str,
    roots: &'static str,
    allocator: &'static str,
}

impl Build {
    fn new() -> Self {
        let libc = match (cfg!(target_env = "musl"), cfg!(target_env = "gnu")) {
            (true, _) => "-musl",
            (_, true) => "-gnu",
            _ => "",
        };
        Self {
            target: format!("{}-{}{libc}", std::env::consts::ARCH, std::env::consts::OS),
            linking: if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" },
            tls: "rustls with ring",
            roots: "Mozilla's and the system's",
            allocator: "the system's",
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let settings = &context.settings;
    let host = Host::detect(Path::new("/"));
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        platform: host.platform.as_str(),
        virtual_packages: host.virtual_packages.iter().map(ToString::to_string).collect(),
        root_prefix: settings.root_prefix.clone(),
        environments: settings.environments().into_iter().map(|(name, _)| name).collect(),
        active_prefix: settings.raw_variable("CONDA_PREFIX").map(PathBuf::from),
        cache_directory: settings.cache_directory.clone().map(Cache::new),
        build: Build::new(),
    };
    if args.json {
        #[cfg(not(feature = "conda"))]
        context.ui.json(&info)?;
        #[cfg(feature = "conda")]
        context.ui.json(&with_condas_keys(&info, context)?)?;
    } else {
        context.ui.text(&text(&info))?
    }
    Ok(ExitCode::SUCCESS)
}

/// The same with the keys of conda's `info --json` that editors read: they resolve a link named `conda`, and so they
/// call this command.
#[cfg(feature = "conda")]
fn with_condas_keys(info: &Info, context: &Context) -> Result<serde_json::Value, CliError> {
    let mut value = serde_json::to_value(info).map_err(std::io::Error::other)?;
    let condas = crate::conda::info_as_json(context).unwrap_or_else(|error| {
        let (message, ..) = crate::report::parts(&error);
        context.ui.warn(&format!("the configuration of conda cannot be read: {message}"));
        serde_json::Value::Null
    });
    if let (Some(own), serde_json::Value::Object(condas)) = (value.as_object_mut(), condas) {
        for (key, value) in condas {
            own.entry(key).or_insert(value);
        }
    }
    Ok(value)
}

fn text(info: &Info) -> String {
    let or_none = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let cache = info.cache_directory.as_ref().map_or_else(
        || "none: there is no home directory".to_owned(),
        |cache| match cache.exists {
            true => format!("{} ({}, {})", cache.path.display(), count(cache.packages, "package"), bytes(cache.bytes)),
            false => format!("{} (does not exist; `install` works without it)", cache.path.display()),
        },
    );
    let active = info.active_prefix.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    let build = &info.build;
    [
        ("version", info.version.to_owned()),
        ("platform", info.platform.to_owned()),
        ("virtual packages", or_none(&info.virtual_packages)),
        ("root prefix", info.root_prefix.display().to_string()),
        ("environments", or_none(&info.environments)),
        ("active prefix", active),
        ("cache directory", cache),
        ("build", format!("{}, {}", build.target, build.linking)),
        ("TLS", format!("{}; roots: {}", build.tls, build.roots)),
        ("allocator", build.allocator.to_owned()),
    ]
    .map(|(name, value)| format!("{name:>16}: {}\n", escape::line(&value)))
    .concat()
}
