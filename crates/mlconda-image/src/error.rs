//! Why there is no image.

use std::path::PathBuf;

use mlconda_install::InstallError;
use mlconda_oci::OciError;
use rattler_conda_types::Subdir;

/// Why there is no image.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Packages could not be fetched or put together.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The base or the result is no image.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// There are no containers for the platform of the lock.
    #[error("there are no containers for {0}")]
    Platform(Subdir),
    /// Packages have post-link scripts, and an image has no machine to run them on.
    #[error("{}", post_link(.0))]
    Scripts(Vec<Script>),
    /// Packages of pip have no wheel.
    #[error("{} no wheel and cannot be built while an image is put together", have(.0))]
    Unbuilt(Vec<String>),
    /// Packages have activation scripts, and no program is given that would run them.
    #[error(
        "packages have activation scripts (`{script}`), which `mlconda run` runs, and this program is not one for {platform}"
    )]
    NoProgram {
        /// One of the scripts, relative to the prefix.
        script: PathBuf,
        /// The platform of the image.
        platform: Subdir,
    },
    /// The program to be put into the image is not one for its platform.
    #[error("`{program}` is no program for {platform}")]
    WrongProgram {
        /// The program.
        program: PathBuf,
        /// The platform of the image.
        platform: Subdir,
    },
    /// An image of nothing but the environment has no dynamic loader for its programs.
    #[error("`{file}` needs the dynamic loader `{interpreter}`, which is not in an image without a base")]
    NoInterpreter {
        /// The program.
        file: PathBuf,
        /// The loader that it names.
        interpreter: String,
    },
    /// Engines take no more layers.
    #[error("the image would have {count} layers, {base} of them the base's; engines take at most 127")]
    TooManyLayers {
        /// All layers.
        count: usize,
        /// Those of the base.
        base: usize,
    },
    /// The time of the image is out of range.
    #[error("an image cannot have the time {0}, in seconds since 1970: 0 to {latest} is possible", latest = crate::LATEST)]
    Time(i64),
    /// Something that is to be copied cannot be.
    #[error("cannot copy `{path}`: {reason}")]
    Copy {
        /// What is to be copied.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

mlconda_types::debug_as_words!(ImageError);

/// A post-link script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The package, by NAME-VERSION-BUILD.
    pub package: String,
    /// Its text.
    pub text: String,
}

/// How many lines of a script are shown, and how many characters of each.
const SHOWN_LINES: usize = 3;
const SHOWN_CHARACTERS: usize = 120;

/// The message, with what each script would do: its first lines, without comments.
fn post_link(scripts: &[Script]) -> String {
    let names: Vec<String> = scripts.iter().map(|script| format!("`{}`", script.package)).collect();
    let have = if names.len() == 1 { "has a post-link script, which" } else { "have post-link scripts, which" };
    let mut text = format!("{} {have} cannot run while an image is put together", names.join(", "));
    for Script { package, text: script } in scripts {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines: Vec<&str> = lines.collect();
        for line in lines.iter().take(SHOWN_LINES) {
            let shown: String = line.chars().take(SHOWN_CHARACTERS).collect();
            text.push_str(&format!("\n  {package}: {shown}"));
        }
        if lines.len() > SHOWN_LINES {
            text.push_str(&format!("\n  {package}: … ({} lines in all)", lines.len()));
        }
    }
    text
}

fn have(packages: &[String]) -> String {
    let names: Vec<String> = packages.iter().map(|package| format!("`{package}`")).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "has" } else { "have" })
}
