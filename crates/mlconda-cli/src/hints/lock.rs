//! Hints for files that are not locks, and for locks that do not satisfy their environment.

use std::io::ErrorKind;

use mlconda::lock::LockError;

use super::{prefix_hint, reading_hint};

pub(super) fn lock_hint(error: &LockError) -> Option<String> {
    let hint = match error {
        LockError::File(error) if error.kind() == ErrorKind::NotFound => {
            "check the path, and the directory in which the command runs; `mlconda lock environment.yml` makes a lock"
        }
        LockError::File(error) => return reading_hint(error),
        LockError::Prefix(error) => return prefix_hint(error),
        LockError::NotALock { .. } => {
            "an environment file is recognised by its name, `.yml` or `.yaml`; `mlconda lock` makes a lock from it"
        }
        LockError::Conflict { file } => {
            let format = match file.extension() {
                _ if file.ends_with("pixi.lock") => " --format pixi",
                Some(kind) if kind == "yml" => " --format conda-lock",
                _ => "",
            };
            return Some(format!(
                "`mlconda lock{format} --resolve-conflict` solves again, and keeps the packages of both sides where it can"
            ));
        }
        LockError::Selection { help, .. } => help,
        LockError::Format { .. } => "use the mlconda that wrote it, or a newer one",
        LockError::NotBuiltIn { .. } => {
            "use a mlconda with it, or convert the lock with one: `mlconda convert FILE -o env.lock`"
        }
        LockError::NoDigest { .. } => "index the channel again: newer indexers write sha256 sums",
        _ => return None,
    };
    Some(hint.to_owned())
}
