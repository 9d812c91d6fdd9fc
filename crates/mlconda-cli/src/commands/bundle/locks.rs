//! Reads the given files into the locks of a bundle, each with a name.

use std::path::Path;

use mlconda::{
    bundle::Environment,
    host::Host,
    lock::{DEFAULT_ENVIRONMENT, Lock},
};

use super::Args;
use crate::{context::Context, error::CliError, lock_selection, text::path_word};

/// The locks, sorted by name and platform.
pub(super) fn read_all(args: &Args, host: &Host, context: &Context) -> Result<Vec<Environment>, CliError> {
    let mut found = Vec::new();
    for file in &args.inputs {
        if lock_selection::is_environment(file, context) {
            let name = file.display();
            let message = format!("`{name}` is an environment file; a bundle is made of locks");
            return Err(CliError::world(
                message,
                format!("lock it first: `mlconda lock {} -o env.lock`", path_word(file)),
            ));
        }
        let locks = lock_selection::of_platforms(file, &args.platforms, &args.selection, host.platform, context)?;
        found.extend(locks.into_iter().map(|(chosen, lock)| {
            let name = name(&lock, chosen.as_deref(), file);
            Environment { name, lock }
        }));
    }
    mlconda::sorting::sort_by_key(&mut found, |each| (each.name.clone(), each.lock.platform.as_str()));
    Ok(found)
}

/// The name of an environment, which becomes a file name: the name in the lock, else the chosen one, else that of the
/// file.
fn name(lock: &Lock, chosen: Option<&str>, file: &Path) -> String {
    let chosen = chosen.filter(|name| *name != DEFAULT_ENVIRONMENT);
    let of_file = || {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.split('.').next().unwrap_or_default().to_owned()
    };
    let name = lock.name.clone().or_else(|| chosen.map(str::to_owned)).unwrap_or_else(of_file);
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    if name.is_empty() { "env".to_owned() } else { name }
}
