//! The errors of making or reading an image.

use std::path::PathBuf;

use mlconda_install::InstallError;
use mlconda_oci::OciError;
use rattler_conda_types::Subdir;

/// Why an image could not be made or read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Packages could not be fetched or put together.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The base image or the result is not a valid image, or a registry failed.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// There are no containers for the platform of the lock.
    #[error("an image for {0} cannot be made")]
    Platform(Subdir),
    /// Packages have post-link scripts, which cannot run when an image is made.
    #[error("{}", post_link(.0))]
    Scripts(Vec<Script>),
    /// Packages of pip have no wheel, and nothing is built when an image is made.
    #[error("{} no wheel and cannot be built while an image is made", have(.0))]
    Unbuilt(Vec<String>),
    /// Packages have activation scripts, and there is no program for the image that runs them.
    #[error(
        "packages have activation scripts (`{script}`), so the image needs mlconda, and this program is not for {platform}"
    )]
    NoProgram {
        /// One of the scripts, relative to the prefix.
        script: PathBuf,
        /// The platform of the image.
        platform: Subdir,
    },
    /// The program for the image is not one for the image's platform.
    #[error("`{program}` is not a program for {platform}")]
    WrongProgram {
        /// The program.
        program: PathBuf,
        /// The platform of the image.
        platform: Subdir,
    },
    /// The image contains only the environment, and lacks the dynamic loader that a program needs.
    #[error("`{file}` needs the dynamic loader `{interpreter}`, which is not in an image without a base")]
    NoInterpreter {
        /// The program.
        file: PathBuf,
        /// The path of the dynamic loader.
        interpreter: String,
    },
    /// The image would have more layers than engines accept.
    #[error("the image would have {count} layers, {base} of them the base's; engines take at most 127")]
    TooManyLayers {
        /// The number of all layers.
        count: usize,
        /// The number of the base's layers.
        base: usize,
    },
    /// The time of the image is out of range.
    #[error("the time of an image is 0 to {latest} seconds since 1970, not {0}", latest = crate::LATEST)]
    Time(i64),
    /// A file cannot be copied into the image.
    #[error("cannot copy `{path}`: {reason}")]
    Copy {
        /// The source of the copy.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

mlconda_types::debug_as_words!(ImageError);

/// A post-link script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The package, as NAME-VERSION-BUILD.
    pub package: String,
    /// Its text.
    pub text: String,
}

/// The number of lines of a script that are shown, and the number of characters of each line.
const SHOWN_LINES: usize = 3;
const SHOWN_CHARACTERS: usize = 120;

/// The message, with the first lines of each script, without comments.
fn post_link(scripts: &[Script]) -> String {
    let names: Vec<String> = scripts.iter().map(|script| format!("`{}`", script.package)).collect();
    let have = if names.len() == 1 { "has a post-link script, which" } else { "have post-link scripts, which" };
    let mut text = format!("{} {have} cannot run while an image is made", names.join(", "));
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
