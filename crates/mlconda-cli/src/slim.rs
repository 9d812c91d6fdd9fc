//! `--slim`: the parts of packages that are left out, and messages about them.

use std::collections::BTreeSet;

use mlconda::{install::LeftOutSize, lock::Lock, slim::Slim, sorting::IntoTree};
use serde_json::{Value, json};

use crate::{context::Context, text::bytes};

/// What the environment does without
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SlimArgs {
    /// Leave out parts of packages, separated by commas: `tests`, `docs`, `stubs`, `maps`, `static`, `debug` and `records`
    /// (together `safe`, which is meant without a value), `headers`, `bytecode`, `locales:de+fr` (these stay), `all`;
    /// `keep:NAME` leaves a package whole [default: as the lock says]
    #[arg(long, value_name = "PARTS", num_args = 0..=1, require_equals = true, default_missing_value = "safe")]
    #[arg(conflicts_with = "no_slim")]
    slim: Option<Slim>,
    /// Leave out nothing, whatever the lock says
    #[arg(long, hide_short_help = true)]
    no_slim: bool,
}

impl SlimArgs {
    /// The given parts.
    pub(crate) fn typed(&self) -> Option<Slim> {
        if self.no_slim { Some(Slim::default()) } else { self.slim.clone() }
    }

    /// Sets the given parts in a lock.
    pub(crate) fn apply(&self, lock: &mut Lock) {
        if let Some(slim) = self.typed() {
            lock.slim = slim;
        }
    }
}

/// Sets the given parts in locks, and warns about packages of `keep:` that are in none of them.
pub(crate) fn apply<'a>(args: &SlimArgs, locks: impl Iterator<Item = &'a mut Lock>, context: &Context) {
    let mut all = Vec::new();
    for lock in locks {
        args.apply(lock);
        all.push(&*lock);
    }
    let conda = all.iter().flat_map(|lock| &lock.packages).map(|package| package.name.as_str());
    let pip = all.iter().flat_map(|lock| &lock.pip).map(|package| package.name.as_str());
    let names: Vec<&str> = conda.chain(pip).collect();
    let unknown: BTreeSet<&str> = all.iter().flat_map(|lock| lock.slim.unknown(&names)).into_tree();
    for name in unknown {
        context.ui.warn(&format!("`keep:{name}` has no effect: the lock has no package of this name"));
    }
}

/// The omitted parts as text: `143 MB (18 %): tests 115 MB, stubs 15 MB`. `rest` is the size in bytes of the installed
/// files.
pub(crate) fn in_words(left: &[LeftOutSize], rest: u64) -> Option<String> {
    let sum: u64 = left.iter().map(|size| size.bytes).sum();
    let percent = sum.saturating_mul(100).checked_div(sum.saturating_add(rest))?;
    let parts: Vec<String> = left.iter().map(|size| format!("{} {}", size.part.name(), bytes(size.bytes))).collect();
    (sum > 0).then(|| format!("{} ({percent} %): {}", bytes(sum), parts.join(", ")))
}

/// The omitted parts as JSON: files and bytes by part.
pub(crate) fn to_json(left: &[LeftOutSize]) -> Value {
    let parts =
        left.iter().map(|size| (size.part.name().to_owned(), json!({"files": size.files, "bytes": size.bytes})));
    Value::Object(parts.collect())
}
