//! The packages of `--reinstall`.

use std::collections::BTreeSet;

use mlconda::{environment::near_names, lock::normalize, plan::Reinstall, sorting::IntoTree};

use super::{args::Args, locks::Target};
use crate::{error::CliError, text::list};

/// The packages to link again in all targets. A name that is in none of their locks is an error.
pub(super) fn chosen(args: &Args, targets: &[Target]) -> Result<Reinstall, CliError> {
    let Some(typed) = &args.reinstall else { return Ok(Reinstall::Nothing) };
    let typed: Vec<&str> = typed.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    if typed.is_empty() {
        return Ok(Reinstall::All);
    }
    let conda = targets.iter().flat_map(|target| &target.lock.packages).map(|package| package.name.as_str());
    let pip = targets.iter().flat_map(|target| &target.lock.pip).map(|package| package.name.as_str());
    let known: BTreeSet<&str> = conda.chain(pip).into_tree();
    let (mut names, mut unknown) = (BTreeSet::new(), Vec::new());
    for name in typed {
        let found: Vec<String> =
            [name.to_lowercase(), normalize(name)].into_iter().filter(|name| known.contains(name.as_str())).collect();
        if found.is_empty() {
            unknown.push(name.to_owned());
        }
        names.extend(found);
    }
    if unknown.is_empty() {
        return Ok(Reinstall::Named(names));
    }
    let verb = if unknown.len() == 1 { "is" } else { "are" };
    let near: Vec<String> = unknown.iter().flat_map(|name| near_names(name, &known)).collect();
    let hint = match near.as_slice() {
        [] => "check the spelling; `--reinstall` without names links all packages again".to_owned(),
        near => format!("did you mean {}?", list(near)),
    };
    Err(CliError::world(format!("{} {verb} not in the lock, so there is nothing to link again", list(&unknown)), hint))
}
