//! Packs finished programs into the files of a release. `release/build` calls it.
//!
//! The result depends only on the programs, on the files of the repository and on the arguments. The packer does not
//! read the clock, and writes no order, owner or mode of files on this machine. The same arguments give the same bytes.
//! [`Package`] is the common part of all formats; each format is a module.

mod archive;
mod conda;
mod image;
mod notices;
mod package;
mod recipe;
mod sbom;
mod target;
mod tree;
mod wheel;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use rattler_digest::{Sha256, compute_bytes_digest};

use self::{package::Package, target::Target};

/// An error with a text about its cause.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pack programs for a release
#[derive(Debug, Parser)]
struct Args {
    /// The directory for the results
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// The root of the repository
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// A directory whose `share` has the manual and the completions
    #[arg(long, value_name = "DIR")]
    share: PathBuf,
    /// The version of the programs
    #[arg(long)]
    version: String,
    /// The time of the release, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    epoch: u64,
    /// The address of the repository
    #[arg(long, value_name = "URL")]
    repository: String,
    /// Programs, as `x86_64-linux=PATH`
    #[arg(required = true, value_name = "TARGET=PROGRAM")]
    programs: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // An error here cannot be reported any more.
            let _ = writeln!(io::stderr(), "release: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    fs_err::create_dir_all(&args.output)?;
    let mut packages = Vec::new();
    for program in &args.programs {
        let (name, path) = program.split_once('=').ok_or_else(|| format!("`{program}` is not TARGET=PROGRAM"))?;
        packages.push(Package::read(Target::named(name)?, Path::new(path), args)?);
    }
    packages.sort_by_key(|package| package.target.name);
    let mut written = Vec::new();
    for package in &packages {
        written.extend([archive::pack(package)?, wheel::pack(package)?, conda::pack(package)?, sbom::file(package)]);
    }
    written.extend(image::pack(&packages)?);
    let recipe = recipe::render(&args.root, &args.version, &args.repository, &written)?;
    written.push(recipe);
    written.push(recipe::installer(&args.root, &args.version, &args.repository)?);
    let mut sums = String::new();
    written.sort_by(|one, other| one.name.cmp(&other.name));
    for file in &written {
        write(&args.output, file)?;
        sums.push_str(&format!("{}  {}\n", sha256(&file.bytes), file.name));
    }
    write(&args.output, &Written { name: "SHA256SUMS".to_owned(), bytes: sums.into_bytes() })
}

/// A file of the release.
struct Written {
    /// Its name, without a directory.
    name: String,
    bytes: Vec<u8>,
}

fn write(directory: &Path, file: &Written) -> Result<()> {
    Ok(fs_err::write(directory.join(&file.name), &file.bytes)?)
}

/// The sha256 of bytes, in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    hex::encode(compute_bytes_digest::<Sha256>(bytes))
}
