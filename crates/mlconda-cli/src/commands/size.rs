//! `mlconda size`: where the bytes of a lock or an environment are.

mod page;
mod picture;
mod table;

use std::{path::PathBuf, process::ExitCode};

use mlconda::records::Wanted;

use self::picture::Picture;
use crate::{
    context::Context,
    error::CliError,
    lock_or_prefix::{LockOrPrefix, LockOrPrefixArgs},
};

/// Show where the bytes are: by package, by kind of file, and by who asked for it
///
/// Of an environment, the sizes are those of its files on the disk: a file with several names counts once. Of a lock, they
/// are those of the archives to download, and there are no kinds of files.
///
/// --html draws it as a page of one file, in which a click leads from a package to its directories and files. It needs no
/// network. With two locks or environments, it shows both, side by side.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A lock, or the prefix of an environment; without one, `env.lock` if it is here, else the active environment, else
    /// the only one under the root prefix
    #[arg(value_name = "LOCK|PREFIX", num_args = 0..=2)]
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
}

const AFTER_HELP: &str = "\
Examples:
  mlconda size -n ml                          where the bytes of the environment `ml` are
  mlconda size env.lock                       what is to be downloaded
  mlconda size /opt/conda/envs/ml --html ml.html
  mlconda size old.lock env.lock --html both.html

With --json, stdout is one object for each lock or environment, in a list:
  name, bytes, files
  packages   a list of objects: name, version, kind (conda or pip), bytes, files; `asked` is the
             only one of `asked` that needs it
  untracked  bytes and files that no package has
  kinds      a list of objects: name, bytes, files
  asked      a list of objects: spec, bytes (with all that only it needs)";

pub(crate) fn run(args: Args, context: &Context) -> Result<ExitCode, CliError> {
    let places: Vec<Option<PathBuf>> = match args.places.is_empty() {
        true => vec![None],
        false => args.places.into_iter().map(Some).collect(),
    };
    let read = |place: Option<PathBuf>| {
        let view = LockOrPrefix::read(place.as_deref(), &args.view, Wanted::Dependencies, context)?;
        Picture::new(&view, context)
    };
    let pictures = places.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &args.html {
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
