//! `mlconda size`: which packages and files use the space of a lock, an environment or an image.

mod image;
mod page;
mod picture;
mod table;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use mlconda::records::Wanted;

use self::picture::Picture;
use crate::{
    context::Context,
    error::CliError,
    image_name,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs},
};

/// Show where the bytes are: by package, by kind of file, and by who asked for it
///
/// Of an environment, the sizes are those of its files on the disk: a file with several names counts once. Of a lock, they
/// are those of the archives to download, and there are no kinds of files. Of an image, they are those of the files that a
/// container sees, and there is a table of its layers; the layers are read, and nothing is unpacked.
///
/// With two images, it also tells which layers a pull of the second one fetches where the first one is present.
///
/// --html draws it as a page of one file, in which a click leads from a package to its directories and files. It needs no
/// network. With two places, it shows both, side by side.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A lock, the prefix of an environment, or an image: in a registry, in a layout (`oci:DIR[:TAG]`), or in a file of `docker
    /// save` (`docker-archive:FILE[:NAME]`); without one, `env.lock` if it is here, else the active environment, else
    /// the only one under the root prefix
    #[arg(value_name = "LOCK|PREFIX|IMAGE", num_args = 0..=2)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    view: LockOrPrefixArgs,
    /// How many packages to name; 0 names all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Draw a page to look at with a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print all of it as JSON
    #[arg(long, conflicts_with = "top")]
    json: bool,
    /// Ask this registry over `http://` (repeatable)
    #[arg(long, value_name = "HOST[:PORT]", hide_short_help = true)]
    plain_http: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  mlconda size -n ml                          where the bytes of the environment `ml` are
  mlconda size env.lock                       what is to be downloaded
  mlconda size /opt/conda/envs/ml --html ml.html
  mlconda size old.lock env.lock --html both.html
  mlconda size registry.example.org/team/ml:1 registry.example.org/team/ml:2

With --progress json, stderr has, for each image, image-started (layers, bytes) and downloaded (bytes).

With --json, stdout is one object for each lock, environment or image, in a list:
  name, bytes (null if the size of an archive is not known, also below), files
  packages   a list of objects: name, version, kind (conda or pip), bytes, files; `asked` is the
             only one of `asked` that needs it
  untracked  bytes and files that no package has
  kinds      a list of objects: name, bytes, files
  asked      a list of objects: spec, bytes (with all that only it needs)
An image has besides:
  digest     of its manifest
  prefixes   of the environments in it; each package has its `prefix`
  outside    a list of objects: name, bytes, files; where the bytes are that no package has
  layers     a list of objects, the lowest first: digest, bytes (what is pulled), unpacked, origin
             (base, packages, environment, mlconda, application, other), name, packages
  fetched    of the second image: layers, bytes, packages of what a pull of it fetches where the
             first one is present; each of its layers has `fetched` too";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let places: Vec<Option<&PathBuf>> = match args.places.is_empty() {
        true => vec![None],
        false => args.places.iter().map(Some).collect(),
    };
    let read = |place: Option<&PathBuf>| {
        if let Some(place) = place
            && let Some(image) = image_name::image_named(place, context)?
        {
            return image::read(place, &image, &args, context);
        }
        let view = LockOrPrefix::read(place.map(PathBuf::as_path), &args.view, Wanted::Dependencies, context)?;
        Picture::new(&view, context)
    };
    let mut pictures = places.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if let [one, other] = pictures.as_mut_slice() {
        image::compare(one, other);
    }
    let is_printed = args.html.as_deref() == Some(Path::new("-"));
    if is_printed && args.json {
        return Err(CliError::Usage("the page and `--json` cannot both be on stdout".to_owned()));
    }
    if is_printed {
        context.ui.data(page::page(&pictures))?;
    } else if let Some(file) = &args.html {
        context.write(file, &page::page(&pictures))?;
        context.ui.say(&format!("`{}` shows it.", file.display()));
    }
    if args.json {
        context.ui.json(&pictures.iter().map(Picture::to_json).collect::<Vec<_>>())?;
    } else if args.html.is_none() {
        let tables: Vec<String> = pictures.iter().map(|picture| table::tables(picture, args.top)).collect();
        context.ui.text(&tables.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
