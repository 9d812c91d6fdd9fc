//! Reads a lock of any format (@EXPLICIT, conda-lock.yml, pixi.lock) and prints one line for each package. It uses no
//! network. With `--no-default-features --features formats`, no network code is compiled.
//!
//! ```sh
//! cargo run --example read_lock -- pixi.lock
//! ```

#![allow(clippy::print_stdout, reason = "it is a program")]

use std::path::Path;

use mlconda::lock::{Expansion, LockFile};

/// The packages of a lock file, one line each: platform, name, version, and the URL without secrets.
pub(crate) fn packages(path: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let file = LockFile::read(path, &Expansion::default())?;
    let mut lines = Vec::new();
    for part in &file.parts {
        let lock = &part.lock;
        for package in &lock.packages {
            let from = mlconda::redact::url(&package.url);
            lines.push(format!("{} {} {} {from}", lock.platform, package.name, package.version));
        }
        for package in &lock.pip {
            let version = package.version.as_deref().unwrap_or("?");
            lines.push(format!("{} {} {version}, of pip", lock.platform, package.name));
        }
    }
    Ok(lines)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(path) = std::env::args_os().nth(1) else { return Err("usage: read_lock LOCK".into()) };
    for line in packages(Path::new(&path))? {
        println!("{line}");
    }
    Ok(())
}
